//! The partner API: every route, in the order a reader would ask about them, and thin handlers.
//!
//! The sender is whoever the certificate names. A message that is not yours does not exist.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::audit::entry::Event;
use crate::directory::Admission;
use crate::directory::permission::Action;
use crate::event;
use crate::exchange::{Answer, Gateway};
use crate::http::attachments::{Transfers, attach, collect_attachment};
use crate::http::connection::Guest;
use crate::http::log;
use crate::http::overrides;
use crate::http::presence::Presence;
use crate::http::rate::Rate;
use crate::http::reception::Reception;
use crate::http::referrer;
use crate::http::refusals::Refusals;
use crate::http::saved;
use crate::http::share::Shares;
use crate::http::view::{
    correspondence_view, exchange_view, family_may_be_told, message_view, timeline_view,
};
use crate::message::{
    AgencyId, EnquiryId, Exchange, ExchangeId, IdempotencyKey, Kind, MessageId, Period, Reference,
    Submission, Target, now, rfc3339, sha256,
};
use crate::pki::identity::{Peer, Registry};
use crate::problem::{Problem, ProblemType};
use crate::schema::Schemas;
use crate::telemetry::{Limit, Metrics, SubmissionOutcome};

/// What the handlers need.
#[derive(Clone)]
pub struct Api {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The certificates that are good, asked on every request.
    pub registry: watch::Receiver<Arc<Registry>>,
    /// Who was here last.
    pub presence: Arc<Presence>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How refusals are thinned out before they reach the log.
    pub refusals: Arc<Refusals>,
    /// The largest body taken, in bytes.
    pub body_bytes_max: usize,
    /// Memory for bodies being read, in [`ROOM_UNIT`]s.
    pub room: Arc<Semaphore>,
    /// How often each agency may ask.
    pub rate: Arc<Rate>,
    /// The requests of each agency that are in hand.
    pub in_hand: Arc<Shares<AgencyId>>,
    /// How many that may be.
    pub in_hand_max: usize,
    /// The longest a request may take, from its header to its answer.
    pub request_timeout: Duration,
    /// The same for one that brings a file, and the longest that fetching one may take.
    pub attachment_timeout: Duration,
    /// The files that come and go now.
    pub transfers: Arc<Transfers>,
    /// The most items on one page.
    pub page_max: usize,
}

/// The partner API's routes.
pub fn router(api: Api) -> Router {
    let mut router = Router::new()
        .route("/v1/whoami", may(&api, Action::WhoAmI, get(whoami)))
        .route("/v1/rfis", may(&api, Action::saying(Kind::Rfi), post(send_rfi)))
        .route("/v1/enquiries", may(&api, Action::ReadBoard, get(enquiries)))
        .route("/v1/enquiries/{id}", may(&api, Action::ReadBoard, get(enquiry)))
        .route(
            "/v1/enquiries/{id}/referrer-contacts",
            may(&api, Action::TellReferrer, post(referrer::record)),
        )
        .route("/v1/exchanges", may(&api, Action::ReadExchanges, get(exchanges)))
        .route("/v1/exchanges/{id}", may(&api, Action::ReadExchanges, get(exchange)))
        .route("/v1/inbox", may(&api, Action::ReadInbox, get(inbox)))
        .route("/v1/overrides", may(&api, Action::Override, post(overrides::record)))
        .route("/v1/attachments", may(&api, Action::Attach, post(attach)))
        .route("/v1/attachments/{id}", may(&api, Action::Collect, get(collect_attachment)))
        .route("/v1/messages", may(&api, Action::ReadReceipts, get(messages)))
        .route("/v1/messages/{id}", may(&api, Action::Collect, get(collect)))
        .route("/v1/messages/{id}/saved", may(&api, Action::Collect, post(saved::save)))
        .route("/v1/messages/{id}/saved", may(&api, Action::Collect, get(saved::saved)))
        .route("/v1/messages/{id}/non-delivery", may(&api, Action::ReadReceipts, get(non_delivery)))
        .route("/v1/messages/{id}/receipt", may(&api, Action::ReadReceipts, get(receipt)))
        .route("/v1/log/checkpoint", may(&api, Action::ReadLog, get(log::checkpoint)))
        .route("/v1/log/cosignatures", may(&api, Action::ReadLog, post(log::cosign)))
        .route("/v1/log/entries", may(&api, Action::ReadLog, get(log::entries)))
        .route("/v1/log/key", may(&api, Action::ReadLog, get(log::key)))
        .route("/v1/log/proof", may(&api, Action::ReadLog, get(log::proof)))
        .route("/v1/schemas", may(&api, Action::ReadContract, get(schemas)))
        .route("/v1/schemas/{name}", may(&api, Action::ReadContract, get(schema)))
        .route("/openapi.json", may(&api, Action::ReadContract, get(openapi)));
    for kind in Kind::ALL {
        if let Some(path) = kind.path() {
            let path = "/v1/exchanges/{id}/{kind}".replace("{kind}", path);
            let said = move |State(api), sender, Path(id), headers, body| async move {
                say(api, sender, id, kind, headers, body).await
            };
            router = router.route(&path, may(&api, Action::saying(kind), post(said)));
        }
    }
    router
        .fallback(|| async { Problem::new(ProblemType::NotFound, "There is no such path.") })
        .method_not_allowed_fallback(|| async { no_such_method() })
        .layer(middleware::from_fn_with_state(api.clone(), around))
        .with_state(api)
}

