//! `cert`: issue, list, revoke.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::init::{AGENCY_CA_KEY, AUTHORITY_IDENTITY, fingerprint, write_synced};
use super::{Context, Exit, Failure, block_on, read_text, serve};
use crate::audit::entry::Event;
use crate::config::Config;
use crate::directory::Directory;
use crate::ledger::Ledger;
use crate::message::{AgencyId, now, rfc3339};
use crate::pki::ca::{Authority, Domain, Issued, Profile, SubjectKey, Terms, key_fingerprint};
use crate::pki::crl::{self, Reason, Revoked};
use crate::seal::{self, Identities};
use crate::store::sqlite::Sqlite;
use crate::store::{Applied, CertificateRecord, Effect, Store};
use crate::telemetry::Metrics;

/// Certificates: issue, list, revoke.
#[derive(Subcommand)]
pub(super) enum Cert {
    /// Certify an agency's key; only the key is taken from the request
    #[command(after_help = "Example, on the agency's machine and then here:
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\
      -keyout demo-surgery.key -out demo-surgery.csr -subj /CN=demo-surgery
  mash-gateway cert issue demo-surgery --csr demo-surgery.csr --home H")]
    Issue(Issue),
    /// Every certificate ever issued, newest first
    #[command(after_help = "Examples:
  mash-gateway cert list --home H
  mash-gateway cert list --expiring 30 --home H")]
    List(List),
    /// Make certificates worthless, at once
    #[command(after_help = "Examples:
  mash-gateway cert revoke demo-surgery --reason key-compromise \\
      --confirm demo-surgery --home H
  mash-gateway cert revoke --serial 57d3… --reason superseded \\
      --confirm demo-surgery --home H")]
    Revoke(Revoke),
    /// Sign a new revocation list
    #[command(after_help = "Example:
  mash-gateway cert crl --home H          each day, well before the last one ends")]
    Crl,
}

#[derive(Args)]
pub(super) struct Issue {
    /// The agency, as the directory names it
    agency: AgencyId,
    /// The agency's signing request (PEM)
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Where to write the certificate and what else the agency needs
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
pub(super) struct List {
    /// Only those that expire within so many days
    #[arg(long, value_name = "DAYS")]
    expiring: Option<u16>,
}

#[derive(Args)]
pub(super) struct Revoke {
    /// All certificates of this agency
    #[arg(required_unless_present = "serial", conflicts_with = "serial")]
    agency: Option<AgencyId>,
    /// The one certificate with this serial
    #[arg(long)]
    serial: Option<String>,
    /// key-compromise, affiliation-changed, superseded, cessation-of-operation or
    /// privilege-withdrawn
    #[arg(long, value_parser = reason)]
    reason: Reason,
    /// The agency's id once more, so that nobody is cut off by a slip
    #[arg(long, value_name = "AGENCY")]
    confirm: AgencyId,
}

impl Cert {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Crl => sign_crl(context).await,
                Self::Issue(issue) => issue.run(context).await,
                Self::List(list) => list.run(context).await,
                Self::Revoke(revoke) => revoke.run(context).await,
            }
        })
    }
}

