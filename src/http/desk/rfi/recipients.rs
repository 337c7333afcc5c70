//! Which agencies are asked: each on a page of its own, with its reason (R119, R18).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Rfi;
use super::parts::{area, texts};
use crate::directory::{AgencyKind, Directory};
use crate::http::desk::form::{Answer, Choice, Form, Question, put, text};
use crate::http::desk::page::Link;
use crate::http::desk::said::{line, put_text};
use crate::http::desk::words;
use crate::message::{AgencyId, Kind};

/// Those chosen so far: where each is changed.
pub(super) fn links(rfi: &Rfi, directory: &Directory) -> Vec<Link> {
    let path = format!("{}/recipients", rfi.path());
    let chosen = rfi.recipients().iter().zip(1..);
    chosen
        .map(|(chosen, number)| Link::new(format!("{path}/{number}"), name(chosen, directory)))
        .collect()
}

/// What an agency that was chosen is called.
pub(super) fn name(chosen: &Value, directory: &Directory) -> String {
    let (id, code) = (text(chosen, "/agency"), text(chosen, "/odsCode"));
    let known = match id.parse::<AgencyId>() {
        Ok(id) => directory.name(&id),
        Err(_) => directory.by_ods(&code).map(|partner| &*partner.name),
    };
    match known {
        Some(name) => name.to_owned(),
        None if code.is_empty() => "An agency that is not chosen yet".to_owned(),
        None => format!("The surgery {code}"),
    }
}

/// Where an agency stands in the list: its number, counted from 1, or `new`.
pub(super) fn place(rfi: &Rfi, item: &str) -> Option<usize> {
    let count = rfi.recipients().len();
    match item {
        "new" => Some(count),
        number => number.parse::<usize>().ok()?.checked_sub(1).filter(|at| *at < count),
    }
}

/// What is asked of the agency at this place, as it is answered so far.
pub(super) fn questions(
    rfi: &Rfi,
    directory: &Directory,
    at: usize,
    now: Timestamp,
) -> Vec<Question> {
    let document = rfi.document();
    let there = |name: &str| format!("/recipients/{at}/{name}");
    let given = text(document, &there("agency"));
    let surgeries = directory.all().filter(|partner| partner.kind == AgencyKind::GpSurgery).count();
    let is_listed = |kind: AgencyKind| match kind {
        AgencyKind::Hub | AgencyKind::GpSurgeryClass => false,
        AgencyKind::GpSurgery => surgeries <= SURGERIES_LISTED,
        _ => true,
    };
    let mut agencies: Vec<_> = directory
        .all()
        .filter(|partner| is_listed(partner.kind) && partner.takes(Kind::Rfi, now))
        .map(|partner| Choice::new(partner.id.as_str(), partner.name.clone(), &given))
        .collect();
    agencies.sort_by(|one, other| one.label.cmp(&other.label));
    let asked = texts(document, "/rfi/informationRequired/categories");
    let pointer = there("categories");
    let chosen = texts(document, &pointer);
    let categories = asked.iter().map(|code| Choice {
        is_chosen: chosen.contains(code),
        ..Choice::new(code, words::category(code), "")
    });
    let categories: Vec<_> = categories.collect();
    let mut questions = vec![
        Question::new("agency", &there("agency"), "Which agency is asked?", Answer::One(agencies)),
        line(document, "ods", &there("odsCode"), "Or a surgery, by its ODS code", "off")
            .with_hint("What stands here is used, whatever is chosen above."),
        area(document, "why", &there("why"), "Why is this agency asked?")
            .with_hint("The agency reads this."),
    ];
    if !categories.is_empty() {
        questions.push(
            Question::new(
                "categories",
                &pointer,
                "What is this agency asked? (optional)",
                Answer::Any(categories),
            )
            .with_hint("If you choose none: all that is asked."),
        );
    }
    questions
}

/// Puts what was filled in where it belongs: over what stands at this place, or after the others.
pub(super) fn fill_in(rfi: &mut Rfi, at: usize, form: &Form) {
    let mut recipient = json!({});
    match form.one("ods") {
        Some(code) => put_text(&mut recipient, "/odsCode", Some(&code.to_uppercase())),
        None => put_text(&mut recipient, "/agency", form.one("agency")),
    }
    put_text(&mut recipient, "/why", form.one("why"));
    let categories: Vec<_> = form.all("categories").collect();
    put(&mut recipient, "/categories", (!categories.is_empty()).then(|| json!(categories)));
    let Some(recipients) = rfi.recipients_mut() else { return };
    match recipients.get_mut(at) {
        Some(there) => *there = recipient,
        None => recipients.push(recipient),
    }
}

/// Takes an agency out of the list.
pub(super) fn remove(rfi: &mut Rfi, at: usize) {
    if let Some(recipients) = rfi.recipients_mut().filter(|recipients| at < recipients.len()) {
        recipients.remove(at);
    }
}

/// With more surgeries than can be looked through, each is named by its code.
const SURGERIES_LISTED: usize = 12;
