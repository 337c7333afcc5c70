//! The register of certificates: what makes one good, and what makes it worthless.
//!
//! Issuing, renewing, enrolling and revoking are each one change of the register and one entry in
//! the log, in one transaction. The command line and the enrolment door both come here; a
//! certificate is on the register before anybody holds it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::SecretString;
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use crate::audit::entry::{Event, Grant};
use crate::issuer::{Access, Answer, Ask, IssuedChain, IssuerError, Revocation};
use crate::ledger::{Ledger, LedgerError};
use crate::message::{AgencyId, Role, hex, sha256};
use crate::pki::ca::{
    CsrError, Profile, SubjectKey, authority_key_id, common_name, key_fingerprint,
};
use crate::pki::crl::Reason;
use crate::pki::holder::Holder;
use crate::pki::identity::{Peer, Registry};
use crate::store::{Applied, CertificateRecord, Effect, EnrolmentToken, Store, StoreError};

/// The register of certificates.
#[derive(Clone)]
pub struct Register {
    store: Arc<dyn Store>,
    ledger: Ledger,
    issuer: Access,
    /// The agency that the gateway's own certificates are entered under.
    hub: AgencyId,
    days: u16,
}

/// Why nothing was issued or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The signing request cannot be used.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The issuer did not sign.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The key is another agency's.
    #[error("this key is already {0}'s; nothing was issued")]
    KeyIsOthers(AgencyId),
    /// The key is in use under another profile of the same agency, or by somebody else there.
    #[error(
        "this key already has a certificate of another kind, or is somebody else's there; nothing \
         was issued"
    )]
    KeyIsOtherProfile,
    /// The register does not say whom the certificate to be renewed is for.
    #[error("the register does not say whom the certificate is for; nothing was issued")]
    HolderUnknown,
    /// Somebody else may have the key.
    #[error("this key was revoked as compromised; nothing was issued")]
    KeyCompromised,
    /// A renewal is for a new key.
    #[error("a renewal needs a new key; nothing was issued")]
    KeyNotNew,
    /// The certificate to be renewed was revoked while its successor was made.
    #[error("the certificate to be renewed was revoked; nothing was issued")]
    PredecessorRevoked,
    /// The change could not be logged.
    #[error("the register cannot be changed now")]
    Ledger(#[from] LedgerError),
    /// The token is not good, for whatever reason: which, only the log and the operator learn.
    #[error("the token is not good")]
    Token(TokenFault),
    /// An operator has to approve the key first.
    #[error("an operator has to approve the key first")]
    AwaitingApproval,
    /// The register cannot be read.
    #[error("the register cannot be read")]
    Store(#[from] StoreError),
    /// The register says something that this version does not know.
    #[error("the register holds an unknown reason for a revocation")]
    UnknownReason,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenFault {
    /// Its time is over.
    Expired,
    /// It is bound to another key.
    OtherKey,
    /// Nobody made it, or not for this agency.
    Unknown,
    /// A certificate was issued for it.
    Used,
}

impl TokenFault {
    /// Every fault.
    pub const ALL: [Self; 4] = [Self::Expired, Self::OtherKey, Self::Unknown, Self::Used];

    /// The stable code, for logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "token-expired",
            Self::OtherKey => "token-other-key",
            Self::Unknown => "token-unknown",
            Self::Used => "token-used",
        }
    }
}

/// The certificates that are good, as the doors see them, now.
///
/// One reading at a time: a reading that was overtaken by another must not undo it.
pub struct Live {
    store: Arc<dyn Store>,
    registry: watch::Sender<Arc<Registry>>,
    reading: Mutex<()>,
}

impl Live {
    /// Reads the register for the first time.
    pub async fn read(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let registry = Registry::new(&store.certificates().await?);
        let registry = watch::Sender::new(Arc::new(registry));
        Ok(Self { store, registry, reading: Mutex::new(()) })
    }

    /// What the doors look at.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Registry>> {
        self.registry.subscribe()
    }

    /// Reads the register again, and has the doors look at it.
    pub async fn refresh(&self) -> Result<Arc<Registry>, StoreError> {
        let _one_at_a_time = self.reading.lock().await;
        let registry = Arc::new(Registry::new(&self.store.certificates().await?));
        self.registry.send_if_modified(|current| {
            let is_new = **current != *registry;
            if is_new {
                *current = Arc::clone(&registry);
            }
            is_new
        });
        Ok(registry)
    }
}

/// Whether a running gateway took what was changed into use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// It did, and cut so many connections that were open with what is no longer good.
    InUse {
        /// How many.
        cut: u64,
    },
    /// It did not.
    Failed,
    /// None is running.
    NotRunning,
}

