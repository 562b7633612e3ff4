//! CTL and ACK: control messages and acknowledgements.

use std::{thread, time::Duration};

use crtmp_tests::{Config, wire::Client};

use crate::{SOON, control, key_frame, stage::Stage};

/// A WindowAckSize.
fn window(size: u32) -> crtmp_tests::wire::Message {
    control(5, &size.to_be_bytes())
}

/// Takes everything that the server has sent so far; gives the last acknowledged number and how many there were.
fn acknowledged(client: &mut Client, limit: Duration) -> (u32, usize) {
    let (mut last, mut count) = (0, 0);
    while let Some(message) = client.message(limit) {
        if message.kind == 3 {
            last = u32::from_be_bytes(message.payload[..].try_into().expect("four bytes"));
            count += 1;
        }
    }
    (last, count)
}

#[test]
fn control_messages_and_acknowledgements() {
    let stage = Stage::start(&Config::new());

    stage.case("CTL-01 control that is too short", || {
        for kind in [1, 2, 3, 5, 6] {
            let mut client = stage.connected();
            client.send(&control(kind, &[0, 0, 1]));
            stage.ends(client, &format!("a control message of type {kind} has 3 bytes and needs"));
        }
    });
    stage.case("CTL-04 odd windows", || {
        let mut client = stage.publisher("odd");
        client.send(&window(0));
        client.send(&window(1));
        client.send(&control(1, &[0, 1, 0, 0]));
        for time in 0..100 {
            client.write(&key_frame(time, 10_000).chunks(65_536));
        }
        client.send(&control(4, &[0, 6, 0, 0, 0, 9]));
        let mut acknowledgements = 0;
        while let Some(message) = client.message(SOON) {
            match message.kind {
                3 => acknowledgements += 1,
                4 if message.payload[1] == 7 => break,
                _ => {}
            }
        }
        assert!((1..=1_000_000 / 2048).contains(&acknowledgements), "{acknowledgements}");
    });
    stage.case("CTL-07 a flood of pings whose answers nobody reads", || {
        let mut client = stage.connected();
        let pings = control(4, &[0, 6, 0, 0, 0, 9]).chunks(128).repeat(5000);
        for _ in 0..200 {
            client.write(&pings);
        }
        stage.tells(&client, "more than controlQueue = 262144 bytes wait for a peer that does not read");
    });
    stage.case("ACK-01 a publisher that stops at its window", || {
        for size in [Some(500_000), Some(2_500_000), None] {
            let mut client = stage.publisher("window");
            if let Some(size) = size {
                client.send(&window(size));
            }
            client.send(&control(1, &[0, 1, 0, 0]));
            let (mut sent, mut heard) = (0, 0);
            for time in 0..120 {
                let frame = key_frame(time, 60_000).chunks(65_536);
                sent += frame.len() as u32;
                client.write(&frame);
                while sent.saturating_sub(heard) > size.unwrap_or(2_500_000) - 120_000 {
                    let message = client.expect_kind(3);
                    heard = u32::from_be_bytes(message.payload[..].try_into().expect("four bytes"));
                }
            }
            assert!(heard > 4_000_000);
        }
    });
    stage.case("ACK-03 a player that acknowledges nothing", || {
        let mut publisher = stage.publisher("silent");
        let mut player = stage.player("silent");
        let sender = thread::spawn(move || {
            publisher.send(&control(1, &[0, 1, 0, 0]));
            for time in 0..200 {
                publisher.write(&key_frame(time * 40, 60_000).chunks(65_536));
                // A player that is asked to take more than its queue would skip some.
                thread::sleep(Duration::from_millis(5));
            }
            publisher
        });
        for time in 0..200 {
            assert_eq!(player.expect_kind(9).time, time * 40);
        }
        let mut publisher = sender.join().expect("a publisher");
        let (last, count) = acknowledged(&mut publisher, Duration::from_millis(200));
        assert!(last > 10_000_000 && count >= 8, "{last} {count}");
    });
    stage.end();
}
