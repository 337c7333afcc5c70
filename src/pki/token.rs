//! Keys in a token (PKCS#11): a device that signs and never gives a key out.
//!
//! Only in a build with the feature `pkcs11`; in every other, opening a token says so. The hash is
//! made here and only the hash is signed there, because few tokens do both at once for P-384.

use secrecy::SecretString;
use std::path::Path;

#[cfg(not(feature = "pkcs11"))]
pub use absent::{Token, TokenKey};
#[cfg(feature = "pkcs11")]
pub use present::{Token, TokenKey};

/// Whether this build can use tokens.
pub const IS_BUILT: bool = cfg!(feature = "pkcs11");

/// Why a token was not used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The module or the token said no.
    #[error("the token cannot be used ({what}): {why}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// The point is none on P-384.
    #[error("the token's key is not a P-384 key")]
    KeyType,
    /// No token has this label.
    #[error("no token has the label {0:?}")]
    NoToken(String),
    /// This build cannot.
    #[error("this build cannot use tokens: it was made without the feature pkcs11")]
    NotBuilt,
}

/// Opens the token with this label, through this module.
pub fn open(module: &Path, label: &str, pin: &SecretString) -> Result<Token, TokenError> {
    Token::open(module, label, pin)
}

#[cfg(not(feature = "pkcs11"))]
mod absent {
    use std::path::Path;

    use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
    use secrecy::SecretString;

    use super::TokenError;

    /// A token, of which this build has none.
    #[derive(Debug)]
    pub enum Token {}

    /// A key in a token, of which this build has none.
    #[derive(Debug)]
    pub enum TokenKey {}

    impl Token {
        pub(super) fn open(_: &Path, _: &str, _: &SecretString) -> Result<Self, TokenError> {
            Err(TokenError::NotBuilt)
        }

        /// Makes a key that never leaves the token.
        pub fn generate(&self) -> Result<TokenKey, TokenError> {
            match *self {}
        }

        /// The key with this identifier, if it is there.
        pub fn find(&self, _key_id: &[u8]) -> Result<Option<TokenKey>, TokenError> {
            match *self {}
        }
    }

    impl PublicKeyData for TokenKey {
        fn der_bytes(&self) -> &[u8] {
            match *self {}
        }

        fn algorithm(&self) -> &'static SignatureAlgorithm {
            match *self {}
        }
    }

    impl SigningKey for TokenKey {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            match *self {}
        }
    }
}

#[cfg(feature = "pkcs11")]
mod present {
    use std::path::Path;
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::error::{Error, RvError};
    use cryptoki::mechanism::Mechanism;
    use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
    use cryptoki::session::{Session, UserType};
    use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
    use ring::digest;
    use ring::rand::{SecureRandom, SystemRandom};
    use secrecy::{ExposeSecret as _, SecretString};

    use super::TokenError;
    use crate::message::sha256;

    /// A token that was opened with its PIN.
    #[derive(Debug)]
    pub struct Token {
        session: Arc<Mutex<Session>>,
    }

    /// A key in a token.
    #[derive(Debug)]
    pub struct TokenKey {
        session: Arc<Mutex<Session>>,
        private: ObjectHandle,
        /// The public point, uncompressed.
        point: Vec<u8>,
    }

    impl Token {
        pub(super) fn open(
            module: &Path,
            label: &str,
            pin: &SecretString,
        ) -> Result<Self, TokenError> {
            let module = loaded(module)?;
            let slots = module.get_slots_with_token().map_err(failed("looking for tokens"))?;
            let slot = slots
                .into_iter()
                .find(|slot| module.get_token_info(*slot).is_ok_and(|info| info.label() == label))
                .ok_or_else(|| TokenError::NoToken(label.to_owned()))?;
            let session = module.open_rw_session(slot).map_err(failed("opening a session"))?;
            let pin = cryptoki::types::AuthPin::new(pin.expose_secret().into());
            match session.login(UserType::User, Some(&pin)) {
                // Another session of this process did.
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(failed("its PIN")(error)),
            }
            Ok(Self { session: Arc::new(Mutex::new(session)) })
        }

