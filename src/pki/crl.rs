//! Revocation lists: which certificates are no longer good, in the authority's own hand.
//!
//! Always one complete list for each authority. Lists of changes, lists for a part of the
//! certificates and lists by a third party are not read by rustls, so they are not made.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::message::hex;
use crate::pki::ca::{Authority, CaError, one_pem_block, pem};

/// How long an issuing authority's list is good. When it lapses, nobody is let in.
pub const CRL_VALID_FOR: Duration = Duration::from_secs(7 * 86_400);
/// How long the root's list is good: the root is off line, and signs by hand.
pub const ROOT_CRL_VALID_FOR: Duration = Duration::from_secs(180 * 86_400);

/// Why a certificate was revoked: those of RFC 5280 that can happen here. None can be undone.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The agency is no longer what the certificate says.
    AffiliationChanged,
    /// The agency no longer takes part.
    CessationOfOperation,
    /// Someone else has, or may have, the key.
    KeyCompromise,
    /// The agency may no longer take part.
    PrivilegeWithdrawn,
    /// It has a successor.
    Superseded,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::AffiliationChanged,
        Self::CessationOfOperation,
        Self::KeyCompromise,
        Self::PrivilegeWithdrawn,
        Self::Superseded,
    ];

    /// The name RFC 5280 gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AffiliationChanged => "affiliationChanged",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::KeyCompromise => "keyCompromise",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::Superseded => "superseded",
        }
    }

    /// The reason with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The name it has on the command line.
    pub fn kebab(self) -> &'static str {
        match self {
            Self::AffiliationChanged => "affiliation-changed",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::KeyCompromise => "key-compromise",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
            Self::Superseded => "superseded",
        }
    }

    fn code(self) -> RevocationReason {
        match self {
            Self::AffiliationChanged => RevocationReason::AffiliationChanged,
            Self::CessationOfOperation => RevocationReason::CessationOfOperation,
            Self::KeyCompromise => RevocationReason::KeyCompromise,
            Self::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
            Self::Superseded => RevocationReason::Superseded,
        }
    }
}

/// A certificate that is no longer good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// Its serial, lower-case hex.
    pub serial: String,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// Makes the list numbered `number`, which must be higher than every number before it.
pub fn build(
    authority: &Authority,
    revoked: &[Revoked],
    number: u64,
    now: Timestamp,
    valid_for: Duration,
) -> Result<String, CrlError> {
    let issuer = authority.issuer(now).map_err(CrlError::Authority)?;
    let date = |at: Timestamp| {
        let since_1970 = u64::try_from(at.as_second()).map_err(|_| CrlError::Time)?;
        Ok(rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_1970))
    };
    let entry = |revoked: &Revoked| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from(serial_bytes(&revoked.serial)?),
            revocation_time: date(revoked.at)?,
            reason_code: Some(revoked.reason.code()),
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update: date(now)?,
        next_update: date(now.checked_add(valid_for).map_err(|_| CrlError::Time)?)?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect::<Result<_, CrlError>>()?,
        // Not taken from the issuer: said again here, or the list would not match its authority.
        key_identifier_method: KeyIdMethod::PreSpecified(authority.key_id().to_vec()),
    };
    let list = params.signed_by(&issuer).map_err(CrlError::Signing)?;
    Ok(pem("X509 CRL", list.der()).to_string())
}

/// The number of a list made at `now` after the one numbered `before`: time makes it grow, and a
/// clock set back does not make it shrink.
pub fn number(before: Option<u64>, now: Timestamp) -> u64 {
    let by_time = u64::try_from(now.as_millisecond()).unwrap_or(0);
    by_time.max(before.map_or(0, |before| before.saturating_add(1)))
}

/// A revocation list that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Crl {
    /// Its number: the higher of two is the newer.
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// When it is no longer good.
    pub next_update: Timestamp,
    /// The serials on it, lower-case hex.
    pub serials: Vec<String>,
    der: Vec<u8>,
}

