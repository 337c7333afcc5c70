//! What the hub itself asked, read again at its desk: the child first (R10). That it was read is in the log.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::form::text;
use super::message::Fact;
use super::page::{Frame, Link, page};
use super::requests::{Person, people, reason, rests_on, warnings};
use super::visitor::Visitor;
use super::words;
use crate::http::api::{Api, Path, parse};
use crate::message::EnquiryId;
use crate::problem::{Problem, ProblemType};
use crate::schema::Schemas;

/// What was asked.
#[derive(Template)]
#[template(path = "desk/asked.html")]
struct AskedPage {
    frame: Frame,
    title: &'static str,
    back: Link,
    /// Whether there is anything that can be opened.
    is_shown: bool,
    warnings: Vec<String>,
    people: Vec<Person>,
    reason: Vec<Fact>,
    recipients: Vec<Fact>,
    rests_on: Vec<(&'static str, Vec<Fact>)>,
}

/// Shows it. Each agency was sent its own copy, with its own reason: all that can be opened are read.
pub(super) async fn asked(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    let exchanges = api.gateway.enquiry(visitor.agency(), &id).await?;
    let directory = api.gateway.directory();
    let (mut rfi, mut recipients) = (Value::Null, Vec::new());
    for exchange in exchanges.iter().filter(|exchange| !exchange.is_test()) {
        let stored = api.gateway.sent(visitor.agency(), &exchange.rfi).await?;
        let name = directory.name(&exchange.agency).unwrap_or_default();
        if stored.envelope.is_sealed_to_agency {
            recipients.push(Fact::new(name, "Sealed to the agency's own key."));
            continue;
        }
        let (agency, role) = (visitor.agency(), Some(visitor.role()));
        let opened = api
            .gateway
            .reopen(agency, visitor.certificate(), role, &exchange.rfi, visitor.at())
            .await;
        let opened = match opened {
            Err(problem) if problem.kind == ProblemType::Gone => continue,
            opened => opened?,
        };
        let one = Schemas::parse(&opened).map_err(|fault| {
            Problem::new(ProblemType::Internal, "The request could not be read.").because(fault)
        })?;
        let asked = exchange.categories.iter().map(|code| words::category(code).to_owned());
        let asked: Vec<_> = [text(&one, "/whyAsked")].into_iter().chain(asked).collect();
        recipients.push(Fact::new(name, asked.join("\n")));
        rfi = one;
    }
    // The children first, then the adults.
    if let Some(persons) = rfi.pointer_mut("/persons").and_then(Value::as_array_mut) {
        persons.sort_by_key(|person| !text(person, "/kind").ends_with("child"));
    }
    let people = people(&rfi);
    let template = AskedPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "What was asked",
        back: Link::new(format!("/enquiries/{id}"), "Back to the enquiry"),
        is_shown: !rfi.is_null(),
        warnings: warnings(&rfi, &people),
        people,
        reason: reason(&rfi),
        recipients,
        rests_on: rests_on(&rfi),
    };
    page(StatusCode::OK, &template)
}
