//! What `partner add` and `partner set` are told of an agency, as the directory has it.

use clap::Args;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::cli::apd::day;
use crate::cli::{Exit, Failure};
use crate::directory::edit::Setting;
use crate::directory::{AgencyKind, Officer, Partner};
use crate::message::now;

/// What can be said of an agency when it is added, and put right later.
#[derive(Args)]
pub(super) struct Particulars {
    /// Its code in the NHS Organisation Data Service; a surgery is addressed by it
    #[arg(long, value_name = "CODE")]
    ods: Option<String>,
    /// For a surgery: the id of the class it belongs to
    #[arg(long, value_name = "ID")]
    class: Option<String>,
    /// Its Partnership Contact Officer
    #[arg(long, value_name = "NAME")]
    pco: Option<String>,
    /// The contact officer's telephone
    #[arg(long, value_name = "TEL")]
    pco_tel: Option<String>,
    /// Where the contact officer is told that something waits, never what
    #[arg(long, value_name = "ADDRESS")]
    pco_email: Option<String>,
    /// Who stands in for the contact officer
    #[arg(long, value_name = "NAME")]
    deputy: Option<String>,
    /// The deputy's telephone [default: the agency's]
    #[arg(long, value_name = "TEL")]
    deputy_tel: Option<String>,
    /// The deputy's e-mail address
    #[arg(long, value_name = "ADDRESS")]
    deputy_email: Option<String>,
    /// The agency's own telephone [default for a new agency: the contact officer's]
    #[arg(long, value_name = "TEL")]
    telephone: Option<String>,
    /// Where the contact officer sits
    #[arg(long, value_name = "PLACE")]
    location: Option<String>,
    /// When the telephone is answered
    #[arg(long, value_name = "HOURS")]
    hours: Option<String>,
    /// The day on which you last saw that its privacy notice tells people of this sharing
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day_gone)]
    privacy_notice_seen: Option<Date>,
    /// The day on which its contact officer last attested that its staff are trained
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day_gone)]
    training_attested: Option<Date>,
}

impl Particulars {
    /// The settings they make of what the directory has of the agency so far.
    pub(super) fn settings(self, now: Option<&Partner>) -> Result<Vec<Setting>, Failure> {
        let known =
            |partner: fn(&Partner) -> &Option<Officer>| now.and_then(|n| partner(n).as_ref());
        let pco = officer(
            "--pco",
            (self.pco, self.pco_tel, self.pco_email),
            known(|partner| &partner.contact_officer),
            None,
        )?;
        let pco_telephone = pco.as_ref().map(|officer| officer.telephone.clone());
        let telephone = self.telephone.or_else(|| match now {
            Some(_) => None,
            None => pco_telephone.clone(),
        });
        let reached_at = telephone
            .clone()
            .or_else(|| now.and_then(|partner| partner.telephone.clone()))
            .or(pco_telephone)
            .or_else(|| known(|partner| &partner.contact_officer).map(|o| o.telephone.clone()));
        let deputy = officer(
            "--deputy",
            (self.deputy, self.deputy_tel, self.deputy_email),
            known(|partner| &partner.deputy),
            reached_at,
        )?;
        let settings = [
            self.ods.map(Setting::OdsCode),
            self.class.map(Setting::Class),
            telephone.map(Setting::Telephone),
            pco.map(Setting::ContactOfficer),
            deputy.map(Setting::Deputy),
            self.location.map(Setting::Location),
            self.hours.map(Setting::Hours),
            self.privacy_notice_seen.map(Setting::PrivacyNoticeSeen),
            self.training_attested.map(Setting::TrainingAttested),
        ];
        Ok(settings.into_iter().flatten().collect())
    }
}

// The day of something that was done. Elsewhere it may be a day later than here (UTC).
fn day_gone(text: &str) -> Result<Date, String> {
    let today = TimeZone::UTC.to_datetime(now()).date();
    let day = day(text)?;
    if day > today.saturating_add(1.day()) {
        return Err("that day is still to come; write the day on which it was done".to_owned());
    }
    Ok(day)
}

