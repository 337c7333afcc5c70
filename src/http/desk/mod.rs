//! The desk: pages for people, who come with a certificate in their browser.
//!
//! Pages decide nothing that the partner API does not: what is sent here goes the same way, is held to the
//! same schemas and rules, and gets the same receipt. One middleware makes the `Visitor`; no page is
//! answered without one, but for the style, the script and the accessibility statement, which are nobody's.

mod agencies;
mod answering;
mod around;
mod asked;
mod basis;
mod enquiries;
mod form;
mod further;
mod incident;
mod letters;
mod message;
mod office;
mod page;
mod record;
mod referrer;
mod reply;
mod requests;
mod revoke;
mod rfi;
mod said;
mod subject_access;
mod timeliness;
mod told;
mod upload;
mod visitor;
mod words;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;

use crate::directory::permission::Action;
use crate::http::api::{Api, Query, no_such_thing, note};
use crate::http::connection::Guest;
use crate::http::reception::Reception;
use crate::message::{MessageId, Reference, now};
use crate::problem::{Problem, ProblemType};
pub use office::Office;
use page::Frame;
use reply::What;
use visitor::Visitor;

/// The desk's routes. They need of the gateway what the partner API's do; those for whoever looks after the
/// machine, what is in the office besides.
pub fn router(office: Office) -> Router {
    let api = office.api.clone();
    let people = Router::new()
        .route("/", get(start))
        .route("/find", may(&api, Action::ReadExchanges, get(find)))
        .route("/requests", may(&api, Action::Answer, get(requests::list)))
        .route("/requests/{reference}", may(&api, Action::Answer, get(requests::request)))
        .route("/requests/{reference}/open", may(&api, Action::Answer, post(requests::open)))
        .route("/requests/{reference}/details", may(&api, Action::Answer, get(requests::details)))
        .route(
            "/requests/{reference}/acknowledge",
            may(&api, Action::Answer, said::routes(&said::ACKNOWLEDGE)),
        )
        .route(
            "/requests/{reference}/not-for-us",
            may(&api, Action::Answer, said::routes(&said::NOT_FOR_US)),
        )
        .route(
            "/requests/{reference}/question",
            may(&api, Action::Answer, said::routes(&said::QUESTION)),
        )
        .route(
            "/requests/{reference}/family",
            may(&api, Action::Answer, said::routes(&said::FAMILY)),
        )
        .route(
            "/requests/{reference}/subject-access",
            may(&api, Action::Answer, said::routes(&subject_access::VIEW)),
        )
        .route(
            "/requests/{reference}/incident",
            may(&api, Action::Answer, said::routes(&incident::BY_AGENCY)),
        )
        .route("/requests/{reference}/sent/{message}", may(&api, Action::Answer, get(said::sent)))
        .route("/requests/{reference}/reply", may(&api, Action::Answer, reply::list(What::Reply)))
        .route(
            "/requests/{reference}/reply/nothing-known",
            may(&api, Action::Answer, reply::rest(What::Reply)),
        )
        .route(
            "/requests/{reference}/reply/check",
            may(&api, Action::Answer, reply::last(What::Reply)),
        )
        .route(
            "/requests/{reference}/reply/files",
            may(&api, Action::Answer, may(&api, Action::Attach, reply::files(What::Reply))),
        )
        .route(
            "/requests/{reference}/reply/files/remove",
            may(&api, Action::Answer, reply::without(What::Reply)),
        )
        .route(
            "/requests/{reference}/reply/{part}",
            may(&api, Action::Answer, reply::task(What::Reply)),
        )
        .route(
            "/requests/{reference}/supplement",
            may(&api, Action::Answer, reply::list(What::Supplement)),
        )
        .route(
            "/requests/{reference}/supplement/check",
            may(&api, Action::Answer, reply::last(What::Supplement)),
        )
        .route(
            "/requests/{reference}/supplement/files",
            may(&api, Action::Answer, may(&api, Action::Attach, reply::files(What::Supplement))),
        )
        .route(
            "/requests/{reference}/supplement/files/remove",
            may(&api, Action::Answer, reply::without(What::Supplement)),
        )
        .route(
            "/requests/{reference}/supplement/{part}",
            may(&api, Action::Answer, reply::task(What::Supplement)),
        )
        .route("/rfis", may(&api, Action::SendRfi, get(rfi::list).post(rfi::begin)))
        .route("/rfis/{id}", may(&api, Action::SendRfi, get(rfi::tasks)))
        .route("/rfis/{id}/check", may(&api, Action::SendRfi, get(rfi::check).post(rfi::send)))
        .route("/rfis/{id}/discard", may(&api, Action::SendRfi, post(rfi::discard)))
        .route("/rfis/{id}/override", may(&api, Action::SendRfi, get(rfi::show)))
        .route(
            "/rfis/{id}/override/decide",
            may(
                &api,
                Action::SendRfi,
                may(&api, Action::Override, get(rfi::ask).post(rfi::decide)),
            ),
        )
        .route("/rfis/{id}/{part}", may(&api, Action::SendRfi, get(rfi::part).post(rfi::keep)))
        .route(
            "/rfis/{id}/{part}/{item}",
            may(&api, Action::SendRfi, get(rfi::item).post(rfi::keep_item)),
        )
        .route(
            "/enquiries/{id}/asked",
            may(&api, Action::ReadBoard, may(&api, Action::Collect, get(asked::asked))),
        )
        .route("/enquiries/{id}/sent", may(&api, Action::SendRfi, get(rfi::sent)))
        .route("/enquiries", may(&api, Action::ReadBoard, get(enquiries::board)))
        .route("/enquiries/{id}", may(&api, Action::ReadBoard, get(enquiries::enquiry)))
        .route(
            "/enquiries/{id}/answers",
            may(&api, Action::ReadBoard, may(&api, Action::Collect, get(enquiries::answers))),
        )
        .route(
            "/enquiries/{id}/referrer",
            may(&api, Action::TellReferrer, get(referrer::ask).post(referrer::record)),
        )
        .route(
            "/exchanges/{reference}/telephone",
            may(&api, Action::SendRfi, said::routes(&told::TELEPHONE)),
        )
        .route(
            "/exchanges/{reference}/cancel",
            may(&api, Action::SendRfi, said::routes(&told::CANCEL)),
        )
        .route(
            "/exchanges/{reference}/question",
            may(&api, Action::SendRfi, said::routes(&told::ASK)),
        )
        .route(
            "/exchanges/{reference}/outcome",
            may(&api, Action::SendOutcome, said::routes(&told::OUTCOME)),
        )
        .route(
            "/exchanges/{reference}/consent-withdrawal",
            may(&api, Action::SendRfi, said::routes(&told::WITHDRAWAL)),
        )
        .route(
            "/exchanges/{reference}/forward",
            may(&api, Action::SendOutcome, said::routes(&further::FORWARD)),
        )
        .route(
            "/exchanges/{reference}/step-down",
            may(&api, Action::SendOutcome, said::routes(&further::STEP_DOWN)),
        )
        .route(
            "/exchanges/{reference}/subject-access",
            may(&api, Action::Consult, said::routes(&subject_access::CONSULT)),
        )
        .route(
            "/exchanges/{reference}/transcription",
            may(&api, Action::SendRfi, reply::list(What::Transcription)),
        )
        .route(
            "/exchanges/{reference}/transcription/nothing-known",
            may(&api, Action::SendRfi, reply::rest(What::Transcription)),
        )
        .route(
            "/exchanges/{reference}/transcription/check",
            may(&api, Action::SendRfi, reply::last(What::Transcription)),
        )
        .route(
            "/exchanges/{reference}/transcription/{part}",
            may(&api, Action::SendRfi, reply::task(What::Transcription)),
        )
        .route(
            "/exchanges/{reference}/incident",
            may(&api, Action::SendRfi, said::routes(&incident::BY_HUB)),
        )
        .route("/exchanges/{reference}/sent/{message}", may(&api, Action::SendRfi, get(said::sent)))
        .route("/attachments/{id}", may(&api, Action::Collect, get(message::attachment)))
        .route("/messages/{id}", may(&api, Action::Collect, get(message::read)))
        .route("/messages/{id}/saved", may(&api, Action::Collect, post(message::saved)))
        .route(
            "/messages/{id}/answer",
            may(&api, Action::Clarify, get(answering::ask).post(answering::send)),
        )
        .route("/messages/{id}/receipt", may(&api, Action::ReadReceipts, get(message::receipt)))
        .merge(office::routes(office))
        .fallback(|| async { Problem::new(ProblemType::NotFound, "There is no such page.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(ProblemType::MethodNotAllowed, "This page does not take that.")
        })
        .layer(middleware::from_fn_with_state(api.clone(), around));
    Router::new()
        .route("/desk.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/desk.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/accessibility", get(accessibility))
        .merge(people)
        .layer(middleware::from_fn(protected))
        .with_state(api)
}

// No page without saying what it is to use it.
fn may<S: Clone + Send + Sync + 'static>(
    api: &Api,
    action: Action,
    methods: MethodRouter<S>,
) -> MethodRouter<S> {
    let gateway = Arc::clone(&api.gateway);
    methods.route_layer(middleware::from_fn(
        move |visitor: Visitor, request: Request, next: Next| {
            let permitted = gateway.permit(visitor.agency(), Some(visitor.role()), action);
            async move {
                match permitted {
                    Ok(()) => next.run(request).await,
                    Err(problem) => problem.into_response(),
                }
            }
        },
    ))
}

