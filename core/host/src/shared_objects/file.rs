//! A persistent shared object in its file: what stands in it, what it is called, and how it gets there whole.
//!
//! Eight bytes of magic, the name of the object, its version, the slots, and the SHA-256 of all that, which tells a
//! damaged file from a good one. Numbers are big-endian, texts have their length in four bytes before them.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crtmp_media::{Items, Value, Vector};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

const MAGIC: [u8; 8] = *b"CRTMPSO\x01";
const HASH: usize = 32;

/// The largest file that is read: more than any limit lets an object become.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// Deeper than any limit lets a value be.
const MAX_DEPTH: usize = 128;

/// What a file name may hold besides letters and digits. Neither a dot, so that no name is special, nor `~`, behind
/// which the hash of a long name stands.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The longest name of an object, encoded, that is its file's name as well; of longer ones the beginning is, with a
/// hash.
const MAX_NAME: usize = 200;
const KEPT_NAME: usize = 100;

/// What is read from a file.
#[derive(Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) version: u32,
    pub(super) slots: Vec<(String, Value)>,
}

/// The file of an object: in a folder of its application, whatever it is called.
pub(super) fn path_of(folder: &Path, application: &str, name: &str) -> PathBuf {
    folder.join(encoded(application)).join(encoded(name) + ".fso")
}

/// A name as a file or folder may be called: different for different names, and never anything special.
fn encoded(name: &str) -> String {
    let plain = utf8_percent_encode(name, PLAIN).to_string();
    if plain.len() <= MAX_NAME {
        return plain;
    }
    let hash: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}~{hash}", &plain[..KEPT_NAME])
}

/// A file's bytes; the values are encoded already.
pub(super) fn encode<'s>(
    name: &str,
    version: u32,
    slots: impl ExactSizeIterator<Item = (&'s str, &'s [u8])>,
) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_text(&mut out, name.as_bytes());
    put_count(&mut out, version as usize);
    put_count(&mut out, slots.len());
    for (slot, value) in slots {
        put_text(&mut out, slot.as_bytes());
        out.extend_from_slice(value);
    }
    let hash = Sha256::digest(&out);
    out.extend_from_slice(&hash);
    out
}

/// What a file's bytes say of the object `name`.
///
/// # Errors
///
/// Why they cannot be what [`encode`] has made for it.
pub(super) fn decode(bytes: &[u8], name: &str) -> Result<Stored, &'static str> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or("it is no shared object of this server")?;
    let (_, hash) = bytes.split_last_chunk::<HASH>().ok_or(SHORT)?;
    let content = bytes.get(..bytes.len() - HASH).ok_or(SHORT)?;
    if Sha256::digest(content)[..] != hash[..] {
        return Err("it is damaged: its hash is wrong");
    }
    let rest = rest.get(..rest.len().saturating_sub(HASH)).ok_or(SHORT)?;
    let mut reader = Reader { rest };
    if reader.text()? != name.as_bytes() {
        return Err("it is that of another object");
    }
    let version = reader.number()?;
    let mut slots = Vec::new();
    for _ in 0..reader.number()? {
        slots.push((reader.string()?, reader.value(0)?));
    }
    if reader.rest.is_empty() { Ok(Stored { version, slots }) } else { Err(ODD) }
}

/// Reads the file of the object `name`; none: there is none.
///
/// # Errors
///
/// Why it cannot be read.
pub(super) fn load(path: &Path, name: &str) -> Result<Option<Stored>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("the system says: {error}")),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| format!("the system says: {error}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("it is larger than any shared object can be".to_owned());
    }
    decode(&bytes, name).map(Some).map_err(str::to_owned)
}

/// Puts bytes into a file so that a crash at any moment leaves the old file or the new one, whole, and that the new one
/// is there for good when this returns. A file that was not there is made where the folder has less than `most`; as
/// several are written at once, it may come to have a few more.
///
/// # Errors
///
/// Why it cannot be written; the old file is there still, and none that is half written.
pub(super) fn store(path: &Path, bytes: &[u8], most: usize) -> Result<(), String> {
    let said = |error: io::Error| format!("the system says: {error}");
    let folder = path.parent().ok_or("it has no folder")?;
    make_folder(folder).map_err(said)?;
    if !path.try_exists().map_err(said)? && count_files(folder).map_err(said)? >= most {
        return Err(format!("the application has sharedObjectFiles = {most} already"));
    }
    let part = path.with_extension("part");
    replace(&part, path, bytes).map_err(|error| {
        let _ = fs::remove_file(&part);
        said(error)
    })?;
    sync_folder(folder).map_err(said)
}

fn replace(part: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(part, path)
}

fn count_files(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        count += usize::from(Path::new(&entry?.file_name()).extension().is_some_and(|end| end == "fso"));
    }
    Ok(count)
}

