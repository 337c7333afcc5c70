//! Cosignatures: a witness's word that it saw a checkpoint at a time, and that the log had grown to it
//! from all it saw before (C2SP `tlog-cosignature`, `cosignature/v1` by Ed25519).

use std::fmt;

use jiff::Timestamp;
use ring::signature::{self, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::note::{self, Note, SigningKey};

pub use super::note::KeyError;

/// A witness's signing key, and the name it signs under.
pub struct WitnessKey {
    name: String,
    key: SigningKey,
}

impl WitnessKey {
    /// A new key for the witness with this name, such as `police.example.org/witness`.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        Self::of(name, SigningKey::generate()?)
    }

    /// The key in this text: the name on a line of its own, then PEM.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, pem) = text.split_once('\n').ok_or(KeyError::NotPem)?;
        Self::of(name, SigningKey::from_pem(pem)?)
    }

    /// The key as text.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n{}", self.name, *self.key.to_pem()))
    }

    /// The note, which its caller has verified, with this witness's cosignature at `at`, and without
    /// anybody's but that of the key named so.
    pub fn cosign(&self, note: &str, log: &str, at: Timestamp) -> Option<String> {
        let note = Note::parse(note)?;
        let seconds = u64::try_from(at.as_second()).ok().filter(|seconds| *seconds > 0)?;
        let mut bytes = seconds.to_be_bytes().to_vec();
        let signed = self.key.pair.sign(signed_text(seconds, note.body).as_bytes());
        bytes.extend_from_slice(signed.as_ref());
        let mut cosigned = format!("{}\n", note.body);
        for of_log in note.signatures.iter().filter(|signature| signature.name == log) {
            cosigned.push_str(of_log.line);
            cosigned.push('\n');
        }
        let key_id = self.verifier().key_id;
        cosigned.push_str(&note::signature_line(&self.name, key_id, &bytes));
        cosigned.push('\n');
        Some(cosigned)
    }

    /// What verifies it.
    pub fn verifier(&self) -> WitnessVerifier {
        WitnessVerifier::new(&self.name, self.key.public_key())
    }

    fn of(name: &str, key: SigningKey) -> Result<Self, KeyError> {
        if note::is_name(name) {
            Ok(Self { name: name.to_owned(), key })
        } else {
            Err(KeyError::Name)
        }
    }
}

/// A witness's public key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WitnessVerifier {
    name: String,
    key_id: [u8; 4],
    public_key: [u8; 32],
}

impl WitnessVerifier {
    /// Parses a C2SP verifier key of a witness: `name+key id+base64`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, public_key) = note::parse_verifier_key(text, COSIGNATURE)?;
        Some(Self::new(name, public_key))
    }

    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This witness's cosignature on a note, the latest if there are several; none if it has not
    /// cosigned it. One that claims to be this witness's and is not is an error.
    pub fn cosignature(&self, note: &str) -> Result<Option<Cosignature>, NotCosigned> {
        let note = Note::parse(note).ok_or(NotCosigned)?;
        let key = UnparsedPublicKey::new(&signature::ED25519, self.public_key);
        let mut latest: Option<Cosignature> = None;
        for found in &note.signatures {
            if found.name != self.name || found.key_id != self.key_id {
                continue;
            }
            let (time, signed) = found.bytes.split_first_chunk::<8>().ok_or(NotCosigned)?;
            let seconds = u64::from_be_bytes(*time);
            key.verify(signed_text(seconds, note.body).as_bytes(), signed)
                .map_err(|_| NotCosigned)?;
            let at = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
            let at = at.and_then(|at| Timestamp::from_second(at).ok()).ok_or(NotCosigned)?;
            if latest.as_ref().is_none_or(|latest| latest.at < at) {
                let (witness, line) = (self.to_string(), found.line.to_owned());
                latest = Some(Cosignature { witness, at, line });
            }
        }
        Ok(latest)
    }

    fn new(name: &str, public_key: [u8; 32]) -> Self {
        let key_id = note::key_id(name, COSIGNATURE, &public_key);
        Self { name: name.to_owned(), key_id, public_key }
    }
}

impl fmt::Display for WitnessVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&note::verifier_key(&self.name, COSIGNATURE, &self.public_key))
    }
}

