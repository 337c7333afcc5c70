//! The reply to a request, and what is added to it later, as a list of tasks that can be done in any order and
//! over several days: each category, on what basis, what the family may be told, who answers. What is written
//! is kept sealed until it is sent; then it goes the way of every answer.

mod check;
mod files;
mod parts;
mod what;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::enquiries;
use super::form::{Form, Question, mark};
use super::message::{Fact, facts, opened};
use super::page::{FormPage, Frame, Link, page, see};
use super::requests::{find_opened, people};
use super::visitor::Visitor;
use super::{around, said};
use crate::http::api::{Api, Path};
use crate::message::{Exchange, IdempotencyKey, MessageId, Party, Submission, Target};
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;
pub(super) use check::last;
pub(super) use files::{FILES, files, without};
use parts::Part;
pub(super) use what::What;

/// What is written so far.
#[derive(Deserialize, Serialize)]
struct Writing {
    /// The key under which it will be sent: one for each draft, so that what is sent twice is one answer.
    key: String,
    /// Those whom the request is about: by what the answer refers to them, and by name.
    people: Vec<(String, String)>,
    /// The answer, its categories by their codes.
    body: Value,
    /// Whether somebody has looked at on what basis it is shared, and saved it: what agencies of a kind usually
    /// rely on is nobody's word yet.
    is_basis_theirs: bool,
}

/// A reply that is being written, or something else that is written so, and in what.
struct Reply {
    what: What,
    exchange: Exchange,
    writing: Writing,
    /// Which version it is; 0 before the first is kept.
    version: u64,
}

impl Reply {
    /// What the visitor's agency has written in this exchange, or the beginning of it. None where the request
    /// was not opened yet, or it is too early to say this.
    async fn find(
        what: What,
        api: &Api,
        visitor: &Visitor,
        name: &str,
    ) -> Result<Option<Self>, Problem> {
        let found = match what.by() {
            Party::Agency => find_opened(api, visitor, name).await?,
            Party::Hub => Some(enquiries::find(api, visitor, name).await?),
        };
        let Some(exchange) = found.filter(|exchange| what.is_due(exchange)) else {
            return Ok(None);
        };
        let draft = api.gateway.draft(visitor.agency(), &exchange, what.kind()).await?;
        if let Some(draft) = draft {
            let writing = serde_json::from_slice(&draft.text).map_err(|error| {
                let detail = "What was written so far could not be read.";
                Problem::new(ProblemType::Internal, detail).because(error)
            })?;
            return Ok(Some(Self { what, exchange, writing, version: draft.version }));
        }
        let rfi = match what.by() {
            Party::Agency => opened(api, visitor, &exchange.rfi).await?,
            Party::Hub => json!({ "persons": around::persons(api, visitor, &exchange).await? }),
        };
        let people = people(&rfi)
            .into_iter()
            .map(|person| (person.id, format!("{} ({})", person.name, person.relationship)))
            .collect();
        let body = parts::beginning(what, api, &exchange);
        let key = IdempotencyKey::new(visitor.at()).to_string();
        let writing = Writing { key, people, body, is_basis_theirs: false };
        Ok(Some(Self { what, exchange, writing, version: 0 }))
    }

    async fn keep(&self, api: &Api, visitor: &Visitor, follows: u64) -> Result<bool, Problem> {
        let text = serde_json::to_vec(&self.writing).map_err(|error| {
            Problem::new(ProblemType::Internal, "It could not be kept.").because(error)
        })?;
        let text = Zeroizing::new(text);
        // What could never be sent is not kept either.
        if text.len() > api.body_bytes_max {
            let detail = "It is longer than a reply may be. Shorten it, or send a file.";
            return Err(Problem::new(ProblemType::BodyTooLarge, detail));
        }
        let (writer, kind) = (visitor.agency(), self.what.kind());
        api.gateway.keep_draft(writer, &self.exchange, kind, follows, &text).await
    }

