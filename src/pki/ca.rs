//! The authorities, and the four kinds of certificate they issue.
//!
//! One root, kept off line, signs two issuing authorities: one for agencies, one for gateway
//! servers. Neither can do the other's work. What a certificate says is decided here and nowhere
//! else: of a request for one, only the public key is used.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};
use zeroize::Zeroizing;

use crate::message::{AgencyId, Role, hex, sha256};
use crate::pki::holder::Holder;
use crate::pki::key::AuthorityKey;
use crate::pki::token::{Token, TokenError};

/// How many days the gateway's own certificates are good: short, because it renews them itself.
pub const GATEWAY_DAYS: u16 = 90;
/// How long a leaf is good: short, because renewal is one command.
pub const LEAF_VALID_FOR: Duration = Duration::from_secs(GATEWAY_DAYS as u64 * DAY_S);
/// How long an issuing authority is good.
pub const ISSUING_VALID_FOR: Duration = Duration::from_secs(3 * 365 * DAY_S);
/// How long a root is good.
pub const ROOT_VALID_FOR: Duration = Duration::from_secs(3_652 * DAY_S);

const DAY_S: u64 = 86_400;
/// Validity starts this much before the signing, for clocks that are behind ours.
const BACKDATE: Duration = Duration::from_secs(300);
/// How many authorities may stand below a root.
const ROOT_PATH_LENGTH: u8 = 2;
/// The longest common name RFC 5280 allows, in characters.
pub(crate) const NAME_LENGTH_MAX: usize = 64;
/// A request is under 1 KiB; more is something else.
pub const CSR_BYTES_MAX: usize = 16 * 1024;

/// The SPIFFE trust domain whose members we name, such as `mash.example.org`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domain(String);

impl Domain {
    /// Parses a trust domain: a lower-case DNS name.
    pub fn parse(text: &str) -> Result<Self, CaError> {
        if is_dns_name(text) { Ok(Self(text.to_owned())) } else { Err(CaError::Domain) }
    }

    /// The domain itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name an agency's certificate carries.
    pub fn agency_uri(&self, agency: &AgencyId) -> String {
        format!("spiffe://{}/agency/{agency}", self.0)
    }

    /// The name carried by the certificate of a person at an agency: the role and not the person,
    /// because names of this kind are logged everywhere.
    pub fn desk_uri(&self, agency: &AgencyId, role: Role) -> String {
        format!("{}/desk/{}", self.agency_uri(agency), role.as_str())
    }

    /// The name the gateway carries when it is the client.
    pub fn gateway_uri(&self) -> String {
        format!("spiffe://{}/gateway", self.0)
    }
}

/// Where certificates say that their authority's certificate and CRL are to be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published(String);

impl Published {
    /// The base URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the base URL. Only `http`: a list fetched over TLS would need itself to be trusted.
    pub fn parse(base_url: &str) -> Result<Self, CaError> {
        let base = base_url.trim_end_matches('/');
        let good = base.strip_prefix("http://").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|c| c.is_ascii_graphic() && !b"?#\"<>".contains(&c))
        });
        if good { Ok(Self(base.to_owned())) } else { Err(CaError::PublishedUrl) }
    }
}

/// What an issuing authority issues for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IssuingFor {
    /// Agencies, and the gateway when it is the client.
    Agencies,
    /// Gateway servers whose DNS names are these or below them; none means IP addresses only.
    GatewayServers {
        /// DNS names.
        domains: Vec<String>,
    },
}

impl IssuingFor {
    /// The name it has on the command line and in entries.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Agencies => "agencies",
            Self::GatewayServers { .. } => "gateway-servers",
        }
    }
}

/// The kinds of certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// An agency's own: its system's.
    Agency(AgencyId),
    /// A person's at an agency.
    Desk {
        /// The agency.
        agency: AgencyId,
        /// What the person is there for.
        role: Role,
        /// Who the person is.
        holder: Holder,
    },
    /// What the gateway shows an agency's endpoint when it pushes. Names no agency.
    GatewayClient,
    /// What the gateway's listeners show.
    GatewayServer {
        /// DNS names and IP addresses.
        names: Vec<String>,
    },
}

impl Profile {
    /// The agency that a certificate of this kind names, if any.
    pub fn agency(&self) -> Option<&AgencyId> {
        match self {
            Self::Agency(agency) | Self::Desk { agency, .. } => Some(agency),
            Self::GatewayClient | Self::GatewayServer { .. } => None,
        }
    }