impl Issue {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context)?;
        let directory = office.directory()?;
        let Some(partner) = directory.get(&self.agency) else {
            return Err(Failure::new(Exit::NotFound, "there is no such agency in partners.toml")
                .hint("mash-gateway partner list"));
        };
        let key = SubjectKey::from_csr_pem(&read_text(&self.csr)?)?;
        let issued = office.issue(&self.agency, &key, &self.out).await?;
        let certificate = self.out.join(format!("{}.pem", self.agency));
        if !partner.is_active(now()) {
            eprintln!(
                "note: {} is {} in the directory: until it is active it can only ask who it is",
                self.agency,
                partner.status_at(now()).as_str()
            );
        }
        let told = office.tell_gateway().await;
        context.result(
            &json!({
                "agency": self.agency,
                "certificate": certificate,
                "notAfter": rfc3339(issued.not_after),
                "serial": issued.serial,
                "sha256": fingerprint(&issued.sha256),
            }),
            format!(
                "Issued to {} ({})  serial {}  valid to {}\n  fingerprint  SHA256 {}\n\
                 Wrote {}, ca.pem and log-key.txt: safe to e-mail; the key never left the agency.{}",
                self.agency,
                partner.name,
                issued.serial,
                rfc3339(issued.not_after),
                fingerprint(&issued.sha256),
                certificate.display(),
                match told {
                    Told::InUse | Told::NotRunning => "",
                    Told::Failed => "\nThe running gateway will notice within seconds.",
                }
            ),
        );
        Ok(())
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context)?;
        let at = now();
        let mut certificates = office.store.certificates().await?;
        if let Some(days) = self.expiring {
            let until = at + jiff::SignedDuration::from_hours(24 * i64::from(days));
            certificates.retain(|certificate| {
                certificate.revoked.is_none()
                    && certificate.not_after > at
                    && certificate.not_after <= until
            });
        }
        let list: Vec<Value> = certificates.iter().map(|c| view(c, at)).collect();
        let lines: Vec<_> = certificates
            .iter()
            .map(|c| {
                format!(
                    "{}  {:<8}  to {}  {}",
                    c.serial,
                    standing(c, at),
                    rfc3339(c.not_after),
                    c.agency
                )
            })
            .collect();
        let shown = if lines.is_empty() { "no certificates".to_owned() } else { lines.join("\n") };
        context.result(&json!({ "certificates": list }), shown);
        Ok(())
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context)?;
        let at = now();
        let mut chosen = office.store.certificates().await?;
        chosen.retain(|certificate| {
            self.agency.as_ref().is_none_or(|agency| certificate.agency == *agency)
                && self.serial.as_ref().is_none_or(|serial| certificate.serial == *serial)
        });
        if let Some(other) = chosen.iter().find(|certificate| certificate.agency != self.confirm) {
            let message = format!("--confirm does not name {}; nothing was revoked", other.agency);
            return Err(Failure::new(Exit::Misused, message));
        }
        chosen.retain(|certificate| certificate.revoked.is_none() && certificate.not_after > at);
        let Some(agency) = chosen.first().map(|certificate| certificate.agency.clone()) else {
            return Err(Failure::new(Exit::NotFound, "there is no such certificate in force")
                .hint("mash-gateway cert list"));
        };
        let serials: Vec<_> = chosen.iter().map(|c| c.serial.clone()).collect();
        // An entry for each, so that the log can be held against the register.
        for certificate in &chosen {
            let (serial, sha256) = (&certificate.serial, certificate.sha256);
            let event = Event::certificate_revoked(&agency, serial, &sha256, self.reason);
            let reason = self.reason.as_str().to_owned();
            office.record(&event, at, Effect::RevokeCertificate { sha256, at, reason }).await?;
        }
        let next_update = office.write_crl(at).await?;
        let told = office.tell_gateway().await;
        context.result(
            &json!({
                "agency": agency,
                "inForce": told == Told::InUse,
                "revoked": serials,
                "revokedAt": rfc3339(at),
            }),
            format!(
                "Revoked {} of {} at {}: {}\n\
                 Revocation list signed, next by {}.\n\
                 Do now:\n  1. Tell the contact officer by telephone\n\
                 \x20 2. Was personal data exposed? mash-gateway log show --home {}\n\
                 \x20 3. New certificate: mash-gateway cert issue {agency} --csr new.csr",
                serials.len(),
                agency,
                rfc3339(at),
                serials.join(", "),
                rfc3339(next_update),
                context.home.folder().display(),
            ),
        );
        match told {
            Told::InUse => {
                context.say("In force: the running gateway has confirmed.");
                Ok(())
            }
            Told::NotRunning | Told::Failed => Err(Failure::new(
                Exit::Failed,
                "the revocation is recorded, but NO RUNNING GATEWAY HAS CONFIRMED IT",
            )
            .hint("start or restart the gateway; it takes the list into use when it starts")),
        }
    }
}

async fn sign_crl(context: &Context) -> Result<(), Failure> {
    let office = Office::open(context)?;
    let next_update = office.write_crl(now()).await?;
    if office.tell_gateway().await == Told::Failed {
        let message = "the list is signed, but THE RUNNING GATEWAY HAS NOT TAKEN IT INTO USE";
        return Err(Failure::new(Exit::Failed, message).hint("curl /readyz says why"));
    }
    context.result(
        &json!({ "nextUpdate": rfc3339(next_update) }),
        format!("Signed a new revocation list; the next is due by {}.", rfc3339(next_update)),
    );
    Ok(())
}

