//! `/v1/messages/{id}/saved`: that a message is in its recipient's own record, and where (R114).

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use hyper::body::Body as _;
use serde_json::{Value, json};

use crate::exchange::saved::Saved;
use crate::http::api::{Api, Path, Sender, body, find_message, json_response};
use crate::message::{MessageId, rfc3339};
use crate::problem::Problem;
use crate::schema::Schemas;

/// Says so. Where it is need not be said.
pub(super) async fn save(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = find_message(&api, &sender, &id).await?;
    let given = match body.is_end_stream() {
        true => None,
        false => Some(self::body(&api, &headers, body).await?),
    };
    let record = given.as_ref().map(|(record, _)| record.as_slice());
    let (reader, desk) = (sender.agency(), sender.peer.role());
    let saved =
        api.gateway.save(reader, sender.certificate(), desk, &id, record, sender.at).await?;
    Ok(json_response(&view(&id, &saved)))
}

/// Shows what was said.
pub(super) async fn saved(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find_message(&api, &sender, &id).await?;
    let saved = api.gateway.saved(sender.agency(), sender.peer.role(), &id).await?;
    let mut view = view(&id, &saved);
    if let Some(record) = saved.record.and_then(|record| Schemas::parse(&record).ok()) {
        view["record"] = record;
    }
    Ok(json_response(&view))
}

fn view(id: &MessageId, saved: &Saved) -> Value {
    json!({ "entry": saved.entry, "message": id, "savedAt": rfc3339(saved.at) })
}
