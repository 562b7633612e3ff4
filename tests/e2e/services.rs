//! Ports that commands open and close.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crtmp_tests::cli::{Faces, Session, administrator};
use crtmp_tests::wire::Client;
use crtmp_tests::{Config, Launch, Server, wait_for};
use serde_json::{Value, json};

use crate::SOON;
use crate::commands::{SECRET, config, operator, still};

/// What a connection hears when it begins as RTMP does.
pub(crate) fn is_served(address: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else { return false };
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket option");
    let _ = socket.write_all(&[&[3][..], &[0; 1536]].concat());
    socket.read(&mut [0; 1]).is_ok_and(|count| count == 1)
}

#[test]
fn commands_open_so_many_ports_and_no_more() {
    let server = Server::start(&config().limit("services", "3"));
    let mut session = operator(Faces::of(&server));
    let create = "createService ip=127.0.0.1 port=0 protocol=inboundRtmp";
    let mut ids: Vec<_> = (0..3).map(|_| session.done(create)["id"].to_string()).collect();
    let why = session.fails(create);
    assert!(why.contains("commands have opened 3 ports (`limits.services` = 3)"), "{why}");
    // One of the configuration's makes no room.
    let own = session.done("listServices")[0]["id"].to_string();
    session.done(&format!("shutdownService id={own}"));
    session.fails(create);
    session.done(&format!("shutdownService id={}", ids.remove(0)));
    session.done(create);
    session.fails(create);
    server.stop();
}

#[test]
fn services_open_and_close() {
    let server = Server::start(&config());
    let mut session = operator(Faces::of(&server));
    let before = still(&session.done("listServices"));
    let service =
        session.done("createService ip=127.0.0.1 port=0 protocol=inboundRtmp application=appselector");
    let (id, port) = (service["id"].to_string(), service["port"].as_u64().expect("a number"));
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    assert!(is_served(address));
    let mut client = Client::publisher(address, "live", "through it");

    let taken = format!("createService ip=127.0.0.1 port={port} protocol=inboundRtmp");
    assert!(session.fails(&taken).contains("in use"));
    for (line, expected) in [
        ("createService ip=0.0.0.0 port=0 protocol=inboundTxtCli application=live", "secret"),
        ("createService ip=127.0.0.1 port=0 protocol=inboundNonsense", "inboundNonsense"),
        ("createService ip=127.0.0.1 port=65536 protocol=inboundRtmp", "65535"),
        ("createService ip=localhost port=0 protocol=inboundRtmp", "IP address"),
        ("createService ip=127.0.0.1 port=0 protocol=inboundRtmp application=nobody", "nobody"),
        ("createService ip=127.0.0.1 port=0 protocol=inboundJsonCli application=admin keys={\"x\":1}", "x"),
    ] {
        let why = session.fails(line);
        assert!(why.contains(expected), "{line}: {why}");
    }

    assert_eq!(session.done(&format!("enableService id={id} enable=0"))["enabled"], false);
    wait_for("a port that nobody is served at", SOON, || (!is_served(address)).then_some(()));
    client.expect_open();
    assert_eq!(session.done(&format!("enableService id={id} enable=true"))["enabled"], true);
    wait_for("a port that is served again", SOON, || is_served(address).then_some(()));

    session.done(&format!("shutdownService id={id}"));
    wait_for("a closed port", SOON, || TcpStream::connect(address).is_err().then_some(()));
    client.expect_open();
    assert!(session.fails(&format!("shutdownService id={id}")).contains("no service"));
    assert_eq!(still(&session.done("listServices")), before);
    server.stop();
}

#[test]
fn the_last_command_line_stays_open() {
    let server = Server::start(&Config::new().block(&administrator()));
    let mut session = Session::operator(&server);
    let services = session.done("listServices");
    let services = services.as_array().expect("a list").iter();
    let id = |chain: &str| {
        services.clone().find(|service| service["protocol"] == chain).expect("it is there")["id"].clone()
    };
    let (own, media) = (id("inboundJsonCli"), id("inboundRtmp"));
    for line in [format!("shutdownService id={own}"), format!("enableService id={own} enable=0")] {
        assert!(session.fails(&line).contains("last command line"), "{line}");
    }
    session.done(&format!("enableService id={media} enable=0"));
    // At this one nobody would answer.
    let deaf = "createService ip=127.0.0.1 port=0 protocol=inboundJsonCli application=flvplayback";
    assert!(session.fails(deaf).contains("takes no commands"));
    assert!(session.fails(&format!("shutdownService id={own}")).contains("last command line"));
    session.done("createService ip=127.0.0.1 port=0 protocol=inboundTxtCli application=admin");
    session.done(&format!("shutdownService id={own}"));
    session.done("version");
    server.stop();
}

