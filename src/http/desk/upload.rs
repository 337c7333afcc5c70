//! A form that brings a file, read piece by piece: what a browser sends for `enctype="multipart/form-data"`.
//! The file takes the way of every file; the name it had on somebody's computer is not looked at.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use hyper::body::{Body as _, Frame};
use multer::{Field, Multipart};

use super::visitor::Visitor;
use crate::exchange::attachments::{NewFile, Uploaded};
use crate::http::api::{Api, REST_BYTES_MAX};
use crate::http::attachments::place;
use crate::message::{IdempotencyKey, MediaType};
use crate::problem::{Problem, ProblemType};

/// A form as it comes: the field `key` first, then the field `file`.
pub(super) struct Coming {
    fields: Multipart<'static>,
    /// How many bytes may still come: before the file the library keeps all that it is given.
    left: Arc<AtomicU64>,
    bytes_at_least: u64,
}

impl Coming {
    /// The form that this request brings.
    pub(super) fn of(request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let declared = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str);
        let boundary = declared.and_then(|declared| multer::parse_boundary(declared.ok()?).ok());
        let Some(boundary) = boundary.filter(|boundary| boundary.len() <= BOUNDARY_MAX) else {
            let detail = "The page was not sent as a browser sends it.";
            return Err(Problem::new(ProblemType::ContentType, detail));
        };
        let bytes_at_least = body.size_hint().lower().saturating_sub(AROUND_MAX);
        let left = Arc::new(AtomicU64::new(AROUND_MAX));
        let paced = Paced { body, left: Arc::clone(&left), has_given: false };
        let fields = Multipart::new(Body::new(paced).into_data_stream(), boundary);
        Ok(Self { fields, left, bytes_at_least })
    }

    /// Takes the file in; none where nobody chose one.
    pub(super) async fn take(
        mut self,
        api: &Api,
        visitor: &Visitor,
    ) -> Result<Option<Uploaded>, Problem> {
        let key = self.key().await?;
        let mut file = self.field("file").await?;
        // A browser sends an empty one for none.
        if file.file_name().is_none_or(str::is_empty) {
            return Ok(None);
        }
        self.left.store(u64::MAX, Ordering::Relaxed);
        let taken = take(api, visitor, key, &mut file, self.bytes_at_least).await;
        if taken.is_err() {
            pass_over(&mut file).await;
        }
        taken.map(Some)
    }

    /// Takes nothing of it in, and lets whoever sends it come to the end.
    pub(super) async fn pass_over(mut self) {
        if self.key().await.is_ok()
            && let Ok(mut file) = self.field("file").await
        {
            self.left.store(u64::MAX, Ordering::Relaxed);
            pass_over(&mut file).await;
        }
    }

    async fn key(&mut self) -> Result<IdempotencyKey, Problem> {
        let mut field = self.field("key").await?;
        let mut text = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(broken_off)? {
            text.extend_from_slice(&piece);
        }
        let key = String::from_utf8(text).ok().and_then(|text| text.parse().ok());
        key.ok_or_else(not_as_made)
    }

    // The next field, which is to have this name.
    async fn field(&mut self, name: &str) -> Result<Field<'static>, Problem> {
        let next = self.fields.next_field().await.map_err(broken_off)?;
        next.filter(|field| field.name() == Some(name)).ok_or_else(not_as_made)
    }
}

async fn take(
    api: &Api,
    visitor: &Visitor,
    idempotency_key: IdempotencyKey,
    file: &mut Field<'static>,
    bytes_at_least: u64,
) -> Result<Uploaded, Problem> {
    let declared = file.content_type().map(|declared| declared.essence_str());
    let Some(media_type) = declared.and_then(MediaType::parse) else {
        let detail = "The browser says that the file is of a type that is not taken.";
        return Err(Problem::new(ProblemType::MediaType, detail));
    };
    let new = NewFile {
        sender: visitor.agency().clone(),
        desk: Some(visitor.role()),
        certificate: visitor.certificate().map(str::to_owned),
        idempotency_key,
        media_type,
        bytes_at_least,
    };
    let _place = place(api, &new.sender)?;
    let mut upload = api.gateway.begin_upload(new, visitor.at()).await?;
    while let Some(piece) = file.chunk().await.map_err(broken_off)? {
        upload.write(&piece).await?;
    }
    upload.finish(None, visitor.at()).await
}

// A bounded rest: a browser shows an answer only when it has sent all.
async fn pass_over(file: &mut Field<'static>) {
    let mut passed_over = 0;
    while let Ok(Some(piece)) = file.chunk().await {
        passed_over += piece.len();
        if passed_over > REST_BYTES_MAX {
            break;
        }
    }
}

fn broken_off(_: multer::Error) -> Problem {
    Problem::new(
        ProblemType::InvalidParameter,
        "The form broke off, or is not as a browser sends it.",
    )
}

fn not_as_made() -> Problem {
    Problem::new(ProblemType::InvalidParameter, "The form was not sent as it was made.")
}

/// A body that gives one piece each time it is asked, and ends when more comes than may: the library takes all
/// that it is given at once, and keeps what it finds no boundary in.
struct Paced {
    body: Body,
    left: Arc<AtomicU64>,
    has_given: bool,
}

impl hyper::body::Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if std::mem::take(&mut self.has_given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            let error = axum::Error::new(io::Error::from(io::ErrorKind::InvalidData));
            return Poll::Ready(Some(Err(error)));
        }
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.has_given = polled.is_some();
        if let Some(Ok(frame)) = &polled {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left.store(left.saturating_sub(length), Ordering::Relaxed);
        }
        Poll::Ready(polled)
    }
}

/// The longest that a boundary may be (RFC 2046).
const BOUNDARY_MAX: usize = 70;
/// How much a form has before its file at most, but for what comes in one piece with that.
const AROUND_MAX: u64 = 64 << 10;
