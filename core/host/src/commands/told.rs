//! What is told of a command to whoever wants to know: bounded, since events wait in memory.

use std::io::{Error, ErrorKind, Result, Write};

use serde_json::{Value, json};

use super::{Caller, Params, Refusal, spec};

/// Bytes that parameters, or the data of an answer, may have as JSON text to be told; what is larger is left out.
const TOLD: usize = 65_536;

/// What `cliRequest` tells: parameters as they are taken, or as they came.
pub(super) fn request(
    command: &str,
    checked: &std::result::Result<Params, Refusal>,
    given: &serde_json::Map<String, Value>,
    caller: &Caller,
) -> Value {
    let shown = checked.as_ref().map_or_else(|_| spec::shown(given), Params::shown);
    by(caller, json!({ "command": command, "parameters": bounded(&Value::Object(shown)) }))
}

/// What `cliResponse` tells.
pub(super) fn response(command: &str, reply: &Value, caller: &Caller) -> Value {
    // The key that ends the server is for its caller alone.
    let data = if command == "shutdownServer" { Value::Null } else { bounded(&reply["data"]) };
    let answer = json!({
        "command": command,
        "status": reply["status"],
        "description": reply["description"],
        "data": data,
    });
    by(caller, answer)
}

/// With who has called.
fn by(caller: &Caller, mut payload: Value) -> Value {
    payload["caller"] = caller.name.as_str().into();
    let (connection, peer) =
        caller.session.as_ref().map(|(connection, peer)| (*connection, peer.as_str())).unzip();
    payload["connectionId"] = connection.into();
    payload["peer"] = peer.into();
    payload
}

/// The value, or in the place of a large one a table that says so.
fn bounded(value: &Value) -> Value {
    match serde_json::to_writer(Room(TOLD), value) {
        Ok(()) => value.clone(),
        Err(_) => json!({ "leftOut": format!("more than {TOLD} bytes") }),
    }
}

/// Takes so many bytes and keeps none.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| Error::from(ErrorKind::StorageFull))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_told_and_no_more() {
        let session = Some((7, "192.0.2.1:5000".to_owned()));
        let caller =
            Caller { name: "test".to_owned(), instance: 0, session, rights: crtmp_plugin::Rights::All };
        let mut reply = json!({ "status": "SUCCESS", "description": "here", "data": null });
        for (length, whole) in [(TOLD - 1, true), (TOLD, true), (TOLD + 1, false)] {
            // Two of them are the quotation marks.
            let text = Value::from("x".repeat(length - 2));
            reply["data"] = text.clone();
            let expected = if whole { text.clone() } else { json!({ "leftOut": "more than 65536 bytes" }) };
            let told = response("listStreams", &reply, &caller);
            assert_eq!((&told["data"], &told["description"]), (&expected, &json!("here")), "{length}");
            // `{"a":` and `}` are six.
            let given = json!({ "a": "x".repeat(length - 8) });
            let refused = Err(Refusal::Mistake(String::new()));
            let told = request("vary", &refused, given.as_object().unwrap(), &caller);
            assert_eq!(told["parameters"] == given, whole, "{length}");
            assert_eq!((&told["connectionId"], &told["peer"]), (&json!(7), &json!("192.0.2.1:5000")));
        }
        reply["data"] = json!({ "key": "the end" });
        assert_eq!(response("shutdownServer", &reply, &caller)["data"], Value::Null);
    }
}
