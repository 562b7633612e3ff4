//! The healthy stream beside a hostile test.

use std::time::Duration;

use crate::{Kind, Program, Recording, Server, ffmpeg, fixture, wait_for};

/// The time in which more pictures must arrive.
const PATIENCE: Duration = Duration::from_secs(15);

/// A publisher and a player of one stream. Whatever a test does to the server, their stream must go on whole.
#[derive(Debug)]
pub struct Canary {
    server: u32,
    publisher: Program,
    player: Program,
}

impl Canary {
    /// The stream of the canary.
    pub const STREAM: &str = "canary";

    /// Starts publisher and player, and waits until pictures arrive.
    pub fn start(server: &Server) -> Self {
        let url = server.url(Self::STREAM);
        let publisher = ffmpeg::publish_film(&url).within(Duration::from_secs(300)).start();
        server.wait_for_publisher(Self::STREAM);
        let mut canary = Self { server: server.id(), publisher, player: Recording::start(&url) };
        canary.wait_for_pictures(1);
        canary
    }

    /// Waits for a second more of pictures, then demands that the server is the same process, that neither
    /// publisher nor player had to begin again, and that all that came is what was sent, without a gap.
    ///
    /// # Panics
    ///
    /// If the canary noticed anything.
    pub fn check(&mut self, server: &Server) {
        assert!(server.runs(), "the server is gone");
        assert_eq!(server.id(), self.server, "the server is another process");
        let seen = self.recording().of(Kind::Video).len();
        self.wait_for_pictures(seen + fixture::GOP);
        assert!(self.publisher.runs(), "the publisher of the canary was ended");
        assert!(self.player.runs(), "the player of the canary was ended");
        let recording = self.recording();
        recording.assert_part_of(fixture::packets());
        recording.assert_forward();
        recording.assert_no_gap();
        let output = server.output();
        assert!(!crate::server::has_panicked(&output), "the server panicked:\n{output}");
    }

    /// All packets that have come to the player.
    pub fn recording(&self) -> Recording {
        Recording::of_program(&self.player)
    }

    fn wait_for_pictures(&mut self, count: usize) {
        wait_for("more pictures of the canary", PATIENCE, || {
            assert!(self.player.runs(), "the player of the canary was ended");
            (self.recording().of(Kind::Video).len() >= count).then_some(())
        });
    }
}
