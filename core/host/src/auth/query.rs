//! Who a peer says that it is in a query: `user` and `pass`, or `token`.

use std::fmt;

use crtmp_media::split_query;
use percent_encoding::percent_decode_str;

/// The longest user, password or token, in bytes.
pub(super) const VALUE: usize = 256;

/// What a peer shows. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A user and a password.
    Password { user: String, password: Vec<u8> },
    /// A token, which stands for a user.
    Token(Vec<u8>),
    /// Something that cannot be right: half of it is missing, or too long.
    Broken,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Token(_) => "Token",
            Self::Broken => "Broken",
        })
    }
}

/// What the query of the application says, or else that of `tcUrl`.
pub(super) fn of_connect(app: &str, tc_url: &str) -> Option<Credentials> {
    [app, tc_url].into_iter().find_map(|text| of_query(split_query(text).1))
}

/// What a query says; none where it says nothing of users. Of several values of a name the first one counts.
pub(super) fn of_query(query: &str) -> Option<Credentials> {
    let value = |name: &str| {
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find_map(|(key, value)| (key == name).then(|| percent_decode_str(value).collect::<Vec<u8>>()))
    };
    let good = |value: &Vec<u8>| !value.is_empty() && value.len() <= VALUE;
    match (value("user"), value("pass"), value("token")) {
        (None, None, None) => None,
        (None, None, Some(token)) if good(&token) => Some(Credentials::Token(token)),
        (Some(user), Some(password), None) if good(&user) && good(&password) => Some(
            String::from_utf8(user)
                .map_or(Credentials::Broken, |user| Credentials::Password { user, password }),
        ),
        _ => Some(Credentials::Broken),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.to_owned(), password: password.into() })
    }

    #[test]
    fn users_passwords_and_tokens_are_found_among_other_parameters() {
        for (query, expected) in [
            ("", None),
            ("a=b&username=x&password=y", None),
            ("user=u&pass=p", password("u", "p")),
            ("x=1&pass=p&user=u&y", password("u", "p")),
            ("user=j%C3%B6rg&pass=p%26q%3Dr?s", password("jörg", "p&q=r?s")),
            ("user=u&pass=p&user=v&pass=q", password("u", "p")),
            ("user=u&pass=a+b", password("u", "a+b")),
            ("token=t%20t", Some(Credentials::Token(b"t t".to_vec()))),
            ("token", Some(Credentials::Broken)),
            ("token=", Some(Credentials::Broken)),
            ("user=u", Some(Credentials::Broken)),
            ("pass=p", Some(Credentials::Broken)),
            ("user=&pass=p", Some(Credentials::Broken)),
            ("user=u&pass=", Some(Credentials::Broken)),
            ("user=u&pass=p&token=t", Some(Credentials::Broken)),
            ("user=%ff&pass=p", Some(Credentials::Broken)),
        ] {
            assert_eq!(of_query(query), expected, "{query}");
        }
        for (length, good) in [(VALUE - 1, true), (VALUE, true), (VALUE + 1, false)] {
            let query = format!("token={}", "t".repeat(length));
            assert_eq!(of_query(&query) != Some(Credentials::Broken), good, "{length}");
        }
    }

    #[test]
    fn the_application_comes_before_the_address() {
        let (app, url) = ("live?user=u&pass=p", "rtmp://h/live?user=v&pass=q");
        assert_eq!(of_connect(app, url), password("u", "p"));
        assert_eq!(of_connect("live?x=1", url), password("v", "q"));
        assert_eq!(of_connect("live", "rtmp://h/live"), None);
    }

    #[test]
    fn nothing_shows_them() {
        let shown = format!("{:?}", of_query("user=hidden&pass=hidden"));
        assert!(!shown.contains("hidden"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_query_is_read(query in "(user=|pass=|token=|&|\\?|%[0-9a-f]{0,2}|[a-z=]|\u{fc}|authmod=adobe|response=){0,12}") {
            let _ = of_query(&query);
            let _ = super::super::adobe::said(&query);
        }
    }
}
