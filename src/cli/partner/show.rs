//! `partner list`, `show` and `check`: the directory as it stands.

use serde_json::{Value, json};

use super::checklist::Checklist;
use super::file::no_such_agency;
use crate::cli::{Context, Failure, read_text};
use crate::config::Config;
use crate::directory::parse::ParseOptions;
use crate::directory::{Directory, Endpoint, Officer, Partner};
use crate::message::{AgencyId, now};

pub(super) fn check(context: &Context) -> Result<(), Failure> {
    let (_, directory) = read(context)?;
    let count = directory.all().count();
    context.result(
        &json!({ "agencies": count, "good": true }),
        format!("{}: {count} agencies, no mistakes", context.home.partners().display()),
    );
    Ok(())
}

pub(super) fn list(context: &Context) -> Result<(), Failure> {
    let (_, directory) = read(context)?;
    let at = now();
    let list: Vec<Value> = directory.all().map(|agency| summary(agency, at)).collect();
    let lines: Vec<_> = directory
        .all()
        .map(|agency| {
            format!(
                "{:<40} {:<10} {:<24} {} ({})",
                agency.id.as_str(),
                agency.status_at(at).as_str(),
                agency.kind.as_str(),
                agency.name,
                agency.statutory_basis
            )
        })
        .collect();
    context.result(&json!({ "agencies": list }), lines.join("\n"));
    Ok(())
}

pub(super) async fn show(context: &Context, id: &AgencyId) -> Result<(), Failure> {
    let (config, directory) = read(context)?;
    let agency = directory.get(id).ok_or_else(|| no_such_agency(&directory, id))?;
    let at = now();
    let checklist = Checklist::of(context, &config, agency, at).await?;
    let mut view = view(agency, at);
    let lines: Vec<_> = view
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name:<20} {}", plain(value)))
        .collect();
    view["checklist"] = checklist.to_json();
    context.result(&view, format!("{}\n\n{checklist}", lines.join("\n")));
    Ok(())
}

fn read(context: &Context) -> Result<(Config, Directory), Failure> {
    let config = crate::cli::config(&context.home)?;
    let options = ParseOptions { allow_loopback: config.push.allow_loopback };
    let directory = Directory::parse(&read_text(&context.home.partners())?, options, now())?;
    Ok((config, directory))
}

fn summary(agency: &Partner, at: jiff::Timestamp) -> Value {
    json!({
        "id": agency.id,
        "kind": agency.kind.as_str(),
        "name": agency.name,
        "odsCode": agency.ods_code,
        "statutoryBasis": agency.statutory_basis,
        "status": agency.status_at(at).as_str(),
    })
}

fn view(agency: &Partner, at: jiff::Timestamp) -> Value {
    let endpoints: Vec<_> = agency
        .endpoints
        .iter()
        .map(|endpoint| match endpoint {
            Endpoint::Mailbox => "mailbox".to_owned(),
            Endpoint::Push { url, .. } => format!("push {url}"),
        })
        .collect();
    let officer = |officer: &Option<Officer>| {
        officer.as_ref().map(|o| format!("{}, {}", o.name, o.telephone))
    };
    let mut view = summary(agency, at);
    view["contactOfficer"] = json!(officer(&agency.contact_officer));
    view["deputy"] = json!(officer(&agency.deputy));
    view["endpoints"] = json!(endpoints);
    view["privacyNoticeSeen"] = json!(agency.privacy_notice_seen.map(|day| day.to_string()));
    view["policyReview"] = json!(agency.policy_document.as_ref().map(|d| d.review.to_string()));
    view["securityContact"] = json!(officer(&agency.security_contact));
    view["successor"] = json!(agency.successor);
    view["telephone"] = json!(agency.telephone);
    view["trainingAttested"] = json!(agency.training_attested.map(|day| day.to_string()));
    view
}

fn plain(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
