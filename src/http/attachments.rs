//! Files at the partner API: taken in and handed out piece by piece.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::event::content_digest;
use crate::exchange::attachments::{NewFile, Outgoing, Upload};
use crate::http::api::{Api, Path, REST_BYTES_MAX, Sender, given_digest, idempotency_key, parse};
use crate::message::{AgencyId, AttachmentId, MediaType, Role};
use crate::problem::{Problem, ProblemType};
use crate::telemetry::Limit;

/// Takes a file in.
pub(super) async fn attach(
    State(api): State<Api>,
    sender: Sender,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut pieces = Pieces { body, is_begun: false };
    let taken = take(&api, &sender, &headers, &mut pieces).await;
    // Most senders read an answer only when they have sent all; one that asks first need not send it.
    if taken.is_err() && (pieces.is_begun || !headers.contains_key(header::EXPECT)) {
        pieces.pass_over().await;
    }
    taken
}

/// A place for a file that comes or goes, as long as this is held.
pub(super) fn place(api: &Api, agency: &AgencyId) -> Result<Transfer, Problem> {
    let place = api.transfers.enter(agency);
    place.inspect_err(|_| api.metrics.limit_reached(Limit::FilesAtOnce))
}

async fn take(
    api: &Api,
    sender: &Sender,
    headers: &HeaderMap,
    pieces: &mut Pieces,
) -> Result<Response, Problem> {
    let new = NewFile {
        sender: sender.agency().clone(),
        desk: sender.peer.role(),
        certificate: sender.certificate().map(str::to_owned),
        idempotency_key: idempotency_key(headers)?,
        media_type: media_type(headers)?,
        bytes_at_least: pieces.body.size_hint().lower(),
    };
    let _place = place(api, &new.sender)?;
    let mut upload: Upload = api.gateway.begin_upload(new, sender.at).await?;
    while let Some(piece) = pieces.next().await? {
        upload.write(&piece).await?;
    }
    let uploaded = upload.finish(given_digest(headers), sender.at).await?;
    let mut response = Response::new(Body::from(uploaded.answer));
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set(headers, "location", &format!("/v1/attachments/{}", uploaded.id));
    Ok(response)
}

/// Hands a file to the recipient of a message that names it.
pub(super) async fn collect_attachment(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (agency, certificate) = (sender.agency(), sender.certificate());
    hand_out(&api, agency, certificate, sender.peer.role(), &id, sender.at).await
}

/// The same, to whoever of an agency: in which role, with which certificate, and when.
pub(super) async fn hand_out(
    api: &Api,
    agency: &AgencyId,
    certificate: Option<&str>,
    desk: Option<Role>,
    id: &str,
    at: Timestamp,
) -> Result<Response, Problem> {
    let id: AttachmentId = parse(id)?;
    let place = place(api, agency)?;
    let outgoing = api.gateway.collect_attachment(agency, certificate, desk, &id, at).await?;
    let facts = outgoing.facts.clone();
    let body = FileBody::start(outgoing, place, api.attachment_timeout);
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    let (shown, extension) = match MediaType::parse(facts.media_type) {
        Some(MediaType::Text) => ("text/plain; charset=utf-8", MediaType::Text.extension()),
        Some(other) => (other.as_str(), other.extension()),
        None => (facts.media_type, "age"),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(shown));
    // Whatever it is, no browser is to show it as a page of ours, or guess what it is.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let disposition = format!("attachment; filename=\"{id}.{extension}\"");
    set(headers, "content-disposition", &disposition);
    set(headers, "content-digest", &content_digest(&facts.digest));
    if let Some(key) = &facts.wrapped_key {
        // Bytes, as RFC 9651 writes them.
        set(headers, "attachment-key", &format!(":{}:", STANDARD.encode(key)));
    }
    Ok(response)
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // Ids, digests and base64: always a header's text.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (name, parameter) = match declared.unwrap_or_default().split_once(';') {
        Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
        None => (declared.unwrap_or_default().trim(), None),
    };
    let found = MediaType::parse(&name.to_ascii_lowercase());
    let is_utf8 = |parameter: &str| {
        let charset = parameter.to_ascii_lowercase().replace('"', "");
        charset == "charset=utf-8"
    };
    let is_plain = match (found, parameter) {
        (_, None) => true,
        (Some(MediaType::Text), Some(parameter)) => is_utf8(parameter),
        (_, Some(_)) => false,
    };
    found.filter(|_| is_plain).ok_or_else(|| {
        let all = MediaType::ALL.map(MediaType::as_str).join(", ");
        Problem::new(ProblemType::MediaType, format!("The Content-Type is none of {all}."))
    })
}

