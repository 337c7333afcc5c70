//! The tasks that an RFI is made of: what each asks, and where in what is sent it goes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Rfi, people};
use crate::http::desk::basis;
use crate::http::desk::form::{Answer, Choice, Form, Question, day_and_time, put, text};
use crate::http::desk::said::{line, put_text};
use crate::http::desk::words;

/// One task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// Who asks (R122 to R124).
    Requester,
    /// Whom it is about (R125).
    People,
    /// Who of them must not learn of it (R22).
    NotTold,
    /// That it is asked, by whose decision and what for.
    Decision,
    /// How the referral came, and who knows of it (R140, R141).
    Referral,
    /// The concerns (R126, R127).
    Reason,
    /// What is asked (R129 to R139).
    Categories,
    /// How urgent it is, and by when (R119, R121).
    Due,
    /// Whether it was agreed to (R142 to R144).
    Consent(Whose),
    /// The Team Manager's decision to go on without (R20).
    Override,
    /// On what basis it is asked (R51).
    LawfulBasis,
    /// Which agencies are asked, and why each.
    Recipients,
}

/// Whose consent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    Child,
    Parents,
    Contacts,
}

impl Whose {
    /// Where the answer stands.
    pub(super) fn pointer(self) -> &'static str {
        match self {
            Self::Child => "/rfi/consent/child",
            Self::Parents => "/rfi/consent/parentOrGuardian",
            Self::Contacts => "/rfi/consent/otherFamilyContacts",
        }
    }
}

/// Every task, in the order in which they are listed.
const ALL: [Part; 14] = [
    Part::Requester,
    Part::People,
    Part::NotTold,
    Part::Decision,
    Part::Referral,
    Part::Reason,
    Part::Categories,
    Part::Due,
    Part::Consent(Whose::Child),
    Part::Consent(Whose::Parents),
    Part::Consent(Whose::Contacts),
    Part::Override,
    Part::LawfulBasis,
    Part::Recipients,
];

impl Part {
    /// The tasks that there are as it is written now: where there is nobody to ask, nothing is asked; the Team
    /// Manager decides only where there is something to decide.
    pub(super) fn of(rfi: &Rfi, needs_override: bool) -> Vec<Self> {
        let is_there = |part: &Self| match part {
            Self::Consent(Whose::Contacts) => rfi.has_person_of_kind("other-family-contact"),
            Self::NotTold => !rfi.people().is_empty(),
            Self::Override => needs_override || rfi.writing.decision.is_some(),
            _ => true,
        };
        ALL.into_iter().filter(is_there).collect()
    }

    /// The task of this name.
    pub(super) fn find(name: &str) -> Option<Self> {
        ALL.into_iter().find(|part| part.name() == name)
    }

