//! One certificate, and what makes it worthless: what `cert revoke` does, by the same functions, and what is
//! to be done then.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;

use super::agencies::{find, may, register, tag, unreadable};
use super::form::{Answer, Choice, Form, Question, mark};
use super::office::Office;
use super::page::{FormPage, Frame, Link, page};
use super::requests::{Moment, Tag};
use super::visitor::Visitor;
use super::words;
use crate::directory::Partner;
use crate::directory::permission::Action;
use crate::http::api::{Path, no_such_thing};
use crate::message::{AgencyId, Role};
use crate::pki::crl::Reason;
use crate::pki::expiry::validity;
use crate::pki::fingerprint::fingerprint;
use crate::problem::{Problem, ProblemType};
use crate::register::{RegisterError, SignedLists, Told, is_revocable};
use crate::schema::Violation;
use crate::store::CertificateRecord;

/// One certificate, and what to do when it is revoked.
#[derive(Template)]
#[template(path = "desk/certificate.html")]
struct CertificatePage {
    frame: Frame,
    title: &'static str,
    agency: String,
    name: String,
    serial: String,
    whose: String,
    fingerprint: String,
    from: Moment,
    to: Moment,
    tag: Tag,
    last_use: Option<(Moment, String)>,
    may_revoke: bool,
    revoked: Option<Revoked>,
    /// What was just done, where something was.
    done: Option<Done>,
}

/// What there is to know of a certificate that is worthless now.
struct Revoked {
    at: Moment,
    reason: String,
    is_compromised: bool,
    connections: usize,
    waiting: u64,
    still_good: usize,
    officer: Option<(String, String)>,
    role: Option<&'static str>,
}

/// What came of revoking it.
struct Done {
    /// The serials of what was revoked: none where all of it was so before.
    revoked: Vec<String>,
    told: Told,
    is_listed: bool,
}

// The certificate of this agency with this serial, and all that the agency ever had.
async fn known(
    office: &Office,
    path: &(String, String),
) -> Result<(Partner, CertificateRecord, Vec<CertificateRecord>), Problem> {
    let partner = find(office, &path.0)?;
    let mut all = register(office).await?;
    all.retain(|one| one.agency == partner.id);
    let own = all.iter().find(|one| one.serial == path.1).cloned().ok_or_else(no_such_thing)?;
    Ok((partner, own, all))
}

/// Shows a certificate.
pub(super) async fn certificate(
    State(office): State<Office>,
    visitor: Visitor,
    Path(path): Path<(String, String)>,
) -> Result<Response, Problem> {
    shown(&office, &visitor, &path, None).await
}

async fn shown(
    office: &Office,
    visitor: &Visitor,
    path: &(String, String),
    done: Option<Done>,
) -> Result<Response, Problem> {
    let (partner, own, all) = known(office, path).await?;
    let at = visitor.at();
    let officer = partner.contact_officer.as_ref();
    let revoked = match &own.revoked {
        None => None,
        Some((when, reason)) => Some(Revoked {
            at: Moment::of(*when),
            reason: Reason::parse(reason)
                .map_or_else(|| reason.clone(), |why| said(why).0.to_owned()),
            is_compromised: reason == Reason::KeyCompromise.as_str(),
            connections: office.api.presence.count(|sha256| *sha256 == own.sha256),
            waiting: office.api.gateway.waiting(&partner.id, None).await?,
            still_good: all
                .iter()
                .filter(|one| one.revoked.is_none() && one.not_after > at)
                .count(),
            officer: officer.map(|officer| (officer.name.clone(), officer.telephone.clone())),
            role: Role::parse(&own.profile).map(Role::as_str),
        }),
    };
    let may_revoke = may(office, visitor, Action::RevokeCertificate);
    let template = CertificatePage {
        frame: Frame::of(&office.api.gateway, Some(visitor)),
        title: match (&done, &revoked) {
            (Some(_), Some(_)) => "The certificate is revoked",
            (Some(_), None) => "The certificate has expired",
            (None, _) => "Certificate",
        },
        agency: partner.id.to_string(),
        name: partner.name,
        whose: words::bearer(&own.profile),
        fingerprint: fingerprint(&own.sha256),
        from: Moment::of(own.not_before),
        to: Moment::of(own.not_after),
        tag: tag(validity(&own, &all, at)),
        // From where somebody came is for whoever has to find out what happened.
        last_use: own
            .last_use
            .map(|(when, from)| (Moment::of(when), if may_revoke { from } else { String::new() })),
        serial: own.serial,
        may_revoke,
        revoked,
        done,
    };
    page(StatusCode::OK, &template)
}

