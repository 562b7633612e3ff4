//! The questions of `authmod=adobe`: made, and their answers checked.
//!
//! A peer is refused three times at most, each time on a connection of its own: it is told that the server wants to know
//! who it is; it says its user, and is told a salt and a question; it answers. A question carries all that is needed to
//! know it again, signed with a key that only this process has. So nothing is kept for those who never answer, and
//! nobody can make the server forget the questions of others. Only questions that have been answered are kept until
//! they expire, so that no answer counts twice.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use crtmp_media::Limits;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What a peer is told that has not said who it is; clients know it by these words.
pub(super) const NEEDED: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";

/// What begins all further refusals.
const BEGIN: &str = "[ AccessManager.Reject ] : [ authmod=adobe ] : ";

/// Bytes of a question: random ones, when it expires, and a signature. ffmpeg reads 255 bytes of a refusal, in which the
/// question stands twice, beside a user of at most [`super::users::NAME`] bytes and the salt.
const NONCE: usize = 9;
const TIME: usize = 4;
const TAG: usize = 11;
const QUESTION: usize = NONCE + TIME + TAG;

/// The longest user in a query, in bytes, each of three letters (`%41`).
const USER: usize = 3 * super::users::NAME;

/// The longest challenge of a client.
const CHALLENGE: usize = 64;

/// What a peer has said of itself in the query of its application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Nothing, or nothing that could be understood.
    Nothing,
    /// Its user, as it stands in the query.
    User(&'a str),
    /// Its answer to a question.
    Answer(Answer<'a>),
}

/// An answer to a question. What is missing is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// The user, as it stands in the query.
    pub(super) user: &'a str,
    pub(super) challenge: &'a str,
    pub(super) response: &'a str,
    pub(super) opaque: &'a str,
}

/// Reads the query of an application. Clients append theirs to one that is there, with a question mark of its own.
pub(super) fn said(query: &str) -> Said<'_> {
    let Some(at) = query
        .match_indices("authmod=")
        .map(|(at, _)| at)
        .filter(|&at| at == 0 || matches!(query.as_bytes()[at - 1], b'?' | b'&'))
        .last()
    else {
        return Said::Nothing;
    };
    let query = &query[at..];
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then_some(value)).unwrap_or_default()
    };
    let (user, response) = (value("user"), value("response"));
    if value("authmod") != "adobe" || user.is_empty() || user.len() > USER {
        return Said::Nothing;
    }
    if response.is_empty() {
        return Said::User(user);
    }
    Said::Answer(Answer { user, challenge: value("challenge"), response, opaque: value("opaque") })
}

/// The refusal that holds a question. `user` as it stood in the query: clients that did not encode it look for theirs.
pub(super) fn asked(user: &str, salt: &str, question: &str) -> String {
    // Some clients answer the challenge, others the opaque.
    format!("{BEGIN}?reason=needauth&user={user}&salt={salt}&challenge={question}&opaque={question}")
}

/// The refusal of a wrong answer, of an unknown user, and of a question that is not known: which it was, is not said.
pub(super) fn failed(question: &str) -> String {
    let question = if is_question(question) { question } else { "" };
    format!("{BEGIN}?reason=authfailed&opaque={question}")
}

fn is_question(text: &str) -> bool {
    text.len() == QUESTION / 3 * 4
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The first hash of the scheme, of which the password is not needed any more.
pub(super) fn first_hash(user: &[u8], salt: &[u8], password: &[u8]) -> [u8; 16] {
    md5(&[user, salt, password])
}

/// Whether a response is the one of who has this first hash; takes the same time whatever it is.
pub(super) fn is_right(first: &[u8; 16], answer: &Answer<'_>) -> bool {
    let first = BASE64_STANDARD.encode(first);
    let expected = md5(&[first.as_bytes(), answer.opaque.as_bytes(), answer.challenge.as_bytes()]);
    let expected = BASE64_STANDARD.encode(expected);
    let fits = answer.challenge.len() <= CHALLENGE;
    let response: Vec<u8> = percent_decode_str(answer.response).collect();
    bool::from(expected.as_bytes().ct_eq(&response)) && fits
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// The key of this process, and what has been answered.
pub(super) struct Questions {
    key: [u8; 32],
    lifetime: Duration,
    most: usize,
    spent: HashSet<Nonce>,
    /// Those that were answered right, by when they expire. They are not forgotten before.
    right: BTreeSet<(u32, Nonce)>,
    /// Those that were answered wrong; where there are too many, the ones that expire first are forgotten.
    wrong: BTreeSet<(u32, Nonce)>,
}

type Nonce = [u8; NONCE];

/// A question that may be answered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    nonce: Nonce,
    expires: u32,
}

/// Why a question cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is none of ours, or was for somebody else, or has expired, or has been answered.
    Unknown,
    /// As many have been answered right as can be remembered.
    Full,
}

