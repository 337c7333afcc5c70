//! `partners.toml` → [`Directory`], or every mistake in it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::check;
use super::document::{Document, Mistakes, Section};
use super::shape::{self, Loopback, Misshapen};
use super::{AgencyKind, Custody, Directory, Endpoint, Officer, Partner, PolicyDocument, Status};
use crate::message::AgencyId;

/// What a directory's reader needs to know of the gateway's settings.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ParseOptions {
    /// Whether push endpoints may be on this machine (`[push] allow_loopback`).
    pub allow_loopback: bool,
}

impl Directory {
    /// Reads a directory, or tells everything that is wrong with it. `now` only tells whether an
    /// agency can have closed already.
    pub fn parse(text: &str, options: ParseOptions, now: Timestamp) -> Result<Self, Mistakes> {
        let (document, table) = Document::parse("partners.toml", text)?;
        let reader = Reader {
            loopback: if options.allow_loopback { Loopback::Allowed } else { Loopback::Refused },
            today: TimeZone::UTC.to_datetime(now).date(),
        };
        let mut root = document.root(&table);
        let mut drafts = Vec::new();
        for (i, section) in root.tables("agency").into_iter().enumerate() {
            drafts.push(reader.agency(i, section));
        }
        check::check_ids(&drafts);
        check::check_ods_codes(&drafts);
        check::check_links(&drafts);
        check::check_hub(&root, &drafts);
        let partners: Vec<Partner> = drafts.into_iter().filter_map(Draft::finish).collect();
        root.finish();
        document.finish()?;
        Ok(Self::complete(partners))
    }

    // Only of partners in which no mistake was found.
    fn complete(partners: Vec<Partner>) -> Self {
        let hub = partners.iter().find(|partner| check::is_hub(partner.kind, partner.status));
        let hub = hub.expect("the check for a hub found exactly one").id.clone();
        let by_ods: HashMap<_, _> = partners
            .iter()
            .filter_map(|partner| Some((partner.ods_code.clone()?, partner.id.clone())))
            .collect();
        let partners: BTreeMap<_, _> =
            partners.into_iter().map(|partner| (partner.id.clone(), partner)).collect();
        Self { partners, by_ods, hub }
    }
}

/// An agency as far as it could be read; whatever is None was reported or is not there.
pub(crate) struct Draft<'d> {
    pub(crate) section: Section<'d>,
    pub(crate) owner: String,
    pub(crate) id: Option<AgencyId>,
    pub(crate) name: Option<&'d str>,
    pub(crate) kind: Option<AgencyKind>,
    pub(crate) status: Option<Status>,
    pub(crate) statutory_basis: Option<&'d str>,
    pub(crate) is_public_authority: bool,
    pub(crate) ods_code: Option<&'d str>,
    pub(crate) class: Option<&'d str>,
    pub(crate) contact_officer: Option<Officer>,
    pub(crate) deputy: Option<Officer>,
    pub(crate) security_contact: Option<Officer>,
    pub(crate) telephone: Option<String>,
    pub(crate) location: Option<&'d str>,
    pub(crate) hours: Option<&'d str>,
    pub(crate) valid_from: Option<Date>,
    pub(crate) valid_to: Option<Date>,
    pub(crate) successor: Option<&'d str>,
    pub(crate) age_recipients: Vec<String>,
    pub(crate) custody: Custody,
    pub(crate) may_attach: bool,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) policy_document: Option<PolicyDocument>,
    pub(crate) privacy_notice_seen: Option<Date>,
    pub(crate) training_attested: Option<Date>,
}

impl Draft<'_> {
    fn finish(self) -> Option<Partner> {
        self.section.finish();
        let link = |id: Option<&str>| id.and_then(|id| AgencyId::parse(id).ok());
        Some(Partner {
            id: self.id?,
            name: self.name?.to_owned(),
            kind: self.kind?,
            status: self.status?,
            statutory_basis: self.statutory_basis?.to_owned(),
            is_public_authority: self.is_public_authority,
            ods_code: self.ods_code.map(str::to_owned),
            class: link(self.class),
            contact_officer: self.contact_officer,
            deputy: self.deputy,
            security_contact: self.security_contact,
            telephone: self.telephone,
            location: self.location.map(str::to_owned),
            hours: self.hours.map(str::to_owned),
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            successor: link(self.successor),
            age_recipients: self.age_recipients,
            custody: self.custody,
            may_attach: self.may_attach,
            endpoints: self.endpoints,
            policy_document: self.policy_document,
            privacy_notice_seen: self.privacy_notice_seen,
            training_attested: self.training_attested,
        })
    }

    /// Whether this is the agency another one names.
    pub(crate) fn is_called(&self, id: &str) -> bool {
        self.id.as_ref().is_some_and(|own| own.as_str() == id)
    }
}

