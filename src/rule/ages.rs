//! Whose answer to consent counts goes by age, on the day of the request (R38, R79). The agreement gives 12,
//! 13 and 16 in different places: so this warns, and never refuses.
//!
//! A warning says where and which, never how old anybody is.

use std::borrow::Cow;

use jiff::civil::Date;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Something for a person to look at; nothing depends on it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Warning {
    /// Which: stable, in kebab-case.
    pub code: &'static str,
    /// A sentence for whoever sent it.
    pub message: &'static str,
    /// Where, as a JSON Pointer.
    pub pointer: String,
}

/// What of a dispatch goes by age. It depends on the bytes alone: a dispatch that is sent again is warned of
/// alike. Of what is no dispatch there is nothing to say here.
pub fn warnings(dispatch: &[u8]) -> Vec<Warning> {
    let Ok(Dispatch { rfi }) = serde_json::from_slice(dispatch) else { return Vec::new() };
    // The days as they are written: the hub's own.
    let day = |instant: &Text<'_>| instant.0.get(..10)?.parse::<Date>().ok();
    let Some((asked, due)) = day(&rfi.date_of_request).zip(day(&rfi.response_required_by)) else {
        return Vec::new();
    };
    let children = rfi.persons.iter().enumerate().filter(|(_, person)| person.kind.0 == "child");
    children.flat_map(|(index, child)| of_child(index, child, asked, due)).collect()
}

fn of_child(index: usize, child: &Person<'_>, asked: Date, due: Date) -> Vec<Warning> {
    let Some(born) = child.birth_date.as_ref().and_then(|date| Born::parse(&date.0)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut warn = |is_so: bool, member: &str, code, message| {
        if is_so {
            found.push(Warning {
                code,
                message,
                pointer: format!("/rfi/persons/{index}/{member}"),
            });
        }
    };
    let is_unjudged = child.competent_to_decide.is_none();
    warn(
        is_unjudged && born.can_be(12, asked) && !born.is_surely(16, asked),
        "competentToDecide",
        "competence-not-judged",
        "This person is or may be between 12 and 16: say whether they are competent to decide about \
         sharing. If they are, it is their own answer that counts.",
    );
    warn(
        born.can_be(16, asked) && !born.is_surely(18, asked),
        "birthDate",
        "own-answer-from-16",
        "This person is or may be 16 or over: it is their own answer to consent that counts.",
    );
    warn(
        born.can_be(18, asked),
        "birthDate",
        "adult-from-18",
        "This person is or may be 18 or over: no child, if so.",
    );
    warn(
        born.can_turn(16, asked, due),
        "birthDate",
        "turns-16-before-due",
        "This person turns or may turn 16 before the answer is due: from then on it is their own answer \
         to consent that counts.",
    );
    warn(
        born.can_turn(18, asked, due),
        "birthDate",
        "turns-18-before-due",
        "This person turns or may turn 18 before the answer is due: no child from then on.",
    );
    found
}

/// The first and the last day that a birth date, or what is known of it, can be.
struct Born {
    first: Date,
    last: Date,
}

impl Born {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = match text.len() {
            4 => {
                let year = format!("{text}-01-01").parse::<Date>().ok()?;
                (year, year.last_of_year())
            }
            7 => {
                let month = format!("{text}-01").parse::<Date>().ok()?;
                (month, month.last_of_month())
            }
            _ => {
                let day = text.parse().ok()?;
                (day, day)
            }
        };
        Some(Self { first, last })
    }

    fn can_be(&self, years: i16, on: Date) -> bool {
        birthday(self.first, years).is_some_and(|day| day <= on)
    }

    fn is_surely(&self, years: i16, on: Date) -> bool {
        birthday(self.last, years).is_some_and(|day| day <= on)
    }

    /// Whether it can be after `from` and not after `to`.
    fn can_turn(&self, years: i16, from: Date, to: Date) -> bool {
        self.can_be(years, to) && !self.is_surely(years, from)
    }
}

// Whoever was born on 29 February is a year older on 1 March of a year without one.
fn birthday(born: Date, years: i16) -> Option<Date> {
    let year = born.year().checked_add(years)?;
    Date::new(year, born.month(), born.day()).or_else(|_| Date::new(year, 3, 1)).ok()
}

