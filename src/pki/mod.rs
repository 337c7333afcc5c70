//! Certificates: who may speak as whom. Decides identity, never permission.

pub mod ca;
pub mod certificate;
pub mod crl;
pub mod expiry;
pub mod fingerprint;
pub mod holder;
pub mod identity;
pub mod key;
pub mod p12;
pub mod request;
pub mod tls;
pub mod token;