/// Whose cosignatures count, and how many there should be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WitnessPolicy {
    /// The witnesses.
    pub witnesses: Vec<WitnessVerifier>,
    /// As many of them should cosign what is logged.
    pub min: usize,
}

impl WitnessPolicy {
    /// Every cosignature of theirs on a note. One that claims to be a witness's and is not is an
    /// error; signatures of anybody else are passed over.
    pub fn cosignatures(&self, note: &str) -> Result<Vec<Cosignature>, NotCosigned> {
        let mut found = Vec::new();
        for witness in &self.witnesses {
            found.extend(witness.cosignature(note)?);
        }
        Ok(found)
    }
}

/// One witness's cosignature, verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cosignature {
    /// The witness's verifier key.
    pub witness: String,
    /// When it cosigned, by its own clock.
    pub at: Timestamp,
    /// The line of the note, without the newline.
    pub line: String,
}

/// A signature that claims to be a witness's and is not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a cosignature on it does not verify")]
pub struct NotCosigned;

fn signed_text(seconds: u64, body: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{body}")
}

/// The algorithm byte of timestamped Ed25519 cosignatures.
const COSIGNATURE: u8 = 0x04;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::{LogKey, LogVerifier};
    use crate::audit::tree::leaf_hash;

    const ORIGIN: &str = "mash.example.org/log/1";

    fn cosigned(witness: &WitnessKey, note: &str, at: i64) -> String {
        witness.cosign(note, ORIGIN, Timestamp::from_second(at).unwrap()).unwrap()
    }

    #[test]
    fn a_cosignature_says_who_and_when_and_the_log_signature_stays() {
        let (log, witness) =
            (LogKey::generate(ORIGIN).unwrap(), WitnessKey::generate("police.example/w").unwrap());
        let note = log.sign(7, &leaf_hash(b"x"));
        let verifier = witness.verifier();
        assert_eq!(verifier.cosignature(&note), Ok(None));
        let one = cosigned(&witness, &note, 1_764_000_000);
        let found = verifier.cosignature(&one).unwrap().unwrap();
        assert_eq!(found.at.as_second(), 1_764_000_000);
        assert_eq!(one, format!("{note}{}\n", found.line));
        assert_eq!(log.verifier().open(&one), log.verifier().open(&note));
        // Signed again later, it is the later one alone; both on one note, the later counts.
        let two = cosigned(&witness, &one, 1_764_000_060);
        assert_eq!(two.lines().count(), one.lines().count());
        let both = format!("{two}{}\n", found.line);
        assert_eq!(verifier.cosignature(&both).unwrap().unwrap().at.as_second(), 1_764_000_060);
        // Of another witness, it is nothing to this one.
        let other = WitnessKey::generate("police.example/w").unwrap().verifier();
        assert_eq!(other.cosignature(&one), Ok(None));
        assert!(witness.cosign(&note, ORIGIN, Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn every_changed_byte_is_refused_by_the_one_or_the_other() {
        let (log, witness) =
            (LogKey::generate(ORIGIN).unwrap(), WitnessKey::generate("police.example/w").unwrap());
        let good = cosigned(&witness, &log.sign(7, &leaf_hash(b"x")), 1_764_000_000);
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let is_seen = matches!(witness.verifier().cosignature(&changed), Ok(None) | Err(_));
            assert!(is_seen || log.verifier().open(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn keys_survive_their_files_and_are_not_a_logs() {
        let witness = WitnessKey::generate("police.example/w").unwrap();
        let again = WitnessKey::parse(&witness.to_text()).unwrap();
        assert_eq!(again.verifier(), witness.verifier());
        let text = witness.verifier().to_string();
        assert_eq!(WitnessVerifier::parse(&text), Some(witness.verifier()));
        assert!(LogVerifier::parse(&text).is_err());
        let log = LogKey::generate("police.example/w").unwrap().verifier().to_string();
        assert_eq!(WitnessVerifier::parse(&log), None);
        for bad in ["", "a+b+c", &text[1..], &text[..text.len() - 4]] {
            assert_eq!(WitnessVerifier::parse(bad), None, "{bad}");
        }
        assert_eq!(WitnessKey::generate("a b").err(), Some(KeyError::Name));
        assert_eq!(WitnessKey::parse("police.example/w\nnonsense").err(), Some(KeyError::NotPem));
    }
}