    /// The message as it would be sent now.
    fn complete(&self) -> Value {
        let mut body = self.writing.body.clone();
        let mut answers: Vec<_> = self.answered().map(|(_, answer)| answer.clone()).collect();
        let Some(members) = body.as_object_mut() else { return body };
        if self.what != What::Supplement {
            self.complete_reply(members, &mut answers);
        }
        members.insert("answers".to_owned(), Value::Array(answers));
        members.insert("inReplyTo".to_owned(), json!(self.exchange.rfi));
        body
    }

    // What a reply says of itself as a whole.
    fn complete_reply(&self, members: &mut Map<String, Value>, answers: &mut Vec<Value>) {
        let statuses: Vec<_> =
            answers.iter().filter_map(|answer| answer["status"].as_str()).collect();
        let is_nothing = |status: &&str| matches!(*status, "nothing-known" | "not-held-here");
        let is_whole = answers.len() == self.exchange.categories.len();
        let result = match () {
            () if members.contains_key("cannotShare") => "cannot-share",
            () if !is_whole || statuses.contains(&"withheld") => "partial",
            () if statuses.iter().all(is_nothing) => "nothing-known",
            () => "complete",
        };
        if result == "cannot-share" {
            answers.clear();
        }
        // What follows later is said of what is not whole, and of nothing else.
        if is_whole || result == "cannot-share" {
            members.remove("moreToFollowBy");
        }
        let channel = match self.what {
            What::Transcription => "telephone-transcribed",
            What::Reply | What::Supplement => "web",
        };
        members.insert("channel".to_owned(), json!(channel));
        members.insert("result".to_owned(), json!(result));
    }

    // The categories that have an answer, in the order in which they were asked.
    fn answered(&self) -> impl Iterator<Item = (&str, &Value)> {
        let answers = self.writing.body.get("answers").and_then(Value::as_object);
        let asked = self.exchange.categories.iter();
        asked.filter_map(move |code| Some((code.as_str(), answers?.get(code.as_str())?)))
    }

    /// What it would be refused for.
    async fn examine(&self, api: &Api, visitor: &Visitor) -> Result<Vec<Violation>, Problem> {
        let found = api.gateway.examine(self.submission(visitor)?, visitor.at()).await?;
        Ok(parts::unconfirmed(self).into_iter().chain(found).collect())
    }

    fn submission(&self, visitor: &Visitor) -> Result<Submission, Problem> {
        let target = Target::Exchange(self.exchange.id, self.what.kind());
        said::submission(visitor, &self.writing.key, target, &self.complete())
    }

    /// The tasks there are now.
    fn parts(&self) -> Vec<Part> {
        let categories = (0..self.exchange.categories.len()).map(Part::Category);
        let is_refused = self.writing.body.get("cannotShare").is_some();
        let is_whole = self.answered().count() == self.exchange.categories.len();
        let is_begun = self.answered().next().is_some();
        let mut parts = Vec::new();
        if !is_refused {
            parts.extend(categories);
        }
        match self.what {
            What::Reply | What::Transcription => {
                if !is_refused && is_begun && !is_whole {
                    parts.push(Part::Rest);
                }
                parts.push(Part::CannotShare);
            }
            What::Supplement => parts.push(Part::WhyNow),
        }
        parts.extend([Part::LawfulBasis, Part::Family, Part::Who]);
        // Nothing was sent by telephone.
        parts.push(match self.what {
            What::Reply | What::Supplement => Part::Files,
            What::Transcription => Part::TakenDown,
        });
        parts
    }

    fn questions(&self, api: &Api, visitor: &Visitor, part: Part) -> Vec<Question> {
        parts::questions(self, api, visitor, part)
    }

    /// Where its pages are.
    fn path(&self) -> String {
        let place = match self.what.by() {
            Party::Agency => "requests",
            Party::Hub => "exchanges",
        };
        format!("/{place}/{}/{}", self.exchange.reference, self.what.name())
    }

    /// Where the exchange is shown to whoever writes.
    fn home(&self) -> Link {
        said::home(&self.exchange, self.what.by())
    }
}

