//! Both sides of this crate with each other, in pieces of every size.

use std::collections::VecDeque;

use crtmp_media::{Pull, Push, Via};

use super::*;
use crate::layer::OutboundRtmp;

/// Both sides, until neither has anything to say; gives what each has said.
fn converse(orders: Vec<Order>, media: &[Message], piece: usize) -> [Vec<String>; 2] {
    let now = Instant::now();
    let with = |instance: &str| SessionSettings { instance: Arc::from(instance), ..settings() };
    let mut client = Chain::new(vec![Box::new(OutboundRtmp::new(with("c"), now))]).unwrap();
    let mut server = Chain::new(vec![Box::new(InboundRtmp::new(with("s"), now))]).unwrap();
    let mut env = Env { now, random: &mut |bytes| bytes.fill(4) };
    client.on_open(&mut env).unwrap();
    server.on_open(&mut env).unwrap();
    let mut lines = [Vec::new(), Vec::new()];
    let mut orders = VecDeque::from(orders);
    client.on_command(orders.pop_front().unwrap(), &mut env).unwrap();
    let mut writer = ChunkWriter::new();
    writer.set_chunk_size(&mut Vec::new(), 60_000);
    let mut media = media.iter();
    loop {
        let mut quiet = true;
        for side in 0..2 {
            let (from, to) = if side == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let queue = from.send().unwrap();
            let mut bytes: Vec<u8> = queue.slices().flatten().copied().collect();
            queue.advance(bytes.len());
            // The server plays: its packets go out beside its commands.
            let plays = lines[1].iter().any(|line: &String| line.starts_with("Play "));
            if side == 1 && bytes.is_empty() && plays {
                media.by_ref().for_each(|message| writer.write(&mut bytes, message).unwrap());
            }
            quiet &= bytes.is_empty();
            for piece in bytes.chunks(piece) {
                to.on_data(piece, &mut env).unwrap();
                while let Some(event) = to.poll_event() {
                    lines[1 - side].push(event_line(&event));
                    let order = accept(&event);
                    let settled = matches!(event, Event::CallResult { .. });
                    for order in order.into_iter().chain(settled.then(|| orders.pop_front()).flatten()) {
                        to.on_command(order, &mut env).unwrap();
                    }
                }
            }
        }
        if quiet {
            return lines;
        }
    }
}

fn accept(event: &Event) -> Option<Order> {
    let answer = Answer::Accept;
    match event {
        Event::Connect { request, .. } => Some(Order::AnswerConnect { request: *request, answer }),
        Event::Publish { request, .. } => Some(Order::AnswerPublish { request: *request, answer }),
        Event::Play(play) => Some(Order::AnswerPlay { request: play.request, answer }),
        _ => None,
    }
}

fn connect() -> Order {
    let args = vec![object(&[("app", "live".into())])];
    Order::Call { ticket: Some(1), command: "connect".to_owned(), args }
}

#[test]
fn a_pull_and_a_push_work_in_pieces_of_every_size() {
    let pull = || {
        let (name, local) = ("far".to_owned(), "near".to_owned());
        Order::Pull(Box::new(Pull {
            ticket: 2,
            name,
            local,
            start_ms: -2000,
            duration_ms: -1,
            takes_over: false,
        }))
    };
    let push = || {
        let (name, local, kind) = ("up".to_owned(), "down".to_owned(), PublishKind::Live);
        Order::Push(Box::new(Push { ticket: 3, name, local, kind, via: Via::default(), again: false }))
    };
    let media = [key_frame(1, 40, 70_000), sound(1, 50), key_frame(1, 80, 10)];
    let whole = converse(vec![connect(), pull(), push()], &media, usize::MAX);
    assert_eq!(
        whole[0][1..],
        [
            "Publish 1 near",
            "CallResult 2 Result 1 NetStream.Play.Start",
            "Frame 1 video key 40",
            "Frame 1 audio key 50",
            "Frame 1 video key 80",
            "Play 2 down",
            "CallResult 3 Result 2 NetStream.Publish.Start",
        ]
    );
    assert_eq!(whole[1], ["Connect live", "Play 1 far", "Publish 2 up"]);
    for piece in [1, 7, 128, 1000] {
        assert_eq!(converse(vec![connect(), pull(), push()], &media, piece), whole, "{piece}");
    }
}
