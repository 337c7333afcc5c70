//! Every agency as whoever looks after the machine sees it: whether its certificates are good, where its
//! messages go, what waits for it and what was returned.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::office::Office;
use super::page::{Frame, Link, page};
use super::requests::{Moment, Tag};
use super::visitor::Visitor;
use super::{ROWS, words};
use crate::directory::permission::Action;
use crate::directory::{AgencyKind, Endpoint, Partner, Status};
use crate::http::api::{Number, Path, Query, no_such_thing};
use crate::message::AgencyId;
use crate::pki::expiry::{Validity, current, is_agencys, is_renewed, validity};
use crate::problem::{Problem, ProblemType};
use crate::register::RegisterError;
use crate::store::{Backlog, CertificateRecord};

/// Every certificate on the register that is an agency's, newest first.
pub(super) async fn register(office: &Office) -> Result<Vec<CertificateRecord>, Problem> {
    let mut certificates = office.register.certificates().await.map_err(unreadable)?;
    certificates.retain(is_agencys);
    Ok(certificates)
}

/// What the register's failure is on a page.
pub(super) fn unreadable(error: RegisterError) -> Problem {
    match error {
        RegisterError::Ledger(error) => error.into(),
        RegisterError::Store(error) => error.into(),
        other => {
            Problem::new(ProblemType::Internal, "The register could not be used.").because(other)
        }
    }
}

/// How a certificate stands, as a word that stands out.
pub(super) fn tag(validity: Validity) -> Tag {
    match validity {
        Validity::Active => Tag::new("done", "Active"),
        Validity::Expired => Tag::new("late", "Expired"),
        Validity::ExpiresSoon => Tag::new("soon", "Expires soon"),
        Validity::Revoked => Tag::new("late", "Revoked"),
    }
}

// How an agency's certificates stand: each way that one of those in use does; where none is, why.
fn standing(of_agency: &[CertificateRecord], at: Timestamp) -> BTreeSet<Option<Validity>> {
    let in_use = current(of_agency);
    if in_use.is_empty() {
        let is_revoked = !of_agency.is_empty();
        return BTreeSet::from([is_revoked.then_some(Validity::Revoked)]);
    }
    in_use.into_iter().map(|one| Some(validity(one, of_agency, at))).collect()
}

/// What is on its way to one agency.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// In its mailbox, and never collected.
    held: Option<(u64, Timestamp)>,
    /// To be pushed.
    queued: Option<(u64, Timestamp)>,
    /// Returned to their senders.
    returned: Option<(u64, Timestamp)>,
}

impl Waiting {
    fn of(backlog: Vec<Backlog>) -> HashMap<AgencyId, Self> {
        let mut all = HashMap::<_, Self>::new();
        for one in backlog.into_iter().filter(|one| one.count > 0) {
            let waiting = all.entry(one.recipient).or_default();
            let place = match one.state.as_str() {
                "held" => &mut waiting.held,
                "queued" => &mut waiting.queued,
                _ => &mut waiting.returned,
            };
            *place = Some((one.count, one.oldest));
        }
        all
    }

    // How much waits in all, and since when the oldest of it.
    fn whole(&self) -> Option<(u64, Timestamp)> {
        let both = [self.held, self.queued].into_iter().flatten();
        both.reduce(|(one, since), (other, before)| (one + other, since.min(before)))
    }
}

/// Every agency.
#[derive(Template)]
#[template(path = "desk/agencies.html")]
struct AgenciesPage {
    frame: Frame,
    title: &'static str,
    as_of: Moment,
    concerns: Vec<String>,
    find: String,
    rows: Vec<Row>,
    /// How many there are in all, and which of them these are.
    of: usize,
    from: usize,
    before: Option<Link>,
    after: Option<Link>,
}

struct Row {
    id: String,
    name: String,
    kind: String,
    status: Tag,
    tags: Vec<Tag>,
    waits: Option<(u64, Moment)>,
    returned: u64,
    endpoint: &'static str,
    is_failing: bool,
}

