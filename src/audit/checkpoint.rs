//! Checkpoints: the log's size and root, signed (C2SP `tlog-checkpoint` in a C2SP signed note).
//!
//! The key signs nothing else. Other people's signatures on a note, witnesses' for one, are carried
//! and ignored.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{self, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::tree::Hash;
use crate::message::sha256;

/// The log's signing key, and the name it signs under.
pub struct LogKey {
    origin: String,
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl LogKey {
    /// A new key for the log named `origin`.
    pub fn generate(origin: &str) -> Result<Self, KeyError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandom)?;
        Self::from_pkcs8(origin, document.as_ref())
    }

    /// The key in this PEM file (PKCS#8, `PRIVATE KEY`).
    pub fn from_pem(origin: &str, pem: &str) -> Result<Self, KeyError> {
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
        Self::from_pkcs8(origin, &pkcs8)
    }

    /// The key as a PEM file.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let base64 = Zeroizing::new(STANDARD.encode(&self.pkcs8));
        Zeroizing::new(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", *base64))
    }

    /// The signed note for a log of `size` entries with this root.
    pub fn sign(&self, size: u64, root: &Hash) -> String {
        let body = body(&self.origin, size, root);
        let signature = self.pair.sign(body.as_bytes());
        let verifier = self.verifier();
        let mut signed = verifier.key_id.to_vec();
        signed.extend_from_slice(signature.as_ref());
        format!("{body}\n\u{2014} {} {}\n", self.origin, STANDARD.encode(signed))
    }

    /// What verifies it.
    pub fn verifier(&self) -> LogVerifier {
        let mut public_key = [0; 32];
        public_key.copy_from_slice(self.pair.public_key().as_ref());
        LogVerifier::new(self.origin.clone(), public_key)
    }

    fn from_pkcs8(origin: &str, pkcs8: &[u8]) -> Result<Self, KeyError> {
        check_name(origin).ok_or(KeyError::Origin)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::NotEd25519)?;
        Ok(Self { origin: origin.to_owned(), pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }
}

/// Why a signing key cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The key is not Ed25519.
    #[error("the log key is not an Ed25519 key")]
    NotEd25519,
    /// The file is not PEM.
    #[error("the log key is not a PEM file of a private key")]
    NotPem,
    /// The origin cannot name a key.
    #[error("the log's origin is empty, or holds a space or a plus")]
    Origin,
}

/// The log's public key: what anyone needs to check its checkpoints and receipts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogVerifier {
    origin: String,
    key_id: [u8; 4],
    public_key: [u8; 32],
}

impl LogVerifier {
    /// Parses a C2SP verifier key: `origin+key id+base64`.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::VerifierKey;
        // From the right: base64 may hold a plus itself, and the key id never does.
        let (origin, rest) = text.split_once('+').ok_or(malformed)?;
        let (key_id, encoded) = rest.split_once('+').ok_or(malformed)?;
        let key = STANDARD.decode(encoded).map_err(|_| malformed)?;
        let [ED25519, public_key @ ..] = key.as_slice() else { return Err(malformed) };
        let public_key = <[u8; 32]>::try_from(public_key).map_err(|_| malformed)?;
        check_name(origin).ok_or(malformed)?;
        let verifier = Self::new(origin.to_owned(), public_key);
        if verifier.to_string() == format!("{origin}+{key_id}+{encoded}") {
            Ok(verifier)
        } else {
            Err(malformed)
        }
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What a note says, if this log's key signed it.
    pub fn open(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let malformed = CheckpointError::Note;
        let (body, signatures) = note.split_once("\n\n").ok_or(malformed)?;
        let body = format!("{body}\n");
        let signed_by_us = signatures.split_terminator('\n').filter_map(|line| {
            let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let bytes = STANDARD.decode(encoded).ok()?;
            let (key_id, signature) = bytes.split_at_checked(4)?;
            (name == self.origin && key_id == self.key_id).then(|| signature.to_vec())
        });
        let key = UnparsedPublicKey::new(&signature::ED25519, self.public_key);
        let mut is_signed = false;
        for signature in signed_by_us {
            key.verify(body.as_bytes(), &signature).map_err(|_| CheckpointError::Signature)?;
            is_signed = true;
        }
        if !is_signed {
            return Err(CheckpointError::NotOurs);
        }
        let mut lines = body.split_terminator('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed);
        };
        let root = STANDARD.decode(root).ok().and_then(|root| <[u8; 32]>::try_from(root).ok());
        let checkpoint = Checkpoint {
            size: size.parse().map_err(|_| malformed)?,
            root: Hash::from_bytes(root.ok_or(malformed)?),
        };
        // One checkpoint, one spelling; and the name in the body is the name of the log.
        let spelled = self::body(origin, checkpoint.size, &checkpoint.root);
        if origin == self.origin && spelled == body { Ok(checkpoint) } else { Err(malformed) }
    }

