//! A request for information that somebody at the hub writes, as a list of tasks that can be done in any order,
//! by several people and over several days. What is written is kept sealed until it is sent; then it goes the
//! way of every RFI.

mod check;
mod decision;
mod parts;
mod people;
mod recipients;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::form::{Form, Question, mark, put, text};
use super::message::facts;
use super::page::{FormPage, Frame, Link, page, see};
use super::reply::{LATER, OvertakenPage, version};
use super::requests::Moment;
use super::visitor::Visitor;
use super::{ROWS, basis, said};
use crate::directory::AgencyKind;
use crate::http::api::{Api, Path, no_such_thing, parse};
use crate::message::{EnquiryId, IdempotencyKey, Submission, Target, rfc3339};
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;
pub(super) use check::{check, send, sent};
use decision::Decision;
pub(super) use decision::{ask, decide, show};
use parts::Part;

/// What is written so far.
#[derive(Deserialize, Serialize)]
struct Writing {
    /// The key under which it will be sent: so that what is sent twice is one request.
    key: String,
    /// What will be sent: the RFI, and the agencies that are asked.
    document: Value,
    /// Whether somebody has looked at on what basis it is asked, and saved it.
    is_basis_theirs: bool,
    /// The Team Manager's decision on this very request, where it is on record.
    decision: Option<Decision>,
}

/// An RFI that is being written.
struct Rfi {
    id: EnquiryId,
    writing: Writing,
    version: u64,
}

impl Rfi {
    /// The one of this id, if it is the visitor's hub's.
    async fn find(api: &Api, visitor: &Visitor, id: &str) -> Result<Self, Problem> {
        let id: EnquiryId = parse(id)?;
        let draft = api.gateway.rfi_draft(visitor.agency(), &id).await?;
        let writing = serde_json::from_slice(&draft.text).map_err(|error| {
            let detail = "What was written so far could not be read.";
            Problem::new(ProblemType::Internal, detail).because(error)
        })?;
        Ok(Self { id, writing, version: draft.version })
    }

    async fn keep(&self, api: &Api, visitor: &Visitor, follows: u64) -> Result<bool, Problem> {
        let text = self.writing.text(api)?;
        let (hub, at) = (visitor.agency(), visitor.at());
        api.gateway.keep_rfi_draft(hub, &self.id, follows, &text, at).await
    }

    fn document(&self) -> &Value {
        &self.writing.document
    }

    fn list(&self, pointer: &str) -> &[Value] {
        let found = self.document().pointer(pointer).and_then(Value::as_array);
        found.map(Vec::as_slice).unwrap_or_default()
    }

    /// Whom it is about.
    fn people(&self) -> &[Value] {
        self.list("/rfi/persons")
    }

    fn people_mut(&mut self) -> Option<&mut Vec<Value>> {
        self.writing.document.pointer_mut("/rfi/persons").and_then(Value::as_array_mut)
    }

    /// Puts somebody at this place, or after the others.
    fn set_person(&mut self, at: usize, person: Value) {
        if self.people().is_empty() {
            put(&mut self.writing.document, "/rfi/persons", Some(json!([])));
        }
        let Some(people) = self.people_mut() else { return };
        match people.get_mut(at) {
            Some(there) => *there = person,
            None => people.push(person),
        }
    }

    fn has_person_of_kind(&self, kind: &str) -> bool {
        self.people().iter().any(|person| text(person, "/kind") == kind)
    }

    /// The agencies that are asked.
    fn recipients(&self) -> &[Value] {
        self.list("/recipients")
    }

    fn recipients_mut(&mut self) -> Option<&mut Vec<Value>> {
        self.writing.document.pointer_mut("/recipients").and_then(Value::as_array_mut)
    }

    /// What would be sent, asked at this time: the time is not among what is decided about.
    fn complete(&self, asked_at: Option<&str>) -> Value {
        let mut document = self.document().clone();
        if !self.has_person_of_kind("other-family-contact") {
            let nobody = json!({ "answer": "no-such-person" });
            put(&mut document, parts::Whose::Contacts.pointer(), Some(nobody));
        }
        put(&mut document, "/rfi/dateOfRequest", asked_at.map(|at| json!(at)));
        document
    }

