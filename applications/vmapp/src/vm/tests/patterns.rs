//! Patterns do what Lua's own do, errors included.

use mlua::{Function, Lua, MultiValue, Value};
use proptest::prelude::*;

use super::{Stage, stage, without_place};

/// All functions with patterns, on one text and one pattern. What fails gives its message.
const SOURCE: &str = r##"
function try(text, pattern, init, template, most)
  local all = {}
  local function add(name, ...)
    local parts = { name }
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      parts[#parts + 1] = math.type(value) or type(value)
      parts[#parts + 1] = tostring(value)
    end
    all[#all + 1] = table.concat(parts, "\1")
  end
  add("find", pcall(string.find, text, pattern))
  add("find init", pcall(string.find, text, pattern, init))
  add("find plain", pcall(string.find, text, pattern, init, true))
  add("match", pcall(string.match, text, pattern))
  add("match init", pcall(string.match, text, pattern, init))
  add("gmatch", pcall(function() for a, b, c in string.gmatch(text, pattern) do add("", a, b, c) end end))
  add("gmatch init", pcall(function() for a, b in string.gmatch(text, pattern, init) do add("", a, b) end end))
  add("gsub", pcall(string.gsub, text, pattern, template))
  add("gsub most", pcall(string.gsub, text, pattern, template, most))
  add("gsub function", pcall(string.gsub, text, pattern, function(...) add("", ...) return select(-1, ...) end))
  add("gsub few", pcall(string.gsub, text, pattern, function(a) if a == "a" then return nil end return "<" .. a .. ">" end, most))
  add("gsub false", pcall(string.gsub, text, pattern, function() return false end))
  add("gsub table", pcall(string.gsub, text, pattern, { a = "A", b = false, ab = 7, [1] = "one" }))
  add("gsub wrong", pcall(string.gsub, text, pattern, function() return {} end))
  return table.unpack(all)
end
"##;

const PATTERNS: &[&str] = &[
    "",
    "a",
    "abc",
    ".",
    "..",
    "a*",
    "a+",
    "a-",
    "a?",
    "^a",
    "^",
    "$",
    "^$",
    "a$",
    "$a",
    "a$b",
    "^^a",
    "a^b",
    ".*",
    ".-",
    ".+b",
    "(a)",
    "(a*)",
    "(a)(b)",
    "((a)b)",
    "()",
    "()a()",
    "(()a)",
    "(a)%1",
    "(.)%1",
    "(a*)%1",
    "()%1",
    "%1",
    "(a%1)",
    "(a)%2",
    "%0",
    "%b()",
    "%bab",
    "%baa",
    "%b",
    "%bx",
    "%b\0\0",
    "%b\0x",
    "%f[a]",
    "%f[%w]%w+",
    "%f[^a]b",
    "%f[%z]",
    "%f[\0]",
    "%fa",
    "%f",
    "%f[a",
    "[a]",
    "[^a]",
    "[a-c]",
    "[a-]",
    "[-a]",
    "[^-a]",
    "[]]",
    "[^]]",
    "[]",
    "[^]",
    "[",
    "[a",
    "[%",
    "[%]",
    "[%a]",
    "[%a-z]",
    "[a-%a]",
    "[%]]",
    "[^%s]+",
    "[%w_]*",
    "[a-c-e]",
    "[c-a]",
    "[a-ÿ]",
    "[\0-\x1f]",
    "%a",
    "%A",
    "%d+",
    "%D",
    "%l",
    "%L",
    "%s",
    "%S",
    "%u",
    "%U",
    "%w",
    "%W",
    "%x",
    "%X",
    "%p",
    "%P",
    "%c",
    "%C",
    "%g",
    "%G",
    "%z",
    "%Z",
    "%%",
    "%.",
    "%",
    "a%",
    "%q",
    "%ä",
    "(",
    ")",
    "(a",
    "a)",
    "(()",
    "(a))",
    "((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))",
    "()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()",
    "*",
    "+a",
    "-",
    "?",
    "a**",
    "a*?",
    "a+-",
    "(a)*",
    "(a)+",
    "%(a%)",
    "[(]",
    "a.-b",
    "^(.-)%s*$",
    "^%s*(.-)%s*$",
    "(%w+)=(%w+)",
    "%d*%.?%d+",
    "x*$",
    "()$",
    "a\0b",
    "\0",
    "[^\0]",
    "%\0",
    "(a?)(b?)(c?)",
    "ÿ",
    "[\u{80}-ÿ]+",
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "abc",
    "aaa",
    "aab",
    "abab",
    "hello world",
    "  trim me  ",
    "key=value, k2=v2",
    "(a(b)c)(",
    "((",
    "THE (quick) fox",
    "a.b.c",
    "%d %a",
    "x^2$",
    "a\0b\0",
    "\0",
    "]",
    "-",
    "a-b]",
    "0x1F 3.14",
    "äöü",
    "\t\n\u{b}\r ",
    "aXbXc",
    "][^-%",
    "a]b",
];

const TEMPLATES: &[&str] =
    &["", "x", "%0", "<%0>", "%1", "%2%1", "%%", "%", "x%", "%a", "%9", "5", "a%0%%%1", "\0"];

struct Both {
    stage: Stage,
    theirs: Function,
    lua: Lua,
}

fn both() -> Both {
    let lua = Lua::new();
    lua.load(SOURCE).set_name("@limit.lua").exec().unwrap();
    Both { stage: stage(SOURCE), theirs: lua.globals().get("try").unwrap(), lua }
}

impl Both {
    fn check(&mut self, text: &[u8], pattern: &[u8], init: i64, template: &[u8], most: i64) {
        let arguments = |lua: &Lua| {
            let value = |bytes: &[u8]| Value::String(lua.create_string(bytes).unwrap());
            MultiValue::from_iter([
                value(text),
                value(pattern),
                Value::Integer(init),
                value(template),
                Value::Integer(most),
            ])
        };
        let values = arguments(self.stage.machine.lua());
        let ours = shown(&self.stage.done("try", values));
        let expected = shown(&self.theirs.call(arguments(&self.lua)).unwrap());
        assert_eq!(
            ours,
            expected,
            "text {text:?}, pattern {:?}, init {init}, template {template:?}, most {most}",
            String::from_utf8_lossy(pattern)
        );
    }
}

fn shown(values: &MultiValue) -> Vec<String> {
    let bytes = |value: &Value| value.as_string().unwrap().as_bytes().escape_ascii().to_string();
    values.iter().map(bytes).map(|line| without_place(line.split("table: 0x").next().unwrap())).collect()
}

#[test]
fn known_patterns_do_what_they_do_in_lua() {
    let mut both = both();
    for (number, pattern) in PATTERNS.iter().enumerate() {
        for (other, text) in TEXTS.iter().enumerate() {
            let init = [1, 2, 0, -1, 3, -100, 100][(number + other) % 7];
            let template = TEMPLATES[(number * 3 + other) % TEMPLATES.len()];
            both.check(
                text.as_bytes(),
                pattern.as_bytes(),
                init,
                template.as_bytes(),
                [0, 1, 2, -1, 100][other % 5],
            );
        }
    }
}

#[test]
fn what_is_too_complex_is_so_at_the_same_depth() {
    let mut both = both();
    for count in [190, 197, 198, 199, 200, 201, 202, 210] {
        both.check(&vec![b'a'; 300], "a?".repeat(count).as_bytes(), 1, b"x", 1);
        both.check(&vec![b'a'; 300], "a-".repeat(count).as_bytes(), 1, b"x", 1);
    }
}

#[test]
fn wrong_arguments_are_refused_in_the_same_words() {
    const CALLS: &[&str] = &[
        "string.find()",
        "string.find('x')",
        "('x'):find()",
        "('x'):find({})",
        "string.find({}, 'x')",
        "string.find('x', 'x', {})",
        "string.find('x', 'x', 'y')",
        "string.find('x', 'x', 1.5)",
        "string.find('xx', 'x', '2')",
        "string.find('xx', 'x', 2.0)",
        "string.find(1234, 23)",
        "string.find('x', 'x', nil, 0)",
        "string.match('x')",
        "('x'):match(nil)",
        "string.gmatch('x')",
        "('x'):gmatch()",
        "string.gmatch('x', 'x', 'y')",
        "string.gsub('x')",
        "string.gsub('x', 'x')",
        "string.gsub('x', 'x', true)",
        "('x'):gsub('x', nil)",
        "string.gsub('x', 'x', 5)",
        "string.gsub('x', 'x', 'y', 'z')",
        "string.gsub(5, 5, 6)",
        "string.gsub('x', 'x', print, {})",
        "string.gsub({}, 'x', print)",
        "('x'):gsub({}, print)",
        "('x'):gsub('x', function() error('inside', 0) end)",
        "('x'):gsub('x', function() error({}) end) == 1",
        "('x'):gsub('x', {}, 1.5)",
        "('x'):gsub('x', setmetatable({}, {__index = function(_, k) return k .. k end}))",
        "('x'):gsub('x', function() return true end)",
        "string.find('x', 'x', math.mininteger)",
        "string.find('x', 'x', math.maxinteger)",
        "string.gmatch('x', '', math.maxinteger)()",
        "string.gmatch('xy', '.', -1)()",
    ];
    let source: String = CALLS
        .iter()
        .map(|call| format!("function() local r = table.pack({call}) return table.unpack(r, 1, r.n) end,\n"))
        .collect();
    let source = format!("local calls = {{ {source} }}\nfunction try(n) return pcall(calls[n]) end");
    let lua = Lua::new();
    lua.load(&source).set_name("@limit.lua").exec().unwrap();
    let theirs: Function = lua.globals().get("try").unwrap();
    let mut stage = stage(&source);
    for (index, call) in CALLS.iter().enumerate() {
        let values = |values: MultiValue| {
            let text =
                |value: &Value| without_place(value.to_string().unwrap().split(": 0x").next().unwrap());
            values.iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(values(stage.done("try", index + 1)), values(theirs.call(index + 1).unwrap()), "{call}");
    }
}

/// Patterns of the pieces that patterns are made of, in any order.
fn pattern() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&str] = &[
        "a", "b", ".", "%a", "%d", "%s", "%W", "%%", "*", "+", "-", "?", "(", ")", "()", "^", "$", "[ab]",
        "[^a]", "[a-c]", "[", "]", "%1", "%2", "%b()", "%bab", "%f[a]", "%f[%A]", "%f", "%", "1", "\0",
        "[%w-]", "(a)", "(.)", "(a*)", "(.-)",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..8).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn made_up_patterns_do_what_they_do_in_lua(
        cases in prop::collection::vec(
            (pattern(), "[ab1() \\x00%-]{0,12}", -5_i64..14, prop::sample::select(TEMPLATES), -1_i64..5), 1..10),
    ) {
        thread_local! { static BOTH: std::cell::RefCell<Both> = std::cell::RefCell::new(both()); }
        BOTH.with(|both| {
            for (pattern, text, init, template, most) in cases {
                both.borrow_mut().check(text.as_bytes(), &pattern, init, template.as_bytes(), most);
            }
        });
    }

    #[test]
    fn any_bytes_do_what_they_do_in_lua(text in prop::collection::vec(any::<u8>(), 0..12), pattern in prop::collection::vec(any::<u8>(), 0..6)) {
        thread_local! { static BOTH: std::cell::RefCell<Both> = std::cell::RefCell::new(both()); }
        BOTH.with(|both| both.borrow_mut().check(&text, &pattern, 1, b"<%0>", 3));
    }
}
