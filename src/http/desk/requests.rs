//! What an agency is asked: the list of what waits, one request, and what stands in it.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;

use super::message::{Fact, facts, files, is_saved, opened};
use super::page::{Frame, Link, page, see};
use super::visitor::Visitor;
use super::{ROWS, words};
use crate::http::api::{Api, Path, no_such_thing};
use crate::http::view::fields_object;
use crate::message::{AgencyId, Exchange, ExchangeState, Kind, Reference};
use crate::problem::Problem;
use crate::store::StoredEntry;
use crate::timer::{Grade, Timer};

/// A word that stands out, and how.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    pub(super) class: &'static str,
    pub(super) label: String,
}

impl Tag {
    pub(super) fn new(class: &'static str, label: impl Into<String>) -> Self {
        Self { class, label: label.into() }
    }
}

/// A time, for people and for programs.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) words: String,
    pub(super) machine: String,
}

impl Moment {
    pub(super) fn of(at: Timestamp) -> Self {
        Self { words: words::time(at), machine: words::machine_time(at) }
    }

    /// To the second, as the log has it.
    pub(super) fn exact(at: Timestamp) -> Self {
        Self { words: words::exact_time(at), machine: words::machine_time(at) }
    }
}

/// What waits.
#[derive(Template)]
#[template(path = "desk/requests.html")]
struct ListPage {
    frame: Frame,
    title: &'static str,
    /// When it was true.
    as_of: Moment,
    waiting: Vec<Row>,
    messages: Vec<MessageRow>,
    answered: Vec<Row>,
    /// Whether more waits than one page shows.
    is_cut: bool,
}

struct Row {
    reference: String,
    due: Moment,
    tags: Vec<Tag>,
}

struct MessageRow {
    id: String,
    kind: &'static str,
    reference: String,
    at: Moment,
}

/// Lists the requests that wait for an answer, the first due first, and what else came. No names.
pub(super) async fn list(State(api): State<Api>, visitor: Visitor) -> Result<Response, Problem> {
    let agency = visitor.agency();
    let mut waiting = api.gateway.unanswered(agency, ROWS + 1).await?;
    let is_cut = waiting.len() > ROWS;
    waiting.truncate(ROWS);
    let inbox = api.gateway.inbox_besides_requests(agency, ROWS).await?;
    let messages = inbox
        .iter()
        .map(|message| MessageRow {
            id: message.envelope.id.to_string(),
            kind: words::kind(message.envelope.kind),
            reference: message.envelope.reference.to_string(),
            at: Moment::of(message.envelope.time),
        })
        .collect();
    let recent = api.gateway.exchanges(agency, None, ANSWERED_SHOWN).await?;
    let row = |exchange: &Exchange| Row {
        reference: exchange.reference.to_string(),
        due: Moment::of(exchange.response_required_by),
        tags: tags(&api, exchange, visitor.at()),
    };
    let template = ListPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "Requests waiting for you",
        as_of: Moment::of(visitor.at()),
        waiting: waiting.iter().filter(|exchange| !exchange.is_test()).map(row).collect(),
        messages,
        answered: recent.iter().filter(|e| is_over(e) && !e.is_test()).map(row).collect(),
        is_cut,
    };
    page(StatusCode::OK, &template)
}

/// How it stands, in words that stand out: urgency first, then whether it is late.
pub(super) fn tags(api: &Api, exchange: &Exchange, at: Timestamp) -> Vec<Tag> {
    let mut tags = Vec::new();
    if let Some(urgency) = words::urgency(exchange.priority).filter(|_| !is_over(exchange)) {
        tags.push(Tag::new("urgent", urgency));
    }
    let due = api.gateway.timers().due(exchange, at);
    match due.iter().find(|due| due.timer == Timer::Reply).map(|due| due.grade) {
        Some(Grade::Overdue) => tags.push(Tag::new("late", "Overdue")),
        Some(Grade::DueSoon) => tags.push(Tag::new("soon", "Due soon")),
        Some(Grade::Running) | None => {}
    }
    let class = if is_over(exchange) { "done" } else { "open" };
    tags.push(Tag { class, label: words::state(exchange.state).to_owned() });
    if exchange.destroyed_at.is_some() {
        tags.push(Tag::new("done", "Destroyed"));
    }
    tags
}

/// Whether no answer is waited for any more.
pub(super) fn is_over(exchange: &Exchange) -> bool {
    match exchange.state {
        ExchangeState::Cancelled | ExchangeState::Completed | ExchangeState::Rejected => true,
        ExchangeState::Accepted
        | ExchangeState::InProgress
        | ExchangeState::Received
        | ExchangeState::Requested => false,
    }
}

