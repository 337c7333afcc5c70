//! TLS settings for both directions, complete or refused: who is let in, and whom we trust.
//!
//! No session is ever resumed: a resumed session does not ask again whether its certificate was
//! revoked. Settings are built anew and swapped whole, so the ones in use are never half changed.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use crate::pki::{ca, crl};

/// The oldest TLS spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MinTls {
    /// 1.2, for partners whose system has nothing newer.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

impl MinTls {
    /// The version named `1.2` or `1.3`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "1.2" => Some(Self::Tls12),
            "1.3" => Some(Self::Tls13),
            _ => None,
        }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] =
            [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

/// What a listener is made of, in PEM.
#[derive(Clone, Copy)]
pub struct ServerMaterial<'a> {
    /// The server's certificate, then its issuing authority's.
    pub chain: &'a str,
    /// The certificate's key.
    pub key: &'a str,
    /// The authorities that issue to agencies: themselves the anchors, not the root above them, so
    /// that the servers' authority can vouch for no agency.
    pub agency_authorities: &'a str,
    /// Exactly one revocation list of each of them.
    pub crls: &'a str,
}

/// What a connection to someone else is made of, in PEM.
#[derive(Clone, Copy)]
pub struct ClientMaterial<'a> {
    /// Our certificate, then its issuing authority's.
    pub chain: &'a str,
    /// The certificate's key.
    pub key: &'a str,
    /// Whom we trust to vouch for the server.
    pub roots: &'a str,
}

/// The cryptography: ring's, and before its key exchanges one that a quantum computer does not undo.
///
/// What is recorded today about a child is still secret when one exists. Always passed on
/// explicitly: with two providers compiled in, rustls would panic rather than choose.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups.insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768);
    Arc::new(provider)
}

/// Whether a caller has to show a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientCertificate {
    /// It may, and the handshake ends well whichever it shows: for a door where a page says what is wrong
    /// with it. Whoever serves it asks a [`Judge`].
    AnyOrNone,
    /// It may; when it does, a good one.
    Optional,
    /// It must.
    Required,
}

/// The settings of a listener that lets in agencies, and nobody else unless told otherwise.
pub fn server_config(
    material: ServerMaterial<'_>,
    client: ClientCertificate,
    min_tls: MinTls,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = verifier(material.agency_authorities, material.crls, client)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(min_tls.versions())
        .map_err(TlsError::Settings)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown(material.chain, material.key, "server")?);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    // Ours is the better order, and 1.2 leaves the choice to someone.
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

// Who looks at what callers show: they must lead to an agencies' authority, and be on no list of its.
fn verifier(
    agency_authorities: &str,
    crls: &str,
    client: ClientCertificate,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let authorities = certificates(agency_authorities, "agencies' authority")?;
    let crls = revocation_lists(crls, &authorities)?;
    let mut anchors = RootCertStore::empty();
    for authority in authorities {
        match ca::issuing_for(&authority).map_err(TlsError::Authority)? {
            Some(ca::IssuingFor::Agencies) => {}
            Some(ca::IssuingFor::GatewayServers { .. }) | None => {
                return Err(TlsError::WrongAuthority);
            }
        }
        anchors.add(authority).map_err(TlsError::Settings)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider())
        .with_crls(crls)
        .enforce_revocation_expiration();
    let verifier = match client {
        ClientCertificate::AnyOrNone | ClientCertificate::Optional => {
            verifier.allow_unauthenticated()
        }
        ClientCertificate::Required => verifier,
    };
    let verifier = verifier.build().map_err(TlsError::Verifier)?;
    Ok(match client {
        ClientCertificate::AnyOrNone => Arc::new(Unjudging(verifier)),
        ClientCertificate::Optional | ClientCertificate::Required => verifier,
    })
}

/// Says whether a certificate chain that somebody has shown, and has the key of, is an agency's: what TLS
/// does itself where a certificate is required.
#[derive(Debug)]
pub struct Judge(Arc<dyn ClientCertVerifier>);

impl Judge {
    /// One who goes by these authorities and their revocation lists, as [`server_config`] does.
    pub fn new(agency_authorities: &str, crls: &str) -> Result<Self, TlsError> {
        verifier(agency_authorities, crls, ClientCertificate::Required).map(Self)
    }

    /// Whether it is good at `now`; if not, why, as a code of [`REFUSAL_REASONS`].
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), &'static str> {
        let (leaf, rest) = chain.split_first().ok_or("certificate-missing")?;
        let judged = self.0.verify_client_cert(leaf, rest, now);
        judged.map(drop).map_err(|error| tls_refusal_reason(&error))
    }
}

