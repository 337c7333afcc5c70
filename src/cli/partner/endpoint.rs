//! `partner endpoint`: where an agency takes delivery.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::add::{next, preview};
use super::checklist::Checklist;
use super::file::{PartnersFile, no_such_agency};
use crate::cli::{Context, Exit, Failure, read_text};
use crate::config::write_synced;
use crate::directory;
use crate::directory::edit::Setting;
use crate::message::{AgencyId, now};
use crate::pki::tls;

#[derive(Args)]
pub(in crate::cli) struct Endpoint {
    /// The agency
    id: AgencyId,
    /// It collects from a mailbox
    #[arg(long, required_unless_present = "push", conflicts_with = "push")]
    mailbox: bool,
    /// The gateway posts to this https:// address
    #[arg(long, value_name = "URL", requires = "ca")]
    push: Option<String>,
    /// The authority of the endpoint's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "push")]
    ca: Option<PathBuf>,
    /// When the push fails, what is for it waits in a mailbox
    #[arg(long, requires = "push")]
    fallback_mailbox: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Endpoint {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        let file = PartnersFile::open(context, at)?;
        file.partner(&self.id)?;
        let push = self.push.as_deref().zip(self.ca.as_deref());
        let has_mailbox = self.mailbox || self.fallback_mailbox;
        let Some(delivery) = Delivery::new(context, &self.id, push, has_mailbox)? else {
            return Err(Failure::new(Exit::Misused, "give --mailbox, or --push and --ca"));
        };
        let setting = delivery.setting();
        let changed = file.set(&self.id, std::slice::from_ref(&setting), at)?;
        if self.dry_run {
            return preview(context, &self.id, &changed);
        }
        delivery.keep()?;
        let written = changed.write(context).await?;
        let directory = &written.directory;
        let partner = directory.get(&self.id).ok_or_else(|| no_such_agency(directory, &self.id))?;
        let checklist = Checklist::of(context, &written.config, partner, at).await?;
        let endpoints: Vec<_> = partner
            .endpoints
            .iter()
            .map(|endpoint| match endpoint {
                directory::Endpoint::Mailbox => "mailbox".to_owned(),
                directory::Endpoint::Push { url, .. } => format!("push {url}"),
            })
            .collect();
        context.result(
            &json!({
                "agency": self.id, "checklist": checklist.to_json(), "endpoints": endpoints,
            }),
            format!("{} takes delivery by {}. {checklist}", self.id, endpoints.join(", then ")),
        );
        context.say(written.use_in_words());
        next(context, &checklist);
        Ok(())
    }
}

/// Where an agency is to take delivery, and the authority that has to be kept for it.
pub(super) struct Delivery {
    endpoints: Vec<directory::Endpoint>,
    /// The authority's certificates, and where in the home they are to be.
    authority: Option<(PathBuf, String)>,
}

impl Delivery {
    /// By push, by mailbox, or by both in this order; none when by neither.
    pub(super) fn new(
        context: &Context,
        id: &AgencyId,
        push: Option<(&str, &Path)>,
        has_mailbox: bool,
    ) -> Result<Option<Self>, Failure> {
        let mut endpoints = Vec::new();
        let mut authority = None;
        if let Some((url, file)) = push {
            let pem = read_text(file)?;
            tls::check_roots(&pem).map_err(|error| {
                Failure::new(Exit::Misused, format!("{}: {error}", file.display()))
                    .hint("it must hold the certificate of the authority that issued the endpoint's, as PEM")
            })?;
            let ca = format!("certs/push-{id}.pem");
            authority = Some((context.home.resolve(&ca), pem));
            endpoints.push(directory::Endpoint::Push { url: url.to_owned(), ca });
        }
        if has_mailbox {
            endpoints.push(directory::Endpoint::Mailbox);
        }
        Ok((!endpoints.is_empty()).then_some(Self { endpoints, authority }))
    }

    pub(super) fn setting(&self) -> Setting {
        Setting::Endpoints(self.endpoints.clone())
    }

    /// Puts the authority where the directory says that it is.
    pub(super) fn keep(self) -> Result<(), Failure> {
        match self.authority {
            Some((path, pem)) => Ok(write_synced(&path, pem.as_bytes(), 0o644)?),
            None => Ok(()),
        }
    }
}