// No route without saying what it is to use it: an agency's system may, a person by the role.
fn may(api: &Api, action: Action, methods: MethodRouter<Api>) -> MethodRouter<Api> {
    let gateway = Arc::clone(&api.gateway);
    methods.route_layer(middleware::from_fn(move |sender: Sender, request: Request, next: Next| {
        let permitted = gateway.permit(sender.peer.agency(), sender.peer.role(), action);
        async move {
            match permitted {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        }
    }))
}

// Around every request: who is it, how long may it take, what is said and counted when it fails.
async fn around(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let at = now();
    let method = request.method().clone();
    let route = route(&request);
    let guest = request.extensions().get::<Guest>().cloned();
    let is_foreign = is_cross_site(request.headers());
    let reception = Reception::of(&api, guest.as_ref(), is_foreign, at);
    let sender = reception.peer().and_then(|peer| admit(&api, peer, &request, at));
    let mut response = match sender {
        Ok(sender) => {
            request.extensions_mut().insert(sender);
            let answered = async {
                // The router would answer HEAD as it does GET, and so collect a message for nobody.
                if method == Method::HEAD {
                    no_such_method().into_response()
                } else {
                    next.run(request).await
                }
            };
            let limit = match route {
                ATTACHMENTS => api.attachment_timeout,
                _ => api.request_timeout,
            };
            match tokio::time::timeout(limit, answered).await {
                Ok(response) => response,
                Err(_) => Problem::new(
                    ProblemType::Timeout,
                    "The request took longer than this gateway waits.",
                )
                .into_response(),
            }
        }
        Err(problem) => {
            let mut response = problem.into_response();
            if reception.is_nobody() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        }
    };
    reception.say(&api, response.headers_mut());
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let instance = MessageId::new(at).to_string();
        note(&api, &problem, &instance, reception.agency(), &method, route, at);
        *response.body_mut() = Body::from(problem.document(&instance));
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // RFC 6797, for browsers: one that was here once does not try it without TLS. A year.
    let hsts = HeaderValue::from_static("max-age=31536000");
    headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    response
}

// A browser shows its certificate to whichever page makes it ask; but it says that it is not ours.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    !matches!(site, None | Some(b"same-origin" | b"none"))
}