// An officer as told, what was not told filled in from what is known; none when nothing was told.
fn officer(
    flag: &str,
    told: (Option<String>, Option<String>, Option<String>),
    known: Option<&Officer>,
    telephone: Option<String>,
) -> Result<Option<Officer>, Failure> {
    let (name, tel, email) = match told {
        (None, None, None) => return Ok(None),
        told => told,
    };
    let is_another = name.as_deref().is_some_and(|name| known.is_none_or(|k| k.name != name));
    // Somebody else's telephone and address are not carried over.
    let known = known.filter(|_| !is_another);
    let missing = |what: &str| {
        Failure::new(Exit::Misused, format!("{flag}{what} is missing; nothing was written"))
    };
    let name = name.or_else(|| known.map(|k| k.name.clone())).ok_or_else(|| missing(""))?;
    let telephone = tel
        .or_else(|| known.map(|k| k.telephone.clone()))
        .or(telephone)
        .ok_or_else(|| missing("-tel"))?;
    Ok(Some(Officer {
        name,
        telephone,
        email: email.or_else(|| known.and_then(|k| k.email.clone())),
    }))
}

/// The kind named so. Surgeries have a short name too.
pub(super) fn kind(name: &str) -> Result<AgencyKind, String> {
    let name = if name == "gp" { AgencyKind::GpSurgery.as_str() } else { name };
    AgencyKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| format!("one of gp, {}", AgencyKind::ALL.map(AgencyKind::as_str).join(", ")))
}

/// A statutory basis: as written, or spelled out from a code such as `children-act-2004-s11`.
pub(super) fn basis(text: &str) -> String {
    spelled_out(text).unwrap_or_else(|| text.to_owned())
}

fn spelled_out(code: &str) -> Option<String> {
    const SMALL: [&str; 7] = ["and", "for", "in", "of", "on", "the", "to"];
    let (act, section) = code.rsplit_once("-s")?;
    let (act, year) = act.rsplit_once('-')?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase());
    let is_plain = act.split('-').all(is_word)
        && year.len() == 4
        && year.bytes().all(|c| c.is_ascii_digit())
        && section.starts_with(|c: char| c.is_ascii_digit())
        && section.bytes().all(|c| c.is_ascii_alphanumeric());
    if !is_plain {
        return None;
    }
    let words = act.split('-').enumerate().map(|(i, word)| {
        if i > 0 && SMALL.contains(&word) {
            word.to_owned()
        } else {
            format!("{}{}", word[..1].to_uppercase(), &word[1..])
        }
    });
    let act = words.collect::<Vec<_>>().join(" ");
    Some(format!("{act} {year}, section {}", section.to_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_laws_are_spelled_out_and_all_else_stays() {
        assert_eq!(basis("children-act-2004-s11"), "Children Act 2004, section 11");
        assert_eq!(basis("children-act-1989-s47"), "Children Act 1989, section 47");
        assert_eq!(
            basis("crime-and-disorder-act-1998-s115"),
            "Crime and Disorder Act 1998, section 115"
        );
        assert_eq!(basis("care-act-2014-s6a"), "Care Act 2014, section 6A");
        for other in
            ["Children Act 2004, section 11", "children-act", "-2004-s11", "a-2004-s", "x-y-s1", ""]
        {
            assert_eq!(basis(other), other);
        }
    }

    #[test]
    fn surgeries_have_a_short_name() {
        assert_eq!(kind("gp"), Ok(AgencyKind::GpSurgery));
        assert_eq!(kind("police"), Ok(AgencyKind::Police));
        assert!(kind("polise").is_err_and(|said| said.contains("police")));
    }

    #[test]
    fn another_officer_does_not_inherit_a_telephone() {
        let old = Officer {
            name: "A Example".to_owned(),
            telephone: "01632 960001".to_owned(),
            email: Some("a@surgery.example".to_owned()),
        };
        let told = |name: Option<&str>, tel: Option<&str>| {
            officer(
                "--pco",
                (name.map(str::to_owned), tel.map(str::to_owned), None),
                Some(&old),
                None,
            )
        };
        assert!(told(None, None).is_ok_and(|officer| officer.is_none()));
        let moved = told(None, Some("01632 960009")).ok().flatten().unwrap();
        assert_eq!(
            (moved.name.as_str(), moved.email.as_deref()),
            ("A Example", Some("a@surgery.example"))
        );
        assert_eq!(moved.telephone, "01632 960009");
        assert!(told(Some("B Example"), None).is_err());
        let other = told(Some("B Example"), Some("01632 960002")).ok().flatten().unwrap();
        assert_eq!(other.email, None);
    }
}
