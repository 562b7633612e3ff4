//! Remote shared objects: clients on several workers, files that outlive the server, limits.

use std::{fs, path::Path};

use crtmp_tests::{
    Config, Counters, Server,
    cli::{Session, administrator},
    poll,
    shared_object::{
        CHANGE, RELEASE, REMOVE, REQUEST_CHANGE, SEND, SUCCESS, Said, SharedObject, USE_SUCCESS, key,
    },
    wire::{Client, Message, amf},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::SOON;

fn persistent(folder: &Path) -> Config {
    let table = format!("{{ persistent = true, folder = {:?} }}", folder.to_str().expect("a path in UTF-8"));
    Config::new().workers(2).application("sharedObjects", &table)
}

/// Two clients, on two workers.
fn two_clients(server: &Server) -> [Client; 2] {
    let clients = [(); 2].map(|()| Client::connected(server.address(), "live"));
    let spread = server.counters().connections_per_worker();
    assert_eq!(spread, [1, 1], "one on each worker");
    clients
}

/// What is counted of the objects of the application.
fn of_application(counters: &Counters) -> &Value {
    let applications = counters.json()["applications"].as_array().expect("a list");
    let ours = applications.iter().find(|application| application["name"] == "flvplayback");
    &ours.expect("the application")["sharedObjects"]
}

fn list(server: &Server) -> Value {
    Session::operator(server).done("listSharedObjects")
}

#[test]
fn clients_on_two_workers_share_an_object() {
    let server = Server::start(&Config::new().workers(2).block(&administrator()));
    let [mut one, mut two] = two_clients(&server);
    let room = SharedObject::transient("room/chat");
    assert_eq!(room.open(&mut one).kinds().len(), 2, "it is empty");
    one.send(&room.change("topic", &amf::string("trees")));
    let said = Said::expect(&mut one);
    assert_eq!((said.kinds(), said.version), (vec![SUCCESS], 1));
    let said = room.open(&mut two);
    assert_eq!((said.value("topic"), said.version), (Some(&amf::string("trees")[..]), 1));
    two.send(&room.change("topic", &amf::number(7.0)));
    assert_eq!(Said::expect(&mut two).kinds(), [SUCCESS]);
    assert_eq!(Said::expect(&mut one).value("topic"), Some(&amf::number(7.0)[..]));
    let greeting = [amf::string("onGreeting"), amf::boolean(true)].concat();
    one.send(&room.message(&[(SEND, greeting.clone())]));
    for client in [&mut one, &mut two] {
        assert_eq!(Said::expect(client).events, [(SEND, greeting.clone())], "it comes to all");
    }
    two.send(&room.remove("topic"));
    for client in [&mut one, &mut two] {
        let said = Said::expect(client);
        assert_eq!((said.kinds(), said.version), (vec![REMOVE], 3));
    }
    assert_eq!(
        list(&server),
        json!([{
            "application": "flvplayback",
            "name": "room/chat",
            "persistent": false,
            "version": 3,
            "slots": 0,
            "bytes": 0,
            "clients": 2,
            "unsaved": false,
        }])
    );
    // Who leaves is not counted any more; who lets go hears nothing more.
    drop(one);
    server
        .wait_for_counters("one use", SOON, |counters| (of_application(counters)["uses"] == 1).then_some(()));
    two.send(&room.message(&[(RELEASE, Vec::new())]));
    server.wait_for_counters("no object", SOON, |counters| {
        (of_application(counters)["objects"] == 0).then_some(())
    });
    two.expect_open();
    server.stop();
}

/// Each client is told in the notation that it has asked for, whatever the other speaks.
#[test]
fn clients_of_both_notations_share_an_object() {
    let server = Server::start(&Config::new().workers(2));
    let mut old = Client::connected(server.address(), "live");
    let mut new = Client::shaken(server.address());
    let properties = [("app", amf::string("live")), ("objectEncoding", amf::number(3.0))];
    new.send(&Message::command(0, "connect", 1.0, &[amf::object(&properties)]));
    assert_eq!(new.expect("_result").number_behind("objectEncoding"), 3.0, "it is agreed on");
    let room = SharedObject::transient("room");
    let of_type_16 =
        |message: Message| Message { kind: 16, payload: [&[0][..], &message.payload].concat(), ..message };
    new.send(&of_type_16(room.ask()));
    let said = Said::read(&new.expect_kind(16).payload[1..]);
    assert_eq!(said.kinds()[0], USE_SUCCESS);
    room.open(&mut old);
    // A byte array, which AMF0 does not know.
    let bytes = [0x11, 12, 5, b'h', b'i'];
    new.send(&of_type_16(room.change("data", &bytes)));
    assert_eq!(Said::read(&new.expect_kind(16).payload[1..]).kinds(), [SUCCESS]);
    assert_eq!(Said::expect(&mut old).value("data"), Some(&amf::string("hi")[..]));
    old.send(&room.change("data", &amf::string("ho")));
    assert_eq!(Said::read(&new.expect_kind(16).payload[1..]).value("data"), Some(&amf::string("ho")[..]));
    server.stop();
}

/// What has been acknowledged is there after the server was killed in that moment.
#[test]
fn an_acknowledged_change_outlives_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let room = SharedObject::persistent("rooms/1");
    for round in 0..5 {
        let server = Server::start(&persistent(folder.path()));
        let [mut one, mut two] = two_clients(&server);
        let said = room.open(&mut two);
        let before = (round > 0).then(|| amf::number(f64::from(round - 1)));
        assert_eq!(said.value("count"), before.as_deref(), "round {round}");
        assert_eq!(said.version, round as u32 * 2);
        room.open(&mut one);
        // The second of two comes into a write that is under way, or into the next.
        one.send(&room.change("first", &amf::string("x")));
        one.send(&room.change("count", &amf::number(f64::from(round))));
        while Said::expect(&mut one).events != [(SUCCESS, key("count"))] {}
        server.signal(Signal::SIGKILL);
        assert!(poll(SOON, || (!server.runs()).then_some(())).is_some(), "it is gone");
        assert_eq!(Said::expect(&mut two).kinds(), [CHANGE], "the other has heard of it as well");
    }
    // An orderly end writes what nobody has waited for.
    let server = Server::start(&persistent(folder.path()));
    let mut client = Client::connected(server.address(), "live");
    room.open(&mut client);
    client.send(&room.change("last", &amf::boolean(true)));
    assert_eq!(Said::expect(&mut client).kinds(), [SUCCESS]);
    drop(client);
    server.stop();
    let files: Vec<_> =
        fs::read_dir(folder.path().join("flvplayback")).expect("the application's folder").collect();
    assert_eq!(files.len(), 1, "one file, and nothing half: {files:?}");
}

