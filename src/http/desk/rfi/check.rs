//! All that will be asked, to be looked at before it is; and that it was.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::parts::{self, Part};
use super::{Rfi, overtaken, people, recipients, version};
use crate::http::api::{Api, Path, no_such_thing, parse, submitted};
use crate::http::desk::form::{Form, Question, mark, text};
use crate::http::desk::message::{Fact, facts};
use crate::http::desk::page::{Frame, Link, page, see};
use crate::http::desk::requests::Moment;
use crate::http::desk::visitor::Visitor;
use crate::message::{EnquiryId, rfc3339};
use crate::problem::{Problem, ProblemType};
use crate::rule::ages;
use crate::schema::Violation;
use crate::timer::Timer;

/// What will be sent.
#[derive(Template)]
#[template(path = "desk/rfi/check.html")]
struct CheckPage {
    frame: Frame,
    title: &'static str,
    path: String,
    sections: Vec<Section>,
    /// What a person has to look at, and nothing depends on.
    warnings: Vec<&'static str>,
    agencies: Vec<String>,
    version: u64,
    /// When it is asked: so that a button pressed twice asks once.
    asked_at: String,
}

struct Section {
    title: &'static str,
    to: String,
    facts: Vec<Fact>,
    errors: Vec<String>,
}

impl CheckPage {
    fn is_ready(&self) -> bool {
        self.sections.iter().all(|section| section.errors.is_empty())
    }
}

/// Shows it.
pub(in crate::http::desk) async fn check(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let rfi = Rfi::find(&api, &visitor, &id).await?;
    let violations = rfi.examine(&api, &visitor).await?;
    checked(&api, &visitor, &rfi, violations)
}

fn checked(
    api: &Api,
    visitor: &Visitor,
    rfi: &Rfi,
    violations: Vec<Violation>,
) -> Result<Response, Problem> {
    let directory = api.gateway.directory();
    let mut sections = Vec::new();
    let parts = rfi.parts(&violations);
    let mut left = violations;
    for part in parts {
        let mut questions = parts::questions(rfi, part, visitor.at());
        left = mark(&mut questions, left);
        let shown = match part {
            Part::People => people_facts(rfi),
            Part::Recipients => {
                let reasons = rfi.recipients().iter().map(|chosen| {
                    Fact::new(recipients::name(chosen, &directory), text(chosen, "/why"))
                });
                reasons.collect()
            }
            Part::Override => facts(&rfi.document()["rfi"]["override"])
                .into_iter()
                .filter(|fact| fact.text != "null")
                .collect(),
            Part::NotTold if !part.is_begun(rfi) => continue,
            _ => questions.iter().filter_map(Question::answered).collect(),
        };
        sections.push(Section {
            title: part.title(),
            to: format!("{}/{}", rfi.path(), part.name()),
            facts: shown,
            errors: questions.into_iter().filter_map(|question| question.error).collect(),
        });
    }
    // What no question asks about is the last one's to tell: nothing is left unsaid.
    if let Some(last) = sections.last_mut() {
        last.errors.extend(left.into_iter().map(|violation| violation.message));
    }
    let asked_at = rfc3339(visitor.at());
    let document = rfi.complete(Some(&asked_at));
    let warnings = ages::warnings(document.to_string().as_bytes());
    let template = CheckPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: "Check the request before you send it",
        path: rfi.path(),
        sections,
        warnings: warnings.iter().map(|warning| warning.message).collect(),
        agencies: rfi.recipients().iter().map(|to| recipients::name(to, &directory)).collect(),
        version: rfi.version,
        asked_at,
    };
    let status = match template.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    page(status, &template)
}

fn people_facts(rfi: &Rfi) -> Vec<Fact> {
    let people = rfi.people().iter().zip(people::links(rfi));
    people
        .map(|(person, link)| {
            let said: Vec<_> = facts(person)
                .into_iter()
                .map(|fact| format!("{}: {}", fact.label, fact.text))
                .collect();
            Fact::new(link.label, said.join("\n"))
        })
        .collect()
}

