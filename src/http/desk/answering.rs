//! The answer to a question that somebody was sent, with the question above it. Either party asks, and either
//! answers.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::form::{Answer, Form, Question, mark, put, text};
use super::message::{Fact, facts, opened};
use super::page::{Frame, page, see};
use super::reply::message_in;
use super::said::{line, put_text, said_in, submission};
use super::visitor::Visitor;
use crate::directory::permission::Action;
use crate::http::api::{Api, Path, no_such_thing, parse, submitted};
use crate::message::{Exchange, IdempotencyKey, Kind, MessageId, Target};
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;

/// What was asked, and what is said to it.
#[derive(Template)]
#[template(path = "desk/answer.html")]
struct AnswerPage {
    frame: Frame,
    title: &'static str,
    id: String,
    reference: String,
    asked: Vec<Fact>,
    questions: Vec<Question>,
    elsewhere: Vec<Violation>,
    key: String,
}

impl AnswerPage {
    fn is_wrong(&self) -> bool {
        !self.elsewhere.is_empty() || self.questions.iter().any(|each| each.error.is_some())
    }
}

/// A question that the visitor's agency was sent.
struct Asked {
    id: MessageId,
    exchange: Exchange,
    data: Value,
}

impl Asked {
    async fn find(api: &Api, visitor: &Visitor, id: &str) -> Result<Self, Problem> {
        let id: MessageId = parse(id)?;
        let stored = api.gateway.received(visitor.agency(), &id).await?;
        if stored.envelope.kind != Kind::Clarification {
            return Err(no_such_thing());
        }
        let exchange = api.gateway.exchange_of(visitor.agency(), &id).await?;
        let data = opened(api, visitor, &id).await?;
        // An answer is not answered; what only the agency's own key opens cannot be shown to be a question.
        match is_question(&data) {
            true => Ok(Self { id, exchange, data }),
            false => Err(no_such_thing()),
        }
    }

    fn page(
        &self,
        api: &Api,
        visitor: &Visitor,
        key: String,
        body: &Value,
        wrong: Vec<Violation>,
    ) -> Result<Response, Problem> {
        let answer = Answer::Text { value: text(body, "/answer") };
        let mut questions = vec![
            Question::new("answer", "/answer", "Your answer", answer),
            line(body, "name", "/from/name", "Your name", "name"),
            line(body, "jobTitle", "/from/jobTitle", "Your job title", "organization-title"),
        ];
        let elsewhere = mark(&mut questions, wrong);
        let template = AnswerPage {
            frame: Frame::of(&api.gateway, Some(visitor)),
            title: "Answer the question",
            id: self.id.to_string(),
            reference: self.exchange.reference.to_string(),
            asked: facts(&self.data),
            questions,
            elsewhere,
            key,
        };
        let status = match template.is_wrong() {
            true => StatusCode::UNPROCESSABLE_ENTITY,
            false => StatusCode::OK,
        };
        page(status, &template)
    }
}

/// Whether this clarification asks something.
pub(super) fn is_question(clarification: &Value) -> bool {
    clarification.get("question").is_some()
}

/// Whether the visitor may answer it.
pub(super) fn may_answer(api: &Api, visitor: &Visitor, kind: Kind, data: &Value) -> bool {
    kind == Kind::Clarification
        && is_question(data)
        && api.gateway.permit(visitor.agency(), Some(visitor.role()), Action::Clarify).is_ok()
}

/// The page, empty.
pub(super) async fn ask(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let asked = Asked::find(&api, &visitor, &id).await?;
    let key = IdempotencyKey::new(visitor.at()).to_string();
    asked.page(&api, &visitor, key, &json!({}), Vec::new())
}

/// Sends it, or shows the page again with what is wrong and all that was filled in.
pub(super) async fn send(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
    form: Form,
) -> Result<Response, Problem> {
    let asked = Asked::find(&api, &visitor, &id).await?;
    let mut body = json!({ "inReplyTo": asked.id });
    // It is about what the question is about.
    put_text(&mut body, "/category", asked.data.get("category").and_then(Value::as_str));
    put(&mut body, "/answer", Some(json!(form.one("answer").unwrap_or_default())));
    put_text(&mut body, "/from/name", form.one("name"));
    put_text(&mut body, "/from/jobTitle", form.one("jobTitle"));
    let key = form.one("key").unwrap_or_default().to_owned();
    let target = Target::Exchange(asked.exchange.id, Kind::Clarification);
    match submitted(&api, submission(&visitor, &key, target, &body)?, visitor.at()).await {
        Ok(answer) => {
            let message = message_in(&answer.body)?;
            let party = asked.exchange.party(visitor.agency()).ok_or_else(no_such_thing)?;
            Ok(see(&said_in(&asked.exchange, party, &message)))
        }
        Err(problem) if problem.kind == ProblemType::Schema => {
            asked.page(&api, &visitor, key, &body, problem.errors)
        }
        Err(problem) => Err(problem),
    }
}
