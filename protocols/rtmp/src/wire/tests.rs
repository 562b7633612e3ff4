use super::*;

fn pair() -> (Wire, Wire) {
    let client = Wire::client(HandshakeKind::Simple, &[1; RANDOM], Limits::default());
    (client, Wire::server(true, &[2; RANDOM], Limits::default()))
}

/// All that a side makes of `bytes`, given in pieces of `size`.
fn read(wire: &mut Wire, bytes: &[u8], size: usize) -> Result<Vec<Received>, WireError> {
    let mut all = Vec::new();
    for mut piece in bytes.chunks(size) {
        loop {
            let (used, received) = wire.read(piece)?;
            piece = &piece[used..];
            match received {
                Some(received) => all.push(received),
                None => break,
            }
        }
        assert!(piece.is_empty(), "without a message, all is taken");
    }
    Ok(all)
}

/// Bytes to and fro until nobody has more; gives what each side received.
fn converse(client: &mut Wire, server: &mut Wire, size: usize) -> (Vec<Received>, Vec<Received>) {
    let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
    loop {
        let (up, down) = (client.take_output(), server.take_output());
        if up.is_empty() && down.is_empty() {
            return (at_client, at_server);
        }
        at_server.extend(read(server, &up, size).unwrap());
        at_client.extend(read(client, &down, size).unwrap());
    }
}

fn message(kind: u8, stream: u32, timestamp: u32, csid: u32, body: &[u8]) -> Message {
    Message { csid, kind, stream, timestamp, body: body.to_vec().into() }
}

/// Everything that can be sent arrives as what it is, however the bytes are split.
#[test]
fn what_is_sent_is_received() {
    let (metadata, large) = (Data { name: "onMetaData".into(), args: vec![] }, vec![7; 10_000]);
    let mut script = Vec::new();
    metadata.encode(&mut script);
    let error = Command::error(7.0, crate::message::Status::error("a.b", "c"));
    for size in [1, 7, 1000, usize::MAX] {
        let (mut client, mut server) = pair();
        // Before the handshake, so that it must wait for it.
        assert_eq!(client.call(0, "connect", Value::Null, vec![]), Ok(1.0));
        assert_eq!(client.call(5, "publish", Value::Null, vec!["film".into()]), Ok(2.0));
        client.send_set_chunk_size(4000);
        client.send_window_ack_size(10_000_000);
        client.send_peer_bandwidth(5000, BandwidthLimit::Dynamic);
        client.send_user_control(UserControl::SetBufferLength { stream: 5, ms: 300 });
        client.send_command(0, &error).unwrap();
        client.send_audio(5, 10, &[0xAF, 1]).unwrap();
        client.send_video(5, 0x0100_0000, &large).unwrap();
        client.send_data(5, 20, &script).unwrap();
        let (at_client, at_server) = converse(&mut client, &mut server, size);
        assert_eq!(at_client, [Received::Open(HandshakeKind::Simple)]);
        let connect = Command::call("connect", 1.0, Value::Null, vec![]);
        let publish = Command::call("publish", 2.0, Value::Null, vec!["film".into()]);
        let bandwidth = Control::PeerBandwidth { window: 5000, limit: BandwidthLimit::Dynamic };
        let buffer = UserControl::SetBufferLength { stream: 5, ms: 300 };
        let expected = [
            Received::Open(HandshakeKind::Simple),
            Received::Command { stream: 0, command: connect },
            Received::Command { stream: 5, command: publish },
            Received::Control(Control::WindowAckSize(10_000_000)),
            Received::Control(bandwidth),
            Received::Control(Control::User(buffer)),
            Received::Command { stream: 0, command: error.clone() },
            Received::Audio(message(kind::AUDIO, 5, 10, 4, &[0xAF, 1])),
            Received::Video(message(kind::VIDEO, 5, 0x0100_0000, 6, &large)),
            Received::Data { message: message(kind::DATA, 5, 20, 7, &script), data: metadata.clone() },
        ];
        assert_eq!(at_server, expected);
    }
}

#[test]
fn pings_are_answered_and_acknowledgements_sent_and_counted() {
    let (mut client, mut server) = pair();
    server.send_user_control(UserControl::PingRequest(77));
    server.send_window_ack_size(5000);
    server.send_audio(1, 0, &[0; 3000]).unwrap();
    let (_, at_server) = converse(&mut client, &mut server, usize::MAX);
    let pong = Received::Control(Control::User(UserControl::PingResponse(77)));
    assert!(at_server.contains(&pong), "{at_server:?}");
    assert_eq!(server.peer_acks().count, 1);
    assert_eq!(client.peer_acks().count, 0);
}

#[test]
fn an_aggregate_comes_as_its_parts() {
    let (mut client, mut server) = pair();
    converse(&mut client, &mut server, usize::MAX);
    let mut body = Vec::new();
    for (kind, time) in [(8, 0), (9, 10), (7, 15), (18, 20)] {
        body.extend_from_slice(&[kind, 0, 0, 2, 0, 0, time, 0, 0, 0, 0, 0xAA, 0xBB, 0, 0, 0, 13]);
    }
    client.send(4, kind::AGGREGATE, 1, 500, &body).unwrap();
    let received = read(&mut server, &client.take_output(), 3).unwrap();
    let expected = [
        Received::Audio(message(8, 1, 500, 4, &[0xAA, 0xBB])),
        Received::Video(message(9, 1, 510, 4, &[0xAA, 0xBB])),
        Received::Other(message(18, 1, 520, 4, &[0xAA, 0xBB])),
    ];
    assert_eq!(received, expected);
}

