//! The tasks that a reply is made of: what each asks, and where in the answer it goes.

use serde_json::{Map, Value, json};

use super::{Reply, What};
use crate::directory::AgencyKind;
use crate::http::api::Api;
use crate::http::desk::basis::{self, CONFIDENCE};
use crate::http::desk::form::{Answer, Choice, Form, Question, day_and_time, put, text};
use crate::http::desk::visitor::Visitor;
use crate::http::desk::words;
use crate::message::Exchange;
use crate::schema::Violation;

/// One task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// One of the categories that are asked, counted from 0.
    Category(usize),
    /// When what is still open follows.
    Rest,
    /// That nothing can be shared, and why.
    CannotShare,
    /// Why what is added was not said before.
    WhyNow,
    /// On what basis it is shared (R51).
    LawfulBasis,
    /// What the family may be told (R41).
    Family,
    /// Who answers, and what they say of it.
    Who,
    /// What files go with it, on a page of their own.
    Files,
    /// Who wrote down what was said by telephone.
    TakenDown,
}

impl Part {
    /// The task of this name, in what is written here.
    pub(super) fn find(name: &str, reply: &Reply) -> Option<Self> {
        let asked = &reply.exchange.categories;
        match (name, reply.what) {
            ("rest", What::Reply | What::Transcription) => Some(Self::Rest),
            ("cannot-share", What::Reply | What::Transcription) => Some(Self::CannotShare),
            ("taken-down", What::Transcription) => Some(Self::TakenDown),
            ("why-now", What::Supplement) => Some(Self::WhyNow),
            ("lawful-basis", _) => Some(Self::LawfulBasis),
            ("family", _) => Some(Self::Family),
            ("who", _) => Some(Self::Who),
            (code, _) => asked.iter().position(|each| each == code).map(Self::Category),
        }
    }

    /// Its name, in addresses.
    pub(super) fn name(self, exchange: &Exchange) -> &str {
        match self {
            Self::Category(at) => &exchange.categories[at],
            Self::Rest => "rest",
            Self::CannotShare => "cannot-share",
            Self::WhyNow => "why-now",
            Self::LawfulBasis => "lawful-basis",
            Self::Family => "family",
            Self::Who => "who",
            Self::Files => "files",
            Self::TakenDown => "taken-down",
        }
    }

    /// Its name, for people.
    pub(super) fn title(self, exchange: &Exchange) -> String {
        match self {
            Self::Category(at) => words::category(&exchange.categories[at]).to_owned(),
            Self::Rest => "When the rest follows".to_owned(),
            Self::CannotShare => "We cannot share anything".to_owned(),
            Self::WhyNow => "Why you send it now".to_owned(),
            Self::LawfulBasis => "On what basis you share it".to_owned(),
            Self::Family => "What the family may be told".to_owned(),
            Self::Who => "Who answers".to_owned(),
            Self::Files => "Files that go with it".to_owned(),
            Self::TakenDown => "Who wrote it down".to_owned(),
        }
    }

    /// What to know before answering.
    pub(super) fn paragraphs(self) -> Vec<String> {
        let paragraph = match self {
            Self::Category(_) => {
                "Only what is relevant to this heading and to why it is asked. Nothing known is an answer."
            }
            Self::Rest => "You can send now what you know, and say by when the rest will follow.",
            Self::CannotShare => {
                "Only if none of it can be shared. If a part can, answer the categories one by one and \
                 choose for the others that you do not share it."
            }
            Self::WhyNow => {
                "New information, or a mistake in what you sent. The hub is shown at once that more came."
            }
            Self::LawfulBasis => {
                "Consent is not asked here: agreement and lawful basis are two things. What is chosen \
                 already is what agencies of your kind usually rely on; it is for you to judge."
            }
            Self::Family => "Without your word, the family is told nothing of what you say.",
            Self::Who => {
                "Name and telephone go to the hub with the reply, so that they can ask you."
            }
            Self::Files => return Vec::new(),
            Self::TakenDown => {
                "Read it back to whoever gave the answer. The agency gets it as you write it down here."
            }
        };
        vec![paragraph.to_owned()]
    }

