//! All that was written, to be looked at before it is sent, and the sending of it.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, get};

use super::parts::{self, Part};
use super::{Reply, What, instead, message_in, overtaken, version};
use crate::http::api::{Api, Path, submitted};
use crate::http::desk::form::{Form, Question, mark};
use crate::http::desk::message::Fact;
use crate::http::desk::page::{Frame, page, see};
use crate::http::desk::said;
use crate::http::desk::visitor::Visitor;
use crate::message::Party;
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;

/// The page on which all of it is looked at, and where it is sent.
pub(in crate::http::desk) fn last(what: What) -> MethodRouter<Api> {
    get(move |api: State<Api>, visitor: Visitor, name: Path<String>| {
        check(what, api, visitor, name)
    })
    .post(move |api: State<Api>, visitor: Visitor, name: Path<String>, form: Form| {
        send(what, api, visitor, name, form)
    })
}

/// All that will be sent, to be looked at before it is.
#[derive(Template)]
#[template(path = "desk/check.html")]
struct CheckPage {
    frame: Frame,
    title: String,
    noun: &'static str,
    path: String,
    /// Whom it goes to, by name and as what.
    to: String,
    whom: &'static str,
    sections: Vec<Section>,
    version: u64,
}

struct Section {
    title: String,
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
async fn check(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let violations = reply.examine(&api, &visitor).await?;
    checked(&api, &visitor, &reply, violations)
}

fn checked(
    api: &Api,
    visitor: &Visitor,
    reply: &Reply,
    violations: Vec<Violation>,
) -> Result<Response, Problem> {
    let body = reply.complete();
    let path = reply.path();
    let mut left = violations;
    let mut sections = Vec::new();
    for part in reply.parts() {
        let mut questions = reply.questions(api, visitor, part);
        left = mark(&mut questions, left);
        if part == Part::CannotShare && body.get("cannotShare").is_none() {
            continue;
        }
        sections.push(Section {
            title: part.title(&reply.exchange),
            to: format!("{path}/{}", part.name(&reply.exchange)),
            facts: questions.iter().filter_map(Question::answered).collect(),
            errors: questions.into_iter().filter_map(|question| question.error).collect(),
        });
    }
    // What no question asks about is the last one's to tell: nothing is left unsaid.
    if let Some(last) = sections.last_mut() {
        last.errors.extend(left.into_iter().map(|violation| violation.message));
    }
    let directory = api.gateway.directory();
    let (to, whom) = match reply.what.by() {
        Party::Agency => (&reply.exchange.hub, "hub"),
        Party::Hub => (&reply.exchange.agency, "agency"),
    };
    let template = CheckPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: format!("Check your {} before you send it", reply.what.noun()),
        noun: reply.what.noun(),
        to: directory.name(to).unwrap_or_default().to_owned(),
        whom,
        path,
        sections,
        version: reply.version,
    };
    let status = match template.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    page(status, &template)
}

/// Sends it: as every answer is sent, once, however often the button is pressed.
async fn send(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Problem> {
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    // Pressed twice: it was sent, and the draft is gone.
    if reply.version == 0 && reply.exchange.result.is_some() {
        return Ok(see(&reply.home().to));
    }
    // What is sent is what was looked at.
    if reply.version != version(&form) {
        return overtaken(&api, &visitor, &reply);
    }
    if let Some(unconfirmed) = parts::unconfirmed(&reply) {
        return checked(&api, &visitor, &reply, vec![unconfirmed]);
    }
    let answer = match submitted(&api, reply.submission(&visitor)?, visitor.at()).await {
        Err(problem) if problem.kind == ProblemType::Schema => {
            return checked(&api, &visitor, &reply, problem.errors);
        }
        answer => answer?,
    };
    let (writer, kind) = (visitor.agency(), what.kind());
    let discarded = api.gateway.discard_draft(writer, &reply.exchange, kind, reply.version).await;
    if let Err(problem) = discarded {
        // It was sent: that is what counts, and what the sender is told.
        tracing::warn!(problem.internal = problem.internal, "a draft that was sent is still kept");
    }
    let message = message_in(&answer.body)?;
    Ok(see(&said::said_in(&reply.exchange, what.by(), &message)))
}
