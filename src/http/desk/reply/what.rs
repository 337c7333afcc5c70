//! What is written as a list of tasks, and what is called differently in each.

use crate::message::{Exchange, Kind};

/// One of the messages that are written so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http::desk) enum What {
    /// The answer to a request.
    Reply,
    /// What is added to it, or put right in it, later.
    Supplement,
}

impl What {
    /// The message it becomes.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Reply => Kind::Response,
            Self::Supplement => Kind::Supplement,
        }
    }

    /// Its name, in addresses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Supplement => "supplement",
        }
    }

    /// What it is, as part of a sentence: "the reply".
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Supplement => "addition",
        }
    }

    /// The heading over its tasks.
    pub(super) fn title(self, exchange: &Exchange) -> String {
        match self {
            Self::Reply => format!("Reply to request {}", exchange.reference),
            Self::Supplement => format!("Add to your reply to request {}", exchange.reference),
        }
    }

    /// Whether it can be said in this exchange: nothing is added to what was not answered.
    pub(super) fn is_due(self, exchange: &Exchange) -> bool {
        match self {
            Self::Reply => true,
            Self::Supplement => exchange.result.is_some(),
        }
    }

    /// Where it says who says it.
    pub(super) fn speaker(self) -> &'static str {
        match self {
            Self::Reply => "respondedBy",
            Self::Supplement => "suppliedBy",
        }
    }
}
