//! What the hub says in an exchange that stands, each on one page: that it rang, what was decided, that no
//! answer is needed any more, and a question.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::form::{Answer, Choice, Question, day_and_time, put, text};
use super::said::{Saying, addressed, line, put_text};
use super::words;
use crate::message::{Kind, Party};

/// The hub rang the agency (R45).
pub(super) static TELEPHONE: Saying = Saying {
    by: Party::Hub,
    kind: Kind::TelephoneContact,
    title: "Record a telephone call",
    paragraph: "Only of a call in which you spoke to somebody. What they answered is written down on a page of \
                its own.",
    button: "Record the call",
    questions: |_, body| {
        let (day, time) = day_and_time(body, "/madeAt");
        vec![
            Question::new("made", "/madeAt", "When was the call?", Answer::Instant { day, time }),
            line(body, "spoke", "/spokeTo/name", "Whom did you speak to?", "off"),
            line(body, "spokeTitle", "/spokeTo/jobTitle", "Their job title", "off"),
            Question::new(
                "summary",
                "/summary",
                "What was said? (optional)",
                Answer::Text { value: text(body, "/summary") },
            ),
            line(body, "name", "/by/name", "Your name", "name"),
            line(body, "jobTitle", "/by/jobTitle", "Your job title", "organization-title"),
        ]
    },
    body: |exchange, form, _| {
        let mut body = addressed(exchange);
        put(&mut body, "/madeAt", Some(json!(form.instant("made").unwrap_or_default())));
        put_text(&mut body, "/spokeTo/name", form.one("spoke"));
        put_text(&mut body, "/spokeTo/jobTitle", form.one("spokeTitle"));
        put_text(&mut body, "/summary", form.one("summary"));
        put_text(&mut body, "/by/name", form.one("name"));
        put_text(&mut body, "/by/jobTitle", form.one("jobTitle"));
        body
    },
};

/// No answer is needed any more.
pub(super) static CANCEL: Saying = Saying {
    by: Party::Hub,
    kind: Kind::Cancellation,
    title: "Say that no answer is needed any more",
    paragraph: "Whoever works on an answer stops. One that is already on its way is taken all the same.",
    button: "Tell the agency",
    questions: |_, body| {
        let given = text(body, "/reason");
        let reasons = [
            ("no-longer-needed", "It is not needed any more"),
            ("sent-in-error", "It was sent in error"),
            ("wrong-recipient", "It went to the wrong agency"),
            ("wrong-child", "It is about the wrong child"),
            ("duplicate", "It was sent twice"),
            ("consent-withdrawn", "Consent was withdrawn"),
        ];
        let reasons = reasons.map(|(code, label)| Choice::new(code, label, &given)).to_vec();
        vec![
            Question::new("reason", "/reason", "Why?", Answer::One(reasons)),
            Question::new(
                "why",
                "/why",
                "Why, in this case?",
                Answer::Text { value: text(body, "/why") },
            ),
            line(body, "name", "/cancelledBy/name", "Who decided?", "name"),
            line(
                body,
                "jobTitle",
                "/cancelledBy/jobTitle",
                "Their job title",
                "organization-title",
            ),
        ]
    },
    body: |exchange, form, _| {
        let mut body = addressed(exchange);
        put_text(&mut body, "/reason", form.one("reason"));
        put_text(&mut body, "/why", form.one("why"));
        put_text(&mut body, "/cancelledBy/name", form.one("name"));
        put_text(&mut body, "/cancelledBy/jobTitle", form.one("jobTitle"));
        body
    },
};

