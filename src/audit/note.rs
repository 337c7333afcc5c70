//! Signed notes (C2SP `signed-note`): a text, and under it the signatures of whoever has signed it.
//! What a checkpoint and a witness's cosignature have in common.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::message::sha256;

/// A note as it came, nothing of it verified.
#[derive(Clone, Debug)]
pub(super) struct Note<'t> {
    /// What is signed, with the newline at its end.
    pub(super) body: &'t str,
    /// The signatures that are well formed; others are no concern of ours.
    pub(super) signatures: Vec<Signature<'t>>,
}

/// One signature on a note.
#[derive(Clone, Debug)]
pub(super) struct Signature<'t> {
    /// Its line, without the newline.
    pub(super) line: &'t str,
    /// Whose it claims to be.
    pub(super) name: &'t str,
    /// By which of that one's keys.
    pub(super) key_id: [u8; 4],
    /// What is behind the key id.
    pub(super) bytes: Vec<u8>,
}

impl<'t> Note<'t> {
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let at = text.find("\n\n")?;
        let (body, signatures) = (text.get(..=at)?, text.get(at + 2..)?);
        let signatures = signatures.split_terminator('\n').filter_map(|line| {
            let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let bytes = STANDARD.decode(encoded).ok()?;
            let (key_id, bytes) = bytes.split_first_chunk::<4>()?;
            Some(Signature { line, name, key_id: *key_id, bytes: bytes.to_vec() })
        });
        Some(Self { body, signatures: signatures.collect() })
    }
}

/// The line of a signature, without the newline.
pub(super) fn signature_line(name: &str, key_id: [u8; 4], bytes: &[u8]) -> String {
    let mut signed = key_id.to_vec();
    signed.extend_from_slice(bytes);
    format!("\u{2014} {name} {}", STANDARD.encode(signed))
}

/// What a key's signatures are known by: the beginning of SHA-256 over its name, its algorithm's byte
/// and itself.
pub(super) fn key_id(name: &str, algorithm: u8, public_key: &[u8; 32]) -> [u8; 4] {
    let mut hashed = name.as_bytes().to_vec();
    hashed.extend_from_slice(&[b'\n', algorithm]);
    hashed.extend_from_slice(public_key);
    let [a, b, c, d, ..] = sha256(&hashed);
    [a, b, c, d]
}

/// A verifier key: `name+key id+base64`.
pub(super) fn verifier_key(name: &str, algorithm: u8, public_key: &[u8; 32]) -> String {
    let id = u32::from_be_bytes(key_id(name, algorithm, public_key));
    let mut key = vec![algorithm];
    key.extend_from_slice(public_key);
    format!("{name}+{id:08x}+{}", STANDARD.encode(key))
}

/// The name and the public key in a verifier key of this algorithm.
pub(super) fn parse_verifier_key(text: &str, algorithm: u8) -> Option<(&str, [u8; 32])> {
    // base64 may hold a plus itself; a name and a key id never do.
    let (name, rest) = text.split_once('+')?;
    let (_, encoded) = rest.split_once('+')?;
    let key = STANDARD.decode(encoded).ok()?;
    let (found, public_key) = key.split_first()?;
    let public_key = <[u8; 32]>::try_from(public_key).ok()?;
    let is_good =
        *found == algorithm && is_name(name) && verifier_key(name, algorithm, &public_key) == text;
    is_good.then_some((name, public_key))
}

/// Whether this can name a key: signed notes allow no spaces and no plus in one.
pub(super) fn is_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    !name.is_empty() && name.chars().all(is_plain)
}

/// An Ed25519 key, and how it is kept.
pub(super) struct SigningKey {
    pub(super) pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    pub(super) fn generate() -> Result<Self, KeyError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandom)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// The key in this PEM text (PKCS#8, `PRIVATE KEY`).
    pub(super) fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let base64: Zeroizing<String> = Zeroizing::new(
            pem.trim()
                .strip_prefix(PEM_BEGIN)
                .and_then(|rest| rest.strip_suffix(PEM_END))
                .ok_or(KeyError::NotPem)?
                .split_whitespace()
                .collect(),
        );
        let pkcs8 =
            Zeroizing::new(STANDARD.decode(base64.as_bytes()).map_err(|_| KeyError::NotPem)?);
        Self::from_pkcs8(&pkcs8)
    }

    pub(super) fn to_pem(&self) -> Zeroizing<String> {
        let base64 = Zeroizing::new(STANDARD.encode(&self.pkcs8));
        Zeroizing::new(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", *base64))
    }

    pub(super) fn public_key(&self) -> [u8; 32] {
        let mut public_key = [0; 32];
        public_key.copy_from_slice(self.pair.public_key().as_ref());
        public_key
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::NotEd25519)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }
}

/// Why a signing key cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The name cannot name a key.
    #[error("the key's name is empty, or holds a space or a plus")]
    Name,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The key is not Ed25519.
    #[error("the key is not an Ed25519 key")]
    NotEd25519,
    /// The file is not PEM.
    #[error("it is not a PEM file of a private key")]
    NotPem,
}

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