/// Which agencies.
#[derive(Deserialize)]
pub(super) struct Wanted {
    find: Option<String>,
    page: Option<Number>,
}

/// Lists the agencies, those first that need somebody.
pub(super) async fn list(
    State(office): State<Office>,
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let gateway = &office.api.gateway;
    let at = visitor.at();
    let mut certificates = HashMap::<_, Vec<_>>::new();
    for one in register(&office).await? {
        certificates.entry(one.agency.clone()).or_default().push(one);
    }
    let waiting = Waiting::of(gateway.store().backlog().await?);
    let find = wanted.find.unwrap_or_default().trim().to_lowercase();
    let directory = gateway.directory();
    let is_wanted = |partner: &&Partner| {
        partner.id.as_str().contains(&find) || partner.name.to_lowercase().contains(&find)
    };
    let mut rows: Vec<_> = directory
        .all()
        .filter(is_wanted)
        .map(|partner| {
            let of_agency = certificates.remove(&partner.id).unwrap_or_default();
            let waits = waiting.get(&partner.id).cloned().unwrap_or_default();
            row(&office, partner, &of_agency, &waits, at)
        })
        .collect();
    rows.sort_by(|(one, left), (other, right)| (one, &left.name).cmp(&(other, &right.name)));
    let of = rows.len();
    let last = of.saturating_sub(1) / ROWS;
    let number = wanted.page.and_then(|Number(number)| usize::try_from(number).ok());
    let number = number.map_or(0, |number| number.saturating_sub(1)).min(last);
    // What was looked for is typed by somebody, and goes into an address.
    let query: String = form_urlencoded::byte_serialize(find.as_bytes()).collect();
    let to = |number: usize, label: &str| {
        Link::new(format!("/agencies?page={}&find={query}", number + 1), label)
    };
    let template = AgenciesPage {
        frame: Frame::of(gateway, Some(&visitor)),
        title: "Agencies",
        as_of: Moment::of(at),
        concerns: office.concerns.all(),
        rows: rows.into_iter().map(|(_, row)| row).skip(number * ROWS).take(ROWS).collect(),
        of,
        from: number * ROWS + 1,
        before: (number > 0).then(|| to(number - 1, "Agencies before these")),
        after: (number < last).then(|| to(number + 1, "More agencies")),
        find,
    };
    page(StatusCode::OK, &template)
}

// Its row, and where that stands: the lower the number, the more somebody is needed.
fn row(
    office: &Office,
    partner: &Partner,
    certificates: &[CertificateRecord],
    waiting: &Waiting,
    at: Timestamp,
) -> (u8, Row) {
    let status = partner.status_at(at);
    let standing = match partner.kind {
        // Nobody's: its members have theirs.
        AgencyKind::GpSurgeryClass => BTreeSet::new(),
        _ => standing(certificates, at),
    };
    let is_failing = office.api.metrics.is_circuit_open(&partner.id);
    let returned = waiting.returned.map_or(0, |(count, _)| count);
    let is_good = standing.iter().all(|one| *one == Some(Validity::Active));
    let place = match status {
        _ if is_failing || returned > 0 => 0,
        Status::Active if !is_good => 1,
        Status::Active => 2,
        Status::Pending => 3,
        Status::Suspended => 4,
        Status::Closed => 5,
    };
    let row = Row {
        id: partner.id.to_string(),
        name: partner.name.clone(),
        kind: words::agency_kind(partner.kind),
        status: status_tag(status),
        tags: standing
            .into_iter()
            .map(|one| one.map_or_else(|| Tag::new("open", "None"), tag))
            .collect(),
        waits: waiting.whole().map(|(count, since)| (count, Moment::of(since))),
        returned,
        endpoint: match partner.endpoints.first() {
            Some(Endpoint::Mailbox) => "mailbox",
            Some(Endpoint::Push { .. }) => "push",
            None => "none",
        },
        is_failing,
    };
    (place, row)
}