/// What it is to revoke one, or all that an agency has, before anybody does.
#[derive(Template)]
#[template(path = "desk/revoke.html")]
struct BeforePage {
    frame: Frame,
    title: &'static str,
    back: Link,
    agency: String,
    name: String,
    /// Of the one: whose it is, and its serial.
    one: Option<(String, String)>,
    is_own: bool,
    /// How many are good, and how many of those are revoked.
    good: usize,
    meant: usize,
}

/// Says what revoking this certificate does.
pub(super) async fn before(
    State(office): State<Office>,
    visitor: Visitor,
    Path(path): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (partner, own, all) = known(&office, &path).await?;
    said_before(&office, &visitor, &partner, Which::One(Box::new(own)), &all)
}

/// Says what revoking all that this agency has does.
pub(super) async fn before_all(
    State(office): State<Office>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let partner = find(&office, &name)?;
    let mut all = register(&office).await?;
    all.retain(|one| one.agency == partner.id);
    said_before(&office, &visitor, &partner, Which::All, &all)
}

fn said_before(
    office: &Office,
    visitor: &Visitor,
    partner: &Partner,
    which: Which,
    all: &[CertificateRecord],
) -> Result<Response, Problem> {
    let good = all.iter().filter(|one| one.revoked.is_none() && one.not_after > visitor.at());
    let is_visitors = |serial: &String| visitor.certificate() == Some(serial);
    let template = BeforePage {
        frame: Frame::of(&office.api.gateway, Some(visitor)),
        title: "This cannot be undone",
        back: back(partner, &which),
        agency: partner.id.to_string(),
        name: partner.name.clone(),
        is_own: match &which {
            Which::One(own) => is_visitors(&own.serial),
            Which::All => all.iter().any(|one| is_visitors(&one.serial)),
        },
        good: good.clone().count(),
        meant: good.filter(|one| which.means(one)).count(),
        one: match which {
            Which::One(own) => Some((words::bearer(&own.profile), own.serial)),
            Which::All => None,
        },
    };
    page(StatusCode::OK, &template)
}

/// Asks why, and whether it is this agency's that is meant.
pub(super) async fn ask(
    State(office): State<Office>,
    visitor: Visitor,
    Path(path): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (partner, own, _) = known(&office, &path).await?;
    let which = Which::One(Box::new(own));
    form(&office, &visitor, &partner, &which, questions(None, "")).answer()
}

/// The same, of all that the agency has.
pub(super) async fn ask_all(
    State(office): State<Office>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let partner = find(&office, &name)?;
    form(&office, &visitor, &partner, &Which::All, questions(None, "")).answer()
}

/// Revokes it. All of it is done when it is answered, whether whoever asked is still there or not: their own
/// connection may be one of those that are cut.
pub(super) async fn revoke(
    State(office): State<Office>,
    visitor: Visitor,
    Path(path): Path<(String, String)>,
    filled: Form,
) -> Result<Response, Problem> {
    let (partner, own, _) = known(&office, &path).await?;
    match meant(&office, &visitor, &partner, Which::One(Box::new(own)), &filled).await? {
        Ok((_, done)) => shown(&office, &visitor, &path, Some(done)).await,
        Err(form) => form.answer(),
    }
}