/// Leaves it to a [`Judge`] whose certificate it is, and sees only that who shows it has its key.
#[derive(Debug)]
struct Unjudging(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Unjudging {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // So that a browser offers only certificates of ours.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Whether a PEM text holds certificates that an endpoint's can be required to lead to.
pub fn check_roots(pem: &str) -> Result<(), TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(pem, "trusted root")? {
        roots.add(root).map_err(TlsError::Settings)?;
    }
    Ok(())
}

/// The settings of connections we open: the command line's, and pushes to agencies.
pub fn client_config(
    material: ClientMaterial<'_>,
    min_tls: MinTls,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(material.roots, "trusted root")? {
        roots.add(root).map_err(TlsError::Settings)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(min_tls.versions())
        .map_err(TlsError::Settings)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(shown(material.chain, material.key, "client")?);
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The group in which the two ends of this connection agreed on their keys; a closed list.
pub fn key_exchange(connection: &rustls::ServerConnection) -> &'static str {
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    match group {
        Some(rustls::NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
        Some(rustls::NamedGroup::X25519) => "X25519",
        Some(rustls::NamedGroup::secp256r1) => "secp256r1",
        Some(rustls::NamedGroup::secp384r1) => "secp384r1",
        Some(_) | None => "other",
    }
}

/// Every code [`refusal_reason`] gives.
pub const REFUSAL_REASONS: [&str; 15] = [
    "certificate-bad-signature",
    "certificate-expired",
    "certificate-invalid",
    "certificate-missing",
    "certificate-not-yet-valid",
    "certificate-revoked",
    "certificate-status-unknown",
    "certificate-unknown-authority",
    "certificate-wrong-name",
    "certificate-wrong-purpose",
    "connection-closed",
    "crl-expired",
    "protocol-error",
    "refused-by-peer",
    "timeout",
];

/// Why a handshake came to nothing, as a short code.
pub fn refusal_reason(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(inner) = inner {
        return tls_refusal_reason(inner);
    }
    match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof => "connection-closed",
        _ => "protocol-error",
    }
}

/// The same, of an error that rustls gave.
pub fn tls_refusal_reason(error: &rustls::Error) -> &'static str {
    let error = match error {
        rustls::Error::NoCertificatesPresented => return "certificate-missing",
        rustls::Error::AlertReceived(_) => return "refused-by-peer",
        rustls::Error::InvalidCertificate(error) => error,
        _ => return "protocol-error",
    };
    match error {
        CertificateError::BadSignature => "certificate-bad-signature",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate-expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate-not-yet-valid"
        }
        CertificateError::Revoked => "certificate-revoked",
        CertificateError::UnknownIssuer => "certificate-unknown-authority",
        CertificateError::UnknownRevocationStatus => "certificate-status-unknown",
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "crl-expired",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate-wrong-purpose"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate-wrong-name"
        }
        _ => "certificate-invalid",
    }
}

/// Why no settings were made. The ones in use stay.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An agencies' authority is none.
    #[error("the agencies' authority cannot be used")]
    Authority(#[source] ca::CaError),
    /// A revocation list cannot be read.
    #[error("a revocation list cannot be read")]
    Crl(#[source] crl::CrlError),
    /// Not one revocation list for each authority. Without one, nothing would be checked.
    #[error("each agencies' authority needs exactly one revocation list that it signed")]
    CrlCount,
    /// No key.
    #[error("no private key in the PEM file")]
    NoKey,
    /// No certificate, or a damaged one.
    #[error("no readable {0} certificate in the PEM file")]
    NoCertificate(&'static str),
    /// rustls refuses these settings; most often the key is another certificate's.
    #[error("the certificate or key cannot be used for TLS")]
    Settings(#[source] rustls::Error),
    /// rustls refuses to verify with these.
    #[error("client certificates cannot be verified with these authorities and lists")]
    Verifier(#[source] VerifierBuilderError),
    /// A root, or the servers' authority, in the place of the agencies'.
    #[error("only the agencies' own issuing authority may vouch for agencies, not the root")]
    WrongAuthority,
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(TlsError::NoCertificate(what)),
    }
}

// What is shown to the other side: a certificate, and the key among those in `keys` that is its. A
// key that is being replaced stands beside its successor for a moment.
fn shown(chain: &str, keys: &str, what: &'static str) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let chain = certificates(chain, what)?;
    let mut refused = TlsError::NoKey;
    for key in PrivateKeyDer::pem_slice_iter(keys.as_bytes()) {
        let key = key.map_err(|_| TlsError::NoKey)?;
        match CertifiedKey::from_der(chain.clone(), key, &provider()) {
            Ok(fits) => return Ok(Arc::new(SingleCertAndKey::from(fits))),
            Err(error) => refused = TlsError::Settings(error),
        }
    }
    Err(refused)
}

/// One list for each authority, no more: of two, webpki would ask only the first, be it the older.
/// Lists of others are left out: an authority's list is there before it issues, and after it has
/// gone, so that a stop in the middle of either stops nobody.
fn revocation_lists(
    pem: &str,
    authorities: &[CertificateDer<'_>],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let found = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Crl(crl::CrlError::Unreadable))?;
    let mut lists = found
        .iter()
        .map(|list| crl::parse_der(list.to_vec()).map_err(TlsError::Crl))
        .collect::<Result<Vec<_>, _>>()?;
    let is_one_each = authorities
        .iter()
        .all(|authority| lists.iter().filter(|list| list.is_signed_by(authority)).count() == 1);
    if !is_one_each {
        return Err(TlsError::CrlCount);
    }
    lists.retain(|list| authorities.iter().any(|authority| list.is_signed_by(authority)));
    Ok(lists.iter().map(|list| list.der().to_vec().into()).collect())
}