/// A body, piece by piece.
struct Pieces {
    body: Body,
    is_begun: bool,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        self.is_begun = true;
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|_| {
                Problem::new(ProblemType::InvalidParameter, "The body broke off before its end.")
            })?;
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    // A bounded rest.
    async fn pass_over(&mut self) {
        let mut passed_over = 0;
        while let Ok(Some(piece)) = self.next().await {
            passed_over += piece.len();
            if passed_over > REST_BYTES_MAX {
                break;
            }
        }
    }
}

/// The files that come and go now. An agency has a share of them, so that none takes all the memory, or
/// the places of others.
#[derive(Debug)]
pub struct Transfers {
    per_agency_max: usize,
    now: Mutex<HashMap<AgencyId, usize>>,
}

impl Transfers {
    /// None yet; at most so many for one agency.
    pub fn new(per_agency_max: usize) -> Self {
        Self { per_agency_max, now: Mutex::default() }
    }

    fn enter(self: &Arc<Self>, agency: &AgencyId) -> Result<Transfer, Problem> {
        let mut now = self.lock();
        let all: usize = now.values().sum();
        let own = now.get(agency).copied().unwrap_or(0);
        if own >= self.per_agency_max || all >= TRANSFERS_MAX {
            let detail = "As many files as fit come and go already.";
            return Err(Problem::new(ProblemType::Busy, detail));
        }
        now.insert(agency.clone(), own + 1);
        drop(now);
        Ok(Transfer { transfers: Arc::clone(self), agency: agency.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgencyId, usize>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the transfers.
#[derive(Debug)]
pub(super) struct Transfer {
    transfers: Arc<Transfers>,
    agency: AgencyId,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut now = self.transfers.lock();
        match now.get_mut(&self.agency) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(now.remove(&self.agency)),
        }
    }
}

/// A file as the body of an answer. When it cannot be handed over whole, the connection breaks off
/// before the length that was promised.
struct FileBody {
    pieces: mpsc::Receiver<Result<Bytes, io::Error>>,
    left: u64,
}

impl FileBody {
    fn start(mut outgoing: Outgoing, place: Transfer, limit: Duration) -> Self {
        let left = outgoing.facts.size_bytes;
        // One piece waits for the reader while the next is opened.
        let (sender, pieces) = mpsc::channel(1);
        tokio::spawn(async move {
            let _place = place;
            let handed_over = async {
                while let Some(piece) = outgoing.next().await? {
                    if sender.send(Ok(Bytes::from_owner(piece))).await.is_err() {
                        break;
                    }
                }
                Ok::<_, Problem>(())
            };
            match tokio::time::timeout(limit, handed_over).await {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => {
                    tracing::error!(
                        problem.code = problem.kind.facts().code,
                        problem.internal = problem.internal.as_deref(),
                        "a file was cut off: it cannot be handed over whole"
                    );
                    let _ = sender.send(Err(io::ErrorKind::InvalidData.into())).await;
                }
                Err(_) => drop(sender.try_send(Err(io::ErrorKind::TimedOut.into()))),
            }
        });
        Self { pieces, left }
    }
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(match piece {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Files that come and go at once, of all agencies together: each takes some 2 MiB.
const TRANSFERS_MAX: usize = 64;
