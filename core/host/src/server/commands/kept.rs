//! What commands have set up and a restart shall not forget: entries with numbers, in one file.
//!
//! The server's thread changes an entry and the file together: what cannot be written is not changed. The file is
//! written beside its place and renamed, so that it is the old one or the new one, whole, whatever happens; only the
//! server's user may read it. A file that is not as the server wrote it ends the start and is left alone.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ingest, limits, links};
use crate::config::{ConfigError, quoted};

/// The kinds of entries, which are also the groups of `listConfig`.
pub(super) const KINDS: &[&str] = &[PULL, PUSH, INGEST_POINTS, LIMITS, PROCESS];
/// Streams that are pulled.
pub(super) const PULL: &str = "pull";
/// Streams that are pushed.
pub(super) const PUSH: &str = "push";
/// Ingest points.
pub(super) const INGEST_POINTS: &str = "ingestPoints";
/// Limits that commands have set.
pub(super) const LIMITS: &str = "limits";
/// Processes that commands have launched.
pub(super) const PROCESS: &str = "process";

/// Bytes of the file, read or written.
const FILE: u64 = 64 * 1024 * 1024;

/// The form of the file.
const VERSION: u32 = 1;

/// All entries, and the file that they are kept in.
#[derive(Debug, Default)]
pub(in crate::server) struct State {
    /// None: they are forgotten when the server ends.
    file: Option<PathBuf>,
    /// The highest number ever given: none is used twice.
    last_id: u64,
    entries: BTreeMap<u64, Entry>,
}

