//! What every page has: its frame, its headers, and what it says when something is refused.

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::form::{Answer, Question};
use super::visitor::Visitor;
use crate::directory::permission::Action;
use crate::exchange::Gateway;
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;

/// The frame around a page: who is there, where they can go, whom they can ring.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// What the hub is called.
    pub(super) hub: String,
    /// Whom to ring.
    pub(super) telephone: Option<String>,
    /// When.
    pub(super) hours: Option<String>,
    /// Who is there: their agency and their role.
    pub(super) who: Option<String>,
    /// Where they can go.
    pub(super) links: Vec<Link>,
}

/// A way to another page.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The page.
    pub(super) to: String,
    /// What it is.
    pub(super) label: String,
}

impl Link {
    pub(super) fn new(to: impl Into<String>, label: impl Into<String>) -> Self {
        Self { to: to.into(), label: label.into() }
    }
}

impl Frame {
    /// The frame of this visitor's pages, or of nobody's.
    pub(super) fn of(gateway: &Gateway, visitor: Option<&Visitor>) -> Self {
        let directory = gateway.directory();
        let hub = directory.hub();
        let officer = hub.contact_officer.as_ref().map(|officer| officer.telephone.clone());
        let who = visitor.map(|visitor| {
            let agency = directory.name(visitor.agency()).unwrap_or_default();
            format!("{agency}, {}", visitor.role().title())
        });
        let links = visitor.map(|visitor| links(gateway, visitor)).unwrap_or_default();
        Self {
            hub: hub.name.clone(),
            telephone: hub.telephone.clone().or(officer),
            hours: hub.hours.clone(),
            who,
            links,
        }
    }

    /// Whom to ring, as part of a sentence.
    pub(super) fn telephone(&self) -> Option<&str> {
        self.telephone.as_deref()
    }
}

// Where each role begins stands first.
fn links(gateway: &Gateway, visitor: &Visitor) -> Vec<Link> {
    let may = |action| gateway.permit(visitor.agency(), Some(visitor.role()), action).is_ok();
    // The log has nothing for whoever reads messages that their timelines have not.
    let needs_log = may(Action::ReadLog) && !may(Action::Collect);
    [
        (may(Action::Answer), "/requests", "Requests"),
        (may(Action::ReadBoard), "/enquiries", "Enquiries"),
        (may(Action::SendRfi), "/rfis", "Write a request"),
        (may(Action::SeeAgencies), "/agencies", "Agencies"),
        (may(Action::SeeAgencies), "/dead-letters", "Dead letters"),
        (may(Action::ReadFigures), "/timeliness", "Timeliness"),
        (needs_log, "/log", "Log"),
    ]
    .into_iter()
    .filter(|(is_theirs, ..)| *is_theirs)
    .map(|(_, to, label)| Link::new(to, label))
    .collect()
}

/// Where somebody begins, if there is a page for them.
pub(super) fn beginning(gateway: &Gateway, visitor: &Visitor) -> Option<String> {
    links(gateway, visitor).into_iter().next().map(|link| link.to)
}

/// A page as an answer.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Result<Response, Problem> {
    match template.render() {
        Ok(html) => Ok((status, [(header::CONTENT_TYPE, HTML)], html).into_response()),
        Err(error) => {
            Err(Problem::new(ProblemType::Internal, "The page could not be made.").because(error))
        }
    }
}