#[test]
fn what_is_not_allowed_or_cannot_be_read_is_refused() {
    let server = Server::start(&Config::new());
    let mut client = Client::connected(server.address(), "live");
    let room = SharedObject::persistent("room");
    client.send(&room.ask());
    assert_eq!(Said::expect(&mut client).code(), Some("SharedObject.NoWriteAccess"), "it was not configured");
    SharedObject::transient("room").open(&mut client);
    client.send(&room.ask());
    assert_eq!(Said::expect(&mut client).code(), Some("SharedObject.BadPersistence"));
    for name in ["../room", "a/../b", "a//b", "", "a\nb"] {
        client.send(&SharedObject::transient(name).ask());
        assert_eq!(Said::expect(&mut client).code(), Some("SharedObject.UriMismatch"), "{name:?}");
    }
    client.expect_open();
    server.stop();

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("flvplayback/room.fso");
    fs::create_dir(folder.path().join("flvplayback")).expect("a folder is made");
    fs::write(&file, b"not what this server writes").expect("a file is written");
    let server = Server::start(&persistent(folder.path()));
    let mut client = Client::connected(server.address(), "live");
    client.send(&room.ask());
    assert_eq!(Said::expect(&mut client).code(), Some("SharedObject.NoReadAccess"));
    server.wait_for_log("it is no shared object of this server; it is left as it is");
    assert_eq!(fs::read(&file).expect("the file is there"), b"not what this server writes");
    // A folder that cannot be written to: nothing is promised.
    SharedObject::persistent("other").open(&mut client);
    fs::create_dir(folder.path().join("flvplayback/other.part")).expect("something in the way");
    client.send(&SharedObject::persistent("other").change("a", &amf::null()));
    assert_eq!(Said::expect(&mut client).code(), Some("SharedObject.NoWriteAccess"));
    server.wait_for_log("the file of a shared object cannot be written");
    fs::remove_dir(folder.path().join("flvplayback/other.part")).expect("it is out of the way");
    client.send(&SharedObject::persistent("other").change("b", &amf::null()));
    assert_eq!(Said::expect(&mut client).kinds(), [SUCCESS]);
    server.stop();
}

/// Whoever does not read its news is closed; the others notice nothing.
#[test]
fn a_client_that_does_not_read_is_closed() {
    let server = Server::start(&Config::new().workers(2).application("sendBuffer", "4096"));
    let [mut one, mut two] = two_clients(&server);
    let room = SharedObject::transient("room");
    room.open(&mut one);
    room.open(&mut two);
    let value = amf::string(&"x".repeat(60_000));
    let mut changes = 0;
    server.wait_for_counters("the one that does not read is gone", SOON, |counters| {
        for _ in 0..20 {
            changes += 1;
            one.send(&room.change("a", &value));
            assert_eq!(Said::expect(&mut one).kinds(), [SUCCESS]);
        }
        (counters.connections().len() == 1).then_some(())
    });
    assert_eq!(of_application(&server.counters())["changes"], changes);
    assert!(server.log().contains("controlQueue"), "it is said why");
    server.stop();
}

