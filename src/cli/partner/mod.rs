//! `partner`: the directory of agencies, and how one joins.

pub(in crate::cli) mod add;
pub(in crate::cli) mod checklist;
mod endpoint;
pub(in crate::cli) mod file;
mod particulars;
mod show;
mod standing;
mod test;

use clap::Subcommand;

use super::{Context, Failure, block_on};
use crate::message::AgencyId;

/// The directory of agencies, and how one joins.
#[derive(Subcommand)]
pub(super) enum Partner {
    /// Add an agency, pending; shows what is still to be done
    #[command(after_help = "Examples:
  mash-gateway partner add demo-surgery --name \"Demo Surgery\" --kind gp --ods X99999 \\
      --basis children-act-2004-s11 --pco \"Dr A Example\" --pco-tel \"01632 960001\" \\
      --deputy \"B Example\" --home H
  mash-gateway partner add demo-police --name \"Demo Police\" --kind police \\
      --basis \"Children Act 2004, section 11 (chief officer of police)\" \\
      --pco \"C Example\" --pco-tel \"01632 960002\" --deputy \"D Example\" \\
      --push https://mash.police.example/in --push-ca police-ca.pem --mailbox --home H

An agency that stands in partners.toml already, as the agreement's do, is completed with
partner set.")]
    Add(Box<add::Add>),
    /// Complete or correct an agency's entry
    #[command(after_help = "Example:
  mash-gateway partner set merseyside-police --pco \"C Example\" --pco-tel \"01632 960002\" \\
      --deputy \"D Example\" --telephone \"01632 960003\" --home H")]
    Set(Box<add::Set>),
    /// Say where an agency takes delivery
    #[command(after_help = "Examples:
  mash-gateway partner endpoint demo-surgery --mailbox --home H
  mash-gateway partner endpoint demo-police --push https://mash.police.example/in \\
      --ca police-ca.pem --fallback-mailbox --home H")]
    Endpoint(endpoint::Endpoint),
    /// Make a real round trip with an agency: a test about nobody, and its answer
    #[command(after_help = "Examples:
  mash-gateway partner test demo-surgery --home H
  mash-gateway partner test demo-surgery --wait 2h --home H

The gateway must be running. What the agency has to do is printed; it is in its CONNECT.txt too.")]
    Test(test::Test),
    /// Let an agency take part, when nothing is left to be done
    #[command(after_help = "Example:
  mash-gateway partner activate demo-surgery --home H")]
    Activate(standing::Activate),
    /// Stop an agency for now: nothing goes to it, and nothing is taken from it
    #[command(after_help = "Example:
  mash-gateway partner suspend demo-surgery --confirm demo-surgery --home H")]
    Suspend(standing::Suspend),
    /// List the agencies
    #[command(after_help = "Example:
  mash-gateway partner list --home H")]
    List,
    /// Show one agency's entry, and what is still to be done before it can take part
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
        block_on(async {
            match self {
                Self::Activate(activate) => activate.run(context).await,
                Self::Add(add) => add.run(context).await,
                Self::Check => show::check(context),
                Self::Endpoint(endpoint) => endpoint.run(context).await,
                Self::List => show::list(context),
                Self::Set(set) => set.run(context).await,
                Self::Show { id } => show::show(context, &id).await,
                Self::Suspend(suspend) => suspend.run(context).await,
                Self::Test(test) => test.run(context).await,
            }
        })
    }
}
