//! The enrolment door: EST (RFC 7030) for agencies' certificates, and what anybody may have of the
//! authorities: their certificates and revocation lists.
//!
//! Of a signing request only the key is taken; who it is for comes from the one-time token, or from
//! the certificate that is to be renewed. Which of a token's faults it was is logged and not said.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use crate::audit::entry::Event;
use crate::directory::Status;
use crate::directory::permission::Action;
use crate::exchange::Gateway;
use crate::http::connection::Guest;
use crate::http::refusals::Refusals;
use crate::http::server::network;
use crate::issuer::{IssuedChain, IssuerError};
use crate::message::{AgencyId, MessageId, now};
use crate::pki::ca::{certificates, certificates_only};
use crate::pki::identity::{Peer, Standing};
use crate::register::{Live, Register, RegisterError, TokenFault};
use crate::telemetry::Metrics;

/// What the door serves.
#[derive(Clone)]
pub struct Enrolment {
    /// The gateway, for its directory and its log.
    pub gateway: Arc<Gateway>,
    /// The register.
    pub register: Register,
    /// The certificates that are good, asked on every request.
    pub live: Arc<Live>,
    /// What anybody may have.
    pub published: watch::Receiver<Arc<Published>>,
    /// How refusals are thinned out before they reach the log.
    pub refusals: Arc<Refusals>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How often somebody may try.
    pub attempts: Arc<Attempts>,
    /// A place for each body being read, of everybody together.
    pub room: Arc<Semaphore>,
    /// The longest a request may take.
    pub request_timeout: Duration,
}

/// What anybody may have of the authorities.
#[derive(Debug)]
pub struct Published {
    /// Certificates (`.crt`) and revocation lists (`.crl`), DER, by file name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The roots and the agencies' authorities, as PKCS#7.
    pub authorities: Vec<u8>,
}

/// How often somebody may try. A right token is never kept waiting for others' wrong ones, and has
/// 256 random bits: this is not against guessing, but so that whoever is wrong is told to stop.
pub struct Attempts {
    wrong: DefaultKeyedRateLimiter<IpAddr>,
    renewals: DefaultKeyedRateLimiter<AgencyId>,
}

impl Attempts {
    /// So many wrong tokens a minute for each address, and renewals an hour for each agency.
    pub fn new(wrong_per_minute: NonZeroU32, renewals_per_hour: NonZeroU32) -> Self {
        Self {
            wrong: RateLimiter::keyed(Quota::per_minute(wrong_per_minute)),
            renewals: RateLimiter::keyed(Quota::per_hour(renewals_per_hour)),
        }
    }

    // What whoever tried this is told.
    fn was_wrong(&self, from: IpAddr, fault: TokenFault) -> Refusal {
        if self.wrong.len() > ADDRESSES_MAX {
            self.wrong.retain_recent();
        }
        match self.wrong.check_key(&network(from)) {
            Ok(()) => Refusal::Token(fault.code()),
            Err(_) => Refusal::TooMany,
        }
    }

    fn may_renew(&self, agency: &AgencyId) -> bool {
        self.renewals.check_key(agency).is_ok()
    }
}

/// The door's routes.
pub fn router(door: Enrolment) -> Router {
    Router::new()
        .route("/.well-known/est/cacerts", get(authorities))
        .route("/.well-known/est/simpleenroll", post(enrol))
        .route("/.well-known/est/simplereenroll", post(renew))
        .route("/pki/{name}", get(file))
        .layer(middleware::from_fn_with_state(door.clone(), around))
        .with_state(door)
}

/// What those get who do not speak TLS: what is signed, and nothing that is secret goes the other way.
pub fn plain_router(door: Enrolment) -> Router {
    Router::new()
        .route("/pki/{name}", get(file))
        .fallback(|| async {
            let text = "Speak TLS: https. What was sent in the clear, such as a token, is to be \
                        replaced.\n";
            (StatusCode::FORBIDDEN, text)
        })
        .layer(middleware::from_fn_with_state(door.clone(), around))
        .with_state(door)
}

