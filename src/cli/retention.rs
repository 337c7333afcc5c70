//! `retention`: what is destroyed when its time has come, and what is kept from that. Beside a gateway that
//! runs, which does the same by itself every hour.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::cert::Office;
use super::evidence::find;
use super::{Context, Exit, Failure, block_on, store};
use crate::audit::entry::{Event, HoldReason};
use crate::message::now;
use crate::retention::{self, Extent, Run};
use crate::store::{Applied, Effect};

/// What is destroyed when its time has come, and what is kept from that.
#[derive(Subcommand)]
pub(super) enum Retention {
    /// Destroy what is due; the log says so, and every receipt still verifies
    #[command(after_help = "Examples:
  mash-gateway retention run --dry-run --home H
  mash-gateway retention run --keys /backup/enquiry-keys.db --home H

A gateway that runs does this every hour. What is destroyed cannot be read in backups either once their
file of keys was renewed: by the next store backup, or at once with --keys.")]
    Run(RunNow),
    /// Keep an enquiry until further notice, whatever its age
    #[command(after_help = "Example:
  mash-gateway retention hold RFI-2026-000123-X --reason inquiry --home H

Reasons: complaint, criminal-investigation, inquiry, legal-proceedings, subject-access.")]
    Hold(Hold),
    /// End a legal hold
    #[command(after_help = "Example:
  mash-gateway retention release RFI-2026-000123-X --home H")]
    Release(Release),
}

#[derive(Args)]
pub(super) struct RunNow {
    /// Only say what would be destroyed
    #[arg(long, conflicts_with = "keys")]
    dry_run: bool,
    /// The file of keys that backups are read with, to be renewed
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Hold {
    /// The enquiry, or the reference of one of its exchanges
    #[arg(value_name = "ENQUIRY")]
    enquiry: String,
    /// For what it is kept
    #[arg(long)]
    reason: HoldReason,
}

#[derive(Args)]
pub(super) struct Release {
    /// The enquiry, or the reference of one of its exchanges
    #[arg(value_name = "ENQUIRY")]
    enquiry: String,
}

impl Retention {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Run(run) => run.run(context).await,
                Self::Hold(hold) => hold.run(context).await,
                Self::Release(release) => release.run(context).await,
            }
        })
    }
}

impl RunNow {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let periods = office.config.retention.periods();
        let extent = if self.dry_run { Extent::Look } else { Extent::Destroy(&office.ledger) };
        let bar = if context.global.quiet || context.global.json {
            indicatif::ProgressBar::hidden()
        } else {
            indicatif::ProgressBar::new_spinner()
        };
        let run = retention::run(&*office.store, extent, &periods, now(), || bar.inc(1)).await?;
        bar.finish_and_clear();
        if let Some(keys) = &self.keys {
            store::renew_keys(context, keys).await?;
        }
        let destroyed = run
            .destroyed
            .iter()
            .map(|(enquiry, rule)| json!({ "enquiry": enquiry, "rule": rule.as_str() }));
        let document = json!({
            "destroyed": destroyed.collect::<Vec<_>>(), "dryRun": self.dry_run, "held": run.held,
            "open": run.open,
        });
        context.result(&document, told(&run, self.dry_run));
        Ok(())
    }
}

fn told(run: &Run, is_dry: bool) -> String {
    let mut lines: Vec<_> = run
        .destroyed
        .iter()
        .map(|(enquiry, rule)| format!("{enquiry}  {}", rule.as_str()))
        .collect();
    let count = run.destroyed.len();
    lines.push(match (count, is_dry) {
        (0, _) => "Nothing is due.".to_owned(),
        (_, true) => format!("Due: {count}. Nothing was destroyed: this was a dry run."),
        (_, false) => format!("Destroyed: {count}."),
    });
    if run.held > 0 {
        lines.push(format!("Due, and under a legal hold: {}.", run.held));
    }
    if run.open > 0 {
        lines.push(format!(
            "Older than that, and neither closed nor saved: {}. Send their outcomes, or cancel them.",
            run.open
        ));
    }
    lines.join("\n")
}

impl Hold {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let enquiry = find(&*office.store, &self.enquiry).await?;
        let event = Event::legal_hold_placed(&enquiry, self.reason);
        let effect = Effect::HoldEnquiry(enquiry);
        match office.ledger.record(&event, now(), None, effect).await? {
            Applied::Recorded(logged) => {
                let reason = self.reason.as_str();
                context.result(
                    &json!({ "enquiry": enquiry, "entry": logged.index, "reason": reason }),
                    format!("{enquiry} is kept until it is released: {reason}"),
                );
                Ok(())
            }
            _ => Err(Failure::new(Exit::Failed, "it is held already, or destroyed")),
        }
    }
}

impl Release {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let enquiry = find(&*office.store, &self.enquiry).await?;
        let event = Event::legal_hold_released(&enquiry);
        let effect = Effect::ReleaseEnquiry(enquiry);
        match office.ledger.record(&event, now(), None, effect).await? {
            Applied::Recorded(logged) => {
                context.result(
                    &json!({ "enquiry": enquiry, "entry": logged.index }),
                    format!("{enquiry} is released; it is destroyed when it is due"),
                );
                Ok(())
            }
            _ => Err(Failure::new(Exit::Failed, "there is no legal hold on it")),
        }
    }
}

impl clap::ValueEnum for HoldReason {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}