impl Told {
    /// Whether it did.
    pub fn is_in_use(self) -> bool {
        match self {
            Self::InUse { .. } => true,
            Self::Failed | Self::NotRunning => false,
        }
    }
}

/// What [`Register::sign_lists`] did.
#[derive(Clone, Debug)]
pub struct SignedLists {
    /// When the next must be there at the latest.
    pub next_update: Timestamp,
    /// Serials on the last lists that the register says nothing of: somebody changed it.
    pub unregistered: Vec<String>,
}

impl Register {
    /// The register in this store, whose certificates are good for so many days.
    pub fn new(
        store: Arc<dyn Store>,
        ledger: Ledger,
        issuer: Access,
        hub: AgencyId,
        days: u16,
    ) -> Self {
        Self { store, ledger, issuer, hub, days }
    }

    /// Everything that was ever issued, newest first.
    pub async fn certificates(&self) -> Result<Vec<CertificateRecord>, RegisterError> {
        Ok(self.store.certificates().await?)
    }

    /// Issues a certificate for the key in a signing request (PKCS#10, PEM or base64).
    pub async fn issue(
        &self,
        profile: &Profile,
        csr: &str,
        grant: Grant,
        at: Timestamp,
    ) -> Result<IssuedChain, RegisterError> {
        let key = SubjectKey::from_csr(csr)?;
        let agency = self.agency(profile).clone();
        self.refuse_known_key(&agency, profile, &key, &grant).await?;
        let ask = self.issuer.issue(profile.clone(), csr.to_owned(), self.days, at);
        let issued = ask.await?;
        self.enter(profile, &issued, grant, at).await?;
        Ok(issued)
    }

    /// Issues the successor of a certificate, for the same holder: an agency's system, or the same
    /// person in the same role (RFC 7030, 4.2.2), whatever the request says.
    pub async fn renew(
        &self,
        peer: &Peer,
        csr: &str,
        at: Timestamp,
    ) -> Result<IssuedChain, RegisterError> {
        let agency = peer.agency().clone();
        let profile = match peer.role() {
            None => Profile::Agency(agency),
            Some(role) => {
                let certificates = self.store.certificates().await?;
                let own = certificates.iter().find(|known| known.sha256 == *peer.sha256());
                // The name it is for is in the certificate alone.
                let holder = own
                    .filter(|own| Role::parse(&own.profile) == Some(role))
                    .and_then(|own| Holder::parse(&common_name(&own.pem)?).ok())
                    .ok_or(RegisterError::HolderUnknown)?;
                Profile::Desk { agency, role, holder }
            }
        };
        let grant = Grant::Renewal { serial: peer.serial().to_owned() };
        self.issue(&profile, csr, grant, at).await
    }

    /// Enters what was issued: from now on it is good.
    pub async fn enter(
        &self,
        profile: &Profile,
        issued: &IssuedChain,
        grant: Grant,
        at: Timestamp,
    ) -> Result<(), RegisterError> {
        let agency = self.agency(profile);
        let record = CertificateRecord {
            sha256: issued.sha256,
            serial: issued.serial.clone(),
            agency: agency.clone(),
            issued_at: at,
            not_before: issued.not_before,
            not_after: issued.not_after,
            revoked: None,
            pem: issued.pem.clone(),
            profile: profile.name().to_owned(),
            last_use: None,
        };
        let name = profile.name();
        let event = Event::certificate_issued(agency, &issued.serial, &issued.sha256, name, &grant);
        let effect = match grant {
            Grant::Token(token) => Effect::Enrol { token, certificate: record },
            Grant::Operator | Grant::Timer => Effect::IssueCertificate(record),
            Grant::Renewal { ref serial } => {
                Effect::RenewCertificate { predecessor: serial.clone(), certificate: record }
            }
        };
        match (self.ledger.record(&event, at, None, effect).await?, grant) {
            (Applied::Recorded(_), _) => Ok(()),
            // Somebody was quicker, with the same token or with a revocation: what was signed is
            // worth nothing.
            (_, Grant::Renewal { .. }) => Err(RegisterError::PredecessorRevoked),
            (_, Grant::Operator | Grant::Timer | Grant::Token(_)) => {
                Err(RegisterError::Token(TokenFault::Used))
            }
        }
    }

