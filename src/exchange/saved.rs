//! A recipient says that a message is in its own record, and if it likes where (R114).
//!
//! What finds a record can tell whose it is. So it is sealed to the enquiry's key, shown to nobody but who
//! said it, and known to the log by its digest.

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Gateway, TIMELINE_MAX, hold_to_roles, not_found};
use crate::audit::entry::{Event, EventName, Fields};
use crate::message::{AgencyId, MessageId, Role};
use crate::problem::Problem;
use crate::seal::OpenError;
use crate::seal::record::Aside;
use crate::store::{DeliveryState, Effect, StoredMessage};

/// That a message is in its recipient's own record.
pub struct Saved {
    /// The first entry that says so.
    pub entry: u64,
    /// When that was.
    pub at: Timestamp,
    /// What was said of the record, as JSON.
    pub record: Option<Zeroizing<Vec<u8>>>,
}

impl Gateway {
    /// The recipient says the message is in its own record; `record` is what it says of that. Returns the
    /// first that was said, however often it is: only what was not said before is added.
    pub async fn save(
        &self,
        reader: &AgencyId,
        certificate: Option<&str>,
        desk: Option<Role>,
        id: &MessageId,
        record: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Saved, Problem> {
        let stored = self.own(reader, desk, id).await?;
        if stored.delivery == DeliveryState::Destroyed {
            return Err(OpenError::Purged.into());
        }
        let sealed = match record {
            Some(record) if self.schemas().check_saved_record(record, now)? => {
                let exchange = self.store().exchange(&stored.envelope.exchange).await?;
                Some(self.sealer.seal_aside(&exchange, Aside::SavedRecord(id), record)?)
            }
            Some(_) | None => None,
        };
        if stored.delivery == DeliveryState::Saved && self.is_said(id, sealed.as_deref()).await? {
            return self.first_saved(&stored).await;
        }
        let event = Event::saved(&stored.envelope).in_record(sealed.as_deref());
        let event = event.at_desk(desk).done_with(certificate);
        let is_added = stored.delivery == DeliveryState::Saved;
        let effect = Effect::Save { message: *id, record: sealed.clone() };
        match self.record(&event, now, &stored, effect).await {
            Ok(logged) if !is_added => Ok(Saved { entry: logged.index, at: now, record: None }),
            Ok(_) => self.first_saved(&stored).await,
            // Somebody else at the agency said it at the same time.
            Err(_) if self.is_said(id, sealed.as_deref()).await? && sealed.is_some() => {
                self.first_saved(&stored).await
            }
            Err(problem) => Err(problem),
        }
    }

    /// That a message is in the reader's own record, and what it said of that.
    pub async fn saved(
        &self,
        reader: &AgencyId,
        desk: Option<Role>,
        id: &MessageId,
    ) -> Result<Saved, Problem> {
        let stored = self.own(reader, desk, id).await?;
        let saved = self.first_saved(&stored).await?;
        let record = match self.store().saved_record(id).await? {
            None => None,
            Some(sealed) => {
                let key = self.store().sealed_payload(id).await?.wrapped_key;
                let (enquiry, aside) = (&stored.envelope.enquiry, Aside::SavedRecord(id));
                Some(self.sealer.open_aside(enquiry, key.as_deref(), aside, &sealed)?)
            }
        };
        Ok(Saved { record, ..saved })
    }

    // A message that the reader was sent, and may see.
    async fn own(
        &self,
        reader: &AgencyId,
        desk: Option<Role>,
        id: &MessageId,
    ) -> Result<StoredMessage, Problem> {
        let stored = self.received(reader, id).await?;
        hold_to_roles(&stored.envelope, desk)?;
        Ok(stored)
    }

    // Whether nothing is said now that was not said before.
    async fn is_said(&self, id: &MessageId, sealed: Option<&[u8]>) -> Result<bool, Problem> {
        Ok(sealed.is_none() || self.store().saved_record(id).await?.is_some())
    }

    async fn first_saved(&self, stored: &StoredMessage) -> Result<Saved, Problem> {
        let message = stored.envelope.id.to_string();
        let timeline = self.store().timeline(&stored.envelope.exchange, TIMELINE_MAX).await?;
        let first = timeline.iter().find_map(|entry| {
            let fields = Fields::parse(entry.fields.as_deref()?)?;
            let is_it = fields.get("event") == Some(EventName::Saved.as_str())
                && fields.get("message") == Some(&message);
            let at = fields.get("time")?.parse().ok()?;
            is_it.then_some(Saved { entry: entry.index, at, record: None })
        });
        first.ok_or_else(not_found)
    }
}
