//! The issuer: whoever holds the issuing authorities' keys.
//!
//! A process of its own (`mash-gateway issuer`), so that nobody who gets hold of the gateway's
//! memory has them. It is asked over a Unix socket, and reads the keys for each request anew: a
//! rotation takes effect with the next one. What it issues is worth nothing until it is on the
//! register.

pub mod succession;
mod wire;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::{Config, Home, write_synced};
use crate::message::hex;
use crate::pki::ca::{
    self, Authority, CaError, Domain, GATEWAY_DAYS, Issued, Profile, SubjectKey, Terms,
};
use crate::pki::crl::{self, CrlError, Reason, Revoked};
use crate::pki::token::{self, Token};
use crate::seal::{self, Identities};

pub use wire::{Client, serve};

/// What the issuer is asked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// To certify a key.
    Issue {
        /// For whom and what.
        profile: Profile,
        /// The signing request (PKCS#10, PEM or base64 DER); only its key is taken.
        csr: String,
        /// The longest it is to be good; never longer than the settings say.
        days: u16,
    },
    /// To sign every authority's revocation list anew.
    SignLists {
        /// Everything that was ever revoked.
        revoked: Vec<Revocation>,
    },
    /// Whether it is there and can open its keys.
    Status,
}

/// A certificate that is no longer good.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Revocation {
    /// Its serial, lower-case hex.
    pub serial: String,
    /// The identifier of the key that signed it, lower-case hex.
    pub authority: String,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// What the issuer answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What was issued.
    Issued(Box<IssuedChain>),
    /// The lists are signed and in their files.
    Lists {
        /// When the next must be there at the latest.
        next_update: Timestamp,
        /// Serials on the last lists that were not among those revoked: they stay revoked.
        unregistered: Vec<String>,
    },
    /// The authorities whose keys it can open.
    Status(Vec<AuthorityStatus>),
}

/// A certificate and what is above it.
#[derive(Debug, Deserialize, Serialize)]
pub struct IssuedChain {
    /// The certificate, PEM.
    pub pem: String,
    /// The issuing authority's certificate, PEM, and how its root is vouched for by an earlier one.
    pub issuer_pem: String,
    /// The serial, lower-case hex.
    pub serial: String,
    /// SHA-256 of the certificate's DER.
    pub sha256: [u8; 32],
    /// The first second it is good.
    pub not_before: Timestamp,
    /// The last second it is good.
    pub not_after: Timestamp,
}

/// An authority.
#[derive(Debug, Deserialize, Serialize)]
pub struct AuthorityStatus {
    /// Its name.
    pub name: String,
    /// The last second it may sign.
    pub not_after: Timestamp,
}

/// Why the issuer did not do what it was asked.
#[derive(Debug, Deserialize, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerError {
    /// The signing request cannot be certified; whoever made it can mend it.
    #[error("{0}")]
    Request(String),
    /// What was asked cannot be issued.
    #[error("{0}")]
    Refused(String),
    /// The issuer is not there, or cannot use its keys.
    #[error("{0}")]
    Unavailable(String),
}

/// How to reach the issuer.
#[derive(Clone, Debug)]
pub enum Access {
    /// In this process: for commands, run by whoever may read the keys.
    Here(Box<Issuer>),
    /// In its own.
    Process(Client),
}

impl Access {
    /// For a command: the running issuer, or its keys if none runs.
    pub async fn for_command(home: &Home, config: &Config) -> Self {
        let client = Client::new(home.resolve(&config.issuer.socket));
        match client.is_there().await {
            true => Self::Process(client),
            false => Self::Here(Box::new(Issuer::new(home, config))),
        }
    }

    /// For the gateway, which never opens the keys itself.
    pub fn for_gateway(home: &Home, config: &Config) -> Self {
        Self::Process(Client::new(home.resolve(&config.issuer.socket)))
    }

    /// Asks.
    pub async fn ask(&self, ask: Ask, now: Timestamp) -> Result<Answer, IssuerError> {
        match self {
            Self::Here(issuer) => issuer.answer(ask, now),
            Self::Process(client) => client.ask(&ask).await,
        }
    }

    /// Asks for a certificate.
    pub async fn issue(
        &self,
        profile: Profile,
        csr: String,
        days: u16,
        now: Timestamp,
    ) -> Result<IssuedChain, IssuerError> {
        match self.ask(Ask::Issue { profile, csr, days }, now).await? {
            Answer::Issued(issued) => Ok(*issued),
            Answer::Lists { .. } | Answer::Status(_) => Err(beside_the_point()),
        }
    }
}