fn status_tag(status: Status) -> Tag {
    let class = match status {
        Status::Active => "done",
        Status::Closed | Status::Pending => "open",
        Status::Suspended => "soon",
    };
    Tag::new(class, words::code(status.as_str()))
}

/// One agency.
#[derive(Template)]
#[template(path = "desk/agency.html")]
struct AgencyPage {
    frame: Frame,
    title: String,
    as_of: Moment,
    id: String,
    kind: String,
    status: Tag,
    officer: Option<(String, String)>,
    telephone: Option<String>,
    hours: Option<String>,
    certificates: Vec<Certificate>,
    is_cut: bool,
    endpoints: Vec<String>,
    is_failing: bool,
    waiting: Vec<(&'static str, u64, Moment)>,
    may_revoke: bool,
}

/// A certificate in a list.
struct Certificate {
    serial: String,
    whose: String,
    from: Moment,
    to: Moment,
    tag: Tag,
    is_renewed: bool,
    last_use: Option<Moment>,
}

/// The agency of this name.
pub(super) fn find(office: &Office, name: &str) -> Result<Partner, Problem> {
    let id = AgencyId::parse(name).map_err(|_| no_such_thing())?;
    office.api.gateway.directory().get(&id).cloned().ok_or_else(no_such_thing)
}

/// Whether the visitor may do this.
pub(super) fn may(office: &Office, visitor: &Visitor, action: Action) -> bool {
    office.api.gateway.permit(visitor.agency(), Some(visitor.role()), action).is_ok()
}

/// Shows one agency.
pub(super) async fn agency(
    State(office): State<Office>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let partner = find(&office, &name)?;
    let at = visitor.at();
    let mut certificates = register(&office).await?;
    certificates.retain(|one| one.agency == partner.id);
    // What is good stands first; of those, and of the others, the newest.
    let mut sorted: Vec<_> = certificates.iter().collect();
    sorted.sort_by_key(|one| one.revoked.is_some() || one.not_after <= at);
    let is_cut = sorted.len() > ROWS;
    let gateway = &office.api.gateway;
    let mut backlog = gateway.store().backlog().await?;
    backlog.retain(|one| one.recipient == partner.id);
    let waiting = Waiting::of(backlog).remove(&partner.id).unwrap_or_default();
    let officer = partner.contact_officer.as_ref();
    let template = AgencyPage {
        frame: Frame::of(gateway, Some(&visitor)),
        title: partner.name.clone(),
        as_of: Moment::of(at),
        id: partner.id.to_string(),
        kind: words::agency_kind(partner.kind),
        status: status_tag(partner.status_at(at)),
        officer: officer.map(|officer| (officer.name.clone(), officer.telephone.clone())),
        telephone: partner.telephone.clone(),
        hours: partner.hours.clone(),
        certificates: sorted
            .into_iter()
            .take(ROWS)
            .map(|one| Certificate {
                serial: one.serial.clone(),
                whose: words::bearer(&one.profile),
                from: Moment::of(one.not_before),
                to: Moment::of(one.not_after),
                tag: tag(validity(one, &certificates, at)),
                is_renewed: one.revoked.is_none()
                    && one.not_after > at
                    && is_renewed(one, &certificates),
                last_use: one.last_use.as_ref().map(|(when, _)| Moment::of(*when)),
            })
            .collect(),
        is_cut,
        endpoints: partner
            .endpoints
            .iter()
            .map(|endpoint| match endpoint {
                Endpoint::Mailbox => "It collects them from its mailbox here.".to_owned(),
                Endpoint::Push { url, .. } => format!("They are pushed to {url}"),
            })
            .collect(),
        is_failing: office.api.metrics.is_circuit_open(&partner.id),
        waiting: [
            ("In its mailbox, not collected", waiting.held),
            ("To be pushed", waiting.queued),
            ("Returned to their senders", waiting.returned),
        ]
        .into_iter()
        .filter_map(|(what, some)| some.map(|(count, since)| (what, count, Moment::of(since))))
        .collect(),
        may_revoke: may(&office, &visitor, Action::RevokeCertificate),
    };
    page(StatusCode::OK, &template)
}