async fn protected(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    page::protect(response.headers_mut());
    response
}

// Around every page of somebody's: who is it, how long may it take, what are they told when it fails.
async fn around(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let at = now();
    let method = request.method().clone();
    let guest = request.extensions().get::<Guest>().cloned();
    let is_foreign = visitor::is_foreign(&method, request.uri().path(), request.headers());
    let brings_file = method == Method::POST && request.uri().path().ends_with(reply::FILES);
    let limit = if brings_file { api.attachment_timeout } else { api.request_timeout };
    let reception = Reception::of(&api, guest.as_ref(), is_foreign, at);
    let admitted = reception.peer().and_then(|peer| Visitor::admit(&api, peer, at));
    let visitor = admitted.as_ref().ok().cloned();
    let mut response = match admitted {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            let answered = async {
                // The router would answer HEAD as it does GET, and so open a message for nobody.
                if method == Method::HEAD {
                    Problem::new(ProblemType::MethodNotAllowed, "Pages are asked for with GET.")
                        .into_response()
                } else {
                    next.run(request).await
                }
            };
            match tokio::time::timeout(limit, answered).await {
                Ok(response) => response,
                Err(_) => Problem::new(
                    ProblemType::Timeout,
                    "The page took longer than this gateway waits. What you sent may have arrived: \
                     look before you send it again.",
                )
                .into_response(),
            }
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let instance = MessageId::new(at).to_string();
        note(&api, &problem, &instance, reception.agency(), &method, ROUTE, at);
        response = page::refusal(Frame::of(&api.gateway, visitor.as_ref()), &problem, &instance);
        if reception.is_nobody() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }
    response
}