struct Reader {
    loopback: Loopback,
    today: Date,
}

impl Reader {
    fn agency<'d>(&self, i: usize, mut section: Section<'d>) -> Draft<'d> {
        section.call_it(&format!("agency #{}", i + 1));
        let written = section.required_text("id", "Give it a short id, such as \"alder-hey\"");
        let id = written.and_then(|id| AgencyId::parse(id).ok());
        if written.is_some() && id.is_none() {
            section.wrong(
                "id",
                "is not an agency id",
                "Write 2 to 64 small letters, digits and inner hyphens, such as \"alder-hey\"",
            );
        }
        let owner = match &id {
            Some(id) => format!("agency \"{id}\""),
            None => format!("agency #{}", i + 1),
        };
        section.call_it(&owner);

        let kinds = AgencyKind::ALL.map(|kind| (kind.as_str(), kind));
        let statuses = Status::ALL.map(|status| (status.as_str(), status));
        let custodies = [("agency", Custody::Agency), ("gateway", Custody::Gateway)];
        let draft = Draft {
            owner,
            id,
            name: section.required_text("name", "Write the organisation's full name"),
            kind: section.required_choice("kind", &kinds),
            status: section.required_choice("status", &statuses),
            statutory_basis: section.required_text(
                "statutory_basis",
                "Write the law under which the agency takes part; without one nothing may be \
                 shared with it",
            ),
            is_public_authority: section.boolean("public_authority").unwrap_or(true),
            ods_code: shaped(&mut section, "ods_code", shape::ods_code),
            class: section.text("class"),
            contact_officer: officer(&mut section, "contact_officer"),
            deputy: officer(&mut section, "deputy"),
            security_contact: officer(&mut section, "security_contact"),
            telephone: shaped(&mut section, "telephone", shape::telephone).map(str::to_owned),
            location: section.text("location"),
            hours: section.text("hours"),
            valid_from: section.date("valid_from"),
            valid_to: section.date("valid_to"),
            successor: section.text("successor"),
            age_recipients: age_recipients(&mut section, "age_recipients"),
            custody: section.choice("custody", &custodies).unwrap_or(Custody::Gateway),
            may_attach: section.boolean("attachments").unwrap_or(false),
            endpoints: self.endpoints(&mut section),
            policy_document: policy_document(&mut section, "policy_document"),
            privacy_notice_seen: section.date("privacy_notice_seen"),
            training_attested: section.date("training_attested"),
            section,
        };
        check::check_life(&draft, self.today);
        check::check_active(&draft);
        check::check_surgery(&draft);
        check::check_custody(&draft);
        draft
    }

    fn endpoints(&self, section: &mut Section<'_>) -> Vec<Endpoint> {
        #[derive(Clone, Copy, Eq, PartialEq)]
        enum EndpointKind {
            Mailbox,
            Push,
        }
        const COUNT_MAX: usize = 8;
        let mut endpoints = Vec::new();
        let mut is_after_mailbox = false;
        let all = section.tables("endpoints");
        if all.len() > COUNT_MAX {
            section.wrong("endpoints", "has more than 8 endpoints", "Keep those that are used");
        }
        for mut endpoint in all {
            let kinds = [("mailbox", EndpointKind::Mailbox), ("push", EndpointKind::Push)];
            let kind = endpoint.required_choice("kind", &kinds);
            if is_after_mailbox && kind.is_some() {
                endpoint.wrong(
                    "kind",
                    "comes after a mailbox, and so would never be tried",
                    "Put the mailbox last, and only once",
                );
            }
            match kind {
                None => continue, // Whether `url` belongs here cannot be known.
                Some(EndpointKind::Mailbox) => {
                    is_after_mailbox = true;
                    endpoints.push(Endpoint::Mailbox);
                }
                Some(EndpointKind::Push) => {
                    let loopback = self.loopback;
                    if !endpoint.has("url") {
                        endpoint.wrong("url", "is missing", "Give the endpoint's https:// address");
                    }
                    let url = shaped(&mut endpoint, "url", |url| shape::push_url(url, loopback));
                    let ca = endpoint.required_text(
                        "ca",
                        "Name the PEM file of the authority that issued the endpoint's \
                         certificate, relative to this file",
                    );
                    if let (Some(url), Some(ca)) = (url, ca) {
                        endpoints.push(Endpoint::Push { url: url.to_owned(), ca: ca.to_owned() });
                    }
                }
            }
            endpoint.finish();
        }
        endpoints
    }
}

