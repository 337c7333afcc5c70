//! Changes to the text of `partners.toml`: pure, from text to text. What is not changed stays byte
//! for byte, comments and order included.
//!
//! Nothing is judged here but the form of the file: whoever writes the text reads it with
//! [`super::Directory::parse`] first.

use jiff::civil::Date;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TomlError, Value};

use super::{AgencyKind, Endpoint, Officer, PolicyDocument, Status};
use crate::message::AgencyId;

/// One key of an agency's entry, and what it is to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Setting {
    /// For a surgery, the id of its class.
    Class(String),
    /// Its Partnership Contact Officer.
    ContactOfficer(Officer),
    /// Who stands in.
    Deputy(Officer),
    /// Where it takes delivery, in order.
    Endpoints(Vec<Endpoint>),
    /// When it can be telephoned.
    Hours(String),
    /// What kind of agency it is.
    Kind(AgencyKind),
    /// Where its contact officer sits.
    Location(String),
    /// Its name.
    Name(String),
    /// Its ODS code.
    OdsCode(String),
    /// Its appropriate policy document.
    PolicyDocument(PolicyDocument),
    /// When its privacy notice was last seen.
    PrivacyNoticeSeen(Date),
    /// Where it stands.
    Status(Status),
    /// The law under which it takes part.
    StatutoryBasis(String),
    /// Its telephone.
    Telephone(String),
    /// When training was last attested.
    TrainingAttested(Date),
}

impl Setting {
    /// The key, as `partners.toml` has it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Class(_) => "class",
            Self::ContactOfficer(_) => "contact_officer",
            Self::Deputy(_) => "deputy",
            Self::Endpoints(_) => "endpoints",
            Self::Hours(_) => "hours",
            Self::Kind(_) => "kind",
            Self::Location(_) => "location",
            Self::Name(_) => "name",
            Self::OdsCode(_) => "ods_code",
            Self::PolicyDocument(_) => "policy_document",
            Self::PrivacyNoticeSeen(_) => "privacy_notice_seen",
            Self::Status(_) => "status",
            Self::StatutoryBasis(_) => "statutory_basis",
            Self::Telephone(_) => "telephone",
            Self::TrainingAttested(_) => "training_attested",
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Class(text)
            | Self::Hours(text)
            | Self::Location(text)
            | Self::Name(text)
            | Self::OdsCode(text)
            | Self::StatutoryBasis(text)
            | Self::Telephone(text) => text.as_str().into(),
            Self::ContactOfficer(officer) | Self::Deputy(officer) => {
                let Officer { name, telephone, email } = officer;
                let mut pairs = vec![("name", name.as_str()), ("telephone", telephone.as_str())];
                pairs.extend(email.as_deref().map(|email| ("email", email)));
                InlineTable::from_iter(pairs).into()
            }
            Self::Endpoints(endpoints) => endpoints
                .iter()
                .map(|endpoint| match endpoint {
                    Endpoint::Mailbox => InlineTable::from_iter([("kind", "mailbox")]),
                    Endpoint::Push { url, ca } => {
                        let pairs = [("kind", "push"), ("url", url.as_str()), ("ca", ca.as_str())];
                        InlineTable::from_iter(pairs)
                    }
                })
                .collect::<Array>()
                .into(),
            Self::Kind(kind) => kind.as_str().into(),
            Self::PolicyDocument(PolicyDocument { sha256, review }) => {
                let mut table = InlineTable::new();
                table.insert("sha256", sha256.as_str().into());
                table.insert("review", date(*review));
                table.into()
            }
            Self::PrivacyNoticeSeen(day) | Self::TrainingAttested(day) => date(*day),
            Self::Status(status) => status.as_str().into(),
        }
    }
}

// As a date of TOML's; were it none, a text is read as well.
fn date(day: Date) -> Value {
    let day = day.to_string();
    let date = day.parse::<toml_edit::Datetime>();
    date.map_or_else(|_| Value::from(day), Value::from)
}

/// Why a text could not be changed. It stays as it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EditError {
    /// Some lines end in one way and some in another, and would not stay as they are.
    #[error("partners.toml has line endings of two sorts; save it with one sort")]
    LineEndings,
    /// There is no such agency.
    #[error("there is no such agency in partners.toml")]
    NoSuchAgency,
    /// Agencies are written in another way than the one that is edited here.
    #[error("partners.toml has agencies that are not written as [[agency]]; write them so")]
    NotTables,
    /// It is not TOML.
    #[error("partners.toml is not TOML")]
    NotToml(#[source] TomlError),
}