/// The issuing authorities of a home.
#[derive(Clone, Debug)]
pub struct Issuer {
    home: Home,
    config: Config,
}

impl Issuer {
    /// The issuer of this home. Nothing is opened yet.
    pub fn new(home: &Home, config: &Config) -> Self {
        Self { home: home.clone(), config: config.clone() }
    }

    /// Does what it is asked.
    pub fn answer(&self, ask: Ask, now: Timestamp) -> Result<Answer, IssuerError> {
        match ask {
            Ask::Issue { profile, csr, days } => self.issue(&profile, &csr, days, now),
            Ask::SignLists { revoked } => self.sign_lists(&revoked, now),
            Ask::Status => {
                let mut status = Vec::new();
                for line in [self.agencies(), self.gateway_servers()] {
                    status.extend(self.open(&line)?.iter().map(|authority| AuthorityStatus {
                        name: authority.name().to_owned(),
                        not_after: authority.not_after(),
                    }));
                }
                Ok(Answer::Status(status))
            }
        }
    }

    fn issue(
        &self,
        profile: &Profile,
        csr: &str,
        days: u16,
        now: Timestamp,
    ) -> Result<Answer, IssuerError> {
        let key =
            SubjectKey::from_csr(csr).map_err(|error| IssuerError::Request(error.to_string()))?;
        let (line, days_max) = match profile {
            Profile::Agency(_) | Profile::Desk { .. } => {
                (self.agencies(), self.config.certificate_days)
            }
            Profile::GatewayClient => (self.agencies(), GATEWAY_DAYS),
            Profile::GatewayServer { .. } => (self.gateway_servers(), GATEWAY_DAYS),
        };
        if let Profile::GatewayServer { names } = profile {
            self.refuse_other_addresses(names)?;
        }
        let authorities = self.open(&line)?;
        let [authority, ..] = authorities.as_slice() else {
            return Err(IssuerError::Unavailable("there is no authority to issue it".to_owned()));
        };
        let domain = Domain::parse(&self.config.domain).map_err(refused)?;
        let terms = Terms {
            domain: &domain,
            published: self.config.published_url.as_ref(),
            valid_for: DAY * u32::from(days.min(days_max)),
        };
        let issued = authority.issue(profile, &key, &terms, now).map_err(refused)?;
        // So that whichever root the other side trusts, the way to it is there.
        let issuer_pem = self.chain(&authorities)?;
        let Issued { pem, serial, sha256, not_before, not_after, der: _ } = issued;
        Ok(Answer::Issued(Box::new(IssuedChain {
            pem,
            issuer_pem,
            serial,
            sha256,
            not_before,
            not_after,
        })))
    }

    // The authority's own constraints hold names to the hub's; addresses they cannot.
    fn refuse_other_addresses(&self, names: &[String]) -> Result<(), IssuerError> {
        let own = read_text(&self.home.resolve(&self.config.paths.tls_certificate))?;
        let (own, _, _) = ca::server_certificate(&own).map_err(refused)?;
        let is_other = |name: &&String| name.parse::<IpAddr>().is_ok() && !own.contains(name);
        match names.iter().find(is_other) {
            Some(other) => {
                Err(IssuerError::Refused(format!("{other} is not an address of this gateway")))
            }
            None => Ok(()),
        }
    }