        /// Makes a key that never leaves the token.
        pub fn generate(&self) -> Result<TokenKey, TokenError> {
            let mut id = [0; 20];
            SystemRandom::new()
                .fill(&mut id)
                .map_err(|_| TokenError::Failed { what: "making a key", why: "chance".into() })?;
            let common = [
                Attribute::Token(true),
                Attribute::Id(id.to_vec()),
                Attribute::Label(LABEL.to_vec()),
            ];
            let mut public = common.to_vec();
            public.extend([
                Attribute::Private(false),
                Attribute::EcParams(P384.to_vec()),
                Attribute::Verify(true),
            ]);
            let mut private = common.to_vec();
            private.extend([
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
            ]);
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            let (public, private) = session
                .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
                .map_err(failed("making a key"))?;
            let point = point(&session, public)?;
            // Found again by what its certificates call it.
            let id = [Attribute::Id(key_id(&point))];
            for object in [public, private] {
                session.update_attributes(object, &id).map_err(failed("naming a key"))?;
            }
            Ok(TokenKey { session: Arc::clone(&self.session), private, point })
        }

        /// The key with this identifier, if it is there.
        pub fn find(&self, key_id: &[u8]) -> Result<Option<TokenKey>, TokenError> {
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            let find = |class| {
                let wanted = [
                    Attribute::Class(class),
                    Attribute::KeyType(KeyType::EC),
                    Attribute::Id(key_id.to_vec()),
                ];
                session.find_objects(&wanted).map_err(failed("looking for a key"))
            };
            let private = find(ObjectClass::PRIVATE_KEY)?;
            let public = find(ObjectClass::PUBLIC_KEY)?;
            let (Some(private), Some(public)) = (private.first(), public.first()) else {
                return Ok(None);
            };
            let point = point(&session, *public)?;
            let session = Arc::clone(&self.session);
            Ok(Some(TokenKey { session, private: *private, point }))
        }
    }

    impl PublicKeyData for TokenKey {
        fn der_bytes(&self) -> &[u8] {
            &self.point
        }

        fn algorithm(&self) -> &'static SignatureAlgorithm {
            &rcgen::PKCS_ECDSA_P384_SHA384
        }
    }

    impl SigningKey for TokenKey {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            let hash = digest::digest(&digest::SHA384, message);
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            let signature = session
                .sign(&Mechanism::Ecdsa, self.private, hash.as_ref())
                .map_err(|_| rcgen::Error::RemoteKeyError)?;
            if signature.len() != 2 * COORDINATE_BYTES {
                return Err(rcgen::Error::RemoteKeyError);
            }
            // Two numbers one after the other there, a sequence of two integers in X.509.
            let (r, s) = signature.split_at(COORDINATE_BYTES);
            Ok(yasna::construct_der(|writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_bigint_bytes(r, true);
                    writer.next().write_bigint_bytes(s, true);
                });
            }))
        }
    }

    // A module is loaded once in a process: it has one state, whoever uses it.
    fn loaded(path: &Path) -> Result<&'static Pkcs11, TokenError> {
        static MODULE: OnceLock<Pkcs11> = OnceLock::new();
        if let Some(module) = MODULE.get() {
            return Ok(module);
        }
        let module = Pkcs11::new(path).map_err(failed("loading the module"))?;
        let how = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        module.initialize(how).map_err(failed("starting the module"))?;
        Ok(MODULE.get_or_init(|| module))
    }

    fn point(session: &Session, public: ObjectHandle) -> Result<Vec<u8>, TokenError> {
        let attributes = session
            .get_attributes(public, &[AttributeType::EcPoint])
            .map_err(failed("reading a key"))?;
        let Some(Attribute::EcPoint(point)) = attributes.first() else {
            return Err(TokenError::KeyType);
        };
        // PKCS#11 wraps it in an OCTET STRING; some tokens do not.
        let point = point.strip_prefix(&[0x04, POINT_BYTES]).unwrap_or(point);
        match point {
            [0x04, ..] if point.len() == usize::from(POINT_BYTES) => Ok(point.to_vec()),
            _ => Err(TokenError::KeyType),
        }
    }

    // As certificates have it (RFC 7093, method 1).
    fn key_id(point: &[u8]) -> Vec<u8> {
        sha256(point)[..20].to_vec()
    }

    fn failed(what: &'static str) -> impl Fn(Error) -> TokenError {
        move |error| TokenError::Failed { what, why: error.to_string() }
    }

    const LABEL: &[u8] = b"mash-gateway authority";
    /// The object identifier of P-384, DER.
    const P384: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    const COORDINATE_BYTES: usize = 48;
    /// One byte, and two coordinates.
    const POINT_BYTES: u8 = 97;
}