    /// The role that a certificate of this kind gives, if it is a person's.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Desk { role, .. } => Some(*role),
            Self::Agency(_) | Self::GatewayClient | Self::GatewayServer { .. } => None,
        }
    }

    /// The name used in the register and in entries; a desk's is its role.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Agency(_) => "system",
            Self::Desk { role, .. } => role.as_str(),
            Self::GatewayClient => "gateway-client",
            Self::GatewayServer { .. } => "gateway-server",
        }
    }
}

/// What an issue says besides whom.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The trust domain.
    pub domain: &'a Domain,
    /// Where the authority's certificate and CRL are; when none, the certificate does not say.
    pub published: Option<&'a Published>,
    /// From the backdated start to the end.
    pub valid_for: Duration,
}

/// A certificate just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The DER.
    pub der: CertificateDer<'static>,
    /// The same, armoured.
    pub pem: String,
    /// The serial, lower-case hex.
    pub serial: String,
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// The first second it is good.
    pub not_before: Timestamp,
    /// The last second it is good.
    pub not_after: Timestamp,
}

/// A certificate that may sign, and its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: AuthorityKey,
    facts: Facts,
}

impl Authority {
    /// Makes a root. Its key belongs off line.
    pub fn new_root(name: &str, now: Timestamp) -> Result<Self, CaError> {
        let key = AuthorityKey::generate()?;
        let validity = Validity::starting(now, ROOT_VALID_FOR)?;
        let mut params = params(name, &key, validity)?;
        // An issuing authority below, and between the two a successor that this root vouches for.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(ROOT_PATH_LENGTH));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(CaError::Signing)?;
        Self::assemble(certificate.into(), key)
    }

    /// Makes an issuing authority under this root.
    ///
    /// Give each generation its own name: revocation lists are matched to authorities by name.
    pub fn new_issuing(
        &self,
        issuing_for: &IssuingFor,
        name: &str,
        published: Option<&Published>,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let key = AuthorityKey::generate()?;
        let certificate = self.sign_issuing(issuing_for, name, &key, published, now)?;
        Self::assemble(certificate, key)
    }