impl Crl {
    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What is on it, with when and why: for the next list, which must not lack it.
    pub fn revoked(&self) -> Result<Vec<Revoked>, CrlError> {
        let (_, list) =
            CertificateRevocationList::from_der(&self.der).map_err(|_| CrlError::Unreadable)?;
        list.iter_revoked_certificates()
            .map(|entry| {
                let at = Timestamp::from_second(entry.revocation_date.timestamp());
                let reason = entry.reason_code().map(|(_, code)| code.0);
                let reason = Reason::ALL
                    .into_iter()
                    .find(|ours| Some(ours.code() as u8) == reason)
                    .ok_or(CrlError::UnknownReason)?;
                let serial = hex(entry.raw_serial());
                Ok(Revoked { serial, at: at.map_err(|_| CrlError::Unreadable)?, reason })
            })
            .collect()
    }

    /// The list, armoured.
    pub fn pem(&self) -> String {
        pem("X509 CRL", &self.der).to_string()
    }

    /// Whether more than half of its time is over at `now`: high time for the next.
    pub fn is_past_half_life(&self, now: Timestamp) -> bool {
        now.duration_since(self.this_update) * 2 > self.next_update.duration_since(self.this_update)
    }

    /// Whether the authority whose certificate this is signed it.
    pub fn is_signed_by(&self, authority_der: &[u8]) -> bool {
        let Ok((_, authority)) = X509Certificate::from_der(authority_der) else { return false };
        let Ok((_, list)) = CertificateRevocationList::from_der(&self.der) else { return false };
        list.issuer() == authority.subject()
            && list.verify_signature(authority.public_key()).is_ok()
    }
}

/// Reads the lists in a bundle.
pub fn parse_all(text: &str) -> Result<Vec<Crl>, CrlError> {
    let lists = CertificateRevocationListDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CrlError::Unreadable)?;
    lists.iter().map(|list| parse_der(list.to_vec())).collect()
}

/// Reads a list in PEM. Who signed it is asked of the answer.
pub fn parse(text: &str) -> Result<Crl, CrlError> {
    match one_pem_block(text) {
        Some((label, der)) if label == "X509 CRL" => parse_der(der),
        Some(_) | None => Err(CrlError::Unreadable),
    }
}

/// Reads a list.
pub fn parse_der(der: Vec<u8>) -> Result<Crl, CrlError> {
    let (rest, list) =
        CertificateRevocationList::from_der(&der).map_err(|_| CrlError::Unreadable)?;
    if !rest.is_empty() {
        return Err(CrlError::Unreadable);
    }
    let second = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|_| CrlError::Unreadable)
    };
    let number = list.crl_number().and_then(|number| u64::try_from(number).ok());
    let next_update = list.next_update().ok_or(CrlError::Unreadable)?;
    Ok(Crl {
        number: number.ok_or(CrlError::Unreadable)?,
        this_update: second(list.last_update())?,
        next_update: second(next_update)?,
        serials: list.iter_revoked_certificates().map(|entry| hex(entry.raw_serial())).collect(),
        der,
    })
}

/// Why a list was not made or not read.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// The authority cannot sign now.
    #[error("the authority cannot sign a revocation list")]
    Authority(#[source] CaError),
    /// Not a serial.
    #[error("not a serial in lower-case hex")]
    Serial,
    /// The signature was not made.
    #[error("the revocation list could not be signed")]
    Signing(#[source] rcgen::Error),
    /// A time before 1970 or after 9999.
    #[error("not a time a revocation list can hold")]
    Time,
    /// A reason that we never give.
    #[error("the revocation list gives a reason that is none of ours")]
    UnknownReason,
    /// Not a revocation list, or one without number or end.
    #[error("not one complete revocation list, with its number and its end, in PEM")]
    Unreadable,
}

fn serial_bytes(hex: &str) -> Result<Vec<u8>, CrlError> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(CrlError::Serial),
    };
    if hex.is_empty() || !hex.len().is_multiple_of(2) || hex.len() > 40 {
        return Err(CrlError::Serial);
    }
    hex.as_bytes().chunks(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
