//! What of an exchange, and of what is around it, the page of one thing that is said is made of.

use std::ops::Deref;

use serde_json::Value;

use super::said::Saying;
use super::visitor::Visitor;
use super::words;
use crate::directory::AgencyKind;
use crate::http::api::Api;
use crate::http::view::fields_object;
use crate::message::{Exchange, Kind};
use crate::problem::Problem;
use crate::store::StoredEntry;

/// The exchange in which something is said, and what of it some pages need.
pub(super) struct Around {
    exchange: Exchange,
    /// To which agencies it can go, by id and name, where it goes to another than the one asked.
    pub(super) recipients: Vec<(String, String)>,
    /// The messages that it can be about, by id and in words, where it is not about the request.
    pub(super) messages: Vec<(String, String)>,
    /// The people of the request, who can be told of.
    pub(super) persons: Vec<Value>,
}

impl Deref for Around {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl Around {
    /// What a page that says this in this exchange needs.
    pub(super) async fn of(
        saying: &Saying,
        api: &Api,
        visitor: &Visitor,
        exchange: Exchange,
    ) -> Result<Self, Problem> {
        let directory = api.gateway.directory();
        let of_kind = |kind| {
            let partners = directory.all().filter(|partner| partner.kind == kind);
            partners.map(|partner| (partner.id.to_string(), partner.name.clone())).collect()
        };
        let mut around =
            Self { exchange, recipients: Vec::new(), messages: Vec::new(), persons: Vec::new() };
        match saying.kind {
            Kind::Forwarding => {
                around.recipients = of_kind(AgencyKind::ChildrensSocialCare);
                let is_answer =
                    |kind| matches!(kind, Kind::Response | Kind::Supplement | Kind::Transcription);
                around.messages = messages(api, visitor, &around.exchange, is_answer).await?;
            }
            Kind::Incident => {
                around.messages = messages(api, visitor, &around.exchange, |_| true).await?;
            }
            Kind::StepDown => {
                around.recipients = of_kind(AgencyKind::EarlyHelp);
                around.persons = persons(api, visitor, &around.exchange).await?;
            }
            Kind::SubjectAccessConsultation => {
                around.persons = persons(api, visitor, &around.exchange).await?;
            }
            _ => {}
        }
        Ok(around)
    }
}

/// The people of a request, whom the hub tells of: each reading an entry.
pub(super) async fn persons(
    api: &Api,
    visitor: &Visitor,
    exchange: &Exchange,
) -> Result<Vec<Value>, Problem> {
    let (reader, role) = (visitor.agency(), Some(visitor.role()));
    let certificate = visitor.certificate();
    api.gateway.persons_asked(reader, certificate, role, exchange, visitor.at()).await
}

// What was said in an exchange, of these kinds, by id and in words.
async fn messages(
    api: &Api,
    visitor: &Visitor,
    exchange: &Exchange,
    is_wanted: fn(Kind) -> bool,
) -> Result<Vec<(String, String)>, Problem> {
    let timeline = api.gateway.timeline(visitor.agency(), &exchange.id).await?;
    let said = |entry: &StoredEntry| {
        let fields = fields_object(entry);
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = Kind::parse(text("kind")).filter(|kind| is_wanted(*kind))?;
        let said = format!("{}, {}", words::kind(kind), words::time_in(text("time")));
        (text("event") == "accepted").then(|| (text("message").to_owned(), said))
    };
    Ok(timeline.iter().filter_map(said).collect())
}
