//! What a recipient says of its own record: sealed to the enquiry's key, and bound to the message it is of.

use std::iter;

use zeroize::Zeroizing;

use super::{
    InvalidRecipient, OpenError, SealError, Sealer, decrypt, encrypt, parse_recipient, unwrap_key,
};
use crate::message::{Envelope, Exchange, MessageId};

impl Sealer {
    /// Seals what a recipient says of where this message is in its own record, to the enquiry's key: it
    /// can hold personal data, and is destroyed with the enquiry.
    pub fn seal_record(
        &self,
        exchange: &Exchange,
        message: &MessageId,
        said: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let recipient = parse_recipient(&exchange.sealing_recipient)
            .map_err(|InvalidRecipient| SealError::EnquiryRecipient(exchange.id))?;
        let header = record_header(message);
        Ok(encrypt(iter::once(&recipient), &[header.as_bytes(), said]))
    }

    /// Opens that again.
    pub fn open_record(
        &self,
        envelope: &Envelope,
        wrapped_key: Option<&[u8]>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let wrapped_key = wrapped_key.ok_or(OpenError::Purged)?;
        let enquiry_key = unwrap_key(&self.identities.0, &envelope.enquiry, wrapped_key)?;
        let mut opened = decrypt([&enquiry_key], sealed)?;
        let header = record_header(&envelope.id);
        if !opened.starts_with(header.as_bytes()) {
            return Err(OpenError::HeaderMismatch);
        }
        opened.drain(..header.len());
        Ok(opened)
    }
}

fn record_header(message: &MessageId) -> String {
    format!("mash-saved/v1 {message}\n")
}
