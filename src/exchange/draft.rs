//! What somebody at an agency or the hub writes and has not sent: kept sealed, so that it can be gone on with later, by
//! whoever else is at that desk too. It was not said, so no log tells of it.

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::Gateway;
use crate::message::{AgencyId, Exchange, Kind, Submission, Target};
use crate::problem::Problem;
use crate::schema::{Refusal, Violation};
use crate::seal::record::Aside;

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

    /// What a submission in an exchange would be refused for by its schema and the rules. Nothing is sent;
    /// that there is nothing does not say that it will be accepted.
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
