//! Who we are, said as Adobe's encoders say it: `authmod=adobe`.
//!
//! A server that wants to know refuses `connect` and says so. The client connects again with its user, is refused with
//! a question, and connects a third time with the answer, each time behind application and `tcUrl`. The password never
//! leaves the server, and what does is of use for this question only.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// How often one connects again within one attempt.
pub(super) const AGAIN: u8 = 2;

/// What a server says that wants to know who we are, whatever way it knows to ask.
const NEEDED: &str = "code=403 need auth";

/// What begins its question.
const QUESTION: &str = "?reason=needauth";

/// Bytes of each part of a question.
const PART: usize = 256;

/// What is not said as it is in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

/// User and password of an address. Nothing shows them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Login {
    /// What stands before the `@` of an address, where it is both; percent signs are undone.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let login = Self { user: decoded(user), password: decoded(password) };
        (!login.user.is_empty() && !login.password.is_empty()).then_some(login)
    }

    fn query(&self) -> String {
        format!("authmod=adobe&user={}", percent_encode(&self.user, QUERY))
    }

    /// The answer to a question; `ours` makes it another one each time.
    fn response(&self, question: &Question<'_>, ours: &str) -> String {
        let first = hash(&[&self.user, question.salt.as_bytes(), &self.password]);
        let theirs = question.opaque.unwrap_or(question.challenge);
        hash(&[first.as_bytes(), theirs.as_bytes(), ours.as_bytes()])
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// What a server asks.
struct Question<'a> {
    salt: &'a str,
    challenge: &'a str,
    opaque: Option<&'a str>,
}

/// What is said next to a server that has refused `connect` with these words after having been connected to `again`
/// times: the query behind application and `tcUrl`, or why there is nothing to say. None: it does not ask who we are.
/// `random` is another one each time.
pub(super) fn next(
    words: &str,
    login: Option<&Login>,
    again: u8,
    random: u32,
) -> Option<Result<String, &'static str>> {
    if !words.contains("authmod=") && !words.contains(NEEDED) {
        return None;
    }
    if !words.contains("authmod=adobe") {
        return Some(Err("it asks who we are in a way that is not known here (known is authmod=adobe)"));
    }
    let Some(login) = login else {
        return Some(Err(
            "it wants a user and a password, which `uri` does not have (rtmp://user:password@…)",
        ));
    };
    if words.contains("?reason=authfailed") {
        return Some(Err("the password is wrong (authfailed)"));
    }
    if words.contains("?reason=nosuchuser") {
        return Some(Err("there is no such user (nosuchuser)"));
    }
    if again >= AGAIN {
        return Some(Err("it asks who we are again and again"));
    }
    if let Some(at) = words.find(QUESTION) {
        let Some(question) = question(&words[at + 1..]) else {
            return Some(Err("it asks who we are, and its question has not what it needs"));
        };
        let ours = format!("{random:08x}");
        let response = login.response(&question, &ours);
        let opaque = question.opaque.map(|opaque| format!("&opaque={opaque}")).unwrap_or_default();
        return Some(Ok(format!("{}&challenge={ours}&response={response}{opaque}", login.query())));
    }
    if words.contains(NEEDED) && again == 0 {
        return Some(Ok(login.query()));
    }
    Some(Err("it asks who we are, and does not say what it wants to hear"))
}