/// An agency that was cut off.
#[derive(Template)]
#[template(path = "desk/cut_off.html")]
struct CutOffPage {
    frame: Frame,
    title: &'static str,
    agency: String,
    name: String,
    waiting: u64,
    officer: Option<(String, String)>,
    is_compromised: bool,
    done: Done,
}

/// Revokes all that an agency has, of its program and of people at its desks; its unused tokens end.
pub(super) async fn revoke_all(
    State(office): State<Office>,
    visitor: Visitor,
    Path(name): Path<String>,
    filled: Form,
) -> Result<Response, Problem> {
    let partner = find(&office, &name)?;
    let (reason, done) = match meant(&office, &visitor, &partner, Which::All, &filled).await? {
        Ok(done) => done,
        Err(form) => return form.answer(),
    };
    let officer = partner.contact_officer.as_ref();
    let template = CutOffPage {
        frame: Frame::of(&office.api.gateway, Some(&visitor)),
        title: "The agency is cut off",
        agency: partner.id.to_string(),
        waiting: office.api.gateway.waiting(&partner.id, None).await?,
        officer: officer.map(|officer| (officer.name.clone(), officer.telephone.clone())),
        name: partner.name,
        is_compromised: reason == Reason::KeyCompromise,
        done,
    };
    page(StatusCode::OK, &template)
}

/// Which certificates are meant.
enum Which {
    /// This one.
    One(Box<CertificateRecord>),
    /// All of the agency's.
    All,
}

impl Which {
    fn means(&self, one: &CertificateRecord) -> bool {
        match self {
            Self::One(own) => own.sha256 == one.sha256,
            Self::All => true,
        }
    }
}

// Revokes what is meant, if it is said why and of whom; or the form again, with what is wrong.
async fn meant(
    office: &Office,
    visitor: &Visitor,
    partner: &Partner,
    which: Which,
    filled: &Form,
) -> Result<Result<(Reason, Done), Box<FormPage>>, Problem> {
    let confirm = filled.one("confirm").unwrap_or_default();
    let reason =
        Reason::ALL.into_iter().find(|reason| Some(reason.kebab()) == filled.one("reason"));
    let is_meant = confirm == partner.id.as_str();
    let Some(reason) = reason.filter(|_| is_meant) else {
        let mut wrong = Vec::new();
        if reason.is_none() {
            wrong.push(violation("/reason", "Choose why.".to_owned()));
        }
        if !is_meant {
            let message = format!("Type the agency's id as it is here: {}", partner.id);
            wrong.push(violation("/confirm", message));
        }
        let mut questions = questions(reason, confirm);
        mark(&mut questions, wrong);
        return Ok(Err(Box::new(form(office, visitor, partner, &which, questions))));
    };
    // Of several, some may be revoked already when the disk fails: each by itself is, or is not.
    let not_done = match which {
        Which::One(_) => "The certificate was NOT revoked.",
        Which::All => "NOT everything was revoked: do it again.",
    };
    let (agency, by) = (partner.id.clone(), visitor.certificate().map(str::to_owned));
    let doing = done(office.clone(), agency, which, reason, by, visitor.at());
    match tokio::spawn(doing).await {
        Ok(Ok(done)) => Ok(Ok((reason, done))),
        Ok(Err(error)) => {
            let mut problem = unreadable(error);
            let how = "The page of each certificate says how it stands.";
            problem.detail = format!("{not_done} {} {how}", problem.detail);
            Err(problem)
        }
        Err(error) => {
            let detail =
                "It was not seen to its end. The page of each certificate says how it stands.";
            Err(Problem::new(ProblemType::Internal, detail).because(error))
        }
    }
}