    /// Its name, in addresses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requester => "requester",
            Self::People => "people",
            Self::NotTold => "not-told",
            Self::Decision => "decision",
            Self::Referral => "referral",
            Self::Reason => "reason",
            Self::Categories => "categories",
            Self::Due => "due",
            Self::Consent(Whose::Child) => "consent-child",
            Self::Consent(Whose::Parents) => "consent-parents",
            Self::Consent(Whose::Contacts) => "consent-contacts",
            Self::Override => "override",
            Self::LawfulBasis => "lawful-basis",
            Self::Recipients => "recipients",
        }
    }

    /// Under which heading it is listed.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Requester | Self::People | Self::NotTold => "Who",
            Self::Decision | Self::Referral | Self::Reason => "Why",
            Self::Categories | Self::Due => "What, and by when",
            Self::Consent(_) | Self::Override => "Consent",
            Self::LawfulBasis => "Lawful basis",
            Self::Recipients => "Recipients",
        }
    }

    /// Its name, for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Requester => "Who asks",
            Self::People => "Whom it is about",
            Self::NotTold => "Who must not learn of it",
            Self::Decision => "The decision to ask",
            Self::Referral => "How the referral came",
            Self::Reason => "What the concerns are",
            Self::Categories => "What is asked",
            Self::Due => "By when",
            Self::Consent(Whose::Child) => "Consent of the child",
            Self::Consent(Whose::Parents) => "Consent of the parents or guardians",
            Self::Consent(Whose::Contacts) => "Consent of the other family contacts",
            Self::Override => "The Team Manager's decision to go on without consent",
            Self::LawfulBasis => "On what basis you ask",
            Self::Recipients => "Which agencies are asked",
        }
    }

    /// What to know before answering.
    pub(super) fn paragraph(self) -> &'static str {
        match self {
            Self::Requester => {
                "Agencies ring this person with questions, and the outcome is theirs to feed back."
            }
            Self::People => {
                "The child or children, and those of the family who matter here. Each is named once, and \
                 referred to by a number afterwards."
            }
            Self::NotTold => {
                "Each agency is warned, before it reads anything, that these people must not learn of it."
            }
            Self::Decision => {
                "The MASH Team Manager decides that an enquiry is made. Early intervention seeks consent \
                 first and takes no for an answer; safeguarding may go on without, when the Team Manager so \
                 decides."
            }
            Self::Referral => "It decides what may be mentioned to the family.",
            Self::Reason => "Only what an agency needs to know to answer.",
            Self::Categories => {
                "Only what is relevant to the concerns. Which agency is asked which of these can be chosen \
                 with the recipients."
            }
            Self::Due => {
                "If the answer is needed in less than 24 working hours, each agency is also rung: you are \
                 told whom to ring once it is sent."
            }
            Self::Consent(_) => {
                "Whether they agreed: freely, and knowing what is asked, of whom, what for, and what may come of \
                 it. It is not what makes it lawful to ask: that is asked separately."
            }
            Self::Override => "",
            Self::LawfulBasis => {
                "Consent is not asked here: agreement and lawful basis are two things. What is chosen \
                 already is what a hub usually relies on; it is for you to judge."
            }
            Self::Recipients => {
                "Each agency is asked for a reason of its own, and is shown that reason. No agency sees \
                 which others are asked."
            }
        }
    }

    /// Whether it is filled in on its own page, and not on one for each person, agency or decision.
    pub(super) fn is_one_page(self) -> bool {
        !matches!(self, Self::Override | Self::People | Self::Recipients)
    }

    /// Whether it may stay as it is.
    pub(super) fn is_optional(self) -> bool {
        self == Self::NotTold
    }

    /// Whether anything was answered there.
    pub(super) fn is_begun(self, rfi: &Rfi) -> bool {
        let is_there = |pointer: &str| rfi.document().pointer(pointer).is_some();
        match self {
            Self::Requester => is_there("/rfi/requester/name"),
            Self::People => !rfi.people().is_empty(),
            Self::NotTold => is_there("/rfi/doNotInform"),
            Self::Decision => is_there("/rfi/pathway"),
            Self::Referral => is_there("/rfi/referral"),
            Self::Reason => is_there("/rfi/reason"),
            Self::Categories => is_there("/rfi/informationRequired"),
            Self::Due => is_there("/rfi/responseRequiredBy"),
            Self::Consent(whose) => is_there(whose.pointer()),
            Self::Override => rfi.writing.decision.is_some(),
            Self::LawfulBasis => rfi.writing.is_basis_theirs,
            Self::Recipients => !rfi.recipients().is_empty(),
        }
    }
}

/// What a task asks, as it is answered so far. What is done on pages of its own has one question, at which
/// what is wrong there is said.
pub(super) fn questions(rfi: &Rfi, part: Part, at: Timestamp) -> Vec<Question> {
    let document = rfi.document();
    let nothing = |name: &str, pointer: &str| {
        vec![Question::new(name, pointer, part.title(), Answer::Any(Vec::new()))]
    };
    match part {
        Part::Requester => requester(document),
        Part::People => nothing("people", "/rfi/persons"),
        Part::NotTold => {
            let chosen = texts(document, "/rfi/doNotInform");
            let people = people::choices(rfi, &chosen, None);
            let label = "Who must not learn that agencies are asked? (optional)";
            vec![Question::new("silent", "/rfi/doNotInform", label, Answer::Any(people))]
        }
        Part::Decision => decision(document),
        Part::Referral => referral(document),
        Part::Reason => reason(document),
        Part::Categories => categories(document),
        Part::Due => due(document),
        Part::Consent(whose) => consent(document, whose),
        Part::Override => nothing("override", "/rfi/override"),
        Part::LawfulBasis => basis::questions(document, "/rfi/lawfulBasis", at),
        Part::Recipients => nothing("recipients", "/recipients"),
    }
}