/// Something that is kept.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::server) struct Entry {
    /// One of [`KINDS`].
    pub(in crate::server) kind: &'static str,
    /// A table; its members are what `listConfig` shows.
    pub(in crate::server) value: Value,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Stored {
    version: u32,
    last_id: u64,
    entries: Vec<StoredEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StoredEntry {
    config_id: u64,
    kind: String,
    value: Value,
}

impl State {
    /// Reads the file, where there is one; a file that is not there yet has no entries.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and where in it.
    pub(in crate::server) fn load(file: Option<&Path>) -> Result<Self, Box<ConfigError>> {
        let Some(file) = file else { return Ok(Self::default()) };
        let wrong = |found: String, expected: &str| {
            let found = format!("{} {found}", quoted(&file.to_string_lossy()));
            let error = ConfigError::new("configuration.stateFile", found, expected);
            Box::new(
                error.suggest("mend it, or move it away to begin without it; the server leaves it as it is"),
            )
        };
        let empty = Self { file: Some(file.to_owned()), ..Self::default() };
        let text = match read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = file.parent().filter(|folder| folder.is_dir());
                return match folder {
                    Some(_) => Ok(empty),
                    None => Err(wrong(
                        "in a folder that is not there".to_owned(),
                        "a file in a folder that is there",
                    )),
                };
            }
            Err(error) => {
                return Err(wrong(
                    format!("that cannot be read: {error}"),
                    "a file that the server can read",
                ));
            }
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|error| {
            // Its own words may quote a secret name.
            let what =
                if error.is_data() { "a member that does not belong there" } else { "text that is no JSON" };
            let place = format!("with {what} at line {}, column {}", error.line(), error.column());
            wrong(place, "a file as the server writes it")
        })?;
        if stored.version != VERSION {
            let found = format!("of version {}", stored.version);
            return Err(wrong(found, &format!("a file of version {VERSION}")));
        }
        let mut state = Self { last_id: stored.last_id, ..empty };
        for (index, StoredEntry { config_id, kind, value }) in stored.entries.into_iter().enumerate() {
            let at = |what: &str| format!("with {what} in entries[{}]", index + 1);
            let kind = KINDS
                .iter()
                .find(|known| **known == kind)
                .ok_or_else(|| wrong(at(&format!("the kind {}", quoted(&kind))), &one_of(KINDS)))?;
            check(kind, &value).map_err(|expected| wrong(at("another value"), expected))?;
            if state.entries.insert(config_id, Entry { kind, value }).is_some() {
                return Err(wrong(at(&format!("configId = {config_id} again")), "a configId of its own"));
            }
            state.last_id = state.last_id.max(config_id);
        }
        Ok(state)
    }

    /// What a command that keeps something says: `kept`, or that there is no file, with how that can be mended.
    pub(in crate::server) fn says(&self, kept: &'static str, unkept: &'static str) -> &'static str {
        if self.file.is_some() { kept } else { unkept }
    }

    /// All entries with their numbers, the oldest first.
    pub(in crate::server) fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// The entry of a number.
    pub(in crate::server) fn get(&self, id: u64) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// A number for something that is shown beside the entries and ends with the server.
    pub(in crate::server) fn next_id(&mut self) -> u64 {
        self.last_id = self.last_id.saturating_add(1);
        self.last_id
    }

    /// Keeps something; gives its number.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; then it is not kept.
    pub(in crate::server) fn add(&mut self, kind: &'static str, value: Value) -> Result<u64, String> {
        let last_id = self.last_id;
        let id = last_id.checked_add(1).ok_or("there are no numbers for entries left")?;
        self.last_id = id;
        self.entries.insert(id, Entry { kind, value });
        self.save().inspect_err(|_| {
            self.entries.remove(&id);
            self.last_id = last_id;
        })?;
        Ok(id)
    }

    /// Keeps another value under a number.
    ///
    /// # Errors
    ///
    /// If there is no such entry, or the file cannot be written; then nothing has changed.
    pub(in crate::server) fn replace(&mut self, id: u64, value: Value) -> Result<(), String> {
        let entry = self.entries.get_mut(&id).ok_or_else(|| not_there(id))?;
        let before = std::mem::replace(&mut entry.value, value);
        self.save().inspect_err(|_| {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.value = before;
            }
        })
    }

    /// Forgets an entry; gives it.
    ///
    /// # Errors
    ///
    /// If there is no such entry, or the file cannot be written; then nothing has changed.
    pub(in crate::server) fn remove(&mut self, id: u64) -> Result<Entry, String> {
        let entry = self.entries.remove(&id).ok_or_else(|| not_there(id))?;
        match self.save() {
            Ok(()) => Ok(entry),
            Err(error) => {
                self.entries.insert(id, entry);
                Err(error)
            }
        }
    }

    /// Forgets all entries of a kind; gives them.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; then nothing has changed.
    pub(in crate::server) fn remove_kind(&mut self, kind: &str) -> Result<Vec<(u64, Entry)>, String> {
        let (gone, rest) =
            std::mem::take(&mut self.entries).into_iter().partition(|(_, entry)| entry.kind == kind);
        self.entries = rest;
        let gone: BTreeMap<u64, Entry> = gone;
        match self.save() {
            Ok(()) => Ok(gone.into_iter().collect()),
            Err(error) => {
                self.entries.extend(gone);
                Err(error)
            }
        }
    }

    fn save(&self) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let entry = |(id, entry): (&u64, &Entry)| StoredEntry {
            config_id: *id,
            kind: entry.kind.to_owned(),
            value: entry.value.clone(),
        };
        let entries = self.entries.iter().map(entry).collect();
        let stored = Stored { version: VERSION, last_id: self.last_id, entries };
        let written = serde_json::to_vec_pretty(&stored).map_err(io::Error::other).and_then(|mut text| {
            text.push(b'\n');
            if text.len() as u64 > FILE {
                return Err(io::Error::other(format!("it would have more than {FILE} bytes")));
            }
            write(file, &text)
        });
        written.map_err(|error| {
            format!(
                "nothing is changed: the stateFile {} cannot be written: {error}",
                quoted(&file.to_string_lossy())
            )
        })
    }
}

/// Whether an entry of this kind may have this value; `Err`: what is expected.
fn check(kind: &str, value: &Value) -> Result<(), &'static str> {
    match kind {
        INGEST_POINTS => ingest::check(value),
        LIMITS => limits::check(value),
        PULL | PUSH => links::check(value),
        _ if value.is_object() => Ok(()),
        _ => Err("a table"),
    }
}

fn one_of(kinds: &[&str]) -> String {
    format!("one of `{}`", kinds.join("`, `"))
}

fn not_there(id: u64) -> String {
    format!("there is no configuration {id}; `listConfig` lists all")
}

