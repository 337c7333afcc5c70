//! Where certificates are issued from: the home's register, log and authority.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

use crate::audit::entry::Event;
use crate::cli::init::{AGENCY_CA_KEY, AUTHORITY_IDENTITY, write_synced};
use crate::cli::{Context, Exit, Failure, read_text, serve};
use crate::config::Config;
use crate::directory::Directory;
use crate::ledger::Ledger;
use crate::message::{AgencyId, now};
use crate::pki::ca::{Authority, Domain, Issued, Profile, SubjectKey, Terms, key_fingerprint};
use crate::pki::crl::{self, Reason, Revoked};
use crate::pki::identity;
use crate::seal::{self, Identities};
use crate::store::sqlite::Sqlite;
use crate::store::{Applied, CertificateRecord, Effect, Store};
use crate::telemetry::Metrics;

/// Where certificates are issued from: the home's register, log and authority.
pub(in crate::cli) struct Office<'a> {
    context: &'a Context,
    config: Config,
    pub(super) store: Arc<dyn Store>,
    ledger: Ledger,
}

/// Whether a running gateway took what was changed into use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    InUse,
    Failed,
    NotRunning,
}

impl<'a> Office<'a> {
    pub(in crate::cli) fn open(context: &'a Context) -> Result<Self, Failure> {
        let config = crate::cli::config(&context.home)?;
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open(&context.home.resolve(&config.store.sqlite))?);
        let key = serve::log_key(&context.home, &config)?;
        let (ledger, _) = Ledger::start(Arc::clone(&store), key, Arc::new(Metrics::new()))?;
        Ok(Self { context, config, store, ledger })
    }

    /// Issues a certificate that names an agency, or a desk at one.
    pub(in crate::cli) async fn issue(
        &self,
        profile: &Profile,
        key: &SubjectKey,
    ) -> Result<Issued, Failure> {
        let at = now();
        let Some(agency) = profile.agency() else {
            return Err(Failure::new(Exit::Misused, "this office certifies agencies only"));
        };
        let domain = self.domain()?;
        self.refuse_known_key(agency, profile, key, &domain).await?;
        let valid_for = DAY * u32::from(self.config.certificate_days);
        let terms = Terms { domain: &domain, published: None, valid_for };
        let issued = self.authority()?.issue(profile, key, &terms, at)?;
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
        let event = Event::certificate_issued(agency, &issued.serial, &issued.sha256)
            .at_desk(profile.role());
        self.record(&event, at, Effect::IssueCertificate(record)).await?;
        Ok(issued)
    }

    /// Writes to `out` what an agency needs: the certificate with its chain as `NAME.pem`, and the
    /// public files beside it. The certificate is on the register before anybody holds it.
    pub(in crate::cli) fn hand_out(
        &self,
        out: &Path,
        certificate: Option<(&Issued, &str)>,
    ) -> Result<(), Failure> {
        std::fs::create_dir_all(out)?;
        let home = &self.context.home;
        if let Some((issued, name)) = certificate {
            let path = out.join(format!("{name}.pem"));
            write_synced(&path, format!("{}{}", issued.pem, self.issuer()?).as_bytes(), 0o644)?;
        }
        for (from, name) in [
            (home.resolve(&self.config.paths.root), "ca.pem"),
            (home.log_key_public(), "log-key.txt"),
        ] {
            write_synced(&out.join(name), read_text(&from)?.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// The certificate of the authority that issues to agencies (PEM).
    pub(super) fn issuer(&self) -> Result<String, Failure> {
        read_text(&self.context.home.resolve(&self.config.paths.agency_ca))
    }

    /// The root's certificate (PEM).
    pub(super) fn root(&self) -> Result<String, Failure> {
        read_text(&self.context.home.resolve(&self.config.paths.root))
    }

    // One slip of a file name must not make one agency's key another agency's too; and a key that
    // somebody else may have is not certified again.
    async fn refuse_known_key(
        &self,
        agency: &AgencyId,
        profile: &Profile,
        key: &SubjectKey,
        domain: &Domain,
    ) -> Result<(), Failure> {
        let desk = match profile {
            Profile::Desk { role, holder, .. } => Some((*role, holder.as_str().to_owned())),
            Profile::Agency(_) | Profile::GatewayClient | Profile::GatewayServer { .. } => None,
        };
        for known in self.store.certificates().await? {
            if key_fingerprint(&known.pem) != Some(key.fingerprint()) {
                continue;
            }
            let compromised = Reason::KeyCompromise.as_str();
            let is_compromised = known.revoked.is_some_and(|(_, reason)| reason == compromised);
            // Nor may one key be a person's and a system's, or two people's: who has it is then both.
            let is_same_holder = identity::desk(&known.pem, domain) == desk;
            if known.agency == *agency && is_same_holder && !is_compromised {
                continue;
            }
            let message = if known.agency != *agency {
                format!("this key is already {}'s; nothing was issued", known.agency)
            } else if is_compromised {
                "this key was revoked as compromised; nothing was issued".to_owned()
            } else {
                "this key is already certified for another desk, or for the agency's system; \
                 nothing was issued"
                    .to_owned()
            };
            return Err(Failure::new(Exit::Misused, message)
                .hint("is this the right request? each agency and each person has a key of its own, and a new one after a compromise"));
        }
        Ok(())
    }

    pub(super) fn domain(&self) -> Result<Domain, Failure> {
        Ok(Domain::parse(&self.config.domain)?)
    }

    pub(super) fn directory(&self) -> Result<Directory, Failure> {
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

    pub(super) async fn record(
        &self,
        event: &Event,
        at: Timestamp,
        effect: Effect,
    ) -> Result<(), Failure> {
        match self.ledger.record(event, at, None, effect).await? {
            Applied::Recorded(_) => Ok(()),
            _ => Err(Failure::new(Exit::Failed, "the register refused the change")),
        }
    }

    // From the register, so that the list can never lack what the register knows; and from the last
    // list, so that nobody can take a name off it by editing the register.
    pub(super) async fn write_crl(&self, at: Timestamp) -> Result<Timestamp, Failure> {
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
    pub(super) async fn tell_gateway(&self) -> Told {
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

const DAY: Duration = Duration::from_secs(86_400);
