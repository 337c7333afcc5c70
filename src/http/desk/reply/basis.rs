//! On what basis an agency shares what it knows (R51): what is asked of that, and what its kind usually relies on.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::directory::AgencyKind;
use crate::http::desk::form::{Answer, Choice, Form, Question, put, text};
use crate::http::desk::visitor::Visitor;
use crate::rule::law;

/// What agencies of a kind usually rely on when they answer a hub. What has to be judged in each case, such as
/// why there is no consent, is left to whoever answers.
pub(super) fn usual(kind: AgencyKind) -> Value {
    let powers: &[&str] = match kind {
        AgencyKind::Police => &["children-act-2004-s11", "crime-and-disorder-act-1998-s115"],
        AgencyKind::CommunityRehabilitation | AgencyKind::Probation => {
            &["children-act-2004-s11", "criminal-justice-act-2003-s325"]
        }
        AgencyKind::AdultSocialCare
        | AgencyKind::ChildrensSocialCare
        | AgencyKind::EarlyHelp
        | AgencyKind::Hub
        | AgencyKind::Other => &["children-act-2004-s10"],
        AgencyKind::GpSurgery
        | AgencyKind::GpSurgeryClass
        | AgencyKind::MentalHealthTrust
        | AgencyKind::NhsTrust => &["children-act-2004-s11"],
    };
    let mut basis = json!({ "article6": "e", "codelist": law::edition(), "powers": powers });
    if matches!(
        kind,
        AgencyKind::GpSurgery
            | AgencyKind::GpSurgeryClass
            | AgencyKind::MentalHealthTrust
            | AgencyKind::NhsTrust
    ) {
        basis["specialCategory"] = json!(true);
        basis["article9"] = json!("h");
    }
    basis
}

/// What is asked of it.
pub(super) fn questions(body: &Value, visitor: &Visitor) -> Vec<Question> {
    let given = |name: &str| text(body, &format!("/lawfulBasis/{name}"));
    let place = |name: &str| format!("/lawfulBasis/{name}");
    let choices = |given: &str, all: &[(&str, &str)]| {
        Answer::One(all.iter().map(|(code, label)| Choice::new(code, *label, given)).collect())
    };
    let special = match body.pointer("/lawfulBasis/specialCategory").and_then(Value::as_bool) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let chosen = body.pointer("/lawfulBasis/powers").and_then(Value::as_array);
    let chosen: Vec<_> = chosen.into_iter().flatten().filter_map(Value::as_str).collect();
    let today = TimeZone::UTC.to_datetime(visitor.at()).date();
    let in_force = law::powers().iter().filter(|power| {
        power.valid_from.is_none_or(|from| from <= today)
            && power.valid_to.is_none_or(|to| today <= to)
    });
    let power = |code: &str, title: &str, about: &str| Choice {
        is_chosen: chosen.contains(&code),
        ..Choice::new(code, title, "").with_hint(about)
    };
    let powers = in_force.map(|each| power(&each.code, &each.title, &each.about));
    let powers = powers.chain([power("other", "Another", "Name it below.")]).collect();
    let text_of = |name: &str| super::parts::line(given(name), "");
    vec![
        Question::new(
            "powers",
            &place("powers"),
            "Which power in law do you rely on?",
            Answer::Any(powers),
        ),
        Question::new("other-power", &place("otherPower"), "Another power", text_of("otherPower"))
            .with_hint("Only if you chose another."),
        Question::new(
            "order",
            &place("courtOrderReference"),
            "Reference of the enactment or order",
            text_of("courtOrderReference"),
        )
        .with_hint("Only if you chose disclosure required by law or by an order of a court."),
        Question::new(
            "article-6",
            &place("article6"),
            "Basis in data protection law, Article 6(1) UK GDPR",
            choices(&given("article6"), &ARTICLE_6),
        ),
        Question::new(
            "special",
            &place("specialCategory"),
            "Is any of it special category data?",
            choices(special, &[("yes", "Yes"), ("no", "No")]),
        )
        .with_hint("Health, ethnic origin, religion, sex life and sexual orientation are."),
        Question::new(
            "article-9",
            &place("article9"),
            "Condition for special category data, Article 9(2)",
            choices(&given("article9"), &ARTICLE_9),
        )
        .with_hint("Only if any of it is special category data."),
        Question::new(
            "schedule-1",
            &place("dpaSchedule1"),
            "Condition in Schedule 1 to the Data Protection Act 2018",
            choices(
                &given("dpaSchedule1"),
                &[("pt2-para18", "Paragraph 18: safeguarding"), ("other", "Another")],
            ),
        )
        .with_hint("Only for substantial public interest, (g)."),
        Question::new(
            "no-consent",
            &place("para18WithoutConsentReason"),
            "Why is paragraph 18 used without consent?",
            choices(&given("para18WithoutConsentReason"), &WITHOUT_CONSENT),
        )
        .with_hint("Only for paragraph 18."),
        Question::new(
            "aim",
            &place("para18/aim"),
            "What is it necessary for?",
            choices(
                &given("para18/aim"),
                &[
                    ("protect-from-neglect-or-harm", "To protect from neglect or harm"),
                    ("protect-well-being", "To protect well-being"),
                ],
            ),
        )
        .with_hint(
            "Only for paragraph 18. It is for people under 18; for an adult at risk, ring us.",
        ),
        Question::new(
            "document",
            &place("appropriatePolicyDocument"),
            "Your appropriate policy document",
            text_of("appropriatePolicyDocument"),
        )
        .with_hint("Its name or number. Only for substantial public interest, (g)."),
        Question::new(
            "confidence",
            "/confidenceGateway",
            "If it was told in confidence, why may it be shared? (optional)",
            choices(&text(body, "/confidenceGateway"), &CONFIDENCE),
        ),
        Question::new(
            "necessary",
            &place("proportionality"),
            "Why is it necessary and proportionate? (optional)",
            Answer::Text { value: given("proportionality") },
        ),
    ]
}