    /// Revokes all of an agency's certificates, of its system and of people at its desks, and ends
    /// its unused tokens; returns what was revoked.
    ///
    /// First of all nothing it has can be turned into a new certificate any more: whoever renews
    /// with a stolen key meanwhile gets one that is in the list that is then read, or none. `by` is the
    /// serial of the certificate of whoever does it, if one was shown.
    pub async fn revoke_agency(
        &self,
        agency: &AgencyId,
        reason: Reason,
        by: Option<&str>,
        at: Timestamp,
    ) -> Result<Vec<CertificateRecord>, RegisterError> {
        let event = Event::enrolment_tokens_voided(agency).done_with(by);
        let effect = Effect::BarAgency { agency: agency.clone(), at };
        self.ledger.record(&event, at, None, effect).await?;
        let mut chosen = self.store.certificates().await?;
        chosen.retain(|certificate| {
            certificate.agency == *agency
                && !is_gateways(certificate)
                && is_revocable(certificate, reason, at)
        });
        self.revoke(&chosen, reason, by, at).await?;
        Ok(chosen)
    }

    /// Revokes certificates: each is an entry, so that the log can be held against the register.
    pub async fn revoke(
        &self,
        chosen: &[CertificateRecord],
        reason: Reason,
        by: Option<&str>,
        at: Timestamp,
    ) -> Result<(), RegisterError> {
        for certificate in chosen {
            let CertificateRecord { agency, serial, sha256, .. } = certificate;
            let event = Event::certificate_revoked(agency, serial, sha256, reason).done_with(by);
            let reason = reason.as_str().to_owned();
            let effect = Effect::RevokeCertificate { sha256: *sha256, at, reason };
            self.ledger.record(&event, at, None, effect).await?;
        }
        Ok(())
    }

    /// Has what was revoked cut off, and then told to everybody else. By the register alone it is in force:
    /// so the running gateway is told first, and once more when there are new lists for whoever else asks.
    pub async fn enforce<T: Future<Output = Told>>(
        &self,
        tell: impl Fn() -> T,
        at: Timestamp,
    ) -> (Told, Result<SignedLists, RegisterError>) {
        let told = tell().await;
        let signed = self.sign_lists(at).await;
        let told = match (&signed, told) {
            (Ok(_), Told::InUse { cut }) => match tell().await {
                Told::InUse { cut: more } => Told::InUse { cut: cut + more },
                other => other,
            },
            (_, told) => told,
        };
        (told, signed)
    }

    /// Enters in the log that an authority or a root changed.
    pub async fn note(&self, event: &Event, at: Timestamp) -> Result<(), RegisterError> {
        self.ledger.record(event, at, None, Effect::Log).await?;
        Ok(())
    }

    /// Whether the issuer answers and can open its keys.
    pub async fn check_issuer(&self, at: Timestamp) -> Result<(), RegisterError> {
        self.issuer.ask(Ask::Status, at).await?;
        Ok(())
    }

    /// Has every revocation list signed anew, from the register, so that it can never lack what the
    /// register knows.
    pub async fn sign_lists(&self, at: Timestamp) -> Result<SignedLists, RegisterError> {
        let mut revoked = Vec::new();
        for certificate in self.store.certificates().await? {
            let Some((when, reason)) = &certificate.revoked else { continue };
            revoked.push(Revocation {
                serial: certificate.serial.clone(),
                authority: hex(&authority_key_id(&certificate.pem).unwrap_or_default()),
                at: *when,
                reason: Reason::parse(reason).ok_or(RegisterError::UnknownReason)?,
            });
        }
        match self.issuer.ask(Ask::SignLists { revoked }, at).await? {
            Answer::Lists { next_update, unregistered } => {
                Ok(SignedLists { next_update, unregistered })
            }
            Answer::Issued(_) | Answer::Status(_) => Err(RegisterError::Issuer(
                IssuerError::Unavailable("the issuer answered something else".to_owned()),
            )),
        }
    }