// Who may not be sent anything may not fetch anything either. Whom we take it for, it may ask; and an
// agency that has yet to join has what a test of its connection needs.
fn admit(api: &Api, peer: Arc<Peer>, request: &Request, at: Timestamp) -> Result<Sender, Problem> {
    let admission = api.gateway.directory().admission(peer.agency(), at);
    let is_admitted = match admission {
        Admission::Everything => true,
        Admission::Nothing => false,
        Admission::TestsOnly => is_for_tests(request),
    };
    if is_admitted || route(request) == "/v1/whoami" {
        return Ok(Sender { peer, admission, at });
    }
    Err(inactive())
}

// Which message or exchange it is about is looked at where it is known.
fn is_for_tests(request: &Request) -> bool {
    let mut parts = request.uri().path().trim_start_matches('/').split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some("inbox"), None, None) => true,
        (Some("v1"), Some("messages"), Some(_), _) => true,
        (Some("v1"), Some("exchanges"), Some(_), None) => true,
        (Some("v1"), Some("exchanges"), Some(_), Some(kind)) => {
            Kind::from_path(kind) == Some(Kind::TestReply)
        }
        _ => false,
    }
}

fn inactive() -> Problem {
    let detail = "The agency's entry in the directory is not active.";
    Problem::new(ProblemType::AgencyInactive, detail)
}

// Once per failure, here, where it is handled: our faults as errors, callers' as information.
pub(super) fn note(
    api: &Api,
    problem: &Problem,
    instance: &str,
    agency: Option<&AgencyId>,
    method: &Method,
    route: &'static str,
    at: Timestamp,
) {
    let facts = problem.kind.facts();
    api.metrics.problem(facts.code);
    if problem.kind == ProblemType::MailboxFull {
        api.metrics.limit_reached(Limit::Mailbox);
    }
    let (agency_id, method) = (agency.map(AgencyId::as_str), method_name(method));
    if facts.status >= 500 {
        tracing::error!(
            instance,
            problem.code = facts.code,
            agency.id = agency_id,
            method,
            route,
            problem.internal = problem.internal.as_deref(),
            "a request failed"
        );
    } else {
        let rules: Vec<_> = problem.errors.iter().map(|error| error.code.as_str()).collect();
        tracing::info!(
            instance, problem.code = facts.code, agency.id = agency_id, method, route,
            problem.rules = ?rules, reason = problem.reason, "a request was refused"
        );
        let event = Event::refused(agency, facts.code, instance, route).because(problem.reason);
        api.refusals.note(&api.gateway, agency, facts.code, &event, at);
    }
}

// One that HTTP has, or none: whatever else is there is the caller's text.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "other",
    }
}

// The pattern that matched, never the path itself: a path is whatever the caller typed.
fn route(request: &Request) -> &'static str {
    let path = request.uri().path();
    let mut parts = path.trim_start_matches('/').split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some("rfis"), None, None) => "/v1/rfis",
        (Some("v1"), Some("exchanges"), Some(_), Some(kind)) => match Kind::from_path(kind) {
            Some(Kind::Acknowledgement) => "/v1/exchanges/{id}/acknowledgements",
            Some(Kind::Cancellation) => "/v1/exchanges/{id}/cancellations",
            Some(Kind::Clarification) => "/v1/exchanges/{id}/clarifications",
            Some(Kind::ConsentWithdrawal) => "/v1/exchanges/{id}/consent-withdrawals",
            Some(Kind::Forwarding) => "/v1/exchanges/{id}/forwardings",
            Some(Kind::Incident) => "/v1/exchanges/{id}/incidents",
            Some(Kind::OnwardDisclosure) => "/v1/exchanges/{id}/onward-disclosures",
            Some(Kind::Outcome) => "/v1/exchanges/{id}/outcomes",
            Some(Kind::Response) => "/v1/exchanges/{id}/responses",
            Some(Kind::StepDown) => "/v1/exchanges/{id}/step-downs",
            Some(Kind::SubjectAccessConsultation) => {
                "/v1/exchanges/{id}/subject-access-consultations"
            }
            Some(Kind::SubjectAccessView) => "/v1/exchanges/{id}/subject-access-views",
            Some(Kind::Supplement) => "/v1/exchanges/{id}/supplements",
            Some(Kind::TelephoneContact) => "/v1/exchanges/{id}/telephone-contacts",
            Some(Kind::TestReply) => "/v1/exchanges/{id}/test-replies",
            Some(Kind::Transcription) => "/v1/exchanges/{id}/transcriptions",
            Some(Kind::Rfi | Kind::Test) | None => "/v1/exchanges/{id}/{kind}",
        },
        (Some("v1"), Some("attachments"), _, _) => ATTACHMENTS,
        (Some("v1"), Some("exchanges"), _, _) => "/v1/exchanges",
        (Some("v1"), Some("enquiries"), Some(_), Some("referrer-contacts")) => {
            "/v1/enquiries/{id}/referrer-contacts"
        }
        (Some("v1"), Some("enquiries"), _, _) => "/v1/enquiries",
        (Some("v1"), Some("inbox"), _, _) => "/v1/inbox",
        (Some("v1"), Some("overrides"), _, _) => "/v1/overrides",
        (Some("v1"), Some("messages"), _, _) => "/v1/messages",
        (Some("v1"), Some("log"), _, _) => "/v1/log",
        (Some("v1"), Some("schemas"), _, _) => "/v1/schemas",
        (Some("v1"), Some("whoami"), _, _) => "/v1/whoami",
        _ => "other",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let facts = self.kind.facts();
        let mut response = Response::new(Body::empty());
        *response.status_mut() =
            StatusCode::from_u16(facts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = facts.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // The body is written where the instance is known, once, in `around`.
        response.extensions_mut().insert(self);
        response
    }
}