fn requester(document: &Value) -> Vec<Question> {
    let telephone = Answer::Line {
        value: text(document, "/rfi/requester/telephone"),
        autocomplete: "tel",
        kind: "tel",
    };
    vec![
        line(document, "name", "/rfi/requester/name", "Your name", "name"),
        line(
            document,
            "jobTitle",
            "/rfi/requester/jobTitle",
            "Your job title",
            "organization-title",
        ),
        Question::new("telephone", "/rfi/requester/telephone", "Your telephone", telephone),
    ]
}

fn decision(document: &Value) -> Vec<Question> {
    let (day, time) = day_and_time(document, "/rfi/enquiryAuthorisation/at");
    let by = "/rfi/enquiryAuthorisation/by";
    vec![
        one(document, "pathway", "/rfi/pathway", "Which is it?", &PATHWAYS),
        one(document, "purpose", "/rfi/purpose", "What is the information for?", &PURPOSES),
        line(
            document,
            "name",
            &format!("{by}/name"),
            "Which Team Manager decided that it is asked?",
            "off",
        ),
        line(document, "jobTitle", &format!("{by}/jobTitle"), "Their job title", "off"),
        Question::new(
            "decided",
            "/rfi/enquiryAuthorisation/at",
            "When did they decide?",
            Answer::Instant { day, time },
        ),
        area(
            document,
            "why",
            "/rfi/enquiryAuthorisation/why",
            "Why is it appropriate and proportionate to ask?",
        ),
    ]
}

fn referral(document: &Value) -> Vec<Question> {
    vec![
        one(
            document,
            "source",
            "/rfi/referral/source",
            "Where did the referral come from?",
            &SOURCES,
        ),
        one(
            document,
            "aware",
            "/rfi/referral/parentsAware",
            "Do the parents know of the referral?",
            &[("yes", "Yes"), ("no", "No"), ("not-known", "It is not known")],
        ),
        one(
            document,
            "told",
            "/rfi/familyInformed/answer",
            "Was the family told that agencies are asked, why and which? (optional)",
            &[("yes", "Yes"), ("not-yet", "Not yet"), ("no", "No")],
        ),
        area(document, "told-why", "/rfi/familyInformed/reason", "Why were they not told?")
            .with_hint("Only if they were not: openness is the rule."),
        one(
            document,
            "cp-is",
            "/rfi/cpIsStatus",
            "What does Child Protection Information Sharing (CP-IS) say of the child? (optional)",
            &CP_IS,
        ),
    ]
}

fn reason(document: &Value) -> Vec<Question> {
    let earlier = document.pointer("/rfi/reason/previousMashEnquiries").and_then(Value::as_array);
    let earlier: Vec<_> = earlier
        .into_iter()
        .flatten()
        .map(|each| match text(each, "/date") {
            date if date.is_empty() => text(each, "/reason"),
            date => format!("{date}: {}", text(each, "/reason")),
        })
        .collect();
    let earlier = Answer::Text { value: earlier.join("\n") };
    vec![
        area(document, "concerns", "/rfi/reason/concerns", "What are the concerns?")
            .with_hint("What is life like for this child?"),
        area(document, "allegation", "/rfi/reason/allegation", "The allegation (optional)"),
        area(
            document,
            "risk",
            "/rfi/reason/levelOfRisk",
            "The risk, as it is judged now (optional)",
        ),
        line(
            document,
            "need",
            "/rfi/reason/levelOfNeed",
            "The level of need, by the partnership's descriptors (optional)",
            "off",
        ),
        area(
            document,
            "legal",
            "/rfi/reason/legalProcess",
            "Legal proceedings or orders (optional)",
        ),
        Question::new(
            "earlier",
            "/rfi/reason/previousMashEnquiries",
            "Earlier MASH enquiries (optional)",
            earlier,
        )
        .with_hint(
            "One on each line, its date first if it is known: 2024-06: Domestic abuse reported by a \
             neighbour.",
        ),
    ]
}