fn question(query: &str) -> Option<Question<'_>> {
    let query = query.split(|letter: char| !letter.is_ascii_graphic()).next().unwrap_or_default();
    let value = |name: &str| {
        let mut parts = query.split('&').filter_map(|part| part.split_once('='));
        parts.find_map(|(key, value)| (key == name && value.len() <= PART).then_some(value))
    };
    Some(Question { salt: value("salt")?, challenge: value("challenge")?, opaque: value("opaque") })
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    BASE64_STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";

    fn asked(query: &str) -> String {
        format!("[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&{query}")
    }

    fn login() -> Login {
        Login::parse("user:secret").unwrap()
    }

    #[test]
    fn users_and_passwords_are_taken_apart_and_not_shown() {
        let both = |text: &str| {
            Login::parse(text).map(|login| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(&login.user), text(&login.password))
            })
        };
        for (text, user, password) in [
            ("u:p", "u", "p"),
            ("u:p:w@x", "u", "p:w@x"),
            ("a%40b:p%3a%2F", "a@b", "p:/"),
            ("u%:%zz", "u%", "%zz"),
        ] {
            assert_eq!(both(text), Some((user.to_owned(), password.to_owned())), "{text}");
        }
        for text in ["", "u", "u:", ":p", ":"] {
            assert_eq!(both(text), None, "{text}");
        }
        assert_eq!(format!("{:?}", login()), "Login");
    }

    /// Computed with Python's hashlib.
    #[test]
    fn answers_are_those_that_others_compute() {
        let odd = Login::parse("j%C3%B6rg@home:p:a/s w").unwrap();
        let cases = [
            (
                login(),
                asked("user=user&salt=5v2sDw==&challenge=xa8AAA==&opaque=xa8AAA=="),
                0x1a2b_3c4d,
                "authmod=adobe&user=user&challenge=1a2b3c4d&response=G0Fo9g2cs2coqTUlX3UVVw==&opaque=xa8AAA==",
            ),
            (
                login(),
                asked("user=user&salt=5v2sDw==&challenge=xa8AAA=="),
                0x1a2b_3c4d,
                "authmod=adobe&user=user&challenge=1a2b3c4d&response=G0Fo9g2cs2coqTUlX3UVVw==",
            ),
            (
                login(),
                asked("opaque=vgoAAA==&challenge=xa8AAA==&salt=5v2sDw== ]"),
                0,
                "authmod=adobe&user=user&challenge=00000000&response=PKr70xbg8A+8BAQU4cAcJA==&opaque=vgoAAA==",
            ),
            (
                odd,
                asked("salt=0&challenge=1"),
                u32::MAX,
                "authmod=adobe&user=j%C3%B6rg@home&challenge=ffffffff&response=0wvHNbArn+CuxM7V/ZQZiQ==",
            ),
        ];
        for (login, words, random, expected) in cases {
            assert_eq!(next(&words, Some(&login), 1, random), Some(Ok(expected.to_owned())), "{words}");
        }
    }

    #[test]
    fn each_refusal_has_its_next_step_or_says_why_there_is_none() {
        let login = login();
        let said = |words: &str, again| next(words, Some(&login), again, 1);
        assert_eq!(said("NetConnection.Connect.Rejected", 0), None);
        assert_eq!(said(NEED, 0), Some(Ok("authmod=adobe&user=user".to_owned())));
        let question = asked("salt=a&challenge=b");
        for (again, good) in [(AGAIN - 1, true), (AGAIN, false), (AGAIN + 1, false)] {
            assert_eq!(said(&question, again).is_some_and(|said| said.is_ok()), good, "{again}");
        }
        assert!(said(&question, 0).is_some_and(|said| said.is_ok()), "it need not refuse twice");
        for (words, why) in [
            ("[ code=403 need auth; authmod=llnw ]", "not known"),
            ("[ code=403 need auth ]", "not known"),
            ("[ authmod=adobe ] : ?reason=authfailed&opaque=x", "authfailed"),
            ("[ authmod=adobe ] : ?reason=nosuchuser", "nosuchuser"),
            ("[ authmod=adobe ]", "what it wants to hear"),
            (&asked("challenge=b"), "its question"),
            (&asked("salt=a"), "its question"),
            (&asked("salt=a \n&challenge=b"), "its question"),
        ] {
            let said = said(words, 1).unwrap().unwrap_err();
            assert!(said.contains(why), "{words}: {said}");
        }
        assert!(said(NEED, 1).is_some_and(|said| said.is_err()), "it has heard the user already");
        assert!(next(NEED, None, 0, 1).is_some_and(|said| said.is_err_and(|why| why.contains("a password"))));
        for (length, good) in [(PART - 1, true), (PART, true), (PART + 1, false)] {
            let words = asked(&format!("salt=a&challenge={}", "b".repeat(length)));
            assert_eq!(said(&words, 1).unwrap().is_ok(), good, "{length}");
        }
    }
}
