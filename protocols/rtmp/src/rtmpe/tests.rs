use std::collections::VecDeque;

use crtmp_media::{
    Answer, CallOutcome, Chain, Command, Env, Event, MediaKind, Packet, RequestId, Role, Value,
};

use super::*;
use crate::{
    handshake::{HandshakeKind, PACKET},
    layer::{InboundRtmp, OutboundRtmp},
    session::SessionSettings,
};

const WHOLE: usize = 1 << 20;

fn settings() -> SessionSettings {
    SessionSettings {
        limits: Arc::default(),
        validate_handshake: true,
        chunk_size: 60_000,
        instance: Arc::from(""),
    }
}

/// The two ends of a connection, with a clock of their own.
struct Ends {
    now: Instant,
    client: Chain,
    server: Chain,
    events: VecDeque<Event>,
    results: VecDeque<Event>,
}

impl Ends {
    fn new(client: Vec<Box<dyn Layer>>, server: Vec<Box<dyn Layer>>, now: Instant) -> Self {
        let (client, server) = (Chain::new(client).unwrap(), Chain::new(server).unwrap());
        Self { now, client, server, events: VecDeque::new(), results: VecDeque::new() }
    }

    /// Both with RTMPE, each with as many layers as it has.
    fn encrypted() -> Self {
        let now = Instant::now();
        Self::new(encrypted_client(now), encrypted_server(now), now)
    }

    fn env<T>(&mut self, run: impl FnOnce(&mut Self, &mut Env<'_>) -> T) -> T {
        let mut seed = 0_u8;
        let now = self.now;
        let mut random = |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| {
                seed = seed.wrapping_mul(37).wrapping_add(11);
                *byte = seed;
            });
        };
        run(self, &mut Env { now, random: &mut random })
    }

    fn open(&mut self) {
        self.env(|ends, env| {
            ends.client.on_open(env).unwrap();
            ends.server.on_open(env).unwrap();
        });
    }

    /// Carries bytes both ways, `step` at a time, until both are silent.
    fn carry(&mut self, step: usize) -> Result<(), Error> {
        loop {
            let (up, down) = (sent(&mut self.client), sent(&mut self.server));
            if up.is_empty() && down.is_empty() {
                return Ok(());
            }
            self.env(|ends, env| {
                up.chunks(step).try_for_each(|piece| ends.server.on_data(piece, env))?;
                down.chunks(step).try_for_each(|piece| ends.client.on_data(piece, env))
            })?;
            self.events.append(&mut self.server.take_events());
            self.results.append(&mut self.client.take_events());
        }
    }

    fn connect(&mut self) {
        let object = Value::Object(vec![("app".to_owned(), "live".into())]);
        let call = Command::Call { ticket: Some(1), command: "connect".to_owned(), args: vec![object] };
        self.env(|ends, env| ends.client.on_command(call, env)).unwrap();
    }

    fn accept(&mut self, request: RequestId) {
        let answer = Command::AnswerConnect { request, answer: Answer::Accept };
        self.env(|ends, env| ends.server.on_command(answer, env)).unwrap();
    }

    /// Connects, from the first byte to the answer.
    fn meet(&mut self, step: usize) {
        self.open();
        self.connect();
        self.carry(step).unwrap();
        let Some(Event::Connect { request, info }) = self.events.pop_front() else { panic!("no connect") };
        assert_eq!(info.app, "live");
        self.accept(request);
        self.carry(step).unwrap();
        let Some(Event::CallResult { outcome, .. }) = self.results.pop_front() else { panic!("no answer") };
        assert_eq!(outcome, CallOutcome::Result);
    }
}

fn encrypted_client(now: Instant) -> Vec<Box<dyn Layer>> {
    let outer = OutboundRtmpe::new(Arc::default(), now);
    vec![Box::new(outer), Box::new(OutboundRtmp::inner(settings(), now))]
}

fn encrypted_server(now: Instant) -> Vec<Box<dyn Layer>> {
    let outer = InboundRtmpe::new(Arc::default(), true, now);
    vec![Box::new(outer), Box::new(InboundRtmp::inner(settings(), now))]
}

fn plain_client(now: Instant) -> Vec<Box<dyn Layer>> {
    vec![Box::new(OutboundRtmp::new(settings(), now))]
}

