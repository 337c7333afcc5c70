//! `schema`: the contract, offline.

mod diff;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Exit, Failure};
use crate::message::{Kind, now};
use crate::problem::Problem;
use crate::rule::law::{Power, powers};
use crate::schema::Schemas;

/// The contract, offline.
#[derive(Subcommand)]
pub(super) enum Schema {
    /// Say what is otherwise here than in a schema or list of powers that was kept
    #[command(after_help = "Examples:
  mash-gateway schema diff kept/rfi.v1.schema.json
  mash-gateway schema powers --json > kept/powers.json     then, with a later version:
  mash-gateway schema diff kept/powers.json

docs/changes.md says why.")]
    Diff(diff::Diff),
    /// Name the schemas
    #[command(after_help = "Example:
  mash-gateway schema list")]
    List,
    /// List the powers in law that a lawful basis may name
    #[command(after_help = "Examples:
  mash-gateway schema powers
  mash-gateway schema powers --json     with where each can be read

Corrected where the agreement errs. The list is not exhaustive: any other power is named as other, in
words (otherPower).")]
    Powers,
    /// Check a payload; exit 3 if it is not valid
    #[command(after_help = "Example:
  mash-gateway schema validate response answer.json")]
    Validate(Validate),
}

#[derive(Args)]
pub(super) struct Validate {
    /// dispatch (what rfi send takes), override (what override record takes), rfi, response, …
    kind: String,
    /// The payload, JSON
    file: PathBuf,
}

impl Schema {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Diff(diff) => diff.run(context),
            Self::List => {
                let names: Vec<_> = Schemas::names().collect();
                context.result(&json!({ "schemas": names }), names.join("\n"));
                Ok(())
            }
            Self::Powers => {
                let lines: Vec<_> = powers().iter().flat_map(power_lines).collect();
                context.result(&json!({ "powers": powers() }), lines.join("\n"));
                Ok(())
            }
            Self::Validate(validate) => validate.run(context),
        }
    }
}

fn power_lines(power: &Power) -> Vec<String> {
    let mut lines = vec![power.code.clone(), format!("    {}: {}", power.title, power.about)];
    if let Some(to) = power.valid_to {
        let instead = match &power.successor {
            Some(successor) => format!("; in its place: {successor}"),
            None => String::new(),
        };
        lines.push(format!("    ended on {to}{instead}"));
    }
    if let Some(says) = &power.agreement_says {
        lines.push(format!("    the agreement says: {says}"));
    }
    lines.extend(power.note.iter().map(|note| format!("    {note}")));
    lines
}

impl Validate {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let body = std::fs::read(&self.file).map_err(|error| {
            Failure::new(Exit::NotFound, format!("cannot read {}: {error}", self.file.display()))
        })?;
        let schemas = Schemas::compiled();
        let verdict = match (self.kind.as_str(), Kind::parse(&self.kind)) {
            ("dispatch", _) => schemas.validate_dispatch(&body, now()),
            ("override", _) => schemas.check_override(&body, now()).map(drop),
            (_, Some(kind)) => schemas.validate(kind, &body, now()),
            (_, None) => {
                return Err(Failure::new(Exit::Misused, "there is no schema for that kind").hint(
                    format!(
                        "one of dispatch, override, {}",
                        Kind::ALL.map(Kind::as_str).join(", ")
                    ),
                ));
            }
        };
        match verdict.map_err(Problem::from) {
            Ok(()) => {
                context.result(&json!({ "valid": true }), "valid");
                Ok(())
            }
            Err(problem) => {
                let document: serde_json::Value = serde_json::from_str(&problem.document(""))?;
                let errors = document["errors"].clone();
                let mut lines = vec![format!("{}: {}", problem.kind.facts().title, problem.detail)];
                for error in &problem.errors {
                    let place =
                        if error.pointer.is_empty() { "(the whole)" } else { &error.pointer };
                    lines.push(format!("  {place}  {}  [{}]", error.message, error.code));
                }
                if context.global.json {
                    let verdict = json!({
                        "errors": errors, "type": document["type"], "valid": false,
                    });
                    super::print(format_args!("{verdict:#}"));
                }
                Err(Failure::new(Exit::VerificationFailed, lines.join("\n")))
            }
        }
    }
}
