//! `partner`: the directory of agencies.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, Exit, Failure, read_text};
use crate::directory::parse::ParseOptions;
use crate::directory::{Directory, Endpoint, Partner as Agency};
use crate::message::{AgencyId, now};

/// The directory of agencies.
#[derive(Subcommand)]
pub(super) enum Partner {
    /// List the agencies
    #[command(after_help = "Example:
  mash-gateway partner list --home H")]
    List,
    /// Show one agency's entry
    #[command(after_help = "Example:
  mash-gateway partner show merseyside-police --home H")]
    Show {
        /// The agency's id
        id: AgencyId,
    },
    /// Check partners.toml; every mistake is reported at once
    #[command(after_help = "Example:
  mash-gateway partner check --home H")]
    Check,
}

impl Partner {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let directory = read(context)?;
        match self {
            Self::Check => {
                let count = directory.all().count();
                context.result(
                    &json!({ "agencies": count, "good": true }),
                    format!("{}: {count} agencies, no mistakes", context.home.partners().display()),
                );
                Ok(())
            }
            Self::List => {
                let at = now();
                let list: Vec<Value> = directory.all().map(|agency| summary(agency, at)).collect();
                let lines: Vec<_> = directory
                    .all()
                    .map(|agency| {
                        format!(
                            "{:<40} {:<10} {:<24} {}",
                            agency.id.as_str(),
                            agency.status_at(at).as_str(),
                            agency.kind.as_str(),
                            agency.name
                        )
                    })
                    .collect();
                context.result(&json!({ "agencies": list }), lines.join("\n"));
                Ok(())
            }
            Self::Show { id } => match directory.get(&id) {
                Some(agency) => {
                    let shown = show(agency, now());
                    let lines: Vec<_> = shown
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, value)| format!("{name:<20} {}", plain(value)))
                        .collect();
                    context.result(&shown, lines.join("\n"));
                    Ok(())
                }
                None => Err(Failure::new(Exit::NotFound, "there is no such agency")
                    .hint("mash-gateway partner list")),
            },
        }
    }
}

fn read(context: &Context) -> Result<Directory, Failure> {
    let config = super::config(&context.home)?;
    let options = ParseOptions { allow_loopback: config.push.allow_loopback };
    Ok(Directory::parse(&read_text(&context.home.partners())?, options, now())?)
}

fn summary(agency: &Agency, at: jiff::Timestamp) -> Value {
    json!({
        "id": agency.id,
        "kind": agency.kind.as_str(),
        "name": agency.name,
        "odsCode": agency.ods_code,
        "status": agency.status_at(at).as_str(),
    })
}

fn show(agency: &Agency, at: jiff::Timestamp) -> Value {
    let endpoints: Vec<_> = agency
        .endpoints
        .iter()
        .map(|endpoint| match endpoint {
            Endpoint::Mailbox => "mailbox".to_owned(),
            Endpoint::Push { url, .. } => format!("push {url}"),
        })
        .collect();
    let officer = |officer: &Option<crate::directory::Officer>| {
        officer.as_ref().map(|o| format!("{}, {}", o.name, o.telephone))
    };
    let mut view = summary(agency, at);
    view["contactOfficer"] = json!(officer(&agency.contact_officer));
    view["deputy"] = json!(officer(&agency.deputy));
    view["endpoints"] = json!(endpoints);
    view["statutoryBasis"] = json!(agency.statutory_basis);
    view["successor"] = json!(agency.successor);
    view["telephone"] = json!(agency.telephone);
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
