//! A sink that writes into files.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{encode, record::Record, time};
use crate::config::{EventFormat, EventSink};

/// How many names are tried for a new file before an old one is continued.
const NAMES: u32 = 10_000;

/// An open file, and how the next one is named.
#[derive(Debug)]
pub(super) struct FileSink {
    names: Names,
    format: EventFormat,
    timestamp: bool,
    custom_data: Option<Value>,
    chunk_length: Option<Duration>,
    chunk_second: Option<u64>,
    length_limit: Option<u64>,
    path: PathBuf,
    file: File,
    /// Bytes in it.
    length: u64,
    /// When the next one is begun.
    until: Option<SystemTime>,
    /// Whether the end of the file is a piece of a line, because a disk was full.
    torn: bool,
    /// Why the file at hand had to go on.
    trouble: Option<io::Error>,
}

impl FileSink {
    /// Opens the first file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn open(sink: &EventSink, custom_data: Option<Value>, now: SystemTime) -> io::Result<Self> {
        let names = Names {
            base: sink.filename.clone().unwrap_or_default(),
            instance: sink.append_instance.unwrap_or(false),
            timestamp: sink.append_timestamp.unwrap_or(true),
            numbered: sink.file_chunk_length.is_some()
                || sink.file_chunk_time.is_some()
                || sink.file_length.is_some(),
        };
        let path = names.name(now, 1);
        let (file, length) = append_to(&path)?;
        let mut sink = Self {
            names,
            format: sink.format.unwrap_or(EventFormat::Json),
            timestamp: sink.timestamp.unwrap_or(true),
            custom_data,
            chunk_length: sink.file_chunk_length.map(Duration::from_secs),
            chunk_second: sink.chunk_second(),
            length_limit: sink.file_length,
            path,
            file,
            length,
            until: None,
            torn: false,
            trouble: None,
        };
        sink.until = sink.next_chunk(now);
        Ok(sink)
    }

    /// Writes one event, into a new file where it is time for one.
    ///
    /// # Errors
    ///
    /// What the system says; the event is lost, at most a piece of it is in the file.
    pub(super) fn write(&mut self, record: &Record, now: SystemTime) -> io::Result<()> {
        let custom_data = self.custom_data.as_ref();
        let text = match self.format {
            EventFormat::Text => encode::text(record, self.timestamp, custom_data),
            EventFormat::W3c => encode::w3c(record, self.timestamp),
            EventFormat::Json => self.table(record).to_string() + "\n",
            EventFormat::Xml => encode::xml(&self.table(record)) + "\n",
        };
        let too_long =
            self.length_limit.is_some_and(|limit| self.length > 0 && self.length + text.len() as u64 > limit);
        if too_long || self.until.is_some_and(|until| now >= until) {
            // The file at hand goes on, and the next event tries again.
            self.trouble = self.begin_next(now).err();
        }
        let mut out = String::new();
        if self.torn {
            out.push('\n');
        }
        if self.length == 0 {
            out.push_str(&self.head(now));
        }
        out.push_str(&text);
        self.put(out.as_bytes())
    }

    /// Why no new file could be begun, if one was due.
    pub(super) fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Opens the file of the same name again, which somebody may have moved away.
    ///
    /// # Errors
    ///
    /// What the system says; the file that is open stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let (file, length) = append_to(&self.path)?;
        (self.file, self.length, self.torn) = (file, length, false);
        Ok(())
    }

    fn table(&self, record: &Record) -> Value {
        let timestamp = self.timestamp.then(|| record.iso().into());
        record.table(timestamp, self.custom_data.as_ref())
    }

    fn head(&self, now: SystemTime) -> String {
        match self.format {
            EventFormat::Xml => encode::XML.to_owned(),
            EventFormat::W3c => encode::w3c_head(&time::iso(now), self.timestamp),
            EventFormat::Json | EventFormat::Text => String::new(),
        }
    }

    /// Writes all of it in one call, if the system takes it.
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut some = false;
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) if count > 0 => {
                    bytes = &bytes[count.min(bytes.len())..];
                    self.length += count as u64;
                    some = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    self.torn |= some;
                    return Err(outcome.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into()));
                }
            }
        }
        self.torn = false;
        Ok(())
    }

    /// Goes to a file that is not there yet.
    fn begin_next(&mut self, now: SystemTime) -> io::Result<()> {
        for number in 1..=NAMES {
            let path = self.names.name(now, number);
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    (self.file, self.path, self.length, self.torn) = (file, path, 0, false);
                    break;
                }
                // With the last name the file at hand goes on.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        self.until = self.next_chunk(now);
        Ok(())
    }

    fn next_chunk(&self, now: SystemTime) -> Option<SystemTime> {
        match (self.chunk_length, self.chunk_second) {
            (Some(length), _) => now.checked_add(length),
            (None, Some(second)) => Some(time::next_daily(now, second)),
            (None, None) => None,
        }
    }
}

