//! Who is speaking: a verified certificate becomes the one agency it names, or nobody.
//!
//! TLS has already shown that the chain leads to the agencies' authority and is neither expired nor
//! revoked. It does not look at what names a client's certificate holds, so all of that is here.

use std::collections::HashMap;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::message::{AgencyId, Role, hex, sha256};
use crate::pki::ca::Domain;
use crate::store::CertificateRecord;

/// A leaf, two authorities and one to spare; more is an attempt to keep us busy.
const CHAIN_LENGTH_MAX: usize = 4;

/// The agency at the other end of a connection, and who there. Made only by [`peer`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    agency: AgencyId,
    desk: Option<Role>,
    serial: String,
    sha256: [u8; 32],
    not_after: Timestamp,
}

impl Peer {
    /// The agency.
    pub fn agency(&self) -> &AgencyId {
        &self.agency
    }

    /// The role of the person at the desk; none when it is the agency's system.
    pub fn role(&self) -> Option<Role> {
        self.desk
    }

    /// Its certificate's serial, lower-case hex.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// SHA-256 of its certificate's DER: what the registry knows it by.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The last second its certificate is good.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// Names the agency whose verified certificate chain this is, and the desk there if it is a
/// person's. Who that person is stays in the certificate.
pub fn peer(chain: &[CertificateDer<'_>], domain: &Domain) -> Result<Peer, IdentityError> {
    if chain.len() > CHAIN_LENGTH_MAX {
        return Err(IdentityError::ChainTooLong);
    }
    let leaf = chain.first().ok_or(IdentityError::Unreadable)?;
    let (rest, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| IdentityError::Unreadable)?;
    if !rest.is_empty() {
        return Err(IdentityError::Unreadable);
    }
    // "Any purpose" and no stated purpose are not enough: ours say what they are for.
    let purposes = certificate.extended_key_usage().map_err(|_| IdentityError::Unreadable)?;
    if !purposes.is_some_and(|purposes| purposes.value.client_auth) {
        return Err(IdentityError::NotForClients);
    }
    let names = certificate.subject_alternative_name().map_err(|_| IdentityError::Unreadable)?;
    let (agency, desk) = match names.map_or(&[][..], |names| &names.value.general_names) {
        [] => return Err(IdentityError::NoName),
        [GeneralName::URI(uri)] => member(uri, domain)?,
        [_] => return Err(IdentityError::NotAnAgency),
        [_, _, ..] => return Err(IdentityError::TwoNames),
    };
    let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp())
        .map_err(|_| IdentityError::Unreadable)?;
    let serial = hex(certificate.raw_serial());
    Ok(Peer { agency, desk, serial, sha256: sha256(leaf), not_after })
}

/// Whether this verified certificate chain is the gateway's own as a client: what an endpoint that
/// is pushed to has to ask, since agencies have certificates of the same authority.
pub fn is_gateway(chain: &[CertificateDer<'_>], domain: &Domain) -> bool {
    let Some(leaf) = chain.first() else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    matches!(&*names.value.general_names, [GeneralName::URI(uri)] if *uri == domain.gateway_uri())
}

/// Why a verified certificate names no agency.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// More certificates than any of ours needs.
    #[error("the certificate chain is too long")]
    ChainTooLong,
    /// It names nobody.
    #[error("the certificate has no alternative name")]
    NoName,
    /// It names something, but no agency, and no desk at one.
    #[error("the certificate does not name an agency, or a desk at one")]
    NotAnAgency,
    /// It is not for clients.
    #[error("the certificate is not for clients")]
    NotForClients,
    /// It names an agency of another hub.
    #[error("the certificate is of another trust domain")]
    OtherDomain,
    /// It has more than one name, and which is meant is anyone's guess.
    #[error("the certificate has more than one name")]
    TwoNames,
    /// It is not a certificate, or says a thing twice.
    #[error("the certificate cannot be read")]
    Unreadable,
}

impl IdentityError {
    /// The stable code, for logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::ChainTooLong => "chain-too-long",
            Self::NoName => "certificate-no-name",
            Self::NotAnAgency => "certificate-not-an-agency",
            Self::NotForClients => "certificate-wrong-purpose",
            Self::OtherDomain => "certificate-other-domain",
            Self::TwoNames => "certificate-two-names",
            Self::Unreadable => "certificate-unreadable",
        }
    }
}

/// Every certificate we issued, as it stood when this was made: the positive list.
///
/// A revocation list cannot name a certificate made with a stolen issuing key. This does not need
/// to: what is not in it was not issued.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registry {
    rows: HashMap<[u8; 32], Row>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Row {
    is_revoked: bool,
    not_after: Timestamp,
}

impl Registry {
    /// The registry of these certificates.
    pub fn new(records: &[CertificateRecord]) -> Self {
        let row = |record: &CertificateRecord| {
            let is_revoked = record.revoked.is_some();
            (record.sha256, Row { is_revoked, not_after: record.not_after })
        };
        Self { rows: records.iter().map(row).collect() }
    }

    /// How the certificate with this SHA-256 stands.
    pub fn standing(&self, sha256: &[u8; 32], now: Timestamp) -> Standing {
        match self.rows.get(sha256) {
            None => Standing::Unknown,
            Some(row) if row.is_revoked => Standing::Revoked,
            // The last second is good to its end.
            Some(row) if now.as_second() > row.not_after.as_second() => Standing::Expired,
            Some(_) => Standing::Active,
        }
    }

    /// How many certificates are good.
    pub fn active(&self, now: Timestamp) -> usize {
        self.rows.keys().filter(|key| self.standing(key, now) == Standing::Active).count()
    }
}

/// How a certificate stands with us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Issued, and good.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
    /// We never issued it.
    Unknown,
}

impl Standing {
    /// The stable code, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }
}

/// One spelling only: what differs in case or by a slash is another name.
fn member(uri: &str, domain: &Domain) -> Result<(AgencyId, Option<Role>), IdentityError> {
    let rest = uri.strip_prefix("spiffe://").ok_or(IdentityError::NotAnAgency)?;
    let (authority, path) = rest.split_once('/').ok_or(IdentityError::NotAnAgency)?;
    if authority != domain.as_str() {
        return Err(IdentityError::OtherDomain);
    }
    let path = path.strip_prefix("agency/").ok_or(IdentityError::NotAnAgency)?;
    let (id, desk) = match path.split_once('/') {
        None => (path, None),
        Some((id, rest)) => {
            let role = rest.strip_prefix("desk/").and_then(Role::parse);
            (id, Some(role.ok_or(IdentityError::NotAnAgency)?))
        }
    };
    Ok((AgencyId::parse(id).map_err(|_| IdentityError::NotAnAgency)?, desk))
}