/// The exchange of this name, if the visitor's agency is asked in it.
pub(super) async fn find(api: &Api, visitor: &Visitor, name: &str) -> Result<Exchange, Problem> {
    let reference = Reference::parse(name).map_err(|_| no_such_thing())?;
    let exchange = api.gateway.exchange_by_reference(visitor.agency(), &reference).await?;
    if exchange.agency == *visitor.agency() && !exchange.is_test() {
        Ok(exchange)
    } else {
        Err(no_such_thing())
    }
}

/// The same, of one that was opened: whoever has not read what is asked says nothing to it.
pub(super) async fn find_opened(
    api: &Api,
    visitor: &Visitor,
    name: &str,
) -> Result<Option<Exchange>, Problem> {
    let exchange = find(api, visitor, name).await?;
    Ok(Some(exchange).filter(|exchange| exchange.state != ExchangeState::Requested))
}

/// One request, without what stands in it.
#[derive(Template)]
#[template(path = "desk/request.html")]
struct RequestPage {
    frame: Frame,
    title: String,
    reference: String,
    hub: String,
    due: Moment,
    asked: Moment,
    categories: Vec<String>,
    tags: Vec<Tag>,
    is_open: bool,
    is_sealed_to_agency: bool,
    is_over: bool,
    is_cancelled: bool,
    is_destroyed: bool,
    /// Whether something was answered, and whether more of it may follow.
    is_answered: bool,
    may_reply: bool,
    has_draft: bool,
    /// The same of what may be added to an answer.
    may_add: bool,
    has_addition: bool,
    /// Whether the hub asks what may be released of it, and was not told.
    is_consulted: bool,
    /// The request itself, and whether it is in the agency's own record.
    rfi: String,
    is_saved: bool,
    events: Vec<Happening>,
}

/// Something that happened.
pub(super) struct Happening {
    pub(super) at: Moment,
    pub(super) what: String,
    /// The message, where the visitor can read it.
    pub(super) message: Option<String>,
}

/// Shows how one request stands, and what can be done.
pub(super) async fn request(
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let exchange = find(&api, &visitor, &name).await?;
    let timeline = api.gateway.timeline(visitor.agency(), &exchange.id).await?;
    let has_draft = async |kind| {
        let draft = api.gateway.draft(visitor.agency(), &exchange, kind).await;
        draft.is_ok_and(|draft| draft.is_some())
    };
    let directory = api.gateway.directory();
    let rfi = api.gateway.received(visitor.agency(), &exchange.rfi).await?;
    let template = RequestPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: format!("Request {}", exchange.reference),
        reference: exchange.reference.to_string(),
        hub: directory.name(&exchange.hub).unwrap_or_default().to_owned(),
        due: Moment::of(exchange.response_required_by),
        asked: Moment::of(exchange.opened_at),
        categories: exchange
            .categories
            .iter()
            .map(|category| words::category(category).to_owned())
            .collect(),
        tags: tags(&api, &exchange, visitor.at()),
        is_open: exchange.state != ExchangeState::Requested,
        is_sealed_to_agency: rfi.envelope.is_sealed_to_agency,
        is_over: is_over(&exchange),
        is_cancelled: exchange.state == ExchangeState::Cancelled,
        is_destroyed: exchange.destroyed_at.is_some(),
        is_answered: exchange.marks.answered_at.is_some(),
        // What the hub wrote down for the agency is put right with an answer of the agency's own.
        may_reply: exchange.state != ExchangeState::Completed
            || exchange.marks.answered_at.is_none(),
        has_draft: has_draft(Kind::Response).await,
        may_add: exchange.result.is_some(),
        has_addition: has_draft(Kind::Supplement).await,
        is_consulted: exchange.marks.is_consulted(),
        rfi: exchange.rfi.to_string(),
        is_saved: is_saved(&rfi),
        events: timeline
            .iter()
            .filter_map(|entry| happening(entry, visitor.agency(), true))
            .collect(),
    };
    page(StatusCode::OK, &template)
}