    /// Certifies somebody else's key as that of an issuing authority under this root.
    pub fn sign_issuing(
        &self,
        issuing_for: &IssuingFor,
        name: &str,
        key: &impl PublicKeyData,
        published: Option<&Published>,
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, CaError> {
        if self.facts.issuing_for.is_some() {
            return Err(CaError::WrongAuthority("only a root signs an authority"));
        }
        let validity = self.validity(now, ISSUING_VALID_FOR)?;
        let mut params = params(name, key, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let every_dns_name = || vec![GeneralSubtree::DnsName(String::new())];
        // DNS constraints only: address ranges are not read everywhere, and ranges of directory
        // names or URIs make rustls refuse whatever is below. The key usage does the rest.
        let (purpose, permitted_subtrees, excluded_subtrees) = match issuing_for {
            IssuingFor::Agencies => {
                (ExtendedKeyUsagePurpose::ClientAuth, Vec::new(), every_dns_name())
            }
            IssuingFor::GatewayServers { domains } => {
                if let Some(bad) = domains.iter().find(|name| !is_dns_name(name)) {
                    return Err(CaError::ServerName(bad.clone()));
                }
                let permitted = domains.iter().cloned().map(GeneralSubtree::DnsName).collect();
                let excluded = if domains.is_empty() { every_dns_name() } else { Vec::new() };
                (ExtendedKeyUsagePurpose::ServerAuth, permitted, excluded)
            }
        };
        params.extended_key_usages = vec![purpose];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
        self.sign(params, key, published)
    }

    /// Vouches for another root, so that whoever trusts only this one accepts what that one signs:
    /// a certificate with the other's name and key, for as long as both are good (RFC 4210, 4.4).
    pub fn vouch_for(
        &self,
        root_der: &[u8],
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, CaError> {
        let other = Facts::read(root_der)?;
        if self.facts.issuing_for.is_some() || other.issuing_for.is_some() {
            return Err(CaError::WrongAuthority("a root vouches for a root"));
        }
        if !is_signed_by(root_der, root_der) {
            return Err(CaError::WrongAuthority("this is no root: it is not signed by itself"));
        }
        if self.facts.name == other.name || self.facts.public_key == other.public_key {
            return Err(CaError::WrongAuthority("a successor has a name and a key of its own"));
        }
        if self.facts.path_length.is_some_and(|length| length < u32::from(ROOT_PATH_LENGTH)) {
            return Err(CaError::MayNotSign("nothing may stand between it and its authorities"));
        }
        self.issuer(now)?;
        let (own, others) = (self.facts.validity, other.validity);
        let mut validity = Validity::starting(now, ROOT_VALID_FOR)?;
        validity.not_before = validity.not_before.max(own.not_before).max(others.not_before);
        validity.not_after = own.not_after.min(others.not_after);
        if validity.not_after <= now {
            return Err(CaError::Validity);
        }
        let key = rcgen::SubjectPublicKeyInfo::from_der(&other.public_key)
            .map_err(|_| CaError::Certificate)?;
        let mut params = params(&other.name, &key, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(ROOT_PATH_LENGTH - 1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.key_identifier_method = KeyIdMethod::PreSpecified(other.key_id);
        self.sign(params, &key, None)
    }

    /// Reads authorities back, in the order of their certificates: each with its own key among
    /// `keys_pem` or in the token, and checked that it may sign.
    ///
    /// Two certificates may share a key: an authority that two roots vouch for.
    pub fn from_pem(
        certificates_pem: &str,
        keys_pem: &str,
        token: Option<&Token>,
    ) -> Result<Vec<Self>, CaError> {
        let keys = PrivatePkcs8KeyDer::pem_slice_iter(keys_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CaError::Key)?;
        certificates(certificates_pem)?
            .into_iter()
            .map(|certificate| {
                let Facts { public_key, key_id, .. } = Facts::read(&certificate)?;
                for der in &keys {
                    let key = AuthorityKey::from_pkcs8(der)?;
                    if key.subject_public_key_info() == public_key {
                        return Self::assemble(certificate, key);
                    }
                }
                let key = token.map(|token| token.find(&key_id)).transpose();
                let key = key.map_err(CaError::Token)?.flatten();
                let key = key.ok_or(CaError::KeyMismatch)?;
                Self::assemble(certificate, AuthorityKey::in_token(key))
            })
            .collect()
    }

    /// Issues a certificate for a key.
    pub fn issue(
        &self,
        profile: &Profile,
        key: &SubjectKey,
        terms: &Terms<'_>,
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        let (name, names, purpose) = match (profile, &self.facts.issuing_for) {
            (Profile::Agency(agency), Some(IssuingFor::Agencies)) => {
                let uri = terms.domain.agency_uri(agency);
                (agency.as_str(), vec![uri_name(uri)?], ExtendedKeyUsagePurpose::ClientAuth)
            }
            (Profile::Desk { agency, role, holder }, Some(IssuingFor::Agencies)) => {
                let uri = terms.domain.desk_uri(agency, *role);
                (holder.as_str(), vec![uri_name(uri)?], ExtendedKeyUsagePurpose::ClientAuth)
            }
            (Profile::GatewayClient, Some(IssuingFor::Agencies)) => {
                let uri = terms.domain.gateway_uri();
                ("MASH gateway", vec![uri_name(uri)?], ExtendedKeyUsagePurpose::ClientAuth)
            }
            (Profile::GatewayServer { names }, Some(IssuingFor::GatewayServers { domains })) => {
                let names = server_names(names, domains)?;
                // Not the host name: OpenSSL holds a common name with dots to the DNS constraints.
                ("MASH gateway", names, ExtendedKeyUsagePurpose::ServerAuth)
            }
            (Profile::Agency(_) | Profile::Desk { .. } | Profile::GatewayClient, _) => {
                return Err(CaError::WrongAuthority("the agencies' authority issues this"));
            }
            (Profile::GatewayServer { .. }, _) => {
                return Err(CaError::WrongAuthority("the gateway servers' authority issues this"));
            }
        };
        let validity = self.validity(now, terms.valid_for)?;
        let mut params = params(name, &key.0, validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.subject_alt_names = names;
        let serial = params.serial_number.as_ref().map(|s| hex(s.as_ref())).unwrap_or_default();
        let der = self.sign(params, &key.0, terms.published)?;
        Ok(Issued {
            pem: pem("CERTIFICATE", &der).to_string(),
            serial,
            sha256: sha256(&der),
            not_before: validity.not_before,
            not_after: validity.not_after,
            der,
        })
    }

    /// The certificate.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the certificate's DER.
    pub fn certificate_sha256(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// The certificate, armoured.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate).to_string()
    }

    /// [`AuthorityKey::pem`] of its key.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key.pem()
    }

    /// Its key.
    pub fn key(&self) -> &AuthorityKey {
        &self.key
    }

    /// The identifier of the key that signed its certificate; none when it does not say.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.facts.authority_key_id.as_deref()
    }

    /// What it issues for; none when it is a root.
    pub fn issuing_for(&self) -> Option<&IssuingFor> {
        self.facts.issuing_for.as_ref()
    }

    /// The last second it may sign.
    pub fn not_after(&self) -> Timestamp {
        self.facts.validity.not_after
    }

    /// Its serial, lower-case hex.
    pub fn serial(&self) -> &str {
        &self.facts.serial
    }

    /// Its name, as its certificate has it.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// The name under which its certificate (`.crt`) and CRL (`.crl`) are published.
    pub fn file_stem(&self) -> String {
        self.facts.file_stem()
    }

    /// The issuer rcgen signs with, when the authority is within its own validity.
    pub(crate) fn issuer(&self, now: Timestamp) -> Result<Issuer<'_, &AuthorityKey>, CaError> {
        let Validity { not_before, not_after } = self.facts.validity;
        if now < not_before || now > not_after {
            return Err(CaError::NotNow { not_before, not_after });
        }
        Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(CaError::Signing)
    }

    /// The identifier of its key, as its own certificate gives it.
    pub fn key_id(&self) -> &[u8] {
        &self.facts.key_id
    }

    fn assemble(certificate: CertificateDer<'static>, key: AuthorityKey) -> Result<Self, CaError> {
        let facts = Facts::read(&certificate)?;
        if facts.public_key != key.subject_public_key_info() {
            return Err(CaError::KeyMismatch);
        }
        Ok(Self { certificate, key, facts })
    }

    /// The validity of what is signed now: never outside our own, where nobody would accept it.
    fn validity(&self, now: Timestamp, valid_for: Duration) -> Result<Validity, CaError> {
        self.issuer(now)?;
        let own = self.facts.validity;
        let mut validity = Validity::starting(now, valid_for)?;
        validity.not_before = validity.not_before.max(own.not_before);
        if validity.not_after > own.not_after {
            return Err(CaError::Outlives { until: own.not_after });
        }
        Ok(validity)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        published: Option<&Published>,
    ) -> Result<CertificateDer<'static>, CaError> {
        params.use_authority_key_identifier_extension = true;
        if let Some(Published(base)) = published {
            let stem = self.file_stem();
            params.crl_distribution_points =
                vec![CrlDistributionPoint { uris: vec![format!("{base}/{stem}.crl")] }];
            params.custom_extensions = vec![authority_access(&format!("{base}/{stem}.crt"))];
        }
        // Whether now is a time to sign was decided with the validity.
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(CaError::Signing)?;
        Ok(params.signed_by(key, &issuer).map_err(CaError::Signing)?.into())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("serial", &self.facts.serial).finish_non_exhaustive()
    }
}

/// A public key whose private half its holder has shown to hold, or that we made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubjectKey(rcgen::SubjectPublicKeyInfo);

impl SubjectKey {
    /// Takes the key out of a certificate signing request in PEM, or in base64 without armour, as
    /// EST has it (RFC 7030, 4.2.1), and nothing else.
    pub fn from_csr(text: &str) -> Result<Self, CsrError> {
        if text.len() > CSR_BYTES_MAX {
            return Err(CsrError::TooLarge);
        }
        if text.contains("-----BEGIN ") {
            return Self::from_csr_pem(text);
        }
        let bare: String = text.split_ascii_whitespace().collect();
        let der = base64::engine::general_purpose::STANDARD.decode(bare);
        Self::from_csr_der(&der.map_err(|_| CsrError::NotOneRequest)?)
    }

    /// The same, of a request in PEM.
    pub fn from_csr_pem(text: &str) -> Result<Self, CsrError> {
        if text.len() > CSR_BYTES_MAX {
            return Err(CsrError::TooLarge);
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(CsrError::PrivateKey);
        }
        let (label, der) = one_pem_block(text).ok_or(CsrError::NotOneRequest)?;
        // The second is what older Windows writes.
        if !["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].contains(&label.as_str()) {
            return Err(CsrError::NotOneRequest);
        }
        Self::from_csr_der(&der)
    }

    /// The same, of a request without armour.
    pub fn from_csr_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > CSR_BYTES_MAX {
            return Err(CsrError::TooLarge);
        }
        let (rest, csr) =
            X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        // The kind of key is read from the key itself: the request's signature may be of another.
        let spki = csr.certification_request_info.subject_pki.raw;
        let key = rcgen::SubjectPublicKeyInfo::from_der(spki).map_err(|_| CsrError::KeyType)?;
        let kinds =
            [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        if !kinds.contains(&key.algorithm()) {
            return Err(CsrError::KeyType);
        }
        csr.verify_signature().map_err(|_| CsrError::NotProven)?;
        Ok(Self(key))
    }

    /// SHA-256 of the public key's DER: to pin a key, or to see that it is a new one.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.0.subject_public_key_info())
    }

    /// Whether it is P-384, as an authority's has to be.
    pub fn is_for_authorities(&self) -> bool {
        self.0.algorithm() == &rcgen::PKCS_ECDSA_P384_SHA384
    }

    /// The identifier that a certificate gives the key (RFC 7093, method 1).
    pub fn key_id(&self) -> Vec<u8> {
        key_id(&self.0)
    }
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

/// [`SubjectKey::fingerprint`] of the key in a certificate; none when it cannot be read.
pub fn key_fingerprint(certificate_pem: &str) -> Option<[u8; 32]> {
    let (_, der) = one_pem_block(certificate_pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(sha256(certificate.public_key().raw))
}

/// A key pair that was made for someone who cannot, and the request that goes with it.
pub struct GeneratedKey {
    /// The public half.
    pub public: SubjectKey,
    /// The private half, PKCS#8, armoured and in the clear.
    pub key_pem: Zeroizing<String>,
    /// A request for a certificate for it, which says nothing else (PKCS#10).
    pub csr_pem: String,
}

/// Makes a key pair: P-256, which every client reads.
pub fn generate_key() -> Result<GeneratedKey, CaError> {
    let key = Zeroizing::new(new_key(&rcgen::PKCS_ECDSA_P256_SHA256)?);
    let public = rcgen::SubjectPublicKeyInfo::from_der(&key.subject_public_key_info())
        .map_err(CaError::Signing)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&*key).map_err(CaError::Signing)?;
    Ok(GeneratedKey {
        public: SubjectKey(public),
        key_pem: pem("PRIVATE KEY", key.serialized_der()),
        csr_pem: pem("CERTIFICATE REQUEST", csr.der()).to_string(),
    })
}

/// What the authority whose certificate this is issues for; none when it is a root.
pub fn issuing_for(certificate_der: &[u8]) -> Result<Option<IssuingFor>, CaError> {
    Facts::read(certificate_der).map(|facts| facts.issuing_for)
}

/// What is to be known of an authority from its certificate alone.
#[derive(Clone, Debug)]
pub struct AuthorityCertificate {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// What it issues for; none when it is a root.
    pub issuing_for: Option<IssuingFor>,
    /// Its name.
    pub name: String,
    /// The identifier of its key.
    pub key_id: Vec<u8>,
    /// The identifier of the key that signed it; none when it does not say, as roots do not.
    pub authority_key_id: Option<Vec<u8>>,
    /// Its public key, DER.
    pub public_key: Vec<u8>,
    /// Its serial, lower-case hex.
    pub serial: String,
    /// The first second it may sign.
    pub not_before: Timestamp,
    /// The last second it may sign.
    pub not_after: Timestamp,
    /// The name under which its certificate and CRL are published, without the ending.
    pub file_stem: String,
}

/// The authorities in a bundle, in its order.
pub fn authority_certificates(pem: &str) -> Result<Vec<AuthorityCertificate>, CaError> {
    let known = |der: CertificateDer<'static>| {
        let facts = Facts::read(&der)?;
        Ok(AuthorityCertificate {
            file_stem: facts.file_stem(),
            issuing_for: facts.issuing_for,
            name: facts.name,
            key_id: facts.key_id,
            authority_key_id: facts.authority_key_id,
            public_key: facts.public_key,
            serial: facts.serial,
            not_before: facts.validity.not_before,
            not_after: facts.validity.not_after,
            der,
        })
    };
    certificates(pem)?.into_iter().map(known).collect()
}

/// A certificate, armoured.
pub fn certificate_pem(der: &[u8]) -> String {
    pem("CERTIFICATE", der).to_string()
}

/// The certificates in a text, at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty()).ok_or(CaError::Certificate)
}

