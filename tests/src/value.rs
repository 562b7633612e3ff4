//! Values of AMF0, read; [`amf`](crate::wire::amf) writes them.

use std::iter;

use crate::wire::Message;

/// A value that a peer sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// A text, short or long.
    Text(String),
    /// Nothing.
    Null,
    /// Less than nothing.
    Undefined,
    /// An object or an array with names, in the order in which it was sent.
    Object(Vec<(String, Self)>),
    /// An array without names.
    Array(Vec<Self>),
    /// A date, in milliseconds.
    Date(f64),
}

impl Value {
    /// All values in these bytes.
    ///
    /// # Panics
    ///
    /// If they are not values of these types: what we send is.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let rest = &mut bytes;
        iter::from_fn(|| (!rest.is_empty()).then(|| read(rest).expect("values in AMF0"))).collect()
    }

    /// The number that it is.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A property of the object that it is.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(properties) => {
                properties.iter().find(|(other, _)| other == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// A command that a peer sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Its message stream.
    pub stream: u32,
    /// Its name.
    pub name: String,
    /// Its transaction.
    pub transaction: f64,
    /// What comes after that.
    pub values: Vec<Value>,
}

impl Command {
    /// The command in a message, if it is one.
    ///
    /// # Panics
    ///
    /// If it holds anything but values in AMF0.
    pub fn of(message: &Message) -> Option<Self> {
        let payload = match message.kind {
            20 => &message.payload[..],
            // A byte that says nothing comes first.
            17 => message.payload.get(1..)?,
            _ => return None,
        };
        let mut values = Value::all(payload).into_iter();
        let Some(Value::Text(name)) = values.next() else { return None };
        let transaction = values.next()?.number()?;
        Some(Self { stream: message.stream, name, transaction, values: values.collect() })
    }

    /// The value at `index` behind the transaction, if it is a text: 1 is the name of a stream in `publish` and `play`.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.values.get(index)?.text()
    }
}

fn read(rest: &mut &[u8]) -> Option<Value> {
    Some(match take(rest, 1)?[0] {
        0 => Value::Number(number(rest)?),
        1 => Value::Boolean(take(rest, 1)?[0] != 0),
        2 => Value::Text(text(rest, 2)?),
        3 => Value::Object(properties(rest)?),
        5 => Value::Null,
        6 => Value::Undefined,
        8 => {
            take(rest, 4)?;
            Value::Object(properties(rest)?)
        }
        10 => {
            let count = length(rest, 4)?;
            Value::Array((0..count).map(|_| read(rest)).collect::<Option<_>>()?)
        }
        11 => {
            let time = number(rest)?;
            take(rest, 2)?;
            Value::Date(time)
        }
        12 => Value::Text(text(rest, 4)?),
        _ => return None,
    })
}

fn properties(rest: &mut &[u8]) -> Option<Vec<(String, Value)>> {
    let mut found = Vec::new();
    loop {
        let name = text(rest, 2)?;
        if name.is_empty() && rest.first() == Some(&9) {
            take(rest, 1)?;
            return Some(found);
        }
        found.push((name, read(rest)?));
    }
}

fn text(rest: &mut &[u8], width: usize) -> Option<String> {
    let count = length(rest, width)?;
    Some(String::from_utf8_lossy(take(rest, count)?).into_owned())
}

fn length(rest: &mut &[u8], width: usize) -> Option<usize> {
    Some(take(rest, width)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

fn number(rest: &mut &[u8]) -> Option<f64> {
    Some(f64::from_be_bytes(take(rest, 8)?.try_into().ok()?))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{amf, connect, play};

    #[test]
    fn what_a_client_writes_is_read() {
        let command = Command::of(&connect("live", "rtmp://here/live")).expect("a command");
        assert_eq!((command.name.as_str(), command.transaction), ("connect", 1.0));
        assert_eq!(command.values[0].get("app").and_then(Value::text), Some("live"));
        let command = Command::of(&play(3, "one")).expect("a command");
        assert_eq!((command.stream, command.text(1)), (3, Some("one")));
        assert_eq!(command.values[2], Value::Number(-2000.0));
        assert_eq!(Command::of(&Message { kind: 8, ..Message::default() }), None);
    }

    #[test]
    fn every_type_is_read() {
        let bytes =
            [&[10, 0, 0, 0, 2, 5, 6, 12, 0, 0, 0, 1, b'x', 11][..], &[0; 10], &amf::boolean(true)].concat();
        let array = Value::Array(vec![Value::Null, Value::Undefined]);
        assert_eq!(
            Value::all(&bytes),
            [array, Value::Text("x".into()), Value::Date(0.0), Value::Boolean(true)]
        );
        let named = [8, 0, 0, 0, 1, 0, 1, b'a', 1, 0, 0, 0, 9];
        assert_eq!(Value::all(&named)[0].get("a"), Some(&Value::Boolean(false)));
    }
}