/// Somebody has withdrawn their consent.
pub(super) static WITHDRAWAL: Saying = Saying {
    by: Party::Hub,
    kind: Kind::ConsentWithdrawal,
    title: "Say that consent was withdrawn",
    paragraph: "From now on no answer of this agency rests on consent. It goes to this agency alone: say it to \
                each that works on the enquiry.",
    button: "Tell the agency",
    questions: |_, body| {
        let choices = |pointer: &str, all: &[(&str, &str)]| {
            let given = text(body, pointer);
            Answer::One(all.iter().map(|(code, label)| Choice::new(code, *label, &given)).collect())
        };
        let whose = [
            ("child", "The child's"),
            ("parent-or-guardian", "A parent's or guardian's"),
            ("other-family-contact", "Another family contact's"),
        ];
        let follows = [
            ("stop-work", "It stops"),
            ("wait-for-decision", "It waits until the Team Manager has decided whether to go on"),
            ("answer-on-another-basis", "It answers on a basis that is not consent"),
        ];
        let (day, time) = day_and_time(body, "/withdrawnAt");
        vec![
            Question::new("whose", "/whose", "Whose consent?", choices("/whose", &whose)),
            Question::new(
                "withdrawn",
                "/withdrawnAt",
                "When was it withdrawn?",
                Answer::Instant { day, time },
            ),
            Question::new(
                "follows",
                "/whatFollows",
                "What does the agency do now?",
                choices("/whatFollows", &follows),
            ),
            Question::new(
                "note",
                "/note",
                "What else should it know? (optional)",
                Answer::Text { value: text(body, "/note") },
            ),
            line(body, "name", "/recordedBy/name", "Who at the hub was told?", "name"),
            line(body, "jobTitle", "/recordedBy/jobTitle", "Their job title", "organization-title"),
        ]
    },
    body: |exchange, form, _| {
        let mut body = addressed(exchange);
        put(&mut body, "/withdrawnAt", Some(json!(form.instant("withdrawn").unwrap_or_default())));
        for (pointer, field) in [
            ("/whose", "whose"),
            ("/whatFollows", "follows"),
            ("/note", "note"),
            ("/recordedBy/name", "name"),
            ("/recordedBy/jobTitle", "jobTitle"),
        ] {
            put_text(&mut body, pointer, form.one(field));
        }
        body
    },
};

/// The hub asks the agency about its answer.
pub(super) static ASK: Saying = Saying {
    by: Party::Hub,
    kind: Kind::Clarification,
    title: "Ask the agency a question",
    paragraph: "It goes to this agency alone.",
    button: "Send the question",
    questions: |exchange, body| {
        let given = text(body, "/category");
        let about = exchange
            .categories
            .iter()
            .map(|code| Choice::new(code, words::category(code), &given))
            .collect();
        let question = Answer::Text { value: text(body, "/question") };
        vec![
            Question::new("question", "/question", "What is not clear?", question),
            Question::new(
                "about",
                "/category",
                "Which part is it about? (optional)",
                Answer::One(about),
            ),
            line(body, "name", "/from/name", "Your name", "name"),
            line(body, "jobTitle", "/from/jobTitle", "Your job title", "organization-title"),
        ]
    },
    body: |exchange, form, _| {
        let mut body = addressed(exchange);
        put(&mut body, "/question", Some(json!(form.one("question").unwrap_or_default())));
        put_text(&mut body, "/category", form.one("about"));
        put_text(&mut body, "/from/name", form.one("name"));
        put_text(&mut body, "/from/jobTitle", form.one("jobTitle"));
        body
    },
};

