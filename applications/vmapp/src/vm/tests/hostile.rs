//! Scripts that try to outlive their budget.

use std::thread;
use std::time::Duration;

use super::super::budget::processor_time;
use super::super::{Limits, Outcome, What};
use super::{Stage, text};

/// How much processor time beyond its own a call may take until it is cut, in a build that is not optimized.
const SLACK: Duration = Duration::from_secs(3);

/// What does not end by itself. Each is the body of a function.
const ENDLESS: &[(&str, &str)] = &[
    ("a loop", "while true do end"),
    ("goto", "::again:: goto again"),
    ("a loop in pcall", "while true do pcall(function() while true do end end) end"),
    ("pcall in pcall", "local function f() while true do pcall(f) end end f()"),
    (
        "a coroutine",
        "local c = coroutine.create(function() while true do end end) while true do coroutine.resume(c) end",
    ),
    (
        "many coroutines",
        "while true do coroutine.resume(coroutine.create(function() for i = 1, 20 do end end)) end",
    ),
    ("coroutines in coroutines", "local function f() while true do pcall(coroutine.wrap(f)) end end f()"),
    ("wrap", "for x in coroutine.wrap(function() while true do coroutine.yield(1) end end) do end"),
    ("wrap in pcall", "while true do pcall(coroutine.wrap(function() while true do end end)) end"),
    ("comparator", "table.sort({1, 2, 3}, function() while true do end end)"),
    (
        "inconsistent comparator",
        "while true do local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function() return true end) end",
    ),
    ("sorting a lot", "local t = {} for i = 1, 2000000 do t[i] = -i end table.sort(t)"),
    (
        "__close after the cut",
        "local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end",
    ),
    (
        "__close in a coroutine",
        "local c = coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end end) c()",
    ),
    (
        "__close of a waiting coroutine",
        "local c = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) coroutine.yield() end) coroutine.resume(c) coroutine.close(c)",
    ),
    (
        "__close of a for loop",
        "for k in next, {}, nil, setmetatable({}, {__close = function() while true do end end}) do end",
    ),
    (
        "__close of a loop that is cut",
        "for k in function() return 1 end, nil, nil, setmetatable({}, {__close = function() while true do end end}) do end",
    ),
    (
        "__close in pcall in a coroutine",
        "coroutine.wrap(function() pcall(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end end) while true do end end)()",
    ),
    (
        "__close of a failed coroutine",
        "local c = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) error('x') end) coroutine.resume(c) coroutine.close(c)",
    ),
    ("__index", "local t = setmetatable({}, {__index = function() while true do end end}) return t.x"),
    (
        "__newindex",
        "local t = setmetatable({}, {__newindex = function(t, k, v) t[k] = v end}) while true do pcall(function() t.x = 1 end) end",
    ),
    ("__tostring", "return tostring(setmetatable({}, {__tostring = function() while true do end end}))"),
    (
        "__tostring in format",
        "return string.format('%s', setmetatable({}, {__tostring = function() while true do end end}))",
    ),
    ("__tostring in print", "print(setmetatable({}, {__tostring = function() while true do end end}))"),
    ("__tostring of an error", "error(setmetatable({}, {__tostring = function() while true do end end}))"),
    (
        "__tostring of an error in a coroutine",
        "coroutine.wrap(function() error(setmetatable({}, {__tostring = function() while true do end end})) end)()",
    ),
    ("__lt", "local t = setmetatable({}, {__lt = function() while true do end end}) return t < t"),
    (
        "__lt in sort",
        "local m = {__lt = function() while true do end end} table.sort({setmetatable({}, m), setmetatable({}, m)})",
    ),
    (
        "__eq",
        "local m = {__eq = function() while true do end end} return setmetatable({}, m) == setmetatable({}, m)",
    ),
    ("__len", "return #setmetatable({}, {__len = function() while true do end end})"),
    (
        "__len that lies",
        "table.sort(setmetatable({}, {__len = function() return 1 << 30 end, __index = function() return 1 end}))",
    ),
    ("__concat", "return 'x' .. setmetatable({}, {__concat = function() while true do end end})"),
    ("__call", "setmetatable({}, {__call = function() while true do end end})()"),
    (
        "__pairs",
        "for k in pairs(setmetatable({}, {__pairs = function() return function() return 1 end end})) do end",
    ),
    (
        "concat of __index",
        "return table.concat(setmetatable({}, {__index = function() return '' end}), '', 1, 1 << 40)",
    ),
    (
        "concat of a function of C",
        "return table.concat(setmetatable({}, {__index = rawlen}), '', 1, 1 << 40)",
    ),
    (
        "xpcall with a handler that loops",
        "xpcall(function() error('x') end, function() while true do end end)",
    ),
    (
        "xpcall whose loop is cut",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
    ),
    ("xpcall whose handler fails", "while true do xpcall(error, function() error('y') end) end"),
    ("rep of nothing", "return (''):rep(1 << 53)"),
    ("rep of nothing in pcall", "while true do pcall(string.rep, ('x'):rep(0), math.maxinteger) end"),
    ("pattern explosion", "return ('a'):rep(30000):find(('a*'):rep(50) .. 'b')"),
    (
        "pattern explosion in pcall",
        "while true do pcall(string.find, ('a'):rep(30000), ('a-'):rep(50) .. 'b') end",
    ),
    ("pattern explosion in match", "return ('a'):rep(30000):match(('a?'):rep(90) .. ('a*'):rep(50) .. 'b')"),
    ("pattern explosion in gmatch", "for x in ('a'):rep(30000):gmatch(('a*'):rep(50) .. 'b') do end"),
    ("pattern explosion in gsub", "return ('a'):rep(30000):gsub(('a*'):rep(50) .. 'b', '')"),
    ("balance", "return ('('):rep(3000000):find('%b()')"),
    (
        "a long search",
        "return ('a'):rep(4000000):find(('a'):rep(2000000) .. 'b', 1, true), (function() while true do end end)()",
    ),
    ("gsub with a function", "return ('a'):rep(100):gsub('a', function() while true do end end)"),
    ("gsub of a long text", "local s = ('a'):rep(1000000) while true do s:gsub('a', '') end"),
    ("format", "local s = ('x'):rep(1000000) while true do string.format('%s', s) end"),
    ("%q", "local s = ('\\n'):rep(1000000) while true do string.format('%q', s) end"),
    ("upper", "local s = ('x'):rep(4000000) while true do s:upper() end"),
    ("reverse", "local s = ('x'):rep(4000000) while true do s:reverse() end"),
    ("rep", "while true do ('x'):rep(10000000) end"),
    ("sub", "local s = ('x'):rep(10000000) while true do local x = s:sub(2) end"),
    ("concatenation", "local s = ('x'):rep(10000000) while true do local x = s .. 'y' end"),
    ("comparing", "local s = ('x'):rep(10000000) local t = s .. 'y' while true do local x = s < t end"),
    ("tonumber", "local s = (' '):rep(10000000) while true do local x = tonumber(s) end"),
    ("byte", "local s = ('x'):rep(100000) while true do s:byte(1, -1) end"),
    ("unpack", "local t = {} while true do table.unpack(t, 1, 99999) end"),
    ("unpack beyond", "while true do pcall(table.unpack, {}, 1, 1 << 40) end"),
    ("char", "local t = {} for i = 1, 90000 do t[i] = 65 end while true do string.char(table.unpack(t)) end"),
    ("select", "local function f(...) while true do select('#', ...) end end f(table.unpack({}, 1, 90000))"),
    ("pack", "while true do string.pack('c10000000', 'x') end"),
    ("unpack of texts", "local s = ('x'):rep(1000000) .. '\\0' while true do string.unpack('z', s) end"),
    ("packsize", "local s = ('i'):rep(1000000) while true do string.packsize(s) end"),
    ("utf8.len", "local s = ('x'):rep(4000000) while true do utf8.len(s) end"),
    ("utf8.offset", "local s = ('x'):rep(4000000) while true do utf8.offset(s, 4000000) end"),
    ("utf8.codes", "local s = ('x'):rep(4000000) while true do for p in utf8.codes(s) do end end"),
    ("insert in front", "local t = {} while true do table.insert(t, 1, 1) end"),
    (
        "remove in front",
        "local t = {} for i = 1, 100000 do t[i] = i end while true do table.remove(t, 1) end",
    ),
    ("move", "while true do table.move({}, 1, 1 << 40, 2) end"),
    (
        "next of an empty large table",
        "local t = {} for i = 1, 200000 do t['x' .. i] = 1 end for k in pairs(t) do t[k] = nil end while true do next(t) end",
    ),
    ("date", "local f = ('%c'):rep(100000) while true do os.date(f) end"),
    ("print", "while true do print('x') end"),
    ("json", "local t = {} for i = 1, 1000 do t[i] = i end while true do json.decode(json.encode(t)) end"),
    ("errors", "while true do pcall(error, {}) end"),
    ("recursion in pcall", "local function f() pcall(f) return f() end while true do pcall(f) end"),
    (
        "__close of many",
        "local m = {__close = function() while true do end end} local function f(n) local x <close> = setmetatable({}, m) if n > 0 then f(n - 1) end while true do end end f(10000)",
    ),
];

