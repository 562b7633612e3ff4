//! The questions of one connection that its application has not answered.

use crtmp_media::{Event, PlayRequest, RequestId, StreamName, StreamSlot, Via};

use crate::control::Why;

/// Questions of one connection that its application may have unanswered; then nothing is read.
const CREDIT: usize = 8;

/// A question that has not been answered.
pub(crate) struct Asked {
    pub(crate) request: RequestId,
    pub(crate) subject: Subject,
}

pub(crate) enum Subject {
    Accept,
    Connect {
        hands: u8,
    },
    Publish {
        slot: StreamSlot,
        name: StreamName,
        /// Where the stream has been.
        via: Via,
    },
    Play {
        play: Box<PlayRequest>,
        name: StreamName,
        /// The alias that led to the name.
        alias: Option<String>,
    },
    /// The peer wants an answer, or not.
    Message {
        wants_answer: bool,
    },
    /// What stands in the line for shared objects.
    SharedObject,
    /// A publish or play that the peer does not want any more.
    Withdrawn(Box<Withdrawn>),
}

/// A wish that its peer has given up, while the application still thinks about it.
pub(crate) struct Withdrawn {
    pub(crate) slot: StreamSlot,
    pub(crate) wish: Wish,
    pub(crate) name: StreamName,
    pub(crate) why: Why,
    /// What the peer wants of the message stream now. It is asked when this one is answered, so that the application
    /// hears of one thing after the other.
    pub(crate) next: Option<Event>,
}

/// What a message stream may be waiting to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Publish,
    Play,
}

/// What waits for answers. A question that the peer has withdrawn waits too: it still has its place in the
/// application's mailbox, and whoever asks and withdraws in a loop must not get another one for that.
#[derive(Default)]
pub(crate) struct Questions(Vec<Asked>);

impl Questions {
    /// Whether the application may be asked more.
    pub(crate) fn has_credit(&self) -> bool {
        self.0.len() < CREDIT
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn add(&mut self, asked: Asked) {
        self.0.push(asked);
    }

    /// Takes a question whose answer has come.
    pub(crate) fn answered(&mut self, request: RequestId) -> Option<Subject> {
        let at = self.0.iter().position(|asked| asked.request == request)?;
        Some(self.0.swap_remove(at).subject)
    }

    /// Whether an application is being asked for.
    pub(crate) fn connects(&self) -> bool {
        self.0.iter().any(|asked| matches!(asked.subject, Subject::Connect { .. }))
    }

    /// Forgets what a message stream waits for: nobody wants it any more.
    pub(crate) fn withdraw(&mut self, slot: StreamSlot, wish: Wish, why: Why) {
        for Asked { subject, .. } in &mut self.0 {
            let name = match subject {
                // The application has not heard of it.
                Subject::Withdrawn(withdrawn) if withdrawn.slot == slot && withdrawn.next.is_some() => {
                    withdrawn.next = None;
                    return;
                }
                Subject::Publish { slot: other, name, .. } if wish == Wish::Publish && *other == slot => name,
                Subject::Play { play, name, .. } if wish == Wish::Play && play.slot == slot => name,
                _ => continue,
            };
            let name = name.clone();
            *subject = Subject::Withdrawn(Box::new(Withdrawn { slot, wish, name, why, next: None }));
            return;
        }
    }

    /// Where the next wish of a message stream has to wait, because one that was withdrawn has no answer yet.
    pub(crate) fn place_behind(&mut self, slot: StreamSlot) -> Option<&mut Option<Event>> {
        self.0.iter_mut().find_map(|asked| match &mut asked.subject {
            Subject::Withdrawn(withdrawn) if withdrawn.slot == slot && withdrawn.next.is_none() => {
                Some(&mut withdrawn.next)
            }
            _ => None,
        })
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Limits, PublishKind, Via};

    use super::*;

    fn publish(request: u32, slot: u32) -> Asked {
        let name = StreamName::new("", &format!("stream {request}"), &Limits::default()).expect("a name");
        let subject = Subject::Publish { slot: StreamSlot(slot), name, via: Via::default() };
        Asked { request: RequestId(request), subject }
    }

    fn next(request: u32, slot: u32) -> Event {
        let (request, slot) = (RequestId(request), StreamSlot(slot));
        Event::Publish {
            request,
            slot,
            name: "next".to_owned(),
            kind: PublishKind::Live,
            via: Via::default(),
        }
    }

    fn withdraw(questions: &mut Questions, slot: u32) {
        questions.withdraw(StreamSlot(slot), Wish::Publish, Why::Peer);
    }

    #[test]
    fn credit_is_used_until_the_answer_comes_whether_it_is_wanted_or_not() {
        let mut questions = Questions::default();
        for request in 1..CREDIT as u32 {
            questions.add(publish(request, request));
            withdraw(&mut questions, request);
        }
        assert!(questions.has_credit(), "one is left");
        questions.add(publish(100, 100));
        assert!(!questions.has_credit());
        withdraw(&mut questions, 100);
        assert!(!questions.has_credit(), "giving up gives nothing back");
        assert!(matches!(questions.answered(RequestId(100)), Some(Subject::Withdrawn(_))));
        assert!(questions.has_credit());
        assert!(questions.answered(RequestId(100)).is_none(), "an answer comes once");
    }

    #[test]
    fn only_what_the_message_stream_waits_for_is_withdrawn() {
        let mut questions = Questions::default();
        questions.add(publish(1, 7));
        questions.withdraw(StreamSlot(7), Wish::Play, Why::Peer);
        withdraw(&mut questions, 8);
        assert!(matches!(questions.answered(RequestId(1)), Some(Subject::Publish { .. })));
    }

    #[test]
    fn the_next_wish_of_a_message_stream_waits_for_the_answer_and_may_be_given_up_too() {
        let mut questions = Questions::default();
        questions.add(publish(1, 7));
        assert!(questions.place_behind(StreamSlot(7)).is_none(), "nothing has been withdrawn");
        withdraw(&mut questions, 7);
        assert!(questions.place_behind(StreamSlot(8)).is_none(), "another message stream");
        for request in 2..1000 {
            *questions.place_behind(StreamSlot(7)).expect("a place") = Some(next(request, 7));
            assert!(questions.place_behind(StreamSlot(7)).is_none(), "there is one place");
            withdraw(&mut questions, 7);
        }
        *questions.place_behind(StreamSlot(7)).expect("a place") = Some(next(1000, 7));
        assert_eq!(questions.len(), 1);
        let Some(Subject::Withdrawn(withdrawn)) = questions.answered(RequestId(1)) else {
            panic!("the first is answered")
        };
        assert_eq!((withdrawn.name.as_str(), withdrawn.wish), ("stream 1", Wish::Publish));
        assert!(matches!(withdrawn.next, Some(Event::Publish { request: RequestId(1000), .. })));
    }
}