/// How files are named: what the configuration says, with what is appended before the extension.
#[derive(Debug)]
struct Names {
    base: PathBuf,
    instance: bool,
    timestamp: bool,
    /// Whether more than one file is to be expected.
    numbered: bool,
}

impl Names {
    fn name(&self, now: SystemTime, number: u32) -> PathBuf {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_os_string();
        let mut name = text(self.base.file_stem());
        if self.instance {
            name.push(format!("_{:04}", std::process::id() % 10_000));
        }
        if self.timestamp {
            name.push(format!("_{}", time::compact(now)));
        }
        if number > 1 || (self.numbered && !self.timestamp) {
            name.push(format!("_{number:04}"));
        }
        if let Some(extension) = self.base.extension() {
            name.push(".");
            name.push(extension);
        }
        self.base.with_file_name(name)
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::{
        super::{Event, Kind},
        *,
    };
    use crate::config::EventSinkKind;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn record(name: &str) -> Record {
        let payload = json!({ "uniqueId": 1, "name": name });
        Record::new(Event { kind: Kind::InStreamCreated, stream: None, payload }, 1, at(0))
    }

    fn settings(folder: &Path, format: EventFormat) -> EventSink {
        EventSink {
            filename: Some(folder.join("events.txt")),
            format: Some(format),
            append_timestamp: Some(false),
            ..EventSink::new(EventSinkKind::File)
        }
    }

    fn files(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut files: Vec<_> =
            entries.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
        files.sort();
        files
    }

    #[test]
    fn each_format_has_its_lines_and_continues_its_file() {
        for (format, head, lines) in [
            (EventFormat::Json, 0, 1),
            (EventFormat::Xml, 1, 1),
            (EventFormat::W3c, 4, 1),
            (EventFormat::Text, 0, 4),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let settings = settings(folder.path(), format);
            for _ in 0..2 {
                let mut sink = FileSink::open(&settings, None, at(0)).unwrap();
                sink.write(&record("a\r\nb"), at(0)).unwrap();
            }
            let files = files(folder.path());
            assert_eq!(files.len(), 1);
            assert_eq!(files[0].0, "events.txt");
            let text = &files[0].1;
            assert_eq!(text.lines().count(), head + 2 * lines, "{format:?}: {text}");
            let body: Vec<_> = text.lines().skip(head).collect();
            match format {
                EventFormat::Json => {
                    for line in body {
                        let event: Value = serde_json::from_str(line).unwrap();
                        assert_eq!(event["type"], "inStreamCreated");
                        assert_eq!(event["timestamp"], "1970-01-01T00:00:00.000Z");
                        assert_eq!(event["payload"], json!({ "uniqueId": 1, "name": "a\r\nb" }));
                    }
                }
                EventFormat::Xml => assert!(body[1].contains("<STR name=\"name\">a&#13;&#10;b</STR>")),
                EventFormat::W3c => assert!(body[1].contains("\ta%0D%0Ab\t")),
                EventFormat::Text => assert_eq!(body[5], "\tname: a\\r\\nb"),
            }
        }
    }

    #[test]
    fn names_have_what_is_appended() {
        let names = |instance, timestamp, numbered, base: &str| {
            let names = Names { base: base.into(), instance, timestamp, numbered };
            (names.name(at(1_798_761_599), 1), names.name(at(1_798_761_599), 2))
        };
        let instance = format!("{:04}", std::process::id() % 10_000);
        for (found, first, second) in [
            (names(false, false, false, "/l/a.b.txt"), "/l/a.b.txt".to_owned(), "/l/a.b_0002.txt".to_owned()),
            (names(false, false, true, "/l/a"), "/l/a_0001".into(), "/l/a_0002".into()),
            (
                names(false, true, true, "a.txt"),
                "a_20261231_235959.txt".into(),
                "a_20261231_235959_0002.txt".into(),
            ),
            (
                names(true, true, false, "a.txt"),
                format!("a_{instance}_20261231_235959.txt"),
                format!("a_{instance}_20261231_235959_0002.txt"),
            ),
        ] {
            assert_eq!(found, (first.into(), second.into()));
        }
    }

    #[test]
    fn a_new_file_is_begun_by_length_and_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let one = {
            let probe = tempfile::tempdir().unwrap();
            let mut sink = FileSink::open(&settings(probe.path(), EventFormat::Json), None, at(0)).unwrap();
            sink.write(&record("a"), at(0)).unwrap();
            sink.length
        };
        let by_length =
            EventSink { file_length: Some(2 * one), ..settings(folder.path(), EventFormat::Json) };
        let mut sink = FileSink::open(&by_length, None, at(0)).unwrap();
        for _ in 0..5 {
            sink.write(&record("a"), at(0)).unwrap();
        }
        let lines: Vec<_> =
            files(folder.path()).into_iter().map(|(name, text)| (name, text.lines().count())).collect();
        let expected = [("events_0001.txt", 2), ("events_0002.txt", 2), ("events_0003.txt", 1)];
        assert_eq!(lines, expected.map(|(name, lines)| (name.to_owned(), lines)));

        let folder = tempfile::tempdir().unwrap();
        let by_time = EventSink {
            file_chunk_length: Some(60),
            append_timestamp: None,
            ..settings(folder.path(), EventFormat::W3c)
        };
        let mut sink = FileSink::open(&by_time, None, at(0)).unwrap();
        for second in [0, 59, 60, 61, 119, 120] {
            sink.write(&record("a"), at(second)).unwrap();
        }
        let lines: Vec<_> =
            files(folder.path()).into_iter().map(|(name, text)| (name, text.lines().count() - 4)).collect();
        let expected = [
            ("events_19700101_000000.txt", 2),
            ("events_19700101_000100.txt", 3),
            ("events_19700101_000200.txt", 1),
        ];
        assert_eq!(lines, expected.map(|(name, lines)| (name.to_owned(), lines)));

        let folder = tempfile::tempdir().unwrap();
        let daily = EventSink {
            file_chunk_time: Some("00:01:00".into()),
            ..settings(folder.path(), EventFormat::Json)
        };
        let mut sink = FileSink::open(&daily, None, at(0)).unwrap();
        for second in [59, 60, 86_459, 86_460] {
            sink.write(&record("a"), at(second)).unwrap();
        }
        let lines: Vec<_> = files(folder.path()).into_iter().map(|(_, text)| text.lines().count()).collect();
        assert_eq!(lines, [1, 2, 1]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = FileSink::open(&settings(folder.path(), EventFormat::Xml), None, at(0)).unwrap();
        sink.write(&record("a"), at(0)).unwrap();
        fs::rename(folder.path().join("events.txt"), folder.path().join("old")).unwrap();
        sink.write(&record("b"), at(0)).unwrap();
        sink.reopen().unwrap();
        sink.write(&record("c"), at(0)).unwrap();
        let lines: Vec<_> =
            files(folder.path()).into_iter().map(|(name, text)| (name, text.lines().count())).collect();
        assert_eq!(lines, [("events.txt".to_owned(), 2), ("old".to_owned(), 3)]);
    }

    #[test]
    fn a_file_goes_on_while_no_new_one_can_be_begun() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let settings = EventSink { file_chunk_length: Some(10), ..settings(&inner, EventFormat::Json) };
        let mut sink = FileSink::open(&settings, None, at(0)).unwrap();
        fs::rename(&inner, folder.path().join("moved")).unwrap();
        sink.write(&record("a"), at(10)).unwrap();
        assert_eq!(sink.trouble().unwrap().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&inner).unwrap();
        sink.write(&record("a"), at(11)).unwrap();
        assert!(sink.trouble().is_none());
        assert_eq!(files(&folder.path().join("moved"))[0].1.lines().count(), 1);
        assert_eq!(files(&inner)[0].1.lines().count(), 1);
    }

    #[test]
    fn a_full_disk_costs_the_event_and_nothing_else() {
        let full =
            EventSink { filename: Some("/dev/full".into()), ..settings(Path::new("/"), EventFormat::Json) };
        let Ok(mut sink) = FileSink::open(&full, None, at(0)) else { return };
        for _ in 0..2 {
            assert_eq!(sink.write(&record("a"), at(0)).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        // A piece of a line does not spoil the next one.
        let folder = tempfile::tempdir().unwrap();
        let mut sink = FileSink::open(&settings(folder.path(), EventFormat::Json), None, at(0)).unwrap();
        sink.put(b"{\"piece").unwrap();
        sink.torn = true;
        sink.write(&record("a"), at(0)).unwrap();
        sink.write(&record("b"), at(0)).unwrap();
        assert_eq!(files(folder.path())[0].1.lines().count(), 3);
    }
}
