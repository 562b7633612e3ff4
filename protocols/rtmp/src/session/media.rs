//! Audio, video and data of a publisher.

use crtmp_media::{Codec, Cx, Error, Event, Frame, MediaKind, Role, Skipped, Value, tag};

use super::{Core, PROTOCOL, Slot, slot_event};
use crate::{
    aggregate,
    chunk::Message,
    message::{Data, kind},
};

impl Core {
    pub(super) fn on_media(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        if !self.slots.get(message.stream).is_some_and(Slot::is_publishing) {
            self.skipped(Skipped::StrayMedia, cx);
            return Ok(());
        }
        if message.kind != kind::AGGREGATE {
            self.on_one(message, cx);
            return Ok(());
        }
        let limit = self.settings.limits.aggregate_messages;
        let split = aggregate::split(&message, limit).map_err(|error| Error::peer(PROTOCOL, error))?;
        if split.wrong_back_pointers + split.ignored + split.dropped_bytes > 0 {
            self.skipped(Skipped::BadAggregate, cx);
        }
        for message in split.messages {
            self.on_one(message, cx);
        }
        Ok(())
    }

    fn on_one(&mut self, message: Message, cx: &mut Cx<'_>) {
        if message.body.is_empty() {
            return;
        }
        let (stream, timestamp) = (message.stream, message.timestamp);
        let frame = match message.kind {
            kind::AUDIO => self.tagged(message, MediaKind::Audio),
            kind::VIDEO => self.tagged(message, MediaKind::Video),
            _ => self.data(&message, cx),
        };
        match (frame, self.slots.get_mut(stream)) {
            (Ok(Some(mut frame)), Some(slot)) => {
                // What describes the media may come before them with another idea of time.
                slot.began |= frame.kind != MediaKind::Data;
                frame.dts = if slot.began { slot.time.unwrap(timestamp) } else { timestamp.into() };
                cx.emit(Event::Frame { slot: slot_event(stream), frame });
            }
            (Err(what), _) => self.skipped(what, cx),
            _ => {}
        }
    }

    fn tagged(&self, message: Message, media: MediaKind) -> Result<Option<Frame>, Skipped> {
        let limits = &self.settings.limits;
        let header = match media {
            MediaKind::Audio => tag::audio(&message.body, limits),
            _ => tag::video(&message.body, limits),
        }
        .map_err(|_| Skipped::BadTag)?;
        Ok(Some(Frame {
            kind: media,
            role: header.role,
            codec: header.codec,
            track: header.track,
            dts: 0,
            cts: header.cts,
            body: message.body,
            data_at: header.data_at,
        }))
    }

    /// A data message as players get it: without the instruction to the server that may stand before it.
    fn data(&self, message: &Message, cx: &mut Cx<'_>) -> Result<Option<Frame>, Skipped> {
        let limits = &self.settings.limits;
        let (mut data, mixed) =
            Data::parse_mixed(message.kind, &message.body, limits).map_err(|_| Skipped::BadMetadata)?;
        // Type 15 begins with a format byte that AMF0 readers do not know; some senders leave it out.
        let leading = usize::from(message.kind == kind::DATA_AMF3 && message.body.first() == Some(&0));
        let mut body = message.body.slice(leading..);
        match data.name.as_str() {
            "@setDataFrame" if mixed => {
                let mut values = data.args.into_iter();
                let Some(Value::String(name)) = values.next() else { return Err(Skipped::BadMetadata) };
                data = Data { name, args: values.collect() };
            }
            "@setDataFrame" => {
                const MARKER_AND_LENGTH: usize = 3;
                body = body.slice(MARKER_AND_LENGTH + data.name.len()..);
                data = Data::parse(kind::DATA, &body, limits).map_err(|_| Skipped::BadMetadata)?;
            }
            "@clearDataFrame" => return Ok(None),
            _ => {}
        }
        if mixed {
            // Players need not know AMF3.
            let mut plain = Vec::new();
            data.encode(&mut plain);
            body = plain.into();
        }
        let is_metadata = data.name == "onMetaData";
        if is_metadata {
            let values = data.args.first().and_then(|value| value.members());
            let most = self.command_bytes.unwrap_or(usize::MAX).min(limits.metadata_size);
            let Some(values) = values.filter(|_| body.len() <= most) else {
                return Err(Skipped::BadMetadata);
            };
            cx.emit(Event::Metadata { slot: slot_event(message.stream), values: values.to_vec() });
        }
        let role = if is_metadata { Role::Info } else { Role::Side };
        let codec = Codec::None;
        Ok(Some(Frame { kind: MediaKind::Data, role, codec, track: 0, dts: 0, cts: 0, body, data_at: 0 }))
    }
}