/// What says nothing that can be read is handed on as it is, and does not end the connection.
#[test]
fn what_cannot_be_read_is_handed_on() {
    for (kind, body) in [
        (kind::COMMAND, &[][..]),
        (kind::COMMAND, &[0xFF]),
        (kind::COMMAND_AMF3, &[0, 5]),
        (kind::DATA, &[2, 0, 9]),
        (kind::DATA_AMF3, &[17]),
        (kind::SHARED_OBJECT, &[1]),
        (kind::USER_CONTROL, &[]),
        (kind::USER_CONTROL, &[0, 99]),
        (99, &[1, 2]),
    ] {
        let (mut client, mut server) = pair();
        converse(&mut client, &mut server, usize::MAX);
        client.send(3, kind, 0, 0, body).unwrap();
        let received = read(&mut server, &client.take_output(), 1).unwrap();
        assert_eq!(received, [Received::Other(message(kind, 0, 0, 3, body))]);
    }
    let (mut client, mut server) = pair();
    converse(&mut client, &mut server, usize::MAX);
    client.send(2, kind::WINDOW_ACK_SIZE, 0, 0, &[1, 2, 3]).unwrap();
    assert!(matches!(read(&mut server, &client.take_output(), 1), Err(WireError::Control(_))));
}

/// Answers that nobody takes are bounded: one below, at and above `controlQueue`.
#[test]
fn answers_do_not_pile_up() {
    // A pong has a header of 12 bytes and a body of 6.
    for (limit, pings, good) in [(36, 2, true), (35, 2, false), (37, 2, true), (36, 3, false)] {
        let (mut client, server) = pair();
        let mut server = Wire { limits: Limits { control_queue: limit, ..Limits::default() }, ..server };
        converse(&mut client, &mut server, usize::MAX);
        for _ in 0..2 {
            (0..pings).for_each(|stamp| client.send_user_control(UserControl::PingRequest(stamp)));
            let result = read(&mut server, &client.take_output(), usize::MAX);
            assert_eq!(result.is_ok(), good, "{limit} {pings}");
            if let Err(error) = result {
                assert_eq!(error, WireError::Answers { limit });
                break;
            }
            assert_eq!(server.take_output().len(), 36, "and what was taken counts no more");
        }
    }
}

#[test]
fn large_messages_are_for_those_who_may_send_media() {
    let limits = || Limits { message_size_before: 1024, message_size: 2048, ..Limits::default() };
    for (size, allow, good) in [
        (1023, false, true),
        (1024, false, true),
        (1025, false, false),
        (1025, true, true),
        (2048, true, true),
        (2049, true, false),
    ] {
        let (mut client, server) = pair();
        let mut server = Wire { limits: limits(), ..server };
        converse(&mut client, &mut server, usize::MAX);
        if allow {
            server.allow_media();
        }
        client.send_video(1, 0, &vec![0; size]).unwrap();
        let result = read(&mut server, &client.take_output(), 100);
        assert_eq!(result.is_ok(), good, "{size} {allow} {result:?}");
    }
}

#[test]
fn what_is_no_rtmp_is_refused() {
    let (mut client, mut server) = pair();
    assert_eq!(server.read(b"GET /"), Err(WireError::Handshake(HandshakeError::NotRtmp(b'G'))));
    assert_eq!(client.read(&[6]), Err(WireError::Handshake(HandshakeError::Encrypted(6))));
    assert!(!client.is_open() && !server.is_open());
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let (mut client, _) = pair();
    let length = crate::chunk::MAX_MESSAGE + 1;
    assert_eq!(client.send_video(1, 0, &vec![0; length]), Err(TooLong { length }));
    assert!(client.out.is_empty());
}

/// A server's answer to `connect`, word for word as servers of the Flash family are known to give it.
#[test]
fn a_connect_is_answered_as_clients_have_always_known() {
    let (mut client, mut server) = pair();
    client.call(0, "connect", Value::Object(vec![("app".into(), "live".into())]), vec![]).unwrap();
    let (_, asked) = converse(&mut client, &mut server, usize::MAX);
    let Some(Received::Command { command, .. }) = asked.last() else { panic!("{asked:?}") };
    server.send_set_chunk_size(4096);
    server.send_window_ack_size(10_000_000);
    server.send_peer_bandwidth(10_000_000, BandwidthLimit::Soft);
    let members =
        [("fmsVer", Value::from("FMS/3,0,1,123")), ("capabilities", 31.0.into()), ("mode", 1.0.into())];
    let properties = Value::Object(members.map(|(key, value)| (key.to_owned(), value)).to_vec());
    let status = crate::message::Status::new("NetConnection.Connect.Success", "Connection succeeded.")
        .with("clientid", 1_234_567.0)
        .with("objectEncoding", 0.0);
    let answer = Command::result(command.transaction, properties, vec![status.into()]);
    server.send_command(0, &answer).unwrap();
    server.send_user_control(UserControl::StreamBegin(0));
    let (heard, _) = converse(&mut client, &mut server, usize::MAX);
    let expected = [
        Received::Control(Control::WindowAckSize(10_000_000)),
        Received::Control(Control::PeerBandwidth { window: 10_000_000, limit: BandwidthLimit::Soft }),
        Received::Command { stream: 0, command: answer },
        Received::Control(Control::User(UserControl::StreamBegin(0))),
    ];
    assert_eq!(heard, expected);
    assert_eq!(client.reader.chunk_size(), 4096);
}
