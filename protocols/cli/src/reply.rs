//! What applications answer: the JSON text of `{"status", "description", "data"}`.

use crtmp_media::Value;
use serde_json::json;

use crate::json::{Bounds, Json};

/// The code of a refusal by which an application asks who is there.
pub const AUTH_REQUIRED: &str = "Auth.Required";
/// The code of a refusal by which an application says that there were too many attempts.
pub const AUTH_THROTTLED: &str = "Auth.Throttled";

/// The code of a refusal by which an application says that the command is run by POST only.
pub const POST_NEEDED: &str = "Post.Needed";

/// What an answer may hold that is rendered for people; deeper ones are not shown.
const ANSWER: Bounds = Bounds { depth: 64, values: usize::MAX };

/// An answer, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Whether its status is `SUCCESS`.
    pub success: bool,
    /// Its description.
    pub description: String,
    /// Its data; null where it has none.
    pub data: Json,
}

impl Reply {
    /// Takes the JSON text of an answer apart; what is no answer reads as a failure that says so.
    pub fn parse(text: &str) -> Self {
        let failure = |description: String| Self { success: false, description, data: Json::Null };
        let answer = match Json::parse(text.as_bytes(), ANSWER) {
            Ok(answer) => answer,
            Err(error) => return failure(format!("the application's answer cannot be read: {error}")),
        };
        let success = match answer.get("status").and_then(Json::as_text) {
            Some("SUCCESS") => true,
            Some("FAIL") => false,
            _ => return failure("the application's answer has no status".to_owned()),
        };
        let Json::Object(members) = answer else { return failure(String::new()) };
        let mut reply = Self { success, description: String::new(), data: Json::Null };
        for (key, value) in members {
            match (key.as_str(), value) {
                ("description", Json::Text(text)) => reply.description = text,
                ("data", value) => reply.data = value,
                _ => {}
            }
        }
        reply
    }
}

/// The JSON text of a failure.
pub fn fail(description: &str) -> String {
    json!({ "status": "FAIL", "description": description, "data": null }).to_string()
}

/// The JSON text that answers a command: the application's own, or that of a failure.
pub fn answer(result: Result<Value, (String, String)>) -> String {
    match result {
        Ok(Value::String(text)) => text,
        Ok(_) => fail("the application's answer is no text"),
        Err((_, text)) => fail(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let reply = Reply::parse(r#"{"data":[1],"description":"one","status":"SUCCESS","more":1}"#);
        let data = Json::List(vec![Json::Number(1.into())]);
        assert_eq!(reply, Reply { success: true, description: "one".into(), data });
        let reply = Reply::parse(&fail("no \"x\"\n"));
        assert_eq!(reply, Reply { success: false, description: "no \"x\"\n".into(), data: Json::Null });
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for text in ["", "[]", "{}", r#"{"status":"OK"}"#, r#"{"status":1}"#, &"[".repeat(100)] {
            let reply = Reply::parse(text);
            assert!(!reply.success && reply.description.starts_with("the application's answer"), "{text}");
        }
        assert!(answer(Ok(Value::Null)).contains("is no text"));
        assert!(answer(Err(("Code".into(), "why".into()))).contains(r#""description":"why""#));
    }
}
