//! One message as a page: what it says, that it is in the agency's own record, its receipt.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::answering::may_answer;
use super::page::{Frame, Link, page, see};
use super::said::home;
use super::visitor::Visitor;
use super::words;
use crate::http::api::{Api, Path, TEXT, parse};
use crate::http::attachments::hand_out;
use crate::message::{Kind, MediaType, MessageId};
use crate::problem::{Problem, ProblemType};
use crate::rule::law;
use crate::schema::Schemas;
use crate::store::{DeliveryState, StoredMessage};

/// One thing that a document says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fact {
    pub(super) label: String,
    pub(super) text: String,
}

impl Fact {
    pub(super) fn new(label: impl Into<String>, text: impl Into<String>) -> Self {
        Self { label: label.into(), text: text.into() }
    }
}

/// All that a document says, in words, what matters most first; but for what only programs need.
pub(super) fn facts(document: &Value) -> Vec<Fact> {
    let mut found = Vec::new();
    gather(&mut found, "", document);
    found
}

fn gather(found: &mut Vec<Fact>, label: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            let place = |name: &str| FIRST.iter().position(|first| *first == name);
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| place(name).unwrap_or(FIRST.len()));
            for (name, value) in members {
                if FOR_PROGRAMS.contains(&name.as_str()) {
                    continue;
                }
                let label = match label {
                    "" => words::label(name),
                    outer => format!("{outer}: {}", words::label(name).to_lowercase()),
                };
                gather(found, &label, value);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.iter().all(|item| item.is_string() || item.is_number()) => {
            let texts: Vec<_> = items.iter().map(scalar).collect();
            found.push(Fact::new(label, texts.join("\n")));
        }
        Value::Array(items) => {
            for (item, number) in items.iter().zip(1..) {
                // What is answered is known by its heading on the form.
                let mut item = item.clone();
                let category = item.as_object_mut().and_then(|item| item.remove("category"));
                match category.as_ref().and_then(Value::as_str) {
                    Some(category) => gather(found, words::category(category), &item),
                    None => gather(found, &format!("{label} {number}"), &item),
                }
            }
        }
        value => found.push(Fact::new(label, scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(true) => "Yes".to_owned(),
        Value::Bool(false) => "No".to_owned(),
        Value::String(text) => {
            if let Some(power) = law::powers().iter().find(|power| power.code == *text) {
                return power.title.clone();
            }
            let category = words::category(text);
            if category != text {
                return category.to_owned();
            }
            let is_code = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            match text.len() > 1 && text.chars().all(is_code) && !is_dated(text) {
                true => words::code(text),
                false => words::time_in(text),
            }
        }
        other => other.to_string(),
    }
}

// A day, an edition: not a code to be said in words.
fn is_dated(text: &str) -> bool {
    text.split('-').any(|part| part.len() == 4 && part.bytes().all(|c| c.is_ascii_digit()))
}

/// What somebody looks for first.
const FIRST: [&str; 10] = [
    "result",
    "outcome",
    "question",
    "answer",
    "status",
    "summary",
    "answers",
    "onwardDisclosure",
    "handlingConditions",
    "mayBeTold",
];

/// Ids, digests and editions: of no use to whoever reads.
const FOR_PROGRAMS: [&str; 8] = [
    "attachmentId",
    "attachments",
    "codelist",
    "contentDigest",
    "decisionCode",
    "inReplyTo",
    "personId",
    "sha256",
];

/// A message that the visitor's agency was sent.
#[derive(Template)]
#[template(path = "desk/message.html")]
struct MessagePage {
    frame: Frame,
    title: String,
    back: Link,
    id: String,
    reference: String,
    at: String,
    facts: Vec<Fact>,
    files: Vec<Link>,
    /// What is to be put into the record, word for word (R49).
    paragraph: Option<String>,
    is_sealed_to_agency: bool,
    is_saved: bool,
    /// Whether it is a question, which the visitor may answer.
    may_answer: bool,
}

/// The contents of a message, opened for this visitor: that it was opened is in the log before. What is sealed
/// to the agency's own key is not opened here, and so is not collected either: nobody has seen it.
pub(super) async fn opened(api: &Api, visitor: &Visitor, id: &MessageId) -> Result<Value, Problem> {
    let stored = api.gateway.received(visitor.agency(), id).await?;
    if stored.envelope.is_sealed_to_agency {
        return Ok(Value::Null);
    }
    let role = Some(visitor.role());
    let document = api
        .gateway
        .collect(visitor.agency(), visitor.certificate(), role, id, visitor.at())
        .await?;
    let mut document = Schemas::parse(&document).map_err(|fault| {
        Problem::new(ProblemType::Internal, "The message could not be read.").because(fault)
    })?;
    Ok(document.get_mut("data").map(Value::take).unwrap_or_default())
}

/// Shows it.
pub(super) async fn read(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: MessageId = parse(&id)?;
    let stored = api.gateway.received(visitor.agency(), &id).await?;
    let reference = stored.envelope.reference.to_string();
    if stored.envelope.kind == Kind::Rfi {
        return Ok(see(&format!("/requests/{reference}")));
    }
    let back = shown_at(&api, &visitor, &stored).await?;
    let data = opened(&api, &visitor, &id).await?;
    let paragraph = (stored.envelope.kind == Kind::Outcome)
        .then(|| data.pointer("/textForRecord").and_then(Value::as_str).map(str::to_owned))
        .flatten();
    let template = MessagePage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: words::kind(stored.envelope.kind).to_owned(),
        back,
        id: id.to_string(),
        reference,
        at: words::time(stored.envelope.time),
        facts: facts(&data),
        files: files(&data),
        paragraph,
        is_sealed_to_agency: stored.envelope.is_sealed_to_agency,
        is_saved: is_saved(&stored),
        may_answer: may_answer(&api, &visitor, stored.envelope.kind, &data),
    };
    page(StatusCode::OK, &template)
}