/// Who sends this request, and when it arrived. Only [`around`] makes one.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) peer: Arc<Peer>,
    admission: Admission,
    pub(super) at: Timestamp,
}

impl Sender {
    pub(super) fn agency(&self) -> &AgencyId {
        self.peer.agency()
    }

    /// The serial of the certificate it came with, for the log.
    pub(super) fn certificate(&self) -> Option<&str> {
        Some(self.peer.serial())
    }

    /// The one kind of message it may be shown, if it may not be shown all.
    fn only(&self) -> Option<Kind> {
        match self.admission {
            Admission::Everything | Admission::Nothing => None,
            Admission::TestsOnly => Some(Kind::Test),
        }
    }

    /// Refuses an exchange that is not for this sender yet.
    fn hold_to_tests(&self, exchange: &Exchange) -> Result<(), Problem> {
        if self.only().is_none() || exchange.is_test() { Ok(()) } else { Err(inactive()) }
    }
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Problem::new(ProblemType::CertificateRefused, "There is no certificate.")
        })
    }
}

async fn whoami(State(api): State<Api>, sender: Sender) -> Result<Response, Problem> {
    let agency = sender.peer.agency();
    let directory = api.gateway.directory();
    let name = directory.get(agency).map(|partner| partner.name.clone());
    let role = if api.gateway.is_hub(agency) { "hub" } else { "partner" };
    let mut view = json!({
        "agency": agency,
        "bodyBytesMax": api.body_bytes_max,
        "certificate": {
            "expires": rfc3339(sender.peer.not_after()),
            "serial": sender.peer.serial(),
        },
        "name": name,
        "role": role,
        "waiting": api.gateway.waiting(agency, sender.only()).await?,
    });
    if let Some(desk) = sender.peer.role() {
        view["desk"] = json!(desk);
    }
    if let Some(max) = api.gateway.attachment_bytes_max(agency) {
        view["attachmentBytesMax"] = json!(max);
    }
    Ok(json_response(&view))
}

async fn send_rfi(
    State(api): State<Api>,
    sender: Sender,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    submit(&api, &sender, Target::Rfis, &headers, body).await
}

async fn say(
    api: Api,
    sender: Sender,
    id: String,
    kind: Kind,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = find(&api, &sender, &id).await?;
    if sender.only().is_some() {
        sender.hold_to_tests(&api.gateway.exchange(sender.peer.agency(), &id).await?)?;
    }
    let target = Target::Exchange(id, kind);
    submit(&api, &sender, target, &headers, body).await
}

