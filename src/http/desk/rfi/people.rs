//! Whom an RFI is about: each on a page of their own (R125).

use serde_json::{Value, json};

use super::Rfi;
use super::parts::{area, one, texts};
use crate::http::desk::form::{Answer, Choice, Form, Question, put, text};
use crate::http::desk::page::Link;
use crate::http::desk::requests;
use crate::http::desk::said::{line, put_text};

/// Those named so far: where each is changed.
pub(super) fn links(rfi: &Rfi) -> Vec<Link> {
    let path = format!("{}/people", rfi.path());
    let link = |person: requests::Person| {
        Link::new(
            format!("{path}/{}", person.id),
            format!("{} ({})", person.name, person.relationship),
        )
    };
    named(rfi).into_iter().map(link).collect()
}

fn named(rfi: &Rfi) -> Vec<requests::Person> {
    requests::people(&rfi.document()["rfi"])
}

/// Those named so far, to choose from; without `but`.
pub(super) fn choices(rfi: &Rfi, chosen: &[String], but: Option<&str>) -> Vec<Choice> {
    let others = named(rfi).into_iter().filter(|person| but != Some(&*person.id));
    let choice = |person: requests::Person| Choice {
        is_chosen: chosen.contains(&person.id),
        ..Choice::new(&person.id, format!("{} ({})", person.name, person.relationship), "")
    };
    others.map(choice).collect()
}

/// Where a person stands: by what the RFI refers to them, or `new`.
pub(super) fn place(rfi: &Rfi, item: &str) -> Option<usize> {
    match item {
        "new" => Some(rfi.people().len()),
        id => rfi.people().iter().position(|person| text(person, "/personId") == id),
    }
}

/// What is asked of the person at this place, as it is answered so far.
pub(super) fn questions(rfi: &Rfi, at: usize) -> Vec<Question> {
    let document = rfi.document();
    let there = |name: &str| format!("/rfi/persons/{at}/{name}");
    let own = text(document, &there("personId"));
    let lines = texts(document, &there("address/line"));
    let number = text(document, &there("nhsNumber"));
    let number = Answer::Line { value: number, autocomplete: "", kind: "text" };
    let unborn = "Only for an unborn child.";
    let mut questions = vec![
        one(document, "kind", &there("kind"), "Who is this?", &KINDS),
        line(
            document,
            "relationship",
            &there("relationship"),
            "What are they to the child?",
            "off",
        )
        .with_hint(
            "Such as mother, grandfather, former partner of the mother; of a child: subject child, \
                    or sibling.",
        ),
        line(document, "given", &there("givenName"), "Given name or names", "off"),
        line(document, "family", &there("familyName"), "Family name", "off"),
        line(document, "born", &there("birthDate"), "Date of birth", "off")
            .with_hint("As far as it is known, such as 2017-05-09, 2017-05 or 2017."),
        line(document, "expected", &there("expectedDeliveryDate"), "When the child is due", "off")
            .with_hint(format!("{unborn} Such as 2027-03-01.")),
    ];
    let mothers = choices(rfi, &[text(document, &there("motherPersonId"))], Some(&own));
    if !mothers.is_empty() {
        questions.push(
            Question::new(
                "mother",
                &there("motherPersonId"),
                "Who is the mother?",
                Answer::One(mothers),
            )
            .with_hint(unborn),
        );
    }
    questions.extend([
        Question::new("nhs", &there("nhsNumber"), "NHS number", number)
            .with_hint("Ten digits; spaces do not matter."),
        one(
            document,
            "nhs-status",
            &there("nhsNumberStatus"),
            "How far was the NHS number traced?",
            &TRACED,
        )
        .with_hint("Only if there is a number."),
        one(
            document,
            "nhs-none",
            &there("nhsNumberUnavailableReason"),
            "Why is there no NHS number? (optional)",
            &NO_NUMBER,
        )
        .with_hint("Only if there is none."),
        Question::new(
            "address",
            &there("address"),
            "Address, without the postcode (optional)",
            Answer::Text { value: lines.join("\n") },
        )
        .with_hint("At most five lines."),
        line(document, "postcode", &there("address/postcode"), "Postcode (optional)", "off"),
    ]);
    let chosen = texts(document, &there("doNotDiscloseAddressTo"));
    let others = choices(rfi, &chosen, Some(&own));
    if !others.is_empty() {
        questions.push(Question::new(
            "hidden",
            &there("doNotDiscloseAddressTo"),
            "Who must not learn this address? (optional)",
            Answer::Any(others),
        ));
    }
    questions.extend([
        line(
            document,
            "gp",
            &there("registeredGp"),
            "ODS code of the surgery they are registered with (optional)",
            "off",
        ),
        one(
            document,
            "competent",
            &there("competentToDecide/answer"),
            "Is this young person competent to decide about sharing? (optional)",
            &[("yes", "Yes"), ("no", "No")],
        )
        .with_hint(
            "Of somebody who is or may be between 12 and 16: if they are, their own answer counts.",
        ),
        area(
            document,
            "competent-why",
            &there("competentToDecide/reason"),
            "What does that judgement rest on?",
        )
        .with_hint("Only if it was judged."),
    ]);
    questions
}

/// Puts what was filled in where it belongs: over whoever stands at this place, or after the others.
pub(super) fn fill_in(rfi: &mut Rfi, at: usize, form: &Form) {
    let id = match rfi.people().get(at) {
        Some(person) => text(person, "/personId"),
        None => free_id(rfi.people()),
    };
    let person = filled_in(&id, form);
    rfi.set_person(at, person);
}

