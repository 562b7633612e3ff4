//! FLV files as messages, and messages as FLV files.

use std::fs;
use std::path::Path;

use crate::wire::Message;

/// The file header, and the size of the tag before the first one.
const HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];
/// The bytes of a tag before what it holds.
const TAG: usize = 11;

/// The tags of a file as messages of message stream 1; of the last one only if it is whole.
///
/// # Panics
///
/// If it is not an FLV file.
pub fn read(file: &Path) -> Vec<Message> {
    let bytes = fs::read(file).expect("the file can be read");
    let mut rest =
        bytes.strip_prefix(b"FLV").and_then(|rest| rest.get(HEADER.len() - 3..)).expect("an FLV file");
    let mut found = Vec::new();
    while let Some((tag, behind)) = rest.split_at_checked(TAG) {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let length = number(&tag[1..4]) as usize;
        let Some(payload) = behind.get(..length) else { break };
        let time = number(&tag[4..7]) | u32::from(tag[7]) << 24;
        let kind = tag[0] & 0x1f;
        found.push(Message {
            chunk_stream: chunk_stream(kind),
            kind,
            stream: 1,
            time,
            payload: payload.to_vec(),
        });
        rest = behind.get(length + 4..).unwrap_or_default();
    }
    found
}

/// Writes the audio, video and data among these messages into a file. Of `@setDataFrame` only what is behind it is
/// written.
///
/// # Panics
///
/// If the file cannot be written.
pub fn write(file: &Path, messages: &[Message]) {
    const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
    let mut out = HEADER.to_vec();
    for message in messages.iter().filter(|message| matches!(message.kind, 8 | 9 | 18)) {
        let payload = message.payload.strip_prefix(SET_DATA_FRAME).unwrap_or(&message.payload);
        let length = u32::try_from(payload.len()).expect("a message");
        let [high, time @ ..] = message.time.to_be_bytes();
        out.push(message.kind);
        out.extend(&length.to_be_bytes()[1..]);
        out.extend(time);
        out.extend([high, 0, 0, 0]);
        out.extend(payload);
        out.extend((length + TAG as u32).to_be_bytes());
    }
    fs::write(file, out).expect("the file can be written");
}

/// The chunk stream on which a server usually sends such messages.
fn chunk_stream(kind: u8) -> u32 {
    match kind {
        8 => 4,
        9 => 6,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("x.flv");
        let message = |kind: u8, time, payload: &[u8]| Message {
            chunk_stream: chunk_stream(kind),
            kind,
            stream: 1,
            time,
            payload: payload.to_vec(),
        };
        let all = [message(18, 0, b"data"), message(9, 0x0102_0304, b"picture"), message(8, 5, b"")];
        write(&file, &[&all[..], &[message(20, 0, b"a command")]].concat());
        assert_eq!(read(&file), all);
        write(&file, &[message(18, 0, b"\x02\x00\x0d@setDataFramedata")]);
        assert_eq!(read(&file), all[..1]);
    }
}
