//! `authority`: the issuing authorities of a home, and the roots above them, one after the other.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::cert::{Office, refused};
use super::{Context, Exit, Failure, block_on, read_text, root};
use crate::audit::entry::Event;
use crate::config::Config;
use crate::issuer::Issuer;
use crate::issuer::succession::{KeepKey, Plan, Purpose, SuccessionError};
use crate::message::{hex, now, rfc3339, sha256};
use crate::pki::ca::{authority_key_id, certificates};
use crate::pki::request::AuthorityRequest;
use crate::register::Told;
use crate::store::CertificateRecord;

/// The authorities that issue certificates, and the roots above them.
#[derive(Subcommand)]
pub(super) enum AuthorityCommand {
    /// The authorities and roots here, and how many certificates in force hang on each
    #[command(after_help = "Example:
  mash-gateway authority list --home H")]
    List,
    /// Ask the root for the next authority; its key is made and kept here
    #[command(after_help = "Examples:
  mash-gateway authority request agencies --out request.txt --home H
  mash-gateway authority request gateway-servers --host mash.example.org \\
      --out request.txt --home H
  mash-gateway authority request agencies --again --out request.txt --home H
  mash-gateway authority request agencies --pkcs11 --out request.txt --home H

Carry the file to where the root's key is:
  mash-gateway root sign request.txt --certificate root.pem --key root.key.age \\
      --identity officer.txt --out answer.pem")]
    Request(Request),
    /// Take the root's answer to a request into use
    #[command(after_help = "Example:
  mash-gateway authority install answer.pem --home H

New certificates come from it then; those before stay good. Doing it twice is harmless.")]
    Install(Install),
    /// Take an authority that no longer issues out of use, with its key and its list
    #[command(after_help = "Example:
  mash-gateway authority retire \"mash.example.org agencies 1\" \\
      --confirm \"mash.example.org agencies 1\" --home H")]
    Retire(Retire),
    /// Trust a root too: agencies are given it with ca.pem. Or take its newer revocation list
    #[command(after_help = "Examples:
  mash-gateway authority trust new-root/root.pem --crl new-root/root.crl.pem \\
      --voucher voucher.pem --home H
  mash-gateway authority trust root.pem --crl new.crl.pem --home H")]
    Trust(Trust),
    /// Trust a root no longer, when everybody has its successor
    #[command(after_help = "Example:
  mash-gateway authority distrust \"mash.example.org root\" \\
      --confirm \"mash.example.org root\" --home H")]
    Distrust(Distrust),
}

impl AuthorityCommand {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Distrust(distrust) => distrust.run(context).await,
                Self::Install(install) => install.run(context).await,
                Self::List => list(context).await,
                Self::Request(request) => request.run(context),
                Self::Retire(retire) => retire.run(context).await,
                Self::Trust(trust) => trust.run(context).await,
            }
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Agencies,
    GatewayServers,
}

impl From<Kind> for Purpose {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Agencies => Self::Agencies,
            Kind::GatewayServers => Self::GatewayServers,
        }
    }
}

#[derive(Args)]
pub(super) struct Request {
    /// What the authority issues for
    purpose: Kind,
    /// Where to write the request
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Ask for another certificate of the authority that issues now: for another root to sign
    #[arg(long)]
    again: bool,
    /// A DNS name that gateway servers may have, themselves and below [default: as until now]
    #[arg(long, value_name = "NAME", num_args = 1.., conflicts_with = "again")]
    host: Vec<String>,
    /// Make the key in the token that gateway.toml names, which never gives it out
    #[arg(long, conflicts_with = "again")]
    pkcs11: bool,
}

impl Request {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let config = super::config(&context.home)?;
        let issuer = Issuer::new(&context.home, &config);
        let purpose = Purpose::from(self.purpose);
        if purpose == Purpose::Agencies && !self.host.is_empty() {
            let message = "--host is for gateway servers: the agencies' authority certifies none";
            return Err(Failure::new(Exit::Misused, message));
        }
        let was_pending = issuer.is_pending(purpose);
        let hosts = (!self.host.is_empty()).then_some(self.host);
        let keep = if self.pkcs11 { KeepKey::InToken } else { KeepKey::Sealed };
        let request = match self.again {
            true => issuer.request_again(purpose),
            false => issuer.request_next(purpose, hosts, keep),
        };
        let request = request.map_err(declined)?;
        root::write(&self.out, &request.text())?;
        let key = match (self.again, was_pending, keep) {
            (true, _, _) => "of the authority that issues now",
            (false, true, _) => "that was made before and waits for its certificate",
            (false, false, KeepKey::Sealed) => "that was made now and is kept here, sealed",
            (false, false, KeepKey::InToken) => "that was made now in the token and stays there",
        };
        report_request(context, &request, &self.out, key);
        Ok(())
    }
}