    fn submission(&self, visitor: &Visitor, asked_at: &str) -> Result<Submission, Problem> {
        let document = self.complete(Some(asked_at));
        said::submission(visitor, &self.writing.key, Target::Rfis, &document)
    }

    /// What it would be refused for.
    async fn examine(&self, api: &Api, visitor: &Visitor) -> Result<Vec<Violation>, Problem> {
        let new = self.submission(visitor, &rfc3339(visitor.at()))?;
        let found = api.gateway.examine(new, visitor.at()).await?;
        Ok(self.unconfirmed().into_iter().chain(found).collect())
    }

    // That nobody has looked at the lawful basis yet (R51), which the contract cannot know.
    fn unconfirmed(&self) -> Option<Violation> {
        (!self.writing.is_basis_theirs).then(|| Violation {
            pointer: "/rfi/lawfulBasis".to_owned(),
            code: "not-confirmed".to_owned(),
            message: "Look at on what basis you ask, and save it.".to_owned(),
        })
    }

    /// The tasks that there are, with these faults in it.
    fn parts(&self, violations: &[Violation]) -> Vec<Part> {
        let is_override = |violation: &Violation| violation.pointer.starts_with("/rfi/override");
        Part::of(self, violations.iter().any(is_override))
    }

    /// What the Team Manager's decision is about. It holds for nothing else.
    fn decided_about(&self) -> Value {
        let rfi = &self.complete(None)["rfi"];
        json!([rfi["consent"], rfi["pathway"], rfi["persons"]])
    }

    /// Lets the decision go if it is not about this any more.
    fn hold_to_decision(&mut self, before: &Value) {
        if self.decided_about() != *before {
            self.writing.decision = None;
            put(&mut self.writing.document, "/rfi/override", None);
        }
    }

    /// Where its pages are.
    fn path(&self) -> String {
        format!("/rfis/{}", self.id)
    }
}

impl Writing {
    fn text(&self, api: &Api) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let text = serde_json::to_vec(self).map_err(|error| {
            Problem::new(ProblemType::Internal, "It could not be kept.").because(error)
        })?;
        let text = Zeroizing::new(text);
        // What could never be sent is not kept either.
        if text.len() > api.body_bytes_max {
            let detail = "It is longer than a request may be. Shorten it.";
            return Err(Problem::new(ProblemType::BodyTooLarge, detail));
        }
        Ok(text)
    }
}

/// What the hub is writing.
#[derive(Template)]
#[template(path = "desk/rfi/list.html")]
struct ListPage {
    frame: Frame,
    title: &'static str,
    rows: Vec<Row>,
    /// Whether there are more than one page shows.
    is_cut: bool,
}

/// One of them. Nothing of what stands in it.
struct Row {
    to: String,
    begun: Moment,
    kept: Moment,
}

/// Lists what is being written, what was gone on with last first.
pub(super) async fn list(State(api): State<Api>, visitor: Visitor) -> Result<Response, Problem> {
    let mut drafts = api.gateway.rfi_drafts(visitor.agency(), ROWS + 1).await?;
    let is_cut = drafts.len() > ROWS;
    drafts.truncate(ROWS);
    let rows = drafts.iter().map(|draft| Row {
        to: format!("/rfis/{}", draft.id),
        begun: Moment::of(draft.begun_at),
        kept: Moment::of(draft.kept_at),
    });
    let template = ListPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "Requests that are being written",
        rows: rows.collect(),
        is_cut,
    };
    page(StatusCode::OK, &template)
}