/// Makes a folder, and those above it that are missing, for good.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        other => other?,
    }
    above.map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Appends a value.
pub(super) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Undefined => out.push(tag::UNDEFINED),
        Value::Null => out.push(tag::NULL),
        Value::Boolean(false) => out.push(tag::FALSE),
        Value::Boolean(true) => out.push(tag::TRUE),
        Value::Number(number) => {
            out.push(tag::NUMBER);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::String(text) => put_tagged(out, tag::STRING, text.as_bytes()),
        Value::RawString(text) => put_tagged(out, tag::RAW_STRING, text),
        Value::Xml(text) => put_tagged(out, tag::XML, text.as_bytes()),
        Value::E4x(text) => put_tagged(out, tag::E4X, text.as_bytes()),
        Value::Bytes(bytes) => put_tagged(out, tag::BYTES, bytes),
        Value::Date { unix_ms, zone } => {
            out.push(tag::DATE);
            out.extend_from_slice(&unix_ms.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        Value::Object(members) => {
            out.push(tag::OBJECT);
            put_members(out, members);
        }
        Value::EcmaArray(members) => {
            out.push(tag::ECMA_ARRAY);
            put_members(out, members);
        }
        Value::TypedObject { class, members } => {
            put_tagged(out, tag::TYPED_OBJECT, class.as_bytes());
            put_members(out, members);
        }
        Value::StrictArray(values) => {
            out.push(tag::STRICT_ARRAY);
            put_values(out, values);
        }
        Value::Vector(Vector { fixed, items }) => {
            let fixed = u8::from(*fixed);
            match items {
                Items::Int(items) => {
                    out.extend_from_slice(&[tag::VECTOR_INT, fixed]);
                    put_count(out, items.len());
                    out.extend(items.iter().flat_map(|item| item.to_be_bytes()));
                }
                Items::Uint(items) => {
                    out.extend_from_slice(&[tag::VECTOR_UINT, fixed]);
                    put_count(out, items.len());
                    out.extend(items.iter().flat_map(|item| item.to_be_bytes()));
                }
                Items::Double(items) => {
                    out.extend_from_slice(&[tag::VECTOR_DOUBLE, fixed]);
                    put_count(out, items.len());
                    out.extend(items.iter().flat_map(|item| item.to_be_bytes()));
                }
                Items::Object { class, values } => {
                    out.extend_from_slice(&[tag::VECTOR_OBJECT, fixed]);
                    put_text(out, class.as_bytes());
                    put_values(out, values);
                }
            }
        }
        Value::Dictionary { weak, entries } => {
            out.extend_from_slice(&[tag::DICTIONARY, u8::from(*weak)]);
            put_count(out, entries.len());
            for (key, value) in entries {
                put_value(out, key);
                put_value(out, value);
            }
        }
    }
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, text: &[u8]) {
    out.push(tag);
    put_text(out, text);
}

fn put_members(out: &mut Vec<u8>, members: &[(String, Value)]) {
    put_count(out, members.len());
    for (key, value) in members {
        put_text(out, key.as_bytes());
        put_value(out, value);
    }
}

fn put_values(out: &mut Vec<u8>, values: &[Value]) {
    put_count(out, values.len());
    for value in values {
        put_value(out, value);
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_count(out, text.len());
    out.extend_from_slice(text);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // Nothing that a message has brought is larger.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

const SHORT: &str = "it ends too early";
const ODD: &str = "it holds something that this server does not write";

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, &'static str> {
        if depth > MAX_DEPTH {
            return Err(ODD);
        }
        let [tag] = self.take()?;
        Ok(match tag {
            tag::UNDEFINED => Value::Undefined,
            tag::NULL => Value::Null,
            tag::FALSE => false.into(),
            tag::TRUE => true.into(),
            tag::NUMBER => f64::from_be_bytes(self.take()?).into(),
            tag::STRING => self.string()?.into(),
            tag::RAW_STRING => Value::RawString(self.text()?.to_vec()),
            tag::XML => Value::Xml(self.string()?),
            tag::E4X => Value::E4x(self.string()?),
            tag::BYTES => Value::Bytes(self.text()?.to_vec()),
            tag::DATE => Value::Date {
                unix_ms: f64::from_be_bytes(self.take()?),
                zone: i16::from_be_bytes(self.take()?),
            },
            tag::OBJECT => Value::Object(self.members(depth)?),
            tag::ECMA_ARRAY => Value::EcmaArray(self.members(depth)?),
            tag::TYPED_OBJECT => Value::TypedObject { class: self.string()?, members: self.members(depth)? },
            tag::STRICT_ARRAY => Value::StrictArray(self.values(depth)?),
            tag::VECTOR_INT => self.vector(|reader| {
                let items = reader.items(|reader| reader.take().map(i32::from_be_bytes))?;
                Ok(Items::Int(items))
            })?,
            tag::VECTOR_UINT => self.vector(|reader| {
                let items = reader.items(|reader| reader.take().map(u32::from_be_bytes))?;
                Ok(Items::Uint(items))
            })?,
            tag::VECTOR_DOUBLE => self.vector(|reader| {
                let items = reader.items(|reader| reader.take().map(f64::from_be_bytes))?;
                Ok(Items::Double(items))
            })?,
            tag::VECTOR_OBJECT => self.vector(|reader| {
                Ok(Items::Object { class: reader.string()?, values: reader.values(depth)? })
            })?,
            tag::DICTIONARY => {
                let weak = self.flag()?;
                let entries =
                    self.items(|reader| Ok((reader.value(depth + 1)?, reader.value(depth + 1)?)))?;
                Value::Dictionary { weak, entries }
            }
            _ => return Err(ODD),
        })
    }

    fn vector(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Items, &'static str>,
    ) -> Result<Value, &'static str> {
        Ok(Value::Vector(Vector { fixed: self.flag()?, items: read(self)? }))
    }

    fn members(&mut self, depth: usize) -> Result<Vec<(String, Value)>, &'static str> {
        self.items(|reader| Ok((reader.string()?, reader.value(depth + 1)?)))
    }

    fn values(&mut self, depth: usize) -> Result<Vec<Value>, &'static str> {
        self.items(|reader| reader.value(depth + 1))
    }

    fn items<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, &'static str> {
        let mut items = Vec::new();
        for _ in 0..self.number()? {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn flag(&mut self) -> Result<bool, &'static str> {
        let [flag] = self.take()?;
        Ok(flag != 0)
    }

    fn string(&mut self) -> Result<String, &'static str> {
        String::from_utf8(self.text()?.to_vec()).map_err(|_| ODD)
    }

    fn text(&mut self) -> Result<&'a [u8], &'static str> {
        let length = self.number()? as usize;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(text)
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        self.take().map(u32::from_be_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*field)
    }
}

