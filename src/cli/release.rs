//! `subject-access release`: that what agencies sent may be released to somebody who asks what is held about
//! them, which needs each agency's view, or a decision to do without one (R97).

use clap::{Args, ValueEnum};
use serde_json::json;

use super::cert::Office;
use super::evidence::find;
use super::{Context, Exit, Failure};
use crate::audit::entry::Event;
use crate::message::{Exchange, now};
use crate::store::{Applied, Effect};

/// Record that what agencies sent is released, once each has said what may be
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway subject-access release RFI-2026-000001-H --home H
  mash-gateway subject-access release RFI-2026-000001-H --without-view no-reply-in-time --home H

What is released and how is the Access to Files Officer's to decide, by what the agencies' views say. While one
that has answered was not consulted, or has not said, this is refused; --without-view records why it is done all
the same: court-order, no-reply-in-time, told-otherwise.")]
pub(super) struct Release {
    /// The enquiry by its id, or one of its exchanges by reference (RFI-2026-000001-H) or id
    enquiry: String,
    /// Why the views that are missing are not waited for
    #[arg(long, value_name = "REASON")]
    without_view: Option<WithoutView>,
}

/// Why a view is not waited for.
#[derive(Clone, Copy, ValueEnum)]
enum WithoutView {
    /// A court ordered it.
    CourtOrder,
    /// The law's time is over and the agency has not said.
    NoReplyInTime,
    /// The agency said it in another way.
    ToldOtherwise,
}

impl WithoutView {
    fn as_str(self) -> &'static str {
        match self {
            Self::CourtOrder => "court-order",
            Self::NoReplyInTime => "no-reply-in-time",
            Self::ToldOtherwise => "told-otherwise",
        }
    }
}

impl Release {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let enquiry = find(&*office.store, &self.enquiry).await?;
        let exchanges = office.store.enquiry(&enquiry).await?;
        // Who sent nothing has nothing that could be released.
        let sent = || exchanges.iter().filter(|exchange| exchange.result.is_some());
        if sent().next().is_none() {
            return Err(Failure::new(Exit::Failed, "no agency has sent anything in this enquiry"));
        }
        let is_missing = |exchange: &&Exchange| {
            exchange.marks.viewed_at.is_none() || exchange.marks.is_consulted()
        };
        let missing: Vec<_> = sent().filter(is_missing).collect();
        if !missing.is_empty() && self.without_view.is_none() {
            let names: Vec<_> = missing
                .iter()
                .map(|exchange| format!("{} ({})", exchange.agency, exchange.reference))
                .collect();
            let message = format!("not said by {}; nothing was recorded", names.join(", "));
            return Err(Failure::new(Exit::Failed, message).hint(
                "mash-gateway subject-access consult, or --without-view REASON if it is not waited for",
            ));
        }
        let reason = self.without_view.filter(|_| !missing.is_empty()).map(WithoutView::as_str);
        let event = Event::subject_access_released(&enquiry, missing.len() as u64, reason);
        match office.ledger.record(&event, now(), None, Effect::Log).await? {
            Applied::Recorded(logged) => {
                context.result(
                    &json!({
                        "enquiry": enquiry, "entry": logged.index, "missing": missing.len(),
                        "withoutView": reason,
                    }),
                    format!("entry {}: what was sent in {enquiry} may be released", logged.index),
                );
                Ok(())
            }
            _ => Err(Failure::new(Exit::Failed, "it could not be logged")),
        }
    }
}
