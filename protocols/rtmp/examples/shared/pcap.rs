//! Captures in the classic pcap format, as `tcpdump -w` and `tshark -F pcap -w` make them: the bytes of each TCP
//! connection in order.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Directions of connections that are followed; more are ignored.
const FLOWS: usize = 1024;
/// Bytes of one direction that wait for a segment before them; more, and the segment is given up.
const WAITING: usize = 4 * 1024 * 1024;

/// Where bytes come from and go to.
pub(crate) type Flow = (SocketAddr, SocketAddr);

/// What a capture tells of one direction of a connection.
pub(crate) enum Piece {
    /// A connection begins: what was known of an earlier one between the same ports is over.
    Begin,
    /// The next bytes.
    Bytes(Vec<u8>),
    /// Bytes are missing, so the rest cannot be told.
    Gap,
}

/// Gives each piece in `capture` to `tell`, with its time in seconds; false if it is no pcap file.
pub(crate) fn read(capture: &[u8], tell: &mut dyn FnMut(f64, Flow, Piece)) -> bool {
    let (little, fraction) = match capture.first_chunk() {
        Some([0xD4, 0xC3, 0xB2, 0xA1]) => (true, 1e-6),
        Some([0xA1, 0xB2, 0xC3, 0xD4]) => (false, 1e-6),
        Some([0x4D, 0x3C, 0xB2, 0xA1]) => (true, 1e-9),
        Some([0xA1, 0xB2, 0x3C, 0x4D]) => (false, 1e-9),
        _ => return false,
    };
    let number = |at: usize| {
        let bytes = *capture.get(at..)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let link = number(20).unwrap_or_default() & 0xFFFF;
    let (mut flows, mut at) = (HashMap::new(), 24);
    while let (Some(seconds), Some(part), Some(length)) = (number(at), number(at + 4), number(at + 8)) {
        let time = f64::from(seconds) + f64::from(part) * fraction;
        let Some(packet) = capture.get(at + 16..).and_then(|rest| rest.get(..length as usize)) else { break };
        at += 16 + packet.len();
        let Some((flow, segment)) = network(link, packet).and_then(segment) else { continue };
        if flows.len() < FLOWS || flows.contains_key(&flow) {
            let direction = flows.entry(flow).or_insert_with(Direction::default);
            direction.take(segment, &mut |piece| tell(time, flow, piece));
        }
    }
    true
}

/// The IP packet in a frame of the link layer.
fn network(link: u32, frame: &[u8]) -> Option<&[u8]> {
    match link {
        // BSD loopback: a family. Ethernet: with VLAN tags or without. Raw IP. Linux "cooked", versions 1 and 2.
        0 | 108 => frame.get(4..),
        1 => {
            let tags = frame
                .get(12..)?
                .chunks(4)
                .take_while(|tag| matches!(tag, [0x81, 0] | [0x81, 0, ..] | [0x88, 0xA8, ..]));
            frame.get(14 + 4 * tags.count()..)
        }
        12 | 101 | 228 | 229 => Some(frame),
        113 => frame.get(16..),
        276 => frame.get(20..),
        _ => None,
    }
}

struct Segment<'a> {
    sequence: u32,
    /// It opens the connection, and its bytes have the numbers after its own.
    opens: bool,
    bytes: &'a [u8],
}

/// The TCP segment in an IP packet. Fragments and extension headers are not looked into: TCP does without.
fn segment(packet: &[u8]) -> Option<(Flow, Segment<'_>)> {
    let (from, to, tcp): (IpAddr, IpAddr, _) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let length = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
            if *packet.get(9)? != 6 {
                return None;
            }
            let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
            // What is longer than it says is padding; a length of 0 was left to the network card.
            let end = if length == 0 { packet.len() } else { length.min(packet.len()) };
            (address(12)?.into(), address(16)?.into(), packet.get(header..end)?)
        }
        6 => {
            let length = usize::from(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?));
            if *packet.get(6)? != 6 {
                return None;
            }
            let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
            let end = if length == 0 { packet.len() } else { packet.len().min(40 + length) };
            (address(8)?.into(), address(24)?.into(), packet.get(40..end)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
    let flow = (SocketAddr::new(from, port(0)?), SocketAddr::new(to, port(2)?));
    let sequence = u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?);
    let bytes = tcp.get(usize::from(*tcp.get(12)? >> 4) * 4..)?;
    Some((flow, Segment { sequence, opens: tcp.get(13)? & 2 != 0, bytes }))
}

/// One direction of a connection.
#[derive(Default)]
struct Direction {
    /// The number of the next byte, once known.
    next: Option<u32>,
    /// Segments that came too early, by their distance from the first byte.
    early: BTreeMap<u64, Vec<u8>>,
    waiting: usize,
    /// Bytes told so far.
    told: u64,
    lost: bool,
}

