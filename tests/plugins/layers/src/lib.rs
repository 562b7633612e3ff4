//! Layers that do what layers must not do, and filters likewise: they cost their own connections, and nobody else
//! anything.
//!
//! Each stands before RTMP, in a chain of its own, and passes on what it hears up to its third byte.

use std::marker::PhantomData;
use std::thread;
use std::time::{Duration, Instant};

use crtmp_plugin::layers::{
    Cx, Error, Event, Layer, PluginLayer, Port, PublishKind, RequestId, StreamSlot, Via, chain,
};
use crtmp_plugin::{Filter, Frame, Pass, export_plugin};
use serde_json::{Map, Value};

/// A fault, from the third byte on.
pub trait Fault: 'static {
    /// The name of the layer.
    const NAME: &'static str;

    /// What goes wrong instead of taking `data`.
    fn commit(data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error>;
}

/// A layer with a fault.
pub struct Broken<F> {
    heard: usize,
    fault: PhantomData<F>,
}

impl<F: Fault> PluginLayer for Broken<F> {
    const NAME: &'static str = F::NAME;
    const FAR: Port = Port::Bytes;
    const NEAR: Port = Port::Bytes;

    fn new(_keys: &Map<String, Value>, _now: Instant) -> Result<Self, String> {
        Ok(Self { heard: 0, fault: PhantomData })
    }
}

impl<F: Fault> Layer for Broken<F> {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.heard += data.len();
        if self.heard >= 3 {
            return F::commit(data, cx);
        }
        cx.deliver(data)?;
        Ok(data.len())
    }
}

/// Panics.
pub struct Panics;

impl Fault for Panics {
    const NAME: &'static str = "panics";

    fn commit(_: &[u8], _: &mut Cx<'_>) -> Result<usize, Error> {
        panic!("at the third byte, as ordered");
    }
}

/// Takes more than there is.
pub struct Overtakes;

impl Fault for Overtakes {
    const NAME: &'static str = "overtakes";

    fn commit(data: &[u8], _: &mut Cx<'_>) -> Result<usize, Error> {
        Ok(data.len() + 1)
    }
}

/// Delivers, sends and emits after it has closed.
pub struct Talks;

impl Fault for Talks {
    const NAME: &'static str = "talks";

    fn commit(data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        cx.close(Error::peer("talks", "closed by itself"));
        cx.deliver(data)?;
        cx.out().write_with(|out| out.extend_from_slice(b"after the end"));
        for number in 0..100 {
            let (slot, command) = (StreamSlot(number), "nonsense".to_owned());
            cx.emit(Event::Message { request: Some(RequestId(7)), slot, command, args: Vec::new() });
        }
        cx.pause();
        Ok(data.len())
    }
}

/// Asks without end.
pub struct Asks;

impl Fault for Asks {
    const NAME: &'static str = "asks";

    fn commit(data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        for number in 0..100_000 {
            let (slot, request) = (StreamSlot(1), RequestId(number));
            let kind = PublishKind::Live;
            cx.emit(Event::Publish { request, slot, name: "x".to_owned(), kind, via: Via::default() });
        }
        Ok(data.len())
    }
}

/// Blocks its worker for a moment: nothing contains that, so all that can be asked for is that nothing gets lost.
pub struct Sleeps;

impl Fault for Sleeps {
    const NAME: &'static str = "sleeps";

    fn commit(data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        thread::sleep(Duration::from_millis(200));
        cx.deliver(data)?;
        Ok(data.len())
    }
}

/// Blocks its worker for longer than commands wait for its report.
pub struct Hangs;

impl Fault for Hangs {
    const NAME: &'static str = "hangs";

    fn commit(data: &[u8], _: &mut Cx<'_>) -> Result<usize, Error> {
        thread::sleep(Duration::from_secs(6));
        Ok(data.len())
    }
}

/// A filter that panics at the tenth frame, fails, gives what is no frame, or is slow: as its settings say.
pub struct Faulty {
    fault: String,
    seen: u32,
}

impl Filter for Faulty {
    const NAME: &'static str = "faulty";

    fn new(settings: &Map<String, Value>) -> Result<Self, String> {
        let fault = settings.get("fault").and_then(Value::as_str).unwrap_or_default().to_owned();
        if fault == "new" { Err("it does not want to".to_owned()) } else { Ok(Self { fault, seen: 0 }) }
    }

    fn on_frame(&mut self, _frame: Frame<'_>) -> Result<Pass, String> {
        self.seen += 1;
        if self.seen < 10 {
            return Ok(Pass::Keep);
        }
        match self.fault.as_str() {
            "panics" => panic!("at the tenth frame, as ordered"),
            "fails" => Err("it does not want to".to_owned()),
            "replaces" => Ok(Pass::Replace(Vec::new())),
            "sleeps" => {
                thread::sleep(Duration::from_millis(50));
                Ok(Pass::Drop)
            }
            _ => Ok(Pass::Keep),
        }
    }
}

export_plugin!(
    name: "brokenlayers",
    layers: [Broken<Panics>, Broken<Overtakes>, Broken<Talks>, Broken<Asks>, Broken<Sleeps>, Broken<Hangs>],
    chains: [
        chain("panicsRtmp", "panics rtmp"),
        chain("overtakesRtmp", "overtakes rtmp"),
        chain("talksRtmp", "talks rtmp"),
        chain("asksRtmp", "asks rtmp"),
        chain("sleepsRtmp", "sleeps rtmp"),
        chain("hangsRtmp", "hangs rtmp"),
    ],
    filters: [Faulty],
);
