//! Whoever referred a child is told that the threshold is not met, by letter or telephone, within a working
//! day (R115). The gateway knows nobody's name here: the hub tells them, and says that it has.

use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Gateway;
use crate::audit::entry::Event;
use crate::message::{AgencyId, EnquiryId, ReferrerChannel, Role, rfc3339};
use crate::problem::{Problem, ProblemType};
use crate::rule;
use crate::schema::{Refusal, Violation};
use crate::store::{Applied, Effect};

/// A contact as the hub is told that it is recorded.
pub struct Told {
    /// The entry that says so.
    pub entry: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// A paragraph for the child's record.
    pub text_for_record: Zeroizing<String>,
}

impl Gateway {
    /// Records that whoever referred the child was told, as `body` says; nothing is due of it any more.
    pub async fn tell_referrer(
        &self,
        hub: &AgencyId,
        desk: Option<Role>,
        certificate: Option<&str>,
        id: &EnquiryId,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Told, Problem> {
        let exchanges = self.enquiry(hub, id).await?;
        // Nobody is referred in a test.
        let first = exchanges.first().filter(|exchange| !exchange.is_test());
        let opened_at = first.ok_or_else(super::not_found)?.opened_at;
        let contact = self.schemas().check_referrer_contact(body, now)?;
        let channel = rule::text(&contact, "/channel").and_then(ReferrerChannel::parse);
        let (Some(channel), Some(told_at)) = (channel, rule::instant(&contact, "/toldAt")) else {
            return Err(Problem::new(ProblemType::Internal, "The contact could not be read."));
        };
        if told_at < opened_at {
            return Err(too_early());
        }
        let event = Event::referrer_told(hub, id, channel, told_at);
        let event = event.at_desk(desk).done_with(certificate);
        let effect = Effect::TellReferrer { enquiry: *id, at: told_at };
        match self.ledger().record(&event, now, None, effect).await? {
            Applied::Recorded(logged) => Ok(Told {
                entry: logged.index,
                at: now,
                text_for_record: text_for_record(&contact, channel, logged.index, now),
            }),
            _ => Err(super::not_found()),
        }
    }

    /// When whoever referred the child was told, as the hub says.
    pub async fn referrer_told_at(&self, id: &EnquiryId) -> Result<Option<Timestamp>, Problem> {
        Ok(self.store().referrer_told_at(id).await?)
    }
}

// A slip in the year would end a timer that runs for a child.
fn too_early() -> Problem {
    let violation = Violation {
        pointer: "/toldAt".to_owned(),
        code: "before-the-enquiry".to_owned(),
        message: "Check this time: the enquiry was not made yet. Give the time at which the referrer was \
                  told what came of it."
            .to_owned(),
    };
    Refusal::Violations(vec![violation]).into()
}

fn text_for_record(
    contact: &Value,
    channel: ReferrerChannel,
    entry: u64,
    at: Timestamp,
) -> Zeroizing<String> {
    let text = |pointer| rule::text(contact, pointer).unwrap_or_default();
    let how = match channel {
        ReferrerChannel::Letter => "by letter",
        ReferrerChannel::Telephone => "by telephone",
    };
    Zeroizing::new(format!(
        "The referrer was told {how} that the threshold for a referral to social care is not met: by {} \
         ({}) at {}, recorded at {} (entry {entry} of the gateway's log).",
        text("/toldBy/name"),
        text("/toldBy/jobTitle"),
        text("/toldAt"),
        rfc3339(at),
    ))
}
