//! Whether a person named in an RFI is the one who is looked for. Never exact: people are written in many ways,
//! so that a likeness says by what it was found, and a person decides.

use serde_json::Value;
use zeroize::Zeroizing;

use super::{items, text};

/// Whoever is looked for.
pub struct Person {
    /// Family and given name, as they are compared.
    names: Option<(Zeroizing<String>, Zeroizing<String>)>,
    /// A year, a month or a day.
    birth_date: Option<Zeroizing<String>>,
    /// Ten digits.
    nhs_number: Option<Zeroizing<String>>,
}

/// By what somebody was found, the surest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Likeness {
    /// The NHS number.
    NhsNumber,
    /// Both names and the date of birth, as far as each is known.
    NameAndBirthDate,
    /// Both names; of one of the two no date of birth is known.
    Name,
}

impl Likeness {
    /// The name used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::NameAndBirthDate => "name-and-birth-date",
            Self::NhsNumber => "nhs-number",
        }
    }
}

impl Person {
    /// Whoever has these; none when it is neither a number nor both names.
    pub fn new(
        family_name: Option<String>,
        given_name: Option<String>,
        birth_date: Option<String>,
        nhs_number: Option<String>,
    ) -> Option<Self> {
        let compared = |name: String| Zeroizing::new(comparable(&name));
        let names = family_name.map(compared).zip(given_name.map(compared));
        let names = names.filter(|(family, given)| !family.is_empty() && !given.is_empty());
        let digits = |number: String| {
            let digits: String = number.chars().filter(|c| !c.is_whitespace()).collect();
            let is_whole = digits.len() == 10 && digits.bytes().all(|c| c.is_ascii_digit());
            is_whole.then(|| Zeroizing::new(digits))
        };
        let nhs_number = match nhs_number {
            Some(number) => Some(digits(number)?),
            None => None,
        };
        let is_somebody = names.is_some() || nhs_number.is_some();
        is_somebody.then(|| Self { names, birth_date: birth_date.map(Zeroizing::new), nhs_number })
    }

    /// How the person in this RFI who is most like it is like it.
    pub fn best(&self, rfi: &Value) -> Option<Likeness> {
        items(rfi, "/persons").filter_map(|(_, person)| self.likeness(person)).min()
    }

    fn likeness(&self, person: &Value) -> Option<Likeness> {
        if let Some(wanted) = &self.nhs_number
            && text(person, "/nhsNumber") == Some(wanted)
        {
            return Some(Likeness::NhsNumber);
        }
        let (family, given) = self.names.as_ref()?;
        let is_named = |pointer, wanted: &str| {
            text(person, pointer).is_some_and(|name| comparable(name) == wanted)
        };
        if !is_named("/familyName", family) || !is_named("/givenName", given) {
            return None;
        }
        match (&self.birth_date, text(person, "/birthDate")) {
            // 2017 is like 2017-05-09, either way round.
            (Some(wanted), Some(born)) => (born.starts_with(wanted.as_str())
                || wanted.starts_with(born))
            .then_some(Likeness::NameAndBirthDate),
            _ => Some(Likeness::Name),
        }
    }
}

// Case, spaces, hyphens and apostrophes make no other name; letters do, accents among them.
fn comparable(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn person(family: &str, given: &str, born: Option<&str>, number: Option<&str>) -> Person {
        let own = |text: &str| Some(text.to_owned());
        Person::new(own(family), own(given), born.and_then(own), number.and_then(own)).unwrap()
    }

    #[test]
    fn people_are_found_as_they_are_written() {
        let rfi = json!({ "persons": [
            { "familyName": "O'Thistle-Bank", "givenName": "Wrenna", "birthDate": "2017-05-09",
              "nhsNumber": "9990000018" },
            { "familyName": "Łąka", "givenName": "李", "birthDate": "1984" },
            { "familyName": "Bank", "givenName": "Oswin" },
        ]});
        for (wanted, likeness) in [
            (person("othistle bank", "WRENNA", None, None), Some(Likeness::Name)),
            (
                person("O’Thistlebank", "Wrenna", Some("2017-05"), None),
                Some(Likeness::NameAndBirthDate),
            ),
            (person("Łąka", "李", Some("1984-02-03"), None), Some(Likeness::NameAndBirthDate)),
            (person("Other", "Name", None, Some("999 000 0018")), Some(Likeness::NhsNumber)),
            (person("Bank", "Oswin", Some("1990-01-01"), None), Some(Likeness::Name)),
            (person("Laka", "李", None, None), None),
            (person("O'Thistle-Bank", "Wrenna", Some("2016"), None), None),
            (person("Thistle", "Wrenna", None, Some("9990000026")), None),
        ] {
            assert_eq!(wanted.best(&rfi), likeness);
        }
    }

    #[test]
    fn nobody_is_looked_for_by_half_a_name_or_half_a_number() {
        let own = |text: &str| Some(text.to_owned());
        assert!(Person::new(own("Bank"), None, own("1990"), None).is_none());
        assert!(Person::new(own(" - "), own("'"), None, None).is_none());
        assert!(Person::new(None, None, None, own("99900000")).is_none());
        assert!(Person::new(own("Bank"), own("Oswin"), None, own("99900000")).is_none());
        assert!(Person::new(None, None, None, None).is_none());
    }
}