/// What needs memory without end.
const GREEDY: &[(&str, &str)] = &[
    ("rep of a GiB", "return ('x'):rep(1 << 30)"),
    ("rep in pcall", "while true do pcall(string.rep, 'x', 1 << 30) end"),
    ("rep with separator", "return (''):rep(1 << 50, 'abc')"),
    ("a table", "local t = {} while true do t[#t + 1] = 1 end"),
    ("a table of tables", "local t = {} while true do t = {t, {}} end"),
    (
        "a table in pcall",
        "local t = {} while true do pcall(function() while true do t[#t + 1] = {} end end) end",
    ),
    (
        "a table in coroutines",
        "local t = {} while true do coroutine.wrap(function() t[#t + 1] = ('x'):rep(10000) .. #t end)() end",
    ),
    ("doubling", "local s = 'x' while true do s = s .. s end"),
    ("doubling in pcall", "local s = 'x' while true do pcall(function() s = s .. s end) end"),
    ("gsub that grows", "local s = ('x'):rep(1000) while true do s = s:gsub('x', 'xxxxxxxxxx') end"),
    (
        "gsub with a function that grows",
        "local s = ('x'):rep(100) while true do s = s:gsub('x+', function(x) return x .. x end) end",
    ),
    ("concat that grows", "local s = 'x' while true do s = table.concat({s, s, s, s}) end"),
    ("pack", "return string.pack('c2147483647', 'x')"),
    ("format that grows", "local s = 'x' while true do s = string.format('%s%s%s%s', s, s, s, s) end"),
    ("closures", "local f while true do local g = f f = function() return g end end"),
    ("coroutines", "local t = {} for i = 1, 1 << 40 do t[i] = coroutine.create(print) end"),
    (
        "metatables that keep",
        "local t = nil while true do t = setmetatable({}, {__index = t, __close = t}) end",
    ),
];

