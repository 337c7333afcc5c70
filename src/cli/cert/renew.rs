//! `cert renew` and `cert gateway`: certificates replaced before they end.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Office;
use super::office::read_request;
use crate::audit::entry::Grant;
use crate::cli::{Context, Exit, Failure};
use crate::message::{AgencyId, now, rfc3339};
use crate::pki::ca::Profile;
use crate::pki::fingerprint::fingerprint;
use crate::register::Told;
use crate::worker::trust::{self, Own};

#[derive(Args)]
pub(in crate::cli) struct Renew {
    /// The agency, as the directory names it
    agency: AgencyId,
    /// The agency's signing request (PEM), for a new key
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Where to write the certificate and what else the agency needs
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
}

impl Renew {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let at = now();
        let profile = Profile::Agency(self.agency.clone());
        office.partner(&self.agency)?;
        // What was revoked is not renewed: that is a new issue, and somebody's decision.
        let certificates = office.register.certificates().await?;
        let predecessor = certificates.iter().find(|certificate| {
            certificate.agency == self.agency
                && certificate.profile == profile.name()
                && certificate.revoked.is_none()
        });
        let Some(predecessor) = predecessor else {
            let message = format!("{} has no certificate to renew", self.agency);
            return Err(Failure::new(Exit::NotFound, message)
                .hint(format!("mash-gateway cert issue {} --csr FILE", self.agency)));
        };
        let grant = Grant::Renewal { serial: predecessor.serial.clone() };
        let issued = office.sign(&profile, &read_request(&self.csr)?, grant, at).await?;
        let certificate = office.write(&issued, &self.out, self.agency.as_str())?;
        office.tell_gateway().await;
        context.result(
            &json!({
                "agency": self.agency,
                "certificate": certificate,
                "notAfter": rfc3339(issued.not_after),
                "renews": predecessor.serial,
                "serial": issued.serial,
                "sha256": fingerprint(&issued.sha256),
            }),
            format!(
                "Renewed for {}  serial {}  valid to {}\n  fingerprint  SHA256 {}\n\
                 Wrote {}. The one before ({}) stays good until {}, so that the agency can change \
                 over when it likes.",
                self.agency,
                issued.serial,
                rfc3339(issued.not_after),
                fingerprint(&issued.sha256),
                certificate.display(),
                predecessor.serial,
                rfc3339(predecessor.not_after),
            ),
        );
        Ok(())
    }
}

/// Replaces the gateway's own certificates, with new keys.
pub(super) async fn gateway(context: &Context) -> Result<(), Failure> {
    let office = Office::open(context).await?;
    let at = now();
    for own in [Own::Server, Own::Client] {
        let (home, config) = (&context.home, &office.config);
        trust::renew(&office.register, own, home, config, Grant::Operator, at).await?;
    }
    let told = office.tell_gateway().await;
    let is_in_use = matches!(told, Told::InUse { .. });
    context.result(
        &json!({ "inUse": is_in_use }),
        match is_in_use {
            true => "Renewed the gateway's own certificates; the running gateway shows them now.",
            false => {
                "Renewed the gateway's own certificates; the gateway shows them when it starts."
            }
        },
    );
    match told {
        Told::InUse { .. } | Told::NotRunning => Ok(()),
        Told::Failed => Err(Failure::new(
            Exit::Failed,
            "THE RUNNING GATEWAY HAS NOT TAKEN THEM INTO USE; curl /readyz says why",
        )),
    }
}