/// Where certificates are issued from: the home's register, log and authority.
pub(super) struct Office<'a> {
    context: &'a Context,
    config: Config,
    store: Arc<dyn Store>,
    ledger: Ledger,
}

/// Whether a running gateway took what was changed into use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    InUse,
    Failed,
    NotRunning,
}

impl<'a> Office<'a> {
    pub(super) fn open(context: &'a Context) -> Result<Self, Failure> {
        let config = super::config(&context.home)?;
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open(&context.home.resolve(&config.store.sqlite))?);
        let key = serve::log_key(&context.home, &config)?;
        let (ledger, _) = Ledger::start(Arc::clone(&store), key, Arc::new(Metrics::new()))?;
        Ok(Self { context, config, store, ledger })
    }

    /// Issues a certificate, and writes it to `out` with what else the agency needs.
    pub(super) async fn issue(
        &self,
        agency: &AgencyId,
        key: &SubjectKey,
        out: &Path,
    ) -> Result<Issued, Failure> {
        let at = now();
        self.refuse_known_key(agency, key).await?;
        let domain = Domain::parse(&self.config.domain)?;
        let valid_for = DAY * u32::from(self.config.certificate_days);
        let terms = Terms { domain: &domain, published: None, valid_for };
        let profile = Profile::Agency(agency.clone());
        let issued = self.authority()?.issue(&profile, key, &terms, at)?;
        let record = CertificateRecord {
            sha256: issued.sha256,
            serial: issued.serial.clone(),
            agency: agency.clone(),
            issued_at: at,
            not_before: issued.not_before,
            not_after: issued.not_after,
            revoked: None,
            pem: issued.pem.clone(),
        };
        let event = Event::certificate_issued(agency, &issued.serial, &issued.sha256);
        self.record(&event, at, Effect::IssueCertificate(record)).await?;

        // The certificate is on the register before anybody holds it; files come after.
        std::fs::create_dir_all(out)?;
        let home = &self.context.home;
        let issuer = read_text(&home.resolve(&self.config.paths.agency_ca))?;
        let certificate = out.join(format!("{agency}.pem"));
        write_synced(&certificate, format!("{}{issuer}", issued.pem).as_bytes(), 0o644)?;
        for (from, name) in [
            (home.resolve(&self.config.paths.root), "ca.pem"),
            (home.log_key_public(), "log-key.txt"),
        ] {
            write_synced(&out.join(name), read_text(&from)?.as_bytes(), 0o644)?;
        }
        Ok(issued)
    }

    // One slip of a file name must not make one agency's key another agency's too; and a key that
    // somebody else may have is not certified again.
    async fn refuse_known_key(&self, agency: &AgencyId, key: &SubjectKey) -> Result<(), Failure> {
        for known in self.store.certificates().await? {
            if key_fingerprint(&known.pem) != Some(key.fingerprint()) {
                continue;
            }
            let compromised = Reason::KeyCompromise.as_str();
            let is_compromised = known.revoked.is_some_and(|(_, reason)| reason == compromised);
            if known.agency == *agency && !is_compromised {
                continue;
            }
            let message = if known.agency == *agency {
                "this key was revoked as compromised; nothing was issued".to_owned()
            } else {
                format!("this key is already {}'s; nothing was issued", known.agency)
            };
            return Err(Failure::new(Exit::Misused, message)
                .hint("is this the right request? each agency makes a key of its own, and a new one after a compromise"));
        }
        Ok(())
    }

    fn directory(&self) -> Result<Directory, Failure> {
        Ok(serve::directory(&self.context.home, &self.config)?)
    }

    fn authority(&self) -> Result<Authority, Failure> {
        let home = &self.context.home;
        let identity = read_text(&home.resolve(AUTHORITY_IDENTITY))?;
        let identities = Identities::parse(&SecretString::from(identity))?;
        let sealed = std::fs::read(home.resolve(AGENCY_CA_KEY))?;
        let key = seal::unwrap_secret(&identities, &sealed)?;
        let key = std::str::from_utf8(&key)?;
        Ok(Authority::from_pem(&read_text(&home.resolve(&self.config.paths.agency_ca))?, key)?)
    }

    async fn record(&self, event: &Event, at: Timestamp, effect: Effect) -> Result<(), Failure> {
        match self.ledger.record(event, at, None, effect).await? {
            Applied::Recorded(_) => Ok(()),
            _ => Err(Failure::new(Exit::Failed, "the register refused the change")),
        }
    }

    // From the register, so that the list can never lack what the register knows; and from the last
    // list, so that nobody can take a name off it by editing the register.
    async fn write_crl(&self, at: Timestamp) -> Result<Timestamp, Failure> {
        let mut revoked = Vec::new();
        for certificate in self.store.certificates().await? {
            if let Some((when, reason)) = &certificate.revoked {
                revoked.push(Revoked {
                    serial: certificate.serial.clone(),
                    at: *when,
                    reason: Reason::parse(reason).ok_or_else(|| {
                        Failure::new(Exit::Failed, "the register holds an unknown reason")
                    })?,
                });
            }
        }
        let path = self.context.home.resolve(&self.config.paths.agency_crl);
        let before = std::fs::read_to_string(&path).ok().and_then(|pem| crl::parse(&pem).ok());
        for serial in before.iter().flat_map(|list| &list.serials) {
            if !revoked.iter().any(|row| row.serial == *serial) {
                eprintln!(
                    "warning: {serial} is on the last revocation list and not in the register: it \
                     stays revoked. Somebody changed the register; run mash-gateway log verify"
                );
                let reason = Reason::KeyCompromise;
                revoked.push(Revoked { serial: serial.clone(), at, reason });
            }
        }
        let number = crl::number(before.map(|list| list.number), at);
        let pem = crl::build(&self.authority()?, &revoked, number, at, crl::CRL_VALID_FOR)?;
        write_synced(&path, pem.as_bytes(), 0o644)?;
        Ok(crl::parse(&pem)?.next_update)
    }

    // The local door takes changed files into use and answers when they are.
    async fn tell_gateway(&self) -> Told {
        let address = self.config.listen.local;
        let log = read_text(&self.context.home.log_key_public()).unwrap_or_default();
        let asked = tokio::time::timeout(Duration::from_secs(10), ask_to_reload(address)).await;
        match asked {
            // Another home's gateway may listen there: its word is worth nothing.
            Ok(Ok(Some(answered))) if answered["log"] == log.trim() => Told::InUse,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Told::NotRunning
            }
            Ok(_) | Err(_) => Told::Failed,
        }
    }
}

