//! The mistakes that people make, and what they read about them.

use std::fs;
use std::time::Duration;

use crtmp_host::config::DuplicatePublisher;
use tempfile::TempDir;

use super::*;

/// Runs a script; its folder is also given for files beside it.
fn run_in(folder: &TempDir, source: impl AsRef<[u8]>, budget: Budget) -> Result<Configuration, LoadError> {
    let path = folder.path().join("test.lua");
    fs::write(&path, source).unwrap();
    load_within(&path, budget)
}

/// What is said about a script, without the folder.
fn said_within(source: impl AsRef<[u8]>, budget: Budget) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = run_in(&folder, source, budget).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

fn said(source: impl AsRef<[u8]>) -> String {
    said_within(source, Budget::default())
}

fn good(source: &str) -> Configuration {
    run_in(&tempfile::tempdir().unwrap(), source, Budget::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// A script with one application that has these further keys.
fn with(keys: &str) -> String {
    format!(
        "configuration = {{\n  applications = {{\n    {{ name = \"one\", default = true,\n{keys}\n    }},\n  }},\n}}"
    )
}

#[test]
fn a_whole_configuration_is_read() {
    let configuration = good(
        r#"
        local ports = {}
        for port = 0, 2 do ports[#ports + 1] = { ip = "::1", port = port, protocol = "inboundRtmp" } end
        configuration = {
          daemon = false, pathSeparator = "/", workers = 2, shutdownTimeout = 0.5,
          limits = { gopMessages = 50, playerCut = 3 },
          logAppenders = { { name = "c", type = "coloredConsole", level = 6 }, { type = "json" } },
          applications = {
            rootDirectory = "apps",
            { name = "one", default = true, protocol = "dynamiclinklibrary", aliases = { "a", "b" }, acceptors = ports,
              duplicatePublisher = "replace", targetServers = { { ip = "x" } }, keep = {}, enableCheckBandwidth = false },
            { name = "two", acceptors = {}, aliases = {}, mediaStorage = {}, externalStreams = {} },
          },
        }"#,
    );
    let one = &configuration.applications.list[0];
    assert_eq!(one.acceptors.len(), 3);
    assert_eq!(one.duplicate_publisher, DuplicatePublisher::Replace);
    assert_eq!(serde_json::to_string(&one.settings).unwrap(), r#"{"keep":[],"targetServers":[{"ip":"x"}]}"#);
    assert_eq!(configuration.limits.gop_messages, 50);
    assert_eq!(good(&show(&configuration)), configuration);
}

#[test]
fn what_is_shown_can_be_read_again() {
    let configuration =
        good(&with(r#"["end"] = { list = { 1, 2.5 }, settings = "a\n\"\\\u{1b}", ["x y"] = { z = 1 } }"#));
    let shown = show(&configuration);
    assert_eq!(good(&shown), configuration, "{shown}");
}

#[test]
fn secrets_are_not_shown() {
    let shown = show(&good(&with(r#"secret = "open sesame", url = "rtmp://u:sesame@h/a""#)));
    assert!(shown.contains(r#"secret = "***""#) && shown.contains(r#""rtmp://u:***@h/a""#), "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
}

#[test]
fn streams_to_pull_are_tables_in_a_list() {
    let streams = r#"externalStreams = { { uri = { "rtmp://a/b/c", "rtmp://d/e/c" }, keepAlive = false } }"#;
    let pulled = &good(&with(streams)).applications.list[0].external_streams;
    assert_eq!(pulled[0]["uri"].as_array().map(Vec::len), Some(2));
    for (streams, expected) in [
        (r#"{ uri = "rtmp://u:hidden@a/b/c" }"#, "externalStreams: found a table with named keys"),
        (r#"{ "rtmp://u:hidden@a/b/c" }"#, "externalStreams[1]: found something that is no table"),
        (r#"{ { uri = "rtmp://u:hidden@a/b" } }"#, "externalStreams[1].uri: found an address without"),
        (
            r#"{ { uri = "rtmp://a/b/c", keepalive = true } }"#,
            "externalStreams[1].keepalive: found an unknown key",
        ),
    ] {
        let text = said(with(&format!("externalStreams = {streams}")));
        assert!(text.contains(expected) && !text.contains("hidden"), "{streams}: {text}");
    }
}

#[test]
fn a_typo_in_a_key() {
    insta::assert_snapshot!(
        said("configuration = {\n  applications = { { name = \"one\", default = true,\n    acceptors = {\n      { ip = \"0.0.0.0\", prt = 1935, protocol = \"inboundRtmp\" } } } },\n  logAppendrs = {},\n  limits = { gopMesages = 3 }\n}"),
        @"
    test.lua:4: configuration.applications[1].acceptors[1].prt: found an unknown key, expected one of `ip`, `port`, `protocol`; did you mean `port`?
    test.lua:5: configuration.logAppendrs: found an unknown key, expected one of the keys in docs/configuration.md; did you mean `logAppenders`?
    test.lua:6: configuration.limits.gopMesages: found an unknown key, expected one of the keys in docs/configuration.md; did you mean `gopMessages`?
    "
    );
    insta::assert_snapshot!(said(with("validatehandshake = true,\nacceptros = {}")), @"
    test.lua:4: configuration.applications[1].validatehandshake: found an unknown key, expected a key of the server, or one of the application that no key of the server resembles; did you mean `validateHandshake`?
    test.lua:5: configuration.applications[1].acceptros: found an unknown key, expected a key of the server, or one of the application that no key of the server resembles; did you mean `acceptors`?
    ");
}

#[test]
fn a_wrong_type() {
    insta::assert_snapshot!(
        said(with(
            "acceptors = {\n{ ip = \"localhost\", port = \"1935\", protocol = 7 },\n{ ip = \"::\", port = 1935.0, protocol = \"inboundRtmp\" },\n{ ip = \"::\", port = 70000, protocol = \"inboundRtmp\" },\n\"inboundRtmp\" },\naliases = \"live\",\ndefault = \"true\",\nhookTimeout = -1,\nduplicatePublisher = \"replaceIfIdel\",\ndescription = { 1 }"
        )),
        @r#"
    test.lua:5: configuration.applications[1].acceptors[1].ip: found "localhost" (a string), expected an IP address such as "0.0.0.0" or "::"; host names are not looked up, write the address
    test.lua:5: configuration.applications[1].acceptors[1].port: found "1935" (a string), expected a whole number from 0 to 65535; write it without quotes
    test.lua:5: configuration.applications[1].acceptors[1].protocol: found 7 (a number), expected the name of a chain, such as "inboundRtmp"
    test.lua:6: configuration.applications[1].acceptors[2].port: found 1935.0 (a number), expected a whole number from 0 to 65535; write it without a fraction; in Lua `//` divides without one
    test.lua:7: configuration.applications[1].acceptors[3].port: found 70000 (a number), expected a whole number from 0 to 65535
    test.lua:8: configuration.applications[1].acceptors[4]: found "inboundRtmp" (a string), expected a table with `ip`, `port` and `protocol`
    test.lua:9: configuration.applications[1].aliases: found "live" (a string), expected a list of strings
    test.lua:10: configuration.applications[1].default: found "true" (a string), expected true or false; write it without quotes
    test.lua:11: configuration.applications[1].hookTimeout: found -1 (a number), expected a number of seconds from 0.05 to 3600
    test.lua:12: configuration.applications[1].duplicatePublisher: found "replaceIfIdel" (a string), expected one of "reject", "replace", "replaceIfIdle"; did you mean "replaceIfIdle"?
    test.lua:13: configuration.applications[1].description: found a list, expected a string
    "#
    );
    insta::assert_snapshot!(
        said("configuration = {\n  daemon = 1,\n  limits = { gopMessages = \"many\", playerCut = true, amfDepth = 65 },\n  workers = {},\n  logAppenders = { type = \"console\" },\n  applications = 3\n}"),
        @r#"
    test.lua:2: configuration.daemon: found 1 (a number), expected true or false
    test.lua:3: configuration.limits.gopMessages: found "many" (a string), expected a whole number from 16 to 1000000
    test.lua:3: configuration.limits.playerCut: found true (a boolean), expected a number of seconds from 0.1 to 86400
    test.lua:4: configuration.workers: found an empty table, expected a whole number from 1 to 256
    test.lua:5: configuration.logAppenders: found a table with named keys, expected a list of tables; put one more pair of braces around it
    test.lua:6: configuration.applications: found 3 (a number), expected a list of applications and `rootDirectory`
    "#
    );
}

#[test]
fn a_duplicate_name() {
    insta::assert_snapshot!(
        said("configuration = { applications = {\n  { name = \"one\", default = true },\n  { name = \"two\" },\n  { name = \"one\" } } }"),
        @r#"test.lua:4: configuration.applications[3].name: found "one" again, after configuration.applications[1].name, expected a name that no other application or alias has"#
    );
}

#[test]
fn a_duplicate_alias() {
    insta::assert_snapshot!(
        said("configuration = { applications = {\n  { name = \"one\", default = true, aliases = { \"live\" } },\n  { name = \"two\", aliases = {\n    \"vod\",\n    \"live\" } } } }"),
        @r#"test.lua:5: configuration.applications[2].aliases[2]: found "live" again, after configuration.applications[1].aliases[1], expected a name that no other application or alias has"#
    );
}

#[test]
fn no_default_or_two() {
    insta::assert_snapshot!(said("configuration = {\n  applications = { { name = \"one\" } } }"), @"test.lua:2: configuration.applications: found no default application, expected exactly one application with default=true; add default=true to the one that shall serve connections which name no known application");
    insta::assert_snapshot!(
        said("configuration = { applications = {\n  { name = \"one\", default = true },\n  { name = \"two\", default = true } } }"),
        @"test.lua:3: configuration.applications[2].default: found a second default application, after configuration.applications[1], expected exactly one application with default=true; take it out of the other one"
    );
    insta::assert_snapshot!(said("configuration = {}"), @"test.lua:1: configuration.applications: found no application, expected exactly one application with default=true; add default=true to the one that shall serve connections which name no known application");
}

#[test]
fn keys_that_are_not_served() {
    insta::assert_snapshot!(
        said(with("acceptors = {\n{ ip = \"::\", port = 1, protocol = \"inboundRtmp\", localStreamName = \"a\" } },\nmediaStorage = { mediaFolder = \"x\" },\nrenameBadFiles = true,\nmaxRtmpOutBuffer = 1") + "\nconfiguration.instancesCount = 8"),
        @"
    test.lua:5: configuration.applications[1].acceptors[1].localStreamName: found a key of MPEG-TS and live FLV input (`inboundTcpTs`, `inboundUdpTs`, `inboundLiveFlv`), which is not supported yet, expected no such key
    test.lua:6: configuration.applications[1].mediaStorage: found a key of playing files (video on demand), which is not supported yet, expected no such key, or an empty table
    test.lua:7: configuration.applications[1].renameBadFiles: found a key of playing files (video on demand), which is not supported yet, expected no such key, or false
    test.lua:8: configuration.applications[1].maxRtmpOutBuffer: found a key that is not supported, expected no such key; `limits.playerQueueBytes` and `maxLag` bound how far a player may be behind
    test.lua:12: configuration.instancesCount: found a key that is not supported, expected no such key; one process uses all cores by itself; `workers` sets the number of worker threads
    "
    );
}

#[test]
fn tests_of_bandwidth_are_read_and_their_mistakes_have_their_places() {
    let read = good(&with(r#"enableCheckBandwidth = true, bandcheck = { key = "k", limitKbps = 800 }"#));
    let one = &read.applications.list[0];
    assert!(one.enable_check_bandwidth && one.bandcheck.key.as_deref() == Some("k"));
    assert_eq!(good(&show(&read)), read);
    let place = "configuration.applications[1]";
    assert_eq!(
        said(with("enableCheckBandwidth = 1,\nbandcheck = 7")),
        format!(
            "test.lua:4: {place}.enableCheckBandwidth: found 1 (a number), expected true or false\n\
             test.lua:5: {place}.bandcheck: found 7 (a number), expected a table with `key`, `limitKbps` or the like"
        )
    );
    let mistakes = said(with("bandcheck = { key = 7, interval = true, limitKbps = 'x', kee = 1 }"));
    for (key, expected) in [
        ("key", "a string"),
        ("interval", "a number of seconds from 0 to 86400"),
        ("limitKbps", "a whole number from 8 to 10000000"),
        ("kee", "one of `key`, `interval`, `limitKbps`"),
    ] {
        let start = format!("{place}.bandcheck.{key}: found ");
        let line =
            mistakes.lines().find(|line| line.contains(&start)).unwrap_or_else(|| panic!("{mistakes}"));
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_script_that_fails() {
    insta::assert_snapshot!(said("configuration = {}\nlocal x = settings.port"), @"test.lua:2: attempt to index a nil value (global 'settings')");
    insta::assert_snapshot!(said("\nerror('no network card')"), @"test.lua:2: no network card");
    insta::assert_snapshot!(said("configuration = {\n  daemon == true\n}"), @"test.lua:1: configuration: found a list, expected a table with named keys");
    insta::assert_snapshot!(said("configuration = {\n  daemon = true\n  workers = 1\n}"), @"test.lua:3: '}' expected (to close '{' at line 1) near 'workers'");
    insta::assert_snapshot!(said("io.open('x')"), @"test.lua:1: attempt to index a nil value (global 'io')");
}

#[test]
fn a_script_that_does_not_end() {
    let budget = Budget { instructions: 100_000, ..Budget::default() };
    insta::assert_snapshot!(said_within("while true do end", budget), @"test.lua:1: the script used up its 100000 instructions; look for a loop that does not end");
    insta::assert_snapshot!(said_within("\nwhile true do pcall(function() while true do end end) end", budget), @"test.lua:2: the script used up its 100000 instructions; look for a loop that does not end");
    let quick = Budget { time: Duration::from_millis(200), ..Budget::default() };
    insta::assert_snapshot!(
        said_within("string.rep('a', 30000):find(string.rep('.-', 20) .. 'b')", quick),
        @"test.lua: the script ran for more than 0.2 seconds; look for a loop or a search pattern that does not end"
    );
}

#[test]
fn a_script_that_takes_all_memory() {
    let budget = Budget { memory: 4 * 1024 * 1024, ..Budget::default() };
    insta::assert_snapshot!(said_within("local t = {}\nwhile true do t[#t + 1] = 'x' .. #t end", budget), @"test.lua: the script used up its memory; look for a table or text that grows for ever");
    insta::assert_snapshot!(said_within("while true do pcall(string.rep, 'x', 1 << 30) end", budget), @"test.lua: the script used up its memory; look for a table or text that grows for ever");
}

#[test]
fn a_script_cannot_break_the_interpreter() {
    for source in [
        "local function f() return f() + 1 end f()",
        "local function f() local good, why = pcall(f) error(why) end f()",
        "local function f() return (('x'):gsub('x', f)) end f()",
        "error()",
        "error(string.rep('\\27[2J', 1 << 20))",
        "error({})",
        "error(setmetatable)",
        "xpcall(error, error)",
        "string.rep('x', 1 << 40)",
        "local t = {} for i = 1, 1 << 40 do t[i] = i end",
        "table.concat({}, 'x', 1, 1 << 40)",
        "_G = nil pairs = nil error('still here')",
        "configuration = 1 / 0",
        "return {}",
        "goto nowhere",
        "local x <close> = 1",
        "os.date('%E')",
        "string.format('%999999d', 1)",
        "('x'):rep(-1, nil):find('[')",
        "require('')",
        "require(nil)",
        "dofile()",
        "dofile('.')",
        "utf8.char(-1)",
        "select(-5)",
    ] {
        let text = said(source);
        assert!(text.starts_with("test.lua"), "{source}: {text}");
        assert!(text.len() < 5000 && !text.contains('\u{1b}'), "{source}: {} bytes", text.len());
    }
}

#[test]
fn a_script_that_leaves_no_table() {
    insta::assert_snapshot!(said(""), @"test.lua: the script does not set the global `configuration`");
    insta::assert_snapshot!(said("Configuration = { daemon = true }"), @"test.lua: the script does not set the global `configuration`; it sets `Configuration`: rename that");
    insta::assert_snapshot!(said("configuration = 'x'"), @"test.lua: `configuration` is a string, expected a table");
}

#[test]
fn a_table_that_is_no_data() {
    insta::assert_snapshot!(
        said("local t = {}; t.me = t\nconfiguration = {\n  daemon = print,\n  limits = t,\n  shutdownTimeout = 0/0,\n  pathSeparator = '\\255',\n  logAppenders = { { type = 'console' }, nil, { type = 'json' } },\n  workers = { 1, x = 2 },\n applications = { list = {} } }"),
        @"
    test.lua:3: configuration.daemon: found a function, expected a string, a number, a boolean or a table
    test.lua:4: configuration.limits.me: found a table that contains itself, expected tables without cycles
    test.lua:5: configuration.shutdownTimeout: found NaN, expected a number that is finite
    test.lua:6: configuration.pathSeparator: found a string that is not UTF-8, expected text
    test.lua:7: configuration.logAppenders[2]: found a list in which entry 2 is missing, expected a list without holes; a variable in it may be nil: look for a misspelt name
    test.lua:8: configuration.workers: found a list that also has the key `x`, expected either a list or named keys
    test.lua:9: configuration.applications.list: found an unknown key, expected the blocks of the applications, and `rootDirectory`
    "
    );
    insta::assert_snapshot!(said("local t = {}\nfor i = 1, 40 do t = { t } end\nconfiguration = { limits = t }"), @"test.lua:3: configuration.limits[1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1]: found one more table, expected at most 32 tables within one another");
    insta::assert_snapshot!(
        said("local t = { 1 }\nfor i = 1, 25 do t = { t, t } end\nconfiguration = { limits = t }").lines().next().unwrap(),
        @"test.lua:3: configuration.limits[1][1][1][1][1][1][1][1][1][2][1][1][1][1][1][2][1][1][1][2][1][2][2][2][2]: found too many values, expected at most 100000 in all"
    );
}

#[test]
fn files_that_are_no_script() {
    insta::assert_snapshot!(said(b"\x1bLua"), @"test.lua: is compiled Lua; give the text that it was compiled from");
    insta::assert_snapshot!(said(b"a = 1\nb = '\xff'"), @"test.lua: line 2 is not UTF-8; save the file in that encoding");
    insta::assert_snapshot!(said(vec![b' '; 2_000_000]), @"test.lua: is longer than 1048576 bytes; that is no configuration");
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in
        [(folder.path().to_owned(), "is a folder"), (folder.path().join("none.lua"), "cannot be read")]
    {
        let error = load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {text}", path.display())), "{error}");
    }
}

#[test]
fn nothing_leads_out_of_the_sandbox() {
    let names = [
        "io",
        "debug",
        "package",
        "coroutine",
        "load",
        "loadstring",
        "loadfile",
        "collectgarbage",
        "setmetatable",
        "getmetatable",
        "warn",
        "os.execute",
        "os.exit",
        "os.remove",
        "os.rename",
        "os.tmpname",
        "os.setlocale",
        "string.dump",
        "('').dump",
    ];
    for name in names {
        let source = format!("assert({name} == nil, 'there')\n{}", with(""));
        good(&source);
    }
    good(&format!("assert(os.getenv('PATH') and os.time() and os.date() and os.clock())\n{}", with("")));
    good(&format!(
        "assert(select('#', pcall(error, 'x')) == 2 and not xpcall(error, function(m) end, 'x'))\n{}",
        with("")
    ));
}

#[test]
fn files_beside_the_script_can_be_loaded_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("parts")).unwrap();
    let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    write("parts/ports.lua", b"count = (count or 0) + 1\nreturn { rtmp = 1935 }");
    write("broken.lua", b"\n\nerror('broken')");
    write("endless.lua", b"dofile('endless.lua')");
    write("compiled.lua", b"\x1bLua");
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link.lua")).unwrap();

    let source =
        with("acceptors = { { ip = '::', port = require('parts.ports').rtmp, protocol = 'inboundRtmp' } }");
    let twice = "require('parts.ports')\ndofile('parts/ports.lua')\nassert(count == 2)\n";
    let configuration = run_in(&folder, format!("{twice}{source}"), Budget::default()).unwrap();
    assert_eq!(configuration.applications.list[0].acceptors[0].port, 1935);

    for (call, text) in [
        ("dofile('/etc/hostname')", "only files in the folder"),
        ("dofile('../x.lua')", "only files in the folder"),
        ("dofile('link.lua')", "leads out of the folder"),
        ("dofile('none.lua')", "cannot be loaded"),
        ("dofile('compiled.lua')", "compiled Lua"),
        ("require('endless')", "more than 16 files"),
        ("require('broken')", "broken.lua:3: broken"),
    ] {
        let error = run_in(&folder, call, Budget::default()).unwrap_err().to_string();
        assert!(error.contains(text), "{call}: {error}");
    }
}

#[test]
fn sinks_of_events_are_read_and_their_mistakes_named() {
    let logger = |text: &str| with("").replacen('{', &format!("{{ eventLogger = {text},"), 1);
    let configuration = good(&logger(
        "{ customData = { some = 'string', list = { 1, 2.5, true } }, enabledEvents = {}, sinks = {
            { type = 'file', filename = 'events', format = 'w3c', enabledEvents = {} },
            { type = 'RPC', url = 'http://127.0.0.1/', serializerType = 'XMLRPC', timeout = 0.5 } } }",
    ));
    let events = configuration.event_logger;
    assert_eq!(events.custom_data, Some(serde_json::json!({ "some": "string", "list": [1, 2.5, true] })));
    assert_eq!(events.enabled_events, Some(Vec::new()));
    assert_eq!(events.sinks[0].enabled_events, Some(Vec::new()));
    assert_eq!(events.sinks.len(), 2);
    assert_eq!(good(&logger("{ sinks = {} }")).event_logger.sinks, []);
    for (sinks, text) in [
        ("{ type = 'file' }", "eventLogger.sinks: found a table with named keys, expected a list of tables"),
        (
            "{ { filename = 'a' } }",
            "eventLogger.sinks[1].type: found nothing, expected one of \"file\", \"RPC\"",
        ),
        ("{ { type = 'rpc' } }", "eventLogger.sinks[1].type: found \"rpc\" (a string), expected one of"),
        ("{ { type = 'file', filname = 'a' } }", "did you mean `filename`?"),
        (
            "{ { type = 'RPC', url = 'x', serializerType = 'json' } }",
            "expected one of \"JSON\", \"XML\", \"XMLRPC\"",
        ),
        ("{ { type = 'file', filename = 'a', enabledEvents = 'x' } }", "expected a list of strings"),
    ] {
        let found = said(logger(&format!("{{ sinks = {sinks} }}")));
        assert!(found.contains(text), "{sinks}: {found}");
    }
}

#[test]
fn programs_that_may_be_launched_are_read_and_their_mistakes_named() {
    let processes = |text: &str| with("").replacen('{', &format!("{{ processes = {text},"), 1);
    let read =
        good(&processes("{ allow = { '/bin/a', '/bin/b' }, maxProcesses = 3, stopGrace = 0.5 }")).processes;
    assert_eq!(read.allow, [Path::new("/bin/a"), Path::new("/bin/b")]);
    assert_eq!((read.max_processes, read.stop_grace.get().as_millis()), (3, 500));
    assert_eq!(good(&processes("{ allow = {} }")).processes, good(&with("")).processes);
    for (text, expected) in [
        ("'/bin/a'", "configuration.processes: found \"/bin/a\" (a string), expected a table with `allow`"),
        ("{ allow = '/bin/a' }", "processes.allow: found \"/bin/a\" (a string), expected a list of strings"),
        ("{ allow = { 'a' } }", "processes.allow[1]: found \"a\", expected the absolute path of a program"),
        ("{ alow = {} }", "did you mean `allow`?"),
        ("{ maxProcesses = 0 }", "expected a whole number from 1 to 256"),
        ("{ maxProcesses = 'x' }", "expected a whole number from 1 to 256"),
        ("{ stopGrace = 61 }", "expected a number of seconds from 0 to 60"),
    ] {
        let found = said(processes(text));
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn where_the_server_may_connect_to_is_read_and_mistakes_named() {
    let policy = |text: &str| with("").replacen('{', &format!("{{ outboundPolicy = {text},"), 1);
    let read = |text: &str| serde_json::to_value(good(&policy(text)).outbound_policy).unwrap();
    let all = "{ schemes = { 'rtmp' }, ports = { 80, '1935-1999' }, denyPorts = { 1936 }, \
               allow = { '10.0.0.0/8', '::1' }, deny = { '10.1.0.0/16', '::ffff:10.2.0.0/112' } }";
    let expected = serde_json::json!({
        "schemes": ["rtmp"], "ports": [80, "1935-1999"], "denyPorts": [1936],
        "allow": ["10.0.0.0/8", "::1"], "deny": ["10.1.0.0/16", "10.2.0.0/16"],
    });
    assert_eq!(read(all), expected);
    let default = serde_json::to_value(good(&with("")).outbound_policy).unwrap();
    assert_eq!(read("{}"), default);
    let empty = read("{ schemes = {}, ports = {}, denyPorts = {}, allow = {}, deny = {} }");
    assert!(empty.as_object().unwrap().values().all(|list| *list == serde_json::json!([])), "{empty}");
    insta::assert_snapshot!(
        said(policy(
            "{\n schemes = { 'gopher', 7, 'rtmps' },\n ports = { '80', 0, 65536, '9-8', 1.5, true },\n \
             denyPorts = 22,\n allow = { '10.1.2.3/8', 'localhost', 10, {} },\n deny = '10.0.0.0/8',\n \
             alow = {},\n}"
        )),
        @r#"
    test.lua:2: configuration.outboundPolicy.schemes[2]: found 7 (a number), expected a string
    test.lua:3: configuration.outboundPolicy.ports[1]: found "80" (a string), expected a port from 1 to 65535, or a range such as "8000-8999"; write it without quotes
    test.lua:3: configuration.outboundPolicy.ports[2]: found 0 (a number), expected a port from 1 to 65535, or a range such as "8000-8999"
    test.lua:3: configuration.outboundPolicy.ports[3]: found 65536 (a number), expected a port from 1 to 65535, or a range such as "8000-8999"
    test.lua:3: configuration.outboundPolicy.ports[4]: found "9-8" (a string), expected a port from 1 to 65535, or a range such as "8000-8999"
    test.lua:3: configuration.outboundPolicy.ports[5]: found 1.5 (a number), expected a port from 1 to 65535, or a range such as "8000-8999"
    test.lua:3: configuration.outboundPolicy.ports[6]: found true (a boolean), expected a port from 1 to 65535, or a range such as "8000-8999"
    test.lua:4: configuration.outboundPolicy.denyPorts: found 22 (a number), expected a list of ports
    test.lua:5: configuration.outboundPolicy.allow[1]: found "10.1.2.3/8" (a string), expected a network by its first address, here "10.0.0.0/8"
    test.lua:5: configuration.outboundPolicy.allow[2]: found "localhost" (a string), expected an IP address, or a network such as "10.0.0.0/8" or "fd00::/8"
    test.lua:5: configuration.outboundPolicy.allow[3]: found 10 (a number), expected an IP address, or a network such as "10.0.0.0/8" or "fd00::/8"
    test.lua:5: configuration.outboundPolicy.allow[4]: found an empty table, expected an IP address, or a network such as "10.0.0.0/8" or "fd00::/8"
    test.lua:6: configuration.outboundPolicy.deny: found "10.0.0.0/8" (a string), expected a list of strings
    test.lua:7: configuration.outboundPolicy.alow: found an unknown key, expected one of `schemes`, `ports`, `denyPorts`, `allow`, `deny`; did you mean `allow`?
    "#
    );
    let found = said(policy("'10.0.0.0/8'"));
    assert!(
        found.contains("configuration.outboundPolicy: found \"10.0.0.0/8\" (a string), expected a table"),
        "{found}"
    );
    let found = said(policy("{ schemes = { 'gopher', 'gttps', 'http' } }"));
    assert!(found.contains("schemes[1]: found \"gopher\", expected one of the schemes"), "{found}");
    assert!(
        found.contains("schemes[2]: found \"gttps\"") && found.contains("did you mean \"https\"?"),
        "{found}"
    );
}

#[test]
fn the_configurations_in_this_tree_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "lua") {
            load(&path).unwrap_or_else(|error| panic!("{error}"));
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[test]
fn an_authentication_is_read_and_its_mistakes_have_their_lines() {
    let text =
        r#"authentication = { rtmp = { type = "adobe", encoderAgents = {}, usersFile = "./users.lua" } }"#;
    let read = good(&with(text));
    let authentication = read.applications.list[0].authentication.clone().expect("one");
    assert_eq!(authentication.rtmp.users_file, Path::new("./users.lua"));
    assert_eq!(authentication.rtmp.encoder_agents, Some(Vec::new()));
    assert_eq!(good(&show(&read)), read);
    let place = "test.lua:4: configuration.applications[1].authentication";
    for (text, expected) in [
        ("true", ": found true (a boolean), expected a table with `rtmp`".to_owned()),
        ("{}", ".rtmp: found nothing, expected a table with `type` and `usersFile`".to_owned()),
        ("{ rtmp = 7 }", ".rtmp: found 7 (a number), expected a table with `type` and `usersFile`".to_owned()),
        (
            "{ rtmp = { usersFile = \"u\" } }",
            ".rtmp.type: found nothing, expected one of \"adobe\", \"query\"".to_owned(),
        ),
        (
            "{ rtmp = { type = \"Adobe\", usersFile = \"u\" } }",
            ".rtmp.type: found \"Adobe\" (a string), expected one of \"adobe\", \"query\"; did you mean \"adobe\"?"
                .to_owned(),
        ),
        ("{ rtmp = { type = \"query\" } }", ".rtmp.usersFile: found nothing, expected a string".to_owned()),
        (
            "{ rtmp = { type = \"query\", usersFile = \"u\", authenticatePlay = 1 } }",
            ".rtmp.authenticatePlay: found 1 (a number), expected true or false".to_owned(),
        ),
        (
            "{ rtmp = { type = \"query\", usersFile = \"u\" }, rtsp = { usersFile = \"u\" } }",
            ".rtsp: found a key of RTSP, which is not supported yet, expected no such key".to_owned(),
        ),
    ] {
        assert_eq!(said(with(&format!("authentication = {text}"))), format!("{place}{expected}"), "{text}");
    }
}

#[test]
fn a_users_file_is_read_and_no_mistake_shows_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.lua");
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        load_users(&path).map_err(|error| error.replace(&format!("{}/", folder.path().display()), ""))
    };
    let text = "local word = 'x' users = { a = word, [\"b c\"] = { token = 't' } } realms = { { name = 'r', users = {} } }";
    let expected = serde_json::json!({
        "users": { "a": "x", "b c": { "token": "t" } },
        "realms": [{ "name": "r", "users": {} }],
    });
    assert_eq!(load(text), Ok(expected));
    assert_eq!(load("users = {}"), Ok(serde_json::json!({ "users": {} })));
    for (text, expected) in [
        ("users = { a = 'hidden' b = 1 }", "users.lua:1: '}' expected"),
        ("users = { a = 'hidden", "users.lua:1: unfinished string"),
        ("users = { a = \"hidden\\q\" }", "users.lua:1: invalid escape sequence"),
        ("users = { a = print }", "users.lua: users.a: found a function, expected a string"),
        ("users = { 'hidden', a = 1 }", "users.lua: users: found a list that also has the key `a`"),
        ("realms = {}", "users.lua: the script does not set the global `users`"),
        ("users = { a = 'hidden' .. nil }", "users.lua:1: attempt to concatenate a nil value"),
        ("while true do end", "users.lua:1: the script used up its"),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.starts_with(expected) && !error.contains("hidden"), "{text}: {error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(load_users(&path).unwrap_err().contains("cannot be read"));
}
