//! Where certificates are issued from: the home's register, log and authority.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::audit::entry::Event;
use crate::cli::init::{AGENCY_CA_KEY, AUTHORITY_IDENTITY, write_synced};
use crate::cli::running::{self, Told};
use crate::cli::{Context, Exit, Failure, read_text, serve};
use crate::config::Config;
use crate::directory::Directory;
use crate::ledger::Ledger;
use crate::message::{AgencyId, now};
use crate::pki::ca::{Authority, Domain, Issued, Profile, SubjectKey, Terms, key_fingerprint};
use crate::pki::crl::{self, Reason, Revoked};
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

impl<'a> Office<'a> {
    pub(in crate::cli) fn open(context: &'a Context) -> Result<Self, Failure> {
        let config = crate::cli::config(&context.home)?;
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open(&context.home.resolve(&config.store.sqlite))?);
        let key = serve::log_key(&context.home, &config)?;
        let (ledger, _) = Ledger::start(Arc::clone(&store), key, Arc::new(Metrics::new()))?;
        Ok(Self { context, config, store, ledger })
    }

    /// Issues a certificate, and writes it to `out` with what else the agency needs.
    pub(in crate::cli) async fn issue(
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

    pub(super) async fn tell_gateway(&self) -> Told {
        running::tell(&self.context.home, &self.config).await
    }
}

const DAY: Duration = Duration::from_secs(86_400);