fn read(file: &Path) -> io::Result<String> {
    // A pipe would keep the start waiting for ever.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    let mut text = String::new();
    File::open(file)?.take(FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE {
        return Err(io::Error::other(format!("it has more than {FILE} bytes")));
    }
    Ok(text)
}

fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    // One that a crash has left, or a link that somebody has put there, is not written to.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let done = out.write_all(text).and_then(|()| out.sync_all()).and_then(|()| fs::rename(&draft, file));
    if done.is_err() {
        let _ = fs::remove_file(&draft);
    }
    done?;
    // The rename itself shall outlive a loss of power; where the system cannot do that, the file is whole all the same.
    if let Some(folder) = file.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        (folder, file)
    }

    fn point(name: &str) -> Value {
        json!({ "privateStreamName": name, "publicStreamName": "cam" })
    }

    #[test]
    fn entries_outlive_the_server_with_their_numbers_and_none_is_used_twice() {
        let (folder, file) = folder();
        let mut state = State::load(Some(&file)).unwrap();
        assert_eq!(state.add(INGEST_POINTS, point("a")), Ok(1));
        assert_eq!(state.add(INGEST_POINTS, point("b")), Ok(2));
        assert_eq!(state.add(LIMITS, json!({ "limit": "connections", "count": 5 })), Ok(3));
        state.replace(1, point("c")).unwrap();
        state.remove(3).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a draft is left");

        let mut again = State::load(Some(&file)).unwrap();
        let entries: Vec<_> = again.entries().map(|(id, entry)| (id, entry.value.clone())).collect();
        assert_eq!(entries, [(1, point("c")), (2, point("b"))]);
        assert_eq!(again.add(PROCESS, json!({})), Ok(4));
        assert_eq!(again.remove_kind(INGEST_POINTS).unwrap().len(), 2);
        assert_eq!(State::load(Some(&file)).unwrap().entries().count(), 1);
        assert!(again.remove(9).unwrap_err().contains("no configuration 9"));
    }

    #[test]
    fn without_a_file_entries_last_as_long_as_the_server() {
        let mut state = State::load(None).unwrap();
        assert_eq!(state.add(PROCESS, json!({})), Ok(1));
        assert!(state.get(1).is_some());
    }

    #[test]
    fn a_broken_file_is_refused_with_its_place_and_left_alone() {
        for (text, place) in [
            ("", "text that is no JSON at line 1, column 0"),
            ("{\n  \"version\": 1,\n  nonsense", "line 3, column 3"),
            (r#"{"version":2,"lastId":0,"entries":[]}"#, "of version 2"),
            (r#"{"version":1,"lastId":0,"entries":[],"more":1}"#, "does not belong there at line 1"),
            (
                r#"{"version":1,"lastId":0,"entries":[{"configId":1,"kind":"record","value":{}}]}"#,
                "the kind \"record\" in entries[1]",
            ),
            (
                r#"{"version":1,"lastId":0,"entries":[{"configId":1,"kind":"limits","value":{"limit":"x"}}]}"#,
                "another value in entries[1]",
            ),
            (
                r#"{"version":1,"lastId":0,"entries":[{"configId":1,"kind":"process","value":{}},
                    {"configId":1,"kind":"process","value":{}}]}"#,
                "configId = 1 again in entries[2]",
            ),
        ] {
            let (_folder, file) = folder();
            fs::write(&file, text).unwrap();
            let error = State::load(Some(&file)).unwrap_err().to_string();
            assert!(error.starts_with("configuration.stateFile: found "), "{error}");
            assert!(error.contains(place) && error.contains("state.json"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn errors_do_not_tell_secret_names() {
        let (_folder, file) = folder();
        let text = r#"{"version":1,"lastId":1,"entries":[{"configId":1,"kind":"ingestPoints",
            "value":{"privateStreamName":"hidden","public":"x"}}],"hidden":"hidden"}"#;
        fs::write(&file, text).unwrap();
        assert!(!State::load(Some(&file)).unwrap_err().to_string().contains("hidden"));
    }

    #[test]
    fn what_cannot_be_written_is_not_changed() {
        let (folder, file) = folder();
        let mut state = State::load(Some(&file)).unwrap();
        state.add(PROCESS, json!({ "n": 1 })).unwrap();
        // A folder in the place of the draft cannot be removed as a file, not even by root.
        fs::create_dir(folder.path().join("state.json.part")).unwrap();
        assert!(state.add(PROCESS, json!({})).unwrap_err().contains("state.json"));
        assert!(state.replace(1, json!({})).is_err());
        assert!(state.remove(1).is_err());
        assert!(state.remove_kind(PROCESS).is_err());
        fs::remove_dir(folder.path().join("state.json.part")).unwrap();
        assert_eq!(state.get(1).unwrap().value, json!({ "n": 1 }));
        assert_eq!(state.add(PROCESS, json!({})), Ok(2));
    }

    #[test]
    fn a_folder_that_is_missing_and_a_file_that_is_none_are_told_at_the_start() {
        let (folder, file) = folder();
        let error = State::load(Some(&folder.path().join("no/state.json"))).unwrap_err().to_string();
        assert!(error.contains("folder that is not there"), "{error}");
        fs::create_dir(&file).unwrap();
        assert!(State::load(Some(&file)).unwrap_err().to_string().contains("no ordinary file"));
    }
}
