//! The person that a desk certificate is for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ca::NAME_LENGTH_MAX;

/// The name of a person, as a certificate can carry it.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Holder(String);

impl Holder {
    /// Parses a name: 1 to 64 characters, in one line, of any script.
    ///
    /// Not one that could be a host's: OpenSSL holds such a common name to the issuing authority's
    /// constraints, which allow no host, and would refuse the certificate.
    pub fn parse(name: &str) -> Result<Self, HolderError> {
        // What is not seen, or turns the rest round, makes one name look like another.
        let is_hidden = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
                || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        if name.trim() != name
            || !(1..=NAME_LENGTH_MAX).contains(&name.chars().count())
            || name.contains(is_hidden)
        {
            return Err(HolderError::Shape);
        }
        let is_host_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.contains('.') && name.chars().all(is_host_like) {
            return Err(HolderError::LikeAHost);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Holder> for String {
    fn from(holder: Holder) -> Self {
        holder.0
    }
}

impl TryFrom<String> for Holder {
    type Error = HolderError;

    fn try_from(name: String) -> Result<Self, HolderError> {
        Self::parse(&name)
    }
}

/// A person's name stays out of whatever is printed by accident.
impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder(…)")
    }
}

/// Why a name cannot be in a certificate. Never repeats the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HolderError {
    /// It could be a host's name.
    #[error(
        "the name looks like a host's, and OpenSSL would refuse it: write a space after the full \
         stop, as in \"J. Smith\""
    )]
    LikeAHost,
    /// Empty, too long, or with characters that are not seen.
    #[error(
        "a name is 1 to 64 characters in one line, none of them invisible, with no space before or \
         after it"
    )]
    Shape,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_people_have_them() {
        for name in ["Ada", "J. Smith", "Zoë O'Brien", "Seán O’Néill", "Łucja-Maria Żak", "李小龍"]
        {
            assert_eq!(Holder::parse(name).map(|holder| holder.0), Ok(name.to_owned()));
        }
        let longest = "é".repeat(64);
        assert!(Holder::parse(&longest).is_ok());
        let too_long = format!("{longest}é");
        for name in ["", " ", "Ada ", " Ada", "A\tB", "A\nB", "A\u{0}", "A\u{202e}B", &too_long] {
            assert_eq!(Holder::parse(name), Err(HolderError::Shape), "{name:?}");
        }
        for name in ["J.Smith", "a.b.example", "J_K.Smith", "J..Smith", "Smith.", "Dr.J-K"] {
            assert_eq!(Holder::parse(name), Err(HolderError::LikeAHost), "{name:?}");
        }
        let holder = Holder::parse("Ada Blythe").expect("a name");
        assert!(!format!("{holder:?}").contains("Ada"));
    }
}
