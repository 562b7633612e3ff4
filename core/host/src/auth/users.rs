//! The users of an application, as its users file lists them.
//!
//! The file is Lua, and sets `users` and `realms` as in crtmpserver. It arrives here as plain data. A table that is made of
//! it is whole: each user that may do something has a password or token that serves the scheme in force.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crtmp_media::Limits;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::password::{Slow, Stored, digest, hex, md5_text};
use super::query::{Credentials, VALUE};
use crate::config::{AuthenticationScheme, RtmpAuthentication, quoted};

/// The longest name of a user, in bytes: what ffmpeg reads of a question leaves no room for more.
pub(super) const NAME: usize = 64;

/// The longest salt of a password, in bytes.
pub(super) const SALT: usize = 24;

/// How many mistakes are told.
const MISTAKES: usize = 20;

/// What a user may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    pub(super) publish: bool,
    pub(super) play: bool,
}

/// Somebody who has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: Arc<str>,
    pub(super) grants: Grants,
}

/// All users of an application.
pub(super) struct Table {
    key: [u8; 32],
    accounts: HashMap<Arc<str>, Account>,
    /// By what stands for the token.
    tokens: HashMap<[u8; 32], User>,
    /// What a user is compared with that there is not.
    nobody: Stored,
    cache: Mutex<Cache>,
}

struct Account {
    user: User,
    password: Option<Stored>,
}

/// What becomes of credentials.
pub(super) enum Found {
    /// They are of this user.
    Right(User),
    /// They are of nobody.
    Wrong,
    /// That takes long to find out.
    Slow(Box<SlowCheck>),
}

/// A check that takes long.
pub(super) struct SlowCheck {
    slow: Slow,
    password: Vec<u8>,
    /// None: nobody has this name, and it takes as long all the same.
    user: Option<User>,
    key: [u8; 32],
}

/// What is wrong with a users file; holds no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    place: String,
    found: String,
    expected: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.place, self.found, self.expected)
    }
}