/// The page that lists the tasks of what is written.
pub(super) fn list(what: What) -> MethodRouter<Api> {
    get(move |api: State<Api>, visitor: Visitor, name: Path<String>| {
        tasks(what, api, visitor, name)
    })
}

/// The page of one task, and where it is kept.
pub(super) fn task(what: What) -> MethodRouter<Api> {
    get(move |api: State<Api>, visitor: Visitor, names: Path<(String, String)>| {
        part(what, api, visitor, names)
    })
    .post(
        move |api: State<Api>, visitor: Visitor, names: Path<(String, String)>, form: Form| {
            keep(what, api, visitor, names, form)
        },
    )
}

/// Where every category that has no answer yet gets "nothing known".
pub(super) fn rest(what: What) -> MethodRouter<Api> {
    post(move |api: State<Api>, visitor: Visitor, name: Path<String>, form: Form| {
        nothing_known(what, api, visitor, name, form)
    })
}

// Where what cannot be written now is shown: the hub's page is found by the name of the exchange.
fn instead(what: What, name: &str) -> Response {
    match what.by() {
        Party::Agency => see(&format!("/requests/{name}")),
        Party::Hub => see(&format!("/find?reference={name}")),
    }
}

/// The list of tasks.
#[derive(Template)]
#[template(path = "desk/tasks.html")]
struct TasksPage {
    frame: Frame,
    title: String,
    back: Link,
    path: String,
    tasks: Vec<Task>,
    done: usize,
    needed: usize,
    /// Whether any category has no answer yet.
    is_begun: bool,
    has_open_categories: bool,
    is_ready: bool,
    /// Whether somebody else's answer is written down.
    is_heard: bool,
    version: u64,
}

struct Task {
    to: String,
    label: String,
    is_done: bool,
    is_optional: bool,
}

/// Shows what is done and what is not.
async fn tasks(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let violations = reply.examine(&api, &visitor).await?;
    let path = reply.path();
    let task = |part: Part| {
        let mut questions = reply.questions(&api, &visitor, part);
        mark(&mut questions, violations.clone());
        Task {
            to: format!("{path}/{}", part.name(&reply.exchange)),
            label: part.title(&reply.exchange),
            is_done: part.is_begun(&reply) && questions.iter().all(|each| each.error.is_none()),
            is_optional: part.is_optional(&reply),
        }
    };
    let tasks: Vec<_> = reply.parts().into_iter().map(task).collect();
    let template = TasksPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: what.title(&reply.exchange),
        back: reply.home(),
        done: tasks.iter().filter(|task| task.is_done && !task.is_optional).count(),
        needed: tasks.iter().filter(|task| !task.is_optional).count(),
        is_begun: reply.version > 0,
        has_open_categories: what != What::Supplement
            && reply.writing.body.get("cannotShare").is_none()
            && reply.answered().count() < reply.exchange.categories.len(),
        is_ready: violations.is_empty(),
        is_heard: what == What::Transcription,
        path: reply.path(),
        version: reply.version,
        tasks,
    };
    page(StatusCode::OK, &template)
}

