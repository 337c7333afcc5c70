//! The Team Manager's decision to go on without consent (R20, R36), on the RFI that it is about.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::parts::{area, one};
use super::{Rfi, overtaken, version};
use crate::directory::permission::Action;
use crate::http::api::{Api, Path};
use crate::http::desk::basis::CONFIDENCE;
use crate::http::desk::form::{Answer, Choice, Form, Question, mark, put, text};
use crate::http::desk::message::{Fact, facts};
use crate::http::desk::page::{FormPage, Frame, Link, page, see};
use crate::http::desk::said::{line, put_text};
use crate::http::desk::visitor::Visitor;
use crate::message::rfc3339;
use crate::problem::{Problem, ProblemType};

/// That it is on record.
#[derive(Deserialize, Serialize)]
pub(super) struct Decision {
    /// The log's entry that says so.
    entry: u64,
    /// A paragraph for the child's record (R20).
    text_for_record: String,
}

/// Before it is decided, and after.
#[derive(Template)]
#[template(path = "desk/rfi/decision.html")]
struct DecisionPage {
    frame: Frame,
    title: &'static str,
    back: Link,
    /// Whether the visitor may decide.
    is_theirs: bool,
    /// Where it is decided.
    path: String,
    /// What stands in the way: the answers on consent.
    consent: Vec<Fact>,
    decided: Option<(u64, String)>,
}

/// Says what is to be decided, and by whom; or what was.
pub(in crate::http::desk) async fn show(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let rfi = Rfi::find(&api, &visitor, &id).await?;
    let role = Some(visitor.role());
    let template = DecisionPage {
        frame: Frame::of(&api.gateway, Some(&visitor)),
        title: match rfi.writing.decision {
            Some(_) => "It was decided to go on without consent",
            None => "Not everybody has agreed to this: stop and think",
        },
        back: Link::new(rfi.path(), "Back to the request"),
        is_theirs: api.gateway.permit(visitor.agency(), role, Action::Override).is_ok(),
        path: format!("{}/override/decide", rfi.path()),
        consent: facts(&rfi.complete(None)["rfi"]["consent"]),
        decided: rfi.writing.decision.map(|decision| (decision.entry, decision.text_for_record)),
    };
    page(StatusCode::OK, &template)
}

/// What is decided on.
pub(in crate::http::desk) async fn ask(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let rfi = Rfi::find(&api, &visitor, &id).await?;
    form(&api, &visitor, &rfi, questions(&json!({}))).answer()
}

/// Puts the decision on record, and into the RFI that it is about.
pub(in crate::http::desk) async fn decide(
    State(api): State<Api>,
    visitor: Visitor,
    Path(id): Path<String>,
    filled: Form,
) -> Result<Response, Problem> {
    let mut rfi = Rfi::find(&api, &visitor, &id).await?;
    // What is decided about is what was looked at.
    if rfi.version != version(&filled) {
        return overtaken(&api, &visitor, &rfi);
    }
    let decision = filled_in(&filled, &rfc3339(visitor.at()));
    let complete = rfi.complete(None);
    let about = |name: &str| complete.pointer(&format!("/rfi/{name}")).cloned();
    let mut body = json!({ "override": decision });
    put(&mut body, "/consent", about("consent"));
    put(&mut body, "/persons", about("persons"));
    let (agency, role) = (visitor.agency(), Some(visitor.role()));
    let recorded = api
        .gateway
        .record_override(
            agency,
            role,
            visitor.certificate(),
            body.to_string().as_bytes(),
            visitor.at(),
        )
        .await;
    let recorded = match recorded {
        Err(problem) if problem.kind == ProblemType::Schema => {
            let mut questions = questions(&body);
            let elsewhere = mark(&mut questions, problem.errors);
            let mut form = form(&api, &visitor, &rfi, questions);
            form.elsewhere = elsewhere;
            return form.answer();
        }
        recorded => recorded?,
    };
    put(&mut body, "/override/decisionCode", Some(json!(recorded.code)));
    put(&mut rfi.writing.document, "/rfi/override", body.get("override").cloned());
    let text_for_record = recorded.text_for_record.to_string();
    rfi.writing.decision = Some(Decision { entry: recorded.entry, text_for_record });
    match rfi.keep(&api, &visitor, rfi.version).await? {
        true => Ok(see(&format!("{}/override", rfi.path()))),
        // On record, and good for nothing: it is decided anew on what the RFI says now.
        false => overtaken(&api, &visitor, &rfi),
    }
}

fn form(api: &Api, visitor: &Visitor, rfi: &Rfi, questions: Vec<Question>) -> FormPage {
    FormPage {
        frame: Frame::of(&api.gateway, Some(visitor)),
        title: "Decide to go on without consent".to_owned(),
        back: Link::new(format!("{}/override", rfi.path()), "Back"),
        paragraphs: vec![
            "What you decide is on record in your name, and goes on the child's. It holds for exactly \
             these people and these answers on consent, and for this one request."
                .to_owned(),
        ],
        prompts: Vec::new(),
        questions,
        elsewhere: Vec::new(),
        version: Some(rfi.version),
        key: None,
        button: "Put the decision on record".to_owned(),
        others: &[],
    }
}

