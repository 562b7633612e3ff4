//! A sink that posts to a server.

use std::time::Duration;

use serde_json::Value;

use super::{encode, record::Record};
use crate::{
    config::{EventSerializer, EventSink},
    outbound::Origin,
    web::{Client, Outcome, Request, WebError},
};

/// What stands before and behind, and where it goes.
#[derive(Debug)]
pub(super) struct RpcSink {
    url: String,
    serializer: EventSerializer,
    timeout: Duration,
    custom_data: Option<Value>,
}

/// Why an event was not delivered.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) text: String,
    /// Whether another try may help.
    pub(super) again: bool,
}

impl RpcSink {
    pub(super) fn new(sink: &EventSink, custom_data: Option<Value>, timeout: Duration) -> Self {
        Self {
            url: sink.url.clone().unwrap_or_default(),
            serializer: sink.serializer_type.unwrap_or(EventSerializer::Json),
            timeout: sink.timeout.map_or(timeout, crtmp_media::Seconds::get),
            custom_data,
        }
    }

    /// Posts one event, and waits for the answer at most so long.
    pub(super) fn post(&self, client: &Client, record: &Record, left: Duration) -> Result<(), Failure> {
        let table = record.table(Some(record.unix()), self.custom_data.as_ref());
        let (body, content) = match self.serializer {
            EventSerializer::Json => (table.to_string(), "application/json"),
            EventSerializer::Xml => (format!("{}{}", encode::XML, encode::xml(&table)), "text/xml"),
            EventSerializer::Xmlrpc => (encode::xml_rpc(&table), "text/xml"),
        };
        let mut request = Request::post(self.url.as_str(), body);
        request.headers.push(("Content-Type".to_owned(), content.to_owned()));
        request.timeout = Some(self.timeout.min(left));
        // The URL is the operator's own.
        request.origin = Origin::Configuration;
        judge(client.call(&request))
    }
}

/// Whether the server has taken the event.
fn judge(outcome: Outcome) -> Result<(), Failure> {
    match outcome {
        Ok(answer) if answer.is_success() => Ok(()),
        Ok(answer) => {
            let status = answer.status;
            Err(Failure {
                text: format!("the server answered with status {status}"),
                again: status >= 500 || status == 408 || status == 429,
            })
        }
        Err(error) => {
            let again = !matches!(
                error,
                WebError::Url(_) | WebError::Request(_) | WebError::Refused(_) | WebError::TooLarge(_)
            );
            Err(Failure { text: error.to_string(), again })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Response;

    #[test]
    fn what_may_get_better_is_tried_again() {
        let status = |status| judge(Ok(Response { status, headers: Vec::new(), body: Vec::new() }));
        for good in [200, 201, 204, 299] {
            assert!(status(good).is_ok(), "{good}");
        }
        for (bad, again) in [
            (101, false),
            (302, false),
            (307, false),
            (400, false),
            (401, false),
            (404, false),
            (408, true),
            (413, false),
            (429, true),
            (500, true),
            (503, true),
            (599, true),
        ] {
            assert_eq!(status(bad).unwrap_err().again, again, "{bad}");
        }
        for (error, again) in [
            (WebError::Timeout, true),
            (WebError::Connection(String::new()), true),
            (WebError::Answer(String::new()), true),
            (WebError::Resolve(String::new()), true),
            (WebError::Tls(String::new()), true),
            (WebError::TooLarge(1), false),
            (WebError::Url(""), false),
        ] {
            assert_eq!(judge(Err(error.clone())).unwrap_err().again, again, "{error}");
        }
    }
}
