//! Messages that no endpoint took and that went back to their senders: which, why, since when, and what to
//! type. Never what is in them.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::agencies::may;
use super::office::Office;
use super::page::{Frame, page};
use super::requests::Moment;
use super::visitor::Visitor;
use super::{ROWS, words};
use crate::audit::entry::Fields;
use crate::directory::permission::Action;
use crate::message::AgencyId;
use crate::problem::Problem;
use crate::store::DeadLetter;

/// Messages that were returned and not collected since.
#[derive(Template)]
#[template(path = "desk/letters.html")]
struct LettersPage {
    frame: Frame,
    title: &'static str,
    as_of: Moment,
    of: usize,
    rows: Vec<Row>,
    may_type: bool,
}

struct Row {
    message: String,
    kind: &'static str,
    reference: String,
    sender: String,
    agency: String,
    recipient: String,
    since: Option<Moment>,
    why: String,
}

/// Lists them, in the order they were returned.
pub(super) async fn list(
    State(office): State<Office>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let gateway = &office.api.gateway;
    let letters = gateway.store().dead_letters(None).await?;
    let directory = gateway.directory();
    let name = |id: &AgencyId| directory.name(id).unwrap_or_default().to_owned();
    let row = |letter: &DeadLetter| {
        let envelope = &letter.envelope;
        let fields = letter.fields.as_deref().and_then(Fields::parse);
        let get = |name| fields.as_ref().and_then(|fields| fields.get(name));
        Row {
            message: envelope.id.to_string(),
            kind: words::kind(envelope.kind),
            reference: envelope.reference.to_string(),
            sender: name(&envelope.sender),
            agency: envelope.recipient.to_string(),
            recipient: name(&envelope.recipient),
            since: get("time").and_then(|time| time.parse().ok()).map(Moment::of),
            why: get("code").map_or_else(|| "Not known any more".to_owned(), words::code),
        }
    };
    let template = LettersPage {
        frame: Frame::of(gateway, Some(&visitor)),
        title: "Dead letters",
        as_of: Moment::of(visitor.at()),
        of: letters.len(),
        rows: letters.iter().take(ROWS).map(row).collect(),
        may_type: may(&office, &visitor, Action::RevokeCertificate),
    };
    page(StatusCode::OK, &template)
}