/// Sends it: to each agency or to none, once, however often the button is pressed.
pub(in crate::http::desk) async fn send(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
    form: Form,
) -> Result<Response, Problem> {
    let rfi = match Rfi::find(&api, &visitor, &id).await {
        Err(problem) if problem.kind == ProblemType::NotFound => {
            // Pressed twice: it was sent, and what was written is gone.
            let detail = "This request is not being written any more: it was sent, or let go. If it was \
                          sent, it stands on the board.";
            return Err(Problem::new(ProblemType::NotFound, detail));
        }
        found => found?,
    };
    // What is sent is what was looked at, and not long ago.
    if rfi.version != version(&form) {
        return overtaken(&api, &visitor, &rfi);
    }
    let asked_at = form.one("asked-at").unwrap_or_default();
    let is_recent = asked_at.parse::<Timestamp>().is_ok_and(|asked| {
        asked <= visitor.at() && visitor.at().duration_since(asked) <= LOOKED_AT_FOR
    });
    if !is_recent {
        return Ok(see(&format!("{}/check", rfi.path())));
    }
    if let Some(unconfirmed) = rfi.unconfirmed() {
        return checked(&api, &visitor, &rfi, vec![unconfirmed]);
    }
    let answer = match submitted(&api, rfi.submission(&visitor, asked_at)?, visitor.at()).await {
        Err(problem) if !problem.errors.is_empty() => {
            return checked(&api, &visitor, &rfi, problem.errors);
        }
        // Sent, and whoever sent it did not learn so: the gateway ended before what was written was let go.
        Err(problem) if problem.kind == ProblemType::IdempotencyKeyReused => {
            let detail = "This request was sent before, as it was written then, and stands on the board. \
                          Nothing was sent now. What is to be asked besides is a new request.";
            return Err(Problem::new(ProblemType::IdempotencyKeyReused, detail));
        }
        answer => answer?,
    };
    let discarded = api.gateway.discard_rfi_draft(visitor.agency(), &rfi.id, rfi.version).await;
    if let Err(problem) = discarded {
        // It was sent: that is what counts, and what the sender is told.
        tracing::warn!(problem.internal = problem.internal, "an RFI that was sent is still kept");
    }
    let answer: Option<Map<String, Value>> = serde_json::from_str(&answer.body).ok();
    let enquiry = answer.as_ref().and_then(|answer| answer.get("enquiry")?.as_str());
    match enquiry {
        Some(enquiry) => Ok(see(&format!("/enquiries/{enquiry}/sent"))),
        None => Err(Problem::new(
            ProblemType::Internal,
            "It was sent, and its receipt was not read. It stands on the board.",
        )),
    }
}

/// That it was sent.
#[derive(Template)]
#[template(path = "desk/rfi/sent.html")]
struct SentPage {
    frame: Frame,
    title: &'static str,
    enquiry: String,
    asked: Vec<Asked>,
}

/// One agency that was asked.
struct Asked {
    agency: String,
    reference: String,
    message: String,
    due: Moment,
    /// The number to ring now, where the answer is needed so soon (R45).
    ring: Option<String>,
    record: Link,
}

/// Shows whom it went to, whom to ring, and the receipts.
pub(in crate::http::desk) async fn sent(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    let exchanges = api.gateway.enquiry(visitor.agency(), &id).await?;
    if exchanges.iter().all(|exchange| exchange.is_test()) {
        return Err(no_such_thing());
    }
    let directory = api.gateway.directory();
    let timers = api.gateway.timers();
    let asked = exchanges.iter().filter(|exchange| !exchange.is_test()).map(|exchange| {
        let partner = directory.get(&exchange.agency);
        let due = timers.due(exchange, visitor.at());
        let is_rung = due.iter().any(|due| due.timer == Timer::Telephone);
        let telephone = partner.and_then(|partner| {
            let officer = partner.contact_officer.as_ref().map(|officer| &officer.telephone);
            partner.telephone.as_ref().or(officer).cloned()
        });
        let reference = &exchange.reference;
        Asked {
            agency: partner.map(|partner| partner.name.clone()).unwrap_or_default(),
            reference: reference.to_string(),
            message: exchange.rfi.to_string(),
            due: Moment::of(exchange.response_required_by),
            ring: is_rung.then(|| telephone.unwrap_or_default()),
            record: Link::new(
                format!("/exchanges/{reference}/telephone"),
                "Record the telephone call",
            ),
        }
    });
    let template = SentPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "The request is sent",
        enquiry: id.to_string(),
        asked: asked.collect(),
    };
    page(StatusCode::OK, &template)
}

/// Somebody who has looked at it longer ago than this looks again.
const LOOKED_AT_FOR: SignedDuration = SignedDuration::from_hours(1);