async fn submit(
    api: &Api,
    sender: &Sender,
    target: Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = target.kind();
    let answer = counted(api, kind, accept(api, sender, target, headers, body).await)?;
    let mut response = text_response("application/json", answer.body);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Submits what somebody sent from a page.
pub(super) async fn submitted(
    api: &Api,
    new: Submission,
    at: Timestamp,
) -> Result<Answer, Problem> {
    let kind = new.target.kind();
    counted(api, kind, api.gateway.submit(new, at).await)
}

// What came of a submission, counted.
fn counted(api: &Api, kind: Kind, answered: Result<Answer, Problem>) -> Result<Answer, Problem> {
    let outcome = match &answered {
        Ok(answer) if answer.is_replay => SubmissionOutcome::Replayed,
        Ok(_) => SubmissionOutcome::Accepted,
        Err(problem) if problem.kind.facts().status >= 500 => SubmissionOutcome::Failed,
        Err(_) => SubmissionOutcome::Refused,
    };
    api.metrics.submission(kind, outcome);
    answered
}

async fn accept(
    api: &Api,
    sender: &Sender,
    target: Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let idempotency_key = idempotency_key(headers)?;
    let (body, _room) = self::body(api, headers, body).await?;
    let new = Submission {
        sender: sender.peer.agency().clone(),
        desk: sender.peer.role(),
        idempotency_key,
        target,
        body,
        traceparent: traceparent(headers),
        certificate: Some(sender.peer.serial().to_owned()),
    };
    api.gateway.submit(new, sender.at).await
}

// A body of JSON, and the memory it takes: all bodies together have a limit too.
pub(super) async fn body<'a>(
    api: &'a Api,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Vec<u8>, SemaphorePermit<'a>), Problem> {
    require_json(headers)?;
    let (body, room) = bounded(api, body).await?;
    check_digest(headers, &body)?;
    Ok((body, room))
}

/// A body of whatever it is, within the limit, and the memory it takes.
pub(super) async fn bounded(
    api: &Api,
    body: Body,
) -> Result<(Vec<u8>, SemaphorePermit<'_>), Problem> {
    // As much as it may turn out to be, until it is sealed.
    let most = body.size_hint().upper().unwrap_or(u64::MAX).min(api.body_bytes_max as u64);
    let room = u32::try_from(most.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX);
    let room = api.room.try_acquire_many(room).map_err(|_| {
        api.metrics.limit_reached(Limit::BodiesAtOnce);
        Problem::new(ProblemType::Busy, "As many bodies as fit are being read already.")
    })?;
    Ok((read(body, api.body_bytes_max).await?, room))
}

async fn enquiries(
    State(api): State<Api>,
    sender: Sender,
    Query(page): Query<ExchangePage>,
) -> Result<Response, Problem> {
    hub_only(&api, &sender)?;
    let before = page.before.as_deref().map(parse).transpose()?;
    let limit = api.page(page.limit);
    let exchanges = api.gateway.exchanges(sender.peer.agency(), before, limit).await?;
    let next =
        next_link("/v1/enquiries", "before", exchanges.last().map(|e| e.id), &exchanges, limit);
    let timers = api.gateway.timers();
    let mut board: Vec<(EnquiryId, Vec<Value>)> = Vec::new();
    // Nobody is enquired about in a test.
    for exchange in exchanges.iter().filter(|exchange| !exchange.is_test()) {
        let view = exchange_view(exchange, &timers, sender.at);
        match board.iter_mut().find(|(id, _)| *id == exchange.enquiry) {
            Some((_, views)) => views.push(view),
            None => board.push((exchange.enquiry, vec![view])),
        }
    }
    let board: Vec<_> =
        board.into_iter().map(|(id, views)| json!({ "exchanges": views, "id": id })).collect();
    Ok(with_link(json_response(&json!({ "enquiries": board })), next))
}

