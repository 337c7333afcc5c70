//! What a lawful basis must say beyond its schema: powers that are on the list and in force, and what the
//! answers themselves decide (R50, R55 to R58, R65).

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{items, text, texts, violation};
use crate::schema::Violation;

/// A power in law that a lawful basis may name.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Power {
    /// What a lawful basis names it by.
    pub code: String,
    /// Its right name.
    pub title: String,
    /// What it is for.
    pub about: String,
    /// Its first day, where that is within living memory of an exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Date>,
    /// Its last day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Date>,
    /// The code of what took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Where it can be read.
    pub source: String,
    /// How the agreement names it, where that is wrong (R59).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement_says: Option<String>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Deserialize)]
struct List {
    edition: String,
    powers: Vec<Power>,
}

static LIST: LazyLock<List> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/powers.json")).expect("it is built in: tested")
});

/// Every power on the list, in its order.
pub fn powers() -> &'static [Power] {
    &LIST.powers
}

/// The list's edition, by which a lawful basis says from which it is.
pub fn edition() -> &'static str {
    &LIST.edition
}

/// What is wrong with the lawful basis of a body received `now`. Which basis fits is for people to say.
pub(crate) fn violations(body: &Value, now: Timestamp) -> Vec<Violation> {
    let today = TimeZone::UTC.to_datetime(now).date();
    let mut found: Vec<_> = texts(body, "/lawfulBasis/powers")
        .filter(|(_, code)| *code != OTHER)
        .filter_map(|(index, code)| {
            let (rule, message) = refusal(code, today)?;
            Some(violation(format!("/lawfulBasis/powers/{index}"), rule, &message))
        })
        .collect();
    found.extend(health(body));
    found
}

// Why a power cannot be named on this day, and what to do.
fn refusal(code: &str, today: Date) -> Option<(&'static str, String)> {
    let Some(power) = powers().iter().find(|power| power.code == code) else {
        let message = "Choose a power from the list (mash-gateway schema powers); one that is not on it is \
                       named as other, in words.";
        return Some(("power-not-listed", message.to_owned()));
    };
    if power.valid_from.is_some_and(|from| today < from) {
        return Some(("power-not-in-force", "This power is not in force yet.".to_owned()));
    }
    power.valid_to.filter(|to| today > *to).map(|_| {
        let message = match &power.successor {
            Some(successor) => format!("This power has ended. In its place is {successor}."),
            None => "This power has ended. Choose another from the list.".to_owned(),
        };
        ("power-not-in-force", message)
    })
}

// Health data is special category data, whatever is ticked (R65).
fn health(body: &Value) -> Option<Violation> {
    let is_special = body.pointer("/lawfulBasis/specialCategory")?.as_bool()?;
    let is_health = items(body, "/answers").any(|(_, answer)| {
        text(answer, "/status") == Some("provided")
            && text(answer, "/category").is_some_and(|category| HEALTH.contains(&category))
    });
    (is_health && !is_special).then(|| {
        violation(
            "/lawfulBasis/specialCategory",
            "health-is-special-category",
            "Answer true, and choose the Article 9 condition: information about health is shared.",
        )
    })
}

const OTHER: &str = "other";

/// The categories of the form that are about somebody's health.
const HEALTH: [&str; 5] = [
    "ae-walk-in-attendances",
    "last-seen-at-gp",
    "medication-treatment-compliance",
    "mental-health-substance-alcohol",
    "parental-health-conditions",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::super::tests::{brief, noon};
    use super::*;

    #[test]
    fn the_list_is_whole() {
        let codes: BTreeSet<_> = powers().iter().map(|power| power.code.as_str()).collect();
        assert_eq!(codes.len(), powers().len(), "each code once");
        assert!(!codes.contains(OTHER));
        for power in powers() {
            let is_code = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            assert!(power.code.len() <= 64 && power.code.bytes().all(is_code), "{}", power.code);
            assert!(power.source.starts_with("https://"), "{}", power.code);
            // Whoever is told of a successor can name it today.
            if let Some(successor) = &power.successor {
                assert!(power.valid_to.is_some(), "{}", power.code);
                assert_eq!(refusal(successor, "2026-11-26".parse().unwrap()), None, "{successor}");
            }
        }
    }

    #[test]
    fn a_power_is_on_the_list_and_in_force() {
        let found = |powers: &[&str]| {
            let body = json!({ "lawfulBasis": { "powers": powers } });
            let found = violations(&body, noon());
            brief(&found).iter().map(|(p, c)| format!("{p} {c}")).collect::<Vec<_>>()
        };
        assert!(found(&["children-act-1989-s47", "other", "working-together-2023"]).is_empty());
        assert_eq!(
            found(&["children-act-1898-s47", "working-together-2018"]),
            ["/lawfulBasis/powers/0 power-not-listed", "/lawfulBasis/powers/1 power-not-in-force"]
        );
        let (_, message) = refusal("working-together-2018", "2024-01-01".parse().unwrap()).unwrap();
        assert!(message.contains("working-together-2023"), "{message}");
        assert_eq!(refusal("working-together-2018", "2023-12-14".parse().unwrap()), None);
        assert!(refusal("working-together-2023", "2023-12-14".parse().unwrap()).is_some());
    }

    #[test]
    fn health_is_special_category_data_whatever_is_ticked() {
        let found = |category: &str, status: &str, special: bool| {
            let body = json!({
                "answers": [{ "category": category, "status": status }],
                "lawfulBasis": { "specialCategory": special },
            });
            violations(&body, noon()).len()
        };
        assert_eq!(found("last-seen-at-gp", "provided", false), 1);
        assert_eq!(found("last-seen-at-gp", "provided", true), 0);
        assert_eq!(found("last-seen-at-gp", "nothing-known", false), 0);
        assert_eq!(found("domestic-abuse", "provided", false), 0);
    }
}
