//! The compiled contract: a body becomes `Valid` here or nowhere.

use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::message::{
    AgencyId, Exchange, IdempotencyKey, Kind, MessageId, Priority, Said, Target,
};

/// A submission whose body satisfies its schema and its rules.
pub struct Valid {
    pub(crate) sender: AgencyId,
    pub(crate) idempotency_key: IdempotencyKey,
    pub(crate) target: Target,
    pub(crate) received_at: Timestamp,
    pub(crate) traceparent: Option<String>,
    /// The body as received, byte for byte.
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) content: Content,
}

/// What a valid body says, as far as routing needs it.
pub(crate) enum Content {
    /// An RFI for one or more agencies.
    Rfi(RfiContent),
    /// Anything said in an exchange that exists.
    Reply(ReplyContent),
}

/// An RFI's parts.
pub(crate) struct RfiContent {
    /// The RFI, to be narrowed to each recipient's categories.
    pub(crate) rfi: Value,
    /// Who is asked, why, and for what.
    pub(crate) recipients: Vec<Recipient>,
    /// Its `personId`s.
    pub(crate) persons: Vec<String>,
    pub(crate) priority: Priority,
    pub(crate) response_required_by: Timestamp,
}

/// One agency to be asked, as the hub named it.
pub struct Recipient {
    /// By id or, for a surgery, by ODS code.
    pub address: Address,
    /// Why this agency is asked (R109).
    pub why: String,
    /// What it is asked for: some or all of the RFI's categories.
    pub categories: Vec<String>,
}

/// How an RFI names its recipient.
pub enum Address {
    /// By its id in the directory.
    Agency(AgencyId),
    /// By its ODS code.
    OdsCode(String),
}

/// A message in an exchange.
pub(crate) struct ReplyContent {
    pub(crate) exchange: Exchange,
    pub(crate) kind: Kind,
    pub(crate) said: Said,
    /// What the family may be told, when the message says so.
    pub(crate) handling: Option<String>,
    pub(crate) in_reply_to: MessageId,
}
