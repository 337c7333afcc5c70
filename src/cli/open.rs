//! `open`: a sealed payload, for its custodian.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::{Context, Exit, Failure, read_text};
use crate::seal::{self, Identities};

/// Open a sealed payload, as its custodian.
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway open payload.age --identity agency-identity.txt
  age -d -i agency-identity.txt payload.age      the same with the stock tool

A payload the gateway keeps is sealed to its enquiry's key; that key is itself sealed to the
gateway's at-rest identity and to the recovery identity.")]
pub(super) struct Open {
    /// The sealed payload, an age file
    file: PathBuf,
    /// The age identity that opens it
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
}

impl Open {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let identities = Identities::parse(&SecretString::from(read_text(&self.identity)?))?;
        let sealed = std::fs::read(&self.file).map_err(|error| {
            Failure::new(Exit::NotFound, format!("cannot read {}: {error}", self.file.display()))
        })?;
        let opened = seal::open_with(&identities, &sealed).map_err(|error| {
            Failure::new(Exit::VerificationFailed, error)
                .hint("another identity may open it; nothing of it was shown")
        })?;
        if !context.global.quiet {
            eprintln!("{}", opened.header);
        }
        std::io::stdout().write_all(&opened.body)?;
        Ok(())
    }
}