fn undecided_server(now: Instant) -> Vec<Box<dyn Layer>> {
    vec![Box::new(InboundRtmp::plain_or_encrypted(settings(), now))]
}

fn sent(chain: &mut Chain) -> Vec<u8> {
    let queue = chain.send().unwrap();
    let bytes = queue.slices().collect::<Vec<_>>().concat();
    queue.advance(bytes.len());
    bytes
}

#[test]
fn both_sides_meet_however_the_bytes_are_cut() {
    for step in [1, 7, 1537, WHOLE] {
        Ends::encrypted().meet(step);
    }
}

#[test]
fn nothing_is_readable_between_them() {
    let mut ends = Ends::encrypted();
    ends.open();
    ends.connect();
    ends.carry(WHOLE).unwrap();
    let Some(Event::Connect { request, .. }) = ends.events.pop_front() else { panic!() };
    ends.accept(request);
    let said = sent(&mut ends.server);
    assert!(said.len() > 200 && !said.windows(7).any(|part| part == b"Connect"));
}

#[test]
fn an_undecided_layer_takes_both_and_is_direct_for_plain_peers() {
    let now = Instant::now();
    for (client, direct) in [(plain_client(now), true), (encrypted_client(now), false)] {
        let mut ends = Ends::new(client, undecided_server(now), now);
        ends.meet(1);
        assert_eq!(ends.server.is_direct(), direct);
    }
}

/// HS-13.
#[test]
fn peers_that_do_not_fit_are_told_apart_by_the_first_byte() {
    let now = Instant::now();
    let server = |layers: fn(Instant) -> Vec<Box<dyn Layer>>, byte| {
        let mut ends = Ends::new(plain_client(now), layers(now), now);
        ends.env(|ends, env| ends.server.on_data(&[byte], env)).unwrap_err().rule
    };
    assert!(server(encrypted_server, 3).contains("not encrypted (handshake version 3)"));
    assert!(server(encrypted_server, b'P').contains("not RTMP: the first byte is 0x50"));
    assert!(server(encrypted_server, 9).contains("version 9 is not served"));
    assert!(server(undecided_server, 9).contains("version 9 is not served"));
    assert!(server(undecided_server, 0x16).contains("not RTMP but TLS"));
    let plain = |now| -> Vec<Box<dyn Layer>> { vec![Box::new(InboundRtmp::new(settings(), now))] };
    assert!(server(plain, 6).contains("RTMPE not enabled (handshake version 6)"));
}

/// HS-01 to HS-03, of both sides, and that the time of the session begins when the handshake has ended.
#[test]
fn a_handshake_has_its_time_in_all() {
    let mut ends = Ends::encrypted();
    let start = ends.now;
    let (limits, begin) = (Limits::default(), start + Duration::from_secs(2));
    let end = start + limits.handshake_timeout.get();
    assert_eq!((ends.server.poll_timeout(), ends.client.poll_timeout()), (Some(end), None));
    // The connection is made later than it was begun.
    ends.now = begin;
    ends.env(|ends, env| ends.client.on_open(env)).unwrap();
    assert_eq!(ends.client.poll_timeout(), Some(begin + limits.handshake_timeout.get()));
    let hello = sent(&mut ends.client);
    ends.env(|ends, env| ends.server.on_data(&hello[..hello.len() - 1], env)).unwrap();
    assert!(sent(&mut ends.server).is_empty());
    ends.now = begin + limits.handshake_timeout.get();
    let late = ends.env(|ends, env| [ends.server.on_timeout(env), ends.client.on_timeout(env)]);
    for late in late {
        assert_eq!(late.unwrap_err().rule, "no whole handshake within handshakeTimeout = 5 s");
    }

    let mut ends = Ends::encrypted();
    ends.open();
    ends.now += Duration::from_secs(4);
    ends.carry(WHOLE).unwrap();
    assert_eq!(ends.server.poll_timeout(), Some(ends.now + limits.connect_timeout.get()));
    assert_eq!(ends.client.poll_timeout(), None);
}