fn limits() -> Limits {
    Limits { call_instructions: 10_000_000, call_time: Duration::from_secs(10), ..Limits::default() }
}

/// Checks many scripts on all cores.
fn check_all(scripts: &[(&str, &str)], memory: bool) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for first in 0..cores {
            scope.spawn(move || {
                for (name, body) in scripts.iter().skip(first).step_by(cores) {
                    check(name, body, memory);
                }
            });
        }
    });
}

/// A machine with the hostile function and a good one, each in `name`.
fn with(body: &str) -> Stage {
    with_limits(body, limits())
}

fn with_limits(body: &str, limits: Limits) -> Stage {
    let mut stage = Stage::new(limits);
    stage.load(format!(
        "kept = 1\nfunction hostile()\n{body}\nend\n\
         function good(x)\n  local t = {{}}\n  for i = 1, 1000 do t[i] = i end\n  table.sort(t)\n  \
         kept = kept + 1\n  return x + #t + #(('a'):rep(5):gsub('a', 'b'))\nend"
    ));
    stage
}

fn check(name: &str, body: &str, memory: bool) {
    // What needs memory is given all the instructions for it.
    let limits = match memory {
        true => Limits { call_instructions: 100_000_000, ..limits() },
        false => Limits { call_time: Duration::from_millis(300), ..limits() },
    };
    let mut stage = with_limits(body, limits);
    // The second time shows that the first one has left nothing behind.
    for round in 0..2 {
        let start = processor_time();
        let outcome = stage.call("hostile", ());
        let took = processor_time() - start;
        let Outcome::Cut(cut) = outcome else { panic!("{name}: {outcome:?}") };
        assert!(took < limits.call_time + SLACK, "{name}, round {round}: {took:?}");
        if memory {
            assert!(matches!(cut.what, What::Memory(_)), "{name}: {cut}");
        }
        assert_eq!(cut.place.file, "limit.lua", "{name}: {cut}");
        assert_eq!(cut.occasion, "in hostile", "{name}: {cut}");
        let good = stage.done("good", 1);
        assert_eq!(text(&good), "1006", "{name}");
    }
}

