//! `POST /v1/enquiries/{id}/referrer-contacts`: that whoever referred the child was told (R115).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::http::api::{Api, Path, Sender, body, json_response, parse};
use crate::message::{EnquiryId, rfc3339};
use crate::problem::Problem;

/// Records it. The paragraph for the child's record is told once, and kept nowhere.
pub(super) async fn record(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    let (body, _room) = self::body(&api, &headers, body).await?;
    let (hub, desk) = (sender.agency(), sender.peer.role());
    let told =
        api.gateway.tell_referrer(hub, desk, sender.certificate(), &id, &body, sender.at).await?;
    let mut response = json_response(&json!({
        "enquiry": id,
        "entry": told.entry,
        "recordedAt": rfc3339(told.at),
        "textForRecord": *told.text_for_record,
    }));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