// What a gateway there answers; none when it refuses.
async fn ask_to_reload(address: std::net::SocketAddr) -> std::io::Result<Option<Value>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    let request = hyper::Request::post("/reload")
        .header("host", address.to_string())
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())
        .map_err(std::io::Error::other)?;
    let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
    let is_done = response.status().is_success();
    let body = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    Ok(serde_json::from_slice(&body).ok().filter(|_| is_done))
}

fn view(certificate: &CertificateRecord, at: Timestamp) -> Value {
    let mut view = json!({
        "agency": certificate.agency,
        "issuedAt": rfc3339(certificate.issued_at),
        "notAfter": rfc3339(certificate.not_after),
        "notBefore": rfc3339(certificate.not_before),
        "serial": certificate.serial,
        "sha256": fingerprint(&certificate.sha256),
        "standing": standing(certificate, at),
    });
    if let Some((when, reason)) = &certificate.revoked {
        view["revokedAt"] = json!(rfc3339(*when));
        view["reason"] = json!(reason);
    }
    view
}

fn standing(certificate: &CertificateRecord, at: Timestamp) -> &'static str {
    match &certificate.revoked {
        Some(_) => "revoked",
        None if certificate.not_after < at => "expired",
        None => "active",
    }
}

fn reason(name: &str) -> Result<Reason, String> {
    Reason::ALL
        .into_iter()
        .find(|reason| reason.kebab() == name)
        .ok_or_else(|| format!("one of {}", Reason::ALL.map(Reason::kebab).join(", ")))
}

const DAY: Duration = Duration::from_secs(86_400);