mod tag {
    pub(super) const UNDEFINED: u8 = 0;
    pub(super) const NULL: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const TRUE: u8 = 3;
    pub(super) const NUMBER: u8 = 4;
    pub(super) const STRING: u8 = 5;
    pub(super) const RAW_STRING: u8 = 6;
    pub(super) const XML: u8 = 7;
    pub(super) const E4X: u8 = 8;
    pub(super) const BYTES: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const OBJECT: u8 = 11;
    pub(super) const ECMA_ARRAY: u8 = 12;
    pub(super) const TYPED_OBJECT: u8 = 13;
    pub(super) const STRICT_ARRAY: u8 = 14;
    pub(super) const VECTOR_INT: u8 = 15;
    pub(super) const VECTOR_UINT: u8 = 16;
    pub(super) const VECTOR_DOUBLE: u8 = 17;
    pub(super) const VECTOR_OBJECT: u8 = 18;
    pub(super) const DICTIONARY: u8 = 19;
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let vector = |items| Value::Vector(Vector { fixed: true, items });
        let leaf = prop_oneof![
            Just(Value::Undefined),
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(|bits| Value::Number(bits as f64)),
            ".{0,10}".prop_map(Value::String),
            ".{0,10}".prop_map(Value::Xml),
            ".{0,10}".prop_map(Value::E4x),
            prop::collection::vec(any::<u8>(), 0..10).prop_map(Value::RawString),
            prop::collection::vec(any::<u8>(), 0..10).prop_map(Value::Bytes),
            any::<i16>().prop_map(|zone| Value::Date { unix_ms: 0.5, zone }),
            prop::collection::vec(any::<i32>(), 0..4).prop_map(move |items| vector(Items::Int(items))),
            prop::collection::vec(any::<u32>(), 0..4).prop_map(move |items| vector(Items::Uint(items))),
            Just(vector(Items::Double(vec![1e300, -0.0]))),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let members = prop::collection::vec((".{0,5}", inner.clone()), 0..4);
            let values = prop::collection::vec(inner.clone(), 0..4);
            prop_oneof![
                members.clone().prop_map(Value::Object),
                members.clone().prop_map(Value::EcmaArray),
                (".{0,5}", members).prop_map(|(class, members)| Value::TypedObject { class, members }),
                values.clone().prop_map(Value::StrictArray),
                (".{0,5}", values).prop_map(|(class, values)| {
                    Value::Vector(Vector { fixed: false, items: Items::Object { class, values } })
                }),
                prop::collection::vec((inner.clone(), inner), 0..3)
                    .prop_map(|entries| Value::Dictionary { weak: true, entries }),
            ]
        })
    }

    fn file(name: &str, version: u32, slots: &[(String, Value)]) -> Vec<u8> {
        let bytes = |value: &Value| {
            let mut out = Vec::new();
            put_value(&mut out, value);
            out
        };
        let encoded: Vec<_> = slots.iter().map(|(slot, value)| (slot.as_str(), bytes(value))).collect();
        encode(name, version, encoded.iter().map(|(slot, value)| (*slot, value.as_slice())))
    }

    /// Neither above the folder of the application nor beside the file of another object.
    fn assert_inside(name: &str) {
        let path = path_of(Path::new("/f"), "live", name);
        let parts: Vec<_> = path.components().collect();
        assert_eq!(parts.len(), 4, "{path:?}");
        let Some(Component::Normal(last)) = parts.last() else { panic!("{path:?}") };
        let last = last.to_str().unwrap();
        assert!(last.len() <= 210 && !last.starts_with('.') && last.ends_with(".fso"), "{last}");
    }

    #[test]
    fn names_of_objects_cannot_leave_their_folder() {
        for name in ["..", ".", "../../etc/passwd", "a/b", "\\", "con", ".hidden", "a\0b", "%2F", "~", "ü"] {
            assert_inside(name);
        }
        assert_eq!(encoded("room_1-a"), "room_1-a");
        assert_eq!(encoded("a/b.c"), "a%2Fb%2Ec");
        for length in [199, 200, 201, 5000] {
            assert_inside(&"x".repeat(length));
            assert_inside(&"/".repeat(length));
        }
        assert_eq!(encoded(&"x".repeat(200)).len(), 200);
        assert_ne!(encoded(&"x".repeat(201)), encoded(&"x".repeat(202)));
    }

    #[test]
    fn what_is_damaged_or_another_is_told() {
        let slots = vec![("a".to_owned(), Value::from("b"))];
        let good = file("room", 7, &slots);
        assert_eq!(decode(&good, "room"), Ok(Stored { version: 7, slots }));
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged, "room").is_err(), "{at}");
            assert!(decode(&good[..at], "room").is_err(), "{at}");
        }
        assert_eq!(decode(&good, "other"), Err("it is that of another object"));
        assert_eq!(decode(b"", "room"), Err("it is no shared object of this server"));
        let with_hash = |content: &[u8]| [content, &Sha256::digest(content)[..]].concat();
        let deep = [&MAGIC[..], &[0, 0, 0, 1, b'r', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]].concat();
        let deep = [&deep[..], &[tag::STRICT_ARRAY, 0, 0, 0, 1].repeat(100_000)].concat();
        assert_eq!(decode(&with_hash(&deep), "r"), Err(ODD));
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_of(&folder.path().join("made"), "live", "room");
        assert_eq!(load(&path, "room"), Ok(None));
        store(&path, &file("room", 1, &[]), 1).unwrap();
        store(&path, &file("room", 2, &[]), 1).unwrap();
        assert_eq!(load(&path, "room"), Ok(Some(Stored { version: 2, slots: vec![] })));
        // What a crash has left beside it is overwritten.
        fs::write(path.with_extension("part"), b"half").unwrap();
        assert_eq!(load(&path, "room").unwrap().unwrap().version, 2);
        store(&path, &file("room", 3, &[]), 1).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(&path, b"something else").unwrap();
        assert!(load(&path, "room").is_err());
    }

    #[test]
    fn an_application_has_so_many_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| path_of(folder.path(), "live", name);
        let put = |name: &str| store(&path(name), &file(name, 1, &[]), 2);
        assert_eq!((put("a"), put("b")), (Ok(()), Ok(())));
        assert!(put("c").unwrap_err().contains("sharedObjectFiles = 2"));
        assert_eq!(put("a"), Ok(()), "one that is there may change");
        fs::remove_file(path("b")).unwrap();
        assert_eq!(put("c"), Ok(()));
        assert_eq!(store(&path_of(folder.path(), "other", "a"), b"x", 1), Ok(()), "another application");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_half_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_of(folder.path(), "live", "room");
        fs::create_dir_all(path.join("in the way")).unwrap();
        assert!(store(&path, b"x", 9).is_err());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    proptest! {
        #[test]
        fn values_round_trip(slots in prop::collection::vec((".{0,10}", any_value()), 0..5)) {
            let stored = decode(&file("room", 1, &slots), "room").unwrap();
            prop_assert_eq!(stored.slots, slots);
        }

        #[test]
        fn any_name_stays_inside(name in "\\PC{1,300}") {
            assert_inside(&name);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(0u8..24, 0..200)) {
            let content = [&MAGIC[..], &[0, 0, 0, 1, b'r', 0, 0, 0, 0], &bytes].concat();
            let _ = decode(&[&content[..], &Sha256::digest(&content)[..]].concat(), "r");
        }
    }
}