/// The answer to something that was sent: another page, to be asked for. So that going back or asking anew
/// sends nothing twice.
pub(super) fn see(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // Paths of ours, of ids and codes: always a header's text.
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// A page with questions.
#[derive(Template)]
#[template(path = "desk/form.html")]
pub(super) struct FormPage {
    pub(super) frame: Frame,
    pub(super) title: String,
    /// Where one comes from.
    pub(super) back: Link,
    /// What to know before answering.
    pub(super) paragraphs: Vec<String>,
    /// What to ask oneself.
    pub(super) prompts: Vec<String>,
    pub(super) questions: Vec<Question>,
    /// What is wrong that stands at no question.
    pub(super) elsewhere: Vec<Violation>,
    /// Which version of the draft the answers follow; none where nothing is kept until it is sent.
    pub(super) version: Option<u64>,
    /// The key under which what is sent is known, where it is sent at once.
    pub(super) key: Option<String>,
    /// What the button says.
    pub(super) button: String,
    /// Other buttons: what each sends as `go`, and what it says.
    pub(super) others: &'static [(&'static str, &'static str)],
}

impl FormPage {
    /// Whether anything is wrong.
    pub(super) fn is_wrong(&self) -> bool {
        !self.elsewhere.is_empty() || self.questions.iter().any(|each| each.error.is_some())
    }

    /// As an answer: the same page again with what is wrong, where something is.
    pub(super) fn answer(&self) -> Result<Response, Problem> {
        let status = match self.is_wrong() {
            true => StatusCode::UNPROCESSABLE_ENTITY,
            false => StatusCode::OK,
        };
        page(status, self)
    }
}

/// What somebody is told who is not let in, or asks for what there is not.
#[derive(Template)]
#[template(path = "desk/refusal.html")]
struct RefusalPage {
    frame: Frame,
    title: String,
    detail: String,
    steps: Vec<String>,
    violations: Vec<Violation>,
    instance: String,
    is_known: bool,
}

/// The page that says what went wrong, what to do, and whom to ring.
pub(super) fn refusal(frame: Frame, problem: &Problem, instance: &str) -> Response {
    let facts = problem.kind.facts();
    let (status, title, detail, steps) = match problem.kind {
        ProblemType::CertificateRefused | ProblemType::CertificateRevoked => {
            certificate(problem.reason.unwrap_or_default())
        }
        _ => (
            StatusCode::from_u16(facts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            facts.title,
            problem.detail.as_str(),
            vec![facts.remedy],
        ),
    };
    let is_known = frame.who.is_some();
    let template = RefusalPage {
        frame,
        title: title.to_owned(),
        detail: detail.to_owned(),
        steps: steps.into_iter().map(str::to_owned).collect(),
        violations: problem.errors.clone(),
        instance: instance.to_owned(),
        is_known,
    };
    match page(status, &template) {
        Ok(mut response) => {
            if let Some(seconds) = facts.retry_after_s {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

// What is wrong with a certificate, for whoever has it in their browser: 401 where we do not know who they
// are, 403 where we do.
fn certificate(reason: &str) -> (StatusCode, &'static str, &'static str, Vec<&'static str>) {
    let again = "Close every window of the browser, open this page again, and choose the certificate when \
                 you are asked.";
    let (unknown, known) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
    match reason {
        "certificate-missing" => (
            unknown,
            "Your browser showed no certificate",
            "These pages know who you are by a certificate in your browser. It showed none.",
            vec![
                "If you were given a file that ends in .p12, open it and import it with its password.",
                again,
                "If you have no file, ring us: a certificate is made for you by name.",
            ],
        ),
        "certificate-expired" => (
            unknown,
            "Your certificate has expired",
            "The certificate in your browser was good for a time that is over.",
            vec!["Ring us for a new one. What you had begun is kept."],
        ),
        "certificate-revoked" => (
            known,
            "Your certificate was revoked",
            "The certificate in your browser is not accepted any more, and nobody can use it.",
            vec![
                "If you did not expect this, ring us now.",
                "If you have a newer one, remove this one.",
                again,
            ],
        ),
        _ => (
            unknown,
            "Your certificate is not known here",
            "The certificate that your browser showed was not issued for these pages.",
            vec![again, "If there is only this one to choose, ring us."],
        ),
    }
}

/// What every answer of the desk has in its header: nothing is kept, framed, guessed, or asked of others.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Our own style and script, and nothing else; forms come back to us; nobody frames us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const HTML: &str = "text/html; charset=utf-8";
