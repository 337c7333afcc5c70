//! What was told by e-mail: of what, and to whom. No address and no name is kept.

use crate::message::{ExchangeId, MessageId};

/// Something that is told by e-mail, once to each addressee.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Notice {
    /// What it is about.
    pub subject: NoticeSubject,
    /// What of it, in words of ours: a timer with its grade and instant, a certificate's serial.
    pub what: String,
}

/// What a notice is about. It is forgotten with it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NoticeSubject {
    /// An exchange.
    Exchange(ExchangeId),
    /// A message.
    Message(MessageId),
    /// What the operators look after.
    Operation,
}

impl NoticeSubject {
    /// The bytes to store.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Exchange(id) => id.as_bytes(),
            Self::Message(id) => id.as_bytes(),
            Self::Operation => &[],
        }
    }
}

/// What is in an agency's mailbox and was never collected, tests of its connection left aside.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Uncollected {
    /// How many messages.
    pub messages: u64,
    /// Those of them of which an addressee was not told, at most so many as were asked for.
    pub untold: Vec<Notice>,
}
