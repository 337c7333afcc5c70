//! That information was lost, leaked or nearly so, and later what became of that (R91 to R95): said by the party
//! that had it to the one whose it is. One page, whoever says it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::around::Around;
use super::form::{Answer, Choice, Form, Question, day_and_time, put, text};
use super::said::{Saying, line, put_text};
use crate::message::{Kind, Party};

/// An agency says it to the hub.
pub(super) static BY_AGENCY: Saying = incident(Party::Agency, "Tell the hub");

/// The hub says it to the agency whose information it is.
pub(super) static BY_HUB: Saying = incident(Party::Hub, "Tell the agency");

const fn incident(by: Party, button: &'static str) -> Saying {
    Saying {
        by,
        kind: Kind::Incident,
        title: "Report an incident or a near miss",
        paragraph: "Tell whoever is responsible for security or data protection in your own agency first. From when \
                    it was found there are 72 hours, nights and weekends too, to decide whether the Information \
                    Commissioner is told. Send it now with what is known, and again when more is.",
        button,
        questions,
        body,
    }
}

fn questions(around: &Around, body: &Value) -> Vec<Question> {
    let area = |pointer: &str| Answer::Text { value: text(body, pointer) };
    let instant = |pointer: &str| {
        let (day, time) = day_and_time(body, pointer);
        Answer::Instant { day, time }
    };
    let one = |pointer: &str, all: &[(&str, &str)]| {
        let given = match body.pointer(pointer) {
            Some(Value::Bool(true)) => "yes".to_owned(),
            Some(Value::Bool(false)) => "no".to_owned(),
            _ => text(body, pointer),
        };
        Answer::One(all.iter().map(|(code, label)| Choice::new(code, *label, &given)).collect())
    };
    let about = text(body, "/inReplyTo");
    let about = around.messages.iter().map(|(id, said)| Choice::new(id, said.clone(), &about));
    let told = body.pointer("/reportedTo").and_then(Value::as_array);
    let told: Vec<_> = told.into_iter().flatten().filter_map(Value::as_str).collect();
    let told = REPORTED_TO.map(|(code, label)| Choice {
        is_chosen: told.contains(&code),
        ..Choice::new(code, label, "")
    });
    let decided =
        "Only when it is decided whether the Commissioner and the people it is about are told.";
    let mut questions = vec![
        Question::new(
            "about",
            "/inReplyTo",
            "Which message is it about?",
            Answer::One(about.collect()),
        )
        .with_hint("What became of an incident is about its first report."),
        Question::new("status", "/status", "Where does it stand?", one("/status", &STATUSES)),
        Question::new(
            "near",
            "/nearMiss",
            "Did it nearly happen, and did not?",
            one("/nearMiss", &YES_NO),
        ),
        Question::new("serious", "/serious", "Is it serious?", one("/serious", &YES_NO))
            .with_hint("Then the MASH Steering Group is told too."),
        Question::new(
            "nature",
            "/nature",
            "What happened to the information?",
            one("/nature", &NATURES),
        ),
        Question::new("found", "/foundAt", "When was it found?", instant("/foundAt")),
        Question::new(
            "happened",
            "/happenedAt",
            "When did it happen? (optional)",
            instant("/happenedAt"),
        )
        .with_hint("If that is known."),
        Question::new(
            "what",
            "/whatHappened",
            "What happened, and what is being done?",
            area("/whatHappened"),
        )
        .with_hint("At least a full sentence. No more of the information itself than is needed."),
        Question::new(
            "told",
            "/reportedTo",
            "Who has been told besides?",
            Answer::Any(told.to_vec()),
        ),
        Question::new(
            "commissioner",
            "/assessment/commissioner",
            "Is the Information Commissioner told?",
            one("/assessment/commissioner", &TOLD),
        )
        .with_hint(decided),
        Question::new(
            "people",
            "/assessment/people",
            "Are the people it is about told?",
            one("/assessment/people", &TOLD),
        )
        .with_hint(decided),
        Question::new("why", "/assessment/why", "Why was it decided so?", area("/assessment/why"))
            .with_hint(decided),
        Question::new(
            "decided",
            "/assessment/at",
            "When was it decided?",
            instant("/assessment/at"),
        )
        .with_hint(decided),
    ];
    for (name, pointer, label) in [
        ("decider", "/assessment/by/name", "Who decided it?"),
        ("deciderTitle", "/assessment/by/jobTitle", "The job title of whoever decided"),
    ] {
        questions.push(line(body, name, pointer, label, "off").with_hint(decided));
    }
    questions.extend([
        Question::new("outcome", "/outcome", "What came of it?", area("/outcome"))
            .with_hint("Only if it is closed: also what is done so that it does not happen again."),
        line(body, "name", "/reportedBy/name", "Your name", "name"),
        line(body, "jobTitle", "/reportedBy/jobTitle", "Your job title", "organization-title"),
    ]);
    questions
}

fn body(_: &Around, form: &Form, _: Timestamp) -> Value {
    let mut body = json!({});
    for (pointer, field) in [
        ("/inReplyTo", "about"),
        ("/status", "status"),
        ("/nature", "nature"),
        ("/whatHappened", "what"),
        ("/outcome", "outcome"),
        ("/reportedBy/name", "name"),
        ("/reportedBy/jobTitle", "jobTitle"),
        // Each of these alone makes it an assessment, and the rest of it is asked for.
        ("/assessment/commissioner", "commissioner"),
        ("/assessment/people", "people"),
        ("/assessment/why", "why"),
        ("/assessment/by/name", "decider"),
        ("/assessment/by/jobTitle", "deciderTitle"),
    ] {
        put_text(&mut body, pointer, form.one(field));
    }
    for (pointer, field) in [("/nearMiss", "near"), ("/serious", "serious")] {
        put(&mut body, pointer, form.one(field).map(|answer| json!(answer == "yes")));
    }
    put(&mut body, "/foundAt", Some(json!(form.instant("found").unwrap_or_default())));
    for (pointer, field) in [("/happenedAt", "happened"), ("/assessment/at", "decided")] {
        if let Some(at) = form.instant(field) {
            put(&mut body, pointer, Some(json!(at)));
        }
    }
    put(&mut body, "/reportedTo", Some(json!(form.all("told").collect::<Vec<_>>())));
    body
}

const STATUSES: [(&str, &str); 3] = [
    ("open", "It is looked into"),
    ("contained", "Nothing more can come of it"),
    ("closed", "It is closed, with its outcome"),
];

const YES_NO: [(&str, &str); 2] = [("yes", "Yes"), ("no", "No")];

const NATURES: [(&str, &str); 7] = [
    ("sent-to-wrong-recipient", "Sent to the wrong recipient"),
    ("unauthorised-access", "Seen by somebody who may not"),
    ("lost", "Lost"),
    ("stolen", "Stolen"),
    ("altered", "Altered"),
    ("unavailable", "Unavailable"),
    ("other", "Something else"),
];

const REPORTED_TO: [(&str, &str); 5] = [
    ("security-or-data-protection", "Whoever is responsible for security or data protection"),
    ("information-governance", "Information governance"),
    ("mash-operational-lead", "The MASH Operational Lead"),
    ("mash-steering-group", "The MASH Steering Group"),
    ("police", "The police"),
];

const TOLD: [(&str, &str); 3] =
    [("not-required", "Not required"), ("told", "Told"), ("to-be-told", "To be told")];
