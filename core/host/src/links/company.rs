//! Whether a link shares its connection with others: many servers bear one stream for each.
//!
//! Some of them say so, by refusing the second stream. Others end everything, which a network does as well; so what follows
//! from an end is a guess, weaker than a refusal: it takes two ends in a row, and the next failure takes it back.

use std::time::Duration;

/// How soon after a stream was asked for the end of its connection may come from that.
pub(super) const ASKED: Duration = Duration::from_secs(2);

/// What a link has seen of others on its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Company {
    /// Nothing that speaks against them.
    #[default]
    Welcome,
    /// The connection has ended when one more stream was asked for.
    Doubted,
    /// The same twice in a row, or no answer: it gets a connection of its own.
    Suspected,
    /// The far end has refused it beside others: it gets a connection of its own.
    Refused,
}

impl Company {
    /// Whether it gets a connection of its own.
    pub(super) const fn is_alone(self) -> bool {
        matches!(self, Self::Suspected | Self::Refused)
    }

    /// After an end of everything when one more stream was asked for; whether it was in a row with the one before.
    pub(super) const fn after_break(self, in_a_row: bool) -> Self {
        match self {
            Self::Doubted if in_a_row => Self::Suspected,
            _ => Self::Doubted,
        }
    }

    /// After any other failure of a link that had run, or had not.
    pub(super) const fn after_failure(self, has_run: bool) -> Self {
        match self {
            // What was refused beside others has worked without them.
            Self::Refused if has_run => Self::Refused,
            // To be alone has not helped, or it was chance.
            _ => Self::Welcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Company::*, *};

    #[test]
    fn a_guess_is_weaker_than_a_refusal() {
        for (company, has_run, expected) in [
            (Welcome, true, Welcome),
            (Doubted, true, Welcome),
            (Doubted, false, Welcome),
            (Suspected, true, Welcome),
            (Suspected, false, Welcome),
            (Refused, true, Refused),
            (Refused, false, Welcome),
        ] {
            assert_eq!(company.after_failure(has_run), expected, "{company:?}");
        }
        assert_eq!([Welcome, Doubted].map(|company| company.after_break(true)), [Doubted, Suspected]);
        assert_eq!([Welcome, Doubted].map(|company| company.after_break(false)), [Doubted, Doubted]);
        assert_eq!([Welcome, Doubted, Suspected, Refused].map(Company::is_alone), [false, false, true, true]);
    }
}