/// Begins one.
pub(super) async fn begin(State(api): State<Api>, visitor: Visitor) -> Result<Response, Problem> {
    let rfi = json!({ "lawfulBasis": basis::usual(AgencyKind::Hub) });
    let writing = Writing {
        key: IdempotencyKey::new(visitor.at()).to_string(),
        document: json!({ "recipients": [], "rfi": rfi }),
        is_basis_theirs: false,
        decision: None,
    };
    let text = writing.text(&api)?;
    let id = api.gateway.begin_rfi_draft(visitor.agency(), &text, visitor.at()).await?;
    Ok(see(&format!("/rfis/{id}")))
}

/// The list of tasks.
#[derive(Template)]
#[template(path = "desk/rfi/tasks.html")]
struct TasksPage {
    frame: Frame,
    title: &'static str,
    back: Link,
    path: String,
    groups: Vec<(&'static str, Vec<Task>)>,
    done: usize,
    count: usize,
    is_ready: bool,
    version: u64,
}

struct Task {
    to: String,
    label: &'static str,
    is_done: bool,
    is_optional: bool,
}

/// Shows what is done and what is not.
pub(super) async fn tasks(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let rfi = Rfi::find(&api, &visitor, &id).await?;
    let violations = rfi.examine(&api, &visitor).await?;
    let path = rfi.path();
    let mut groups: Vec<(&'static str, Vec<Task>)> = Vec::new();
    for part in rfi.parts(&violations) {
        let mut questions = parts::questions(&rfi, part, visitor.at());
        mark(&mut questions, violations.clone());
        let task = Task {
            to: format!("{path}/{}", part.name()),
            label: part.title(),
            is_done: part.is_begun(&rfi) && questions.iter().all(|each| each.error.is_none()),
            is_optional: part.is_optional() && !part.is_begun(&rfi),
        };
        match groups.last_mut().filter(|(group, _)| *group == part.group()) {
            Some((_, tasks)) => tasks.push(task),
            None => groups.push((part.group(), vec![task])),
        }
    }
    let all = || groups.iter().flat_map(|(_, tasks)| tasks);
    let template = TasksPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "Write a request for information",
        back: Link::new("/rfis", "Back to what is being written"),
        done: all().filter(|task| task.is_done).count(),
        count: all().count(),
        is_ready: violations.is_empty(),
        version: rfi.version,
        path,
        groups,
    };
    page(StatusCode::OK, &template)
}

/// People or agencies, each on a page of its own.
#[derive(Template)]
#[template(path = "desk/rfi/items.html")]
struct ItemsPage {
    frame: Frame,
    title: &'static str,
    back: Link,
    paragraph: &'static str,
    items: Vec<Link>,
    add: Link,
    errors: Vec<String>,
}

/// One task.
pub(super) async fn part(
    State(api): State<Api>,
    visitor: Visitor,
    Path((id, part)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let rfi = Rfi::find(&api, &visitor, &id).await?;
    let part = Part::find(&part).ok_or_else(no_such_thing)?;
    let (items, add) = match part {
        Part::People => (people::links(&rfi), "Add a person"),
        Part::Recipients => (recipients::links(&rfi, &api.gateway.directory()), "Add an agency"),
        _ => {
            let questions = parts::questions(&rfi, part, visitor.at());
            return form(&api, &visitor, &rfi, part, rfi.version, questions).answer();
        }
    };
    let violations = rfi.examine(&api, &visitor).await?;
    let mut questions = parts::questions(&rfi, part, visitor.at());
    // One that is wrong is said on its own page, all of them when it is checked.
    mark(&mut questions, violations);
    let errors = questions.into_iter().filter_map(|question| question.error);
    let template = ItemsPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: part.title(),
        back: Link::new(rfi.path(), "Back to the request"),
        paragraph: part.paragraph(),
        errors: errors.filter(|_| !items.is_empty()).collect(),
        items,
        add: Link::new(format!("{}/{}/new", rfi.path(), part.name()), add),
    };
    page(StatusCode::OK, &template)
}

/// Keeps what was filled in. What is wrong with it is said on the same page, with the answers; unless it is to
/// be gone on with later: then it is kept as it is.
pub(super) async fn keep(
    State(api): State<Api>,
    visitor: Visitor,
    Path((id, part)): Path<(String, String)>,
    filled: Form,
) -> Result<Response, Problem> {
    let mut rfi = Rfi::find(&api, &visitor, &id).await?;
    let part = Part::find(&part).filter(|part| part.is_one_page()).ok_or_else(no_such_thing)?;
    let before = rfi.decided_about();
    parts::fill_in(&mut rfi, part, &filled);
    rfi.hold_to_decision(&before);
    let questions = parts::questions(&rfi, part, visitor.at());
    let place = Place::of(&rfi, part);
    settle(&api, &visitor, &rfi, &filled, questions, &place).await
}

/// One person, or one agency that is asked.
pub(super) async fn item(
    State(api): State<Api>,
    visitor: Visitor,
    Path((id, part, item)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let rfi = Rfi::find(&api, &visitor, &id).await?;
    let (part, at) = find_item(&rfi, &part, &item)?;
    let questions = item_questions(&api, &rfi, part, at, visitor.at());
    let place = item_place(&rfi, part, at);
    item_form(&api, &visitor, &rfi, rfi.version, questions, &place).answer()
}

/// Keeps what was filled in of it, or takes it out.
pub(super) async fn keep_item(
    State(api): State<Api>,
    visitor: Visitor,
    Path((id, part, item)): Path<(String, String, String)>,
    filled: Form,
) -> Result<Response, Problem> {
    let mut rfi = Rfi::find(&api, &visitor, &id).await?;
    let (part, at) = find_item(&rfi, &part, &item)?;
    let place = item_place(&rfi, part, at);
    let before = rfi.decided_about();
    let is_removed = filled.one("go") == Some("remove");
    match (part, is_removed) {
        (Part::People, true) => people::remove(&mut rfi, at),
        (Part::People, false) => people::fill_in(&mut rfi, at, &filled),
        (_, true) => recipients::remove(&mut rfi, at),
        (_, false) => recipients::fill_in(&mut rfi, at, &filled),
    }
    rfi.hold_to_decision(&before);
    if is_removed {
        return match rfi.keep(&api, &visitor, version(&filled)).await? {
            true => Ok(see(&place.to)),
            false => overtaken(&api, &visitor, &rfi),
        };
    }
    let mut questions = item_questions(&api, &rfi, part, at, visitor.at());
    let mut violations = rfi.examine(&api, &visitor).await?;
    // What the list as a whole lacks is not this one's fault.
    let own = match part {
        Part::People => format!("/rfi/persons/{at}/"),
        _ => format!("/recipients/{at}/"),
    };
    violations.retain(|violation| format!("{}/", violation.pointer).starts_with(&own));
    mark(&mut questions, violations);
    if questions.iter().any(|question| question.error.is_some()) {
        return item_form(&api, &visitor, &rfi, version(&filled), questions, &place).answer();
    }
    match rfi.keep(&api, &visitor, version(&filled)).await? {
        true => Ok(see(&place.to)),
        false => overtaken(&api, &visitor, &rfi),
    }
}

/// What stands around some questions, and where one comes to from there.
struct Place {
    title: &'static str,
    paragraph: &'static str,
    to: String,
    /// Whether it is not there yet.
    is_new: bool,
}

impl Place {
    // Of a task.
    fn of(rfi: &Rfi, part: Part) -> Self {
        let (title, paragraph) = (part.title(), part.paragraph());
        Self { title, paragraph, to: rfi.path(), is_new: false }
    }
}

fn find_item(rfi: &Rfi, part: &str, item: &str) -> Result<(Part, usize), Problem> {
    let part = Part::find(part).ok_or_else(no_such_thing)?;
    let at = match part {
        Part::People => people::place(rfi, item),
        Part::Recipients => recipients::place(rfi, item),
        _ => None,
    };
    Ok((part, at.ok_or_else(no_such_thing)?))
}

fn item_questions(api: &Api, rfi: &Rfi, part: Part, at: usize, now: Timestamp) -> Vec<Question> {
    match part {
        Part::People => people::questions(rfi, at),
        _ => recipients::questions(rfi, &api.gateway.directory(), at, now),
    }
}

fn item_place(rfi: &Rfi, part: Part, at: usize) -> Place {
    let to = format!("{}/{}", rfi.path(), part.name());
    match part {
        Part::People => Place {
            title: "One person",
            paragraph: "As far as it is known. What is not known is left empty.",
            to,
            is_new: at == rfi.people().len(),
        },
        _ => Place {
            title: "One agency",
            paragraph: "It goes to this agency's contact officer, and to nobody else there.",
            to,
            is_new: at == rfi.recipients().len(),
        },
    }
}

fn item_form(
    api: &Api,
    visitor: &Visitor,
    rfi: &Rfi,
    follows: u64,
    questions: Vec<Question>,
    place: &Place,
) -> FormPage {
    FormPage {
        back: Link::new(place.to.clone(), "Back to the list"),
        others: if place.is_new { &[] } else { &[("remove", "Remove")] },
        ..form_at(api, visitor, rfi, follows, questions, place)
    }
}

// Says what is wrong, or keeps it.
async fn settle(
    api: &Api,
    visitor: &Visitor,
    rfi: &Rfi,
    filled: &Form,
    mut questions: Vec<Question>,
    place: &Place,
) -> Result<Response, Problem> {
    if filled.one("go") != Some("later") {
        mark(&mut questions, rfi.examine(api, visitor).await?);
        if questions.iter().any(|question| question.error.is_some()) {
            return form_at(api, visitor, rfi, version(filled), questions, place).answer();
        }
    }
    match rfi.keep(api, visitor, version(filled)).await? {
        true => Ok(see(&place.to)),
        false => overtaken(api, visitor, rfi),
    }
}

// The page of one task, with these questions as they are filled in.
fn form(
    api: &Api,
    visitor: &Visitor,
    rfi: &Rfi,
    part: Part,
    follows: u64,
    questions: Vec<Question>,
) -> FormPage {
    let place = Place::of(rfi, part);
    FormPage {
        prompts: match part {
            Part::LawfulBasis => basis::PROMPTS.map(str::to_owned).to_vec(),
            _ => Vec::new(),
        },
        ..form_at(api, visitor, rfi, follows, questions, &place)
    }
}

fn form_at(
    api: &Api,
    visitor: &Visitor,
    rfi: &Rfi,
    follows: u64,
    questions: Vec<Question>,
    place: &Place,
) -> FormPage {
    let mut paragraphs = vec![place.paragraph.to_owned()];
    if rfi.writing.decision.is_some() {
        paragraphs.push(
            "The Team Manager has decided on this request as it is. If you change who it is about, the \
             pathway or what was answered on consent, it has to be decided anew."
                .to_owned(),
        );
    }
    FormPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: place.title.to_owned(),
        back: Link::new(rfi.path(), "Back to the request"),
        paragraphs,
        prompts: Vec::new(),
        questions,
        elsewhere: Vec::new(),
        version: Some(follows),
        key: None,
        button: "Save and continue".to_owned(),
        others: LATER,
    }
}

// Somebody else at the hub was quicker: nothing of either's is lost.
fn overtaken(api: &Api, visitor: &Visitor, rfi: &Rfi) -> Result<Response, Problem> {
    let template = OvertakenPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: "Somebody else has changed this request".to_owned(),
        noun: "request",
        path: rfi.path(),
        facts: facts(rfi.document()),
    };
    page(StatusCode::CONFLICT, &template)
}

/// Lets it go: nobody was asked.
pub(super) async fn discard(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
    filled: Form,
) -> Result<Response, Problem> {
    let rfi = Rfi::find(&api, &visitor, &id).await?;
    if rfi.version != version(&filled) {
        return overtaken(&api, &visitor, &rfi);
    }
    api.gateway.discard_rfi_draft(visitor.agency(), &rfi.id, rfi.version).await?;
    Ok(see("/rfis"))
}