fn categories(document: &Value) -> Vec<Question> {
    let pointer = "/rfi/informationRequired/categories";
    let chosen = texts(document, pointer);
    let all = CATEGORIES.iter().map(|code| Choice {
        is_chosen: chosen.contains(&(*code).to_owned()),
        ..Choice::new(code, words::category(code), "")
    });
    let mut questions =
        vec![Question::new("categories", pointer, "What is asked?", Answer::Any(all.collect()))];
    for code in CATEGORIES.iter().filter(|code| chosen.contains(&(**code).to_owned())) {
        questions.push(area(
            document,
            &format!("why-{code}"),
            &format!("/rfi/informationRequired/why/{code}"),
            &format!("{}: why is it asked? (optional)", words::category(code)),
        ));
    }
    questions
}

fn due(document: &Value) -> Vec<Question> {
    let (day, time) = day_and_time(document, "/rfi/responseRequiredBy");
    vec![
        one(document, "priority", "/rfi/priority", "How urgent is it?", &PRIORITIES),
        Question::new(
            "due",
            "/rfi/responseRequiredBy",
            "By when is the answer needed?",
            Answer::Instant { day, time },
        ),
    ]
}

fn consent(document: &Value, whose: Whose) -> Vec<Question> {
    let place = whose.pointer();
    let there = |name: &str| format!("{place}/{name}");
    let answers: &[(&str, &str)] = match whose {
        Whose::Parents => {
            &[("yes", "Yes"), ("no", "No"), ("no-such-person", "There is nobody to ask")]
        }
        Whose::Child | Whose::Contacts => &[("yes", "Yes"), ("no", "No")],
    };
    let (yes, no) = ("Only if consent was given.", "Only if it was not given.");
    vec![
        one(document, "answer", &there("answer"), "Was consent given?", answers),
        one(
            document,
            "how",
            &there("howGiven"),
            "How was it given?",
            &[("written", "In writing: the hub keeps a copy"), ("verbal", "Verbally")],
        )
        .with_hint(yes),
        line(document, "on", &there("givenOn"), "When was it given? (optional)", "off").with_hint(
            format!("{yes} A date as far as it is known, such as 2026-09-30 or 2026-09."),
        ),
        one(
            document,
            "reason",
            &there("notObtainedReason"),
            "Why was it not obtained?",
            &NOT_OBTAINED,
        )
        .with_hint(no),
        area(
            document,
            "explanation",
            &there("explanation"),
            "Why was it not obtained, in full, for this person?",
        )
        .with_hint(no),
    ]
}