/// Puts what was filled in where it belongs.
pub(super) fn fill_in(body: &mut Value, form: &Form) {
    let text = |name: &str| form.one(name).map(|text| json!(text));
    let powers: Vec<_> = form.all("powers").collect();
    let mut basis = json!({ "codelist": law::edition(), "powers": powers });
    let mut set = |name: &str, value: Option<Value>| put(&mut basis, &format!("/{name}"), value);
    set("otherPower", text("other-power"));
    set("courtOrderReference", text("order"));
    set("article6", text("article-6"));
    let is_special = form.one("special").map(|answer| answer == "yes");
    set("specialCategory", is_special.map(|is| json!(is)));
    set("proportionality", text("necessary"));
    if is_special == Some(true) {
        set("article9", text("article-9"));
        set("dpaSchedule1", text("schedule-1"));
        set("appropriatePolicyDocument", text("document"));
        if form.one("schedule-1") == Some("pt2-para18") {
            set("para18WithoutConsentReason", text("no-consent"));
            set("para18/aim", text("aim"));
            set("para18/individual", Some(json!("under-18")));
        }
    }
    put(body, "/lawfulBasis", Some(basis));
    put(body, "/confidenceGateway", text("confidence"));
}

const ARTICLE_6: [(&str, &str); 4] = [
    ("e", "(e) a task in the public interest, or official authority"),
    ("c", "(c) a legal obligation"),
    ("d", "(d) somebody's vital interests"),
    ("f", "(f) legitimate interests: not for a public authority's tasks"),
];

const ARTICLE_9: [(&str, &str); 5] = [
    ("h", "(h) health or social care"),
    ("g", "(g) substantial public interest"),
    ("b", "(b) social security and social protection law"),
    ("c", "(c) vital interests, where consent cannot be given"),
    ("f", "(f) legal claims, or courts acting as such"),
];

const WITHOUT_CONSENT: [(&str, &str); 3] = [
    ("2a-cannot-be-given", "It cannot be given"),
    ("2b-cannot-reasonably-be-obtained", "It cannot reasonably be obtained"),
    ("2c-would-prejudice-protection", "Asking for it would prejudice the protection"),
];

const CONFIDENCE: [(&str, &str); 4] = [
    ("protect-from-harm", "To protect somebody from harm"),
    ("consent", "With consent"),
    ("prevent-or-detect-crime", "To prevent or detect a crime"),
    ("legal-obligation-or-court-order", "A legal obligation, or an order of a court"),
];
