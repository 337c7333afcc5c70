//! What a notice says: how much of which kind there is, and when the first of it is due. Nothing in it
//! comes from a message, and nothing from the directory (R90).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Zoned;

use crate::pki::expiry::What;
use crate::timer::{Grade, Timer};

/// The same above every notice.
pub const SUBJECT: &str = "Safeguarding hub: something waits for you";

/// Something of which it is told how much of it there is; in the order in which it is told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Messages in a mailbox that were never collected.
    Waiting,
    /// What an agency, or the hub, has to see to.
    Due(Grade, Timer),
    /// What an agency is late with, as the hub is told.
    AgencyOverdue(Timer),
    /// Certificates that end soon or have ended, and have no successor.
    Certificates,
    /// The same of authorities.
    Authorities,
    /// Revocation lists that were not signed anew.
    RevocationLists,
    /// Agencies' policy documents that are to be reviewed.
    PolicyDocuments,
    /// The agreement, when it is to be reviewed.
    Agreement,
}

impl Kind {
    /// What it is of which a certificate, an authority or a list ends.
    pub(super) fn of(what: &What) -> Self {
        match what {
            What::Agency { .. } | What::Own(_) => Self::Certificates,
            What::Authority { .. } => Self::Authorities,
            What::List { .. } => Self::RevocationLists,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Waiting => "messages that were not collected".to_owned(),
            Self::Due(grade, timer) => format!("{} {}", of(timer), standing(grade)),
            Self::AgencyOverdue(timer) => format!("agencies' {} that are overdue", of(timer)),
            Self::Certificates => "certificates that end soon, or have ended".to_owned(),
            Self::Authorities => "authorities that soon cannot issue any more".to_owned(),
            Self::RevocationLists => "revocation lists that were not signed anew".to_owned(),
            Self::PolicyDocuments => "policy documents to be reviewed".to_owned(),
            Self::Agreement => "sharing agreements to be reviewed".to_owned(),
        }
    }
}

fn of(timer: Timer) -> &'static str {
    match timer {
        Timer::IncidentAssessment => "incidents to be assessed",
        Timer::Outcome => "outcomes to be told",
        Timer::ReferrerTold => "referrers to be told",
        Timer::Reply => "answers",
        Timer::SubjectAccessView => "views on a release",
        Timer::Telephone => "telephone calls to agencies",
    }
}

fn standing(grade: Grade) -> &'static str {
    match grade {
        Grade::Running => "that are not due yet",
        Grade::DueSoon => "that are due soon",
        Grade::Overdue => "that are overdue",
    }
}

/// What somebody is told.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How much there is of each kind.
    pub counts: BTreeMap<Kind, u64>,
    /// When the first of what is due is, or was, due, by the clock in London.
    pub first: Option<Zoned>,
}

/// Who is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reader {
    /// Somebody at an agency, or at the hub.
    Agency,
    /// Somebody who looks after the gateway.
    Operator,
}

/// The text of a notice: ASCII, in lines that every mail program shows whole.
pub fn body(reader: Reader, summary: &Summary, desk_url: Option<&str>) -> String {
    let mut text = String::from(match reader {
        Reader::Agency => "Something waits for you at the safeguarding hub's gateway.\n\n",
        Reader::Operator => "Something at the safeguarding hub's gateway has to be seen to.\n\n",
    });
    for (kind, count) in &summary.counts {
        let _ = writeln!(text, "    {}: {count}", kind.words());
    }
    if let Some(first) = &summary.first {
        let first = first.strftime("%A %-d %B %Y, %H:%M");
        let _ = writeln!(text, "\nThe first of what is due: {first}, London time.");
    }
    text.push_str(match reader {
        Reader::Agency => {
            "\nPlease look at your desk, or in the system through which you take part,\nand see to it.\n"
        }
        Reader::Operator => {
            "\nRun mash-gateway doctor on the gateway's machine: it says what, and what to\ndo about it.\n"
        }
    });
    if let (Reader::Agency, Some(url)) = (reader, desk_url) {
        let _ = writeln!(text, "\n    {url}");
    }
    text.push_str(
        "\nA machine wrote this. It says on purpose nothing of whom or what it is about;\n\
         please do not answer it, and send nothing about a child by e-mail.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(counts: &[(Kind, u64)], first: Option<&str>) -> Summary {
        let first = first.map(|first| first.parse().unwrap());
        Summary { counts: counts.iter().copied().collect(), first }
    }

    #[test]
    fn a_notice_says_how_much_and_when_and_nothing_else() {
        let told = summary(
            &[
                (Kind::Due(Grade::Overdue, Timer::Reply), 1),
                (Kind::Due(Grade::DueSoon, Timer::Reply), 2),
                (Kind::Waiting, 3),
            ],
            Some("2026-11-27T17:00:00+00:00[Europe/London]"),
        );
        let text = body(Reader::Agency, &told, Some("https://mash.example.org/desk"));
        assert_eq!(
            text,
            "Something waits for you at the safeguarding hub's gateway.\n\
             \n    messages that were not collected: 3\
             \n    answers that are due soon: 2\
             \n    answers that are overdue: 1\n\
             \nThe first of what is due: Friday 27 November 2026, 17:00, London time.\n\
             \nPlease look at your desk, or in the system through which you take part,\
             \nand see to it.\n\
             \n    https://mash.example.org/desk\n\
             \nA machine wrote this. It says on purpose nothing of whom or what it is about;\
             \nplease do not answer it, and send nothing about a child by e-mail.\n"
        );
    }

    #[test]
    fn operators_are_told_where_to_look_and_agencies_what_others_owe() {
        let told = summary(&[(Kind::Certificates, 1)], None);
        let text = body(Reader::Operator, &told, Some("https://mash.example.org/desk"));
        assert!(text.contains("    certificates that end soon, or have ended: 1\n"), "{text}");
        assert!(text.contains("mash-gateway doctor"), "{text}");
        assert!(!text.contains("https://") && !text.contains("The first of what is due"), "{text}");
        let told = summary(&[(Kind::AgencyOverdue(Timer::Reply), 4)], None);
        let text = body(Reader::Agency, &told, None);
        assert!(text.contains("    agencies' answers that are overdue: 4\n"), "{text}");
    }

    // Otherwise it would be encoded, and some mail programs would show it as noise.
    #[test]
    fn every_text_is_plain_and_short_lined() {
        let mut kinds = vec![
            Kind::Waiting,
            Kind::Certificates,
            Kind::Authorities,
            Kind::RevocationLists,
            Kind::PolicyDocuments,
            Kind::Agreement,
        ];
        for timer in Timer::ALL {
            kinds.push(Kind::AgencyOverdue(timer));
            kinds.extend(Grade::ALL.map(|grade| Kind::Due(grade, timer)));
        }
        let counts: Vec<_> = kinds.into_iter().map(|kind| (kind, 999_999_999)).collect();
        for reader in [Reader::Agency, Reader::Operator] {
            let text = body(reader, &summary(&counts, None), None);
            assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 79), "{text}");
        }
    }
}