/// Certificates and nothing else, as PKCS#7 (RFC 7030, 4.1.3; RFC 5652).
pub fn certificates_only(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let oid =
        |last: u64| yasna::models::ObjectIdentifier::from_slice(&[1, 2, 840, 113_549, 1, 7, last]);
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&oid(2));
            writer.next().write_tagged(yasna::Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(1);
                    // No digest algorithms, no contents, no signers.
                    writer.next().write_set_of(|_| {});
                    writer.next().write_sequence(|writer| writer.next().write_oid(&oid(1)));
                    writer.next().write_tagged_implicit(yasna::Tag::context(0), |writer| {
                        writer.write_set_of(|writer| {
                            for certificate in certificates {
                                writer.next().write_der(certificate);
                            }
                        });
                    });
                    writer.next().write_set_of(|_| {});
                });
            });
        });
    })
}

/// The common name of a certificate's subject; none when it has none.
pub fn common_name(certificate_pem: &str) -> Option<String> {
    let (_, der) = one_pem_block(certificate_pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// The identifier of the key that signed a certificate; none when it does not say.
pub fn authority_key_id(certificate_pem: &str) -> Option<Vec<u8>> {
    let (_, der) = one_pem_block(certificate_pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    authority_key_id_of(&certificate)
}

/// Whether the authority whose certificate this is signed that one.
pub fn is_signed_by(certificate_der: &[u8], authority_der: &[u8]) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority_der) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(certificate_der) else { return false };
    certificate.issuer() == authority.subject()
        && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

/// Whether an authority for gateway servers below these domains may certify all these names.
pub fn may_certify(names: &[String], domains: &[String]) -> Result<(), CaError> {
    server_names(names, domains).map(|_| ())
}

fn authority_key_id_of(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
            id.key_identifier.as_ref().map(|id| id.0.to_vec())
        }
        _ => None,
    })
}

