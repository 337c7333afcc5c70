//! What belongs to an exchange and is no message of it: sealed to the enquiry's key, and bound to what it is.

use std::iter;

use zeroize::Zeroizing;

use super::{
    InvalidRecipient, OpenError, SealError, Sealer, decrypt, encrypt, parse_recipient, unwrap_key,
};
use crate::message::{EnquiryId, Exchange, ExchangeId, Kind, MessageId};
use crate::store::{NewEnquiry, StoredRfiDraft};

/// What such a thing is; it is opened as nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aside<'a> {
    /// What somebody writes in this exchange, to become a message of this kind.
    Draft(&'a ExchangeId, Kind),
    /// What somebody at the hub writes to ask; the enquiry is that under whose id it is kept.
    RfiDraft(&'a EnquiryId),
    /// What a recipient says of where this message is in its own record.
    SavedRecord(&'a MessageId),
}

impl Aside<'_> {
    fn header(self) -> String {
        match self {
            Self::Draft(exchange, kind) => {
                format!("mash-draft/v1 {exchange} {}\n", kind.as_str())
            }
            Self::RfiDraft(id) => format!("mash-rfi-draft/v1 {id}\n"),
            Self::SavedRecord(message) => format!("mash-saved/v1 {message}\n"),
        }
    }
}

impl Sealer {
    /// Seals what is said there to the enquiry's key: it can hold personal data, and is destroyed with the
    /// enquiry.
    pub fn seal_aside(
        &self,
        exchange: &Exchange,
        aside: Aside<'_>,
        said: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let recipient = parse_recipient(&exchange.sealing_recipient)
            .map_err(|InvalidRecipient| SealError::EnquiryRecipient(exchange.id))?;
        Ok(encrypt(iter::once(&recipient), &[aside.header().as_bytes(), said]))
    }

    /// Seals the first version of an RFI that is being written, to a key that is made for it.
    pub fn seal_rfi_draft(&self, id: EnquiryId, text: &[u8]) -> (NewEnquiry, Vec<u8>) {
        let (key, recipient) = self.new_enquiry(id);
        let header = Aside::RfiDraft(&id).header();
        (key, encrypt(iter::once(&recipient), &[header.as_bytes(), text]))
    }

    /// Seals a later version of it, to the same key.
    pub fn seal_rfi_draft_again(
        &self,
        id: &EnquiryId,
        draft: &StoredRfiDraft,
        text: &[u8],
    ) -> Result<Vec<u8>, InvalidRecipient> {
        let recipient = parse_recipient(&draft.recipient)?;
        let header = Aside::RfiDraft(id).header();
        Ok(encrypt(iter::once(&recipient), &[header.as_bytes(), text]))
    }

    /// Opens that again, with the enquiry's wrapped key.
    pub fn open_aside(
        &self,
        enquiry: &EnquiryId,
        wrapped_key: Option<&[u8]>,
        aside: Aside<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let wrapped_key = wrapped_key.ok_or(OpenError::Purged)?;
        let enquiry_key = unwrap_key(&self.identities.0, enquiry, wrapped_key)?;
        let mut opened = decrypt([&enquiry_key], sealed)?;
        let header = aside.header();
        if !opened.starts_with(header.as_bytes()) {
            return Err(OpenError::HeaderMismatch);
        }
        opened.drain(..header.len());
        Ok(opened)
    }
}