/// The text with one more agency at its end, under this id. All before it stays byte for byte.
pub fn add(text: &str, id: &AgencyId, settings: &[Setting]) -> Result<String, EditError> {
    let document: DocumentMut = text.parse().map_err(EditError::NotToml)?;
    match document.get("agency") {
        None | Some(Item::ArrayOfTables(_)) => {}
        Some(_) => return Err(EditError::NotTables),
    }
    let mut entry = Table::new();
    entry.insert("id", Value::from(id.as_str()).into());
    for setting in settings {
        entry.insert(setting.key(), setting.value().into());
    }
    let mut addition = DocumentMut::new();
    addition.insert("agency", Item::ArrayOfTables(ArrayOfTables::from_iter([entry])));
    let addition = addition.to_string();
    let gap = match text {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let addition = format!("{gap}{}\n", addition.trim());
    let addition = if text.contains("\r\n") { addition.replace('\n', "\r\n") } else { addition };
    Ok(format!("{text}{addition}"))
}

/// The text with these keys of this agency's entry set: in their place where they were, otherwise at
/// the end of the entry. A comment behind a value stays there.
pub fn set(text: &str, id: &AgencyId, settings: &[Setting]) -> Result<String, EditError> {
    let is_crlf = text.contains("\r\n");
    let restored = |text: String| if is_crlf { text.replace('\n', "\r\n") } else { text };
    let plain = if is_crlf { text.replace("\r\n", "\n") } else { text.to_owned() };
    let mut document: DocumentMut = plain.parse().map_err(EditError::NotToml)?;
    if restored(document.to_string()) != text {
        return Err(EditError::LineEndings);
    }
    let Some(Item::ArrayOfTables(agencies)) = document.get_mut("agency") else {
        return Err(EditError::NotTables);
    };
    let is_it = |entry: &&mut Table| {
        entry.get("id").and_then(Item::as_str).is_some_and(|own| own.trim() == id.as_str())
    };
    let entry = agencies.iter_mut().find(is_it).ok_or(EditError::NoSuchAgency)?;
    for setting in settings {
        let mut value = setting.value();
        if let Some(old) = entry.get(setting.key()).and_then(Item::as_value) {
            *value.decor_mut() = old.decor().clone();
        }
        match entry.get_mut(setting.key()) {
            Some(item) => *item = value.into(),
            None => {
                entry.insert(setting.key(), value.into());
            }
        }
    }
    Ok(restored(document.to_string()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::directory::Directory;
    use crate::directory::parse::ParseOptions;

    const SHIPPED: &str = include_str!("../../partners.toml");

    fn id(text: &str) -> AgencyId {
        AgencyId::parse(text).unwrap()
    }

    fn officer(name: &str, email: Option<&str>) -> Officer {
        Officer {
            name: name.to_owned(),
            telephone: "01632 960001".to_owned(),
            email: email.map(str::to_owned),
        }
    }

    fn parse(text: &str) -> Directory {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        Directory::parse(text, ParseOptions::default(), now).unwrap()
    }

    fn surgery() -> Vec<Setting> {
        vec![
            Setting::Name("Demo \"Quoted\" Surgery".to_owned()),
            Setting::Kind(AgencyKind::GpSurgery),
            Setting::Status(Status::Pending),
            Setting::StatutoryBasis("Children Act 2004, section 11".to_owned()),
            Setting::OdsCode("X99999".to_owned()),
            Setting::ContactOfficer(officer("Dr A Example", Some("a@surgery.example"))),
            Setting::Deputy(officer("B Example", None)),
        ]
    }

    // What two texts have in common at the front and at the back, and what is between.
    fn changed<'t>(before: &'t str, after: &'t str) -> (&'t str, &'t str) {
        let front = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
        let (before, after) = (&before[front..], &after[front..]);
        let back =
            before.bytes().rev().zip(after.bytes().rev()).take_while(|(a, b)| a == b).count();
        (&before[..before.len() - back], &after[..after.len() - back])
    }

    #[test]
    fn a_new_agency_comes_last_and_all_else_stays_byte_for_byte() {
        for text in
            [SHIPPED.to_owned(), format!("{SHIPPED}# The end."), SHIPPED.replace('\n', "\r\n")]
        {
            let added = add(&text, &id("demo-surgery"), &surgery()).unwrap();
            assert!(added.starts_with(&text));
            let directory = parse(&added);
            let partner = directory.by_ods("X99999").unwrap();
            assert_eq!(partner.name, "Demo \"Quoted\" Surgery");
            assert_eq!(
                partner.contact_officer,
                Some(officer("Dr A Example", Some("a@surgery.example")))
            );
            assert_eq!(partner.deputy, Some(officer("B Example", None)));
            assert_eq!(directory.all().count(), parse(&text).all().count() + 1);
            assert_eq!(added.matches("\r\n").count() > 0, text.contains("\r\n"));
        }
        let first = add("", &id("demo-surgery"), &surgery()).unwrap();
        assert!(first.starts_with("[[agency]]\nid = \"demo-surgery\"\nname = "), "{first}");
    }

    #[test]
    fn what_is_set_changes_in_its_place_and_nothing_else_does() {
        let text = SHIPPED.replace("status = \"pending\"\n", "status = \"pending\"   # for now\n");
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let active =
                set(&text, &id("alder-hey"), &[Setting::Status(Status::Suspended)]).unwrap();
            assert_eq!(changed(&text, &active), ("pending", "suspended"));
            assert!(active.contains("status = \"suspended\"   # for now"));
        }
    }

    #[test]
    fn what_was_not_there_is_put_at_the_end_of_the_entry() {
        let endpoints = vec![
            Endpoint::Push { url: "https://a.example/in".to_owned(), ca: "certs/a.pem".to_owned() },
            Endpoint::Mailbox,
        ];
        let policy =
            PolicyDocument { sha256: "0".repeat(64), review: jiff::civil::date(2027, 11, 1) };
        let settings = [
            Setting::Endpoints(endpoints.clone()),
            Setting::PolicyDocument(policy.clone()),
            Setting::Telephone("01632 960000".to_owned()),
        ];
        let after = set(SHIPPED, &id("merseyside-police"), &settings).unwrap();
        let (before, new) = changed(SHIPPED, &after);
        assert_eq!(before, "");
        assert!(new.contains("review = 2027-11-01"), "{new}");
        assert_eq!(new.lines().filter(|line| !line.is_empty()).count(), 3, "{new}");
        let directory = parse(&after);
        let police = directory.get(&id("merseyside-police")).unwrap();
        assert_eq!(police.endpoints, endpoints);
        assert_eq!(police.policy_document, Some(policy));
        // Once more, and only what is new changes.
        let mailbox = [Setting::Endpoints(vec![Endpoint::Mailbox])];
        let again = set(&after, &id("merseyside-police"), &mailbox).unwrap();
        assert_eq!(again.lines().count(), after.lines().count());
        assert_eq!(set(&again, &id("merseyside-police"), &mailbox).unwrap(), again);
    }

    #[test]
    fn an_officer_written_as_a_table_is_replaced() {
        let text = "[[agency]]\nid = \"aa\"\nstatus = \"pending\"\n\n[agency.deputy]\n\
                    name = \"Old\"\ntelephone = \"01632 960000\"\n\n[[agency]]\nid = \"bb\"\n";
        let after = set(text, &id("aa"), &[Setting::Deputy(officer("New", None))]).unwrap();
        let value: DocumentMut = after.parse().unwrap();
        let agencies = value["agency"].as_array_of_tables().unwrap();
        assert_eq!(agencies.get(0).unwrap()["deputy"]["name"].as_str(), Some("New"));
        assert_eq!(agencies.get(1).unwrap()["id"].as_str(), Some("bb"));
        assert!(!after.contains("Old"));
    }

    #[test]
    fn what_cannot_be_kept_is_not_touched() {
        let status = [Setting::Status(Status::Active)];
        let refused = |text: &str| set(text, &id("alder-hey"), &status).unwrap_err().to_string();
        assert!(refused("[[agency]]\nid = \"bb\"\n").contains("no such agency"));
        assert!(refused("agency = [{ id = \"alder-hey\" }]\n").contains("[[agency]]"));
        assert!(refused("[[agency]\n").contains("not TOML"));
        assert!(refused("# a\r\n# b\n[[agency]]\nid = \"alder-hey\"\n").contains("line endings"));
        let inline = add("agency = []\n", &id("alder-hey"), &status).unwrap_err();
        assert!(inline.to_string().contains("[[agency]]"));
    }

    proptest::proptest! {
        /// Whatever a person types is a value and nothing more.
        #[test]
        fn a_name_is_only_ever_a_name(name in "\\PC{1,40}") {
            let settings = [Setting::Name(name.clone()), Setting::Kind(AgencyKind::Other)];
            let added = add(SHIPPED, &id("demo-other"), &settings).unwrap();
            let document: DocumentMut = added.parse().unwrap();
            let agencies = document["agency"].as_array_of_tables().unwrap();
            let last = agencies.iter().last().unwrap();
            proptest::prop_assert_eq!(last["name"].as_str(), Some(name.as_str()));
            proptest::prop_assert_eq!(last.len(), 3);
        }
    }
}