async fn around(State(door): State<Enrolment>, request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(door.request_timeout, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn authorities(State(door): State<Enrolment>) -> Response {
    pkcs7(&door.published.borrow().authorities)
}

async fn file(State(door): State<Enrolment>, Path(name): Path<String>) -> Response {
    let Some(bytes) = door.published.borrow().files.get(&name).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let media_type = match name.ends_with(".crl") {
        true => "application/pkix-crl",
        false => "application/pkix-cert",
    };
    ([(header::CONTENT_TYPE, media_type)], bytes).into_response()
}

async fn enrol(State(door): State<Enrolment>, request: Request) -> Response {
    let at = now();
    let guest = request.extensions().get::<Guest>().cloned();
    let from = match &guest {
        Some(Guest::Nobody(from) | Guest::Named(_, from)) => *from,
        Some(Guest::Refused(_)) | None => return door.refuse(Refusal::Certificate, None, at),
    };
    let credentials = credentials(request.headers());
    // Read in any case: a client that is still sending would not see the answer.
    let csr = door.read(request).await;
    let Some((agency, token)) = credentials else {
        return door.refuse(Refusal::NoToken, None, at);
    };
    let csr = match csr {
        Ok(csr) => csr,
        Err(refusal) => return door.refuse(refusal, None, at),
    };
    let known = AgencyId::parse(&agency).ok();
    let known = known.filter(|agency| door.may_hold(agency, at));
    let Some(agency) = known else {
        return door.refuse(door.attempts.was_wrong(from, TokenFault::Unknown), None, at);
    };
    let enrolled = door.register.enrol(&agency, &token, &csr, at).await;
    if let Err(RegisterError::Token(fault)) = enrolled {
        return door.refuse(door.attempts.was_wrong(from, fault), None, at);
    }
    door.answer(enrolled, &agency, at).await
}

async fn renew(State(door): State<Enrolment>, request: Request) -> Response {
    let at = now();
    let guest = request.extensions().get::<Guest>().cloned();
    let csr = door.read(request).await;
    let Some(peer) = guest.as_ref().and_then(Guest::peer).filter(|peer| door.is_good(peer, at))
    else {
        return door.refuse(Refusal::Certificate, None, at);
    };
    // A role that the agency no longer has is not renewed either.
    if door.gateway.permit(peer.agency(), peer.role(), Action::Renew).is_err() {
        return door.refuse(Refusal::Role, Some(peer.agency()), at);
    }
    let csr = match csr {
        Ok(csr) => csr,
        Err(refusal) => return door.refuse(refusal, Some(peer.agency()), at),
    };
    let agency = peer.agency().clone();
    // One that was stopped, or is gone, is not helped to go on.
    if !door.may_hold(&agency, at) {
        return door.refuse(Refusal::Certificate, Some(&agency), at);
    }
    if !door.attempts.may_renew(&agency) {
        return door.refuse(Refusal::TooManyRenewals, Some(&agency), at);
    }
    let renewed = door.register.renew(peer, &csr, at).await;
    door.answer(renewed, &agency, at).await
}

impl Enrolment {
    fn is_good(&self, peer: &Peer, at: Timestamp) -> bool {
        self.live.subscribe().borrow().standing(peer.sha256(), at) == Standing::Active
    }

    // Whether the agency takes part, or is about to.
    fn may_hold(&self, agency: &AgencyId, at: Timestamp) -> bool {
        let directory = self.gateway.directory();
        let status = directory.get(agency).map(|partner| partner.status_at(at));
        matches!(status, Some(Status::Active | Status::Pending))
    }

    async fn read(&self, request: Request) -> Result<String, Refusal> {
        let Ok(_place) = self.room.try_acquire() else {
            return Err(Refusal::Unavailable("too many bodies are being read".to_owned()));
        };
        read(request.into_body()).await
    }

    async fn answer(
        &self,
        issued: Result<IssuedChain, RegisterError>,
        agency: &AgencyId,
        at: Timestamp,
    ) -> Response {
        let refusal = match issued {
            Ok(issued) => {
                // Good before it is handed out.
                if let Err(error) = self.live.refresh().await {
                    tracing::error!(error = %error, "the register could not be read");
                }
                self.metrics.enrolment("issued");
                tracing::info!(
                    agency.id = agency.as_str(),
                    certificate.serial = issued.serial,
                    "a certificate was issued at the enrolment door"
                );
                return match certificates(&issued.pem) {
                    Ok(leaf) => pkcs7(&certificates_only(&leaf)),
                    Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                };
            }
            Err(error) => Refusal::of(&error),
        };
        if let Refusal::Unavailable(reason) = &refusal {
            tracing::error!(reason, "a certificate could not be issued");
        }
        self.refuse(refusal, Some(agency), at)
    }

    fn refuse(&self, refusal: Refusal, agency: Option<&AgencyId>, at: Timestamp) -> Response {
        let code = refusal.code();
        self.metrics.enrolment(code);
        // Waiting is not being refused, and our own faults are not theirs.
        if !matches!(refusal, Refusal::Awaiting | Refusal::Unavailable(_)) {
            let instance = MessageId::new(at).to_string();
            // Whom somebody without a certificate says he is, is not whom it is about.
            let agency = agency.filter(|_| !matches!(refusal, Refusal::Token(_)));
            let event = Event::refused(agency, code, &instance, "/.well-known/est");
            if self.refusals.note(&self.gateway, agency, code, &event, at) {
                tracing::info!(instance, problem.code = code, "an enrolment was refused");
            }
        }
        refusal.into_response()
    }
}

/// Why there is no certificate.
#[derive(Debug)]
enum Refusal {
    /// An operator has to approve the key first.
    Awaiting,
    /// The request cannot be certified.
    Body(String),
    /// No certificate, or none that is good.
    Certificate,
    /// Nothing to show.
    NoToken,
    /// The agency has no such role.
    Role,
    /// The body is larger than any request.
    TooLarge,
    /// Too many attempts.
    TooMany,
    /// Too many renewals.
    TooManyRenewals,
    /// The token is not good.
    Token(&'static str),
    /// Ours to mend.
    Unavailable(String),
}

impl Refusal {
    fn of(error: &RegisterError) -> Self {
        match error {
            RegisterError::AwaitingApproval => Self::Awaiting,
            RegisterError::Token(fault) => Self::Token(fault.code()),
            RegisterError::PredecessorRevoked => Self::Certificate,
            RegisterError::Csr(_)
            | RegisterError::Issuer(IssuerError::Request(_))
            | RegisterError::KeyCompromised
            | RegisterError::KeyIsOtherProfile
            | RegisterError::KeyNotNew => Self::Body(error.to_string()),
            // Whose key it is, is nobody else's business.
            RegisterError::KeyIsOthers(_) => {
                Self::Body("this key cannot be certified; make a new one".to_owned())
            }
            RegisterError::Issuer(IssuerError::Refused(_) | IssuerError::Unavailable(_))
            | RegisterError::HolderUnknown
            | RegisterError::Ledger(_)
            | RegisterError::Store(_)
            | RegisterError::UnknownReason => Self::Unavailable(error.to_string()),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting-approval",
            Self::Body(_) => "request-unusable",
            Self::Certificate => "certificate-refused",
            Self::NoToken => "token-missing",
            Self::Role => "role-not-permitted",
            Self::TooLarge => "body-too-large",
            Self::TooMany => "too-many-attempts",
            Self::TooManyRenewals => "too-many-renewals",
            Self::Token(code) => code,
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let plain = |status: StatusCode, text: String| {
            (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n"))
                .into_response()
        };
        let later = |mut response: Response, seconds: u32| {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        };
        match self {
            Self::Awaiting => later(
                plain(
                    StatusCode::ACCEPTED,
                    "An operator has to approve this key. Send the same request again later."
                        .to_owned(),
                ),
                APPROVAL_RETRY_S,
            ),
            Self::Body(text) => plain(StatusCode::BAD_REQUEST, text),
            Self::Certificate => plain(
                StatusCode::FORBIDDEN,
                "Renewal needs the certificate that is to be renewed, and it must still be good. \
                 Otherwise ask the gateway's operator for a new token."
                    .to_owned(),
            ),
            Self::NoToken | Self::Token(_) => {
                let mut response = plain(
                    StatusCode::UNAUTHORIZED,
                    "Give your agency's id as the user name and its one-time token as the \
                     password. A token is good once, and not for long; the gateway's operator \
                     makes a new one."
                        .to_owned(),
                );
                response.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"enrolment\", charset=\"UTF-8\""),
                );
                response
            }
            Self::Role => plain(
                StatusCode::FORBIDDEN,
                "Your agency has nobody in this role. Ask the gateway's operator.".to_owned(),
            ),
            Self::TooLarge => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, "No signing request is this large.".to_owned())
            }
            Self::TooMany => later(
                plain(StatusCode::TOO_MANY_REQUESTS, "Too many attempts.".to_owned()),
                ATTEMPTS_RETRY_S,
            ),
            Self::TooManyRenewals => later(
                plain(
                    StatusCode::TOO_MANY_REQUESTS,
                    "Your agency renewed too many certificates within the hour.".to_owned(),
                ),
                RENEWALS_RETRY_S,
            ),
            Self::Unavailable(_) => later(
                plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Certificates cannot be issued now.".to_owned(),
                ),
                UNAVAILABLE_RETRY_S,
            ),
        }
    }
}

