//! The hub's side: what is still to be done, one enquiry with each agency that is asked in it, and all that
//! they answered side by side.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::message::{Fact, facts, opened};
use super::page::{Frame, Link, page};
use super::requests::{Happening, Moment, Tag, happening, is_over, tags};
use super::visitor::Visitor;
use super::{ROWS, words};
use crate::directory::permission::Action;
use crate::http::api::{Api, Path, no_such_thing, parse};
use crate::http::view::{family_may_be_told, fields_object};
use crate::message::{
    EnquiryId, Exchange, ExchangeState, Kind, MessageId, OutcomeCode, Party, Reference,
};
use crate::problem::{Problem, ProblemType};
use crate::store::StoredEntry;
use crate::timer::{Due, Grade};

/// The exchange of this name, if it is one of the visitor's hub.
pub(super) async fn find(api: &Api, visitor: &Visitor, name: &str) -> Result<Exchange, Problem> {
    let reference = Reference::parse(name).map_err(|_| no_such_thing())?;
    let exchange = api.gateway.exchange_by_reference(visitor.agency(), &reference).await?;
    match exchange.party(visitor.agency()) {
        Some(Party::Hub) if !exchange.is_test() => Ok(exchange),
        _ => Err(no_such_thing()),
    }
}

/// Something that is due, as a row says it.
#[derive(Clone, Debug)]
struct Task {
    what: &'static str,
    at: Moment,
    tag: Tag,
}

impl Task {
    fn of(due: &Due) -> Self {
        let (class, label) = match due.grade {
            Grade::Overdue => ("late", "Overdue"),
            Grade::DueSoon => ("soon", "Due soon"),
            Grade::Running => ("open", "Running"),
        };
        Self { what: words::timer(due.timer), at: Moment::of(due.at), tag: Tag::new(class, label) }
    }
}

/// What is still to be done.
#[derive(Template)]
#[template(path = "desk/board.html")]
struct BoardPage {
    frame: Frame,
    title: &'static str,
    as_of: Moment,
    rows: Vec<Row>,
    is_cut: bool,
    messages: Vec<(String, &'static str, String, Moment)>,
}

struct Row {
    enquiry: String,
    reference: String,
    agency: String,
    tags: Vec<Tag>,
    tasks: Vec<Task>,
}

/// The board: what is overdue first, then what is due first. No names of anybody it is about.
pub(super) async fn board(State(api): State<Api>, visitor: Visitor) -> Result<Response, Problem> {
    let mut exchanges = api.gateway.unsettled(visitor.agency(), ROWS + 1).await?;
    let is_cut = exchanges.len() > ROWS;
    exchanges.truncate(ROWS);
    let timers = api.gateway.timers();
    let directory = api.gateway.directory();
    let mut rows: Vec<_> = exchanges
        .iter()
        .filter(|exchange| !exchange.is_test())
        .map(|exchange| {
            let due = timers.due(exchange, visitor.at());
            let urgency = due.iter().map(|due| (due.grade != Grade::Overdue, due.at)).min();
            let row = Row {
                enquiry: exchange.enquiry.to_string(),
                reference: exchange.reference.to_string(),
                agency: directory.name(&exchange.agency).unwrap_or_default().to_owned(),
                tags: tags(&api, exchange, visitor.at()),
                tasks: due.iter().map(Task::of).collect(),
            };
            (urgency.is_none(), urgency, row)
        })
        .collect();
    rows.sort_by_key(|(has_nothing, urgency, _)| (*has_nothing, *urgency));
    let role = visitor.role();
    let may_read = api.gateway.permit(visitor.agency(), Some(role), Action::ReadInbox).is_ok();
    let inbox = match may_read {
        true => api.gateway.inbox_besides_requests(visitor.agency(), ROWS).await?,
        false => Vec::new(),
    };
    let messages = inbox.iter().map(|message| {
        let envelope = &message.envelope;
        let (id, reference) = (envelope.id.to_string(), envelope.reference.to_string());
        (id, words::kind(envelope.kind), reference, Moment::of(envelope.time))
    });
    let template = BoardPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "What is still to be done",
        as_of: Moment::of(visitor.at()),
        rows: rows.into_iter().map(|(_, _, row)| row).collect(),
        is_cut,
        messages: messages.collect(),
    };
    page(StatusCode::OK, &template)
}

/// One enquiry.
#[derive(Template)]
#[template(path = "desk/enquiry.html")]
struct EnquiryPage {
    frame: Frame,
    title: &'static str,
    enquiry: String,
    as_of: Moment,
    exchanges: Vec<Part>,
    may_read: bool,
    referrer_told: Option<Moment>,
    /// Whether it is to be recorded that they were told, by this visitor.
    may_tell_referrer: bool,
}

/// One agency's part in it.
struct Part {
    reference: String,
    /// The request: its receipt can be had.
    rfi: String,
    agency: String,
    telephone: String,
    asked: Moment,
    due: Moment,
    categories: Vec<String>,
    tags: Vec<Tag>,
    tasks: Vec<Task>,
    told: Option<&'static str>,
    has_attention: bool,
    is_over: bool,
    is_destroyed: bool,
    may_ask: bool,
    may_write_down: bool,
    may_tell: bool,
    may_forward: bool,
    may_step_down: bool,
    may_consult: bool,
    events: Vec<Happening>,
}

