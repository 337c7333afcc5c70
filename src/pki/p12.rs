//! PKCS#12: a key, its certificate and the chain in one file, for browsers and key stores.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey,
    PrivateKeyChain,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::ca::{certificates, one_pem_block};

/// How the file is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Triple DES and SHA-1, for systems that read nothing newer: the password alone protects it.
    Legacy3Des,
    /// AES-256 under PBKDF2 with SHA-256 (RFC 8018), MAC with SHA-256 (RFC 7292).
    Modern,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Legacy3Des, Self::Modern];

    /// The name used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy3Des => "legacy-3des",
            Self::Modern => "modern",
        }
    }

    /// The format with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The shortest password taken, in characters. The legacy format makes guessing cheap, so that
    /// its password has to be one that nobody guesses at all.
    pub fn password_length_min(self) -> usize {
        match self {
            Self::Legacy3Des => 20,
            Self::Modern => 12,
        }
    }
}

/// Writes the file. `name` is what a key store shows for the key: an agency or a role, no person.
/// `chain` is in PEM: the key's own certificate first, then its issuers.
pub fn write(
    name: &str,
    key_pem: &str,
    chain: &str,
    password: &str,
    format: Format,
) -> Result<Zeroizing<Vec<u8>>, P12Error> {
    check_password(password, format)?;
    let chain = certificates(chain).map_err(|_| P12Error::Material)?;
    let leaf = chain.first().ok_or(P12Error::Material)?;
    // As OpenSSL does: some readers pair key and certificate by nothing else.
    let key_id = digest(&SHA1_FOR_LEGACY_USE_ONLY, leaf).as_ref().to_vec();
    let certificates = chain
        .iter()
        .map(|der| Certificate::from_der(der).map_err(|_| P12Error::Material))
        .collect::<Result<Vec<_>, _>>()?;
    // The library's copies of the key are not wiped: this is for a process that ends soon after.
    let (_, key) = one_pem_block(key_pem).ok_or(P12Error::Material)?;
    let key = Zeroizing::new(key);
    let key = PrivateKey::from_der(&key).map_err(|_| P12Error::Material)?;
    let mut store = KeyStore::new();
    let pair = PrivateKeyChain::new(key_id, key, certificates);
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(pair));
    let (cipher, mac) = match format {
        Format::Legacy3Des => {
            (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1)
        }
        Format::Modern => {
            (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256)
        }
    };
    store
        .writer(password)
        .encryption_algorithm(cipher)
        .encryption_iterations(ITERATIONS)
        .mac_algorithm(mac)
        .mac_iterations(ITERATIONS)
        .write()
        .map(Zeroizing::new)
        .map_err(|_| P12Error::Material)
}

/// Whether a file in this format may have this password.
pub fn check_password(password: &str, format: Format) -> Result<(), P12Error> {
    if password.chars().count() < format.password_length_min() {
        return Err(P12Error::PasswordLength(format.password_length_min()));
    }
    // What is not ASCII is encoded differently by those who read these files.
    if !password.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(P12Error::PasswordCharacters);
    }
    Ok(())
}

/// A password nobody guesses, that can be read over the telephone: 25 characters of 31 in five
/// groups, 123 bits. No 0/O, no 1/l/i: nothing that is confused when read aloud.
pub fn new_password() -> Result<Zeroizing<String>, P12Error> {
    const LETTERS: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";
    let mut password = Zeroizing::new(String::with_capacity(29));
    let random = SystemRandom::new();
    let mut letters = 0;
    while letters < 25 {
        let mut byte = [0];
        random.fill(&mut byte).map_err(|_| P12Error::Random)?;
        // Bytes that would make some letters likelier than others are thrown away.
        if usize::from(byte[0]) >= 256 / LETTERS.len() * LETTERS.len() {
            continue;
        }
        if letters > 0 && letters % 5 == 0 {
            password.push('-');
        }
        password.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        letters += 1;
    }
    Ok(password)
}

/// Why no file was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum P12Error {
    /// The key or a certificate is none.
    #[error("the key and its certificates do not make a PKCS#12 file")]
    Material,
    /// The password has characters that not every reader understands alike.
    #[error("the password may have ASCII letters, digits, punctuation and spaces, in one line")]
    PasswordCharacters,
    /// The password is too short for this format.
    #[error("the password must have {0} characters or more in this format")]
    PasswordLength(usize),
    /// The operating system gave no random bytes.
    #[error("no random bytes to be had")]
    Random,
}

/// Rounds of each of the three key derivations: tenths of a second for who knows the password, and
/// not so many that .NET Framework, since 2023 (KB5025823), would refuse the file.
const ITERATIONS: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_new_and_long_enough_for_every_format() {
        let (one, other) = (new_password().expect("random"), new_password().expect("random"));
        assert_ne!(*one, *other);
        for format in Format::ALL {
            assert!(one.chars().count() >= format.password_length_min());
        }
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [5; 5]);
    }
}
