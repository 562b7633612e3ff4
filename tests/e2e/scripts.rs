//! Scripts that ask web services which fail in every way, and scripts that fail themselves, in every callback.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crtmp_tests::cli::{self, Session};
use crtmp_tests::wire::{self, Client, Message, amf};
use crtmp_tests::{Config, Kind, Recording, Server, ffmpeg, wait_for};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::containment::{application, beside_canaries};
use crate::{SOON, free_port};

/// A web service that does with each request what its path says, and remembers what it was asked. It ends with the
/// test's process.
struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    head: String,
    body: Vec<u8>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let remembered = asked.clone();
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let remembered = remembered.clone();
                thread::spawn(move || answer(socket, address, &remembered));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads one request, and answers it. Errors are no failure: the server may have enough before all is said.
fn answer(socket: TcpStream, own: SocketAddr, remembered: &Mutex<Vec<Asked>>) {
    let mut lines = BufReader::new(&socket);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if matches!(lines.read_line(&mut head), Ok(0) | Err(_)) {
            return;
        }
        if let Some(value) = head[from..].to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    if lines.read_exact(&mut body).is_err() {
        return;
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let asked = Asked { path: path.clone(), head, body };
    remembered.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let mut socket = &socket;
    let mut say = |text: &str| socket.write_all(text.as_bytes()).is_ok();
    let whole = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    match path.trim_matches('/') {
        "hangs" => {
            let _ = BufReader::new(socket).read(&mut [0]);
        }
        "drips" => {
            say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
            while say("x") {
                thread::sleep(Duration::from_millis(50));
            }
        }
        "endless" => {
            say("HTTP/1.1 200 OK\r\n\r\n");
            while say(&"x".repeat(65536)) {}
        }
        "huge" => {
            say("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n");
            while say(&"x".repeat(65536)) {}
        }
        "fails" => drop(say(&whole("500 Internal Server Error", "it is broken"))),
        "redirects" => {
            let to = format!("302 Found\r\nLocation: http://{own}/trap");
            say(&whole(&to, r#"{"allow":true}"#));
        }
        "nonsense" => drop(say(&whole("200 OK", "{\"allow\":"))),
        "short" => drop(say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"allow\":true}")),
        "resets" => {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        "no-http" => drop(say("\0\u{1}\u{2} what is that?\r\n\r\n")),
        "denies" => drop(say(&whole("200 OK", r#"{"allow":false}"#))),
        _ => drop(say(&whole("200 OK", r#"{"allow":true}"#))),
    }
}

/// A server with an application `lua` that runs this script and has an acceptor of its own, and the script's folder.
fn server(script: &str, keys: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("app.lua");
    fs::write(&file, script).expect("a temporary file");
    let acceptor = "{ ip = \"127.0.0.1\", port = 0, protocol = \"inboundRtmp\" }";
    let block = format!(
        "{{ name = \"lua\", library = \"vmapp\", script = {file:?}, acceptors = {{ {acceptor} }}, {keys} }}"
    );
    let config = Config::new().workers(2).limit("webTimeout", "2");
    (Server::start(&config.block(&block).block(&cli::administrator())), folder)
}

/// What a publish of this name is answered.
fn publish(client: &mut Client, name: &str) -> Message {
    client.create_stream();
    client.send(&wire::publish(1, name));
    client.expect("NetStream.Publish.")
}

/// HOOK-01: a script asks a service whether somebody may publish. Whatever the service does, who is not allowed hears
/// why, and nobody else notices.
#[test]
fn a_web_service_that_fails_refuses_with_a_text_and_disturbs_nobody() {
    let service = Service::start();
    let script = r#"
        local services = { refuses = "http://127.0.0.1:NOBODY/" }
        function on_publish(client, id, name)
          local answer, why = http.get((services[name] or "http://SERVICE/") .. name)
          if not answer then return false, "the service does not say: " .. why end
          if answer.status ~= 200 then return false, "the service says " .. answer.status end
          local said, wrong = json.decode(answer.body)
          if not said then return false, "the service talks nonsense: " .. wrong end
          return said.allow, "the service does not allow it"
        end"#;
    let script = script.replace("NOBODY", &free_port().to_string());
    let (server, _folder) = server(&script.replace("SERVICE", &service.address.to_string()), "");
    let address = server.address();
    let before = server.counters().usage();
    beside_canaries(&server, "lua", || {
        for (name, expected) in [
            ("refuses", "does not say: the connection failed"),
            ("hangs", "does not say: no answer came in time"),
            ("drips", "does not say: no answer came in time"),
            ("endless", "more than webBody = 65536 bytes"),
            ("huge", "more than webBody = 65536 bytes"),
            ("fails", "the service says 500"),
            ("redirects", "the service says 302"),
            ("nonsense", "the service talks nonsense: "),
            ("short", "the service does not say: "),
            ("resets", "does not say: the connection failed"),
            ("no-http", "does not say: the answer is not HTTP"),
            ("denies", "the service does not allow it"),
        ] {
            let mut refused = Client::connected(address, "lua");
            refused.create_stream();
            refused.send(&wire::publish(1, name));
            // Meanwhile somebody else is allowed.
            let mut other = Client::connected(address, "lua");
            let allowed = publish(&mut other, &format!("beside-{name}"));
            assert!(allowed.says("NetStream.Publish.Start"), "{name}: {allowed:?}");
            let answer = refused.expect("NetStream.Publish.");
            assert!(answer.says(expected) && !answer.says("Publish.Start"), "{name}: {answer:?}");
        }
        // More than there are threads: the time in the queue counts, so that none waits longer than the others.
        let mut many: Vec<Client> = (0..20).map(|_| Client::connected(address, "lua")).collect();
        for client in &mut many {
            client.create_stream();
            client.send(&wire::publish(1, "hangs"));
        }
        for client in &mut many {
            let answer = client.expect("NetStream.Publish.");
            assert!(answer.says("does not say: no answer came in time"), "{answer:?}");
        }
        let answer = publish(&mut Client::connected(address, "lua"), "afterwards");
        assert!(answer.says("NetStream.Publish.Start"), "{answer:?}");
        let refused = ffmpeg::publish_film(&format!("rtmp://{address}/lua/denies")).run();
        assert!(refused.stderr.contains("the service does not allow it"), "{refused:?}");
    });
    let asked = service.asked();
    assert!(asked.iter().all(|asked| asked.path != "/trap"), "a redirect was followed");
    assert!(asked.iter().any(|asked| asked.path == "/redirects"));
    let grown = server.counters().usage().resident.saturating_sub(before.resident);
    assert!(grown < 64 << 20, "{grown} bytes");
    assert!(!server.log().contains(" ERROR "), "the script itself did not fail");
    server.stop();
}

/// HOOK-04: what a client chooses adds neither header fields nor members to what a script asks.
#[test]
fn what_a_script_sends_to_a_service_is_encoded() {
    let service = Service::start();
    let script = r#"
        function on_publish(client, id, name, query)
          local told = http.post_json("http://SERVICE/told", { name = name, query = query })
          local plain, why = http.get("http://SERVICE/plain?" .. query)
          local field, bad = http.request{ url = "http://SERVICE/field", headers = { ["X-Query"] = query } }
          log.info("asked: " .. tostring(told and told.status) .. " " .. tostring(why) .. " " .. tostring(bad))
          return told ~= nil
        end"#;
    let (server, _folder) = server(&script.replace("SERVICE", &service.address.to_string()), "");
    let name = "say \"so\" & <b>,{}\u{fc}";
    let query = "a=\"},{\"&b=1\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1";
    let mut client = Client::connected(server.address(), "lua");
    let answer = publish(&mut client, &format!("{name}?{query}"));
    assert!(answer.says("NetStream.Publish.Start"), "{answer:?}");
    server.wait_for_log("asked: 200 not a URL for this client");
    server.wait_for_log("the request cannot be sent");
    let asked = service.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/told"]);
    assert!(!asked[0].head.to_lowercase().contains("evil"), "{}", asked[0].head);
    let body: Value = serde_json::from_slice(&asked[0].body).expect("JSON");
    assert_eq!(body, json!({ "name": name, "query": query }));
    assert!(!server.log().contains("\nX-Evil"));
    server.stop();
}

/// SSRF-01: a request whose URL a peer has chosen does not lead to neighbours, if the script says so.
#[test]
fn a_url_of_a_peer_does_not_lead_to_neighbours() {
    let service = Service::start();
    let script = r#"
        function on_message(client, id, command, object, url)
          local answer, why = http.request{ url = url, public_only = command == "public" }
          client:result("_result", id, { json.null, answer and "status " .. answer.status or why })
        end"#;
    let (server, _folder) = server(script, "");
    let mut client = Client::connected(server.address(), "lua");
    let mut ask = |command: &str, url: &str| {
        client.send(&Message::command(0, command, 9.0, &[amf::null(), amf::string(url)]));
        client.expect("_result")
    };
    let port = service.address.port();
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "0.0.0.0"] {
        let answer = ask("public", &format!("http://{host}:{port}/trap"));
        assert!(answer.says("not of the public Internet"), "{host}: {answer:?}");
    }
    for url in ["http://10.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"] {
        let answer = ask("public", url);
        assert!(answer.says("not of the public Internet"), "{url}: {answer:?}");
    }
    for url in ["http://169.254.169.254/", "http://2852039166/", "http://[::ffff:169.254.169.254]/"] {
        for command in ["public", "any"] {
            let answer = ask(command, url);
            assert!(answer.says("169.254.0.0/16 in outboundPolicy.deny"), "{url}: {answer:?}");
        }
    }
    let answer = ask("public", "http://1.1.1.1:22/");
    assert!(answer.says("port 22 is one of outboundPolicy.denyPorts"), "{answer:?}");
    for url in ["file:///etc/passwd", "gopher://127.0.0.1/", "concat:a|b", "ftp://127.0.0.1/", "//127.0.0.1/"]
    {
        let answer = ask("any", url);
        assert!(answer.says("not a URL for this client"), "{url}: {answer:?}");
    }
    assert!(service.asked().is_empty(), "{:?}", service.asked());
    let answer = ask("any", &format!("http://127.0.0.1:{port}/"));
    assert!(answer.says("status 200"), "{answer:?}");
    server.stop();
}

/// SSRF-01: who may go where is configured, and changes while everything runs.
#[test]
fn the_outbound_policy_binds_scripts_and_changes_with_a_reload() {
    let service = Service::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("app.lua");
    let script = r#"
        function on_message(client, id, command, object, url)
          local answer, why = http.request{ url = url, public_only = command == "public" }
          client:result("_result", id, { json.null, answer and "status " .. answer.status or why })
        end"#;
    fs::write(&file, script).expect("a temporary file");
    let acceptor = "{ ip = \"127.0.0.1\", port = 0, protocol = \"inboundRtmp\" }";
    let block =
        format!("{{ name = \"lua\", library = \"vmapp\", script = {file:?}, acceptors = {{ {acceptor} }} }}");
    let config = || Config::new().workers(2).block(&block).block(&cli::administrator());
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    let mut client = Client::connected(server.address(), "lua");
    let url = format!("http://localhost:{}/", service.address.port());
    let mut asks = |public: &str, any: &str| {
        for (command, expected) in [("public", public), ("any", any)] {
            client.send(&Message::command(0, command, 9.0, &[amf::null(), amf::string(&url)]));
            let answer = client.expect("_result");
            assert!(answer.says(expected), "{command}: {answer:?}");
        }
    };
    asks("outboundPolicy.allow", "status 200");
    let port = service.address.port();
    for (policy, public, any) in [
        ("{ allow = { \"127.0.0.0/8\", \"::1\" } }".to_owned(), "status 200", "status 200"),
        (
            format!("{{ allow = {{ \"127.0.0.0/8\", \"::1\" }}, denyPorts = {{ {port} }} }}"),
            "outboundPolicy.denyPorts",
            "status 200",
        ),
        (
            "{ allow = { \"127.0.0.1\", \"::1\" }, deny = { \"127.0.0.0/8\", \"::1\" } }".to_owned(),
            "outboundPolicy.deny;",
            "outboundPolicy.deny;",
        ),
        ("{ ports = { 80, \"442-443\" } }".to_owned(), "outboundPolicy.ports", "outboundPolicy.ports"),
        ("{ schemes = { \"rtmp\" } }".to_owned(), "outboundPolicy.schemes", "outboundPolicy.schemes"),
    ] {
        server.rewrite(&config().top("outboundPolicy", &policy));
        let plan = session.done("reload plan=1");
        assert_eq!((&plan["outboundPolicy"], &plan["start"]), (&json!(true), &json!([])), "{plan}");
        session.done("reload");
        asks(public, any);
    }
    server.stop();
}

/// Fails in every callback; in those that answer requests only where it is asked to.
const FAILING: &str = r#"
local publisher
function on_load() error("on_load fails") end
function on_accept(client) error("on_accept fails") end
function on_connect(client, info)
  if client.query == "fail" then error("on_connect fails") end
  return true
end
function on_publish(client, id, name)
  if name == "bad" then error("on_publish fails") end
  return true
end
function on_play(client, id, name)
  if name == "bad" then error("on_play fails") end
  return true
end
function on_metadata(client, values, name) error("on_metadata fails") end
function on_unpublish(client, name) error("on_unpublish fails") end
function on_unplay(client, name) error("on_unplay fails") end
function on_play_stop(client, name) error("on_play_stop fails") end
function on_pong(client, delay, bytes) error("on_pong fails") end
function on_close(client, reason) error("on_close fails") end
function on_stream(name, live, client)
  if live and name == "film" then publisher = client end
  error("on_stream fails")
end
local ways = {
  fail = function() error("on_message fails") end,
  wait = function() sleep(0.01) error("the rest fails") end,
  index = function() local nothing return nothing.at.all end,
  table = function() error({ "not a text" }) end,
  after = function() timer.after(0, function() error("timer.after fails") end) end,
  every = function() timer.every(0.05, function() error("timer.every fails") end) end,
  http = function() http.send({ url = "http://127.0.0.1:1/" }, function() error("http.send fails") end) end,
  ask = function() server.send_command("version", {}, function() error("send_command fails") end) end,
  call = function(client) client:call("tellMe", { json.null }, function() error("call fails") end) end,
  frames = function() publisher:enable_av_cb(function() error("enable_av_cb fails") end) end,
  stop = function() publisher:unpublish() end,
}
function on_message(client, id, command)
  ways[command](client)
  client:result("_result", id, { json.null, "done" })
end
server.add_command("failing", { read_only = true }, function() error("the command fails") end)
"#;

fn line_of(text: &str) -> usize {
    FAILING.lines().position(|line| line.contains(text)).expect("a line of the script") + 1
}

/// Waits until the log has this error, with the line of the script that it is in.
fn expect_fault(server: &Server, text: &str) {
    let fault = format!("app.lua:{}: {text}", line_of(text));
    wait_for(&fault, SOON, || {
        let log = server.log();
        log.lines().any(|line| line.contains(" ERROR ") && line.contains(&fault)).then_some(())
    });
}

/// FLT-26: an error in any callback of a script is logged with its place, refuses what it is about, and ends nothing.
#[test]
fn errors_in_every_callback_are_told_with_their_place_and_end_nothing() {
    const REFUSED: &str = "the application failed";
    let (server, _folder) = server(FAILING, "pingInterval = 0.1, publisherReturn = 0");
    let address = server.address();
    let mut session = Session::operator(&server);
    expect_fault(&server, "on_load fails");
    let url = |stream: &str| format!("rtmp://{address}/lua/{stream}");
    let mut publisher = ffmpeg::publish_film(&url("film")).within(Duration::from_secs(300)).start();
    server.wait_for_publisher("film");
    let mut player = Recording::start(&url("film"));
    let pictures = |more: usize| {
        let seen = Recording::of_program(&player).of(Kind::Video).len();
        wait_for("more pictures", SOON, || {
            (Recording::of_program(&player).of(Kind::Video).len() >= seen + more).then_some(())
        });
    };
    pictures(1);

    // What is asked is refused.
    let mut services = server.services().iter().filter(|service| service.application == "lua");
    let own = services.find(|service| service.chain == "inboundRtmp").expect("its acceptor").address;
    Client::open(own).expect_close(SOON);
    expect_fault(&server, "on_accept fails");
    let mut refused = Client::shaken(address);
    refused.send(&wire::connect("lua?fail", "rtmp://localhost/lua?fail"));
    assert!(refused.expect("_error").says(REFUSED));
    expect_fault(&server, "on_connect fails");
    let mut client = Client::connected(address, "lua");
    let answer = publish(&mut client, "bad");
    assert!(answer.says(REFUSED) && !answer.says("Publish.Start"), "{answer:?}");
    expect_fault(&server, "on_publish fails");
    let refused = ffmpeg::publish_film(&url("bad")).run();
    assert!(refused.stderr.contains(REFUSED), "{refused:?}");
    let answer = Client::player(address, "lua", "bad").expect("NetStream.Play.");
    assert!(answer.says(REFUSED), "{answer:?}");
    expect_fault(&server, "on_play fails");
    let why = session.fails("failing");
    assert!(why.contains(REFUSED), "{why}");
    expect_fault(&server, "the command fails");

    // What is called, and what it has left to be called later.
    let mut caller = Client::connected(address, "lua");
    let mut call = |name: &str, answer: &str| {
        caller.send(&Message::command(0, name, 9.0, &[amf::null()]));
        let answer = caller.expect(answer);
        if name == "call" {
            let values = [amf::null(), amf::string("the result")];
            caller.send(&Message::command(0, "_result", 2.0, &values));
        }
        answer
    };
    for (name, fault) in [("fail", "on_message fails"), ("wait", "the rest fails")] {
        assert!(call(name, "_error").says(REFUSED), "{name}");
        expect_fault(&server, fault);
    }
    for name in ["index", "table", "nobody knows this"] {
        assert!(call(name, "_error").says(REFUSED), "{name}");
    }
    server.wait_for_log("attempt to index a nil value (local 'nothing')");
    server.wait_for_log("attempt to call a nil value");
    // Its text says no place, so the trace does.
    server.wait_for_log(&format!("app.lua:{}: in field", line_of("not a text")));
    for (name, fault) in [
        ("after", "timer.after fails"),
        ("every", "timer.every fails"),
        ("http", "http.send fails"),
        ("ask", "send_command fails"),
        ("call", "call fails"),
        ("frames", "enable_av_cb fails"),
    ] {
        call(name, "_result");
        expect_fault(&server, fault);
    }
    // The same error is told once in a second, with the number of those that were not.
    for fault in ["timer.every fails (", "enable_av_cb fails ("] {
        server.wait_for_log(fault);
    }

    // What it is told.
    for fault in ["on_metadata fails", "on_stream fails", "on_pong fails", "on_close fails"] {
        expect_fault(&server, fault);
    }
    pictures(25);
    let mut leaving = Recording::start(&url("film"));
    wait_for("a picture", SOON, || {
        (!Recording::of_program(&leaving).of(Kind::Video).is_empty()).then_some(())
    });
    leaving.kill();
    expect_fault(&server, "on_unplay fails");

    // Everything goes on.
    assert!(publisher.runs() && player.runs());
    let mut good = Client::connected(address, "lua");
    assert!(publish(&mut good, "good").says("NetStream.Publish.Start"));
    assert_eq!(application(&mut session, "lua")["health"], "well");
    drop(good);
    call("stop", "_result");
    expect_fault(&server, "on_unpublish fails");
    expect_fault(&server, "on_play_stop fails");
    player.kill();
    server.stop();
}

/// LOG-02: a peer that makes a script fail again and again does not fill the log, whatever the texts are.
#[test]
fn a_script_that_fails_again_and_again_writes_few_lines() {
    const CALLS: usize = 5000;
    let script = r#"
        function on_message(client, id, command)
          if command == "same" then error("always the same") end
          error("another: " .. command)
        end"#;
    let (server, _folder) = server(script, "");
    let mut client = Client::connected(server.address(), "lua");
    // Whoever does something may call as often as it likes.
    publish(&mut client, "busy");
    for name in ["same", "each"] {
        // A few at a time, so that neither side has to hold many.
        for round in 0..CALLS / 5 {
            for call in 0..5 {
                let name = if name == "same" { name.to_owned() } else { format!("each{}", 5 * round + call) };
                client.send(&Message::command(0, &name, 9.0, &[amf::null()]));
            }
            for _ in 0..5 {
                client.expect("the application failed");
            }
        }
    }
    let faults = || {
        let log = server.log();
        let errors: Vec<String> =
            log.lines().filter(|line| line.contains(" ERROR ")).map(str::to_owned).collect();
        errors
    };
    wait_for("what is told of the last ones", SOON, || {
        client.send(&Message::command(0, "same", 9.0, &[amf::null()]));
        client.expect("the application failed");
        faults().iter().any(|line| line.contains(" more that were not logged")).then_some(())
    });
    assert!(faults().len() < CALLS / 10, "{} lines", faults().len());
    server.stop();
}
