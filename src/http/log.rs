//! The log at the partner API: its checkpoints and who cosigned them, its entries, its proofs.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::audit::entry::Fields;
use crate::http::api::{
    Api, Number, Query, ROOM_UNIT, Sender, TEXT, json_response, next_link, read, require_json,
    text_response, with_link,
};
use crate::http::view::fields_object;
use crate::message::{AgencyId, rfc3339};
use crate::problem::{Problem, ProblemType};
use crate::schema::Schemas;
use crate::store::StoredEntry;

pub(super) async fn checkpoint(
    State(api): State<Api>,
    _: Sender,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let witnesses = wanted.witnesses.map_or(0, |Number(witnesses)| witnesses);
    let witnesses = usize::try_from(witnesses).unwrap_or(usize::MAX);
    Ok(text_response(TEXT, api.gateway.checkpoint(witnesses).await?))
}

// Any agency may bring it, for itself or for another: what counts is whose signatures are on it.
pub(super) async fn cosign(
    State(api): State<Api>,
    sender: Sender,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    require_json(&headers)?;
    let _room = api.room.try_acquire_many(NOTE_ROOM).map_err(|_| {
        Problem::new(ProblemType::Busy, "As many bodies as fit are being read already.")
    })?;
    let body = read(body, NOTE_BYTES_MAX).await?;
    let body = Schemas::parse(&body)
        .map_err(|fault| Problem::new(ProblemType::NotJson, fault.to_string()))?;
    // The note alone: what else there is has not been said what it means.
    let note = body.as_object().filter(|members| members.len() == 1);
    let note = note.and_then(|members| members.get("note")?.as_str()).unwrap_or_default();
    let (size, cosignatures) = api.gateway.cosign(note, sender.at).await?;
    let views: Vec<_> = cosignatures
        .iter()
        .map(|found| json!({ "time": rfc3339(found.at), "witness": found.witness }))
        .collect();
    Ok(json_response(&json!({ "cosignatures": views, "size": size })))
}

pub(super) async fn entries(
    State(api): State<Api>,
    sender: Sender,
    Query(page): Query<EntryPage>,
) -> Result<Response, Problem> {
    let limit = api.page(page.limit);
    let from = page.after.map_or(0, |Number(after)| after + 1);
    let entries = api.gateway.entries(from, limit).await?;
    let last = entries.last().map(|entry| entry.index);
    let next = next_link("/v1/log/entries", "after", last, &entries, limit);
    let views: Vec<_> = entries.iter().map(|entry| entry_view(entry, sender.agency())).collect();
    Ok(with_link(json_response(&json!({ "entries": views })), next))
}

pub(super) async fn key(State(api): State<Api>, _: Sender) -> Response {
    text_response(TEXT, format!("{}\n", api.gateway.log()))
}

pub(super) async fn proof(
    State(api): State<Api>,
    _: Sender,
    Query(range): Query<ProofRange>,
) -> Result<Response, Problem> {
    let hashes = match (range.entry, range.size, range.from, range.to) {
        (Some(Number(entry)), Some(Number(size)), None, None) => {
            api.gateway.inclusion(entry, size).await?
        }
        (None, None, Some(Number(from)), Some(Number(to))) => {
            api.gateway.consistency(from, to).await?
        }
        _ => {
            return Err(Problem::new(
                ProblemType::InvalidParameter,
                "Give entry and size for an inclusion proof, or from and to for a consistency proof.",
            ));
        }
    };
    let hashes: Vec<_> = hashes.iter().map(|hash| STANDARD.encode(hash.as_bytes())).collect();
    Ok(json_response(&json!({ "hashes": hashes })))
}

fn entry_view(entry: &StoredEntry, reader: &AgencyId) -> Value {
    let mut view = Map::new();
    view.insert("index".to_owned(), json!(entry.index));
    if let Some(hash) = entry.nodes.first() {
        view.insert("leafHash".to_owned(), json!(STANDARD.encode(hash.as_bytes())));
    }
    let is_readers = entry
        .fields
        .as_deref()
        .and_then(Fields::parse)
        .is_some_and(|fields| fields.parties().any(|party| party == reader.as_str()));
    if let (true, Some(salt)) = (is_readers, entry.salt) {
        view.insert("fields".to_owned(), Value::Object(fields_object(entry)));
        view.insert("salt".to_owned(), json!(STANDARD.encode(salt)));
    }
    Value::Object(view)
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    witnesses: Option<Number>,
}

#[derive(Deserialize)]
pub(super) struct EntryPage {
    after: Option<Number>,
    limit: Option<Number>,
}

#[derive(Deserialize)]
pub(super) struct ProofRange {
    entry: Option<Number>,
    from: Option<Number>,
    size: Option<Number>,
    to: Option<Number>,
}

/// A checkpoint is a few hundred bytes, and a cosignature a hundred more.
const NOTE_BYTES_MAX: usize = 16 << 10;
const NOTE_ROOM: u32 = (NOTE_BYTES_MAX as u64 / ROOM_UNIT) as u32;
