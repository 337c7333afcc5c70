//! Somebody asks the hub for what is held about them: the hub asks each agency whether its part may be released,
//! and the agency says so (R97, R98).

use serde_json::{Value, json};

use super::form::{Answer, Choice, Form, Question, day_and_time, put, text};
use super::further::listed;
use super::said::{Saying, addressed, line, put_text};
use super::words;
use crate::message::{Exchange, Kind, Party, rfc3339};

/// The hub asks.
pub(super) static CONSULT: Saying = Saying {
    by: Party::Hub,
    kind: Kind::SubjectAccessConsultation,
    title: "Ask whether the agency's part may be released",
    paragraph: "Somebody has asked for what is held about them. Nothing that an agency sent is released before it \
                has said what may be. A month runs from when the hub was asked.",
    button: "Ask the agency",
    questions: |around, body| {
        let instant = |pointer: &str| {
            let (day, time) = day_and_time(body, pointer);
            Answer::Instant { day, time }
        };
        vec![
            Question::new(
                "received",
                "/receivedAt",
                "When was the hub asked?",
                instant("/receivedAt"),
            ),
            Question::new("by", "/replyBy", "By when do you need their view?", instant("/replyBy")),
            Question::new(
                "about",
                "/aboutPersonIds",
                "Who asks, or who is asked for? (optional)",
                listed(around, body, "/aboutPersonIds"),
            ),
            Question::new(
                "parts",
                "/answers",
                "What would be released? (optional)",
                categories(around, body),
            )
            .with_hint("If you choose none: all that the agency sent."),
            Question::new(
                "question",
                "/question",
                "What else should the agency know? (optional)",
                Answer::Text { value: text(body, "/question") },
            ),
            line(body, "name", "/consultedBy/name", "Your name", "name"),
            line(body, "jobTitle", "/consultedBy/jobTitle", "Your job title", "organization-title"),
        ]
    },
    body: |around, form, _| {
        let mut body = addressed(around);
        for (pointer, field) in [("/receivedAt", "received"), ("/replyBy", "by")] {
            put(&mut body, pointer, Some(json!(form.instant(field).unwrap_or_default())));
        }
        let about: Vec<_> = form.all("about").collect();
        put(&mut body, "/aboutPersonIds", (!about.is_empty()).then(|| json!(about)));
        put_categories(&mut body, form);
        put_text(&mut body, "/question", form.one("question"));
        put_text(&mut body, "/consultedBy/name", form.one("name"));
        put_text(&mut body, "/consultedBy/jobTitle", form.one("jobTitle"));
        body
    },
};

/// The agency says what may be released.
pub(super) static VIEW: Saying = Saying {
    by: Party::Agency,
    kind: Kind::SubjectAccessView,
    title: "Say whether your part may be released",
    paragraph: "Somebody has asked the hub for what is held about them. The hub releases nothing of what you sent \
                before you have said what may be. What your agency itself holds stays yours to handle: whoever \
                wants that asks you.",
    button: "Tell the hub",
    questions: |around, body| {
        let given = text(body, "/view");
        let views = [
            ("may-release", "All of it may be released"),
            ("release-in-part", "A part of it may be released"),
            ("object", "None of it should be released"),
        ];
        let views = views.map(|(code, label)| Choice::new(code, label, &given)).to_vec();
        let exempt = body.pointer("/exemptions").and_then(Value::as_array);
        let exempt: Vec<_> = exempt.into_iter().flatten().filter_map(Value::as_str).collect();
        let exemptions = EXEMPTIONS.map(|(code, label)| Choice {
            is_chosen: exempt.contains(&code),
            ..Choice::new(code, label, "")
        });
        let not_all = "Only if not all of it may be released.";
        vec![
            Question::new("view", "/view", "May it be released?", Answer::One(views)),
            Question::new(
                "parts",
                "/answers",
                "What must not be released?",
                categories(around, body),
            )
            .with_hint("Only if a part of it may be."),
            Question::new(
                "exemptions",
                "/exemptions",
                "Which exemption of the Data Protection Act 2018 applies?",
                Answer::Any(exemptions.to_vec()),
            )
            .with_hint(not_all),
            Question::new(
                "explanation",
                "/explanation",
                "Why?",
                Answer::Text { value: text(body, "/explanation") },
            )
            .with_hint(not_all),
            line(body, "name", "/decidedBy/name", "Who decided?", "name"),
            line(body, "jobTitle", "/decidedBy/jobTitle", "Their job title", "organization-title"),
        ]
    },
    body: |around, form, at| {
        let mut body = addressed(around);
        put_text(&mut body, "/view", form.one("view"));
        // What was chosen for a view that is not taken any more goes.
        if form.one("view") != Some("may-release") {
            let exemptions: Vec<_> = form.all("exemptions").collect();
            let exemptions = (!exemptions.is_empty()).then(|| json!(exemptions));
            put(&mut body, "/exemptions", exemptions);
        }
        if form.one("view") == Some("release-in-part") {
            put_categories(&mut body, form);
        }
        put_text(&mut body, "/explanation", form.one("explanation"));
        // When it is said is when it was decided, as far as a page can tell.
        put(&mut body, "/decidedAt", Some(json!(rfc3339(at))));
        put_text(&mut body, "/decidedBy/name", form.one("name"));
        put_text(&mut body, "/decidedBy/jobTitle", form.one("jobTitle"));
        body
    },
};

// What was asked, with what the document names of it.
fn categories(exchange: &Exchange, body: &Value) -> Answer {
    let named = body.pointer("/answers").and_then(Value::as_array);
    let named: Vec<_> =
        named.into_iter().flatten().filter_map(|each| each.get("category")?.as_str()).collect();
    let choices = exchange.categories.iter().map(|code| Choice {
        is_chosen: named.contains(&code.as_str()),
        ..Choice::new(code, words::category(code), "")
    });
    Answer::Any(choices.collect())
}

fn put_categories(body: &mut Value, form: &Form) {
    let named: Vec<_> = form.all("parts").map(|code| json!({ "category": code })).collect();
    put(body, "/answers", (!named.is_empty()).then(|| json!(named)));
}

const EXEMPTIONS: [(&str, &str); 14] = [
    ("protection-of-others", "Protection of the rights of others"),
    ("child-abuse-data", "Child abuse data"),
    ("health-serious-harm", "Health data: serious harm"),
    ("social-work-serious-harm", "Social work data: serious harm"),
    ("education-serious-harm", "Education data: serious harm"),
    ("crime-and-taxation", "Crime and taxation"),
    ("legal-proceedings", "Legal proceedings"),
    ("legal-professional-privilege", "Legal professional privilege"),
    ("court-records", "Records of courts"),
    ("adoption-records", "Adoption records"),
    ("regulatory-function", "A regulator's function"),
    ("confidential-references", "Confidential references"),
    ("self-incrimination", "Self-incrimination"),
    ("other", "Another"),
];
