//! What a registered certificate says itself, to hold the register against.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::message::{hex, sha256};
use crate::pki::ca::one_pem_block;

/// What a certificate says, whatever is written beside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Particulars {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_sha256: [u8; 32],
    /// The serial, lower-case hex.
    pub serial: String,
    /// The first instant it is good.
    pub not_before: Timestamp,
    /// The last instant it is good.
    pub not_after: Timestamp,
}

impl Particulars {
    /// Reads the one certificate in a PEM text; none when there is not exactly one, or more than it.
    pub fn read(pem: &str) -> Option<Self> {
        let (label, der) = one_pem_block(pem)?;
        let (rest, certificate) = X509Certificate::from_der(&der).ok()?;
        if label != "CERTIFICATE" || !rest.is_empty() {
            return None;
        }
        let validity = certificate.validity();
        Some(Self {
            sha256: sha256(&der),
            key_sha256: sha256(certificate.public_key().raw),
            serial: hex(certificate.raw_serial()),
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_certificate_is_read() {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let read = Particulars::read(&pem).unwrap();
        assert_eq!(read.sha256, sha256(made.cert.der()));
        assert!(read.not_before < read.not_after);
        let twice = format!("{pem}{pem}");
        let key = pem.replace("CERTIFICATE", "PRIVATE KEY");
        for wrong in ["", &twice, &key, &pem[..pem.len() / 2]] {
            assert_eq!(Particulars::read(wrong), None, "{wrong}");
        }
    }
}