    /// Makes a one-time token for an agency. Only its hash is kept: it is shown once.
    pub async fn make_token(
        &self,
        agency: &AgencyId,
        valid_for: SignedDuration,
        needs_approval: bool,
        at: Timestamp,
    ) -> Result<(SecretString, Timestamp), RegisterError> {
        let mut secret = Zeroizing::new([0; TOKEN_BYTES]);
        SystemRandom::new().fill(&mut *secret).map_err(|_| StoreError::Unavailable {
            reason: "the system gives no random bytes".to_owned(),
            source: None,
        })?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*secret));
        let token = EnrolmentToken {
            hash: sha256(text.as_bytes()),
            agency: agency.clone(),
            made_at: at,
            expires_at: at + valid_for,
            needs_approval,
            key_sha256: None,
            approved_at: None,
            used_at: None,
        };
        let expires_at = token.expires_at;
        let event = Event::enrolment_token_made(agency, &token.hash, expires_at, needs_approval);
        self.ledger.record(&event, at, None, Effect::MakeToken(token)).await?;
        Ok((SecretString::from(text.as_str()), expires_at))
    }

    /// Tokens that wait for an operator to approve the key they are bound to.
    pub async fn awaiting_approval(
        &self,
        at: Timestamp,
    ) -> Result<Vec<EnrolmentToken>, RegisterError> {
        let mut tokens = self.store.tokens().await?;
        tokens.retain(|token| {
            token.key_sha256.is_some()
                && token.approved_at.is_none()
                && token.used_at.is_none()
                && token.expires_at > at
        });
        Ok(tokens)
    }

    /// Approves the key that a token is bound to; false when it was used or bound otherwise since.
    pub async fn approve(
        &self,
        token: &EnrolmentToken,
        at: Timestamp,
    ) -> Result<bool, RegisterError> {
        let Some(key) = token.key_sha256 else { return Ok(false) };
        let event = Event::enrolment_approved(&token.agency, &token.hash, &key);
        let effect = Effect::ApproveToken { token: token.hash, key, at };
        let applied = self.ledger.record(&event, at, None, effect).await?;
        Ok(matches!(applied, Applied::Recorded(_)))
    }

    /// Enrols an agency's system with a one-time token. The token is used up only by a certificate.
    pub async fn enrol(
        &self,
        agency: &AgencyId,
        token: &str,
        csr: &str,
        at: Timestamp,
    ) -> Result<IssuedChain, RegisterError> {
        let fault = |fault| RegisterError::Token(fault);
        // Found by its hash: how long the search takes says nothing of the token.
        let hash = sha256(token.as_bytes());
        let known = self.store.token(&hash).await?.filter(|known| known.agency == *agency);
        let known = known.ok_or_else(|| fault(TokenFault::Unknown))?;
        if known.used_at.is_some() {
            return Err(fault(TokenFault::Used));
        }
        if known.expires_at <= at {
            return Err(fault(TokenFault::Expired));
        }
        let key = SubjectKey::from_csr(csr)?;
        if known.needs_approval {
            let bound_to = self.store.bind_token(&hash, &key.fingerprint()).await?;
            if bound_to != key.fingerprint() {
                return Err(fault(TokenFault::OtherKey));
            }
            if known.approved_at.is_none() {
                return Err(RegisterError::AwaitingApproval);
            }
        }
        self.issue(&Profile::Agency(agency.clone()), csr, Grant::Token(hash), at).await
    }

    // One slip of a file name must not make one agency's key another agency's too; and a key that
    // somebody else may have is not certified again.
    async fn refuse_known_key(
        &self,
        agency: &AgencyId,
        profile: &Profile,
        key: &SubjectKey,
        grant: &Grant,
    ) -> Result<(), RegisterError> {
        for known in self.store.certificates().await? {
            if key_fingerprint(&known.pem) != Some(key.fingerprint()) {
                continue;
            }
            if known.agency != *agency {
                return Err(RegisterError::KeyIsOthers(known.agency));
            }
            let compromised = Reason::KeyCompromise.as_str();
            if known.revoked.is_some_and(|(_, reason)| reason == compromised) {
                return Err(RegisterError::KeyCompromised);
            }
            // Nor two people's, in whatever role.
            let is_others = match profile {
                Profile::Desk { holder, .. } => {
                    common_name(&known.pem).is_none_or(|name| name != holder.as_str())
                }
                Profile::Agency(_) | Profile::GatewayClient | Profile::GatewayServer { .. } => {
                    false
                }
            };
            if known.profile != profile.name() || is_others {
                return Err(RegisterError::KeyIsOtherProfile);
            }
            if matches!(grant, Grant::Renewal { .. }) {
                return Err(RegisterError::KeyNotNew);
            }
        }
        Ok(())
    }

    fn agency<'a>(&'a self, profile: &'a Profile) -> &'a AgencyId {
        match profile {
            Profile::Agency(agency) | Profile::Desk { agency, .. } => agency,
            Profile::GatewayClient | Profile::GatewayServer { .. } => &self.hub,
        }
    }
}

/// Whether a certificate is the gateway's own: those stand under the hub's name.
pub fn is_gateways(certificate: &CertificateRecord) -> bool {
    certificate.profile.starts_with("gateway-")
}

/// Whether revoking a certificate for this reason changes anything: it is good, or the key turns out
/// to be somebody else's too, which is worth knowing at any time.
pub fn is_revocable(certificate: &CertificateRecord, reason: Reason, at: Timestamp) -> bool {
    match &certificate.revoked {
        Some((_, known)) => reason == Reason::KeyCompromise && known != reason.as_str(),
        None => certificate.not_after > at || reason == Reason::KeyCompromise,
    }
}

/// 256 bits: nobody guesses one, and its hash needs no salt.
const TOKEN_BYTES: usize = 32;
