//! How exchanges, messages and entries are shown at the partner API: as JSON, without contents.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::audit::entry::Fields;
use crate::event;
use crate::message::{AgencyId, Exchange, ExchangeState, Kind, Marks, Party, rfc3339};
use crate::store::{StoredEntry, StoredMessage};
use crate::timer::{self, Due};

/// One exchange as JSON: what it is, how it stands, what in it has not reached whom it is for, and, where
/// there is none, that there is no answer.
pub fn exchange_view(exchange: &Exchange, timers: &timer::Settings, at: Timestamp) -> Value {
    let mut view = json!({
        "agency": exchange.agency,
        "categories": exchange.categories,
        "enquiry": exchange.enquiry,
        "hub": exchange.hub,
        "id": exchange.id,
        "isOverdue": is_overdue(exchange, at),
        "openedAt": rfc3339(exchange.opened_at),
        "priority": exchange.priority,
        "reference": exchange.reference,
        "responseRequiredBy": rfc3339(exchange.response_required_by),
        "rfi": exchange.rfi,
        "state": exchange.state,
    });
    if let Some(result) = exchange.result {
        view["result"] = json!(result);
    }
    if let Some(outcome) = exchange.marks.outcome {
        view["outcome"] = json!(outcome);
    }
    let Marks { answered_at, will_reply_by, transcribed_at, telephoned_at, .. } = exchange.marks;
    let Marks { decided_at, outcome_at, cancelled_at, consulted_at, viewed_at, .. } =
        exchange.marks;
    let consent_withdrawn_at = exchange.marks.consent_withdrawn_at;
    for (name, at) in [
        ("answeredAt", answered_at),
        ("cancelledAt", cancelled_at),
        ("consentWithdrawnAt", consent_withdrawn_at),
        ("consultedAt", consulted_at),
        ("decidedAt", decided_at),
        ("outcomeAt", outcome_at),
        ("telephonedAt", telephoned_at),
        ("transcribedAt", transcribed_at),
        ("viewedAt", viewed_at),
        ("willReplyBy", will_reply_by),
    ] {
        if let Some(at) = at {
            view[name] = json!(rfc3339(at));
        }
    }
    if let Some(at) = exchange.destroyed_at {
        view["destroyedAt"] = json!(rfc3339(at));
    }
    if exchange.needs_attention {
        view["needsAttention"] = json!(true);
    }
    if let Some(undelivered) = exchange.undelivered {
        view["undelivered"] = json!(undelivered);
    }
    let due = timers.due(exchange, at);
    if !due.is_empty() {
        view["due"] = due.iter().map(due_view).collect();
    }
    match exchange.state {
        ExchangeState::Requested => view["silence"] = json!("not-collected"),
        ExchangeState::Received => view["silence"] = json!("collected-no-reply"),
        ExchangeState::Accepted
        | ExchangeState::Cancelled
        | ExchangeState::Completed
        | ExchangeState::InProgress
        | ExchangeState::Rejected => {}
    }
    view
}

/// What the family may be told of all that was said in an exchange, by its timeline: what whose information it is
/// said last, and of what came since no more than its own label allows (R41, R42). Nothing, without a word of
/// theirs; none where there is nothing yet to tell.
pub(super) fn family_may_be_told(timeline: &[StoredEntry]) -> Option<&'static str> {
    const LEVELS: [&str; 3] = ["nothing", "part", "all"];
    let mut level = None;
    for entry in timeline {
        let Some(fields) = entry.fields.as_deref().and_then(Fields::parse) else { continue };
        let Some(labels) = fields.get("handling") else { continue };
        let said = match labels.split(' ').next() {
            Some("family-may-be-told") => 2,
            Some("family-may-be-told-part") => 1,
            _ => 0,
        };
        level = match fields.get("kind").and_then(Kind::parse) {
            Some(Kind::OnwardDisclosure) => Some(said),
            Some(Kind::Response | Kind::Supplement | Kind::Transcription) => {
                Some(level.unwrap_or(said).min(said))
            }
            _ => level,
        };
    }
    level.map(|level| LEVELS[level])
}

// What is due, and how many working hours and minutes are left.
fn due_view(due: &Due) -> Value {
    let minutes = due.left.as_mins();
    let left = format!("{}:{:02}", minutes / 60, minutes % 60);
    json!({
        "at": rfc3339(due.at),
        "grade": due.grade,
        "owner": match due.timer.owner() {
            Party::Agency => "agency",
            Party::Hub => "hub",
        },
        "timer": due.timer,
        "workingTimeLeft": left,
    })
}

fn is_overdue(exchange: &Exchange, at: Timestamp) -> bool {
    at > exchange.response_required_by
        && !exchange.is_test()
        && !matches!(
            exchange.state,
            ExchangeState::Cancelled | ExchangeState::Completed | ExchangeState::Rejected
        )
}

pub(super) fn timeline_view(entry: &StoredEntry) -> Value {
    let mut view = fields_object(entry);
    view.insert("index".to_owned(), json!(entry.index));
    Value::Object(view)
}

pub(super) fn fields_object(entry: &StoredEntry) -> Map<String, Value> {
    let parsed = entry.fields.as_deref().and_then(|fields| serde_json::from_str(fields).ok());
    match parsed {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

pub(super) fn message_view(message: &StoredMessage) -> Value {
    let envelope = &message.envelope;
    json!({
        "contentDigest": event::content_digest(&envelope.digest),
        "exchange": envelope.exchange,
        "id": envelope.id,
        "kind": envelope.kind,
        "priority": envelope.priority,
        "reference": envelope.reference,
        "sender": envelope.sender,
        "sizeBytes": envelope.size_bytes,
        "state": message.delivery.as_str(),
        "time": rfc3339(envelope.time),
    })
}

pub(super) fn correspondence_view(message: &StoredMessage, reader: &AgencyId) -> Value {
    let envelope = &message.envelope;
    let (direction, other) = if envelope.sender == *reader {
        ("sent", &envelope.recipient)
    } else {
        ("received", &envelope.sender)
    };
    json!({
        "agency": other,
        "contentDigest": event::content_digest(&envelope.digest),
        "direction": direction,
        "exchange": envelope.exchange,
        "id": envelope.id,
        "kind": envelope.kind,
        "reference": envelope.reference,
        "state": message.delivery.as_str(),
        "time": rfc3339(envelope.time),
    })
}
