//! The head of an HTTP message, as the HTTP layer and its nearer neighbour exchange it.

/// The start line and the header fields of a request or a response (RFC 9110, RFC 9112).
///
/// On the way in it is what the peer sent, checked. On the way out ([`OutQueue::begin`](crate::OutQueue::begin)) it
/// is what the nearer layer wants to say; the HTTP layer adds `Content-Length`, `Transfer-Encoding`, `Connection` and
/// `Date` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHead {
    /// Request or response.
    pub start: HttpStart,
    /// Names and values, in the order in which they came. Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body, where that is known beforehand.
    pub length: Option<u64>,
}

/// The start line of an HTTP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpStart {
    /// A request.
    Request {
        /// The method as it was sent: case counts.
        method: String,
        /// The path with its query, in origin form: it begins with `/`.
        target: String,
    },
    /// A response.
    Response {
        /// The status code, 100 to 599.
        status: u16,
    },
}

impl HttpHead {
    /// A response of this status whose body has this type and length in bytes.
    pub fn response(status: u16, content_type: &str, length: u64) -> Self {
        let mut headers = Vec::new();
        if !content_type.is_empty() {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        Self { start: HttpStart::Response { status }, headers, length: Some(length) }
    }

    /// A request without a body.
    pub fn request(method: &str, target: &str) -> Self {
        let start = HttpStart::Request { method: method.to_owned(), target: target.to_owned() };
        Self { start, headers: Vec::new(), length: Some(0) }
    }

    /// The same with one more header; `name` in lower case.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}
