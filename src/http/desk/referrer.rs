//! That whoever referred the child was told what was decided (R115): recorded once for an enquiry, by the social
//! worker or by the hub for them.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::form::{Answer, Choice, Form, Question, day_and_time, mark, put, text};
use super::page::{FormPage, Frame, Link, page};
use super::said::{line, put_text};
use super::visitor::Visitor;
use crate::http::api::{Api, Path, parse};
use crate::message::EnquiryId;
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;

/// That it is recorded, and what goes into the child's record.
#[derive(Template)]
#[template(path = "desk/recorded.html")]
struct RecordedPage {
    frame: Frame,
    title: &'static str,
    paragraph: String,
    back: Link,
}

/// The page, empty.
pub(super) async fn ask(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    // There is such an enquiry, and it is this hub's.
    api.gateway.enquiry(visitor.agency(), &id).await?;
    form(&api, &visitor, &id, &json!({}), Vec::new())
}

/// Records it. The paragraph for the child's record is told once, and kept nowhere.
pub(super) async fn record(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
    filled: Form,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    let mut body = json!({});
    put_text(&mut body, "/channel", filled.one("channel"));
    put(&mut body, "/toldAt", Some(json!(filled.instant("at").unwrap_or_default())));
    put_text(&mut body, "/toldBy/name", filled.one("name"));
    put_text(&mut body, "/toldBy/jobTitle", filled.one("jobTitle"));
    let (hub, role, certificate) = (visitor.agency(), Some(visitor.role()), visitor.certificate());
    let bytes = body.to_string().into_bytes();
    let told = api.gateway.tell_referrer(hub, role, certificate, &id, &bytes, visitor.at()).await;
    let told = match told {
        Err(problem) if problem.kind == ProblemType::Schema => {
            return form(&api, &visitor, &id, &body, problem.errors);
        }
        told => told?,
    };
    let template = RecordedPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "It is recorded",
        paragraph: told.text_for_record.to_string(),
        back: back(&id),
    };
    page(StatusCode::CREATED, &template)
}

fn form(
    api: &Api,
    visitor: &Visitor,
    id: &EnquiryId,
    body: &Value,
    wrong: Vec<Violation>,
) -> Result<Response, Problem> {
    let given = text(body, "/channel");
    let channels = [("letter", "By letter"), ("telephone", "By telephone")];
    let channels = channels.map(|(code, label)| Choice::new(code, label, &given)).to_vec();
    let (day, time) = day_and_time(body, "/toldAt");
    let mut questions = vec![
        Question::new("channel", "/channel", "How were they told?", Answer::One(channels)),
        Question::new("at", "/toldAt", "When?", Answer::Instant { day, time })
            .with_hint("Of a letter: when it was sent."),
        line(body, "name", "/toldBy/name", "Who told them?", "name"),
        line(body, "jobTitle", "/toldBy/jobTitle", "Their job title", "organization-title"),
    ];
    let elsewhere = mark(&mut questions, wrong);
    let template = FormPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: "Record that whoever referred the child was told".to_owned(),
        back: back(id),
        paragraphs: vec![
            "Within a working day of the decision that the threshold is not met, whoever referred the child is \
             told so. Who that is is not written here."
                .to_owned(),
        ],
        prompts: Vec::new(),
        questions,
        elsewhere,
        version: None,
        key: None,
        button: "Record it".to_owned(),
        others: &[],
    };
    template.answer()
}

fn back(id: &EnquiryId) -> Link {
    Link::new(format!("/enquiries/{id}"), "Back to the enquiry")
}