/// Shows how each agency stands in it.
pub(super) async fn enquiry(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    let exchanges = api.gateway.enquiry(visitor.agency(), &id).await?;
    let may = |action| api.gateway.permit(visitor.agency(), Some(visitor.role()), action).is_ok();
    let timers = api.gateway.timers();
    let directory = api.gateway.directory();
    let mut parts = Vec::new();
    for exchange in exchanges.iter().filter(|exchange| !exchange.is_test()) {
        let timeline = api.gateway.timeline(visitor.agency(), &exchange.id).await?;
        let partner = directory.get(&exchange.agency);
        // What follows from an outcome is told when some agency was told of it.
        let decided = [exchange.decision.map(|decision| decision.outcome), exchange.marks.outcome];
        let follows = |outcome| may(Action::SendOutcome) && decided.contains(&Some(outcome));
        parts.push(Part {
            reference: exchange.reference.to_string(),
            rfi: exchange.rfi.to_string(),
            agency: partner.map(|partner| partner.name.clone()).unwrap_or_default(),
            telephone: partner.and_then(|partner| partner.telephone.clone()).unwrap_or_default(),
            asked: Moment::of(exchange.opened_at),
            due: Moment::of(exchange.response_required_by),
            categories: exchange
                .categories
                .iter()
                .map(|code| words::category(code).to_owned())
                .collect(),
            tags: tags(&api, exchange, visitor.at()),
            tasks: timers.due(exchange, visitor.at()).iter().map(Task::of).collect(),
            told: family_may_be_told(&timeline).map(words::family),
            has_attention: exchange.needs_attention,
            is_over: is_over(exchange),
            is_destroyed: exchange.destroyed_at.is_some(),
            may_ask: may(Action::SendRfi),
            may_write_down: may(Action::SendRfi) && exchange.state != ExchangeState::Completed,
            may_tell: may(Action::SendOutcome),
            may_forward: follows(OutcomeCode::SocialCareAssessment) && exchange.result.is_some(),
            may_step_down: follows(OutcomeCode::EarlyHelp),
            may_consult: may(Action::Consult) && exchange.result.is_some(),
            events: timeline
                .iter()
                .filter_map(|entry| happening(entry, visitor.agency(), may(Action::Collect)))
                .collect(),
        });
    }
    let told_at = api.gateway.referrer_told_at(&id).await?;
    let template = EnquiryPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "Enquiry",
        enquiry: id.to_string(),
        as_of: Moment::of(visitor.at()),
        exchanges: parts,
        may_read: may(Action::Collect),
        referrer_told: told_at.map(Moment::of),
        may_tell_referrer: may(Action::TellReferrer)
            && exchanges
                .iter()
                .filter_map(|exchange| exchange.decision)
                .any(|decision| decision.outcome.is_below_threshold()),
    };
    page(StatusCode::OK, &template)
}

/// All that agencies answered, side by side, each line with whose it is (R19).
#[derive(Template)]
#[template(path = "desk/answers.html")]
struct AnswersPage {
    frame: Frame,
    title: &'static str,
    back: Link,
    as_of: Moment,
    agencies: Vec<Answers>,
}

struct Answers {
    agency: String,
    reference: String,
    state: &'static str,
    told: &'static str,
    said: Vec<Said>,
}

/// One message, or why it is not shown.
struct Said {
    message: String,
    kind: &'static str,
    at: Moment,
    facts: Vec<Fact>,
    withheld: Option<String>,
}

/// Opens every answer in the enquiry for the visitor, as far as their role may see it. That each was opened is
/// in the log.
pub(super) async fn answers(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    let exchanges = api.gateway.enquiry(visitor.agency(), &id).await?;
    let directory = api.gateway.directory();
    let mut agencies = Vec::new();
    for exchange in exchanges.iter().filter(|exchange| !exchange.is_test()) {
        let timeline = api.gateway.timeline(visitor.agency(), &exchange.id).await?;
        let mut said = Vec::new();
        for (message, kind, at) in timeline.iter().filter_map(|entry| answer(entry, exchange)) {
            let (facts, withheld) = match opened(&api, &visitor, &message).await {
                Ok(Value::Null) => (Vec::new(), Some(SEALED.to_owned())),
                Ok(data) => (facts(&data), None),
                // What is for others, or gone, does not keep the rest from being read.
                Err(problem)
                    if matches!(
                        problem.kind,
                        ProblemType::Gone | ProblemType::RoleNotPermitted
                    ) =>
                {
                    (Vec::new(), Some(problem.detail))
                }
                Err(problem) => return Err(problem),
            };
            said.push(Said {
                message: message.to_string(),
                kind: words::kind(kind),
                at,
                facts,
                withheld,
            });
        }
        agencies.push(Answers {
            agency: directory.name(&exchange.agency).unwrap_or_default().to_owned(),
            reference: exchange.reference.to_string(),
            state: words::state(exchange.state),
            told: words::family(family_may_be_told(&timeline).unwrap_or("nothing")),
            said,
        });
    }
    let template = AnswersPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: "All that was answered",
        back: Link::new(format!("/enquiries/{id}"), "Back to the enquiry"),
        as_of: Moment::of(visitor.at()),
        agencies,
    };
    page(StatusCode::OK, &template)
}

// What this entry accepted, if that is something the agency knows.
fn answer(entry: &StoredEntry, exchange: &Exchange) -> Option<(MessageId, Kind, Moment)> {
    let fields = fields_object(entry);
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = Kind::parse(text("kind"))?;
    let is_answer = matches!(kind, Kind::OnwardDisclosure | Kind::Response | Kind::Supplement);
    let is_theirs = text("event") == "accepted" && text("sender") == exchange.agency.as_str();
    let at = Moment::of(text("time").parse().ok()?);
    (is_answer && is_theirs).then_some((text("message").parse().ok()?, kind, at))
}

/// What is said of a message that the hub alone can open.
const SEALED: &str = "It is sealed to your own key: your program collects it and opens it.";