    /// What to ask oneself before answering.
    pub(super) fn prompts(self) -> Vec<String> {
        match self {
            Self::LawfulBasis => basis::PROMPTS.map(str::to_owned).to_vec(),
            _ => Vec::new(),
        }
    }

    /// Whether anything was answered there.
    pub(super) fn is_begun(self, reply: &Reply) -> bool {
        let body = &reply.writing.body;
        let is_there = |pointer: &str| body.pointer(pointer).is_some();
        match self {
            Self::Category(at) => {
                is_there(&format!("/answers/{}/status", reply.exchange.categories[at]))
            }
            Self::Rest => is_there("/moreToFollowBy"),
            Self::CannotShare => is_there("/cannotShare"),
            Self::WhyNow => is_there("/whyNow"),
            Self::LawfulBasis => reply.writing.is_basis_theirs,
            Self::Family => is_there("/onwardDisclosure"),
            Self::Who => {
                is_there(&format!("/{}/name", reply.what.speaker())) && is_there("/proportionate")
            }
            Self::Files => is_there("/attachments"),
            Self::TakenDown => is_there("/transcription/takenBy/name"),
        }
    }

    /// Whether it can be left out: that nothing can be shared, files, and each heading of what is added.
    pub(super) fn is_optional(self, reply: &Reply) -> bool {
        match (self, reply.what) {
            (Self::CannotShare | Self::Files, _) | (Self::Category(_), What::Supplement) => {
                !self.is_begun(reply)
            }
            _ => false,
        }
    }
}

/// What an answer in this exchange begins with: what the agency usually relies on, and whom the directory
/// knows.
pub(super) fn beginning(what: What, api: &Api, exchange: &Exchange) -> Value {
    let directory = api.gateway.directory();
    let partner = directory.get(&exchange.agency);
    let mut body = json!({ "lawfulBasis": partner.map(|partner| basis::usual(partner.kind)) });
    if let Some(officer) = partner.and_then(|partner| partner.contact_officer.as_ref()) {
        let place = format!("/{}/telephone", what.speaker());
        put(&mut body, &place, Some(json!(telephone(&officer.telephone))));
    }
    body
}

// As the contract has it; the directory's may be written with spaces.
fn telephone(written: &str) -> String {
    let form =
        format!("t={}", form_urlencoded::byte_serialize(written.as_bytes()).collect::<String>());
    Form::parse(form.as_bytes()).telephone("t").unwrap_or_default()
}

/// What a task asks, as it is answered so far.
pub(super) fn questions(reply: &Reply, api: &Api, visitor: &Visitor, part: Part) -> Vec<Question> {
    let body = &reply.writing.body;
    match part {
        Part::Category(at) => category(reply, &reply.exchange.categories[at]),
        Part::Rest => {
            let (day, time) = day_and_time(body, "/moreToFollowBy");
            let answer = Answer::Instant { day, time };
            vec![Question::new("rest", "/moreToFollowBy", "By when will the rest follow?", answer)]
        }
        Part::CannotShare => cannot_share(body),
        Part::WhyNow => {
            let answer = Answer::Text { value: text(body, "/whyNow") };
            vec![Question::new("why", "/whyNow", "Why do you send it now?", answer)]
        }
        Part::LawfulBasis => {
            let given = text(body, "/confidenceGateway");
            let reasons =
                CONFIDENCE.iter().map(|(code, label)| Choice::new(code, *label, &given)).collect();
            let label = "If it was told in confidence, why may it be shared? (optional)";
            let mut questions = basis::questions(body, "/lawfulBasis", visitor.at());
            let confidence = Answer::One(reasons);
            questions.push(Question::new("confidence", "/confidenceGateway", label, confidence));
            questions
        }
        Part::Family => {
            let directory = api.gateway.directory();
            let kind = directory.get(&reply.exchange.agency).map(|partner| partner.kind);
            family(body, reply.what, kind == Some(AgencyKind::Police))
        }
        Part::Who => who(body, reply.what),
        Part::TakenDown => taken_down(body),
        Part::Files => {
            let value = super::files::named(body).collect::<Vec<_>>().join("\n");
            vec![Question::new("files", "/attachments", "Files", Answer::Text { value })]
        }
    }
}