/// The DNS names and IP addresses a server's certificate is for, and when it ends.
pub fn server_certificate(chain_pem: &str) -> Result<(Vec<String>, Timestamp, Timestamp), CaError> {
    let leaf = certificates(chain_pem)?.swap_remove(0);
    let (_, certificate) = X509Certificate::from_der(&leaf).map_err(|_| CaError::Certificate)?;
    let names = certificate.subject_alternative_name().map_err(|_| CaError::Certificate)?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    };
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let second = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|_| CaError::Certificate)
    };
    let validity = certificate.validity();
    let (not_before, not_after) = (second(validity.not_before)?, second(validity.not_after)?);
    Ok((names.iter().filter_map(name).collect(), not_before, not_after))
}

/// Why an authority was not made, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Not one certificate.
    #[error("not one certificate in PEM")]
    Certificate,
    /// The trust domain is no lower-case DNS name.
    #[error("the trust domain is not a lower-case DNS name")]
    Domain,
    /// Not a key we can sign with.
    #[error("not an unencrypted PKCS#8 key in PEM")]
    Key,
    /// The key is another certificate's.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate is no authority's.
    #[error("this certificate may not sign others: {0}")]
    MayNotSign(&'static str),
    /// A name that cannot be written.
    #[error("a name is 1 to 64 characters, none of them a control character")]
    Name,
    /// The authority is not good at this time.
    #[error("the authority is good from {not_before} to {not_after}, which is not now")]
    NotNow {
        /// The first second.
        not_before: Timestamp,
        /// The last second.
        not_after: Timestamp,
    },
    /// The certificate would outlive its authority.
    #[error("the authority ends at {until}, before the certificate would; make its successor")]
    Outlives {
        /// The authority's last second.
        until: Timestamp,
    },
    /// The base URL cannot be used.
    #[error("the URL where CRLs are published must begin with http:// and have no query")]
    PublishedUrl,
    /// The operating system gave no random bytes.
    #[error("no random bytes to be had")]
    Random,
    /// Not a name a server can have, or not one this authority may give.
    #[error("{0} is not a DNS name or IP address this authority may certify")]
    ServerName(String),
    /// The signature was not made.
    #[error("the certificate could not be signed")]
    Signing(#[source] rcgen::Error),
    /// The token that the key is in.
    #[error(transparent)]
    Token(TokenError),
    /// Nothing is good for that long, or for no time at all.
    #[error("not a possible validity")]
    Validity,
    /// Another authority does this.
    #[error("the wrong authority: {0}")]
    WrongAuthority(&'static str),
}

/// Why a request for a certificate was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CsrError {
    /// The key is of a kind we do not certify.
    #[error(
        "the key must be P-256, P-384 or Ed25519; make a new one: openssl req -new -newkey ec \
         -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout agency.key -out agency.csr -subj /CN=agency"
    )]
    KeyType,
    /// The DER is wrong, or something follows it.
    #[error(
        "the request is damaged: it is not exactly one PKCS#10 request; make it again: openssl req \
         -new -sha256 -key agency.key -out agency.csr"
    )]
    Malformed,
    /// No PEM block, several, or another kind.
    #[error("not exactly one block BEGIN CERTIFICATE REQUEST; send the file openssl req wrote")]
    NotOneRequest,
    /// The signature is not by the key in the request.
    #[error(
        "the request's signature does not verify: it was altered, or signed otherwise than with \
         SHA-256 or SHA-384; make it again: openssl req -new -sha256 -key agency.key -out agency.csr"
    )]
    NotProven,
    /// Someone sent their private key.
    #[error("this holds a private key, which must never be sent; make a new key and request")]
    PrivateKey,
    /// No request is this large.
    #[error(
        "the request is larger than 16 KiB, which no request is; send the file openssl req wrote, \
         and nothing else"
    )]
    TooLarge,
}

