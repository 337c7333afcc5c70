//! What is written as a list of tasks, and what is called differently in each.

use crate::message::{Exchange, ExchangeState, Kind, Party};

/// One of the messages that are written so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http::desk) enum What {
    /// The answer to a request.
    Reply,
    /// What is added to it, or put right in it, later.
    Supplement,
    /// The answer that an agency gave by telephone, as the hub writes it down.
    Transcription,
}

impl What {
    /// Who writes it.
    pub(super) fn by(self) -> Party {
        match self {
            Self::Reply | Self::Supplement => Party::Agency,
            Self::Transcription => Party::Hub,
        }
    }

    /// The message it becomes.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Reply => Kind::Response,
            Self::Supplement => Kind::Supplement,
            Self::Transcription => Kind::Transcription,
        }
    }

    /// Its name, in addresses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Supplement => "supplement",
            Self::Transcription => "transcription",
        }
    }

    /// What it is, as part of a sentence: "the reply".
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Supplement => "addition",
            Self::Transcription => "transcription",
        }
    }

    /// The heading over its tasks.
    pub(super) fn title(self, exchange: &Exchange) -> String {
        match self {
            Self::Reply => format!("Reply to request {}", exchange.reference),
            Self::Supplement => format!("Add to your reply to request {}", exchange.reference),
            Self::Transcription => {
                format!(
                    "Write down what was answered by telephone to request {}",
                    exchange.reference
                )
            }
        }
    }

    /// Whether it can be said in this exchange: nothing is added to what was not answered, and what was is not
    /// written down.
    pub(super) fn is_due(self, exchange: &Exchange) -> bool {
        match self {
            Self::Reply => true,
            Self::Supplement => exchange.result.is_some(),
            Self::Transcription => exchange.state != ExchangeState::Completed,
        }
    }

    /// Where it says who says it.
    pub(super) fn speaker(self) -> &'static str {
        match self {
            Self::Reply | Self::Transcription => "respondedBy",
            Self::Supplement => "suppliedBy",
        }
    }
}