/// Only what is looked at is read: the rest of a dispatch makes no copies.
#[derive(Deserialize)]
struct Dispatch<'b> {
    #[serde(borrow)]
    rfi: Rfi<'b>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rfi<'b> {
    #[serde(borrow)]
    date_of_request: Text<'b>,
    #[serde(borrow)]
    response_required_by: Text<'b>,
    #[serde(borrow)]
    persons: Vec<Person<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Person<'b> {
    #[serde(borrow)]
    kind: Text<'b>,
    #[serde(borrow)]
    birth_date: Option<Text<'b>>,
    competent_to_decide: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn codes(persons: &Value) -> Vec<String> {
        let dispatch = json!({ "rfi": {
            "dateOfRequest": "2026-11-23T09:00:00Z", "responseRequiredBy": "2026-11-30T09:00:00Z",
            "persons": persons,
        } });
        let found = warnings(dispatch.to_string().as_bytes());
        found.iter().map(|it| format!("{} {}", it.pointer, it.code)).collect()
    }

    fn of(birth_date: &str) -> Vec<String> {
        let found = codes(&json!([{ "kind": "child", "birthDate": birth_date }]));
        found.iter().map(|it| it.rsplit(' ').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_age_has_its_warning_on_the_day_it_is_reached_and_not_before() {
        for (born, expected) in [
            ("2014-11-24", &[][..]),
            ("2014-11-23", &["competence-not-judged"]),
            ("2010-12-01", &["competence-not-judged"]),
            ("2010-11-30", &["competence-not-judged", "turns-16-before-due"]),
            ("2010-11-24", &["competence-not-judged", "turns-16-before-due"]),
            ("2010-11-23", &["own-answer-from-16"]),
            ("2008-12-01", &["own-answer-from-16"]),
            ("2008-11-30", &["own-answer-from-16", "turns-18-before-due"]),
            ("2008-11-23", &["adult-from-18"]),
            ("1970-01-01", &["adult-from-18"]),
        ] {
            assert_eq!(of(born), expected, "{born}");
        }
    }

    #[test]
    fn of_part_of_a_date_every_day_that_it_can_be_counts() {
        assert_eq!(of("2015"), [""; 0]);
        assert_eq!(of("2014"), ["competence-not-judged"]);
        assert_eq!(
            of("2010"),
            ["competence-not-judged", "own-answer-from-16", "turns-16-before-due"]
        );
        assert_eq!(of("2010-10"), ["own-answer-from-16"]);
        assert_eq!(of("2010-12"), ["competence-not-judged"]);
        assert_eq!(of("2008"), ["own-answer-from-16", "adult-from-18", "turns-18-before-due"]);
    }

    #[test]
    fn who_was_born_on_the_29th_of_february_is_older_on_the_1st_of_march() {
        let born = Born::parse("2008-02-29").unwrap();
        let day = |text: &str| text.parse::<Date>().unwrap();
        assert!(!born.can_be(18, day("2026-02-28")));
        assert!(born.can_be(18, day("2026-03-01")));
        assert!(born.can_be(16, day("2024-02-29")));
    }

    #[test]
    fn only_children_are_looked_at_and_a_judgement_is_heard() {
        let persons = json!([
            { "kind": "parent-or-guardian", "birthDate": "1990" },
            { "kind": "unborn-child", "expectedDeliveryDate": "2027-01-01" },
            { "kind": "child", "birthDate": "2012-05-01",
              "competentToDecide": { "answer": "yes", "reason": "She was asked, and understood." } },
            { "kind": "child" },
            { "kind": "child", "birthDate": "2012-05-01" },
        ]);
        assert_eq!(codes(&persons), ["/rfi/persons/4/competentToDecide competence-not-judged"]);
        assert_eq!(codes(&json!([{ "birthDate": "2012" }])), [""; 0], "no dispatch");
        // However the hub's program spells them.
        let escaped = br#"{"rfi":{"dateOfRequest":"2026-11-23T09:00:00Z","responseRequiredBy":
            "2026-11-30T09:00:00Z","persons":[{"kind":"\u0063hild","birthDate":"201\u0030-11-23"}]}}"#;
        assert_eq!(warnings(escaped).len(), 1);
    }
}
