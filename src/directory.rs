//! The directory of agencies: who may send what to whom, and where it goes.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::message::{
    AgencyId, EnquiryId, Exchange, ExchangeId, IdempotencyKey, Kind, MessageId, Priority,
    Reference, Said, Target,
};

/// A valid submission whose sender may send it and whose recipients can be reached.
pub struct Routed {
    pub(crate) sender: AgencyId,
    pub(crate) idempotency_key: IdempotencyKey,
    pub(crate) target: Target,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// The enquiry that is opened, for an RFI.
    pub(crate) opens: Option<EnquiryId>,
    pub(crate) messages: Vec<RoutedMessage>,
}

/// One message to one agency.
pub(crate) struct RoutedMessage {
    pub(crate) id: MessageId,
    pub(crate) kind: Kind,
    pub(crate) enquiry: EnquiryId,
    pub(crate) exchange: ExchangeId,
    pub(crate) reference: Reference,
    pub(crate) sender: AgencyId,
    pub(crate) recipient: AgencyId,
    pub(crate) time: Timestamp,
    pub(crate) priority: Priority,
    pub(crate) handling: Option<String>,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) traceparent: Option<String>,
    /// What is to be sealed.
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    /// SHA-256 of the schema the plaintext satisfies, sealed in with it.
    pub(crate) schema_digest: [u8; 32],
    /// To whom it is sealed besides the enquiry's key.
    pub(crate) custody: Custody,
    /// Age recipients the agency registered.
    pub(crate) age_recipients: Vec<String>,
    /// Whether the recipient's first endpoint is a push.
    pub(crate) is_pushed: bool,
    pub(crate) step: RoutedStep,
}

/// What a routed message does to its exchange.
pub(crate) enum RoutedStep {
    /// Opens it; the sealing recipient is still to be made.
    Open { categories: Vec<String>, persons: Vec<String>, response_required_by: Timestamp },
    /// Is said in it.
    Say { said: Said, exchange: Box<Exchange> },
}

/// Who can open what is sealed for an agency.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Custody {
    /// Only the agency's own age recipients.
    Agency,
    /// The gateway, and the agency's recipients if it registered any.
    Gateway,
}