/// "Nothing known" for every category that has no answer yet.
async fn nothing_known(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Problem> {
    let Some(mut reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let open: Vec<_> = {
        let answered: Vec<_> = reply.answered().map(|(code, _)| code).collect();
        let asked = reply.exchange.categories.iter();
        asked.filter(|code| !answered.contains(&code.as_str())).cloned().collect()
    };
    for code in open {
        let answer = json!({ "category": code, "status": "nothing-known" });
        super::form::put(&mut reply.writing.body, &format!("/answers/{code}"), Some(answer));
    }
    match reply.keep(&api, &visitor, version(&form)).await? {
        true => Ok(see(&reply.path())),
        false => overtaken(&api, &visitor, &reply),
    }
}

/// One task.
async fn part(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path((name, part)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let Some(reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let part = Part::find(&part, &reply).ok_or_else(no_such_part)?;
    let questions = reply.questions(&api, &visitor, part);
    form(&api, &visitor, &reply, part, reply.version, questions, Vec::new()).answer()
}

/// Keeps what was filled in. What is wrong with it is said on the same page, with the answers; unless it is to
/// be gone on with later: then it is kept as it is.
async fn keep(
    what: What,
    State(api): State<Api>,
    visitor: Visitor,
    Path((name, part)): Path<(String, String)>,
    filled: Form,
) -> Result<Response, Problem> {
    let Some(mut reply) = Reply::find(what, &api, &visitor, &name).await? else {
        return Ok(instead(what, &name));
    };
    let part = Part::find(&part, &reply).ok_or_else(no_such_part)?;
    parts::fill_in(&mut reply, part, &filled);
    let follows = version(&filled);
    let is_for_later = filled.one("go") == Some("later");
    // What is left out has nothing wrong with it, whatever is still missing elsewhere.
    if !is_for_later && !part.is_optional(&reply) {
        let mut questions = reply.questions(&api, &visitor, part);
        let violations = reply.examine(&api, &visitor).await?;
        // What is not answered at all is said before what the contract makes of that.
        let asked = parts::unanswered(&reply, part).into_iter().chain(violations);
        mark(&mut questions, asked.collect());
        if questions.iter().any(|question| question.error.is_some()) {
            return form(&api, &visitor, &reply, part, follows, questions, Vec::new()).answer();
        }
    }
    match reply.keep(&api, &visitor, follows).await? {
        true if is_for_later => Ok(see(&reply.home().to)),
        true => Ok(see(&reply.path())),
        false => overtaken(&api, &visitor, &reply),
    }
}

// The page of one task, with these questions as they are filled in.
fn form(
    api: &Api,
    visitor: &Visitor,
    reply: &Reply,
    part: Part,
    follows: u64,
    questions: Vec<Question>,
    elsewhere: Vec<Violation>,
) -> FormPage {
    FormPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: part.title(&reply.exchange),
        back: Link::new(reply.path(), format!("Back to the {}", reply.what.noun())),
        paragraphs: part.paragraphs(),
        prompts: part.prompts(),
        questions,
        elsewhere,
        version: Some(follows),
        key: None,
        button: "Save and continue".to_owned(),
        others: LATER,
    }
}

/// The button that keeps what was filled in as it is.
pub(super) const LATER: &[(&str, &str)] = &[("later", "Save and come back later")];

// Somebody else at the same desk was quicker: nothing of theirs is lost, and nothing of this visitor's either,
// who is shown the page they filled in.
fn overtaken(api: &Api, visitor: &Visitor, reply: &Reply) -> Result<Response, Problem> {
    let template = OvertakenPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: format!("Somebody else has changed this {}", reply.what.noun()),
        noun: reply.what.noun(),
        path: reply.path(),
        facts: facts(&reply.complete()),
    };
    page(StatusCode::CONFLICT, &template)
}

/// What somebody is told whose answers follow a version that is not the latest.
#[derive(Template)]
#[template(path = "desk/overtaken.html")]
pub(super) struct OvertakenPage {
    pub(super) frame: Frame,
    pub(super) title: String,
    pub(super) noun: &'static str,
    pub(super) path: String,
    pub(super) facts: Vec<Fact>,
}

/// Which message an answer says was accepted.
pub(super) fn message_in(answer: &str) -> Result<MessageId, Problem> {
    let answer: Option<Map<String, Value>> = serde_json::from_str(answer).ok();
    let id = answer.as_ref().and_then(|answer| answer.get("message")?.as_str()?.parse().ok());
    id.ok_or_else(|| {
        Problem::new(ProblemType::Internal, "It was sent, and its receipt was not read.")
    })
}

/// Which version of what is kept a page was filled in on.
pub(super) fn version(form: &Form) -> u64 {
    form.one("version").and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn no_such_part() -> Problem {
    Problem::new(ProblemType::NotFound, "A reply has no such part.")
}
