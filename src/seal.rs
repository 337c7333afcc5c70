//! Sealing at rest with age: the only module that sees plaintext after validation.

use crate::message::Envelope;
use crate::store::{DeliveryState, IdempotencyToken, NewEnquiry, Step};

/// A submission whose plaintext is gone; digest and ciphertext remain.
pub struct Sealed {
    pub(crate) token: IdempotencyToken,
    pub(crate) enquiry: Option<NewEnquiry>,
    pub(crate) messages: Vec<SealedMessage>,
}

/// One sealed message.
pub(crate) struct SealedMessage {
    pub(crate) envelope: Envelope,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) delivery: DeliveryState,
    pub(crate) step: Step,
}