fn category(reply: &Reply, code: &str) -> Vec<Question> {
    let body = &reply.writing.body;
    // Where it is in what is sent: those before it that have no answer are not there.
    let index = reply.answered().position(|(each, _)| each == code);
    let index = index.unwrap_or_else(|| reply.answered().count());
    let given = |name: &str| text(body, &format!("/answers/{code}/{name}"));
    let there = |name: &str| format!("/answers/{index}/{name}");
    let mut status = given("status");
    if status.is_empty() && reply.what == What::Supplement {
        NOTHING_NEW.clone_into(&mut status);
    }
    let statuses = [
        ("provided", "We know something", ""),
        ("nothing-known", "Nothing known", "We looked, and there is nothing."),
        ("not-held-here", "Not held here", "We do not keep information of this kind."),
        (
            "withheld",
            "We do not share it",
            "We know something, and say below why we do not share it.",
        ),
    ];
    let mut statuses = statuses
        .map(|(code, label, hint)| Choice::new(code, label, &status).with_hint(hint))
        .to_vec();
    let label = match reply.what {
        What::Reply | What::Transcription => "What do you know?",
        What::Supplement => {
            let same = Choice::new(NOTHING_NEW, "Nothing new here", &status);
            statuses.insert(0, same.with_hint("It stays as you have said."));
            "What do you know now?"
        }
    };
    let mut questions =
        vec![Question::new("status", &there("status"), label, Answer::One(statuses))];
    if code == LAST_SEEN {
        for ((id, name), number) in reply.writing.people.iter().zip(1..) {
            let seen = body.pointer(&format!("/answers/{code}/lastSeen")).and_then(Value::as_array);
            let seen = seen.into_iter().flatten().find(|seen| seen["personId"] == json!(id));
            let value = match seen {
                Some(seen) if seen["never"] == json!(true) => "never".to_owned(),
                Some(seen) => text(seen, "/date"),
                None => String::new(),
            };
            let place = format!("{}/{}", there("lastSeen"), number - 1);
            let line = line(value, "");
            questions.push(
                Question::new(
                    &format!("seen-{id}"),
                    &place,
                    format!("When was {name} last seen?"),
                    line,
                )
                .with_hint(
                    "A date as far as it is known, such as 2026-09-30, 2026-09 or 2026; or never. \
                         Leave it empty for whoever you do not know.",
                ),
            );
        }
    } else {
        let summary = Answer::Text { value: given("summary") };
        questions.push(
            Question::new("summary", &there("summary"), "What is known", summary)
                .with_hint("If you know something."),
        );
        let about =
            body.pointer(&format!("/answers/{code}/aboutPersonIds")).and_then(Value::as_array);
        let about: Vec<_> = about.into_iter().flatten().filter_map(Value::as_str).collect();
        let people = reply.writing.people.iter().map(|(id, name)| Choice {
            is_chosen: about.contains(&id.as_str()),
            ..Choice::new(id, name.clone(), "")
        });
        let people = Answer::Any(people.collect());
        questions.push(
            Question::new("about", &there("aboutPersonIds"), "Whom is it about?", people)
                .with_hint("If you know something."),
        );
        let given = given("factOrOpinion");
        let kinds = [
            ("fact", "A fact"),
            ("professional-opinion", "A professional opinion"),
            ("reported-by-other", "Reported by somebody else"),
        ];
        let kinds = kinds.map(|(code, label)| Choice::new(code, label, &given)).to_vec();
        questions.push(
            Question::new("kind", &there("factOrOpinion"), "What is it?", Answer::One(kinds))
                .with_hint("If you know something."),
        );
    }
    let given = given("withheldReason");
    questions.push(
        Question::new(
            "withheld",
            &there("withheldReason"),
            "Why do you not share it?",
            Answer::One(reasons(&given)),
        )
        .with_hint("If you do not share it."),
    );
    questions
}

