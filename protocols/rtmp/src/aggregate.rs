//! Aggregate messages: several messages in one.

use std::fmt;

use crtmp_media::Slice;

use crate::chunk::Message;
use crate::message::kind;

/// The messages of an aggregate, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Audio, video and data messages in order, on the aggregate's chunk stream and message stream.
    pub messages: Vec<Message>,
    /// Back pointers that do not say the size of the message before them, or are missing.
    pub wrong_back_pointers: usize,
    /// Messages of other types, which have no place in an aggregate; aggregates among them.
    pub ignored: usize,
    /// Bytes at the end that are no whole message.
    pub dropped_bytes: usize,
}

/// An aggregate with too many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateError {
    /// How many it may have ([`Limits::aggregate_messages`](crtmp_media::Limits::aggregate_messages)).
    pub limit: usize,
}

/// Takes an aggregate message (type 22) apart.
///
/// The body is a sequence of FLV tags with their back pointers (Adobe's RTMP specification 1.0, §7.1.6). Times
/// are moved so that the first is that of the aggregate. Bodies are copied: a small message that is kept must
/// not keep a large aggregate alive. What is malformed is counted and skipped.
///
/// # Errors
///
/// More than `limit` messages.
pub fn split(aggregate: &Message, limit: usize) -> Result<Split, AggregateError> {
    let mut split = Split::default();
    let mut rest = &aggregate.body[..];
    let mut first_time = None;
    let mut count = 0;
    while !rest.is_empty() {
        let Some((tag, after)) = split_tag(rest) else {
            split.dropped_bytes = rest.len();
            break;
        };
        count += 1;
        if count > limit {
            return Err(AggregateError { limit });
        }
        rest = match after.split_first_chunk() {
            Some((pointer, after)) => {
                let size = TAG_HEADER + tag.body.len();
                split.wrong_back_pointers += usize::from(u32::from_be_bytes(*pointer) as usize != size);
                after
            }
            None => {
                split.wrong_back_pointers += 1;
                &[]
            }
        };
        let first_time = *first_time.get_or_insert(tag.time);
        if !matches!(tag.kind, kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3) {
            split.ignored += 1;
            continue;
        }
        split.messages.push(Message {
            csid: aggregate.csid,
            kind: tag.kind,
            stream: aggregate.stream,
            timestamp: aggregate.timestamp.wrapping_add(tag.time.wrapping_sub(first_time)),
            body: Slice::copy_from_slice(tag.body),
        });
    }
    Ok(split)
}

impl fmt::Display for AggregateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} messages in an aggregate", self.limit)
    }
}

impl std::error::Error for AggregateError {}

struct Tag<'a> {
    kind: u8,
    time: u32,
    body: &'a [u8],
}

/// Bytes of an FLV tag before its body.
const TAG_HEADER: usize = 11;

fn split_tag(data: &[u8]) -> Option<(Tag<'_>, &[u8])> {
    let (&[kind, l2, l1, l0, t2, t1, t0, t3, ..], rest) = data.split_first_chunk::<TAG_HEADER>()?;
    let length = u32::from_be_bytes([0, l2, l1, l0]) as usize;
    let (body, rest) = rest.split_at_checked(length)?;
    Some((Tag { kind, time: u32::from_be_bytes([t3, t2, t1, t0]), body }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: u8, time: u32, body: &[u8], pointer: u32) -> Vec<u8> {
        let [t3, t2, t1, t0] = time.to_be_bytes();
        let mut out = vec![kind];
        out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[t2, t1, t0, t3, 0, 0, 0]);
        out.extend_from_slice(body);
        out.extend_from_slice(&pointer.to_be_bytes());
        out
    }

    fn aggregate(timestamp: u32, tags: &[Vec<u8>]) -> Message {
        Message { csid: 4, kind: kind::AGGREGATE, stream: 1, timestamp, body: tags.concat().into() }
    }

    #[test]
    fn times_are_relative_to_the_first() {
        let tags =
            [tag(8, 0x0100_0000, b"a", 12), tag(9, 0x0100_0021, b"", 11), tag(18, 0x00FF_FFFF, b"d", 12)];
        let split = split(&aggregate(5, &tags), 3).unwrap();
        let got: Vec<_> = split.messages.iter().map(|m| (m.kind, m.timestamp, &m.body[..])).collect();
        assert_eq!(got, [(8, 5, &b"a"[..]), (9, 38, b""), (18, 4, b"d")]);
        assert!(split.messages.iter().all(|message| message.csid == 4 && message.stream == 1));
        assert_eq!((split.wrong_back_pointers, split.ignored, split.dropped_bytes), (0, 0, 0));
    }

    /// MED-18.
    #[test]
    fn what_is_malformed_is_skipped_and_counted() {
        let mut tags =
            vec![tag(8, 0, b"a", 99), tag(22, 0, b"nested", 17), tag(20, 0, b"", 11), tag(9, 7, b"v", 12)];
        let mut past_the_end = tag(9, 0, b"xyz", 14);
        past_the_end[3] = 200;
        let dropped = past_the_end.len();
        tags.push(past_the_end);
        let split = split(&aggregate(0, &tags), 4).unwrap();
        assert_eq!(split.messages.len(), 2);
        assert_eq!((split.wrong_back_pointers, split.ignored, split.dropped_bytes), (1, 2, dropped));
    }

    /// MED-18.
    #[test]
    fn a_missing_last_back_pointer_costs_nothing() {
        let mut only = tag(8, 0, b"a", 12);
        only.truncate(12);
        let split = split(&aggregate(0, &[only]), 1).unwrap();
        assert_eq!((split.messages.len(), split.wrong_back_pointers), (1, 1));
    }

    /// MED-18.
    #[test]
    fn the_number_of_messages_is_limited() {
        let tags = vec![tag(8, 0, b"", 11); 1025];
        assert_eq!(split(&aggregate(0, &tags[..1024]), 1024).unwrap().messages.len(), 1024);
        assert_eq!(split(&aggregate(0, &tags), 1024), Err(AggregateError { limit: 1024 }));
    }

    #[test]
    fn an_empty_aggregate_is_nothing() {
        assert_eq!(split(&aggregate(0, &[]), 1), Ok(Split::default()));
    }
}