/// What was decided (R48, R113).
pub(super) static OUTCOME: Saying = Saying {
    by: Party::Hub,
    kind: Kind::Outcome,
    title: "Tell the outcome",
    paragraph: "Each agency that answered is told within three working days of the decision, so that it can \
                bring its own record up to date. It goes to this agency alone.",
    button: "Send the outcome",
    questions: |_, body| {
        let choices = |given: &str, all: &[(&str, &str)]| {
            Answer::One(all.iter().map(|(code, label)| Choice::new(code, *label, given)).collect())
        };
        let area = |pointer: &str| Answer::Text { value: text(body, pointer) };
        let (day, time) = day_and_time(body, "/decidedAt");
        let early = "Only for early help.";
        let mut questions = vec![
            Question::new(
                "outcome",
                "/outcome",
                "What was decided?",
                choices(
                    &text(body, "/outcome"),
                    &[
                        ("social-care-assessment", "Children's social care assesses"),
                        ("early-help", "Early help"),
                        (
                            "no-further-action-threshold-not-met",
                            "No further action: threshold not met",
                        ),
                        ("other", "Something else"),
                    ],
                ),
            ),
            Question::new("other", "/outcomeText", "What else was decided?", area("/outcomeText"))
                .with_hint("Only if it is something else."),
            Question::new(
                "decided",
                "/decidedAt",
                "When was it decided?",
                Answer::Instant { day, time },
            ),
            line(body, "name", "/decidedBy/name", "Who decided?", "off"),
            line(body, "jobTitle", "/decidedBy/jobTitle", "Their job title", "off"),
            line(
                body,
                "representative",
                "/representative/name",
                "Whose is it to feed it back?",
                "name",
            ),
            line(
                body,
                "representativeTitle",
                "/representative/jobTitle",
                "Their job title at the hub",
                "organization-title",
            ),
            Question::new(
                "record",
                "/textForRecord",
                "A paragraph for the agency's own record",
                area("/textForRecord"),
            )
            .with_hint("They copy it word for word."),
            line(body, "next", "/nextAgency", "Who takes it further?", "off").with_hint(early),
        ];
        questions.extend(letter_questions(body, early));
        questions
    },
    body: |exchange, form, _: Timestamp| {
        let mut body = addressed(exchange);
        put_text(&mut body, "/outcome", form.one("outcome"));
        put(&mut body, "/decidedAt", Some(json!(form.instant("decided").unwrap_or_default())));
        for (pointer, field) in [
            ("/decidedBy/name", "name"),
            ("/decidedBy/jobTitle", "jobTitle"),
            ("/representative/name", "representative"),
            ("/representative/jobTitle", "representativeTitle"),
            ("/textForRecord", "record"),
        ] {
            put_text(&mut body, pointer, form.one(field));
        }
        match form.one("outcome") {
            Some("other") => put_text(&mut body, "/outcomeText", form.one("other")),
            Some("early-help") => early_help(&mut body, form),
            _ => {}
        }
        body
    },
};

fn early_help(body: &mut Value, form: &super::form::Form) {
    put_text(body, "/nextAgency", form.one("next"));
    letter(body, form);
}

/// What a family knows of early help: whether it was told, and the letter to it.
pub(super) fn letter(body: &mut Value, form: &super::form::Form) {
    put(body, "/familyTold/answer", Some(json!(form.one("told").unwrap_or_default())));
    if form.one("told") == Some("not-appropriate") {
        put_text(body, "/familyTold/why", form.one("told-why"));
    }
    put(body, "/letterToFamily/state", Some(json!(form.one("letter").unwrap_or_default())));
    match form.one("letter") {
        Some("sent") => put_text(body, "/letterToFamily/sentOn", form.one("letter-on")),
        Some("not-sent") => put_text(body, "/letterToFamily/why", form.one("letter-why")),
        _ => {}
    }
}

/// The questions to that. A hint says when they are to be answered, if not always.
pub(super) fn letter_questions(body: &Value, when: &str) -> [Question; 5] {
    let choices = |given: &str, all: &[(&str, &str)]| {
        Answer::One(all.iter().map(|(code, label)| Choice::new(code, *label, given)).collect())
    };
    let area = |pointer: &str| Answer::Text { value: text(body, pointer) };
    [
        Question::new(
            "told",
            "/familyTold/answer",
            "Does the family know that their information may go there?",
            choices(
                &text(body, "/familyTold/answer"),
                &[("yes", "Yes"), ("not-appropriate", "Telling them was not appropriate")],
            ),
        )
        .with_hint(when),
        Question::new("told-why", "/familyTold/why", "Why was it not?", area("/familyTold/why"))
            .with_hint("Only if they were not told."),
        Question::new(
            "letter",
            "/letterToFamily/state",
            "The letter to the family",
            choices(
                &text(body, "/letterToFamily/state"),
                &[("sent", "Was sent"), ("to-follow", "Will follow"), ("not-sent", "Is not sent")],
            ),
        )
        .with_hint(when),
        line(body, "letter-on", "/letterToFamily/sentOn", "On which day was it sent?", "off")
            .with_hint("Such as 2026-09-30. Only if it was sent."),
        Question::new(
            "letter-why",
            "/letterToFamily/why",
            "Why is none sent?",
            area("/letterToFamily/why"),
        )
        .with_hint("Only if none is."),
    ]
}
