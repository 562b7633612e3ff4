//! A browser with a stranger's page, which tries all that a page can to run commands on its user's machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crtmp_tests::cli::{Faces, Session, without_counts};
use crtmp_tests::{Config, Launch, Server, poll};

use crate::SOON;

/// Time for the browser to start and for all attempts of the page.
const PATIENCE: Duration = Duration::from_secs(40);

/// A page that attacks, served from another origin; `/done` is where it reports.
fn page(faces: Faces, id: u64) -> String {
    let lines = format!("[{}, {}, {}]", faces.text.port(), faces.json.port(), faces.ascii.port());
    let attacks = r#"
const body = JSON.stringify({ id: ID });
const line = "\r\nshutdownService id=ID\r\n";
const heard = [];
const tries = [];
function attempt(what, promise) {
  tries.push(Promise.race([promise, new Promise(r => setTimeout(r, 4000))]).then(
    answer => { if (answer instanceof Response && answer.type != "opaque") heard.push(what + " was readable"); },
    () => {}));
}
for (const host of ["127.0.0.1", "localhost"]) {
  const http = "http://" + host + ":HTTP/shutdownService";
  for (const mode of ["cors", "no-cors"]) {
    for (const type of ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
      attempt(mode + " " + type, fetch(http, { method: "POST", mode, headers: { "content-type": type }, body }));
    attempt(mode + " none", fetch(http, { method: "POST", mode, body: new Blob([body]) }));
    attempt(mode + " get", fetch("http://" + host + ":HTTP/version", { mode }));
    attempt(mode + " secret", fetch(http, { method: "POST", mode, body, headers: { authorization: "Bearer x" } }));
  }
  attempt("beacon", Promise.resolve(navigator.sendBeacon(http, new Blob([body], { type: "text/plain" }))));
  for (const port of LINES)
    attempt("line " + port, fetch("http://" + host + ":" + port + "/", { method: "POST", mode: "no-cors", body: line }));
  const show = (kind, url) => {
    const element = document.createElement(kind);
    attempt(kind, new Promise(r => { element.onload = element.onerror = r; }));
    element.src = url;
    document.body.append(element);
  };
  const query = "?params=" + btoa("id=ID");
  for (const kind of ["img", "script", "iframe"]) {
    show(kind, http + query);
    for (const port of LINES) show(kind, "http://" + host + ":" + port + "/shutdownService%20id=ID");
  }
  const forms = [[http, "application/x-www-form-urlencoded"], [http, "text/plain"], [http, "multipart/form-data"]];
  for (const port of LINES) forms.push(["http://" + host + ":" + port + "/", "text/plain"]);
  for (const [action, enctype] of forms) {
    const frame = document.createElement("iframe");
    frame.name = "f" + Math.random();
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { action, enctype, method: "post", target: frame.name });
    const field = document.createElement("textarea");
    field.name = '{"id":ID,"x":"';
    field.value = line + '"}';
    form.append(field);
    document.body.append(form);
    attempt("form", new Promise(r => { frame.onload = r; }));
    form.submit();
  }
  for (const port of [...LINES, HTTP]) {
    const socket = new WebSocket("ws://" + host + ":" + port + "/shutdownService" + query);
    attempt("socket " + port, new Promise(r => {
      socket.onopen = () => { heard.push("a web socket opened at " + port); socket.send(line); };
      socket.onclose = r;
    }));
  }
}
Promise.all(tries).then(() => fetch("/done", { method: "POST", body: tries.length + " tries; " + heard.join(", ") }));
"#;
    let attacks = attacks
        .replace("ID", &id.to_string())
        .replace("HTTP", &faces.http.port().to_string())
        .replace("LINES", &lines);
    format!("<!doctype html><meta charset=utf-8><title>stranger</title><body><script>{attacks}</script>")
}

/// A server of web pages that knows one page and keeps what is posted to it.
fn serve(page: String) -> (SocketAddr, Arc<Mutex<Option<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let report = Arc::new(Mutex::new(None));
    let kept = report.clone();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (page, kept) = (page.clone(), kept.clone());
            thread::spawn(move || {
                let mut socket = BufReader::new(socket);
                let (mut first, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if socket.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
                        length = number.trim().parse().unwrap_or(0);
                    }
                    if first.is_empty() {
                        first.clone_from(&line);
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                let _ = std::io::Read::read_exact(&mut socket, &mut body);
                if first.starts_with("POST /done") {
                    *kept.lock().expect("no thread panics") =
                        Some(String::from_utf8_lossy(&body).into_owned());
                }
                let page = if first.starts_with("GET / ") { page.as_str() } else { "" };
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
                let _ = write!(socket.get_mut(), "{head}content-length: {}\r\n\r\n{page}", page.len());
            });
        }
    });
    (address, report)
}

#[test]
fn a_strangers_page_runs_nothing() {
    let (_folder, events) = crate::file("events.json");
    let sink = format!(
        "{{ type = \"file\", appendTimestamp = false, filename = {events:?}, enabledEvents = {{ \"cliRequest\" }} }}"
    );
    let config = Config::new().workers(2).top("eventLogger", &format!("{{ sinks = {{ {sink} }} }}"));
    let server = Server::start(&config.block(&Faces::block("maxSessions = 1000")));
    let faces = Faces::of(&server);
    let mut session = Session::open(faces.json);
    let service = session.done("listServices")[0]["id"].as_u64().expect("a number");
    let before = without_counts(&session.done("listServices"));
    let (address, report) = serve(page(faces, service));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let browser = Launch::new("chromium")
        .args("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync")
        .args("--disable-background-networking --disable-component-update --disable-dev-shm-usage")
        // Newer ones ask their user before a page may reach this machine; the server must not depend on that.
        .args("--disable-features=LocalNetworkAccessChecks,PrivateNetworkAccessSendPreflights")
        .args("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("http://localhost:{}/", address.port()))
        .within(PATIENCE * 2)
        .start();
    let told = poll(PATIENCE, || report.lock().expect("no thread panics").take());
    let told = told.unwrap_or_else(|| panic!("the page has not finished:\n{}", browser.stderr()));
    drop(browser);

    assert!(told.ends_with("tries; "), "the page heard something: {told}");
    assert_eq!(without_counts(&session.done("listServices")), before);
    // No command has run but ours.
    let ran = poll(SOON, || {
        let text = std::fs::read_to_string(&events).unwrap_or_default();
        (text.matches("cliRequest").count() >= 3).then_some(text)
    });
    let ran = ran.expect("our own three commands");
    assert_eq!(ran.matches("\"listServices\"").count(), ran.matches("cliRequest").count(), "{ran}");
    // The attempts came, and were refused.
    let log = server.log();
    for agent in ["agent=txtCli", "agent=jsonCli", "agent=asciiCli", "agent=httpJsonCli"] {
        assert!(log.matches(agent).count() > 1, "the browser has not come to {agent}: {told}");
    }
    assert!(log.contains("the first line is HTTP, not a command"), "{told}");
    server.stop();
}