/// The label and contents of the one PEM block in a text.
pub(crate) fn one_pem_block(text: &str) -> Option<(String, Vec<u8>)> {
    if text.matches("-----BEGIN ").count() != 1 {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}');
    let (_, block) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
    Some((block.label, block.contents))
}

/// PEM armour. No copy of the contents is left behind: it may be a key.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let size_bytes = base64.len() + base64.len() / 64 + 2 * label.len() + 40;
    let mut text = Zeroizing::new(String::with_capacity(size_bytes));
    let mut rest = base64.as_str();
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

/// What an authority's certificate says of it.
struct Facts {
    issuing_for: Option<IssuingFor>,
    name: String,
    key_id: Vec<u8>,
    authority_key_id: Option<Vec<u8>>,
    /// How many authorities may follow below it; none when any number.
    path_length: Option<u32>,
    public_key: Vec<u8>,
    serial: String,
    validity: Validity,
}

impl Facts {
    fn read(der: &[u8]) -> Result<Self, CaError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CaError::Certificate)?;
        if !rest.is_empty() {
            return Err(CaError::Certificate);
        }
        if !certificate.is_ca() {
            return Err(CaError::MayNotSign("it is no authority's"));
        }
        let usage = certificate.key_usage().map_err(|_| CaError::Certificate)?;
        if !usage.is_some_and(|u| u.value.key_cert_sign() && u.value.crl_sign()) {
            return Err(CaError::MayNotSign("its key is not for certificates and CRLs"));
        }
        let key_id = certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
                _ => None,
            })
            .ok_or(CaError::MayNotSign("it does not identify its key"))?;
        let constraints = certificate.basic_constraints().map_err(|_| CaError::Certificate)?;
        let path_length = constraints.and_then(|c| c.value.path_len_constraint);
        let purposes = certificate.extended_key_usage().map_err(|_| CaError::Certificate)?;
        let issuing_for = match purposes.map(|p| (p.value.client_auth, p.value.server_auth)) {
            // A root, also where another root vouches for it.
            None if path_length != Some(0) => None,
            Some((true, false)) => Some(IssuingFor::Agencies),
            Some((false, true)) => {
                Some(IssuingFor::GatewayServers { domains: permitted_domains(&certificate)? })
            }
            None | Some(_) => return Err(CaError::MayNotSign("its purpose is not one of ours")),
        };
        let second = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| CaError::Certificate)
        };
        let name = certificate.subject().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok()).ok_or(CaError::Certificate)?.to_owned();
        Ok(Self {
            issuing_for,
            name,
            key_id: key_id.to_vec(),
            authority_key_id: authority_key_id_of(&certificate),
            path_length,
            public_key: certificate.public_key().raw.to_vec(),
            serial: hex(certificate.raw_serial()),
            validity: Validity {
                not_before: second(certificate.validity().not_before)?,
                not_after: second(certificate.validity().not_after)?,
            },
        })
    }
}