impl Table {
    /// The table of a file that holds `users` and `realms`; or all that is wrong with it.
    pub(super) fn read(
        file: &Value,
        settings: &RtmpAuthentication,
        key: [u8; 32],
        limits: &Limits,
    ) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader { mistakes: Vec::new() };
        let users = reader.users(&file["users"]);
        let realms = reader.realms(&file["realms"], &users);
        let publishers = reader.members("publishRealm", settings.publish_realm.as_deref(), &realms);
        let players = reader.members("playRealm", settings.play_realm.as_deref(), &realms);
        let is_in =
            |members: Option<&HashSet<String>>, name: &str| members.is_none_or(|all| all.contains(name));
        let mut table = Self {
            key,
            accounts: HashMap::new(),
            tokens: HashMap::new(),
            nobody: Stored::Plain(String::new()),
            cache: Mutex::new(Cache::new(limits)),
        };
        for (name, entry) in users {
            let grants = Grants {
                publish: settings.authenticate_publish && is_in(publishers, &name),
                play: settings.authenticate_play && is_in(players, &name),
            };
            // The file may serve several applications; what this one does not use may be of any kind.
            if grants == Grants::default() {
                continue;
            }
            reader.serves(&name, &entry, settings.scheme);
            let user = User { name: name.as_str().into(), grants };
            if let Some(stored @ Stored::Slow(_)) = &entry.password {
                table.nobody = stored.clone();
            }
            if let Some(token) = entry.token {
                let taken = table.tokens.insert(digest(&key, &token), user.clone());
                if let Some(other) = taken {
                    let found = format!("the token of {}", place(&other.name));
                    reader.mistake(place(&name), found, "a token of its own");
                }
            }
            table.accounts.insert(user.name.clone(), Account { user, password: entry.password });
        }
        if reader.mistakes.is_empty() && table.accounts.is_empty() {
            reader.mistake("users".to_owned(), "nobody that may publish or play", "at least one such user");
        }
        if reader.mistakes.is_empty() { Ok(table) } else { Err(reader.mistakes) }
    }

    /// How many users there are.
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// What a user may do who has shown who it is; nothing, where there is no such user any more.
    pub(super) fn grants(&self, name: &str) -> Grants {
        self.accounts.get(name).map(|account| account.user.grants).unwrap_or_default()
    }

    /// What Adobe's scheme asks a user with: its salt, and the first hash of its password. Somebody who there is not has
    /// `salt` and a hash that nothing leads to.
    pub(super) fn for_adobe(&self, user: &str, salt: &str) -> (String, [u8; 16], Option<User>) {
        let known = self.accounts.get(user).and_then(|account| {
            let (salt, hash) = account.password.as_ref()?.for_adobe(user, salt)?;
            Some((salt, hash, Some(account.user.clone())))
        });
        known.unwrap_or_else(|| {
            let secret = digest(&self.key, user.as_bytes());
            let hash = super::adobe::first_hash(user.as_bytes(), salt.as_bytes(), &secret);
            (salt.to_owned(), hash, None)
        })
    }

    /// Whose credentials these are.
    pub(super) fn find(&self, credentials: Credentials, now: Instant) -> Found {
        let (name, password) = match credentials {
            Credentials::Broken => return Found::Wrong,
            Credentials::Token(token) => {
                let key = digest(&self.key, &Sha256::digest(&token));
                return self.tokens.get(&key).map_or(Found::Wrong, |user| Found::Right(user.clone()));
            }
            Credentials::Password { user, password } => (user, password),
        };
        let account = self.accounts.get(name.as_str());
        let user = account.filter(|account| account.password.is_some()).map(|account| account.user.clone());
        let stored = account.and_then(|account| account.password.as_ref()).unwrap_or(&self.nobody);
        match stored {
            Stored::Slow(slow) => {
                let both = [&(name.len() as u64).to_be_bytes()[..], name.as_bytes(), &password].concat();
                let key = digest(&self.key, &both);
                match user {
                    Some(user) if self.cache().has(&key, now) => Found::Right(user),
                    user => Found::Slow(Box::new(SlowCheck { slow: slow.clone(), password, user, key })),
                }
            }
            stored => {
                let is_right = stored.is(&name, &password, &self.key);
                user.filter(|_| is_right).map_or(Found::Wrong, Found::Right)
            }
        }
    }

    /// Does a check that takes long, and remembers it where it was right.
    pub(super) fn check(&self, check: SlowCheck, now: impl FnOnce() -> Instant) -> Option<User> {
        let is_right = check.slow.is(&check.password);
        let user = check.user.filter(|_| is_right)?;
        self.cache().add(check.key, now());
        Some(user)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user as the file has it.
#[derive(Default)]
struct Entry {
    password: Option<Stored>,
    /// The SHA-256 of the token.
    token: Option<[u8; 32]>,
}

type Realms = HashMap<String, HashSet<String>>;

struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn mistake(&mut self, place: String, found: impl Into<String>, expected: impl Into<String>) {
        if self.mistakes.len() < MISTAKES {
            self.mistakes.push(Mistake { place, found: found.into(), expected: expected.into() });
        }
    }

    fn users(&mut self, users: &Value) -> BTreeMap<String, Entry> {
        let Value::Object(users) = users else {
            self.mistake("users".to_owned(), kind(users), "a table { name = password }");
            return BTreeMap::new();
        };
        let mut entries = BTreeMap::new();
        for (name, value) in users {
            // Clients put it into a query as it is.
            let odd =
                |letter: char| letter.is_control() || letter.is_whitespace() || "&=%?#+/:".contains(letter);
            if name.is_empty() || name.len() > NAME || name.contains(odd) {
                let expected =
                    format!("a name of 1 to {NAME} bytes, without spaces and any of & = % ? # + / :");
                self.mistake(place(name), "such a name", expected);
            }
            let entry = self.entry(&place(name), value);
            entries.insert(name.clone(), entry);
        }
        entries
    }

    fn entry(&mut self, at: &str, value: &Value) -> Entry {
        match value {
            Value::String(password) => {
                Entry { password: self.password(at.to_owned(), password), token: None }
            }
            Value::Object(keys) => self.table(at, keys),
            other => {
                let expected = "a password in quotes, or a table with `password`, `salt` and `md5`, `token` or `tokenSha256`";
                self.mistake(at.to_owned(), kind(other), expected);
                Entry::default()
            }
        }
    }

    fn table(&mut self, at: &str, keys: &Map<String, Value>) -> Entry {
        const KNOWN: [&str; 5] = ["password", "salt", "md5", "token", "tokenSha256"];
        for key in keys.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
            let expected = format!("one of `{}`", KNOWN.join("`, `"));
            self.mistake(format!("{at}[{}]", quoted(key)), "an unknown key", expected);
        }
        let mut text = |key: &str| match keys.get(key)? {
            Value::String(text) => Some(text.as_str()),
            other => {
                self.mistake(format!("{at}.{key}"), kind(other), "a string");
                None
            }
        };
        let [password, salt, md5, token, sha256] = KNOWN.map(&mut text);
        let password = match (password, salt, md5) {
            (None, None, None) => None,
            (Some(password), None, None) => self.password(format!("{at}.password"), password),
            (None, Some(salt), Some(md5)) => self.adobe(at, salt, md5),
            _ => {
                self.mistake(
                    at.to_owned(),
                    "half of a password, or two",
                    "either `password`, or `salt` and `md5`",
                );
                None
            }
        };
        let token = match (token, sha256) {
            (None, None) => None,
            (Some(token), None) => {
                if token.is_empty() || token.len() > VALUE {
                    let found = format!("{} bytes", token.len());
                    self.mistake(format!("{at}.token"), found, format!("1 to {VALUE} bytes"));
                }
                Some(Sha256::digest(token.as_bytes()).into())
            }
            (None, Some(text)) => {
                let hash = hex(text);
                if hash.is_none() {
                    let expected = "the SHA-256 of the token in hexadecimal";
                    self.mistake(format!("{at}.tokenSha256"), "something else", expected);
                }
                hash
            }
            (Some(_), Some(_)) => {
                self.mistake(at.to_owned(), "`token` and `tokenSha256`", "one of them");
                None
            }
        };
        if keys.is_empty() {
            self.mistake(at.to_owned(), "an empty table", "a password or a token");
        }
        Entry { password, token }
    }

    fn password(&mut self, at: String, text: &str) -> Option<Stored> {
        if text.is_empty() || text.len() > VALUE {
            let found = format!("{} bytes", text.len());
            self.mistake(at, found, format!("a password of 1 to {VALUE} bytes"));
            return None;
        }
        match Stored::parse(text) {
            Ok(stored) => Some(stored),
            Err(found) => {
                let expected = "a hash of Argon2 or pbkdf2-sha256 in the form of PHC, or a password";
                self.mistake(at, found, expected);
                None
            }
        }
    }

    fn adobe(&mut self, at: &str, salt: &str, md5: &str) -> Option<Stored> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/=".contains(&byte);
        if salt.is_empty() || salt.len() > SALT || !salt.bytes().all(is_good) {
            let expected = format!("1 to {SALT} letters, digits and . _ - + / =");
            self.mistake(format!("{at}.salt"), quoted(salt), expected);
        }
        let hash = md5_text(md5);
        if hash.is_none() {
            let expected =
                "the MD5 of user, salt and password, one behind the other, in Base64 or hexadecimal";
            self.mistake(format!("{at}.md5"), "something else", expected);
        }
        Some(Stored::Adobe { salt: salt.to_owned(), hash: hash? })
    }

    fn realms(&mut self, realms: &Value, users: &BTreeMap<String, Entry>) -> Realms {
        let mut found = Realms::new();
        let list = match realms {
            Value::Null => return found,
            Value::Object(map) if map.is_empty() => return found,
            Value::Array(list) => list,
            other => {
                self.mistake("realms".to_owned(), kind(other), "a list of tables with `name` and `users`");
                return found;
            }
        };
        for (index, realm) in list.iter().enumerate() {
            let at = format!("realms[{}]", index + 1);
            let Some(name) = realm["name"].as_str() else {
                self.mistake(at, "no name", "a table with `name` and `users`");
                continue;
            };
            let strange = realm.as_object().into_iter().flat_map(Map::keys);
            for key in strange.filter(|key| !["name", "method", "users"].contains(&key.as_str())) {
                self.mistake(
                    format!("{at}[{}]", quoted(key)),
                    "an unknown key",
                    "one of `name`, `method`, `users`",
                );
            }
            // It says how RTSP asks.
            if !matches!(realm["method"].as_str(), Some("Basic" | "Digest")) && !realm["method"].is_null() {
                self.mistake(format!("{at}.method"), "another one", "\"Basic\" or \"Digest\"");
            }
            let members = self.realm(&at, &realm["users"], users);
            if found.insert(name.to_owned(), members).is_some() {
                self.mistake(format!("{at}.name"), format!("{} again", quoted(name)), "a name of its own");
            }
        }
        found
    }

    fn realm(&mut self, at: &str, members: &Value, users: &BTreeMap<String, Entry>) -> HashSet<String> {
        let list = match members {
            Value::Array(list) => list.as_slice(),
            Value::Object(map) if map.is_empty() => &[],
            other => {
                self.mistake(format!("{at}.users"), kind(other), "a list of names");
                &[]
            }
        };
        let mut found = HashSet::new();
        for (index, name) in list.iter().enumerate() {
            match name.as_str() {
                Some(name) if users.contains_key(name) => drop(found.insert(name.to_owned())),
                Some(name) => {
                    let at = format!("{at}.users[{}]", index + 1);
                    self.mistake(at, quoted(name), "the name of an entry of `users`");
                }
                None => self.mistake(format!("{at}.users[{}]", index + 1), kind(name), "the name of a user"),
            }
        }
        found
    }

    /// The members of the realm that a key of the configuration names.
    fn members<'a>(
        &mut self,
        key: &str,
        name: Option<&str>,
        realms: &'a Realms,
    ) -> Option<&'a HashSet<String>> {
        let name = name?;
        let members = realms.get(name);
        if members.is_none() {
            let found = format!("no realm {}", quoted(name));
            self.mistake(
                "realms".to_owned(),
                found,
                format!("the realm that `{key}` of the configuration names"),
            );
        }
        members
    }

    /// What a user has must be of use for the scheme in force.
    fn serves(&mut self, name: &str, entry: &Entry, scheme: AuthenticationScheme) {
        if scheme == AuthenticationScheme::Query {
            return;
        }
        let expected = "a password as it is, or `salt` and `md5`, of which Adobe's question (type=\"adobe\") can be answered";
        match entry.password {
            None => self.mistake(place(name), "no password that could be read", expected),
            Some(Stored::Slow(_)) => self.mistake(place(name), "a hash of another kind", expected),
            Some(Stored::Plain(_) | Stored::Adobe { .. }) => {}
        }
    }
}

/// Where a user stands.
fn place(name: &str) -> String {
    format!("users[{}]", quoted(name))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table with named keys",
    }
}

#[cfg(test)]
mod tests;