fn report_request(context: &Context, request: &AuthorityRequest, out: &Path, key: &str) {
    context.result(
        &json!({
            "key": hex(&request.key().key_id()),
            "name": request.name(),
            "purpose": request.purpose(),
            "request": out,
        }),
        format!(
            "Asks for {:?}, with a key {key}.\nWrote {out}. There is nothing secret in it.\n\n\
             Next, where the root's key is:\n  \
             mash-gateway root sign {out} --certificate root.pem --key root.key.age \
             --identity officer.txt --out answer.pem",
            request.name(),
            out = out.display(),
        ),
    );
}

#[derive(Args)]
pub(super) struct Install {
    /// The certificate that the root signed (PEM)
    answer: PathBuf,
}

impl Install {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let at = now();
        let issuer = Issuer::new(&context.home, &office.config);
        let plan = issuer.install(&read_text(&self.answer)?, at).map_err(declined)?;
        let was_made = plan.is_made();
        if !was_made {
            plan.prepare()?;
            let purpose = plan.purpose.map_or("", Purpose::name);
            let root = plan.root.as_deref().unwrap_or_default();
            let event = Event::authority_installed(purpose, &plan.key_id, &plan.serial, root);
            office.register.note(&event, at).await.map_err(refused)?;
            plan.complete()?;
        }
        office.sign_lists(at).await?;
        let told = office.tell_gateway().await;
        let home = context.home.folder().display();
        let next = match plan.purpose {
            Some(Purpose::GatewayServers) => format!(
                "Next, so that the gateway shows a certificate of it:\n  \
                 mash-gateway cert gateway --home {home}"
            ),
            Some(Purpose::Agencies) | None => format!(
                "New certificates come from it; those before stay good. Agencies change over when \
                 they renew.\nNext, for the certificate that the gateway pushes with:\n  \
                 mash-gateway cert gateway --home {home}\n\
                 And when nobody has one of the authority before:\n  \
                 mash-gateway authority retire NAME --confirm NAME --home {home}"
            ),
        };
        let done = if was_made { "Was installed already:" } else { "Installed" };
        report(context, &plan, &told, !was_made, &format!("{done} {}", plan.name), &next);
        confirmed_by(&told)
    }
}

#[derive(Args)]
pub(super) struct Retire {
    /// The authority's name, or the beginning of its key id
    authority: String,
    /// Its name once more, so that nobody is cut off by a slip
    #[arg(long, value_name = "NAME")]
    confirm: String,
    /// Also when certificates in force came from it: their bearers are shut out
    #[arg(long)]
    force: bool,
}

impl Retire {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let at = now();
        let issuer = Issuer::new(&context.home, &office.config);
        let plan = issuer.retire(&self.authority).map_err(declined)?;
        confirm(&self.confirm, &plan.name, "retired")?;
        let certificates = office.register.certificates().await.map_err(refused)?;
        let shown = shown(context, &office.config);
        let active: Vec<_> =
            certificates.iter().filter(|one| hangs_on(one, &plan.key_id, &shown, at)).collect();
        if !active.is_empty() && !self.force {
            for one in &active {
                let until = rfc3339(one.not_after);
                eprintln!("  {}  {}  to {until}", one.serial, one.agency);
            }
            let message = format!("{} certificates in force came from {}", active.len(), plan.name);
            return Err(Failure::new(Exit::Failed, message).hint(
                "have them renewed, and revoke those that were replaced: mash-gateway cert revoke \
                 --serial SERIAL --reason superseded; or shut their bearers out: --force",
            ));
        }
        let purpose = plan.purpose.map_or("", Purpose::name);
        let event = Event::authority_retired(purpose, &plan.key_id, &plan.serial);
        office.register.note(&event, at).await.map_err(refused)?;
        plan.complete()?;
        office.sign_lists(at).await?;
        let told = office.tell_gateway().await;
        let done = format!("Retired {}: its certificates are no longer accepted", plan.name);
        report(context, &plan, &told, true, &done, "");
        confirmed_by(&told)
    }
}

#[derive(Args)]
pub(super) struct Trust {
    /// The root's certificate (PEM)
    root: PathBuf,
    /// The root's revocation list (PEM)
    #[arg(long, value_name = "FILE")]
    crl: PathBuf,
    /// The certificate by which the root before vouches for it ("root vouch")
    #[arg(long, value_name = "FILE")]
    voucher: Option<PathBuf>,
}

