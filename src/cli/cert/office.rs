//! Where certificates are issued from: the home's register, and whoever holds the authorities' keys.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::audit::entry::Grant;
use crate::cli::connect;
use crate::cli::running;
use crate::cli::sound::{self, Signing};
use crate::cli::{Context, Exit, Failure, serve};
use crate::config::{Config, write_synced};
use crate::directory::{Directory, Partner};
use crate::issuer::{Access, IssuedChain};
use crate::ledger::Ledger;
use crate::message::{AgencyId, now};
use crate::pki::ca::{CSR_BYTES_MAX, Profile};
use crate::register::{Register, RegisterError, SignedLists, Told};
use crate::store::Store;
use crate::store::sqlite::Sqlite;
use crate::telemetry::Metrics;

/// Where certificates are issued from.
pub(in crate::cli) struct Office<'a> {
    pub(super) context: &'a Context,
    pub(in crate::cli) config: Config,
    pub(in crate::cli) store: Arc<dyn Store>,
    pub(super) directory: Option<Directory>,
    pub(in crate::cli) ledger: Ledger,
    pub(in crate::cli) register: Register,
}

impl<'a> Office<'a> {
    /// The office of a home whose directory has no mistakes: every certificate is somebody's in it.
    pub(in crate::cli) async fn open(context: &'a Context) -> Result<Self, Failure> {
        let office = Self::open_as_it_is(context).await?;
        office.directory()?;
        Ok(office)
    }

    /// The same, whatever is wrong with the directory: what only looks, or revokes, is not held up.
    pub(in crate::cli) async fn open_as_it_is(context: &'a Context) -> Result<Self, Failure> {
        let home = &context.home;
        let config = crate::cli::config(home)?;
        let Signing { log_key, .. } = sound::signing(home, &config).await?;
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&home.resolve(&config.store.sqlite))?);
        let (ledger, _) = Ledger::start(Arc::clone(&store), log_key, Arc::new(Metrics::new()))?;
        let issuer = Access::for_command(home, &config).await;
        let directory = serve::directory(home, &config).ok();
        let hub = match &directory {
            Some(directory) => directory.hub().id.clone(),
            None => AgencyId::parse("hub")?,
        };
        let days = config.certificate_days;
        let register = Register::new(Arc::clone(&store), ledger.clone(), issuer, hub, days);
        Ok(Self { context, config, store, directory, ledger, register })
    }

    /// Issues a certificate, and writes it to `out` under this name, with what else its bearer needs.
    pub(in crate::cli) async fn issue(
        &self,
        name: &str,
        profile: &Profile,
        csr_pem: &str,
        out: &Path,
    ) -> Result<IssuedChain, Failure> {
        let issued = self.sign(profile, csr_pem, Grant::Operator, now()).await?;
        self.write(&issued, out, name)?;
        Ok(issued)
    }

    /// Issues a certificate, and says what to do when it cannot.
    pub(super) async fn sign(
        &self,
        profile: &Profile,
        csr_pem: &str,
        grant: Grant,
        at: Timestamp,
    ) -> Result<IssuedChain, Failure> {
        self.register.issue(profile, csr_pem, grant, at).await.map_err(refused)
    }

    /// Has the revocation lists signed anew; returns when the next are due.
    pub(in crate::cli) async fn sign_lists(&self, at: Timestamp) -> Result<Timestamp, Failure> {
        let signed = self.register.sign_lists(at).await.map_err(refused)?;
        warn_of_unregistered(&signed);
        Ok(signed.next_update)
    }

    /// Writes a certificate, with what is above it, and what its holder needs besides; returns where
    /// the certificate is.
    pub(super) fn write(
        &self,
        issued: &IssuedChain,
        out: &Path,
        name: &str,
    ) -> Result<PathBuf, Failure> {
        self.write_public(out)?;
        let certificate = out.join(format!("{name}.pem"));
        let chain = format!("{}{}", issued.pem, issued.issuer_pem);
        write_synced(&certificate, chain.as_bytes(), 0o644)?;
        Ok(certificate)
    }

    /// Writes what every agency needs to check the gateway and its receipts.
    pub(super) fn write_public(&self, out: &Path) -> Result<(), Failure> {
        connect::write_public(self.context, out)
    }

    /// The directory, or every mistake in it.
    pub(in crate::cli) fn directory(&self) -> Result<&Directory, Failure> {
        match &self.directory {
            Some(directory) => Ok(directory),
            None => {
                serve::directory(&self.context.home, &self.config)?;
                Err(Failure::new(Exit::Failed, "the directory changed; try again"))
            }
        }
    }

    /// An agency of the directory, or why there is none.
    pub(super) fn partner(&self, agency: &AgencyId) -> Result<(&Directory, &Partner), Failure> {
        let directory = self.directory()?;
        let partner = directory.get(agency).ok_or_else(|| {
            Failure::new(Exit::NotFound, "there is no such agency in partners.toml")
                .hint("mash-gateway partner list")
        })?;
        Ok((directory, partner))
    }

    /// Has the running gateway take changed files and the register into use.
    pub(in crate::cli) async fn tell_gateway(&self) -> Told {
        running::tell(&self.context.home, &self.config).await
    }
}

/// Says which serials are on the last lists and not in the register.
pub(super) fn warn_of_unregistered(signed: &SignedLists) {
    for serial in &signed.unregistered {
        eprintln!(
            "warning: {serial} is on the last revocation list and not in the register: it stays \
             revoked. Somebody changed the register; run mash-gateway log verify"
        );
    }
}

/// A refusal of the register, with what to do about it.
pub(in crate::cli) fn refused(error: RegisterError) -> Failure {
    let (exit, hint) = match &error {
        RegisterError::KeyIsOthers(_)
        | RegisterError::KeyIsOtherProfile
        | RegisterError::KeyCompromised
        | RegisterError::KeyNotNew => (
            Exit::Misused,
            Some(
                "is this the right request? each agency and each person has a key of its own, \
                 and a new one after a compromise",
            ),
        ),
        RegisterError::Issuer(crate::issuer::IssuerError::Unavailable(_)) => (
            Exit::Failed,
            Some(
                "start the issuer (mash-gateway serve, or mash-gateway issuer), or run this as \
                  the user who may read its keys",
            ),
        ),
        RegisterError::Csr(_)
        | RegisterError::Issuer(_)
        | RegisterError::HolderUnknown
        | RegisterError::Ledger(_)
        | RegisterError::PredecessorRevoked
        | RegisterError::Token(_)
        | RegisterError::AwaitingApproval
        | RegisterError::Store(_)
        | RegisterError::UnknownReason => (Exit::Failed, None),
    };
    let failure = Failure { exit, ..Failure::from(error) };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A signing request: as much of the file as one may have and a little more, enough to see that it is
/// too large. DER becomes base64, as EST has it.
pub(super) fn read_request(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(CSR_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(String::from_utf8(bytes).unwrap_or_else(|der| STANDARD.encode(der.as_bytes()))),
        Err(error) => {
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            let exit = if is_missing { Exit::NotFound } else { Exit::Failed };
            Err(Failure::new(exit, format!("cannot read {}: {error}", path.display())))
        }
    }
}