fn officer(section: &mut Section<'_>, key: &'static str) -> Option<Officer> {
    let mut officer = section.table(key)?;
    let name = officer.required_text("name", "Write the officer's name");
    if !officer.has("telephone") {
        officer.wrong("telephone", "is missing", "Write the officer's telephone");
    }
    let telephone = shaped(&mut officer, "telephone", shape::telephone);
    let email = shaped(&mut officer, "email", shape::email);
    officer.finish();
    Some(Officer {
        name: name?.to_owned(),
        telephone: telephone?.to_owned(),
        email: email.map(str::to_owned),
    })
}

fn policy_document(section: &mut Section<'_>, key: &'static str) -> Option<PolicyDocument> {
    let mut document = section.table(key)?;
    for (key, remedy) in [
        ("sha256", "Record it with mash-gateway apd add: it works the digest out"),
        ("review", "Write the day by which it is to be reviewed, such as 2027-11-01"),
    ] {
        if !document.has(key) {
            document.wrong(key, "is missing", remedy);
        }
    }
    let sha256 = shaped(&mut document, "sha256", shape::sha256);
    let review = document.date("review");
    document.finish();
    Some(PolicyDocument { sha256: sha256?.to_owned(), review: review? })
}

/// Age recipients under `key`, each of the right shape.
pub(crate) fn age_recipients(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let mut recipients = Vec::new();
    for (i, recipient) in section.texts(key) {
        match shape::age_recipient(recipient) {
            Ok(()) => recipients.push(recipient.to_owned()),
            Err(Misshapen { problem, remedy }) => {
                section.wrong(&format!("{key}[{i}]"), problem, remedy);
            }
        }
    }
    recipients
}