fn reasons(given: &str) -> Vec<Choice> {
    [
        ("no-lawful-basis", "There is no lawful basis"),
        ("consent-refused-no-other-power", "Consent was refused, and no other power applies"),
        ("not-relevant-or-excessive", "It is not relevant, or more than is needed"),
        (
            "more-detrimental-to-child-than-not-sharing",
            "Sharing it would harm the child more than not",
        ),
        ("operational-sensitivity", "It is operationally sensitive"),
        ("duty-of-confidence-not-overridden", "A duty of confidence is not outweighed"),
        ("legal-privilege-or-court-order", "Legal privilege, or an order of a court"),
        ("not-our-record", "It is not our record to share"),
        ("identity-not-confirmed", "We cannot confirm that it is the same person"),
        ("other", "Something else"),
    ]
    .map(|(code, label)| Choice::new(code, label, given))
    .to_vec()
}

fn cannot_share(body: &Value) -> Vec<Question> {
    let is_chosen = body.get("cannotShare").is_some();
    let given = if is_chosen { "yes" } else { "no" };
    let choices = vec![
        Choice::new("no", "We can share something, or nothing is known", given),
        Choice::new("yes", "We cannot share anything", given),
    ];
    let reason = text(body, "/cannotShare/reason");
    let explanation = Answer::Text { value: text(body, "/cannotShare/explanation") };
    vec![
        // Nothing can be wrong with it: it is whether the rest is there.
        Question::new("cannot", "/cannotShare/-", "Can you share anything?", Answer::One(choices)),
        Question::new("reason", "/cannotShare/reason", "Why not?", Answer::One(reasons(&reason))),
        Question::new("explanation", "/cannotShare/explanation", "Why, in this case?", explanation)
            .with_hint("At least a full sentence, so that the hub understands the decision."),
        actor_line(body, "cannotShare/decidedBy", "name", "Who decided?", "name"),
        actor_line(
            body,
            "cannotShare/decidedBy",
            "jobTitle",
            "Their job title",
            "organization-title",
        ),
    ]
}

fn family(body: &Value, what: What, is_police: bool) -> Vec<Question> {
    let given = text(body, "/onwardDisclosure");
    let choices = [
        ("not-without-asking-us", "Nothing, without asking us first", ""),
        (
            "family-may-be-told-part",
            "A part of it",
            "Say below which part, or what has to be respected.",
        ),
        ("family-may-be-told", "All of it", ""),
        ("decision-to-follow", "We decide later", "Until then the family is told nothing."),
    ];
    let choices = choices
        .map(|(code, label, hint)| Choice::new(code, label, &given).with_hint(hint))
        .to_vec();
    let label = match what {
        What::Reply | What::Transcription => "What may the family be told of your reply?",
        What::Supplement => "What may the family be told of this?",
    };
    let conditions = Answer::Text { value: text(body, "/handlingConditions") };
    let mut questions = vec![
        Question::new("family", "/onwardDisclosure", label, Answer::One(choices)),
        Question::new(
            "conditions",
            "/handlingConditions",
            "What else must a reader respect? (optional)",
            conditions,
        ),
    ];
    if is_police {
        let given = text(body, "/handlingCode");
        let codes = vec![
            Choice::new("P", "P: lawful sharing permitted", &given),
            Choice::new("C", "C: lawful sharing permitted with conditions", &given)
                .with_hint("Write the conditions above."),
        ];
        questions.push(Question::new(
            "code",
            "/handlingCode",
            "Handling code (optional)",
            Answer::One(codes),
        ));
        let chosen = body.pointer("/visibleTo").and_then(Value::as_array);
        let chosen: Vec<_> = chosen.into_iter().flatten().filter_map(Value::as_str).collect();
        let roles = [
            ("mash-team-manager", "The MASH Team Manager"),
            ("social-worker", "The assessing social worker"),
            ("mash-health-representative", "The MASH health representative"),
        ];
        let roles = roles.map(|(code, label)| Choice {
            is_chosen: chosen.contains(&code),
            ..Choice::new(code, label, "")
        });
        questions.push(
            Question::new(
                "visible",
                "/visibleTo",
                "Who at the hub may read it?",
                Answer::Any(roles.to_vec()),
            )
            .with_hint("If you choose none: the Team Manager and the assessing social worker."),
        );
    }
    questions
}

