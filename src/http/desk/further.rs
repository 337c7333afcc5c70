//! What the hub tells another agency than the one it asked, each on one page: an answer, passed on to whoever
//! assesses the child, and the concerns, told to Early Help.

use serde_json::{Value, json};

use super::around::Around;
use super::form::{Answer, Choice, Form, Question, text};
use super::requests::people;
use super::said::{Saying, addressed, line, put_text};
use super::told::{letter, letter_questions};
use crate::message::{Kind, Party};

/// An answer is passed on to the social work team that assesses the child (R37).
pub(super) static FORWARD: Saying = Saying {
    by: Party::Hub,
    kind: Kind::Forwarding,
    title: "Pass an answer on to the social work team",
    paragraph: "It goes word for word, with who may read it and with what the family may be told. Files that \
                came with it do not go. Whose answer it is sees that it went further.",
    button: "Pass it on",
    questions: |around, body| {
        vec![
            recipient(around, body, "Which team assesses the child?"),
            Question::new(
                "message",
                "/message",
                "Which answer?",
                chosen(&around.messages, &text(body, "/message")),
            ),
            Question::new(
                "why",
                "/why",
                "Why does whoever assesses the child need it?",
                Answer::Text { value: text(body, "/why") },
            ),
            line(body, "name", "/forwardedBy/name", "Your name", "name"),
            line(body, "jobTitle", "/forwardedBy/jobTitle", "Your job title", "organization-title"),
        ]
    },
    body: |around, form, _| {
        let mut body = addressed(around);
        for (pointer, field) in [
            ("/to", "to"),
            ("/message", "message"),
            ("/why", "why"),
            ("/forwardedBy/name", "name"),
            ("/forwardedBy/jobTitle", "jobTitle"),
        ] {
            put_text(&mut body, pointer, form.one(field));
        }
        body
    },
};

/// The Early Help service is told of the concerns (R117).
pub(super) static STEP_DOWN: Saying = Saying {
    by: Party::Hub,
    kind: Kind::StepDown,
    title: "Step down to Early Help",
    paragraph: "The Early Help service learns of the concerns and of the people chosen here, as the request \
                names them, so that it can assess and help. No file goes with it from this page: a copy of the \
                letter to the family is sent in another way.",
    button: "Tell Early Help",
    questions: |around, body| {
        let mut questions = vec![
            recipient(around, body, "Which service?"),
            Question::new(
                "concerns",
                "/concerns",
                "The concerns noted in the initial referral",
                Answer::Text { value: text(body, "/concerns") },
            ),
            Question::new(
                "persons",
                "/persons",
                "Whom is it told of?",
                listed(around, body, "/persons"),
            )
            .with_hint("The child or children, and the family."),
            Question::new(
                "silent",
                "/doNotInform",
                "Who must not learn of this? (optional)",
                listed(around, body, "/doNotInform"),
            ),
        ];
        questions.extend(letter_questions(body, ""));
        questions.extend([
            line(body, "name", "/notifiedBy/name", "Your name", "name"),
            line(body, "jobTitle", "/notifiedBy/jobTitle", "Your job title", "organization-title"),
        ]);
        questions
    },
    body: |around, form, _| {
        let mut body = addressed(around);
        put_text(&mut body, "/to", form.one("to"));
        put_text(&mut body, "/concerns", form.one("concerns"));
        put_text(&mut body, "/notifiedBy/name", form.one("name"));
        put_text(&mut body, "/notifiedBy/jobTitle", form.one("jobTitle"));
        body["persons"] = chosen_persons(around, form);
        let silent: Vec<_> = form.all("silent").collect();
        if !silent.is_empty() {
            body["doNotInform"] = json!(silent);
        }
        letter(&mut body, form);
        if form.one("letter") == Some("sent") {
            body["letterToFamily"]["copyAttached"] = json!(false);
        }
        body
    },
};

fn recipient(around: &Around, body: &Value, label: &str) -> Question {
    // Where there is one alone, nobody has to choose it.
    let given = match (text(body, "/to"), &*around.recipients) {
        (given, [(only, _)]) if given.is_empty() => only.clone(),
        (given, _) => given,
    };
    Question::new("to", "/to", label, chosen(&around.recipients, &given))
}

fn chosen(all: &[(String, String)], given: &str) -> Answer {
    Answer::One(all.iter().map(|(id, label)| Choice::new(id, label.clone(), given)).collect())
}

/// The people of the request, with those chosen whom the document has there: by what it refers to them, or whole.
pub(super) fn listed(around: &Around, body: &Value, pointer: &str) -> Answer {
    let there = body.pointer(pointer).and_then(Value::as_array);
    let there: Vec<_> = there
        .into_iter()
        .flatten()
        .filter_map(|each| each.as_str().or_else(|| each.get("personId")?.as_str()))
        .collect();
    let people = people(&json!({ "persons": around.persons }));
    let choices = people.into_iter().map(|person| Choice {
        is_chosen: there.contains(&&*person.id),
        ..Choice::new(&person.id, format!("{} ({})", person.name, person.relationship), "")
    });
    Answer::Any(choices.collect())
}

fn chosen_persons(around: &Around, form: &Form) -> Value {
    let is_chosen = |person: &&Value| form.all("persons").any(|id| person["personId"] == json!(id));
    json!(around.persons.iter().filter(is_chosen).collect::<Vec<_>>())
}