impl Trust {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let at = now();
        let issuer = Issuer::new(&context.home, &office.config);
        let voucher = self.voucher.as_deref().map(read_text).transpose()?;
        let (root, list) = (read_text(&self.root)?, read_text(&self.crl)?);
        let plan = issuer.trust(&root, &list, voucher.as_deref(), at).map_err(declined)?;
        let was_made = plan.is_made();
        if !was_made {
            let event = Event::root_trusted(&plan.key_id, &plan.serial);
            office.register.note(&event, at).await.map_err(refused)?;
            plan.complete()?;
        }
        let told = office.tell_gateway().await;
        let roots = issuer.roots().map_err(declined)?;
        let is_alone = roots.iter().any(|root| {
            root.key_id == plan.key_id && root.vouched_for_by.is_empty() && roots.len() > 1
        });
        let home = context.home.folder().display();
        let warning = match is_alone {
            true => {
                "No root vouches for it: whoever trusts only the one before cannot check what this \
                 one signs. See that everybody has the new ca.pem before going on.\n"
            }
            false => "",
        };
        let next = format!(
            "{warning}Agencies get it with ca.pem from now on.\n\
             Next, once for agencies and once for gateway-servers:\n  \
             mash-gateway authority request agencies --again --out request.txt --home {home}\n\
             Have each signed by this root, install the answers, and then:\n  \
             mash-gateway cert gateway --home {home}"
        );
        let done = if was_made { "Was trusted already:" } else { "Trusts" };
        report(context, &plan, &told, !was_made, &format!("{done} {}", plan.name), &next);
        confirmed_by(&told)
    }
}

#[derive(Args)]
pub(super) struct Distrust {
    /// The root's name, or the beginning of its key id
    root: String,
    /// Its name once more, so that nobody is shut out by a slip
    #[arg(long, value_name = "NAME")]
    confirm: String,
}