fn who(body: &Value, what: What) -> Vec<Question> {
    let speaker = what.speaker();
    // What the browser of whoever writes it down would fill in is their own.
    let fills = |autocomplete| if what == What::Transcription { "off" } else { autocomplete };
    let accuracy = text(body, "/accuracyChecked");
    let accuracy = vec![
        Choice::new("checked-against-record", "It was checked against the record", &accuracy),
        Choice::new("not-practical", "That was not practical", &accuracy),
    ];
    let is_confirmed = body.get("proportionate") == Some(&json!(true));
    let confirmed = vec![Choice {
        is_chosen: is_confirmed,
        ..Choice::new("yes", "It is relevant, not excessive, and proportionate", "")
    }];
    vec![
        actor_line(body, speaker, "name", "Your name", fills("name")),
        actor_line(body, speaker, "jobTitle", "Your job title", fills("organization-title")),
        actor_line(body, speaker, "telephone", "Your telephone (optional)", fills("tel")),
        Question::new("accuracy", "/accuracyChecked", "Was it checked?", Answer::One(accuracy)),
        Question::new(
            "as-of",
            "/asOf",
            "As of which day? (optional)",
            line(text(body, "/asOf"), ""),
        )
        .with_hint("The day on which it was current, such as 2026-09-30."),
        Question::new("confirmed", "/proportionate", "You confirm", Answer::Any(confirmed)),
    ]
}

fn taken_down(body: &Value) -> Vec<Question> {
    let (day, time) = day_and_time(body, "/transcription/takenAt");
    let given = match body.pointer("/transcription/readBack").and_then(Value::as_bool) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let answers = vec![Choice::new("yes", "Yes", given), Choice::new("no", "No", given)];
    let place = "transcription/takenBy";
    vec![
        Question::new(
            "taken",
            "/transcription/takenAt",
            "When was it said?",
            Answer::Instant { day, time },
        ),
        Question::new(
            "read-back",
            "/transcription/readBack",
            "Was it read back to whoever said it?",
            Answer::One(answers),
        ),
        actor_line(body, place, "name", "Who at the hub wrote it down?", "name"),
        actor_line(body, place, "jobTitle", "Their job title", "organization-title"),
    ]
}

/// Puts what was filled in on this page where it belongs.
pub(super) fn fill_in(reply: &mut Reply, part: Part, form: &Form) {
    let text = |name: &str| form.one(name).map(|text| json!(text));
    match part {
        Part::Category(at) => {
            let code = reply.exchange.categories[at].clone();
            let answer = answer(&code, &reply.writing.people, form);
            put(&mut reply.writing.body, &format!("/answers/{code}"), answer);
        }
        Part::Rest => {
            let at = form.instant("rest").map(|at| json!(at));
            put(&mut reply.writing.body, "/moreToFollowBy", at);
        }
        Part::CannotShare => {
            let body = &mut reply.writing.body;
            put(body, "/cannotShare", None);
            if form.one("cannot") == Some("yes") {
                put(body, "/cannotShare/reason", text("reason"));
                put(body, "/cannotShare/explanation", text("explanation"));
                put_actor(body, "cannotShare/decidedBy", form);
            }
        }
        Part::WhyNow => put(&mut reply.writing.body, "/whyNow", text("why")),
        Part::LawfulBasis => {
            let body = &mut reply.writing.body;
            put(body, "/lawfulBasis", Some(basis::filled_in(form)));
            put(body, "/confidenceGateway", text("confidence"));
            reply.writing.is_basis_theirs = true;
        }
        Part::Family => {
            let body = &mut reply.writing.body;
            put(body, "/onwardDisclosure", text("family"));
            put(body, "/handlingConditions", text("conditions"));
            put(body, "/handlingCode", text("code"));
            let roles: Vec<_> = form.all("visible").collect();
            put(body, "/visibleTo", (!roles.is_empty()).then(|| json!(roles)));
        }
        Part::Who => {
            let body = &mut reply.writing.body;
            put_actor(body, reply.what.speaker(), form);
            put(body, "/accuracyChecked", text("accuracy"));
            put(body, "/asOf", text("as-of"));
            put(body, "/proportionate", form.one("confirmed").map(|_| json!(true)));
        }
        // They come one by one, each as a form of its own.
        Part::Files => {}
        Part::TakenDown => {
            let body = &mut reply.writing.body;
            put(body, "/transcription", None);
            put_actor(body, "transcription/takenBy", form);
            let at = form.instant("taken").unwrap_or_default();
            put(body, "/transcription/takenAt", Some(json!(at)));
            let is_read_back = form.one("read-back").map(|answer| json!(answer == "yes"));
            put(body, "/transcription/readBack", is_read_back);
        }
    }
}