/// What an entry says, to the party who reads it; nothing, where it says what only we need. A message that they
/// may read is one to be opened.
pub(super) fn happening(
    entry: &StoredEntry,
    reader: &AgencyId,
    may_read: bool,
) -> Option<Happening> {
    let fields = fields_object(entry);
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = Kind::parse(text("kind"))?;
    let is_ours = text("sender") == reader.as_str();
    let is_to_us = text("recipient") == reader.as_str();
    let what = words::kind(kind);
    let what = match (text("event"), is_ours) {
        ("accepted", true) => format!("{what}: you sent it"),
        ("accepted", false) if is_to_us => format!("{what}: sent to you"),
        ("collected", true) => format!("{what}: they opened it"),
        ("collected", false) => format!("{what}: you opened it"),
        ("saved", true) => format!("{what}: they have it in their record"),
        ("saved", false) => format!("{what}: you have it in your record"),
        ("delivered", true) => format!("{what}: their system has it"),
        ("delivered", false) => format!("{what}: your system has it"),
        ("delayed", _) => format!("{what}: it takes longer than it should"),
        ("returned", true) => format!("{what}: it did not arrive. Ring them"),
        _ => return None,
    };
    let is_read_here = may_read && is_to_us && text("event") == "accepted" && kind != Kind::Rfi;
    Some(Happening {
        at: Moment::of(text("time").parse().ok()?),
        what,
        message: is_read_here.then(|| text("message").to_owned()),
    })
}

/// Opens a request: from here on the hub sees that it was.
pub(super) async fn open(
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let exchange = find(&api, &visitor, &name).await?;
    if opened(&api, &visitor, &exchange.rfi).await?.is_null() {
        return Ok(see(&format!("/requests/{}", exchange.reference)));
    }
    Ok(see(&format!("/requests/{}/details", exchange.reference)))
}

/// What is asked, about whom and why.
#[derive(Template)]
#[template(path = "desk/details.html")]
struct DetailsPage {
    frame: Frame,
    title: String,
    back: Link,
    reference: String,
    due: Moment,
    tags: Vec<Tag>,
    is_over: bool,
    is_sealed_to_agency: bool,
    /// What is not to be mentioned, and to whom.
    warnings: Vec<String>,
    why_asked: String,
    categories: Vec<Fact>,
    reason: Vec<Fact>,
    people: Vec<Person>,
    requester: Vec<Fact>,
    /// On what it rests: consent, an override, the law.
    rests_on: Vec<(&'static str, Vec<Fact>)>,
    files: Vec<Link>,
}

/// Somebody the request is about.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) relationship: String,
    pub(super) born: String,
    pub(super) address: String,
    pub(super) nhs_number: String,
    pub(super) warning: Option<String>,
}

/// Shows what stands in a request that was opened.
pub(super) async fn details(
    State(api): State<Api>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let Some(exchange) = find_opened(&api, &visitor, &name).await? else {
        return Ok(see(&format!("/requests/{name}")));
    };
    let reference = exchange.reference.to_string();
    let stored = api.gateway.received(visitor.agency(), &exchange.rfi).await?;
    let rfi = opened(&api, &visitor, &exchange.rfi).await?;
    let at = |pointer: &str| rfi.pointer(pointer).cloned().unwrap_or_default();
    let why = at("/informationRequired/why");
    let people = people(&rfi);
    let categories = exchange.categories.iter().map(|code| {
        let why = why.get(code.as_str()).and_then(Value::as_str).unwrap_or_default();
        Fact::new(words::category(code), why)
    });
    let template = DetailsPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: format!("Request {reference}: what is asked"),
        back: Link::new(format!("/requests/{reference}"), format!("Back to request {reference}")),
        due: Moment::of(exchange.response_required_by),
        tags: tags(&api, &exchange, visitor.at()),
        is_over: is_over(&exchange),
        is_sealed_to_agency: stored.envelope.is_sealed_to_agency,
        warnings: warnings(&rfi, &people),
        why_asked: text(&rfi, "/whyAsked"),
        categories: categories.collect(),
        reason: reason(&rfi),
        people,
        requester: facts(&at("/requester")),
        rests_on: rests_on(&rfi),
        files: files(&rfi),
        reference,
    };
    page(StatusCode::OK, &template)
}

/// On what a request rests: consent, an override, the law.
pub(super) fn rests_on(rfi: &Value) -> Vec<(&'static str, Vec<Fact>)> {
    let at = |pointer: &str| rfi.pointer(pointer).cloned().unwrap_or_default();
    [
        ("Consent", at("/consent")),
        ("Decision to go on without consent", at("/override")),
        ("Lawful basis", at("/lawfulBasis")),
        ("Who decided to ask", at("/enquiryAuthorisation")),
    ]
    .into_iter()
    .map(|(title, part)| (title, facts(&part)))
    .filter(|(_, facts)| facts.iter().any(|fact| fact.text != "null"))
    .collect()
}

fn text(document: &Value, pointer: &str) -> String {
    super::form::text(document, pointer)
}