// As the command does it: into the register and the log, then to this gateway, then to everybody. Again for
// what was revoked before: somebody may have had no confirmation the first time.
async fn done(
    office: Office,
    agency: AgencyId,
    which: Which,
    reason: Reason,
    by: Option<String>,
    at: Timestamp,
) -> Result<Done, RegisterError> {
    let register = &office.register;
    let revoked = match which {
        Which::All => register.revoke_agency(&agency, reason, by.as_deref(), at).await?,
        Which::One(own) if is_revocable(&own, reason, at) => {
            register.revoke(std::slice::from_ref(&own), reason, by.as_deref(), at).await?;
            vec![*own]
        }
        Which::One(_) => Vec::new(),
    };
    let (told, signed) = register.enforce(|| office.tell(), at).await;
    let is_listed = match signed {
        Ok(SignedLists { unregistered, .. }) => {
            for serial in unregistered {
                tracing::error!(
                    certificate.serial = serial,
                    "on the last revocation list and not in the register: it stays revoked"
                );
            }
            true
        }
        Err(error) => {
            tracing::error!(error = %error, "the revocation lists were not signed anew");
            false
        }
    };
    Ok(Done { revoked: revoked.into_iter().map(|one| one.serial).collect(), told, is_listed })
}

// Where one comes from.
fn back(partner: &Partner, which: &Which) -> Link {
    let agency = &partner.id;
    match which {
        Which::One(own) => Link::new(
            format!("/agencies/{agency}/certificates/{}", own.serial),
            "Back to the certificate, and revoke nothing",
        ),
        Which::All => {
            Link::new(format!("/agencies/{agency}"), "Back to the agency, and revoke nothing")
        }
    }
}

// Why, and of whom: in this order.
fn questions(reason: Option<Reason>, confirm: &str) -> Vec<Question> {
    let given = reason.map(Reason::kebab).unwrap_or_default();
    let reasons = Reason::ALL.into_iter().map(|reason| {
        let (label, hint) = said(reason);
        Choice::new(reason.kebab(), label, given).with_hint(hint)
    });
    let confirm = Answer::Line { value: confirm.to_owned(), autocomplete: "", kind: "text" };
    vec![
        Question::new("reason", "/reason", "Why is this done?", Answer::One(reasons.collect())),
        Question::new("confirm", "/confirm", "Type the agency's id", confirm)
            .with_hint("So that nobody is cut off by a slip. The id stands above."),
    ]
}

fn violation(pointer: &str, message: String) -> Violation {
    Violation { pointer: pointer.to_owned(), code: "not-meant".to_owned(), message }
}

fn said(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::AffiliationChanged => {
            ("It is not that agency's, or not in that role, any more", "As when somebody has left.")
        }
        Reason::CessationOfOperation => ("The agency does not take part any more", ""),
        Reason::KeyCompromise => (
            "Somebody else has its key, or may have it",
            "A file or a machine was lost or stolen, or a password was told.",
        ),
        Reason::PrivilegeWithdrawn => ("The agency may not take part any more", ""),
        Reason::Superseded => ("It has another in its place", ""),
    }
}

fn form(
    office: &Office,
    visitor: &Visitor,
    partner: &Partner,
    which: &Which,
    questions: Vec<Question>,
) -> FormPage {
    let what = match which {
        Which::One(own) => {
            format!(
                "{} of {}: certificate {}.",
                words::bearer(&own.profile),
                partner.name,
                own.serial
            )
        }
        Which::All => format!(
            "Every certificate of {}: its program's, and those of everybody at its desks.",
            partner.name
        ),
    };
    FormPage {
        frame: Frame::of(&office.api.gateway, Some(visitor)),
        title: match which {
            Which::One(_) => "Revoke a certificate".to_owned(),
            Which::All => "Cut an agency off".to_owned(),
        },
        back: back(partner, which),
        paragraphs: vec![what, format!("The agency's id is {}.", partner.id)],
        prompts: Vec::new(),
        questions,
        elsewhere: Vec::new(),
        version: None,
        key: None,
        button: "Revoke now".to_owned(),
        others: &[],
    }
}