/// The page that a role begins with, where it has one.
#[derive(Template)]
#[template(path = "desk/start.html")]
struct StartPage {
    frame: Frame,
    title: &'static str,
    role: &'static str,
}

async fn start(State(api): State<Api>, visitor: Visitor) -> Result<Response, Problem> {
    if let Some(beginning) = page::beginning(&api.gateway, &visitor) {
        return Ok(page::see(&beginning));
    }
    let frame = Frame::of(&api.gateway, Some(&visitor));
    let template =
        StartPage { frame, title: "Your role has no pages here", role: visitor.role().title() };
    page::page(StatusCode::OK, &template)
}

/// What somebody read to another on the telephone.
#[derive(Deserialize)]
struct Wanted {
    reference: String,
}

// By the short name of a request, however it was typed, to where it is shown.
async fn find(
    State(api): State<Api>,
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let typed = wanted.reference.trim().to_uppercase();
    let reference = Reference::parse(&typed).map_err(|_| no_such_thing())?;
    let exchange = api.gateway.exchange_by_reference(visitor.agency(), &reference).await?;
    let party = exchange.party(visitor.agency()).ok_or_else(no_such_thing)?;
    Ok(page::see(&said::home(&exchange, party).to))
}

/// How many rows a list has: as many as can be looked through, and a page stays small. What is due first is
/// among them, and anything else is found by its reference.
const ROWS: usize = 50;

/// The accessibility statement, for anybody.
#[derive(Template)]
#[template(path = "desk/accessibility.html")]
struct AccessibilityPage {
    frame: Frame,
    title: &'static str,
}

async fn accessibility(State(api): State<Api>) -> Result<Response, Problem> {
    let frame = Frame::of(&api.gateway, None);
    page::page(StatusCode::OK, &AccessibilityPage { frame, title: "Accessibility statement" })
}

fn asset(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

const STYLE: &str = include_str!("../../../templates/desk/desk.css");
const SCRIPT: &str = include_str!("../../../templates/desk/desk.js");

/// What the log calls whatever is asked for here.
const ROUTE: &str = "desk";
