//! Checkpoints: the log's size and root, signed (C2SP `tlog-checkpoint` in a C2SP signed note).
//!
//! The key signs nothing else. Other people's signatures on a note, witnesses' for one, are carried
//! and ignored.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{self, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::note::{self, Note, SigningKey};
use super::tree::Hash;

pub use super::note::KeyError;

/// The log's signing key, and the name it signs under.
pub struct LogKey {
    origin: String,
    key: SigningKey,
}

impl LogKey {
    /// A new key for the log named `origin`.
    pub fn generate(origin: &str) -> Result<Self, KeyError> {
        Self::of(origin, SigningKey::generate()?)
    }

    /// The key in this PEM file (PKCS#8, `PRIVATE KEY`).
    pub fn from_pem(origin: &str, pem: &str) -> Result<Self, KeyError> {
        Self::of(origin, SigningKey::from_pem(pem)?)
    }

    /// The key as a PEM file.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.key.to_pem()
    }

    /// The signed note for a log of `size` entries with this root.
    pub fn sign(&self, size: u64, root: &Hash) -> String {
        let body = body(&self.origin, size, root);
        let signature = self.key.pair.sign(body.as_bytes());
        let key_id = self.verifier().key_id;
        let line = note::signature_line(&self.origin, key_id, signature.as_ref());
        format!("{body}\n{line}\n")
    }

    /// What verifies it.
    pub fn verifier(&self) -> LogVerifier {
        LogVerifier::new(&self.origin, self.key.public_key())
    }

    fn of(origin: &str, key: SigningKey) -> Result<Self, KeyError> {
        if !note::is_name(origin) {
            return Err(KeyError::Name);
        }
        Ok(Self { origin: origin.to_owned(), key })
    }
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
        note::parse_verifier_key(text, ED25519)
            .map(|(origin, public_key)| Self::new(origin, public_key))
            .ok_or(CheckpointError::VerifierKey)
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What a note says, if this log's key signed it.
    pub fn open(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let malformed = CheckpointError::Note;
        let Note { body, signatures } = Note::parse(note).ok_or(malformed)?;
        let key = UnparsedPublicKey::new(&signature::ED25519, self.public_key);
        let mut is_signed = false;
        for found in signatures.iter().filter(|s| s.name == self.origin && s.key_id == self.key_id)
        {
            key.verify(body.as_bytes(), &found.bytes).map_err(|_| CheckpointError::Signature)?;
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

    fn new(origin: &str, public_key: [u8; 32]) -> Self {
        let key_id = note::key_id(origin, ED25519, &public_key);
        Self { origin: origin.to_owned(), key_id, public_key }
    }
}

impl fmt::Display for LogVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&note::verifier_key(&self.origin, ED25519, &self.public_key))
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

fn body(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.as_bytes()))
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
        assert_eq!(LogKey::from_pem("a b", &key.to_pem()).err(), Some(KeyError::Name));
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