#[test]
fn what_does_not_end_is_cut_and_the_machine_goes_on() {
    check_all(ENDLESS, false);
}

#[test]
fn what_fills_the_memory_is_cut_and_the_machine_goes_on() {
    check_all(GREEDY, true);
}

#[test]
fn the_cut_names_budget_file_line_and_function() {
    let mut stage = with("local x = 1\n  while true do\n    x = x + 1\n  end");
    let said = stage.cut("hostile").to_string();
    let good = ["limit.lua:4", "limit.lua:5"]
        .map(|at| format!("{at}: over its budget of 10 million instructions in hostile"));
    assert!(good.contains(&said), "{said}");
    let mut stage = with("-- one\n  return ('x'):rep(1 << 30)");
    assert_eq!(
        stage.cut("hostile").to_string(),
        "limit.lua:4: over its budget of 64 MiB of memory in hostile"
    );
    let mut stage =
        Stage::new(Limits { call_time: Duration::from_millis(20), call_instructions: u64::MAX, ..limits() });
    stage.load("function hostile() while true do end end");
    assert_eq!(stage.cut("hostile").to_string(), "limit.lua:1: over its budget of 0.02 seconds in hostile");
    assert_eq!(
        with("local function f()\n  return 1 + f()\nend\nf()").cut("hostile").to_string(),
        "limit.lua:4: over its budget of 20000 functions within one another in hostile"
    );
    let error = stage.try_load("while true do end").unwrap_err();
    assert_eq!(error.to_string(), "limit.lua:1: over its budget of 0.02 seconds while it is loaded");
}

#[test]
fn the_line_is_that_of_the_script_and_not_of_the_surroundings() {
    let mut stage =
        with("local t = {}\nfor i = 1, 100000 do t[i] = -i end\nwhile true do\n  table.sort(t)\nend");
    assert_eq!(stage.cut("hostile").place.line, 6);
}

#[test]
fn a_script_that_hoards_globally_is_cut_again_and_again() {
    let mut stage = with("hoard = hoard or {}\nwhile true do hoard[#hoard + 1] = {} end");
    for _ in 0..5 {
        assert!(matches!(stage.call("hostile", ()), Outcome::Cut(_)));
        // There may be no room for a good call either, but that is said properly.
        assert!(matches!(stage.call("good", 1), Outcome::Done(_) | Outcome::Cut(_)));
    }
}