fn questions(body: &Value) -> Vec<Question> {
    let chosen = super::parts::texts(body, "/override/legitimateAims");
    let aims = AIMS.map(|(code, label)| Choice {
        is_chosen: chosen.contains(&code.to_owned()),
        ..Choice::new(code, label, "")
    });
    let answers = body.pointer("/override/publicInterest").and_then(Value::as_array);
    let mut questions = vec![
        line(body, "name", "/override/decidedBy/name", "Your name", "name"),
        line(
            body,
            "jobTitle",
            "/override/decidedBy/jobTitle",
            "Your job title",
            "organization-title",
        ),
        area(body, "rationale", "/override/rationale", "Why is it right to go on without consent?")
            .with_hint(
                "The child's safety decides. It goes on the child's record, in these words.",
            ),
        one(
            body,
            "confidence",
            "/override/confidenceGateway",
            "Why does a duty of confidence not prevent it?",
            &CONFIDENCE,
        ),
        Question::new(
            "aims",
            "/override/legitimateAims",
            "Which legitimate aims does it serve? (optional)",
            Answer::Any(aims.to_vec()),
        ),
    ];
    for (question, number) in PUBLIC_INTEREST.iter().zip(1_u64..) {
        let answers = answers.into_iter().flatten();
        let given = answers.zip(0..).find(|(answer, _)| answer["question"] == json!(number));
        let place = given.as_ref().map_or_else(
            || format!("/override/publicInterest/-{number}"),
            |(_, index)| format!("/override/publicInterest/{index}/answer"),
        );
        let value = given.map(|(answer, _)| text(answer, "/answer")).unwrap_or_default();
        let answer = Answer::Text { value };
        questions.push(Question::new(
            &format!("interest-{number}"),
            &place,
            format!("{question} (optional)"),
            answer,
        ));
    }
    let view = |of: &str| {
        let views = body.pointer("/override/viewsConsidered").and_then(Value::as_array);
        let found = views.into_iter().flatten().find(|view| view["of"] == json!(of));
        Answer::Text { value: found.map(|view| text(view, "/view")).unwrap_or_default() }
    };
    questions.extend([
        Question::new(
            "own-view",
            "/override/viewsConsidered/-own",
            "What does your own organisation think of sharing? (optional)",
            view("own-organisation"),
        ),
        Question::new(
            "holder-view",
            "/override/viewsConsidered/-holder",
            "What do those think who hold the information? (optional)",
            view("information-holder"),
        ),
        area(body, "advice", "/override/legalAdvice", "Which legal advice was taken? (optional)"),
    ]);
    questions
}

fn filled_in(form: &Form, now: &str) -> Value {
    let mut decision = json!({
        "decidedBy": { "role": "mash-team-manager" },
        "decidedAt": now,
        "decision": "override-and-dispense",
    });
    for (pointer, field) in [
        ("/decidedBy/name", "name"),
        ("/decidedBy/jobTitle", "jobTitle"),
        ("/rationale", "rationale"),
        ("/confidenceGateway", "confidence"),
        ("/legalAdvice", "advice"),
    ] {
        put_text(&mut decision, pointer, form.one(field));
    }
    let aims: Vec<_> = form.all("aims").collect();
    let interest = (1..=PUBLIC_INTEREST.len()).filter_map(|number| {
        let answer = form.one(&format!("interest-{number}"))?;
        Some(json!({ "question": number, "answer": answer }))
    });
    let interest: Vec<_> = interest.collect();
    let views = [("own-view", "own-organisation"), ("holder-view", "information-holder")];
    let views = views
        .into_iter()
        .filter_map(|(field, of)| Some(json!({ "of": of, "view": form.one(field)? })));
    let views: Vec<_> = views.collect();
    put(&mut decision, "/legitimateAims", (!aims.is_empty()).then(|| json!(aims)));
    put(&mut decision, "/publicInterest", (!interest.is_empty()).then(|| json!(interest)));
    put(&mut decision, "/viewsConsidered", (!views.is_empty()).then(|| json!(views)));
    decision
}

const AIMS: [(&str, &str); 6] = [
    ("protection-of-health-or-morals", "Protecting health or morals"),
    ("protection-of-rights-and-freedoms", "Protecting the rights and freedoms of others"),
    ("prevention-of-disorder-or-crime", "Preventing disorder or crime"),
    ("public-safety", "Public safety"),
    ("economic-well-being", "The country's economic well-being"),
    ("national-security", "National security"),
];

/// The seven questions on whether the public interest is in sharing (R75), in the agreement's order, by which
/// they are numbered.
const PUBLIC_INTEREST: [&str; 7] = [
    "Is sharing in proportion to what it is for?",
    "How vulnerable are those who are at risk?",
    "What will it probably do to whom it is about?",
    "Is there another way that would do as well?",
    "Is it in the interest of public safety?",
    "Is it necessary to prevent or detect crime, and to uphold rights and freedoms?",
    "Is it necessary to protect other vulnerable people?",
];
