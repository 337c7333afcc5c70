//! What is kept of certificates, and of the tokens with which agencies enrol.

use jiff::Timestamp;

use crate::message::AgencyId;

/// A certificate, from issue to the end of the record.
#[derive(Clone, Debug)]
pub struct CertificateRecord {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// The serial, lower-case hex.
    pub serial: String,
    /// Whom it names.
    pub agency: AgencyId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The first instant it is good.
    pub not_before: Timestamp,
    /// The last instant it is good.
    pub not_after: Timestamp,
    /// When it was revoked and why.
    pub revoked: Option<(Timestamp, String)>,
    /// The certificate.
    pub pem: String,
    /// What it is for, as `Profile::name` has it.
    pub profile: String,
    /// When it was last used and from which address; not kept for every request.
    pub last_use: Option<(Timestamp, String)>,
}

/// What the bearer of a certificate did, of one event.
#[derive(Clone, Debug)]
pub struct CertificateDoing {
    /// The event's name.
    pub event: String,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}

/// A certificate's latest use.
#[derive(Clone, Debug)]
pub struct CertificateUse {
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
    /// When.
    pub at: Timestamp,
    /// From which IP address.
    pub address: String,
}

/// A one-time token with which an agency may enrol. The token itself is not kept.
#[derive(Clone, Debug)]
pub struct EnrolmentToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Whose it is.
    pub agency: AgencyId,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it is no longer good.
    pub expires_at: Timestamp,
    /// Whether an operator has to approve the key.
    pub needs_approval: bool,
    /// SHA-256 of the key first presented, when it needs approval.
    pub key_sha256: Option<[u8; 32]>,
    /// When an operator approved that key.
    pub approved_at: Option<Timestamp>,
    /// When a certificate was issued for it.
    pub used_at: Option<Timestamp>,
}
