//! `cert issue`: certifies an agency's key.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Office;
use crate::cli::connect;
use crate::cli::init::fingerprint;
use crate::cli::running::Told;
use crate::cli::{Context, Failure, read_text};
use crate::message::{AgencyId, now, rfc3339};
use crate::pki::ca::Profile;

#[derive(Args)]
pub(in crate::cli) struct Issue {
    /// The agency, as the directory names it
    agency: AgencyId,
    /// The agency's signing request (PEM)
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Where to write the certificate and what else the agency needs
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
}

impl Issue {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let (directory, partner) = office.partner(&self.agency)?;
        let profile = Profile::Agency(self.agency.clone());
        // First: what could fail in it must not fail once a certificate is on the register.
        connect::write(context, directory, partner, &self.out)?;
        let issued =
            office.issue(&self.agency, &profile, &read_text(&self.csr)?, &self.out).await?;
        let certificate = self.out.join(format!("{}.pem", self.agency));
        if !partner.is_active(now()) {
            eprintln!(
                "note: {} is {} in the directory: until it is active it can only be tested",
                self.agency,
                partner.status_at(now()).as_str()
            );
        }
        let told = office.tell_gateway().await;
        context.result(
            &json!({
                "agency": self.agency,
                "certificate": certificate,
                "notAfter": rfc3339(issued.not_after),
                "serial": issued.serial,
                "sha256": fingerprint(&issued.sha256),
            }),
            format!(
                "Issued to {} ({})  serial {}  valid to {}\n  fingerprint  SHA256 {}\n\
                 Wrote {}, ca.pem, log-key.txt and CONNECT.txt: safe to e-mail; the key never left the agency.{}",
                self.agency,
                partner.name,
                issued.serial,
                rfc3339(issued.not_after),
                fingerprint(&issued.sha256),
                certificate.display(),
                match told {
                    Told::InUse { .. } | Told::NotRunning => "",
                    Told::Failed => "\nThe running gateway will notice within seconds.",
                }
            ),
        );
        Ok(())
    }
}