/// Many changes in one go: each is answered, in order, and none is lost.
#[test]
fn changes_keep_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    for (config, room) in [
        (Config::new().workers(2), SharedObject::transient("room")),
        (persistent(folder.path()), SharedObject::persistent("room")),
    ] {
        let server = Server::start(&config);
        let [mut one, mut two] = two_clients(&server);
        room.open(&mut one);
        room.open(&mut two);
        for number in 0..200 {
            let slot = [key("n"), amf::number(f64::from(number))].concat();
            one.send(&room.message(&[(REQUEST_CHANGE, slot)]));
        }
        for number in 0..200 {
            assert_eq!(Said::expect(&mut two).value("n"), Some(&amf::number(f64::from(number))[..]));
            assert_eq!(Said::expect(&mut one).version, number as u32 + 1);
        }
        server.stop();
    }
}

/// A script decides who may do what, and changes objects itself by the commands that operators have.
#[test]
fn a_script_decides_about_objects_and_changes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, objects) = (folder.path().join("app.lua"), folder.path().join("objects"));
    let text = r#"
        function on_shared_object(client, id, name, persistent, wishes)
          for _, wish in ipairs(wishes) do
            if wish.wish == "use" and name == "staff" then return false, "staff only" end
            if wish.wish == "change" and wish.slot == "topic" then
              return wish.value ~= "wrong", "not that", "App.WrongTopic"
            end
            if wish.wish == "change" and wish.slot == "count" then
              local reply = server.command("changeSharedObject",
                { application = "lua", name = name, slots = { last = wish.value }, send = { "onCount", 1 } })
              print("said: " .. reply.status .. " " .. tostring(reply.data.slots.last))
            end
          end
          return true
        end"#;
    fs::write(&script, text).expect("a file of ours");
    let keys = format!(
        "script = {script:?}, commands = {{ \"changeSharedObject\" }}, \
         sharedObjects = {{ persistent = true, folder = {objects:?} }}"
    );
    let block = format!("{{ name = \"lua\", library = \"vmapp\", {keys} }}");
    let server = Server::start(&Config::new().workers(2).block(&block).block(&administrator()));
    let [mut one, mut two] = [(); 2].map(|()| Client::connected(server.address(), "lua"));
    one.send(&SharedObject::transient("staff").ask());
    assert_eq!(Said::expect(&mut one).code(), Some("SharedObject.NoReadAccess"));
    let room = SharedObject::persistent("room");
    room.open(&mut one);
    room.open(&mut two);
    one.send(&room.change("topic", &amf::string("right")));
    assert_eq!(Said::expect(&mut one).kinds(), [SUCCESS]);
    Said::expect(&mut two);
    one.send(&room.change("topic", &amf::string("wrong")));
    let said = Said::expect(&mut one);
    assert_eq!((said.code(), said.value("topic")), (Some("App.WrongTopic"), Some(&amf::string("right")[..])));
    // What the script changes comes to all, while its own hook waits for that.
    one.send(&room.change("count", &amf::number(3.0)));
    for client in [&mut one, &mut two] {
        let said = Said::expect(client);
        assert_eq!((said.kinds(), said.value("last")), (vec![CHANGE, SEND], Some(&amf::number(3.0)[..])));
    }
    assert_eq!(Said::expect(&mut two).value("count"), Some(&amf::number(3.0)[..]));
    assert_eq!(Said::expect(&mut one).kinds(), [SUCCESS]);
    server.wait_for_log("said: SUCCESS 3");
    drop([one, two]);
    server.wait_for_counters("nobody uses it", SOON, |counters| {
        let applications = counters.json()["applications"].as_array()?;
        let ours = applications.iter().find(|application| application["name"] == "lua")?;
        (ours["sharedObjects"]["objects"] == 0).then_some(())
    });
    // From its file, and into it.
    let mut operator = Session::operator(&server);
    let shown = operator.done("getSharedObject application=lua name=room");
    assert_eq!(shown["slots"], json!({ "topic": "right", "last": 3, "count": 3 }));
    let shown =
        operator.done("changeSharedObject application=lua name=room remove=last slots={\"topic\":null}");
    assert_eq!((&shown["slots"], &shown["clients"]), (&json!({ "topic": null, "count": 3 }), &json!(0)));
    let shown = operator.done("changeSharedObject application=lua name=room clear=1");
    assert_eq!((&shown["slots"], &shown["version"]), (&json!({}), &json!(5)));
    assert!(operator.fails("getSharedObject application=lua name=none").contains("no such shared object"));
    assert!(operator.fails("changeSharedObject application=lua name=room").contains("nothing to change"));
    assert!(
        operator
            .fails("changeSharedObject application=flvplayback name=room clear=1")
            .contains("nobody uses")
    );
    server.stop();
}