impl Questions {
    pub(super) fn new(key: [u8; 32], limits: &Limits) -> Self {
        let (lifetime, most) = (limits.auth_challenge_time.get(), limits.auth_challenges);
        let (spent, right, wrong) = (HashSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { key, lifetime, most, spent, right, wrong }
    }

    /// The salt of a user that has none of its own, and of one that there is not.
    pub(super) fn salt(&self, application: &str, user: &str) -> String {
        let mac = self.mac(b"salt", application, user, &[]);
        mac[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A question to this user of this application. `now` is the time since the server's start.
    pub(super) fn ask(&self, application: &str, user: &str, nonce: Nonce, now: Duration) -> String {
        // Hundredths of a second, for more than a year.
        let expires = hundredths(now.saturating_add(self.lifetime));
        let signed = [&nonce[..], &expires.to_be_bytes()].concat();
        let tag = self.mac(b"question", application, user, &signed);
        BASE64_URL_SAFE_NO_PAD.encode([&signed[..], &tag[..TAG]].concat())
    }

    /// Looks whether a question may be answered by this user of this application.
    pub(super) fn find(
        &mut self,
        question: &str,
        application: &str,
        user: &str,
        now: Duration,
    ) -> Result<Open, Closed> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(question).map_err(|_| Closed::Unknown)?;
        let bytes: [u8; QUESTION] = bytes.try_into().map_err(|_| Closed::Unknown)?;
        let (signed, tag) = bytes.split_at(NONCE + TIME);
        let expected = self.mac(b"question", application, user, signed);
        let is_ours = bool::from(expected[..TAG].ct_eq(tag));
        let mut open = Open { nonce: [0; NONCE], expires: 0 };
        open.nonce.copy_from_slice(&signed[..NONCE]);
        open.expires = signed[NONCE..].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        self.forget_expired(now);
        if !is_ours || open.expires < hundredths(now) || self.spent.contains(&open.nonce) {
            return Err(Closed::Unknown);
        }
        if self.right.len() >= self.most { Err(Closed::Full) } else { Ok(open) }
    }

    /// A question has been answered. Whether that counts: false where it was answered a moment before.
    pub(super) fn spend(&mut self, open: Open, is_right: bool) -> bool {
        if !self.spent.insert(open.nonce) {
            return false;
        }
        let entry = (open.expires, open.nonce);
        if is_right {
            self.right.insert(entry)
        } else {
            self.wrong.insert(entry)
        };
        while self.right.len() + self.wrong.len() > self.most
            && let Some((_, nonce)) = self.wrong.pop_first()
        {
            self.spent.remove(&nonce);
        }
        true
    }

    fn forget_expired(&mut self, now: Duration) {
        let now = hundredths(now);
        for entries in [&mut self.right, &mut self.wrong] {
            while let Some(&(expires, nonce)) = entries.first()
                && expires < now
            {
                entries.pop_first();
                self.spent.remove(&nonce);
            }
        }
    }

    fn mac(&self, what: &[u8], application: &str, user: &str, more: &[u8]) -> [u8; 32] {
        // A key of any length will do, and this one has one.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        for part in [what, application.as_bytes(), user.as_bytes(), more] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn hundredths(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / 10).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crtmp_media::Seconds;

    const SECOND: Duration = Duration::from_secs(1);

    fn questions(most: usize) -> Questions {
        let limits =
            Limits { auth_challenges: most, auth_challenge_time: Seconds::new(30), ..Limits::default() };
        Questions::new([7; 32], &limits)
    }

    /// The client's side is computed with Python's hashlib in the tests of `links/adobe.rs`.
    #[test]
    fn the_answer_of_another_implementation_is_right() {
        let first = first_hash(b"user", b"5v2sDw==", b"secret");
        let answer = Answer {
            user: "user",
            challenge: "1a2b3c4d",
            response: "G0Fo9g2cs2coqTUlX3UVVw==",
            opaque: "xa8AAA==",
        };
        assert!(is_right(&first, &answer));
        assert!(is_right(&first, &Answer { response: "G0Fo9g2cs2coqTUlX3UVVw%3D%3d", ..answer }));
        for wrong in [
            Answer { challenge: "1a2b3c4e", ..answer },
            Answer { response: "G0Fo9g2cs2coqTUlX3UVVw=", ..answer },
            Answer { response: "", ..answer },
            Answer { opaque: "", ..answer },
        ] {
            assert!(!is_right(&first, &wrong), "{wrong:?}");
        }
        assert!(!is_right(&first_hash(b"user", b"5v2sDw==", b"Secret"), &answer));
    }

    #[test]
    fn what_is_said_is_found_behind_any_other_query() {
        let answer = Answer { user: "u", challenge: "c", response: "r/+==", opaque: "o" };
        for (query, expected) in [
            ("", Said::Nothing),
            ("a=b", Said::Nothing),
            ("authmod=adobe", Said::Nothing),
            ("authmod=adobe&user=", Said::Nothing),
            ("authmod=llnw&user=u", Said::Nothing),
            ("xauthmod=adobe&user=u", Said::Nothing),
            ("authmod=adobe&user=u", Said::User("u")),
            ("a=b&authmod=adobe&user=u", Said::User("u")),
            ("a=b?authmod=adobe&user=j%C3%B6", Said::User("j%C3%B6")),
            ("authmod=adobe&user=old?authmod=adobe&user=new", Said::User("new")),
            ("authmod=adobe&user=u&challenge=c&response=r/+==&opaque=o", Said::Answer(answer)),
            ("authmod=adobe&opaque=o&response=r/+==&challenge=c&user=u", Said::Answer(answer)),
            (
                "authmod=adobe&user=u&response=r/+==&challenge=c",
                Said::Answer(Answer { opaque: "", ..answer }),
            ),
        ] {
            assert_eq!(said(query), expected, "{query}");
        }
        for (length, good) in [(USER - 1, true), (USER, true), (USER + 1, false)] {
            let query = format!("authmod=adobe&user={}", "u".repeat(length));
            assert_eq!(said(&query) != Said::Nothing, good, "{length}");
        }
    }

    #[test]
    fn a_question_is_answered_once_by_whom_it_was_asked_and_in_time() {
        let mut questions = questions(16);
        let question = questions.ask("live", "u", [1; NONCE], SECOND);
        let at = |seconds| SECOND * seconds;
        for (question, application, user, now) in [
            (question.as_str(), "live", "v", at(2)),
            (&question, "other", "u", at(2)),
            (&question, "live", "u", at(32)),
            (&question[1..], "live", "u", at(2)),
            ("", "live", "u", at(2)),
            (&question.replace(|letter: char| letter.is_ascii_digit(), "A"), "live", "u", at(2)),
            (&"A".repeat(32), "live", "u", at(2)),
        ] {
            assert_eq!(questions.find(question, application, user, now), Err(Closed::Unknown), "{question}");
        }
        let open = questions.find(&question, "live", "u", at(31)).expect("the last moment");
        assert!(questions.spend(open, true));
        assert_eq!(questions.find(&question, "live", "u", at(3)), Err(Closed::Unknown), "a replay");
        assert!(!questions.spend(open, true), "two that were looked at together");
        // It is forgotten only when it has expired, and then it does not count any more.
        assert_eq!(questions.find(&question, "live", "u", at(33)), Err(Closed::Unknown));
        assert!(questions.spent.is_empty() && questions.right.is_empty());
    }

    #[test]
    fn a_wrong_answer_uses_up_the_question_and_never_the_memory_of_right_ones() {
        let mut questions = questions(16);
        let ask = |questions: &Questions, number: u8| questions.ask("live", "u", [number; NONCE], SECOND);
        let first = ask(&questions, 0);
        let open = questions.find(&first, "live", "u", SECOND).expect("open");
        questions.spend(open, true);
        for number in 1..=100 {
            let question = ask(&questions, number);
            let open = questions.find(&question, "live", "u", SECOND).expect("open");
            assert!(questions.spend(open, false));
            assert_eq!(questions.find(&question, "live", "u", SECOND), Err(Closed::Unknown));
            assert!(questions.spent.len() <= 16);
        }
        assert_eq!(questions.find(&first, "live", "u", SECOND), Err(Closed::Unknown), "still known");
        for number in 101..=115 {
            let question = ask(&questions, number);
            let open = questions.find(&question, "live", "u", SECOND).expect("there is room");
            questions.spend(open, true);
        }
        let question = ask(&questions, 200);
        assert_eq!(questions.find(&question, "live", "u", SECOND), Err(Closed::Full));
        assert_eq!(questions.find(&question, "live", "u", SECOND * 31), Err(Closed::Full));
        let later = questions.ask("live", "u", [201; NONCE], SECOND * 32);
        assert!(questions.find(&later, "live", "u", SECOND * 32).is_ok());
    }

    /// It reads 255 bytes of a description, and 300 of what follows the question mark.
    #[test]
    fn a_refusal_fits_where_ffmpeg_reads_it() {
        let questions = questions(16);
        let question = questions.ask("live", "u", [255; NONCE], SECOND);
        let user = "u".repeat(super::super::users::NAME);
        let salt = "s".repeat(super::super::users::SALT);
        let words = asked(&user, &salt, &question);
        assert!(words.len() <= 255, "{}", words.len());
        assert!(is_question(&question) && failed(&question).ends_with(&question));
        assert!(failed("no \u{7}question").ends_with("opaque="));
        assert_eq!(questions.salt("live", "u").len(), 8);
        assert_ne!(questions.salt("live", "u"), questions.salt("live", "v"));
        assert_ne!(questions.salt("live", "u"), questions.salt("liveu", ""));
    }
}
