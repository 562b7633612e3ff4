//! Calls, tasks, errors, files.

use std::os::unix::fs::symlink;
use std::rc::Rc;
use std::time::Duration;

use mlua::{MultiValue, Value};
use serde_json::json;

use super::super::{Limits, LoadError, Outcome, Task, from_lua, to_lua};
use super::{Stage, done, stage, text};

/// A stage whose scripts have `get(…)`, which waits.
fn waiting(text: &str) -> Stage {
    let mut stage = Stage::new(Limits { tasks: 3, ..Limits::default() });
    let get = stage.machine.waiting(|_, values| Ok(values)).unwrap();
    stage.machine.table("http").unwrap().set("get", get).unwrap();
    stage.load(text);
    stage
}

fn waits(outcome: Outcome) -> Task {
    match outcome {
        Outcome::Waits(task) => task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_function_is_called_with_values_and_returns_some() {
    let mut stage = stage("function add(a, b) return a + b, 'x' end\nfunction nothing() end\nvalue = 3");
    assert_eq!(text(&stage.done("add", (2, 3))), "5 x");
    assert_eq!(stage.done("nothing", ()).len(), 0);
    assert!(stage.machine.has("add") && !stage.machine.has("value") && !stage.machine.has("other"));
    assert_eq!(stage.failed("value"), "value is no function of the script");
}

#[test]
fn errors_have_a_place_and_a_short_trace() {
    let mut stage = stage(
        "local function inner(x)\n  return x.y.z\nend\nfunction outer()\n  inner({})\nend\n\
         function deep(n) if n == 0 then error('here') end deep(n - 1) return 1 end\n\
         function object() error({}) end\nfunction text() error(setmetatable({}, {__tostring = function() return 'said' end})) end\n\
         function long() error(('x\\n'):rep(100000)) end\nfunction none() error() end\nfunction sort() table.sort({1, 'x'}) end\n\
         function host() return ('x'):rep({}) end\nfunction callback() ('x'):gsub('x', function() error({}) end) end",
    );
    let Outcome::Failed(fault) = stage.call("outer", ()) else { panic!() };
    assert_eq!(fault.message, "limit.lua:2: attempt to index a nil value (field 'y')");
    assert_eq!(fault.trace, ["limit.lua:2: in upvalue 'inner'", "limit.lua:5: in function 'outer'"]);
    let Outcome::Failed(fault) = stage.call("deep", 1000) else { panic!() };
    assert_eq!((fault.message.as_str(), fault.trace.len()), ("limit.lua:7: here", 8));
    assert!(stage.failed("object").starts_with("table: "));
    assert_eq!(stage.failed("text"), "said");
    assert!(stage.failed("long").len() < 4000);
    assert_eq!(stage.failed("none"), "nil");
    assert_eq!(stage.failed("sort"), "limit.lua:12: attempt to compare string with number");
    assert_eq!(stage.failed("host"), "limit.lua:13: bad argument #1 to 'rep' (number expected, got table)");
    assert!(stage.failed("callback").starts_with("table: "));
}

#[test]
fn caught_errors_are_texts_with_places_as_in_lua() {
    let mut stage = stage(
        "function f()\n  local good, text = pcall(function()\n    return ('x'):rep(nil)\n  end)\n  return good, type(text), text\nend\n\
         function g() local object = {} local good, caught = pcall(string.gsub, 'x', 'x', function() error(object) end) return caught == object end\n\
         function h() return xpcall(function() error('a', 0) end, function(text) return text .. 'b', 'c' end) end\n\
         function i() return pcall(xpcall) end\nfunction j() return xpcall(error, function() error('z', 0) end) end\n\
         function k() return select('#', pcall(function() end)), pcall(function() return 1, nil, nil end) end",
    );
    assert_eq!(
        stage.text("f"),
        "false string limit.lua:3: bad argument #1 to 'rep' (number expected, got nil)"
    );
    assert_eq!(stage.text("g"), "true");
    assert_eq!(stage.text("h"), "false ab");
    assert_eq!(stage.text("i"), "false bad argument #2 to 'xpcall' (function expected, got nil)");
    assert_eq!(stage.text("j"), "false z");
    assert_eq!(stage.done("k", ()).len(), 5);
}

#[test]
fn a_second_has_a_budget() {
    let limits = Limits { call_instructions: 100_000, second_instructions: 250_000, ..Limits::default() };
    let mut stage = Stage::new(limits);
    stage.load("function busy() while true do end end\nfunction good() return 1 end");
    stage.now += Duration::from_secs(1);
    let start = stage.now;
    for _ in 0..3 {
        assert!(matches!(stage.machine.call(stage.now, "busy", ()), Outcome::Cut(_)));
        stage.now += Duration::from_millis(100);
    }
    let Outcome::Refused(refused, None) = stage.machine.call(stage.now, "good", ()) else { panic!() };
    assert_eq!(
        refused.to_string(),
        "over the budget of 250000 instructions a second; calls are refused until the next second"
    );
    let last = start + Duration::from_millis(999);
    assert!(matches!(stage.machine.call(last, "good", ()), Outcome::Refused(..)));
    assert!(matches!(stage.machine.call(start + Duration::from_secs(1), "good", ()), Outcome::Done(_)));
    // Many small calls count as well.
    let mut calls = 0;
    while matches!(stage.machine.call(start + Duration::from_secs(2), "good", ()), Outcome::Done(_)) {
        calls += 1;
    }
    assert!((1000..=2500).contains(&calls), "{calls}");
}

#[test]
fn a_call_waits_and_goes_on() {
    let mut stage =
        waiting("function f(x) local a = http.get('url', x) local b = http.get(a) return x, a, b end");
    let task = waits(stage.call("f", 1));
    assert_eq!((task.name(), text(task.request()).as_str(), stage.machine.tasks()), ("f", "url 1", 1));
    let task = waits(stage.machine.resume(stage.now, task, 2));
    assert_eq!((text(task.request()).as_str(), stage.machine.tasks()), ("2", 1));
    assert_eq!(text(&done(stage.machine.resume(stage.now, task, 3))), "1 2 3");
    assert_eq!(stage.machine.tasks(), 0);
}

#[test]
fn waiting_works_through_pcall_coroutines_sort_and_gsub() {
    let mut stage = waiting(
        "function f()
           local all = {}
           local good, x = pcall(function() return http.get('pcall') end)
           all[1] = x
           for x in coroutine.wrap(function() coroutine.yield(http.get('wrap')) coroutine.yield('own') end) do all[#all + 1] = x end
           local c = coroutine.create(function(a) local b = coroutine.yield(a) return pcall(http.get, b) end)
           all[#all + 1] = select(2, coroutine.resume(c, 'first'))
           all[#all + 1] = select(3, coroutine.resume(c, 'second'))
           all[#all + 1] = coroutine.status(c)
           all[#all + 1] = ('x'):gsub('x', http.get)
           table.sort({1, 2}, function(a, b) all[#all + 1] = http.get('sort') return a < b end)
           all[#all + 1] = setmetatable({}, {__index = function(_, k) return http.get(k) end}).index
           all[#all + 1] = string.format('%s', setmetatable({}, {__tostring = function() return http.get('said') end}))
           do local x <close> = setmetatable({}, {__close = function() all[#all + 1] = http.get('close') end}) end
           return table.concat(all, ' ')
         end",
    );
    let mut outcome = stage.call("f", ());
    let mut requests = Vec::new();
    while let Outcome::Waits(task) = outcome {
        let request = text(task.request());
        requests.push(request.clone());
        outcome = stage.machine.resume(stage.now, task, request.to_uppercase());
    }
    assert_eq!(requests, ["pcall", "wrap", "second", "x", "sort", "index", "said", "close"]);
    assert_eq!(text(&done(outcome)), "PCALL WRAP own first SECOND dead X SORT INDEX SAID CLOSE");
}

#[test]
fn waiting_where_one_cannot_is_an_error() {
    let mut stage = waiting(
        "function f() server.call(function() http.get() end) end\n\
         function g() coroutine.yield(1) end\nfunction h() return pcall(coroutine.yield, 1) end\n\
         function wait() http.get() end\nfunction me() kept = coroutine.running() http.get() return 'me' end\n\
         function you() return coroutine.resume(kept, 1) end\nfunction close() return pcall(coroutine.close, kept) end",
    );
    let call = stage.machine.lua().create_function(|_, f: mlua::Function| f.call::<()>(())).unwrap();
    stage.machine.table("server").unwrap().set("call", call).unwrap();
    assert_eq!(
        stage.failed("f"),
        "limit.lua:1: nothing can be waited for in here; wait outside of functions of the server"
    );
    assert_eq!(stage.failed("g"), "limit.lua:2: attempt to yield from outside a coroutine");
    assert_eq!(stage.text("h"), "false attempt to yield from outside a coroutine");
    let task = waits(stage.call("me", ()));
    assert_eq!(stage.text("you"), "false cannot resume a call of the server");
    assert_eq!(stage.text("close"), "false cannot close a call of the server");
    let others = [waits(stage.call("wait", ())), waits(stage.call("wait", ()))];
    assert_eq!(stage.failed("wait"), "limit.lua:4: 3 calls of this application wait already");
    drop(others);
    waits(stage.call("wait", ()));
    assert_eq!(text(&done(stage.machine.resume(stage.now, task, ()))), "me");
    let error = stage.try_load("\nhttp.get()").unwrap_err();
    assert_eq!(
        error.to_string().lines().next().unwrap(),
        "limit.lua:2: nothing can be waited for while the script is loaded; wait in a function"
    );
}

#[test]
fn a_task_is_closed_when_it_is_given_up() {
    let mut stage = waiting(
        "closed = 0\nlocal function guard(f) return setmetatable({}, {__close = f}) end\n\
         function f() local x <close> = guard(function() closed = closed + 1 end) http.get() end\n\
         function loop() local x <close> = guard(function() while true do end end) http.get() end\n\
         function fails() local x <close> = guard(function() error('no') end) http.get() end\n\
         function count() return closed end",
    );
    let task = waits(stage.call("f", ()));
    assert!(stage.machine.close(task).is_none());
    assert_eq!(stage.text("count"), "1");
    drop(waits(stage.call("f", ())));
    assert_eq!(stage.text("count"), "2");
    let task = waits(stage.call("loop", ()));
    let Some(Outcome::Cut(cut)) = stage.machine.close(task) else { panic!() };
    assert_eq!(
        cut.to_string(),
        "limit.lua:4: over its budget of 10 million instructions when a call of loop was given up"
    );
    drop(waits(stage.call("loop", ())));
    drop(waits(stage.call("fails", ())));
    assert_eq!(stage.text("count"), "2");
    assert_eq!(stage.printed.borrow().len(), 2, "{:?}", stage.printed);
    assert!(stage.printed.borrow()[1].starts_with("limit.lua:5: no\n"));
}

#[test]
fn a_task_has_a_budget_for_each_part_and_outlives_its_machine_unharmed() {
    let mut stage = waiting(
        "function f() for i = 1, 5 do for j = 1, 1500000 do end http.get() end end\n\
         function g() http.get() while true do end end",
    );
    let mut outcome = stage.call("f", ());
    let mut parts = 0;
    while let Outcome::Waits(task) = outcome {
        parts += 1;
        outcome = stage.machine.resume(stage.now, task, ());
    }
    assert_eq!((done(outcome).len(), parts), (0, 5));
    let task = waits(stage.call("g", ()));
    let Outcome::Cut(cut) = stage.machine.resume(stage.now, task, ()) else { panic!() };
    assert_eq!(
        cut.to_string(),
        "limit.lua:2: over its budget of 10 million instructions in g, which had waited"
    );

    let task = waits(stage.call("g", ()));
    let mut other = waiting("");
    drop(stage);
    assert!(matches!(other.machine.resume(other.now, task, ()), Outcome::Failed(_)));
}

#[test]
fn a_task_that_is_refused_comes_back() {
    let mut stage = waiting("function f() return http.get() end\nfunction busy() while true do end end");
    let task = waits(stage.call("f", ()));
    while !matches!(stage.machine.call(stage.now, "busy", ()), Outcome::Refused(..)) {}
    let Outcome::Refused(_, Some(task)) = stage.machine.resume(stage.now, task, 1) else { panic!() };
    let next = stage.now + Duration::from_secs(1);
    assert_eq!(text(&done(stage.machine.resume(next, task, 1))), "1");
}

#[test]
fn functions_of_the_application_are_heard_and_their_errors_have_places() {
    let mut stage = stage(
        "function f(x)\n  return server.double(x)\nend\nfunction g() local a, b = pcall(server.double) return a, b end",
    );
    let double = |_: &mlua::Lua, value: i64| {
        if value > 100 { Err(mlua::Error::runtime("too much")) } else { Ok(2 * value) }
    };
    let double = stage.machine.lua().create_function(double).unwrap();
    stage.machine.table("server").unwrap().set("double", double).unwrap();
    assert_eq!(text(&stage.done("f", 4)), "8");
    let Outcome::Failed(fault) = stage.call("f", 400) else { panic!() };
    assert_eq!(fault.message, "limit.lua:2: too much");
    assert!(stage.text("g").starts_with("false limit.lua:4: bad argument #1"), "{}", stage.text("g"));
}

#[test]
fn files_are_required_from_the_folder_alone() {
    let mut stage = Stage::new(Limits::default());
    stage.file("lib/util.lua", "count = (count or 0) + 1 return { name = ... }");
    stage.file("plain.lua", "\u{feff}x = 1");
    stage.file("shell.lua", "#!/bin/lua\nreturn 5");
    stage.file("loop.lua", "require('loop')");
    stage.file("wrong.lua", "\nx = = 1");
    stage.file("fails.lua", "error('no')");
    stage.file("binary.lua", b"\x1bLua");
    stage.file("large.lua", vec![b' '; 256 * 1024 + 1]);
    stage.file("endless.lua", "while true do end");
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.lua"), "return 1").unwrap();
    symlink(outside.path().join("secret.lua"), stage.folder.path().join("link.lua")).unwrap();
    symlink(outside.path(), stage.folder.path().join("away")).unwrap();
    stage.load(
        "local util = require('lib.util')\nassert(util == require('lib.util') and util.name == 'lib.util' and count == 1)\n\
         assert(require('plain') == true and x == 1 and require('shell') == 5)\nfunction try(name) return select(2, pcall(require, name)) end\n\
         function cut() require('endless') end",
    );
    let mut said = |name: &str| text(&stage.done("try", name));
    for name in ["../x", "..", "/etc/passwd", "a..b", "", ".", "lib/util", "a\0b", "x.lua/"] {
        assert!(
            said(name)
                .ends_with("a module is named by letters, digits, `_` and `-`, with a dot for each folder"),
            "{name}"
        );
    }
    assert!(said("link").ends_with("module 'link': link.lua leads out of the folder of the script"));
    assert!(said("away.secret").ends_with("leads out of the folder of the script"));
    assert!(said("missing").contains("missing.lua cannot be read ("));
    assert!(said("lib").contains("lib.lua cannot be read ("));
    assert!(said("loop").ends_with("loop.lua:1: module 'loop' requires itself"), "{}", said("loop"));
    assert!(said("wrong").ends_with("wrong.lua:2: unexpected symbol near '='"), "{}", said("wrong"));
    assert_eq!(said("fails"), "fails.lua:1: no");
    assert!(said("binary").ends_with("binary.lua is compiled Lua; give the text that it was compiled from"));
    assert!(said("large").ends_with("large.lua is longer than 262144 bytes; split it and use `require`"));
    assert_eq!(stage.cut("cut").place.file, "endless.lua");
}

#[test]
fn what_is_no_script_is_not_loaded() {
    let mut stage = Stage::new(Limits::default());
    let said = |error: LoadError| error.to_string();
    assert!(
        said(stage.machine.load(stage.now, stage.folder.path()).unwrap_err()).ends_with("is no regular file")
    );
    let missing = stage.folder.path().join("missing.lua");
    assert!(said(stage.machine.load(stage.now, &missing).unwrap_err()).contains("cannot be read"));
    assert!(
        said(stage.try_load("x =").unwrap_err()).starts_with("limit.lua:1: unexpected symbol near <eof>")
    );
    assert!(said(stage.try_load("error('no')").unwrap_err()).starts_with("limit.lua:1: no"));
    stage.load("function f() return 1 end");
    assert_eq!(stage.text("f"), "1");
}

#[test]
fn print_goes_to_the_log() {
    let mut stage = stage("function f() print('a', 1, nil, true, 1.5) print() print(('x'):rep(5000)) end");
    stage.done("f", ());
    let printed = stage.printed.borrow();
    assert_eq!((printed[0].as_str(), printed[1].as_str()), ("a\t1\tnil\ttrue\t1.5", ""));
    assert_eq!(printed[2].len(), 4096 + '…'.len_utf8());
}

#[test]
fn state_goes_from_one_machine_to_the_next() {
    let mut old = stage(
        "shared.count = 0\nshared.list = {1, 2.5, 'x', {}}\nfunction f() shared.count = shared.count + 1 end",
    );
    old.done("f", ());
    let exported = old.machine.export_shared().unwrap();
    assert_eq!(exported, json!({ "count": 1, "list": [1, 2.5, "x", {}] }));
    let mut new = Stage::new(Limits::default());
    new.machine.import_shared(&exported).unwrap();
    new.load("seen = shared.count\nfunction f() return seen, shared.list[3] end");
    assert_eq!(new.text("f"), "1 x");
    let mut wrong = stage("function f() shared.inner = { print } end");
    wrong.done("f", ());
    let error = wrong.machine.export_shared().unwrap_err();
    assert_eq!(error.to_string(), "value.inner[1]: is a function, expected plain data");
}

#[test]
fn json_goes_there_and_back() {
    let stage = stage("");
    let lua = stage.machine.lua();
    for value in [
        json!(null),
        json!([]),
        json!({}),
        json!([null, true, [], {}, [[]], "é\n"]),
        json!({ "a": { "b": [1, -1, 1.0, 0.5, i64::MAX, i64::MIN, 1e300] }, "1": null }),
    ] {
        assert_eq!(from_lua(&to_lua(lua, &value).unwrap()).unwrap(), value);
    }
    assert_eq!(from_lua(&to_lua(lua, &json!(u64::MAX)).unwrap()).unwrap(), json!(u64::MAX as f64));
    let mut deep = json!(1);
    for _ in 0..33 {
        deep = json!([deep]);
    }
    assert!(to_lua(lua, &deep).unwrap_err().reason.contains("nested more than 32 deep"));
    assert!(to_lua(lua, &json!(vec![0; 100_001])).unwrap_err().reason.contains("more than 100000 values"));
    assert!(from_lua(&Value::Number(f64::NAN)).is_err());
}

#[test]
fn scripts_have_json() {
    let mut stage = stage(
        "function encode(x) return json.encode({ list = { 1, 2.0, json.null }, none = json.array(), empty = {}, x = x }) end\n\
         function decode(x) return json.decode(x) end\n\
         function both() local x = json.decode('{\"a\":[],\"b\":null,\"c\":3}') return json.encode(x), x.b == json.null, math.type(x.c) end\n\
         function holes() return json.encode({ 1, nil, 3, 4, nil, nil, 7 }) end\nfunction mixed() return json.encode({ 1, x = 1 }) end\n\
         function bytes() return json.encode('\\255') end\nfunction other() return json.encode({ [1.5] = 1 }) end",
    );
    assert_eq!(text(&stage.done("encode", "é")), r#"{"empty":{},"list":[1,2.0,null],"none":[],"x":"é"}"#);
    assert_eq!(stage.text("both"), r#"{"a":[],"b":null,"c":3} true integer"#);
    assert!(text(&stage.done("decode", "[1,")).contains("EOF while parsing"));
    for name in ["holes", "mixed", "other"] {
        assert!(stage.failed(name).ends_with("a list may have no holes"), "{name}");
    }
    assert!(stage.failed("bytes").ends_with("value: is a text that is not UTF-8"));
}

#[test]
fn nothing_of_the_machine_can_be_reached() {
    let mut stage = stage(
        "function names() local all = {} for k in pairs(_G) do all[#all + 1] = k end table.sort(all) return table.concat(all, ' ') end\n\
         function gone() return load, loadstring, dofile, loadfile, collectgarbage, io, debug, package, warn, string.dump, os.execute, os.getenv, os.exit, os.remove end\n\
         function strings() return getmetatable(''), pcall(setmetatable, '', {}) end\n\
         function threads() return pcall(coroutine.close, coroutine.running()) end",
    );
    assert_eq!(
        stage.text("names"),
        "_G _VERSION assert coroutine error getmetatable gone ipairs json math names next os pairs pcall print rawequal \
         rawget rawlen rawset require select setmetatable shared string strings table threads tonumber tostring type utf8 xpcall"
    );
    assert!(stage.done("gone", ()).iter().all(Value::is_nil));
    assert!(
        stage.text("strings").starts_with(
            "false false limit.lua:3: bad argument #1 to 'setmetatable' (table expected, got string)"
        ),
        "{}",
        stage.text("strings")
    );
    assert!(stage.text("threads").starts_with("false"));
}

#[test]
fn a_host_that_drops_tasks_within_a_call_is_fine() {
    let mut stage = Stage::new(Limits::default());
    let kept = Rc::new(std::cell::RefCell::new(None::<Task>));
    let slot = Rc::clone(&kept);
    let forget = stage.machine.lua().create_function(move |_, ()| {
        slot.borrow_mut().take();
        Ok(MultiValue::new())
    });
    stage.machine.table("server").unwrap().set("forget", forget.unwrap()).unwrap();
    let get = stage.machine.waiting(|_, values| Ok(values)).unwrap();
    stage.machine.table("http").unwrap().set("get", get).unwrap();
    stage.load("function f() http.get() end\nfunction g() server.forget() return 1 end");
    kept.replace(Some(waits(stage.call("f", ()))));
    assert_eq!(stage.text("g"), "1");
    assert_eq!(stage.text("g"), "1");
    assert_eq!(stage.machine.tasks(), 0);
}