#[test]
fn memory_that_runs_out_anywhere_does_no_harm() {
    // Each of these limits makes another allocation the one that fails.
    for extra in (0..200_000).step_by(2_503) {
        let mut stage = Stage::new(Limits { memory_bytes: 1024 * 1024 + extra, ..limits() });
        stage.load(
            "function hostile()
               local t = {}
               while true do
                 t[#t + 1] = { string.format('%d', #t), (('ab'):gsub('a', 'xyz')), table.concat({'a', #t}) }
                 pcall(function() t[#t + 1] = coroutine.wrap(function() coroutine.yield({}) end) t[#t]() end)
               end
             end
             function good() return 1 end",
        );
        for _ in 0..3 {
            assert!(matches!(stage.cut("hostile").what, What::Memory(_)));
            assert_eq!(stage.text("good"), "1");
        }
    }
}

#[test]
fn finalizers_are_refused() {
    let mut stage = with("setmetatable({}, {__gc = function() while true do end end})");
    assert_eq!(
        stage.failed("hostile"),
        "limit.lua:3: there is no `__gc` in scripts of the server; use `local x <close>`"
    );
    // What is added later makes no finalizer.
    let mut stage = with(
        "local m = {} for i = 1, 100 do setmetatable({}, m) end m.__gc = function() while true do end end
         for i = 1, 100000 do local x = {} end return 1",
    );
    assert_eq!(stage.text("hostile"), "1");
}

#[test]
fn what_a_function_of_the_application_calls_is_cut_too() {
    for body in [
        "server.call(function() while true do end end)",
        "while true do pcall(server.call, function() while true do end end) end",
        "server.call(function() while true do pcall(function() while true do end end) end end)",
        "server.call(function() coroutine.wrap(function() while true do end end)() end)",
        "server.call(function() while true do pcall(coroutine.wrap(function() while true do end end)) end end)",
        "server.call(function() local c = coroutine.create(function() local x <close> = setmetatable({}, {__close = function() while true do end end}) coroutine.yield() end) coroutine.resume(c) coroutine.close(c) end)",
    ] {
        let mut stage = Stage::new(Limits { call_time: Duration::from_millis(300), ..limits() });
        let call = stage.machine.lua().create_function(|_, f: mlua::Function| f.call::<()>(())).unwrap();
        stage.machine.table("server").unwrap().set("call", call).unwrap();
        stage.load(format!("function hostile() {body} end function good() return 1 end"));
        for _ in 0..2 {
            let start = processor_time();
            assert_eq!(stage.cut("hostile").place.line, 1, "{body}");
            assert!(processor_time() - start < SLACK, "{body}");
            assert_eq!(stage.text("good"), "1", "{body}");
        }
    }
}

#[test]
fn nothing_of_a_script_runs_after_its_budget() {
    let mut stage = Stage::new(limits());
    stage.load(
        "function hostile()
           local x <close> = setmetatable({}, {__close = function() log = 'closed' end})
           again = coroutine.create(function() pcall(function() while true do end end) log = 'on' end)
           pcall(coroutine.resume, again)
           log = 'caught'
         end
         function good() return log, coroutine.status(again), coroutine.resume(again) end
         function close() return coroutine.close(again) end",
    );
    stage.cut("hostile");
    assert_eq!(stage.text("good"), "nil suspended false cannot resume a coroutine that was over budget");
    assert_eq!(stage.text("close"), "true");
}

#[test]
fn what_is_called_is_a_function() {
    let mut stage = with("local t = {} t.__call = t setmetatable(t, t) t()");
    assert_eq!(stage.failed("hostile"), "limit.lua:3: `__call` must be a function");
}

#[test]
fn recursion_of_all_kinds_spares_the_stack() {
    const DEEP: &[&str] = &[
        "local function f() return 1 + f() end f()",
        "local function f() pcall(f) end f()",
        "local function f() return select(2, pcall(f)) end f()",
        "local function f() xpcall(f, function(x) return x end) end f()",
        "local function f() return 1 + select(2, xpcall(f, f)) end f()",
        "local function f() return (('a'):gsub('a', f)) end f()",
        "local function f() table.sort({1, 2}, f) return true end f()",
        "local function f() return coroutine.wrap(f)() end f()",
        "local function f() return pcall(coroutine.wrap(f)) end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k + 1] end return t[1]",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return tostring(t) end return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return string.format('%s', t) end return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) print(t) end return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) pcall(string.format, '%s', t) return pcall(string.format, '%s', t) end return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return coroutine.wrap(function() return string.format('%s', t) end)() end return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__concat = function(a, b) return a .. b end return t .. t",
        "local t = setmetatable({}, {}) getmetatable(t).__lt = function(a, b) return a < b end return t < t",
        "local t = {} for i = 1, 5000 do t = setmetatable({}, {__index = t}) end return t.x",
        "local t = {} for i = 1, 100000 do t = {t} end return json.encode(t)",
        "local t = {} t.t = t return json.encode(t)",
        "return json.decode(('['):rep(1000000))",
        "return ('a'):rep(100000):find(('(a'):rep(31) .. ('a?'):rep(10000))",
        "return ('a'):rep(1000):match(('a?'):rep(1000) .. ('a'):rep(1000))",
        "local function f() local x <close> = setmetatable({}, {__close = f}) error('x') end f()",
        "local function f() error(setmetatable({}, {__tostring = f})) end f()",
    ];
    let run = || {
        for body in DEEP {
            let mut stage = with_limits(body, Limits { call_time: Duration::from_secs(1), ..limits() });
            let start = processor_time();
            let outcome = stage.call("hostile", ());
            assert!(matches!(outcome, Outcome::Done(_) | Outcome::Failed(_) | Outcome::Cut(_)), "{body}");
            assert!(processor_time() - start < SLACK, "{body}");
            assert_eq!(text(&stage.done("good", 1)), "1006", "{body}");
        }
        for text in [
            format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
            format!("return {}1", "-".repeat(2).repeat(3).replace("--", "- ").repeat(30_000)),
            format!("return {}{}", "{".repeat(100_000), "}".repeat(100_000)),
            "do ".repeat(50_000),
            "function f() ".repeat(10_000),
            format!("return 1{}", "..1".repeat(50_000)),
        ] {
            assert!(Stage::new(limits()).try_load(text).is_err());
        }
    };
    thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
}