impl Distrust {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let at = now();
        let issuer = Issuer::new(&context.home, &office.config);
        let plan = issuer.distrust(&self.root).map_err(declined)?;
        confirm(&self.confirm, &plan.name, "distrusted")?;
        let event = Event::root_distrusted(&plan.key_id, &plan.serial);
        office.register.note(&event, at).await.map_err(refused)?;
        plan.complete()?;
        let told = office.tell_gateway().await;
        let done = format!("Trusts {} no longer", plan.name);
        let home = context.home.folder().display();
        let next = format!(
            "Agencies get ca.pem without it from now on. So that the gateway no longer shows how it \
             vouched for its successor:\n  mash-gateway cert gateway --home {home}"
        );
        report(context, &plan, &told, true, &done, &next);
        confirmed_by(&told)
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let office = Office::open(context).await?;
    let at = now();
    let issuer = Issuer::new(&context.home, &office.config);
    let certificates = office.register.certificates().await.map_err(refused)?;
    let shown = shown(context, &office.config);
    let (mut lines, mut authorities, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    for one in issuer.generations().map_err(declined)? {
        let active = certificates.iter().filter(|c| hangs_on(c, &one.key_id, &shown, at)).count();
        lines.push(format!(
            "{:<44} {:<8} to {}  {active:>4} in force  key {}  by {}",
            one.name,
            if one.is_issuing { "issues" } else { "earlier" },
            rfc3339(one.not_after),
            &one.key_id[..one.key_id.len().min(16)],
            one.roots.join(", "),
        ));
        authorities.push(json!({
            "inForce": active,
            "issues": one.is_issuing,
            "key": one.key_id,
            "name": one.name,
            "notAfter": rfc3339(one.not_after),
            "purpose": one.purpose.name(),
            "roots": one.roots,
        }));
    }
    for root in issuer.roots().map_err(declined)? {
        let next_update = root.next_update.map(rfc3339);
        lines.push(format!(
            "{:<44} {:<8} to {}  list to {}  key {}",
            root.name,
            "root",
            rfc3339(root.not_after),
            next_update.as_deref().unwrap_or("(none)"),
            &root.key_id[..root.key_id.len().min(16)],
        ));
        roots.push(json!({
            "key": root.key_id,
            "name": root.name,
            "nextUpdate": next_update,
            "notAfter": rfc3339(root.not_after),
            "vouchedForBy": root.vouched_for_by,
        }));
    }
    let pending: Vec<_> =
        Purpose::ALL.into_iter().filter(|one| issuer.is_pending(*one)).map(Purpose::name).collect();
    for purpose in &pending {
        lines.push(format!("a request for the next authority ({purpose}) waits for its answer"));
    }
    context.result(
        &json!({ "authorities": authorities, "pending": pending, "roots": roots }),
        lines.join("\n"),
    );
    Ok(())
}

// Whether this certificate is in force and came from the authority with this key. Of the gateway's
// own only those that it shows: those before are in nobody's hands.
fn hangs_on(
    certificate: &CertificateRecord,
    key_id: &str,
    shown: &[[u8; 32]],
    at: Timestamp,
) -> bool {
    let is_own = certificate.profile.starts_with("gateway-");
    certificate.revoked.is_none()
        && certificate.not_after > at
        && (!is_own || shown.contains(&certificate.sha256))
        && authority_key_id(&certificate.pem).is_some_and(|id| hex(&id) == key_id)
}

// The certificates that the gateway shows.
fn shown(context: &Context, config: &Config) -> Vec<[u8; 32]> {
    [&config.paths.tls_certificate, &config.paths.push_certificate]
        .into_iter()
        .filter_map(|path| {
            let chain = read_text(&context.home.resolve(path)).ok()?;
            Some(sha256(certificates(&chain).ok()?.first()?))
        })
        .collect()
}

fn report(context: &Context, plan: &Plan, told: &Told, is_changed: bool, done: &str, next: &str) {
    let in_use = match told {
        Told::InUse { .. } => "The running gateway has taken it into use.",
        Told::NotRunning => "The gateway takes it into use when it starts.",
        Told::Failed => "",
    };
    let text = format!(
        "{done}\n  key {}  serial {}  to {}\n{in_use}\n{next}",
        plan.key_id,
        plan.serial,
        rfc3339(plan.not_after)
    );
    context.result(
        &json!({
            "changed": is_changed,
            "inUse": told.is_in_use(),
            "key": plan.key_id,
            "name": plan.name,
            "notAfter": rfc3339(plan.not_after),
            "purpose": plan.purpose.map(Purpose::name),
            "serial": plan.serial,
        }),
        text.trim_end(),
    );
}

fn confirm(confirm: &str, name: &str, what: &str) -> Result<(), Failure> {
    match confirm == name {
        true => Ok(()),
        false => {
            let message = format!("--confirm does not say {name:?}; nothing was {what}");
            Err(Failure::new(Exit::Misused, message))
        }
    }
}

fn confirmed_by(told: &Told) -> Result<(), Failure> {
    match told {
        Told::InUse { .. } | Told::NotRunning => Ok(()),
        Told::Failed => Err(Failure::new(
            Exit::Failed,
            "it is done, but THE RUNNING GATEWAY HAS NOT TAKEN IT INTO USE; curl /readyz says why",
        )),
    }
}

fn declined(error: SuccessionError) -> Failure {
    let (exit, hint) = match &error {
        SuccessionError::Unknown => (Exit::NotFound, "mash-gateway authority list"),
        SuccessionError::Ambiguous
        | SuccessionError::NotOne
        | SuccessionError::NotIssuing
        | SuccessionError::NotRoot => (Exit::Misused, "mash-gateway authority list"),
        SuccessionError::ForeignRoot => (
            Exit::VerificationFailed,
            "if it is a new root of yours: mash-gateway authority trust ROOT.pem --crl ROOT.crl.pem",
        ),
        SuccessionError::OtherRequest => (
            Exit::VerificationFailed,
            "have the request signed that this home wrote last: mash-gateway authority request",
        ),
        SuccessionError::WrongList
        | SuccessionError::WrongVoucher
        | SuccessionError::Request(_) => (Exit::VerificationFailed, ""),
        SuccessionError::OldList => (
            Exit::Failed,
            "where the root's key is: mash-gateway root crl --previous root.crl.pem …",
        ),
        SuccessionError::NotVouchedFor(_) => (
            Exit::Failed,
            "mash-gateway authority request … --again, for the remaining root to sign",
        ),
        SuccessionError::StillShown => (Exit::Failed, "mash-gateway cert gateway"),
        SuccessionError::Issuer(_) => {
            (Exit::Failed, "run this as the user who may read the issuer's keys")
        }
        SuccessionError::NoToken => (
            Exit::Misused,
            "write pkcs11_module, pkcs11_token and pkcs11_pin_file there; the build needs the \
             feature pkcs11",
        ),
        SuccessionError::Ca(_)
        | SuccessionError::Crl(_)
        | SuccessionError::Issuing(_)
        | SuccessionError::LastRoot
        | SuccessionError::NameTaken
        | SuccessionError::NoAuthority
        | SuccessionError::NotInToken
        | SuccessionError::NotNow { .. }
        | SuccessionError::Write { .. } => (Exit::Failed, ""),
    };
    let failure = Failure { exit, ..Failure::from(error) };
    if hint.is_empty() { failure } else { failure.hint(hint) }
}