async fn enquiry(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: EnquiryId = parse(&id)?;
    let exchanges = api.gateway.enquiry(sender.peer.agency(), &id).await?;
    let timers = api.gateway.timers();
    let views: Vec<_> = exchanges.iter().map(|e| exchange_view(e, &timers, sender.at)).collect();
    let mut view = json!({ "exchanges": views, "id": id });
    if let Some(at) = api.gateway.referrer_told_at(&id).await? {
        view["referrerToldAt"] = json!(rfc3339(at));
    }
    Ok(json_response(&view))
}

async fn exchanges(
    State(api): State<Api>,
    sender: Sender,
    Query(page): Query<ExchangePage>,
) -> Result<Response, Problem> {
    let before = page.before.as_deref().map(parse).transpose()?;
    let limit = api.page(page.limit);
    let exchanges = api.gateway.exchanges(sender.peer.agency(), before, limit).await?;
    let next =
        next_link("/v1/exchanges", "before", exchanges.last().map(|e| e.id), &exchanges, limit);
    // The hub's people wait for no answer to a test: the operator's command does.
    let is_hub = api.gateway.is_hub(sender.peer.agency());
    let timers = api.gateway.timers();
    let shown = exchanges.iter().filter(|exchange| !(is_hub && exchange.is_test()));
    let views: Vec<_> = shown.map(|e| exchange_view(e, &timers, sender.at)).collect();
    Ok(with_link(json_response(&json!({ "exchanges": views })), next))
}

async fn exchange(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let reader = sender.peer.agency();
    let id = find(&api, &sender, &id).await?;
    let exchange = api.gateway.exchange(reader, &id).await?;
    sender.hold_to_tests(&exchange)?;
    let timeline = api.gateway.timeline(reader, &id).await?;
    let mut view = exchange_view(&exchange, &api.gateway.timers(), sender.at);
    view["timeline"] = timeline.iter().map(timeline_view).collect();
    if let Some(level) = family_may_be_told(&timeline) {
        view["familyMayBeTold"] = json!(level);
    }
    let desk = sender.peer.role();
    if let Some((name, job_title)) = api.gateway.representative(reader, desk, &exchange).await? {
        let due = view.get_mut("due").and_then(Value::as_array_mut).into_iter().flatten();
        for due in due.filter(|due| due["owner"] == "hub") {
            due["representative"] = json!({ "jobTitle": job_title, "name": name });
        }
    }
    Ok(json_response(&view))
}

async fn inbox(
    State(api): State<Api>,
    sender: Sender,
    Query(page): Query<InboxPage>,
) -> Result<Response, Problem> {
    let after = page.after.as_deref().map(parse).transpose()?;
    let limit = api.page(page.limit);
    let messages = api.gateway.inbox(sender.peer.agency(), sender.only(), after, limit).await?;
    let last = messages.last().map(|message| message.envelope.id);
    let next = next_link("/v1/inbox", "after", last, &messages, limit);
    let views: Vec<_> = messages.iter().map(message_view).collect();
    let is_empty = views.is_empty();
    let mut response = with_link(json_response(&json!({ "messages": views })), next);
    if is_empty {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(POLL_AFTER_S));
    }
    Ok(response)
}

async fn messages(
    State(api): State<Api>,
    sender: Sender,
    Query(page): Query<MessagePage>,
) -> Result<Response, Problem> {
    let period = Period::parse(page.from.as_deref(), page.to.as_deref(), sender.at)
        .map_err(|error| Problem::new(ProblemType::InvalidParameter, format!("{error}.")))?;
    let after = page.after.as_deref().map(parse).transpose()?;
    let limit = api.page(page.limit);
    let messages = api.gateway.messages(sender.agency(), period, after, limit).await?;
    // The period as it was understood: the pages that follow are of the same one.
    let here = format!("/v1/messages?from={}&to={}", rfc3339(period.from), rfc3339(period.to));
    let last = messages.last().map(|message| message.envelope.id);
    let next = next_link(&here, "after", last, &messages, limit);
    let views: Vec<_> =
        messages.iter().map(|message| correspondence_view(message, sender.agency())).collect();
    let list = json!({
        "from": rfc3339(period.from), "messages": views, "to": rfc3339(period.to),
    });
    Ok(with_link(json_response(&list), next))
}

