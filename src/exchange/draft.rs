//! What somebody writes and has not sent: an answer at an agency, an RFI at the hub. It is kept sealed, so that
//! it can be gone on with later, by whoever else is at that desk too. It was not said, so no log tells of it.

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::Gateway;
use crate::message::{AgencyId, EnquiryId, Exchange, Kind, Submission, Target};
use crate::problem::{Problem, ProblemType};
use crate::schema::{Refusal, Violation};
use crate::seal::record::Aside;
use crate::store::{KeptRfiDraft, StoredRfiDraft};

/// What is being written.
pub struct Draft {
    /// Which version of it this is, counted from 1.
    pub version: u64,
    /// It, as whoever kept it wrote it down.
    pub text: Zeroizing<Vec<u8>>,
}

impl Gateway {
    /// What one party writes in this exchange, to become a message of this kind; for that party alone.
    pub async fn draft(
        &self,
        reader: &AgencyId,
        exchange: &Exchange,
        kind: Kind,
    ) -> Result<Option<Draft>, Problem> {
        hold_to_writer(reader, exchange, kind)?;
        let Some(stored) = self.store().draft(&exchange.id, kind).await? else { return Ok(None) };
        let key = self.store().sealed_payload(&exchange.rfi).await?.wrapped_key;
        let aside = Aside::Draft(&exchange.id, kind);
        let text =
            self.sealer.open_aside(&exchange.enquiry, key.as_deref(), aside, &stored.ciphertext)?;
        Ok(Some(Draft { version: stored.version, text }))
    }

    /// Keeps the next version of it, which follows version `follows`: 0 when it is the first. False when
    /// somebody else's came between, which is not written over.
    pub async fn keep_draft(
        &self,
        writer: &AgencyId,
        exchange: &Exchange,
        kind: Kind,
        follows: u64,
        text: &[u8],
    ) -> Result<bool, Problem> {
        hold_to_writer(writer, exchange, kind)?;
        let sealed = self.sealer.seal_aside(exchange, Aside::Draft(&exchange.id, kind), text)?;
        if self.store().keep_draft(&exchange.id, kind, follows, sealed).await? {
            return Ok(true);
        }
        // Or it is asked for again, because the answer to the first time was lost.
        let kept = self.draft(writer, exchange, kind).await?;
        Ok(kept.is_some_and(|kept| kept.version == follows + 1 && *kept.text == text))
    }

    /// Lets this version of it go, which was sent: what somebody at the same desk has kept since stays.
    pub async fn discard_draft(
        &self,
        writer: &AgencyId,
        exchange: &Exchange,
        kind: Kind,
        version: u64,
    ) -> Result<(), Problem> {
        hold_to_writer(writer, exchange, kind)?;
        Ok(self.store().discard_draft(&exchange.id, kind, version).await?)
    }

    /// What the hub is writing to ask, what was kept last first.
    pub async fn rfi_drafts(
        &self,
        hub: &AgencyId,
        limit: usize,
    ) -> Result<Vec<KeptRfiDraft>, Problem> {
        Ok(self.store().rfi_drafts(hub, limit).await?)
    }

    /// One of these, for this hub alone.
    pub async fn rfi_draft(&self, hub: &AgencyId, id: &EnquiryId) -> Result<Draft, Problem> {
        let stored = self.stored_rfi_draft(hub, id).await?;
        let (key, aside) = (Some(&*stored.wrapped_key), Aside::RfiDraft(id));
        let text = self.sealer.open_aside(id, key, aside, &stored.ciphertext)?;
        Ok(Draft { version: stored.version, text })
    }

    /// Keeps the first version of one; returns under what. A key is made for it, which is destroyed when it is
    /// sent or let go.
    pub async fn begin_rfi_draft(
        &self,
        hub: &AgencyId,
        text: &[u8],
        now: Timestamp,
    ) -> Result<EnquiryId, Problem> {
        let id = EnquiryId::new(now);
        let (key, sealed) = self.sealer.seal_rfi_draft(id, text);
        self.store().begin_rfi_draft(hub, key, sealed, now).await?;
        Ok(id)
    }

    /// Keeps the next version of one, which follows version `follows`. False when somebody else's came between,
    /// which is not written over.
    pub async fn keep_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        follows: u64,
        text: &[u8],
        now: Timestamp,
    ) -> Result<bool, Problem> {
        let stored = self.stored_rfi_draft(hub, id).await?;
        let sealed = self.sealer.seal_rfi_draft_again(id, &stored, text).map_err(|error| {
            Problem::new(ProblemType::Internal, "What was written could not be sealed.")
                .because(error)
        })?;
        if self.store().keep_rfi_draft(hub, id, follows, sealed, now).await? {
            return Ok(true);
        }
        // Or it is asked for again, because the answer to the first time was lost.
        let kept = self.rfi_draft(hub, id).await?;
        Ok(kept.version == follows + 1 && *kept.text == text)
    }

    /// Lets this version of one go, which was sent or is not wanted: what somebody has kept since stays.
    pub async fn discard_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
        version: u64,
    ) -> Result<(), Problem> {
        Ok(self.store().discard_rfi_draft(hub, id, version).await?)
    }

    async fn stored_rfi_draft(
        &self,
        hub: &AgencyId,
        id: &EnquiryId,
    ) -> Result<StoredRfiDraft, Problem> {
        self.store().rfi_draft(hub, id).await?.ok_or_else(super::not_found)
    }

    /// What a submission would be refused for by its schema and the rules. Nothing is sent; that there is nothing
    /// does not say that it will be accepted.
    pub async fn examine(
        &self,
        new: Submission,
        now: Timestamp,
    ) -> Result<Vec<Violation>, Problem> {
        let exchange = match new.target {
            Target::Exchange(id, _) => Some(self.exchange(&new.sender, &id).await?),
            Target::Rfis | Target::Test(_) => None,
        };
        let valid = match self.schemas.check(new, exchange, now) {
            Err(Refusal::Violations(violations)) => return Ok(violations),
            checked => checked?,
        };
        match self.hold_to_its_basis(&valid) {
            Err(problem) if !problem.errors.is_empty() => Ok(problem.errors),
            held => held.map(|()| Vec::new()),
        }
    }
}

// Whose it is to say it. Nobody else learns that anything is being written.
fn hold_to_writer(writer: &AgencyId, exchange: &Exchange, kind: Kind) -> Result<(), Problem> {
    let whose = match kind {
        Kind::Transcription => &exchange.hub,
        _ => &exchange.agency,
    };
    if whose == writer { Ok(()) } else { Err(super::not_found()) }
}
