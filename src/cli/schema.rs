//! `schema`: the contract, offline.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Exit, Failure};
use crate::message::{Kind, now};
use crate::problem::Problem;
use crate::schema::Schemas;

/// The contract, offline.
#[derive(Subcommand)]
pub(super) enum Schema {
    /// Name the schemas
    #[command(after_help = "Example:
  mash-gateway schema list")]
    List,
    /// Check a payload; exit 3 if it is not valid
    #[command(after_help = "Example:
  mash-gateway schema validate response answer.json")]
    Validate(Validate),
}

#[derive(Args)]
pub(super) struct Validate {
    /// dispatch (what rfi send takes), rfi, response, acknowledgement, outcome or supplement
    kind: String,
    /// The payload, JSON
    file: PathBuf,
}

impl Schema {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List => {
                let names: Vec<_> = Schemas::names().collect();
                context.result(&json!({ "schemas": names }), names.join("\n"));
                Ok(())
            }
            Self::Validate(validate) => validate.run(context),
        }
    }
}

impl Validate {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let body = std::fs::read(&self.file).map_err(|error| {
            Failure::new(Exit::NotFound, format!("cannot read {}: {error}", self.file.display()))
        })?;
        let schemas = Schemas::compiled();
        let verdict = match (self.kind.as_str(), Kind::parse(&self.kind)) {
            ("dispatch", _) => schemas.validate_dispatch(&body, now()),
            (_, Some(kind)) => schemas.validate(kind, &body, now()),
            (_, None) => {
                return Err(Failure::new(Exit::Misused, "there is no schema for that kind")
                    .hint("one of rfi, dispatch, response, acknowledgement, outcome, supplement, test, test-reply"));
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