async fn collect(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find_message(&api, &sender, &id).await?;
    let document = api
        .gateway
        .collect(sender.agency(), sender.certificate(), sender.peer.role(), &id, sender.at)
        .await?;
    let digest = event::content_digest(&sha256(&document));
    let mut response = Response::new(Body::from(Bytes::from_owner(document)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(event::MEDIA_TYPE));
    if let Ok(digest) = HeaderValue::from_str(&digest) {
        headers.insert("content-digest", digest);
    }
    Ok(response)
}

async fn non_delivery(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find_message(&api, &sender, &id).await?;
    let notice = api.gateway.non_delivery(sender.peer.agency(), &id).await?;
    Ok(text_response(TEXT, notice))
}

async fn receipt(
    State(api): State<Api>,
    sender: Sender,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find_message(&api, &sender, &id).await?;
    let receipt = api.gateway.receipt(sender.peer.agency(), &id).await?;
    Ok(text_response(TEXT, receipt))
}

async fn schemas(_: Sender) -> Response {
    json_response(&json!({ "schemas": Schemas::names().collect::<Vec<_>>() }))
}

async fn schema(_: Sender, Path(name): Path<String>) -> Result<Response, Problem> {
    Schemas::source(&name)
        .map(|source| text_response("application/schema+json", source.to_owned()))
        .ok_or_else(|| Problem::new(ProblemType::NotFound, "There is no such schema."))
}

async fn openapi(_: Sender) -> Response {
    text_response("application/json", OPENAPI.to_owned())
}

/// The API's description, as served.
pub const OPENAPI: &str = include_str!("../../schemas/openapi.json");

#[derive(Deserialize)]
struct ExchangePage {
    before: Option<String>,
    limit: Option<Number>,
}

#[derive(Deserialize)]
struct InboxPage {
    after: Option<String>,
    limit: Option<Number>,
}

#[derive(Deserialize)]
struct MessagePage {
    after: Option<String>,
    from: Option<String>,
    limit: Option<Number>,
    to: Option<String>,
}

/// A number in a query: digits alone, and no more than every JSON reader has exactly.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Number(pub(super) u64);

impl TryFrom<String> for Number {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_plain && *number <= NUMBER_MAX);
        number.map(Self).ok_or("not a number, or too large a one")
    }
}

impl Api {
    pub(super) fn page(&self, asked: Option<Number>) -> usize {
        let asked = asked.and_then(|Number(asked)| usize::try_from(asked).ok());
        asked.unwrap_or(self.page_max).clamp(1, self.page_max)
    }
}

/// Parts of the path; one that is not even text names nothing.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|_| no_such_thing())
    }
}

/// An axum query that answers with our problem when it does not parse.
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|_| {
            Problem::new(ProblemType::InvalidParameter, "The query does not have the right form.")
        })
    }
}

fn hub_only(api: &Api, sender: &Sender) -> Result<(), Problem> {
    if api.gateway.is_hub(sender.peer.agency()) {
        Ok(())
    } else {
        Err(Problem::new(ProblemType::NotFound, "Only the hub has a board of enquiries."))
    }
}

// By id, or by the reference people read to one another.
async fn find(api: &Api, sender: &Sender, name: &str) -> Result<ExchangeId, Problem> {
    match Reference::parse(name) {
        Ok(reference) => {
            Ok(api.gateway.exchange_by_reference(sender.peer.agency(), &reference).await?.id)
        }
        Err(_) => parse(name),
    }
}

// Of a sender that has yet to join, only messages of its tests.
pub(super) async fn find_message(
    api: &Api,
    sender: &Sender,
    name: &str,
) -> Result<MessageId, Problem> {
    let id = parse(name)?;
    if sender.only().is_some() {
        sender.hold_to_tests(&api.gateway.exchange_of(sender.peer.agency(), &id).await?)?;
    }
    Ok(id)
}

