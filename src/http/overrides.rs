//! `POST /v1/overrides`: the MASH Team Manager's decision to go on without consent, put on record (R20).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::http::api::{Api, Sender, body, json_response};
use crate::message::rfc3339;
use crate::problem::Problem;

/// Records the decision. What the manager is told is told once, and kept nowhere.
pub(super) async fn record(
    State(api): State<Api>,
    sender: Sender,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (body, _room) = self::body(&api, &headers, body).await?;
    let (agency, desk) = (sender.agency(), sender.peer.role());
    let recorded =
        api.gateway.record_override(agency, desk, sender.certificate(), &body, sender.at).await?;
    let mut response = json_response(&json!({
        "decisionCode": recorded.code,
        "entry": recorded.entry,
        "recordedAt": rfc3339(recorded.at),
        "textForRecord": *recorded.text_for_record,
    }));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