fn shaped<'d>(
    section: &mut Section<'d>,
    key: &'static str,
    check: impl FnOnce(&str) -> Result<(), Misshapen>,
) -> Option<&'d str> {
    let text = section.text(key)?;
    match check(text) {
        Ok(()) => Some(text),
        Err(Misshapen { problem, remedy }) => {
            section.wrong(key, problem, remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Mistake;
    use super::*;

    const SHIPPED: &str = include_str!("../../partners.toml");

    const HUB: &str = "[[agency]]\nid = \"hub\"\nname = \"Hub\"\nkind = \"hub\"\nstatus = \
                       \"active\"\nstatutory_basis = \"x\"\nendpoints = [{ kind = \"mailbox\" }]\n";

    const POLICE: &str = r#"[[agency]]
id = "police"
name = "Police"
kind = "police"
status = "active"
statutory_basis = "x"
telephone = "01632 960000"
contact_officer = { name = "A. Example", telephone = "01632 960001", email = "a@police.example" }
deputy = { name = "B. Example", telephone = "01632 960002" }
endpoints = [
    { kind = "push", url = "https://push.police.example/inbox", ca = "certs/police.pem" },
    { kind = "mailbox" },
]
"#;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn parse(text: &str) -> Result<Directory, Mistakes> {
        Directory::parse(text, ParseOptions::default(), now())
    }

    fn mistakes(text: &str) -> Vec<Mistake> {
        parse(text).expect_err("there are mistakes in it").all().to_vec()
    }

    fn id(text: &str) -> AgencyId {
        AgencyId::parse(text).unwrap()
    }

    #[test]
    fn the_shipped_file_parses_and_holds_the_agreements_thirteen() {
        let directory = parse(SHIPPED).unwrap();
        assert_eq!(directory.hub().id, id("sefton-mash"));
        let (thirteen, later) = SHIPPED.split_once("# Not in the agreement").unwrap();
        assert_eq!(thirteen.matches("\n[[agency]]").count(), 13);
        assert_eq!(later.matches("\n[[agency]]").count(), 3);
        for partner in directory.all() {
            assert_eq!(directory.is_active(&partner.id, now()), partner.kind == AgencyKind::Hub);
            assert_eq!(partner.successor.is_some(), partner.status == Status::Closed);
            // Nothing is invented for a real body.
            let Partner { contact_officer, deputy, telephone, endpoints, .. } = partner;
            assert_eq!((contact_officer, deputy, telephone), (&None, &None, &None));
            assert_eq!(endpoints.is_empty(), partner.kind != AgencyKind::Hub);
        }
        assert!(!SHIPPED.contains("gsi") && !SHIPPED.contains("gcsx") && !SHIPPED.contains("pnn"));
    }

    #[test]
    fn the_shipped_example_surgery_parses_when_its_marks_are_removed() {
        let (before, example) = SHIPPED.split_once("\n# [[agency]]\n").unwrap();
        let (example, after) = example.split_once("\n\n").unwrap();
        let spoken: String = example
            .lines()
            .map(|line| line.strip_prefix('#').unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let text = format!("{before}\n[[agency]]\n{spoken}\n{after}");
        let directory = parse(&text).unwrap();
        let surgery = directory.by_ods("Z99999").unwrap();
        assert_eq!(surgery.name, "Example Surgery");
        assert!(surgery.is_active(now()));
        assert_eq!(surgery.endpoints.len(), 2);
    }

    #[test]
    fn an_agency_is_read_as_written() {
        let directory = parse(&format!("{HUB}{POLICE}")).unwrap();
        let police = directory.get(&id("police")).unwrap();
        assert_eq!(police.contact_officer.as_ref().unwrap().name, "A. Example");
        assert_eq!(police.deputy.as_ref().unwrap().email, None);
        assert_eq!(police.custody, Custody::Gateway);
        assert!(!police.may_attach);
        assert!(police.is_public_authority);
        let push = Endpoint::Push {
            url: "https://push.police.example/inbox".to_owned(),
            ca: "certs/police.pem".to_owned(),
        };
        assert_eq!(police.endpoints, [push, Endpoint::Mailbox]);
        assert_eq!(directory.name(&id("police")), Some("Police"));
        assert_eq!(directory.name(&id("nobody")), None);
        assert!(!directory.is_active(&id("nobody"), now()));
    }

    #[test]
    fn dates_take_effect_by_themselves() {
        let police = |dates: &str| {
            let directory = parse(&format!("{HUB}{POLICE}{dates}\n")).unwrap();
            directory.get(&id("police")).unwrap().status_at(now())
        };
        assert_eq!(police("valid_to = 2026-03-01"), Status::Active);
        assert_eq!(police("valid_to = 2026-02-28"), Status::Closed);
        assert_eq!(police("valid_from = 2026-03-01"), Status::Active);
        assert_eq!(police("valid_from = 2026-03-02"), Status::Pending);
    }

    #[test]
    fn every_mistake_says_where_what_and_what_to_do() {
        let age = "age1".to_owned() + &"q".repeat(58);
        // (in POLICE this text, becomes this, line, field, part of the problem, of the remedy)
        #[rustfmt::skip]
        let rows: &[(&str, &str, usize, &str, &str, &str)] = &[
            ("name = \"Police\"", "", 8, "name", "missing", "full name"),
            ("name = \"Police\"", "name = 5", 10, "name", "wrong type (integer)",
             "quotation marks"),
            ("name = \"Police\"", "name = \" \"", 10, "name", "empty", "short text"),
            ("kind = \"police\"", "kind = \"polis\"", 11, "kind", "choices",
             "Did you mean \"police\"?"),
            ("\"active\"", "\"activ\"", 12, "status", "choices", "Did you mean \"active\"?"),
            ("statutory_basis = \"x\"", "", 8, "statutory_basis", "missing", "law"),
            ("telephone = \"01632 960000\"", "", 8, "telephone", "missing", "pending"),
            ("\"01632 960000\"", "\"0163\"", 14, "telephone", "telephone number", "area code"),
            ("contact_officer = ", "contact = ", 8, "contact_officer", "missing", "pending"),
            ("deputy = ", "location = \"x\" #", 8, "deputy", "missing", "pending"),
            ("name = \"A. Example\", ", "", 15, "contact_officer.name", "missing", "name"),
            ("telephone = \"01632 960002\"", "tel = \"\"", 16, "deputy.telephone", "missing",
             "Write"),
            ("a@police.example", "a@x.pnn.police.uk", 15, "contact_officer.email", "retired",
             "present secure address"),
            ("a@police.example", "nowhere", 15, "contact_officer.email", "not an e-mail", "plain"),
            ("https://push", "http://push", 18, "endpoints[0].url", "https", "https://"),
            ("https://push.police.example/", "https://127.0.0.1:9/", 18, "endpoints[0].url",
             "this machine", "allow_loopback"),
            ("https://push.police.example/", "https://169.254.169.254/", 18, "endpoints[0].url",
             "metadata", "own host name"),
            ("https://push.police.example/inbox", "https://a:b@c.example/", 18, "endpoints[0].url",
             "user name", "certificate"),
            (", ca = \"certs/police.pem\"", "", 18, "endpoints[0].ca", "missing", "authority"),
            ("url =", "uri =", 18, "endpoints[0].url", "missing", "https://"),
            ("kind = \"mailbox\"", "kind = \"mail\"", 19, "endpoints[1].kind", "choices",
             "mailbox"),
            ("{ kind = \"mailbox\" },", "{ kind = \"mailbox\" }, { kind = \"mailbox\" },", 19,
             "endpoints[2].kind", "after a mailbox", "last"),
            ("deputy", "custody = \"agency\"\ndeputy", 8, "age_recipients", "missing", "age1"),
            ("deputy", "age_recipients = [\"age1x\"]\ndeputy", 16, "age_recipients[0]",
             "not an age recipient", "age-keygen"),
            ("deputy", "valid_to = 2026-13-01\ndeputy", 16, "syntax", "not TOML", "bracket"),
            ("deputy", "valid_to = \"soon\"\ndeputy", 16, "valid_to", "not a date", "2026-04-01"),
            ("deputy", "valid_from = 2026-02-01\nvalid_to = 2026-01-01\ndeputy", 17, "valid_to",
             "before valid_from", "Correct"),
            ("\"active\"", "\"closed\"", 8, "valid_to", "missing", "last day"),
            ("\"active\"", "\"closed\"\nvalid_to = 2027-01-01", 12, "status", "not come yet",
             "active"),
            ("deputy", "successor = \"hubb\"\ndeputy", 16, "successor", "no agency",
             "Did you mean \"hub\"?"),
            ("deputy", "successor = \"police\"\ndeputy", 16, "successor", "itself", "another"),
            ("deputy", "class = \"hub\"\nods_code = \"X99\"\ndeputy", 16, "class",
             "only for a surgery", "gp-surgery"),
            ("kind = \"police\"", "kind = \"gp-surgery\"", 8, "ods_code", "missing", "Look"),
            ("deputy", "ods_code = \"x1\"\ndeputy", 16, "ods_code", "not an ODS code", "capital"),
            ("kind = \"police\"", "kind = \"gp-surgery-class\"", 17, "endpoints", "class",
             "each surgery"),
            ("kind = \"police\"", "kind = \"hub\"", 11, "kind", "second active hub", "Keep one"),
            ("id = \"police\"", "id = \"hub\"", 9, "id", "line 1", "own id"),
            ("deputy", "statutory_base = \"x\"\ndeputy", 16, "statutory_base", "not a known",
             "Did you mean `statutory_basis`?"),
            ("deputy", "public_authority = \"yes\"\ndeputy", 16, "public_authority", "string",
             "true or false"),
        ];
        for (from, to, line, field, problem, remedy) in rows {
            assert_ne!(POLICE.replacen(from, to, 1), POLICE, "{from} is not there");
            let found = mistakes(&format!("{HUB}{}", POLICE.replacen(from, to, 1)));
            let owner =
                ["agency \"police\" ", "agency \"hub\" ", ""].map(|o| format!("{o}{field}"));
            let found = found
                .iter()
                .find(|found| owner.contains(&found.field) && found.problem.contains(problem))
                .unwrap_or_else(|| panic!("{to}: {found:#?}"));
            assert_eq!(found.line, *line, "{to}: {found}");
            assert!(found.remedy.contains(remedy), "{to}: {found}");
            assert!(!found.to_string().contains("Example"), "a person's name in: {found}");
        }
        let blind = POLICE.replacen(
            "deputy",
            &format!("custody = \"agency\"\nage_recipients = [\"{age}\"]\ndeputy"),
            1,
        );
        let directory = parse(&format!("{HUB}{blind}")).unwrap();
        assert_eq!(directory.get(&id("police")).unwrap().custody, Custody::Agency);
    }

    #[test]
    fn the_whole_file_is_held_to_rules_too() {
        let found = mistakes(POLICE);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, &*found[0].field), (1, "agency"));
        assert!(found[0].problem.contains("no active hub"));
        assert!(mistakes("")[0].problem.contains("no active hub"));
        let found =
            mistakes(&HUB.replace("endpoints = [{ kind = \"mailbox\" }]", "endpoints = []"));
        assert_eq!((found.len(), &*found[0].field), (1, "agency \"hub\" endpoints"));
        let found = mistakes(&format!("{HUB}[[agencies]]\n"));
        assert_eq!((found[0].line, &*found[0].field), (8, "agencies"));
        assert!(found[0].remedy.contains("`agency`"));
    }

    #[test]
    fn two_agencies_share_no_ods_code_and_successors_go_in_no_circle() {
        let closed = |id: &str, successor: &str| {
            format!(
                "[[agency]]\nid = \"{id}\"\nname = \"x\"\nkind = \"other\"\nstatus = \"closed\"\n\
                 statutory_basis = \"x\"\nods_code = \"X99\"\nvalid_to = 2020-01-01\n\
                 successor = \"{successor}\"\n"
            )
        };
        let text = format!("{HUB}{}{}", closed("one", "two"), closed("two", "one"));
        let found = mistakes(&text);
        let fields: Vec<_> = found.iter().map(|found| (found.line, &*found.field)).collect();
        let wanted = [
            (16, "agency \"one\" successor"),
            (23, "agency \"two\" ods_code"),
            (25, "agency \"two\" successor"),
        ];
        assert_eq!(fields, wanted);
        assert!(found[1].problem.contains("agency \"one\""));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = POLICE
            .replace("id = \"police\"", "id = \"The Police\"")
            .replace("kind = \"police\"", "kind = \"army\"")
            .replace("telephone = \"01632 960000\"", "telephone = \"none\"")
            .replace("https://", "ftp://")
            .replace("deputy", "deputies");
        let found = mistakes(&format!("{HUB}{text}"));
        let fields: Vec<_> = found.iter().map(|found| (found.line, &*found.field)).collect();
        let wanted = [
            (9, "agency #2 id"),
            (11, "agency #2 kind"),
            (14, "agency #2 telephone"),
            (16, "agency #2 deputies"),
            (18, "agency #2 endpoints[0].url"),
        ];
        assert_eq!(fields, wanted);
    }

    #[test]
    fn loopback_endpoints_are_for_trials() {
        let text = format!("{HUB}{}", POLICE.replace("push.police.example", "localhost:9443"));
        assert!(parse(&text).is_err());
        let options = ParseOptions { allow_loopback: true };
        assert!(Directory::parse(&text, options, now()).is_ok());
    }

    // What is dropped without being told would be an agency nobody can reach and nobody misses.
    #[test]
    fn a_damaged_file_is_refused_or_read_whole() {
        let text = format!("{HUB}{POLICE}");
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            if let Ok(directory) = parse(&text[..end]) {
                let agencies = text[..end].matches("[[agency]]").count();
                assert_eq!(directory.all().count(), agencies, "{end}");
            }
        }
        let lines: Vec<_> = text.lines().collect();
        for removed in 0..lines.len() {
            let rest = [&lines[..removed], &lines[removed + 1..]].concat().join("\n");
            if let Ok(directory) = parse(&rest) {
                assert_eq!(directory.all().count(), 2, "without {}", lines[removed]);
            }
        }
    }
}
