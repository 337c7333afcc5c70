//! What has to be done before an agency can take part, and how far it is.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::{Context, Failure, connect};
use crate::config::Config;
use crate::directory::{AgencyKind, Partner};
use crate::message::AgencyId;
use crate::store::Store;
use crate::store::sqlite::Sqlite;

/// The steps between an agency's entry in the directory and its taking part.
pub(in crate::cli) struct Checklist {
    agency: AgencyId,
    steps: Vec<Step>,
    /// What the agreement asks for besides; the agency takes part without it too.
    advised: Vec<Step>,
    /// What follows when all of it is done; none when the agency takes part already.
    last: Option<String>,
}

struct Step {
    name: &'static str,
    is_done: bool,
    /// The command that does it.
    next: String,
}

impl Step {
    fn to_json(&self) -> Value {
        let mut view = json!({ "done": self.is_done, "step": self.name });
        if !self.is_done {
            view["next"] = json!(self.next);
        }
        view
    }
}

impl Checklist {
    /// How far the agency is, by its entry and by what this home's store holds of it.
    pub(in crate::cli) async fn of(
        context: &Context,
        config: &Config,
        partner: &Partner,
        at: Timestamp,
    ) -> Result<Self, Failure> {
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open(&context.home.resolve(&config.store.sqlite))?);
        let (id, home) = (&partner.id, context.at_home());
        let has_certificate = has_certificate(&*store, id, at).await?;
        let has_answered = store.answered_test(id).await?.is_some();
        let has_officers = partner.contact_officer.is_some() && partner.deputy.is_some();
        let command = |rest: String| format!("mash-gateway {rest}{home}");
        let all = [
            Step {
                name: BASIS,
                // A directory without one does not parse.
                is_done: true,
                next: command(format!("partner set {id} --basis LAW")),
            },
            Step {
                name: OFFICERS,
                is_done: has_officers,
                next: command(format!("partner set {id} --pco NAME --pco-tel TEL --deputy NAME")),
            },
            Step {
                name: TELEPHONE,
                is_done: partner.telephone.is_some(),
                next: command(format!("partner set {id} --telephone TEL")),
            },
            Step {
                name: CERTIFICATE,
                is_done: has_certificate,
                next: command(format!("cert issue {id} --csr {}", connect::request(id))),
            },
            Step {
                name: ENDPOINT,
                is_done: !partner.endpoints.is_empty(),
                next: command(format!("partner endpoint {id} --mailbox")),
            },
            Step {
                name: POLICY,
                is_done: partner.policy_document.is_some(),
                next: command(format!("apd add {id} --file FILE --review YYYY-MM-DD")),
            },
            Step {
                name: TEST,
                is_done: has_answered,
                next: command(format!("partner test {id} --wait 10m")),
            },
        ];
        let advised = [
            Step {
                name: NOTICE,
                is_done: partner.privacy_notice_seen.is_some(),
                next: command(format!("partner set {id} --privacy-notice-seen YYYY-MM-DD")),
            },
            Step {
                name: TRAINING,
                is_done: partner.training_attested.is_some(),
                next: command(format!("partner set {id} --training-attested YYYY-MM-DD")),
            },
        ];
        // Nobody asks the hub, nor a class of agencies.
        let wanted: &[&str] = match partner.kind {
            AgencyKind::Hub => &[BASIS, CERTIFICATE, ENDPOINT, POLICY],
            AgencyKind::GpSurgeryClass => &[BASIS],
            AgencyKind::AdultSocialCare
            | AgencyKind::ChildrensSocialCare
            | AgencyKind::CommunityRehabilitation
            | AgencyKind::EarlyHelp
            | AgencyKind::GpSurgery
            | AgencyKind::MentalHealthTrust
            | AgencyKind::NhsTrust
            | AgencyKind::Other
            | AgencyKind::Police
            | AgencyKind::Probation => {
                &[BASIS, OFFICERS, TELEPHONE, CERTIFICATE, ENDPOINT, POLICY, TEST]
            }
        };
        Ok(Self {
            agency: id.clone(),
            steps: all.into_iter().filter(|step| wanted.contains(&step.name)).collect(),
            advised: match partner.kind {
                AgencyKind::GpSurgeryClass => Vec::new(),
                _ => advised.into(),
            },
            last: (!partner.is_active(at)).then(|| command(format!("partner activate {id}"))),
        })
    }

    /// Whether nothing is left to be done.
    pub(in crate::cli) fn is_whole(&self) -> bool {
        self.undone().next().is_none()
    }

    /// `3 of 7`.
    pub(in crate::cli) fn count(&self) -> String {
        format!("{} of {}", self.steps.len() - self.undone().count(), self.steps.len())
    }

    /// The names of the steps that are still to be done, in order.
    pub(in crate::cli) fn undone_names(&self) -> Vec<&'static str> {
        self.undone().map(|step| step.name).collect()
    }

    /// The command that comes next, if any does.
    pub(in crate::cli) fn next(&self) -> Option<&str> {
        self.undone().next().map(|step| step.next.as_str()).or(self.last.as_deref())
    }

    /// For programs: each step, and the command for each that is not done.
    pub(in crate::cli) fn to_json(&self) -> Value {
        json!({
            "advised": self.advised.iter().map(Step::to_json).collect::<Vec<_>>(),
            "agency": self.agency,
            "done": self.steps.len() - self.undone().count(),
            "next": self.next(),
            "of": self.steps.len(),
            "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
        })
    }

    fn undone(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| !step.is_done)
    }
}

/// Whether the agency has a certificate in force: its system, or somebody at a desk.
pub(in crate::cli) async fn has_certificate(
    store: &dyn Store,
    agency: &AgencyId,
    at: Timestamp,
) -> Result<bool, Failure> {
    Ok(store.certificates().await?.iter().any(|certificate| {
        certificate.agency == *agency
            && certificate.revoked.is_none()
            && certificate.not_before <= at
            && certificate.not_after > at
    }))
}

impl fmt::Display for Checklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.steps.iter().filter(|step| step.is_done);
        let done: Vec<_> = done.map(|step| format!("[x] {}", step.name)).collect();
        write!(f, "{} onboarding steps done.\n  {}", self.count(), done.join("   "))?;
        for step in self.undone() {
            write!(f, "\n  [ ] {:<16}  {}", step.name, step.next)?;
        }
        for step in self.advised.iter().filter(|step| !step.is_done) {
            write!(f, "\n  advised: {}: {}", step.name, step.next)?;
        }
        match (&self.last, self.is_whole()) {
            (Some(last), true) => write!(f, "\nActivate? {last}"),
            _ => Ok(()),
        }
    }
}

const BASIS: &str = "statutory basis";
const OFFICERS: &str = "PCO and deputy";
const TELEPHONE: &str = "telephone";
const CERTIFICATE: &str = "certificate";
const ENDPOINT: &str = "endpoint";
const POLICY: &str = "policy document";
const TEST: &str = "test exchange";

const NOTICE: &str = "privacy notice";
const TRAINING: &str = "training";
