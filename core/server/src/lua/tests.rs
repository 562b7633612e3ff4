//! The mistakes that people make, and what they read about them.

use std::fs;
use std::time::Duration;

use crtmp_host::config::DuplicatePublisher;
use tempfile::TempDir;

use super::*;

const CHAINS: ChainNames<'_> =
    ChainNames { served: &["inboundRtmp"], later: &[("inboundRtmps", "TLS"), ("inboundRtsp", "RTSP")] };

/// Runs a script; its folder is also given for files beside it.
fn run_in(folder: &TempDir, source: impl AsRef<[u8]>, budget: Budget) -> Result<Configuration, LoadError> {
    let path = folder.path().join("test.lua");
    fs::write(&path, source).unwrap();
    load_within(&path, CHAINS, budget)
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
fn a_typo_in_a_key() {
    insta::assert_snapshot!(
        said("configuration = {\n  applications = { { name = \"one\", default = true,\n    acceptors = {\n      { ip = \"0.0.0.0\", prt = 1935, protocol = \"inboundRtmp\" } } } },\n  logAppendrs = {},\n  limits = { gopMesages = 3 }\n}"),
        @r"
    test.lua:4: configuration.applications[1].acceptors[1].prt: found an unknown key, expected one of the keys in docs/configuration.md; did you mean `port`?
    test.lua:4: configuration.applications[1].acceptors[1].port: found nothing, expected a whole number from 0 to 65535
    test.lua:5: configuration.logAppendrs: found an unknown key, expected one of the keys in docs/configuration.md; did you mean `logAppenders`?
    test.lua:6: configuration.limits.gopMesages: found an unknown key, expected one of the keys in docs/configuration.md; did you mean `gopMessages`?
    "
    );
    insta::assert_snapshot!(said(with("validatehandshake = true,\nacceptros = {}")), @"");
}

#[test]
fn a_wrong_type() {
    insta::assert_snapshot!(
        said(with(
            "acceptors = {\n{ ip = \"localhost\", port = \"1935\", protocol = 7 },\n{ ip = \"::\", port = 1935.0, protocol = \"inboundRtmp\" },\n{ ip = \"::\", port = 70000, protocol = \"inboundRtmp\" },\n\"inboundRtmp\" },\naliases = \"live\",\ndefault = \"true\",\nhookTimeout = -1,\nduplicatePublisher = \"replaceIfIdel\",\ndescription = { 1 }"
        )),
        @""
    );
    insta::assert_snapshot!(
        said("configuration = {\n  daemon = 1,\n  limits = { gopMessages = \"many\", playerCut = true, amfDepth = 65 },\n  workers = {},\n  logAppenders = { type = \"console\" },\n  applications = 3\n}"),
        @""
    );
}

#[test]
fn a_duplicate_name() {
    insta::assert_snapshot!(
        said("configuration = { applications = {\n  { name = \"one\", default = true },\n  { name = \"two\" },\n  { name = \"one\" } } }"),
        @""
    );
}

#[test]
fn a_duplicate_alias() {
    insta::assert_snapshot!(
        said("configuration = { applications = {\n  { name = \"one\", default = true, aliases = { \"live\" } },\n  { name = \"two\", aliases = {\n    \"vod\",\n    \"live\" } } } }"),
        @""
    );
}

#[test]
fn no_default_or_two() {
    insta::assert_snapshot!(said("configuration = {\n  applications = { { name = \"one\" } } }"), @"");
    insta::assert_snapshot!(
        said("configuration = { applications = {\n  { name = \"one\", default = true },\n  { name = \"two\", default = true } } }"),
        @""
    );
    insta::assert_snapshot!(said("configuration = {}"), @"");
}

#[test]
fn an_unknown_chain_and_one_that_comes_later() {
    insta::assert_snapshot!(
        said(with("acceptors = {\n{ ip = \"::\", port = 1935, protocol = \"inboundRtpm\" },\n{ ip = \"::\", port = 8081, protocol = \"inboundRtmps\" } }")),
        @""
    );
}

#[test]
fn keys_that_are_not_served() {
    insta::assert_snapshot!(
        said(with("acceptors = {\n{ ip = \"::\", port = 1, protocol = \"inboundRtmp\", sslKey = \"a\" } },\nmediaStorage = { mediaFolder = \"x\" },\nenableCheckBandwidth = true,\nmaxRtmpOutBuffer = 1") + "\nconfiguration.instancesCount = 8"),
        @""
    );
}

#[test]
fn a_script_that_fails() {
    insta::assert_snapshot!(said("configuration = {}\nlocal x = settings.port"), @"");
    insta::assert_snapshot!(said("\nerror('no network card')"), @"");
    insta::assert_snapshot!(said("configuration = {\n  daemon == true\n}"), @"");
    insta::assert_snapshot!(said("io.open('x')"), @"");
}

#[test]
fn a_script_that_does_not_end() {
    let budget = Budget { instructions: 100_000, ..Budget::default() };
    insta::assert_snapshot!(said_within("while true do end", budget), @"");
    insta::assert_snapshot!(said_within("\nwhile true do pcall(function() while true do end end) end", budget), @"");
    let quick = Budget { time: Duration::from_millis(200), ..Budget::default() };
    insta::assert_snapshot!(
        said_within("string.rep('a', 100000):find(string.rep('a?', 5000) .. string.rep('.-', 5000) .. 'b')", quick),
        @""
    );
}

#[test]
fn a_script_that_takes_all_memory() {
    let budget = Budget { memory: 4 * 1024 * 1024, ..Budget::default() };
    insta::assert_snapshot!(said_within("local t = {}\nwhile true do t[#t + 1] = 'x' .. #t end", budget), @"");
    insta::assert_snapshot!(said_within("while true do pcall(string.rep, 'x', 1 << 30) end", budget), @"");
}

#[test]
fn a_script_that_leaves_no_table() {
    insta::assert_snapshot!(said(""), @"");
    insta::assert_snapshot!(said("Configuration = { daemon = true }"), @"");
    insta::assert_snapshot!(said("configuration = 'x'"), @"");
}

#[test]
fn a_table_that_is_no_data() {
    insta::assert_snapshot!(
        said("local t = {}; t.me = t\nconfiguration = {\n  daemon = print,\n  limits = t,\n  shutdownTimeout = 0/0,\n  pathSeparator = '\\255',\n  logAppenders = { { type = 'console' }, nil, { type = 'json' } },\n  workers = { 1, x = 2 },\n applications = { list = {} } }"),
        @""
    );
    insta::assert_snapshot!(said("local t = {}\nfor i = 1, 40 do t = { t } end\nconfiguration = { limits = t }"), @"");
    insta::assert_snapshot!(
        said("local t = { 1 }\nfor i = 1, 25 do t = { t, t } end\nconfiguration = { limits = t }").lines().next().unwrap(),
        @""
    );
}

#[test]
fn files_that_are_no_script() {
    insta::assert_snapshot!(said(b"\x1bLua"), @"");
    insta::assert_snapshot!(said(b"a = 1\nb = '\xff'"), @"");
    insta::assert_snapshot!(said(vec![b' '; 2_000_000]), @"");
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in
        [(folder.path().to_owned(), "is a folder"), (folder.path().join("none.lua"), "cannot be read")]
    {
        let error = load(&path, CHAINS).unwrap_err().to_string();
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