/// Takes somebody out, and out of whatever refers to them.
pub(super) fn remove(rfi: &mut Rfi, at: usize) {
    let Some(persons) = rfi.people_mut().filter(|persons| at < persons.len()) else { return };
    let gone = persons.remove(at).get("personId").cloned().unwrap_or_default();
    let drop_from = |list: &mut Value| {
        if let Some(ids) = list.as_array_mut() {
            ids.retain(|id| *id != gone);
        }
        // A list of nobody is none.
        list.as_array().is_some_and(Vec::is_empty)
    };
    for person in persons.iter_mut().filter_map(Value::as_object_mut) {
        if person.get("motherPersonId") == Some(&gone) {
            person.remove("motherPersonId");
        }
        if person.get_mut("doNotDiscloseAddressTo").is_some_and(drop_from) {
            person.remove("doNotDiscloseAddressTo");
        }
    }
    let rfi = rfi.writing.document.pointer_mut("/rfi").and_then(Value::as_object_mut);
    if let Some(rfi) = rfi
        && rfi.get_mut("doNotInform").is_some_and(drop_from)
    {
        rfi.remove("doNotInform");
    }
}

// p1, p2 and so on: none is given to two people, as long as whoever has it is there.
fn free_id(people: &[Value]) -> String {
    let number = |person: &Value| text(person, "/personId").trim_start_matches('p').parse().ok();
    let last: u16 = people.iter().filter_map(number).max().unwrap_or_default();
    format!("p{}", last + 1)
}

fn filled_in(id: &str, form: &Form) -> Value {
    let mut person = json!({ "personId": id });
    for (pointer, field) in [
        ("/kind", "kind"),
        ("/relationship", "relationship"),
        ("/givenName", "given"),
        ("/familyName", "family"),
        ("/birthDate", "born"),
        ("/expectedDeliveryDate", "expected"),
        ("/competentToDecide/answer", "competent"),
        ("/competentToDecide/reason", "competent-why"),
    ] {
        put_text(&mut person, pointer, form.one(field));
    }
    // What is chosen of several cannot be unchosen: so it goes with what it belongs to.
    if form.one("kind") == Some("unborn-child") {
        put_text(&mut person, "/motherPersonId", form.one("mother"));
    }
    match form.one("nhs") {
        Some(number) => {
            let digits: String = number.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
            put_text(&mut person, "/nhsNumber", Some(&digits));
            put_text(&mut person, "/nhsNumberStatus", form.one("nhs-status"));
        }
        None => put_text(&mut person, "/nhsNumberUnavailableReason", form.one("nhs-none")),
    }
    let lines = form.one("address").unwrap_or_default().lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    put(&mut person, "/address/line", (!lines.is_empty()).then(|| json!(lines)));
    put_text(&mut person, "/address/postcode", form.one("postcode").map(postcode).as_deref());
    if person["address"].as_object().is_some_and(serde_json::Map::is_empty) {
        put(&mut person, "/address", None);
    }
    put_text(&mut person, "/registeredGp", form.one("gp").map(str::to_uppercase).as_deref());
    let hidden: Vec<_> = form.all("hidden").collect();
    put(&mut person, "/doNotDiscloseAddressTo", (!hidden.is_empty()).then(|| json!(hidden)));
    person
}

// In capitals, with its one space.
fn postcode(written: &str) -> String {
    let letters: String = written.to_uppercase().chars().filter(|c| !c.is_whitespace()).collect();
    match letters.len().checked_sub(3).filter(|at| *at > 0 && letters.is_char_boundary(*at)) {
        Some(at) => format!("{} {}", &letters[..at], &letters[at..]),
        None => letters,
    }
}

const KINDS: [(&str, &str); 4] = [
    ("child", "A child"),
    ("unborn-child", "An unborn child"),
    ("parent-or-guardian", "A parent or guardian"),
    ("other-family-contact", "Another family contact"),
];

const TRACED: [(&str, &str); 5] = [
    ("number-present-and-verified", "Traced and verified"),
    ("number-present-but-not-traced", "Not traced"),
    ("trace-required", "To be traced"),
    ("trace-attempted", "Tried, without a result"),
    ("trace-needs-to-be-resolved", "Traced, with a result that is to be looked into"),
];

const NO_NUMBER: [(&str, &str); 3] = [
    ("nhs-number-not-known", "It is not known"),
    ("overseas-patient", "A patient from overseas"),
    ("devolved-nation", "A number of another nation of the UK"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_put_as_the_contract_has_it() {
        for (written, meant) in [
            ("zz1 1zz", "ZZ1 1ZZ"),
            ("zz11zz", "ZZ1 1ZZ"),
            (" Z Z 1 1 Z Z", "ZZ1 1ZZ"),
            ("zz", "ZZ"),
            ("", ""),
            ("é1zz", "É 1ZZ"),
        ] {
            assert_eq!(postcode(written), meant, "{written}");
        }
        let form = Form::parse(
            b"kind=child&mother=p2&nhs=999+000-0018&nhs-status=trace-required&nhs-none=overseas-patient\
              &address=1+A%0D%0A%0D%0A2+B&gp=x99999",
        );
        let person = filled_in("p1", &form);
        assert_eq!(
            person,
            json!({
                "personId": "p1", "kind": "child", "nhsNumber": "9990000018",
                "nhsNumberStatus": "trace-required", "address": { "line": ["1 A", "2 B"] },
                "registeredGp": "X99999",
            })
        );
    }

    #[test]
    fn nobody_gets_the_id_of_somebody_who_is_there() {
        assert_eq!(free_id(&[]), "p1");
        assert_eq!(free_id(&[json!({ "personId": "p1" }), json!({ "personId": "p4" })]), "p5");
    }
}