#[test]
fn services_outlive_a_reload_that_leaves_them_their_application_and_address() {
    let server = Server::start(&config());
    let mut session = operator(Faces::of(&server));
    let mut create = |application: &str, enabled: bool| {
        let line =
            format!("createService ip=127.0.0.1 port=0 protocol=inboundRtmp application={application}");
        let service = session.done(&line);
        if !enabled {
            session.done(&format!("enableService id={} enable=0", service["id"]));
        }
        service["port"].as_u64().expect("a number")
    };
    // What the configuration wants open is open, whatever a command has done to it before.
    let claimed = create("appselector", false);
    let (orphaned, kept) = (create("asker", true), create("appselector", true));
    let address = |port: u64| format!("127.0.0.1:{port}").parse().expect("an address");

    let acceptor = format!("{{ ip = \"127.0.0.1\", port = {claimed}, protocol = \"inboundRtmp\" }}");
    let mut client = Client::connected(address(orphaned), "asker");
    let admin = Faces::block(&format!("secret = \"{SECRET}\", maxSessions = 200"));
    let without_asker = Config::new().workers(2).block(&admin);
    server.rewrite(&without_asker.clone().application("acceptors", &format!("{{ {acceptor} }}")));
    let plan = session.done("reload plan=1");
    let shown = |port: u64, application: &str| json!([format!("127.0.0.1:{port} inboundRtmp {application}")]);
    assert_eq!(plan["open"], shown(claimed, "flvplayback"), "{plan}");
    let closed = [shown(claimed, "appselector")[0].clone(), shown(orphaned, "asker")[0].clone()];
    assert_eq!(plan["close"], json!(closed), "{plan}");
    let sessions = plan["sessionsOfClosed"].as_array().expect("a list");
    let sessions: Vec<_> = sessions.iter().map(|one| (&one["of"], &one["count"])).collect();
    assert_eq!(sessions, [(&closed[1], &json!(1))], "{plan}");

    let done = session.done("reload");
    assert_eq!((&done["opened"], &done["closed"]), (&json!(1), &json!(2)), "{done}");
    wait_for("a closed port", SOON, || TcpStream::connect(address(orphaned)).is_err().then_some(()));
    client.expect_open();
    assert!(is_served(address(claimed)) && is_served(address(kept)));
    let services = session.done("listServices");
    let of = |port: u64| {
        let all = services.as_array().expect("a list");
        all.iter().find(|one| one["port"] == port).map(|one| one["appName"].clone())
    };
    assert_eq!(of(claimed), Some(json!("flvplayback")), "{services}");
    assert_eq!((of(orphaned), of(kept)), (None, Some(json!("appselector"))), "{services}");
    // The configuration has it now, and can give it up.
    server.rewrite(&without_asker);
    assert_eq!(session.done("reload")["closed"], 1);
    wait_for("a closed port", SOON, || TcpStream::connect(address(claimed)).is_err().then_some(()));
    server.stop();
}

/// Also the one at the address of a port that a command has closed.
#[test]
fn a_reload_that_changes_nothing_closes_nothing() {
    let port = crate::free_port();
    let acceptor = format!("{{ ip = \"127.0.0.1\", port = {port}, protocol = \"inboundJsonCli\" }}");
    let block = format!("{{ name = \"admin\", secret = {SECRET:?}, acceptors = {{ {acceptor} }} }}");
    let server = Server::start(&Config::new().block(&block));
    let open = || {
        let mut session = Session::open(SocketAddr::from(([127, 0, 0, 1], port)));
        session.done(&format!("auth secret={}", SECRET.replace(' ', "\\ ")));
        session
    };
    let mut session = open();
    let create = |port: u16| {
        format!("createService ip=127.0.0.1 port={port} protocol=inboundJsonCli application=admin")
    };
    let other = session.done(&create(0))["id"].clone();
    let services = session.done("listServices");
    let mut services = services.as_array().expect("a list").iter();
    let own = services.find(|one| one["port"] == port).expect("it is there")["id"].clone();
    session.done(&format!("shutdownService id={own}"));
    // Its worker lets go of it in its own time.
    let again = || (session.run(&create(port))["status"] == "SUCCESS").then_some(());
    wait_for("the port to be free", SOON, again);
    session.done(&format!("shutdownService id={other}"));

    let before = still(&session.done("listServices"));
    let plan = session.done("reload plan=1");
    assert_eq!((&plan["open"], &plan["close"]), (&json!([]), &json!([])), "{plan}");
    assert_eq!(session.done("reload")["closed"], 0);
    assert_eq!(still(&session.done("listServices")), before);
    open().done("version");
    server.stop();
}

/// Leaves the server so many files that it could open, and those that are open.
fn leave_descriptors(server: &Server, count: usize) {
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).expect("it runs");
    let open: Vec<usize> = open
        .filter_map(|entry| entry.expect("an entry").file_name().to_str().and_then(|name| name.parse().ok()))
        .collect();
    let limit = (0..).filter(|number| !open.contains(number)).nth(count).expect("numbers do not end");
    allow_descriptors(server, limit);
}

fn allow_descriptors(server: &Server, limit: usize) {
    let launch = Launch::new("prlimit").args("--pid").arg(server.id().to_string());
    launch.arg(format!("--nofile={limit}:")).run().success();
}

#[test]
fn a_lack_of_descriptors_costs_no_port() {
    let server = Server::start(&config());
    let mut session = operator(Faces::of(&server));
    let create = "createService ip=127.0.0.1 port=0 protocol=inboundRtmp application=appselector";
    let services: Vec<Value> = (0..20).map(|_| session.done(create)).collect();
    let (id, enabled) = (services[7]["id"].clone(), still(&session.done("listServices")));
    session.done(&format!("enableService id={id} enable=0"));
    let disabled = still(&session.done("listServices"));
    leave_descriptors(&server, 0);
    let why = session.fails(&format!("enableService id={id} enable=1"));
    assert!(why.contains("stays disabled"), "{why}");
    assert_eq!(still(&session.done("listServices")), disabled);
    allow_descriptors(&server, 1000);
    session.done(&format!("enableService id={id} enable=1"));
    assert_eq!(still(&session.done("listServices")), enabled);

    // One is for the file of the configuration.
    server.rewrite(&config().top("chains", "{ inboundMine = { \"rtmp\" } }"));
    leave_descriptors(&server, 1);
    session.done("reload");
    assert_eq!(still(&session.done("listServices")), enabled);
    allow_descriptors(&server, 1000);
    for service in &services {
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        assert!(is_served(SocketAddr::from(([127, 0, 0, 1], port))), "{service}");
    }
    server.stop();
}