/// Whether it is in the agency's own record, as the agency said.
pub(super) fn is_saved(stored: &StoredMessage) -> bool {
    stored.delivery == DeliveryState::Saved
}

/// The agency has it in its own record (R114).
pub(super) async fn saved(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: MessageId = parse(&id)?;
    let stored = api.gateway.received(visitor.agency(), &id).await?;
    let (agency, role) = (visitor.agency(), Some(visitor.role()));
    api.gateway.save(agency, visitor.certificate(), role, &id, None, visitor.at()).await?;
    Ok(see(&shown_at(&api, &visitor, &stored).await?.to))
}

// Where the exchange of a message is shown to the visitor. Who goes on with a family, and is no party to the
// exchange an answer came from, begins at the list.
async fn shown_at(api: &Api, visitor: &Visitor, stored: &StoredMessage) -> Result<Link, Problem> {
    let exchange = api.gateway.exchange_of(visitor.agency(), &stored.envelope.id).await;
    let party = exchange.as_ref().ok().and_then(|exchange| exchange.party(visitor.agency()));
    Ok(match (exchange, party) {
        (Ok(exchange), Some(party)) => home(&exchange, party),
        _ => Link::new("/", "Back to the start"),
    })
}

/// A file that goes with a message that the agency was sent, to be kept.
pub(super) async fn attachment(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (agency, certificate) = (visitor.agency(), visitor.certificate());
    hand_out(&api, agency, certificate, Some(visitor.role()), &id, visitor.at()).await
}

/// The files that go with a document, to be fetched.
pub(super) fn files(document: &Value) -> Vec<Link> {
    let named = document.pointer("/attachments").and_then(Value::as_array);
    let link = |(file, number): (&Value, usize)| {
        let id = file.get("id")?.as_str()?;
        let media_type = file.get("mediaType")?.as_str()?;
        let kib = file.get("size")?.as_u64()?.div_ceil(1_024);
        let kind = match MediaType::parse(media_type) {
            Some(MediaType::Jpeg) => "JPEG picture",
            Some(MediaType::Pdf) => "PDF",
            Some(MediaType::Png) => "PNG picture",
            Some(MediaType::Text) => "plain text",
            None => "file",
        };
        Some(Link::new(format!("/attachments/{id}"), format!("File {number}: {kind}, {kib} KiB")))
    };
    named.into_iter().flatten().zip(1..).filter_map(link).collect()
}

/// The receipt of a message that the agency sent or was sent, to be kept.
pub(super) async fn receipt(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: MessageId = parse(&id)?;
    let receipt = api.gateway.receipt(visitor.agency(), &id).await?;
    let mut response = ([(header::CONTENT_TYPE, TEXT)], receipt).into_response();
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{id}.receipt.txt\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_said_in_words() {
        let document = json!({
            "inReplyTo": "019e1b6a-3c00-7a10-8f00-0000000000a1",
            "lawfulBasis": { "codelist": "uk-2026-04", "specialCategory": true, "powers": ["a-b", "children-act-1989-s47"], "article6": "e" },
            "answers": [{ "status": "provided", "category": "neglect", "factOrOpinion": "fact" }],
            "result": "complete",
            "attachments": [],
            "persons": [{ "personId": "p1", "givenName": "<b>Robin</b>" }],
            "category": "cse-cce",
            "on": "2026-11-23",
            "at": "2026-11-23T09:10:00Z",
        });
        let said: Vec<_> = facts(&document)
            .into_iter()
            .map(|fact| format!("{} = {}", fact.label, fact.text))
            .collect();
        assert_eq!(
            said,
            [
                "Result = Complete",
                "Neglect: missed appointments, poor home conditions: status = Provided",
                "Neglect: missed appointments, poor home conditions: fact or opinion = Fact",
                "At = Monday 23 November 2026, 09:10",
                "Category = Child sexual or criminal exploitation",
                "Lawful basis: article 6 = e",
                "Lawful basis: powers = A b\nChildren Act 1989, section 47",
                "Lawful basis: special category = Yes",
                "On = 2026-11-23",
                "Persons 1: given name = <b>Robin</b>",
            ]
        );
    }
}