// An id that does not parse is an id that does not exist: the answers must not differ.
pub(super) fn parse<T: std::str::FromStr>(id: &str) -> Result<T, Problem> {
    id.parse().map_err(|_| no_such_thing())
}

fn no_such_method() -> Problem {
    Problem::new(ProblemType::MethodNotAllowed, "This path does not take this method.")
}

/// What is said of whatever is not there, and of whatever is another's: word for word the same.
pub(super) fn no_such_thing() -> Problem {
    Problem::new(ProblemType::NotFound, "There is no such thing, or it is not yours to see.")
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let missing = |detail: &str| Problem::new(ProblemType::IdempotencyKeyMissing, detail);
    let mut values = headers.get_all("idempotency-key").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(missing("Exactly one Idempotency-Key header is needed."));
    };
    let text = value.to_str().unwrap_or_default();
    // The draft writes it as a quoted string; most programs do not.
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    text.to_ascii_lowercase().parse().map_err(|_| missing("The Idempotency-Key is not a UUID."))
}

pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Problem::new(ProblemType::ContentType, "The Content-Type is not application/json."))
    }
}

pub(super) async fn read(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut read = Vec::new();
    let mut is_too_large = body.size_hint().lower() > bytes_max as u64;
    let mut passed_over = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(ProblemType::InvalidParameter, "The body broke off before its end.")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        is_too_large = is_too_large || read.len() + data.len() > bytes_max;
        if is_too_large {
            // Most senders read an answer only when they have sent all: so a bounded rest is heard.
            read.clear();
            passed_over += data.len();
            if passed_over > REST_BYTES_MAX {
                break;
            }
        } else {
            read.extend_from_slice(&data);
        }
    }
    if is_too_large {
        let detail = format!("The body may have {bytes_max} bytes at most.");
        return Err(Problem::new(ProblemType::BodyTooLarge, detail));
    }
    Ok(read)
}

fn check_digest(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    match given_digest(headers) {
        Some(item) if item != event::content_digest(&sha256(body)) => Err(Problem::new(
            ProblemType::ContentDigestMismatch,
            "The body's SHA-256 is not the one given.",
        )),
        Some(_) | None => Ok(()),
    }
}

// Other algorithms may stand beside it; this is the one we check.
pub(super) fn given_digest(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get("content-digest")?.to_str().unwrap_or_default();
    given.split(',').map(str::trim).find(|item| item.starts_with("sha-256="))
}

// Passed on as a hint only, and only when it has the W3C form: it is a sender's text.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    let good = lengths == [2, 32, 16, 2] && text.bytes().all(|c| is_hex(c) || c == b'-');
    good.then(|| text.to_owned())
}

pub(super) fn json_response(value: &Value) -> Response {
    text_response("application/json", value.to_string())
}

pub(super) fn text_response(media_type: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

pub(super) fn next_link<T: std::fmt::Display, I>(
    path: &str,
    parameter: &str,
    last: Option<T>,
    page: &[I],
    limit: usize,
) -> Option<String> {
    let last = last.filter(|_| page.len() == limit)?;
    let separator = if path.contains('?') { '&' } else { '?' };
    Some(format!("<{path}{separator}{parameter}={last}&limit={limit}>; rel=\"next\""))
}

pub(super) fn with_link(mut response: Response, link: Option<String>) -> Response {
    if let Some(Ok(link)) = link.map(|link| HeaderValue::from_str(&link)) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// What memory for bodies is counted in: 4 KiB.
pub const ROOM_UNIT: u64 = 4_096;

/// How much of a body that is too large is still listened to.
pub(super) const REST_BYTES_MAX: usize = 64 << 20;
const NUMBER_MAX: u64 = (1 << 53) - 1;
const POLL_AFTER_S: u32 = 30;
const ATTACHMENTS: &str = "/v1/attachments";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
