//! What workers see becomes events.

use std::sync::Arc;

use crtmp_reactor::{ConnectionReport, Observer, Seen, SeenStream, Sight};
use serde_json::{Value, json};

use super::commands::{connections::carrier, streams::Stream};
use crate::{
    events::{Event, Events, Kind},
    links::Links,
};

/// Hands what workers see to the event logger, and which streams there are to pushes.
pub(super) fn observer(events: &Events, links: &Links) -> Arc<Observer> {
    let (asked, told, links) = (events.clone(), events.clone(), links.clone());
    let comes_or_goes = |sight| matches!(sight, Sight::InStreamCreated | Sight::InStreamClosed);
    Arc::new(Observer {
        wants: Box::new(move |sight| comes_or_goes(sight) || asked.wants(kind_of(sight))),
        see: Box::new(move |sight, seen| {
            if let (true, Seen::Stream(seen)) = (comes_or_goes(sight), &seen) {
                let live = sight == Sight::InStreamCreated;
                links.stream(seen.application.clone(), seen.stream.name.clone(), seen.stream.unique, live);
                if !told.wants(kind_of(sight)) {
                    return;
                }
            }
            let payload = match seen {
                Seen::Connection(connection) => of_connection(sight, &connection),
                Seen::Stream(seen) => of_stream(sight, &seen),
            };
            told.emit(Event { kind: kind_of(sight), stream: None, payload });
        }),
    })
}

fn kind_of(sight: Sight) -> Kind {
    match sight {
        Sight::CarrierCreated => Kind::CarrierCreated,
        Sight::CarrierClosed => Kind::CarrierClosed,
        Sight::Registered => Kind::ProtocolRegisteredToApp,
        Sight::Unregistered => Kind::ProtocolUnregisteredFromApp,
        Sight::InStreamCreated => Kind::InStreamCreated,
        Sight::InStreamClosed => Kind::InStreamClosed,
        Sight::InStreamCodecs => Kind::InStreamCodecsUpdated,
        Sight::OutStreamCreated => Kind::OutStreamCreated,
        Sight::OutStreamClosed => Kind::OutStreamClosed,
        Sight::OutStreamCodecs => Kind::OutStreamCodecsUpdated,
        Sight::AudioStopped => Kind::AudioFeedStopped,
        Sight::VideoStopped => Kind::VideoFeedStopped,
    }
}

fn of_connection(sight: Sight, connection: &ConnectionReport) -> Value {
    if matches!(sight, Sight::Registered | Sight::Unregistered) {
        return json!({
            "id": connection.id.0,
            "protocolType": connection.chain,
            "applicationName": connection.application,
            "customParameters": {},
        });
    }
    let mut payload = carrier(connection);
    if let Some(map) = payload.as_object_mut() {
        map.insert("id".to_owned(), connection.id.0.into());
        if sight == Sight::CarrierCreated {
            map.retain(|key, _| key != "rx" && key != "tx");
        }
    }
    payload
}

fn of_stream(sight: Sight, seen: &SeenStream) -> Value {
    let SeenStream { connection, application, stream, publish, play } = seen;
    if matches!(sight, Sight::AudioStopped | Sight::VideoStopped) {
        return json!({ "id": stream.unique, "localStreamName": stream.name });
    }
    let inbound = matches!(sight, Sight::InStreamCreated | Sight::InStreamClosed | Sight::InStreamCodecs);
    let stream = Stream {
        inbound,
        connection: connection.as_ref(),
        owner: None,
        application,
        report: stream,
        publish: publish.as_ref(),
        play: play.as_ref(),
    };
    // The other ends of the stream may be on other workers.
    stream.json(None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crtmp_media::StreamSlot;
    use crtmp_reactor::StreamReport;
    use crtmp_relay::ConnectionId;

    use super::*;

    fn connection() -> ConnectionReport {
        ConnectionReport {
            id: ConnectionId(7),
            peer: "192.0.2.1:5000".parse().unwrap(),
            layers: Vec::new(),
            chain: "inboundRtmp".to_owned(),
            application: Some("live".to_owned()),
            agent: "FMLE".to_owned(),
            age: Duration::from_secs(1),
            bytes_in: 11,
            bytes_out: 12,
            queued: 0,
            unsent: 0,
            rtt_ms: None,
            local: "192.0.2.2:1935".parse().unwrap(),
            tc_url: "rtmp://h/live?token=abc".to_owned(),
            swf_url: String::new(),
            page_url: String::new(),
            outbound: false,
            can_reconnect: false,
            publishes: Vec::new(),
            plays: Vec::new(),
            questions: 0,
        }
    }

    #[test]
    fn connections_are_told_in_the_shape_of_the_document() {
        let created = of_connection(Sight::CarrierCreated, &connection());
        let keys: Vec<&String> = created.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["farIP", "farPort", "id", "nearIP", "nearPort", "type"]);
        let closed = of_connection(Sight::CarrierClosed, &connection());
        assert_eq!((&closed["rx"], &closed["tx"], &closed["id"]), (&json!(11), &json!(12), &json!(7)));
        let registered = of_connection(Sight::Registered, &connection());
        let expected = json!({
            "id": 7,
            "protocolType": "inboundRtmp",
            "applicationName": "live",
            "customParameters": {},
        });
        assert_eq!(registered, expected);
    }

    #[test]
    fn streams_are_told_as_list_streams_shows_them() {
        let stream = StreamReport {
            slot: StreamSlot(1),
            name: "cam".to_owned(),
            alias: None,
            unique: 3,
            age: Duration::from_secs(2),
        };
        let application = "live".into();
        let connection = Some(connection());
        let seen = SeenStream { connection, application, stream, publish: None, play: None };
        let told = of_stream(Sight::InStreamCreated, &seen);
        assert_eq!(
            (&told["uniqueId"], &told["type"], &told["name"]),
            (&json!(3), &json!("INR"), &json!("cam"))
        );
        assert_eq!((&told["appName"], &told["upTime"]), (&json!("live"), &json!(2000)));
        assert_eq!((&told["farIp"], &told["nearPort"]), (&json!("192.0.2.1"), &json!(1935)));
        assert_eq!(told["tcUrl"], "rtmp://h/live?token=***");
        assert_eq!(of_stream(Sight::OutStreamClosed, &seen)["type"], "ONR");
        let stopped = of_stream(Sight::AudioStopped, &seen);
        assert_eq!(stopped, json!({ "id": 3, "localStreamName": "cam" }));
    }
}
