//! A message as a person reads it: what has to be known before anything else comes first, and what may be
//! passed on stands above and below what it is about.

use std::fmt::Write as _;

use serde_json::Value;

use super::exchange::text;
use crate::message::Role;

/// A collected message, as plain text.
pub(super) fn reading(document: &Value) -> String {
    let data = &document["data"];
    let mut page = String::new();
    let kind = text(document, "type").trim_start_matches("org.mash.").trim_end_matches(".v1");
    // Only when it is, so that it means something (R119).
    if kind == "rfi" && !matches!(text(document, "priority"), "" | "routine") {
        line(&mut page, "*** URGENT REQUEST ***\n");
    }
    line(&mut page, &format!("{}  {}", words(kind), shown(text(document, "exchangereference"))));
    let from = text(document, "source").rsplit('/').next().unwrap_or_default();
    line(&mut page, &format!("From {}, {}", shown(from), shown(text(document, "time"))));
    if kind == "rfi" {
        let by = text(data, "responseRequiredBy");
        line(&mut page, &format!("The answer is required by {}", shown(by)));
        let (name, telephone) =
            (text(&data["requester"], "name"), text(&data["requester"], "telephone"));
        line(&mut page, &format!("For more, ring {} on {}", shown(name), shown(telephone)));
    }
    let warnings = warnings(document);
    for warning in &warnings {
        line(&mut page, &format!("\n!!! {warning}"));
    }
    match data {
        Value::Null => line(&mut page, "\nOnly your agency's own age key opens what it says."),
        data => {
            page.push('\n');
            outline(&mut page, data, 0);
        }
    }
    // Below as above: whoever comes to the end has seen it.
    for warning in &warnings {
        line(&mut page, &format!("\n!!! {warning}"));
    }
    page.trim_end().to_owned()
}

// What has to be known of it before it is read or passed on.
fn warnings(document: &Value) -> Vec<String> {
    let data = &document["data"];
    let mut found = Vec::new();
    match text(&data["referral"], "parentsAware") {
        "no" => found.push(
            "DO NOT MENTION THIS REQUEST TO THE FAMILY: the parents do not know of the referral."
                .to_owned(),
        ),
        "not-known" => found.push(
            "Do not mention this request to the family: it is not known whether the parents know of \
             the referral."
                .to_owned(),
        ),
        _ => {}
    }
    let persons = || data["persons"].as_array().into_iter().flatten();
    for id in data["doNotInform"].as_array().into_iter().flatten() {
        let person = persons().find(|person| person["personId"] == *id);
        let name = person.map(|it| format!("{} {}", text(it, "givenName"), text(it, "familyName")));
        let name = name.or_else(|| id.as_str().map(str::to_owned)).unwrap_or_default();
        found.push(format!("NOT TO BE TOLD OF IT: {}", shown(name.trim())));
    }
    for label in text(document, "handling").split_whitespace() {
        found.push(match label {
            "family-may-be-told" => "The family may be told of this.".to_owned(),
            "family-may-be-told-part" => {
                "The family may be told part of this, as it says, and no more.".to_owned()
            }
            "not-without-asking-us" | "decision-to-follow" => {
                "TELL NOBODY IN THE FAMILY OF THIS without asking whoever sent it.".to_owned()
            }
            "criminal-offence-data" => {
                "CRIMINAL OFFENCE DATA (UK GDPR, Article 10): not to be kept with the rest, nor passed \
                 on with it."
                    .to_owned()
            }
            other => format!("Handling: {}", shown(other)),
        });
    }
    let roles: Vec<_> = text(document, "visibleto")
        .split_whitespace()
        .map(|role| Role::parse(role).map_or_else(|| shown(role), |known| known.title().to_owned()))
        .collect();
    if !roles.is_empty() {
        found.push(format!("ONLY FOR: {}", roles.join(", ")));
    }
    found
}

// The body, one line for each thing it says.
fn outline(page: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let members = value.as_object().into_iter().flatten();
    for (name, member) in members {
        // The form's own heading stands above its categories (R128).
        if matches!(name.as_str(), "answers" | "informationRequired") {
            line(page, &format!("\n{indent}{HEALTH_HEADING}"));
        }
        match member {
            Value::Object(_) => {
                line(page, &format!("{indent}{}", words(name)));
                outline(page, member, depth + 1);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (item, number) in items.iter().zip(1..) {
                    line(page, &format!("{indent}{} {number}", words(name)));
                    outline(page, item, depth + 1);
                }
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(plain).collect();
                line(page, &format!("{indent}{}: {}", words(name), items.join("; ")));
            }
            other => line(page, &format!("{indent}{}: {}", words(name), plain(other))),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => CATEGORIES
            .iter()
            .find(|(code, _)| code == text)
            .map_or_else(|| shown(text), |(_, heading)| (*heading).to_owned()),
        other => other.to_string(),
    }
}

// A member's name, or a kind, in words.
fn words(name: &str) -> String {
    let mut words = String::new();
    for (place, letter) in name.chars().enumerate() {
        match letter {
            '-' => words.push(' '),
            letter if letter.is_ascii_uppercase() => {
                let _ = write!(words, " {}", letter.to_ascii_lowercase());
            }
            letter if place == 0 => words.extend(letter.to_uppercase()),
            letter => words.push(letter),
        }
    }
    words
}

// What somebody wrote, so that nothing in it is taken for a command by the terminal or turns the line
// around: marks of direction and control characters are named and not obeyed.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        let is_mark = matches!(
            letter,
            '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        );
        if is_mark || (letter.is_control() && letter != '\n') {
            let _ = write!(shown, "<U+{:04X}>", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    shown
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

/// The agreement's, Appendix 5, section 6.
const HEALTH_HEADING: &str = "THE CHILD'S OR CHILDREN'S HEALTH, AND CONCERNS THAT AFFECT PARENTING";

/// The form's headings (Appendix 5, 6.1 to 6.11), by code.
const CATEGORIES: [(&str, &str); 11] = [
    (
        "ae-walk-in-attendances",
        "significant A&E or walk-in attendances, of the child or the parents",
    ),
    ("agency-interventions", "interventions from other agencies"),
    ("criminal-activity", "known criminal activity"),
    ("cse-cce", "child sexual or criminal exploitation"),
    ("domestic-abuse", "domestic abuse"),
    ("historical-social-care", "historical social care concerns, of parents or child"),
    ("last-seen-at-gp", "when child and parents were last seen at the surgery"),
    ("medication-treatment-compliance", "compliance with medication and treatment"),
    (
        "mental-health-substance-alcohol",
        "mental health, substance or alcohol misuse, of child or adult",
    ),
    ("neglect", "neglect: missed health appointments, poor home conditions"),
    ("parental-health-conditions", "ongoing health conditions of parents that affect parenting"),
];