// Only what belongs to how it is answered: what was filled in for another way goes.
fn answer(code: &str, people: &[(String, String)], form: &Form) -> Option<Value> {
    let status = form.one("status").filter(|status| *status != NOTHING_NEW)?;
    let mut answer = json!({ "category": code, "status": status });
    match status {
        "provided" if code == LAST_SEEN => {
            let seen: Vec<_> = people
                .iter()
                .filter_map(|(id, _)| {
                    Some(match form.one(&format!("seen-{id}"))? {
                        never if never.eq_ignore_ascii_case("never") => {
                            json!({ "never": true, "personId": id })
                        }
                        date => json!({ "date": date, "personId": id }),
                    })
                })
                .collect();
            put(&mut answer, "/lastSeen", (!seen.is_empty()).then(|| json!(seen)));
        }
        "provided" => {
            let about: Vec<_> = form.all("about").collect();
            put(&mut answer, "/aboutPersonIds", (!about.is_empty()).then(|| json!(about)));
            put(&mut answer, "/summary", form.one("summary").map(|text| json!(text)));
            put(&mut answer, "/factOrOpinion", form.one("kind").map(|text| json!(text)));
        }
        "withheld" => {
            put(&mut answer, "/withheldReason", form.one("withheld").map(|text| json!(text)));
        }
        _ => {}
    }
    Some(answer)
}

fn put_actor(body: &mut Value, place: &str, form: &Form) {
    let mut actor = Map::new();
    for (member, field) in [("name", "name"), ("jobTitle", "jobTitle")] {
        if let Some(text) = form.one(field) {
            actor.insert(member.to_owned(), json!(text));
        }
    }
    if let Some(telephone) = form.telephone("telephone") {
        actor.insert("telephone".to_owned(), json!(telephone));
    }
    put(body, &format!("/{place}"), Some(Value::Object(actor)));
}

/// That nobody has looked at the lawful basis yet (R51), which the contract cannot know.
pub(super) fn unconfirmed(reply: &Reply) -> Option<Violation> {
    (!reply.writing.is_basis_theirs).then(|| Violation {
        pointer: "/lawfulBasis".to_owned(),
        code: "not-confirmed".to_owned(),
        message: "Look at on what basis you share it, and save it.".to_owned(),
    })
}

/// What is wrong with a page that leaves its first question open, which the contract may allow in an answer
/// that is not whole.
pub(super) fn unanswered(reply: &Reply, part: Part) -> Option<Violation> {
    let wrong = |pointer: String, message: &str| {
        Some(Violation { pointer, code: "not-answered".to_owned(), message: message.to_owned() })
    };
    match part {
        Part::Category(at) if reply.what != What::Supplement => {
            let code = reply.exchange.categories[at].as_str();
            let index = reply.answered().count();
            match reply.answered().any(|(each, _)| each == code) {
                true => None,
                false => wrong(format!("/answers/{index}/status"), "Choose what you know."),
            }
        }
        Part::Rest if reply.writing.body.get("moreToFollowBy").is_none() => {
            wrong("/moreToFollowBy".to_owned(), "Give the day and the time.")
        }
        _ => None,
    }
}

fn actor_line(
    body: &Value,
    place: &str,
    member: &str,
    label: &str,
    autocomplete: &'static str,
) -> Question {
    let pointer = format!("/{place}/{member}");
    let kind = if member == "telephone" { "tel" } else { "text" };
    let answer = Answer::Line { value: text(body, &pointer), autocomplete, kind };
    Question::new(member, &pointer, label, answer)
}

pub(super) fn line(value: String, autocomplete: &'static str) -> Answer {
    Answer::Line { value, autocomplete, kind: "text" }
}

/// That a heading is left out of what is added: a choice of the page, and no status of the contract.
const NOTHING_NEW: &str = "nothing-new";

const LAST_SEEN: &str = "last-seen-at-gp";