#[test]
fn the_exchange_waits_for_leave() {
    let mut ends = Ends::encrypted();
    ends.client.set_grants(0);
    ends.open();
    assert!(sent(&mut ends.client).is_empty() && ends.client.is_denied());
    assert_eq!(ends.client.poll_timeout(), None);
    ends.client.set_grants(1);
    ends.env(|ends, env| ends.client.on_turn(env)).unwrap();
    let hello = sent(&mut ends.client);
    assert_eq!((hello.len(), ends.client.grants()), (1 + PACKET, 0), "C0 and C1");

    ends.server.set_grants(0);
    ends.env(|ends, env| ends.server.on_data(&hello, env)).unwrap();
    assert!(ends.server.is_denied() && ends.server.is_paused());
    assert!(sent(&mut ends.server).is_empty());
    ends.server.set_grants(1);
    ends.env(|ends, env| ends.server.on_turn(env)).unwrap();
    assert_eq!(ends.server.grants(), 0, "one is enough");
    let answer = sent(&mut ends.server);
    assert_eq!(answer.len(), 1 + 2 * PACKET);
    assert!(!ends.server.is_paused());

    ends.env(|ends, env| ends.client.on_data(&answer, env)).unwrap();
    assert!(ends.client.is_denied() && ends.client.is_paused());
    assert!(sent(&mut ends.client).is_empty());
    ends.client.set_grants(1);
    ends.env(|ends, env| ends.client.on_turn(env)).unwrap();
    assert_eq!(ends.client.grants(), 0, "one is enough");
    assert!(sent(&mut ends.client).len() >= PACKET && !ends.client.is_paused());
}

/// The text names the cause, and nothing was said in cipher before.
#[test]
fn a_server_that_answers_wrongly_is_refused() {
    let mut ends = Ends::encrypted();
    ends.open();
    ends.connect();
    let hello = sent(&mut ends.client);
    ends.env(|ends, env| ends.server.on_data(&hello, env)).unwrap();
    let mut answer = sent(&mut ends.server);
    *answer.last_mut().unwrap() ^= 1;
    let error = ends.env(|ends, env| ends.client.on_data(&answer, env)).unwrap_err();
    assert!(error.rule.contains("the signature of C2 or S2 does not answer"), "{error}");
    assert_eq!(sent(&mut ends.client).len(), PACKET, "C2 alone");
}

/// Bytes that come while the chain waits for a verdict are deciphered in their order, once.
#[test]
fn a_pause_loses_no_place_in_the_key_stream() {
    for step in [100, WHOLE] {
        let mut ends = Ends::encrypted();
        ends.open();
        ends.connect();
        // More than is deciphered in one piece, behind the connect in the same read.
        let ping = [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 0, 0, 0, 9];
        let packet = |bytes: &[u8]| Packet {
            bytes: bytes.to_vec().into(),
            header_len: 0,
            kind: MediaKind::Data,
            role: Role::Key,
            dts: 0,
            cts: 0,
            data_at: 0,
            track: 0,
        };
        ends.env(|ends, env| {
            let server = &mut ends.server;
            let hello = sent(&mut ends.client);
            server.on_data(&hello, env).unwrap();
            ends.client.on_data(&sent(server), env).unwrap();
        });
        // The client's first words and 2000 pings.
        for _ in 0..2000 {
            ends.client.push_packet(packet(&ping));
        }
        let said = sent(&mut ends.client);
        assert!(said.len() > 2000 * ping.len());
        ends.env(|ends, env| said.chunks(step).for_each(|piece| ends.server.on_data(piece, env).unwrap()));
        assert!(ends.server.is_paused());
        ends.events.append(&mut ends.server.take_events());
        let Some(Event::Connect { request, .. }) = ends.events.pop_front() else { panic!() };
        ends.accept(request);
        assert!(!ends.server.is_paused());
        // 2000 answers of 18 bytes behind those to `connect`, which a client in step reads without a fault.
        let answers = sent(&mut ends.server);
        assert!(answers.len() > 2000 * 18);
        ends.env(|ends, env| ends.client.on_data(&answers, env)).unwrap();
    }
}