    fn new(origin: String, public_key: [u8; 32]) -> Self {
        let mut hashed = origin.as_bytes().to_vec();
        hashed.extend_from_slice(&[b'\n', ED25519]);
        hashed.extend_from_slice(&public_key);
        let [a, b, c, d, ..] = sha256(&hashed);
        Self { origin, key_id: [a, b, c, d], public_key }
    }
}

impl fmt::Display for LogVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(&self.public_key);
        let id = u32::from_be_bytes(self.key_id);
        write!(f, "{}+{id:08x}+{}", self.origin, STANDARD.encode(key))
    }
}

/// What a checkpoint says of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// How many entries.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
}

/// Why a note is not a checkpoint of this log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// The note does not have the form of a checkpoint.
    #[error("it is not a well-formed checkpoint of this log")]
    Note,
    /// No signature on it is by this log's key.
    #[error("it is not signed by this log's key")]
    NotOurs,
    /// A signature that claims to be by this log's key is not.
    #[error("its signature does not verify")]
    Signature,
    /// The text is not a verifier key.
    #[error("this is not a log's public key (origin+key id+base64)")]
    VerifierKey,
}

/// The algorithm byte of Ed25519 in signed notes.
const ED25519: u8 = 0x01;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

fn body(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.as_bytes()))
}

// Signed notes allow no spaces and no plus in a key's name.
fn check_name(name: &str) -> Option<()> {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    (!name.is_empty() && name.chars().all(is_plain)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tree::leaf_hash;

    fn key() -> LogKey {
        LogKey::generate("mash.example.org/log/1").unwrap()
    }

    #[test]
    fn a_signed_checkpoint_opens_and_says_what_was_signed() {
        let key = key();
        let root = leaf_hash(b"x");
        let checkpoint = key.verifier().open(&key.sign(7, &root)).unwrap();
        assert_eq!(checkpoint, Checkpoint { size: 7, root });
    }

    #[test]
    fn keys_survive_their_files() {
        let key = key();
        let again = LogKey::from_pem("mash.example.org/log/1", &key.to_pem()).unwrap();
        assert_eq!(again.verifier(), key.verifier());
        let parsed = LogVerifier::parse(&key.verifier().to_string()).unwrap();
        assert_eq!(parsed, key.verifier());
        assert_eq!(LogKey::from_pem("a b", &key.to_pem()).err(), Some(KeyError::Origin));
        assert_eq!(LogKey::from_pem("a", "nonsense").err(), Some(KeyError::NotPem));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let key = key();
        let note = key.sign(7, &leaf_hash(b"x"));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            // What is no longer text cannot be a note at all.
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(key.verifier().open(&changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn other_signatures_are_carried_and_other_logs_refused() {
        let (key, other) = (key(), LogKey::generate("witness.example").unwrap());
        let note = key.sign(7, &leaf_hash(b"x"));
        let other_line = other.sign(7, &leaf_hash(b"x"));
        let other_line = other_line.lines().last().unwrap();
        let cosigned = format!("{note}{other_line}\n");
        assert!(key.verifier().open(&cosigned).is_ok());
        assert_eq!(other.verifier().open(&note), Err(CheckpointError::NotOurs));
        // The same name with another key is not us either.
        assert_eq!(self::key().verifier().open(&note), Err(CheckpointError::NotOurs));
    }

    #[test]
    fn openssl_verifies_the_signature() {
        let key = key();
        let note = key.sign(42, &leaf_hash(b"x"));
        let (body, signature) = note.split_once("\n\n").unwrap();
        let encoded = signature.trim().rsplit(' ').next().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let signature = file("signature", &STANDARD.decode(encoded).unwrap()[4..]);
        let body = file("body", format!("{body}\n").as_bytes());
        // The fixed DER prefix of an Ed25519 SubjectPublicKeyInfo (RFC 8410).
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend_from_slice(&key.verifier().public_key);
        let public = file("public.der", &der);
        let verified = std::process::Command::new("openssl")
            .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"])
            .arg("-inkey")
            .arg(public)
            .arg("-in")
            .arg(body)
            .arg("-sigfile")
            .arg(signature)
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}