/// Puts what was filled in on this page where it belongs.
pub(super) fn fill_in(rfi: &mut Rfi, part: Part, form: &Form) {
    let document = &mut rfi.writing.document;
    match part {
        Part::Requester => {
            let mut requester = json!({});
            put_text(&mut requester, "/name", form.one("name"));
            put_text(&mut requester, "/jobTitle", form.one("jobTitle"));
            put_text(&mut requester, "/telephone", form.telephone("telephone").as_deref());
            put(document, "/rfi/requester", Some(requester));
        }
        Part::Decision => {
            put(document, "/rfi/pathway", form.one("pathway").map(|code| json!(code)));
            put(document, "/rfi/purpose", form.one("purpose").map(|code| json!(code)));
            let mut by = json!({ "role": "mash-team-manager" });
            put_text(&mut by, "/name", form.one("name"));
            put_text(&mut by, "/jobTitle", form.one("jobTitle"));
            let mut decided = json!({ "by": by });
            put_text(&mut decided, "/at", form.instant("decided").as_deref());
            put_text(&mut decided, "/why", form.one("why"));
            put(document, "/rfi/enquiryAuthorisation", Some(decided));
        }
        Part::Referral => {
            let mut referral = json!({});
            put_text(&mut referral, "/source", form.one("source"));
            put_text(&mut referral, "/parentsAware", form.one("aware"));
            put(document, "/rfi/referral", Some(referral));
            let told = form.one("told").map(|told| {
                let mut told = json!({ "answer": told });
                if told["answer"] != "yes" {
                    put_text(&mut told, "/reason", form.one("told-why"));
                }
                told
            });
            put(document, "/rfi/familyInformed", told);
            put(document, "/rfi/cpIsStatus", form.one("cp-is").map(|code| json!(code)));
        }
        Part::Reason => put(document, "/rfi/reason", Some(reasons(form))),
        Part::Categories => {
            let chosen: Vec<_> = form.all("categories").collect();
            let mut asked = json!({ "categories": chosen });
            // Of the form's own alone: a name that somebody made up is no place to put anything.
            for code in CATEGORIES.into_iter().filter(|code| chosen.contains(code)) {
                put_text(&mut asked, &format!("/why/{code}"), form.one(&format!("why-{code}")));
            }
            put(document, "/rfi/informationRequired", Some(asked));
        }
        Part::Due => {
            put(document, "/rfi/priority", form.one("priority").map(|code| json!(code)));
            put(document, "/rfi/responseRequiredBy", form.instant("due").map(|at| json!(at)));
        }
        Part::Consent(whose) => put(document, whose.pointer(), consented(form)),
        Part::NotTold => {
            let silent: Vec<_> = form.all("silent").collect();
            put(document, "/rfi/doNotInform", (!silent.is_empty()).then(|| json!(silent)));
        }
        Part::LawfulBasis => {
            put(document, "/rfi/lawfulBasis", Some(basis::filled_in(form)));
            rfi.writing.is_basis_theirs = true;
        }
        // On pages of their own.
        Part::Override | Part::People | Part::Recipients => {}
    }
}

fn reasons(form: &Form) -> Value {
    let mut reason = json!({});
    for (pointer, field) in [
        ("/concerns", "concerns"),
        ("/allegation", "allegation"),
        ("/levelOfRisk", "risk"),
        ("/levelOfNeed", "need"),
        ("/legalProcess", "legal"),
    ] {
        put_text(&mut reason, pointer, form.one(field));
    }
    let earlier = form.one("earlier").unwrap_or_default();
    let earlier: Vec<_> =
        earlier.lines().map(str::trim).filter(|line| !line.is_empty()).map(earlier_one).collect();
    put(&mut reason, "/previousMashEnquiries", (!earlier.is_empty()).then(|| json!(earlier)));
    reason
}

// A date stands before a colon, if there is one.
fn earlier_one(line: &str) -> Value {
    let is_date = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.' | '/'))
    };
    match line.split_once(':') {
        Some((date, reason)) if is_date(date.trim()) => {
            json!({ "date": date.trim(), "reason": reason.trim() })
        }
        _ => json!({ "reason": line }),
    }
}

// Only what belongs to how it is answered: what was filled in for another answer goes.
fn consented(form: &Form) -> Option<Value> {
    let answer = form.one("answer")?;
    let mut consent = json!({ "answer": answer });
    match answer {
        "yes" => {
            // A copy goes with no RFI from here: the hub keeps it.
            put(&mut consent, "/copyAttached", Some(json!(false)));
            put_text(&mut consent, "/howGiven", form.one("how"));
            put_text(&mut consent, "/givenOn", form.one("on"));
        }
        "no" => {
            put_text(&mut consent, "/notObtainedReason", form.one("reason"));
            put_text(&mut consent, "/explanation", form.one("explanation"));
        }
        _ => {}
    }
    Some(consent)
}

/// A question with one of these answers.
pub(super) fn one(
    document: &Value,
    name: &str,
    pointer: &str,
    label: &str,
    all: &[(&str, &str)],
) -> Question {
    let given = text(document, pointer);
    let choices = all.iter().map(|(code, label)| Choice::new(code, *label, &given)).collect();
    Question::new(name, pointer, label, Answer::One(choices))
}

