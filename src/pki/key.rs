//! The key an authority signs with: in this process's memory, or in a token.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData, SigningKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::pki::ca::{CaError, key_id, pem};
use crate::pki::token::TokenKey;

/// An authority's private key: P-384, here or in a token.
#[derive(Debug)]
pub struct AuthorityKey(Held);

enum Held {
    /// Wiped when dropped.
    Here(Box<Zeroizing<KeyPair>>),
    InToken(TokenKey),
}

impl AuthorityKey {
    /// A new key.
    pub fn generate() -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384);
        let key = key.map_err(|_| CaError::Random)?;
        Ok(Self(Held::Here(Box::new(Zeroizing::new(key)))))
    }

    /// The one key in this PKCS#8 PEM.
    pub fn from_pem(text: &str) -> Result<Self, CaError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| CaError::Key)?;
        Self::from_pkcs8(&der)
    }

    /// A key in a token.
    pub fn in_token(key: TokenKey) -> Self {
        Self(Held::InToken(key))
    }

    /// The key, PKCS#8, armoured and in the clear: seal it before it is written. Nothing when it is
    /// in a token, which never gives it out.
    pub fn pem(&self) -> Zeroizing<String> {
        match &self.0 {
            Held::Here(key) => pem("PRIVATE KEY", key.serialized_der()),
            Held::InToken(_) => Zeroizing::default(),
        }
    }

    /// The identifier that certificates give it.
    pub fn key_id(&self) -> Vec<u8> {
        key_id(self)
    }

    /// Whether this public key (DER) is its other half.
    pub fn is_of(&self, public_key: &[u8]) -> bool {
        self.subject_public_key_info() == public_key
    }

    pub(super) fn from_pkcs8(der: &PrivatePkcs8KeyDer<'_>) -> Result<Self, CaError> {
        let key = KeyPair::try_from(der).map_err(|_| CaError::Key)?;
        Ok(Self(Held::Here(Box::new(Zeroizing::new(key)))))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::InToken(_) => "InToken",
        })
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Here(key) => key.der_bytes(),
            Held::InToken(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match &self.0 {
            Held::Here(key) => key.algorithm(),
            Held::InToken(key) => key.algorithm(),
        }
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match &self.0 {
            Held::Here(key) => key.sign(message),
            Held::InToken(key) => key.sign(message),
        }
    }
}