// User name and password (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Zeroizing<String>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let text = std::str::from_utf8(&decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Zeroizing::new(password.to_owned())))
}

// The media type and Content-Transfer-Encoding are not looked at: clients differ (RFC 8951, 3.1).
async fn read(mut body: Body) -> Result<String, Refusal> {
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::TooLarge)?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > READ_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        // Beyond that it is taken and forgotten: a client that is still sending would not see the
        // answer.
        if length <= BODY_BYTES_MAX {
            kept.extend_from_slice(&data);
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    match String::from_utf8(kept) {
        Ok(text) => Ok(text),
        // As a browser or curl would send the file openssl wrote with -outform DER.
        Err(error) => Ok(STANDARD.encode(error.as_bytes())),
    }
}

// Base64 (RFC 7030, 4.1.3; RFC 8951), in one line: strongSwan does not read several.
fn pkcs7(der: &[u8]) -> Response {
    let text = STANDARD.encode(der);
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("application/pkcs7-mime; smime-type=certs-only");
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert("content-transfer-encoding", HeaderValue::from_static("base64"));
    response
}

/// What is read of a body before the connection is given up.
const READ_BYTES_MAX: usize = 256 * 1024;
/// As much as any signing request, several times over.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Addresses remembered before the quiet ones are forgotten.
const ADDRESSES_MAX: usize = 10_000;
/// An operator is a person.
const APPROVAL_RETRY_S: u32 = 60;
const ATTEMPTS_RETRY_S: u32 = 60;
/// One in ten of an hour's.
const RENEWALS_RETRY_S: u32 = 360;
const UNAVAILABLE_RETRY_S: u32 = 30;
