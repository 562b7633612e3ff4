//! The body of a fuzz target: what peers and users files say, in any bytes.

use std::time::{Duration, Instant};

use crtmp_media::Limits;
use serde_json::json;

use super::adobe::{self, Answer, Closed, Questions, Said};
use super::password::Stored;
use super::query::{self, Credentials};
use super::users::{Found, Table};

/// The first line is the query of a peer, the second a stored password, the rest a users file as JSON: whatever is read,
/// nobody comes in by an answer to a question that was never asked, and no refusal holds what breaks a line.
pub(crate) fn authentication(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (said, stored, file) = (line(), line(), line());
    asked(said);
    if let Ok(plain @ Stored::Plain(_)) = Stored::parse(stored) {
        assert!(plain.is("user", stored.as_bytes(), &[0; 32]));
    }
    users(said, file);
}

/// A question of ours is answered by nothing that was made without it.
fn asked(said: &str) {
    let mut questions = Questions::new([1; 32], &Limits::default());
    let Said::Answer(answer) = adobe::said(said) else { return };
    let now = Duration::from_secs(1);
    assert_eq!(questions.find(answer.opaque, "live", answer.user, now), Err(Closed::Unknown));
    let question = questions.ask("live", answer.user, [7; 9], now);
    assert!(questions.find(&question, "live", answer.user, now).is_ok());
    let refusal = adobe::failed(answer.opaque);
    assert!(!refusal.contains(char::is_control) && refusal.len() < 255);
    let _ = adobe::is_right(&[0; 16], &Answer { opaque: &question, ..answer });
}

fn users(said: &str, file: &str) {
    let settings = json!({ "type": "query", "usersFile": "users.lua", "authenticatePlay": true });
    let (Ok(settings), Ok(file)) = (serde_json::from_value(settings), serde_json::from_str(file)) else {
        return;
    };
    let table = match Table::read(&file, &settings, [1; 32], &Limits::default()) {
        Ok(table) => table,
        Err(mistakes) => return assert!(!mistakes.is_empty()),
    };
    assert!(table.len() > 0);
    if let Some(credentials) = query::of_query(said) {
        let broken = credentials == Credentials::Broken;
        if let Found::Right(user) = table.find(credentials, now()) {
            assert!(!broken && (user.grants.publish || user.grants.play));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a fuzz target starts its own clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod corpus {
    use crtmp_corpus::Corpus;

    const SEEDS: [(&str, &[u8]); 4] = [
        (
            "adobe",
            b"authmod=adobe&user=u&challenge=1a2b3c4d&response=G0Fo9g2cs2coqTUlX3UVVw==&opaque=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        ),
        ("query", b"user=a%62&pass=hidden\n\n{\"users\":{\"ab\":\"hidden\"}}"),
        (
            "hash",
            b"token=hidden\n$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n\
              {\"users\":{\"a\":{\"token\":\"hidden\"},\"b\":{\"salt\":\"s\",\"md5\":\"00000000000000000000000000000000\"}}}",
        ),
        (
            "realms",
            b"user=a&pass=hidden\nplain\n{\"users\":{\"a\":\"hidden\"},\"realms\":[{\"name\":\"r\",\"method\":\"Digest\",\"users\":[\"a\"]}]}",
        ),
    ];

    crtmp_corpus::tests!(corpus);

    fn corpus() -> Corpus {
        Corpus {
            package: env!("CARGO_MANIFEST_DIR"),
            targets: vec![("authentication", super::authentication)],
            seeds: SEEDS.map(|(name, seed)| (format!("authentication/{name}"), seed.to_vec())).into(),
            inserts: &[],
        }
    }
}