impl Facts {
    fn file_stem(&self) -> String {
        let kind = match self.issuing_for {
            None => "root",
            Some(IssuingFor::Agencies) => "agencies",
            Some(IssuingFor::GatewayServers { .. }) => "gateway-servers",
        };
        // One name for each key: every generation has a list of its own.
        format!("{kind}-{}", hex(&self.key_id[..self.key_id.len().min(4)]))
    }
}

/// From the first to the last second, both included.
#[derive(Clone, Copy)]
struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Validity {
    fn starting(now: Timestamp, valid_for: Duration) -> Result<Self, CaError> {
        let lasting = valid_for.as_secs().checked_sub(1).ok_or(CaError::Validity)?;
        let not_before = Timestamp::from_second(now.as_second())
            .and_then(|second| second.checked_sub(BACKDATE))
            .map_err(|_| CaError::Validity)?;
        let not_after =
            not_before.checked_add(Duration::from_secs(lasting)).map_err(|_| CaError::Validity)?;
        Ok(Self { not_before, not_after })
    }
}

/// Everything the four profiles and the authorities have in common.
fn params(
    name: &str,
    key: &impl PublicKeyData,
    validity: Validity,
) -> Result<CertificateParams, CaError> {
    if !(1..=NAME_LENGTH_MAX).contains(&name.chars().count()) || name.contains(char::is_control) {
        return Err(CaError::Name);
    }
    let date = |at: Timestamp| {
        let since_1970 = u64::try_from(at.as_second()).map_err(|_| CaError::Validity)?;
        Ok(rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_1970))
    };
    let mut serial = [0; 20];
    SystemRandom::new().fill(&mut serial).map_err(|_| CaError::Random)?;
    // Positive, and of one length: no leading zero to be lost on the way.
    serial[0] = (serial[0] & 0x3f) | 0x40;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = subject;
    params.not_before = date(validity.not_before)?;
    params.not_after = date(validity.not_after)?;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(key));
    Ok(params)
}