/// Why it is asked: first the risk, then what it is judged by.
pub(super) fn reason(rfi: &Value) -> Vec<Fact> {
    let mut found: Vec<_> = [
        ("Level of risk", "/reason/levelOfRisk"),
        ("Concerns", "/reason/concerns"),
        ("Allegation", "/reason/allegation"),
        ("Level of need", "/reason/levelOfNeed"),
        ("Legal proceedings or orders", "/reason/legalProcess"),
    ]
    .into_iter()
    .map(|(label, pointer)| Fact::new(label, text(rfi, pointer)))
    .filter(|fact| !fact.text.is_empty())
    .collect();
    let earlier = rfi.pointer("/reason/previousMashEnquiries").and_then(Value::as_array);
    for enquiry in earlier.into_iter().flatten() {
        let label = format!("Earlier enquiry, {}", text(enquiry, "/date"));
        found.push(Fact::new(label, text(enquiry, "/reason")));
    }
    for (label, pointer) in
        [("Purpose", "/purpose"), ("Child protection information", "/cpIsStatus")]
    {
        let code = text(rfi, pointer);
        if !code.is_empty() {
            found.push(Fact::new(label, words::code(&code)));
        }
    }
    found
}

/// Whom it must not be mentioned to: the first thing that somebody reads (R140, R141, R38).
pub(super) fn warnings(rfi: &Value, people: &[Person]) -> Vec<String> {
    let mut found = Vec::new();
    match text(rfi, "/referral/parentsAware").as_str() {
        "yes" => {}
        "no" => found.push(
            "The parents do not know of the referral. Do not mention this request to the family."
                .to_owned(),
        ),
        _ => found.push(
            "It is not known whether the parents know of the referral. Do not mention this request to the \
             family."
                .to_owned(),
        ),
    }
    match text(rfi, "/referral/source").as_str() {
        "anonymous-public" | "nspcc" => found.push(
            "The referral was made anonymously. Do not try to find out who made it.".to_owned(),
        ),
        _ => {}
    }
    let silent: Vec<_> = rfi
        .pointer("/doNotInform")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|id| people.iter().find(|person| person.id == id))
        .map(|person| format!("{} ({})", person.name, person.relationship))
        .collect();
    if !silent.is_empty() {
        found.push(format!("These must not learn of it: {}.", silent.join("; ")));
    }
    found
}

/// Those whom a request is about.
pub(super) fn people(rfi: &Value) -> Vec<Person> {
    let persons = rfi.pointer("/persons").and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |person: &Value| {
        let whole = format!("{} {}", text(person, "/givenName"), text(person, "/familyName"));
        match whole.trim() {
            "" => "Unborn child".to_owned(),
            named => named.to_owned(),
        }
    };
    let named = |id: &str| {
        let found = persons.iter().find(|person| text(person, "/personId") == id);
        found.map_or_else(|| id.to_owned(), name)
    };
    let person = |person: &Value| {
        let lines = person.pointer("/address/line").and_then(Value::as_array);
        let lines = lines.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let address = lines.chain([text(person, "/address/postcode")]);
        let address: Vec<_> = address.filter(|line| !line.is_empty()).collect();
        let born = match (text(person, "/birthDate"), text(person, "/expectedDeliveryDate")) {
            (born, expected) if born.is_empty() && !expected.is_empty() => {
                format!("expected {expected}")
            }
            (born, _) => born,
        };
        let nhs_number = match text(person, "/nhsNumber") {
            number if number.is_empty() => {
                words::code(&text(person, "/nhsNumberUnavailableReason"))
            }
            number => spaced(&number),
        };
        let hidden = person.pointer("/doNotDiscloseAddressTo").and_then(Value::as_array);
        let hidden: Vec<_> =
            hidden.into_iter().flatten().filter_map(Value::as_str).map(named).collect();
        let warning = (!hidden.is_empty())
            .then(|| format!("Do not disclose this address to {}", hidden.join(", ")));
        Person {
            id: text(person, "/personId"),
            name: name(person),
            relationship: text(person, "/relationship"),
            born,
            address: address.join("\n"),
            nhs_number,
            warning,
        }
    };
    persons.iter().map(person).collect()
}

// As the NHS writes its numbers: three, three and four.
fn spaced(number: &str) -> String {
    let space = |at: usize| if matches!(at, 3 | 6) { " " } else { "" };
    number.chars().zip(0..).map(|(digit, at)| format!("{}{digit}", space(at))).collect()
}

/// How many of those that are over are still shown.
const ANSWERED_SHOWN: usize = 20;