#[test]
fn large_packets_are_enciphered_in_pieces() {
    let mut ends = Ends::encrypted();
    ends.meet(WHOLE);
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    let slice = crtmp_media::Slice::from(bytes.clone());
    let role = Role::Key;
    let kind = MediaKind::Data;
    let packet = Packet { bytes: slice, header_len: 0, kind, role, dts: 0, cts: 0, data_at: 0, track: 0 };
    ends.server.push_packet(packet.clone());
    let first = sent(&mut ends.server);
    assert_eq!(first.len(), bytes.len());
    assert_ne!(first, bytes);
    assert_eq!(&packet.bytes[..], &bytes[..], "what others share is left alone");
    ends.server.push_packet(packet);
    assert_ne!(sent(&mut ends.server), first, "the key stream goes on");
}

#[test]
fn who_is_closed_before_the_handshake_ends_says_nothing_more() {
    let close = || Command::Close { code: "x".to_owned(), text: "y".to_owned() };
    let mut ends = Ends::encrypted();
    ends.open();
    ends.connect();
    ends.env(|ends, env| ends.client.on_command(close(), env)).unwrap();
    ends.env(|ends, env| ends.server.on_command(close(), env)).unwrap();
    ends.carry(WHOLE).unwrap();
    assert!(ends.events.is_empty());
}

#[test]
fn a_server_that_does_not_encrypt_is_refused() {
    let now = Instant::now();
    let plain: Vec<Box<dyn Layer>> = vec![Box::new(InboundRtmp::new(settings(), now))];
    let mut ends = Ends::new(encrypted_client(now), plain, now);
    ends.open();
    assert!(ends.carry(WHOLE).unwrap_err().rule.contains("RTMPE not enabled"));
    let mut answer = Vec::new();
    let mut up = Vec::new();
    let client = crate::handshake::ClientHandshake::new(HandshakeKind::Simple, &[1; RANDOM]);
    client.start(&mut up);
    crate::handshake::ServerHandshake::new(false, &[2; RANDOM]).input(&up, &mut answer).unwrap();
    let mut ends = Ends::encrypted();
    ends.open();
    let error = ends.env(|ends, env| ends.client.on_data(&answer, env)).unwrap_err();
    assert!(error.rule.contains("not encrypted (handshake version 3)"), "{error}");
}

/// FFmpeg's publishers do not survive it by RTMPE; players must know the size before the first packet.
#[test]
fn the_chunk_size_is_told_to_players_only() {
    let now = Instant::now();
    // The header of a Set Chunk Size: chunk stream 2, time 0, four bytes, type 1.
    let size = [2, 0, 0, 0, 0, 0, 4, 1];
    let tells = |chain: &mut Chain| sent(chain).windows(size.len()).position(|part| part == size);
    let message = |command: crate::message::Command, stream| {
        let (mut body, mut out) = (Vec::new(), Vec::new());
        command.encode(&mut body);
        let kind = crate::message::kind::COMMAND;
        let message = crate::chunk::Message { csid: 3, kind, stream, timestamp: 0, body: body.into() };
        crate::chunk::ChunkWriter::new().write(&mut out, &message).unwrap();
        out
    };
    let call = |name: &str, transaction, args| {
        crate::message::Command::call(
            name,
            transaction,
            Value::Object(vec![("app".into(), "live".into())]),
            args,
        )
    };
    let mut server = Chain::new(vec![Box::new(InboundRtmp::inner(settings(), now))]).unwrap();
    let mut random = |bytes: &mut [u8]| bytes.fill(1);
    let mut env = Env { now, random: &mut random };
    server.on_open(&mut env).unwrap();
    server.on_data(&message(call("connect", 1.0, vec![]), 0), &mut env).unwrap();
    let Some(Event::Connect { request, .. }) = server.poll_event() else { panic!() };
    server.on_command(Command::AnswerConnect { request, answer: Answer::Accept }, &mut env).unwrap();
    assert_eq!(tells(&mut server), None);
    server.on_data(&message(call("createStream", 2.0, vec![]), 0), &mut env).unwrap();
    server.on_data(&message(call("play", 3.0, vec!["film".into()]), 1), &mut env).unwrap();
    assert_eq!(tells(&mut server), None);
    let Some(Event::Play(play)) = server.poll_event() else { panic!() };
    let answer = Command::AnswerPlay { request: play.request, answer: Answer::Accept };
    server.on_command(answer, &mut env).unwrap();
    assert_eq!(tells(&mut server), Some(0));
}