// RFC 7093, method 1: of the key's bits alone. rcgen's own hashes their wrapping too.
pub(crate) fn key_id(key: &impl PublicKeyData) -> Vec<u8> {
    sha256(key.der_bytes())[..20].to_vec()
}

fn new_key(algorithm: &'static rcgen::SignatureAlgorithm) -> Result<KeyPair, CaError> {
    KeyPair::generate_for(algorithm).map_err(|_| CaError::Random)
}

fn uri_name(uri: String) -> Result<SanType, CaError> {
    Ok(SanType::URI(uri.try_into().map_err(|_| CaError::Domain)?))
}

fn server_names(names: &[String], domains: &[String]) -> Result<Vec<SanType>, CaError> {
    if names.is_empty() {
        return Err(CaError::Name);
    }
    let below = |name: &str, domain: &str| {
        name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let san = |name: &String| {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(SanType::IpAddress(address));
        }
        let permitted = is_dns_name(name) && domains.iter().any(|domain| below(name, domain));
        let refused = || CaError::ServerName(name.clone());
        if !permitted {
            return Err(refused());
        }
        Ok(SanType::DnsName(name.as_str().try_into().map_err(|_| refused())?))
    };
    names.iter().map(san).collect()
}

fn permitted_domains(certificate: &X509Certificate<'_>) -> Result<Vec<String>, CaError> {
    let constraints = certificate.name_constraints().map_err(|_| CaError::Certificate)?;
    let permitted = constraints.and_then(|c| c.value.permitted_subtrees.as_ref());
    let names = permitted.into_iter().flatten().filter_map(|subtree| match subtree.base {
        GeneralName::DNSName(name) => Some(name.to_owned()),
        _ => None,
    });
    Ok(names.collect())
}

/// Where the issuer's certificate is (RFC 5280, 4.2.2.1).
fn authority_access(url: &str) -> CustomExtension {
    let ca_issuers = yasna::models::ObjectIdentifier::from_slice(&[1, 3, 6, 1, 5, 5, 7, 48, 2]);
    let content = yasna::construct_der(|writer| {
        writer.write_sequence_of(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&ca_issuers);
                writer.next().write_tagged_implicit(yasna::Tag::context(6), |writer| {
                    writer.write_ia5_string(url);
                });
            });
        });
    });
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content)
}

pub(crate) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}
