//! `partner activate` and `partner suspend`: who takes part.

use clap::Args;
use serde_json::json;

use super::checklist::Checklist;
use super::file::PartnersFile;
use crate::cli::{Context, Exit, Failure};
use crate::directory::edit::Setting;
use crate::directory::{AgencyKind, Status};
use crate::message::{AgencyId, now};
use crate::register::Told;

#[derive(Args)]
pub(in crate::cli) struct Activate {
    /// The agency
    id: AgencyId,
}

#[derive(Args)]
pub(in crate::cli) struct Suspend {
    /// The agency
    id: AgencyId,
    /// The agency's id once more, so that nobody is stopped by a slip
    #[arg(long, value_name = "ID")]
    confirm: AgencyId,
}

impl Activate {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        let file = PartnersFile::open(context, at)?;
        let partner = file.partner(&self.id)?;
        if partner.status_at(at) == Status::Closed {
            let message = format!("{} has closed; nothing was changed", self.id);
            return Err(Failure::new(Exit::Failed, message)
                .hint("an agency that comes back is a new one: mash-gateway partner add"));
        }
        let checklist = Checklist::of(context, &file.config, partner, at).await?;
        if !checklist.is_whole() {
            let undone = checklist.undone_names().join(", ");
            let failure = Failure::new(
                Exit::Failed,
                format!("{} is not activated; still to be done: {undone}", self.id),
            );
            let failure = Failure {
                document: Some(json!({
                    "activated": false, "agency": self.id, "checklist": checklist.to_json(),
                })),
                ..failure
            };
            return Err(match checklist.next() {
                Some(next) => failure.hint(next),
                None => failure,
            });
        }
        if let Some(document) = partner.policy_document.as_ref().filter(|d| d.is_due(at)) {
            eprintln!(
                "note: the review of its policy document is due by {}; mash-gateway apd list",
                document.review
            );
        }
        let changed = file.set(&self.id, &[Setting::Status(Status::Active)], at)?;
        let written = changed.write(context).await?;
        let status = written.directory.get(&self.id).map(|partner| partner.status_at(at));
        let has_begun = status == Some(Status::Active);
        context.result(
            &json!({
                "activated": has_begun,
                "agency": self.id,
                "checklist": checklist.to_json(),
                "inUse": written.told.is_in_use(),
            }),
            match has_begun {
                true => format!("{} is active. {}", self.id, written.use_in_words()),
                false => format!(
                    "{} will be active from its first day, valid_from. {}",
                    self.id,
                    written.use_in_words()
                ),
            },
        );
        match written.told {
            Told::InUse { .. } | Told::NotRunning => Ok(()),
            Told::Failed => Err(not_in_use()),
        }
    }
}

impl Suspend {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        if self.confirm != self.id {
            let message = format!("--confirm does not name {}; nothing was changed", self.id);
            return Err(Failure::new(Exit::Misused, message));
        }
        let file = PartnersFile::open(context, at)?;
        let partner = file.partner(&self.id)?;
        if partner.status_at(at) == Status::Closed {
            let message = format!("{} has closed; nothing was changed", self.id);
            return Err(Failure::new(Exit::Failed, message));
        }
        if partner.kind == AgencyKind::Hub && partner.is_active(at) {
            let message = "without its hub the gateway does nothing; nothing was changed";
            return Err(Failure::new(Exit::Misused, message).hint("to stop everything, stop serve"));
        }
        let changed = file.set(&self.id, &[Setting::Status(Status::Suspended)], at)?;
        let written = changed.write(context).await?;
        let home = context.at_home();
        context.result(
            &json!({
                "agency": self.id,
                "inUse": written.told.is_in_use(),
                "status": Status::Suspended.as_str(),
            }),
            format!(
                "{id} is suspended: nothing goes to it, and nothing is taken from it.\n\
                 What is owed to it waits in its mailbox; its certificates stay good.\n\
                 To cut it off for good: mash-gateway cert revoke {id} --reason REASON --confirm {id}{home}\n\
                 To let it back in:      mash-gateway partner activate {id}{home}",
                id = self.id,
            ),
        );
        match written.told {
            Told::InUse { .. } => {
                context.say(written.use_in_words());
                Ok(())
            }
            Told::Failed | Told::NotRunning => Err(not_in_use()),
        }
    }
}

fn not_in_use() -> Failure {
    let message = "it is written, but NO RUNNING GATEWAY HAS TAKEN IT INTO USE";
    Failure::new(Exit::Failed, message)
        .hint("start or restart the gateway; it takes the directory into use when it starts")
}
