use proptest::prelude::*;
use serde_json::json;

use super::*;

const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn settings(scheme: &str, more: Value) -> RtmpAuthentication {
    let mut settings = json!({ "type": scheme, "usersFile": "users.lua", "authenticatePlay": true });
    settings.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    serde_json::from_value(settings).expect("settings")
}

fn read_as(scheme: &str, more: Value, file: Value) -> Result<Table, String> {
    Table::read(&file, &settings(scheme, more), [1; 32], &Limits::default())
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn read(scheme: &str, users: Value) -> Result<Table, String> {
    read_as(scheme, json!({}), json!({ "users": users }))
}

fn mistakes(scheme: &str, users: Value) -> String {
    read(scheme, users).err().expect("mistakes")
}

fn password(user: &str, password: &str) -> Credentials {
    Credentials::Password { user: user.to_owned(), password: password.into() }
}

fn is(table: &Table, credentials: Credentials) -> Option<String> {
    let user = match table.find(credentials, Instant::now()) {
        Found::Right(user) => user,
        Found::Wrong => return None,
        Found::Slow(check) => table.check(*check, Instant::now)?,
    };
    Some(user.name.to_string())
}

#[test]
fn every_way_to_store_a_password_or_token_is_understood() {
    let adobe = super::super::adobe::first_hash(b"salted", b"salt", b"password");
    let md5: String = adobe.iter().map(|byte| format!("{byte:02x}")).collect();
    let sha256: String = Sha256::digest(b"other token").iter().map(|byte| format!("{byte:02x}")).collect();
    let table = read(
        "query",
        json!({
            "plain": "password",
            "slow": ARGON2,
            "salted": { "salt": "salt", "md5": md5 },
            "both": { "password": "word", "token": "a token" },
            "bearer": { "tokenSha256": sha256 },
        }),
    )
    .expect("users");
    for (user, word, good) in [
        ("plain", "password", true),
        ("plain", "Password", false),
        ("slow", "password", true),
        ("slow", "passwords", false),
        ("salted", "password", true),
        ("salted", "passwore", false),
        ("both", "word", true),
        ("both", "a token", false),
        ("bearer", "other token", false),
        ("bearer", "", false),
        ("nobody", "password", false),
        ("nobody", "", false),
    ] {
        assert_eq!(is(&table, password(user, word)).as_deref(), good.then_some(user), "{user} {word}");
    }
    for (token, user) in
        [("a token", Some("both")), ("other token", Some("bearer")), ("word", None), ("", None)]
    {
        assert_eq!(is(&table, Credentials::Token(token.into())).as_deref(), user, "{token}");
    }
    assert_eq!(is(&table, Credentials::Broken), None);
    assert_eq!(table.len(), 5);
}

/// Nobody can tell by the time that it takes whether there is a user.
#[test]
fn who_there_is_not_is_compared_like_somebody_there_is() {
    let table = read("query", json!({ "slow": ARGON2 })).expect("users");
    for (user, good) in [("slow", true), ("nobody", false)] {
        let Found::Slow(check) = table.find(password(user, "password"), Instant::now()) else {
            panic!("{user}: not slow");
        };
        assert_eq!(table.check(*check, Instant::now).is_some(), good, "{user}");
    }
    let table = read("adobe", json!({ "plain": "password" })).expect("users");
    let (salt, hash, user) = table.for_adobe("nobody", "1234abcd");
    assert_eq!((salt.as_str(), user), ("1234abcd", None));
    assert_eq!(table.for_adobe("nobody", "1234abcd").1, hash, "the same each time");
    assert_ne!(hash, super::super::adobe::first_hash(b"nobody", b"1234abcd", b""));
}

#[test]
fn a_slow_password_that_was_right_is_not_checked_again_until_the_file_is_read_again() {
    let read = || read("query", json!({ "slow": ARGON2 })).expect("users");
    let table = read();
    let is_slow = |table: &Table, user: &str, word: &str| {
        matches!(table.find(password(user, word), Instant::now()), Found::Slow(_))
    };
    assert!(is_slow(&table, "slow", "wrong"));
    assert_eq!(is(&table, password("slow", "wrong")), None);
    assert!(is_slow(&table, "slow", "wrong"), "only what is right is remembered");
    assert!(is(&table, password("slow", "password")).is_some());
    assert!(!is_slow(&table, "slow", "password") && is_slow(&table, "slow", "passwor"));
    assert!(is_slow(&table, "slowp", "assword"), "user and password do not run together");
    assert!(is_slow(&read(), "slow", "password"));
}

#[test]
fn what_cannot_answer_adobes_question_is_refused_where_it_is_asked() {
    for user in [json!(ARGON2), json!({ "token": "t" })] {
        let text = mistakes("adobe", json!({ "good": "x", "bob": user }));
        assert!(text.starts_with("users[\"bob\"]: found ") && text.contains("type=\"adobe\""), "{text}");
        assert!(!text.contains("argon2id"), "{text}");
        assert!(read("query", json!({ "bob": user })).is_ok());
    }
    // Who has nothing to do with the application may have what it likes.
    let file = json!({
        "users": { "bob": ARGON2, "eve": "word" },
        "realms": [{ "name": "encoders", "method": "Digest", "users": ["eve"] }],
    });
    let realms = json!({ "publishRealm": "encoders", "playRealm": "encoders" });
    assert_eq!(read_as("adobe", realms, file).expect("users").len(), 1);
}

#[test]
fn realms_say_who_may_do_what() {
    let file = json!({
        "users": { "a": "1", "b": "2", "c": "3", "d": "4" },
        "realms": [{ "name": "one", "users": ["a", "b"] }, { "name": "two", "users": ["b", "c"] }],
    });
    let realms = json!({ "publishRealm": "one", "playRealm": "two" });
    let table = read_as("query", realms, file.clone()).expect("users");
    let grants = |user: &str, word: &str| match table.find(password(user, word), Instant::now()) {
        Found::Right(user) => Some((user.grants.publish, user.grants.play)),
        _ => None,
    };
    assert_eq!(grants("a", "1"), Some((true, false)));
    assert_eq!(grants("b", "2"), Some((true, true)));
    assert_eq!(grants("c", "3"), Some((false, true)));
    assert_eq!(grants("d", "4"), None);
    let text = read_as("query", json!({ "playRealm": "three" }), file).err().expect("a mistake");
    assert!(text.contains("no realm \"three\"") && text.contains("`playRealm`"), "{text}");
}

#[test]
fn each_mistake_is_named_and_no_password_is() {
    for (users, expected) in [
        (json!("hidden"), "users: found a string"),
        (json!(["hidden"]), "users: found a list"),
        (json!({}), "nobody that may publish"),
        (json!({ "a": 7 }), "users[\"a\"]: found a number"),
        (json!({ "a": "" }), "found 0 bytes"),
        (json!({ "a": {} }), "found an empty table"),
        (json!({ "a b": "hidden" }), "users[\"a b\"]: found such a name"),
        (json!({ "a&b": "hidden" }), "such a name"),
        (json!({ "": "hidden" }), "such a name"),
        (json!({ "a": { "pasword": "hidden" } }), "[\"pasword\"]: found an unknown key"),
        (json!({ "a": { "password": 1 } }), ".password: found a number"),
        (json!({ "a": { "salt": "hidden" } }), "half of a password"),
        (json!({ "a": { "password": "hidden", "salt": "s", "md5": "m" } }), "half of a password, or two"),
        (json!({ "a": { "salt": "a b", "md5": "hidden" } }), ".salt: found \"a b\""),
        (json!({ "a": { "salt": "s", "md5": "hidden" } }), ".md5: found something else"),
        (json!({ "a": { "tokenSha256": "hidden" } }), ".tokenSha256: found something else"),
        (json!({ "a": { "token": "x", "tokenSha256": "hidden" } }), "`token` and `tokenSha256`"),
        (json!({ "a": { "token": "hidden" }, "b": { "token": "hidden" } }), "the token of users[\"a\"]"),
        (json!({ "a": "$argon2id$hidden" }), "a hash"),
    ] {
        let text = mistakes("query", users);
        assert!(text.contains(expected) && !text.contains("hidden"), "{expected}: {text}");
    }
    for (realms, expected) in [
        (json!("x"), "realms: found a string"),
        (json!([{}]), "realms[1]: found no name"),
        (json!([{ "name": "r" }]), "realms[1].users: found nothing"),
        (json!([{ "name": "r", "users": ["b"] }]), "realms[1].users[1]: found \"b\""),
        (json!([{ "name": "r", "users": [1] }]), "realms[1].users[1]: found a number"),
        (json!([{ "name": "r", "method": "x", "users": {} }]), "realms[1].method"),
        (json!([{ "name": "r", "user": "a", "users": {} }]), "realms[1][\"user\"]: found an unknown key"),
        (
            json!([{ "name": "r", "users": {} }, { "name": "r", "users": {} }]),
            "realms[2].name: found \"r\" again",
        ),
    ] {
        let file = json!({ "users": { "a": "x" }, "realms": realms });
        let text = read_as("query", json!({}), file).err().expect("mistakes");
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let many: Map<String, Value> = (0..100).map(|number| (number.to_string(), json!(1))).collect();
    assert_eq!(mistakes("query", many.into()).lines().count(), MISTAKES);
}

#[test]
fn names_salts_passwords_and_tokens_have_their_length() {
    for (length, good) in [(NAME - 1, true), (NAME, true), (NAME + 1, false)] {
        assert_eq!(read("query", json!({ "n".repeat(length): "x" })).is_ok(), good, "{length}");
    }
    for (length, good) in [(SALT - 1, true), (SALT, true), (SALT + 1, false)] {
        let user = json!({ "salt": "s".repeat(length), "md5": "0".repeat(32) });
        assert_eq!(read("adobe", json!({ "a": user })).is_ok(), good, "{length}");
    }
    for (length, good) in [(VALUE - 1, true), (VALUE, true), (VALUE + 1, false)] {
        let word = "x".repeat(length);
        assert_eq!(read("query", json!({ "a": word })).is_ok(), good, "{length}");
        assert_eq!(read("query", json!({ "a": { "token": word } })).is_ok(), good, "{length}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let word = "(name|users|method|password|salt|md5|token|tokenSha256|a|Basic|\\$argon2id\\$v=19\\$m=8|[0-9a-f]{32})";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(word, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_file_is_a_table_or_mistakes(users in any_value(), realms in any_value(), adobe: bool) {
        let scheme = if adobe { "adobe" } else { "query" };
        let file = json!({ "users": users, "realms": realms });
        if let Ok(table) = read_as(scheme, json!({ "playRealm": "a" }), file) {
            prop_assert!(table.len() > 0);
        }
    }
}
