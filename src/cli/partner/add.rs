//! `partner add` and `partner set`: an agency's entry, written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::checklist::Checklist;
use super::endpoint::Delivery;
use super::file::{Changed, PartnersFile};
use super::particulars::{Particulars, basis, kind};
use crate::cli::{Context, Exit, Failure, connect};
use crate::directory::edit::Setting;
use crate::directory::{AgencyKind, Status};
use crate::message::{AgencyId, now};

#[derive(Args)]
pub(in crate::cli) struct Add {
    /// Its id in certificates, messages and the log, for ever: small letters, digits, hyphens
    id: AgencyId,
    /// Its full name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// gp, police, nhs-trust, childrens-social-care, … (--help for all)
    ///
    /// gp (short for gp-surgery), gp-surgery-class, hub, police, nhs-trust, mental-health-trust,
    /// childrens-social-care, adult-social-care, early-help, probation, community-rehabilitation,
    /// other
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: AgencyKind,
    /// The law under which it takes part, in words or as a code such as children-act-2004-s11
    #[arg(long, value_name = "LAW")]
    basis: String,
    #[command(flatten)]
    particulars: Particulars,
    /// It collects from a mailbox; with --push, when that fails
    #[arg(long)]
    mailbox: bool,
    /// The gateway posts to this https:// address
    #[arg(long, value_name = "URL", requires = "push_ca")]
    push: Option<String>,
    /// The authority of the endpoint's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "push")]
    push_ca: Option<PathBuf>,
    /// Where to write CONNECT.txt, for the agency [default: a folder named for it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Set {
    /// The agency
    id: AgencyId,
    /// Its full name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The law under which it takes part, in words or as a code such as children-act-2004-s11
    #[arg(long, value_name = "LAW")]
    basis: Option<String>,
    #[command(flatten)]
    particulars: Particulars,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        let file = PartnersFile::open(context, at)?;
        let is_known = file.directory().get(&self.id).is_some();
        let mut settings = vec![
            Setting::Name(self.name),
            Setting::Kind(self.kind),
            Setting::Status(Status::Pending),
            Setting::StatutoryBasis(basis(&self.basis)),
        ];
        settings.extend(self.particulars.settings(None)?);
        let push = self.push.as_deref().zip(self.push_ca.as_deref());
        let delivery = Delivery::new(context, &self.id, push, self.mailbox)?;
        settings.extend(delivery.as_ref().map(Delivery::setting));
        let changed = file.add(&self.id, &settings, at).map_err(|failure| match is_known {
            true => failure.hint(format!(
                "to complete an entry that is there already: mash-gateway partner set {}{}",
                self.id,
                context.at_home()
            )),
            false => failure,
        })?;
        if self.dry_run {
            return preview(context, &self.id, &changed);
        }
        // Before anything is written: what it needs may be missing.
        let out = self.out.unwrap_or_else(|| PathBuf::from(self.id.as_str()));
        let partner = new(changed.directory(), &self.id)?;
        let guide = connect::write(context, changed.directory(), partner, &out)?;
        if let Some(delivery) = delivery {
            delivery.keep()?;
        }
        let written = changed.write(context).await?;
        let partner = new(&written.directory, &self.id)?;
        let checklist = Checklist::of(context, &written.config, partner, at).await?;
        context.result(
            &json!({
                "agency": self.id,
                "checklist": checklist.to_json(),
                "connect": guide,
                "status": partner.status_at(at).as_str(),
            }),
            format!("Added {} ({}). {checklist}", self.id, partner.status_at(at).as_str()),
        );
        context.say(format!(
            "Wrote {}, and ca.pem and log-key.txt beside it: for the agency, safe to e-mail. {}",
            guide.display(),
            written.use_in_words()
        ));
        next(context, &checklist);
        Ok(())
    }
}

impl Set {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        let file = PartnersFile::open(context, at)?;
        let mut settings = Vec::new();
        settings.extend(self.name.map(Setting::Name));
        settings.extend(self.basis.as_deref().map(basis).map(Setting::StatutoryBasis));
        settings.extend(self.particulars.settings(Some(file.partner(&self.id)?))?);
        if settings.is_empty() {
            return Err(Failure::new(Exit::Misused, "nothing to set was given")
                .hint("mash-gateway partner set --help"));
        }
        let keys: Vec<_> = settings.iter().map(Setting::key).collect();
        let changed = file.set(&self.id, &settings, at)?;
        if self.dry_run {
            return preview(context, &self.id, &changed);
        }
        let written = changed.write(context).await?;
        let partner = new(&written.directory, &self.id)?;
        let checklist = Checklist::of(context, &written.config, partner, at).await?;
        context.result(
            &json!({ "agency": self.id, "checklist": checklist.to_json(), "set": keys }),
            format!("Set {} of {}. {checklist}", keys.join(", "), self.id),
        );
        context.say(written.use_in_words());
        next(context, &checklist);
        Ok(())
    }
}

/// Says which command comes next; a whole list says so itself.
pub(in crate::cli) fn next(context: &Context, checklist: &Checklist) {
    if let (Some(next), false) = (checklist.next(), checklist.is_whole()) {
        context.say(format!("Next: {next}"));
    }
}

/// Shows what would be written.
pub(super) fn preview(context: &Context, id: &AgencyId, changed: &Changed) -> Result<(), Failure> {
    let lines = changed.lines();
    context.result(
        &json!({ "agency": id, "dryRun": true, "lines": lines.lines().collect::<Vec<_>>() }),
        &lines,
    );
    context.say("Nothing was written: this was a dry run.");
    Ok(())
}

fn new<'d>(
    directory: &'d crate::directory::Directory,
    id: &AgencyId,
) -> Result<&'d crate::directory::Partner, Failure> {
    directory.get(id).ok_or_else(|| super::file::no_such_agency(directory, id))
}