/// A question for text of several lines.
pub(super) fn area(document: &Value, name: &str, pointer: &str, label: &str) -> Question {
    Question::new(name, pointer, label, Answer::Text { value: text(document, pointer) })
}

/// The texts of a list.
pub(super) fn texts(document: &Value, pointer: &str) -> Vec<String> {
    let found = document.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The eleven headings of the form, in its order (R129 to R139).
pub(super) const CATEGORIES: [&str; 11] = [
    "mental-health-substance-alcohol",
    "domestic-abuse",
    "cse-cce",
    "neglect",
    "parental-health-conditions",
    "ae-walk-in-attendances",
    "last-seen-at-gp",
    "criminal-activity",
    "agency-interventions",
    "historical-social-care",
    "medication-treatment-compliance",
];

const PATHWAYS: [(&str, &str); 2] = [
    ("safeguarding", "Safeguarding: a child may be at risk of significant harm"),
    ("early-intervention", "Early intervention: only with consent"),
];

const PURPOSES: [(&str, &str); 7] = [
    ("assess-risk", "To assess the risk"),
    ("right-services-at-right-time", "To offer the right services at the right time"),
    ("safety-of-victims", "To keep victims safe"),
    ("identify-people-who-pose-a-risk", "To identify people who pose a risk"),
    ("allegation-against-professional", "To look into an allegation against a professional"),
    ("reduce-repeat-victimisation", "To reduce repeat victimisation"),
    ("prevent-or-detect-crime", "To prevent or detect crime"),
];

const SOURCES: [(&str, &str); 5] = [
    ("professional", "A professional"),
    ("anonymous-public", "A member of the public, anonymously"),
    ("nspcc", "The NSPCC"),
    ("family", "The family"),
    ("self", "The child or young person"),
];

const CP_IS: [(&str, &str); 5] = [
    ("child-protection-plan", "There is a child protection plan"),
    ("unborn-child-protection-plan", "There is a plan for the unborn child"),
    ("looked-after", "The child is looked after"),
    ("not-listed", "The child is not listed"),
    ("not-checked", "It was not looked up"),
];

const PRIORITIES: [(&str, &str); 4] = [
    ("routine", "Routine"),
    ("urgent", "Urgent"),
    ("asap", "As soon as possible"),
    ("stat", "Immediate"),
];

const NOT_OBTAINED: [(&str, &str); 10] = [
    ("would-increase-risk", "Asking would increase the risk"),
    ("would-prejudice-crime-prevention", "Asking would prejudice the prevention of crime"),
    ("cannot-be-given", "It cannot be given"),
    ("cannot-reasonably-be-obtained", "It cannot reasonably be obtained"),
    ("refused", "It was refused"),
    ("unaware-anonymous-referral", "They do not know: the referral was anonymous"),
    ("unaware-nspcc-referral", "They do not know: the referral came from the NSPCC"),
    ("too-young-or-unborn", "Too young to answer, or not yet born"),
    ("unable-to-ascertain", "It could not be found out"),
    ("other", "Something else"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_found_by_its_name() {
        for part in ALL {
            assert_eq!(Part::find(part.name()), Some(part));
        }
        assert_eq!(Part::find("check"), None);
    }

    #[test]
    fn an_earlier_enquiry_has_a_date_where_one_is_given() {
        for (line, date, reason) in [
            ("2024-06: Neglect: no food.", Some("2024-06"), "Neglect: no food."),
            ("2024 : Neglect", Some("2024"), "Neglect"),
            ("June 2024: Neglect", None, "June 2024: Neglect"),
            ("Neglect", None, "Neglect"),
            ("12/06/2024: Neglect", Some("12/06/2024"), "Neglect"),
        ] {
            let found = earlier_one(line);
            assert_eq!(found.get("date").and_then(Value::as_str), date, "{line}");
            assert_eq!(found["reason"], reason, "{line}");
        }
    }
}