    // From what is revoked, and from the last list, so that nobody can take a name off it by
    // editing the register.
    fn sign_lists(&self, revoked: &[Revocation], now: Timestamp) -> Result<Answer, IssuerError> {
        let mut unregistered = Vec::new();
        let mut next_update = Timestamp::MAX;
        for line in [self.agencies(), self.gateway_servers()] {
            let mut pem = String::new();
            let before = std::fs::read_to_string(&line.lists)
                .ok()
                .and_then(|pem| crl::parse_all(&pem).ok())
                .unwrap_or_default();
            let mut signed_by: Vec<&[u8]> = Vec::new();
            let authorities = self.open(&line)?;
            for authority in &authorities {
                // Another root's certificate of the same key: one list does for both.
                if signed_by.contains(&authority.key_id()) {
                    continue;
                }
                signed_by.push(authority.key_id());
                let id = hex(authority.key_id());
                let own = revoked.iter().filter(|one| one.authority == id);
                let mut own: Vec<_> = own
                    .map(|one| Revoked {
                        serial: one.serial.clone(),
                        at: one.at,
                        reason: one.reason,
                    })
                    .collect();
                let last =
                    before.iter().find(|list| list.is_signed_by(authority.certificate_der()));
                for serial in last.iter().flat_map(|list| &list.serials) {
                    if !own.iter().any(|one| one.serial == *serial) {
                        unregistered.push(serial.clone());
                        let (serial, reason) = (serial.clone(), Reason::KeyCompromise);
                        own.push(Revoked { serial, at: now, reason });
                    }
                }
                let number = crl::number(last.map(|list| list.number), now);
                let list = crl::build(authority, &own, number, now, crl::CRL_VALID_FOR);
                let list = list.map_err(unavailable_list)?;
                let parsed = crl::parse(&list).map_err(unavailable_list)?;
                next_update = next_update.min(parsed.next_update);
                pem.push_str(&list);
            }
            write_synced(&line.lists, pem.as_bytes(), 0o644).map_err(|error| {
                let path = line.lists.display();
                IssuerError::Unavailable(format!("cannot write {path}: {error}"))
            })?;
        }
        Ok(Answer::Lists { next_update, unregistered })
    }

    fn agencies(&self) -> Line {
        let paths = &self.config.paths;
        Line {
            certificates: self.home.resolve(&paths.agency_ca),
            keys: self.home.agency_ca_keys(),
            lists: self.home.resolve(&paths.agency_crl),
            next_keys: self.home.agency_ca_next_keys(),
        }
    }

    fn gateway_servers(&self) -> Line {
        Line {
            certificates: self.home.server_ca(),
            keys: self.home.server_ca_keys(),
            lists: self.home.server_crl(),
            next_keys: self.home.server_ca_next_keys(),
        }
    }

    fn open(&self, line: &Line) -> Result<Vec<Authority>, IssuerError> {
        let keys = self.keys(&line.keys)?;
        let token = self.token()?;
        let certificates = read_text(&line.certificates)?;
        Authority::from_pem(&certificates, &keys, token.as_ref()).map_err(|error| {
            IssuerError::Unavailable(format!("{}: {error}", line.certificates.display()))
        })
    }

    fn identities(&self) -> Result<Identities, IssuerError> {
        let identity = Zeroizing::new(read_text(&self.home.resolve(&self.config.issuer.identity))?);
        Identities::parse(&SecretString::from(identity.as_str()))
            .map_err(|error| IssuerError::Unavailable(error.to_string()))
    }

    // The token that keys may be in, opened with its PIN.
    fn token(&self) -> Result<Option<Token>, IssuerError> {
        let Some(settings) = &self.config.issuer.token else { return Ok(None) };
        let pin = Zeroizing::new(read_text(&self.home.resolve(&settings.pin))?);
        let pin = SecretString::from(pin.trim_end_matches(['\r', '\n']));
        let token = token::open(&self.home.resolve(&settings.module), &settings.label, &pin);
        token.map(Some).map_err(|error| IssuerError::Unavailable(error.to_string()))
    }

    // The keys in a sealed file, PKCS#8 in PEM.
    fn keys(&self, path: &Path) -> Result<Zeroizing<String>, IssuerError> {
        let sealed = std::fs::read(path).map_err(|error| cannot_read(path, &error))?;
        let keys = seal::unwrap_secret(&self.identities()?, &sealed)
            .map_err(|error| IssuerError::Unavailable(format!("{}: {error}", path.display())))?;
        match std::str::from_utf8(&keys) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(IssuerError::Unavailable("an authority's key is damaged".to_owned())),
        }
    }
}

// The successive authorities of one kind: the one that issues first, then those whose certificates
// are still good.
struct Line {
    certificates: PathBuf,
    keys: PathBuf,
    lists: PathBuf,
    /// The next authority's key, while it waits for its certificate.
    next_keys: PathBuf,
}

fn read_text(path: &Path) -> Result<String, IssuerError> {
    std::fs::read_to_string(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> IssuerError {
    IssuerError::Unavailable(format!("cannot read {}: {error}", path.display()))
}

fn refused(error: CaError) -> IssuerError {
    IssuerError::Refused(error.to_string())
}

fn unavailable_list(error: CrlError) -> IssuerError {
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    IssuerError::Unavailable(text)
}

fn beside_the_point() -> IssuerError {
    IssuerError::Unavailable("the issuer answered something else".to_owned())
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
