//! The log, for whoever sees to it that it is right: how it stands, and what it has of one request. Each sees
//! what the partner API would show them: the words of entries in which their agency is named.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::agencies::may;
use super::form::{Answer, Question};
use super::office::Office;
use super::page::{Frame, page};
use super::requests::Moment;
use super::visitor::Visitor;
use super::words;
use crate::audit::entry::Fields;
use crate::directory::Directory;
use crate::directory::permission::Action;
use crate::http::api::Query;
use crate::message::{AgencyId, Kind, Reference, Role};
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;
use crate::store::StoredEntry;

/// The log.
#[derive(Template)]
#[template(path = "desk/log.html")]
struct LogPage {
    frame: Frame,
    title: &'static str,
    as_of: Moment,
    questions: Vec<Question>,
    elsewhere: Vec<Violation>,
    /// What was looked for and found.
    found: Option<(String, Vec<Entry>)>,
    size: u64,
    latest: Option<Moment>,
    checkpoint: String,
    witnesses: Vec<(String, u64, Moment)>,
    /// How many entries were looked at again since the start, and how many are damaged: for the hub.
    looked_at: Option<(u64, u64)>,
    is_halted: bool,
    is_disproved: bool,
}

impl LogPage {
    fn is_wrong(&self) -> bool {
        self.questions.iter().any(|question| question.error.is_some())
    }
}

/// One entry, as far as the reader may see it.
struct Entry {
    index: u64,
    shown: Option<Shown>,
}

struct Shown {
    at: Moment,
    what: String,
    kind: Option<&'static str>,
    who: String,
    role: Option<&'static str>,
    /// What it says besides, in the log's own codes.
    code: Option<String>,
    message: Option<String>,
}

impl Entry {
    fn of(entry: &StoredEntry, reader: &AgencyId, directory: &Directory) -> Self {
        let fields = entry.fields.as_deref().and_then(Fields::parse);
        let is_readers = |fields: &Fields| fields.parties().any(|party| party == reader.as_str());
        let shown = fields.filter(is_readers).and_then(|fields| {
            let text = |name| fields.get(name).map(str::to_owned);
            let name = |field| {
                let id = AgencyId::parse(fields.get(field)?).ok()?;
                Some(directory.name(&id).map_or_else(|| id.to_string(), str::to_owned))
            };
            let who = match (name("sender"), name("recipient")) {
                (Some(sender), Some(recipient)) => format!("{sender} to {recipient}"),
                (one, other) => one.or(other).or_else(|| name("agency")).unwrap_or_default(),
            };
            Some(Shown {
                at: Moment::exact(fields.get("time")?.parse().ok()?),
                what: words::code(fields.get("event")?),
                kind: fields.get("kind").and_then(Kind::parse).map(words::kind),
                who,
                role: fields.get("desk").and_then(Role::parse).map(Role::title),
                code: text("code").or_else(|| text("problem")).or_else(|| text("reason")),
                message: text("message"),
            })
        });
        Self { index: entry.index, shown }
    }
}

/// Of which request.
#[derive(Deserialize)]
pub(super) struct Wanted {
    reference: Option<String>,
}

/// Shows how the log stands, and what it has of the request that was asked for.
pub(super) async fn log(
    State(office): State<Office>,
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let gateway = &office.api.gateway;
    let typed = wanted.reference.unwrap_or_default();
    let typed = typed.trim();
    let mut status = StatusCode::OK;
    let (mut found, mut error) = (None, None);
    if !typed.is_empty() {
        match entries(&office, &visitor, typed).await {
            Ok(entries) => found = Some((typed.to_uppercase(), entries)),
            Err(problem) if problem.kind == ProblemType::NotFound => {
                status = StatusCode::NOT_FOUND;
                error = Some(NOT_FOUND.to_owned());
            }
            Err(problem) => return Err(problem),
        }
    }
    let value = typed.to_owned();
    let question = Question {
        error,
        ..Question::new(
            "reference",
            "/reference",
            "Find what is logged of a request, by its reference",
            Answer::Line { value, autocomplete: "", kind: "text" },
        )
        .with_hint("Like RFI-2026-000001-H.")
    };
    let head = gateway.head().await?;
    let sees_machine = may(&office, &visitor, Action::SeeAgencies);
    let cosigned = gateway.store().last_cosigned().await?;
    let template = LogPage {
        frame: Frame::of(gateway, Some(&visitor)),
        title: "The log",
        as_of: Moment::of(visitor.at()),
        questions: vec![question],
        elsewhere: Vec::new(),
        found,
        size: head.size,
        latest: gateway.ledger().latest().map(Moment::of),
        checkpoint: head.note.to_string(),
        witnesses: cosigned
            .into_iter()
            .map(|one| (one.witness, one.size, Moment::of(one.at)))
            .collect(),
        looked_at: sees_machine.then(|| office.api.metrics.looked_at()),
        is_halted: gateway.ledger().is_halted(),
        is_disproved: gateway.is_disproved(),
    };
    page(status, &template)
}

async fn entries(office: &Office, visitor: &Visitor, typed: &str) -> Result<Vec<Entry>, Problem> {
    let not_found = |_| Problem::new(ProblemType::NotFound, NOT_FOUND);
    let reference = Reference::parse(&typed.to_uppercase()).map_err(not_found)?;
    let gateway = &office.api.gateway;
    let exchange = gateway.exchange_by_reference(visitor.agency(), &reference).await?;
    let timeline = gateway.timeline(visitor.agency(), &exchange.id).await?;
    let directory = gateway.directory();
    // The latest: what is read again and again has an entry for each time.
    let latest = timeline.iter().skip(timeline.len().saturating_sub(ENTRIES));
    Ok(latest.map(|entry| Entry::of(entry, visitor.agency(), &directory)).collect())
}

/// As many as a page can have and stay small.
const ENTRIES: usize = 100;

/// Nobody learns from this whether there is such a request of somebody else's.
const NOT_FOUND: &str = "Check the reference: your agency has no request of that name";