impl Direction {
    fn take(&mut self, segment: Segment<'_>, tell: &mut dyn FnMut(Piece)) {
        if segment.opens {
            let next = segment.sequence.wrapping_add(1);
            // Sent again, it opens nothing new.
            if self.told > 0 || self.next != Some(next) {
                *self = Self { next: Some(next), ..Self::default() };
                tell(Piece::Begin);
            }
        }
        if segment.bytes.is_empty() || self.lost {
            return;
        }
        // A capture that begins later is told from where it begins.
        let next = *self.next.get_or_insert(segment.sequence);
        let ahead = i64::from(segment.sequence.wrapping_sub(next).cast_signed());
        let Some(place) = self.told.checked_add_signed(ahead) else { return };
        if place + segment.bytes.len() as u64 <= self.told {
            return;
        }
        // The same place may come twice, with more or fewer bytes.
        let known = self.early.entry(place).or_default();
        if let Some(more) = segment.bytes.get(known.len()..) {
            known.extend_from_slice(more);
            self.waiting += more.len();
        }
        while let Some(first) = self.early.first_entry()
            && *first.key() <= self.told
        {
            let (place, bytes) = first.remove_entry();
            self.waiting -= bytes.len();
            let known = usize::try_from(self.told - place).unwrap_or(usize::MAX);
            if let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) {
                self.told += fresh.len() as u64;
                self.next = self.next.map(|next| next.wrapping_add(fresh.len() as u32));
                tell(Piece::Bytes(fresh.to_vec()));
            }
        }
        if self.waiting > WAITING {
            self.lost = true;
            self.early.clear();
            tell(Piece::Gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: u8 = 2;

    /// A capture of TCP segments over Ethernet: port, sequence number, flags and bytes of each.
    fn capture(segments: &[(u16, u32, u8, &[u8])]) -> Vec<u8> {
        let mut file =
            vec![0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        for (second, (port, sequence, flags, bytes)) in (0_u32..).zip(segments) {
            let length = (40 + bytes.len()) as u16;
            let mut packet = vec![0; 12];
            packet.extend_from_slice(&[0x81, 0, 0, 7, 8, 0, 0x45, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
            packet.extend_from_slice(&port.to_be_bytes());
            packet.extend_from_slice(&1935_u16.to_be_bytes());
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, 0x50, *flags, 0, 0, 0, 0, 0, 0]);
            packet.extend_from_slice(bytes);
            // Ethernet pads short frames.
            packet.extend_from_slice(&[0xEE; 6]);
            for number in [second, 500_000, packet.len() as u32, packet.len() as u32] {
                file.extend_from_slice(&number.to_le_bytes());
            }
            file.extend_from_slice(&packet);
        }
        file
    }

    fn told(file: &[u8]) -> Option<Vec<String>> {
        let mut all = Vec::new();
        let is_capture = read(file, &mut |time, (from, _), piece| {
            let piece = match piece {
                Piece::Begin => "begin".to_owned(),
                Piece::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                Piece::Gap => "gap".to_owned(),
            };
            all.push(format!("{time} {} {piece}", from.port()));
        });
        is_capture.then_some(all)
    }

    /// Segments that come twice, too early, in parts, or after a wrap of their numbers.
    #[test]
    fn bytes_come_in_order_and_once() {
        let file = capture(&[
            (1, u32::MAX - 1, SYN, b""),
            (1, u32::MAX, 0, b"ab"),
            (2, 77, 0, b"late"),
            (1, 3, 0, b"ef"),
            (1, 3, 0, b"e"),
            (1, u32::MAX, 0, b"ab"),
            (1, 0, 0, b"bcd"),
            (1, 4, 0, b"fgh"),
            (1, 900, SYN, b""),
            (1, 901, 0, b"new"),
        ]);
        let expected = ["0.5 1 begin", "1.5 1 ab", "2.5 2 late", "6.5 1 cd", "6.5 1 ef", "7.5 1 gh"];
        let again = ["8.5 1 begin", "9.5 1 new"];
        assert_eq!(told(&file).unwrap(), [&expected[..], &again].concat());
        for end in 0..file.len() {
            told(&file[..end]);
        }
    }

    #[test]
    fn what_waits_for_a_lost_segment_is_bounded() {
        let half = vec![b'x'; 65_000 / 2];
        let mut segments = vec![(1, 0, SYN, &b""[..]), (1, 1, 0, b"a")];
        let count = WAITING / half.len() + 1;
        segments.extend((0..count).map(|at| (1, 3 + (at * half.len()) as u32, 0, &half[..])));
        segments.push((1, 2, 0, b"b"));
        let told = told(&capture(&segments)).unwrap();
        assert_eq!(told.len(), 3);
        assert!(told[2].ends_with("gap"), "and nothing after it");
        segments.pop();
        segments.pop();
        let told = self::told(&capture(&segments)).unwrap();
        assert_eq!(told.len(), 2, "as many as may wait");
    }

    #[test]
    fn other_files_are_none_of_ours() {
        for file in [&b""[..], b"FLV\x01", &[0xD4, 0xC3, 0xB2], &[3; 100]] {
            assert_eq!(told(file), None);
        }
    }
}
