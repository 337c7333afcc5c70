//! `cert revoke` and `cert crl`: certificates made worthless, at once.

use clap::Args;
use serde_json::json;

use super::Office;
use crate::audit::entry::Event;
use crate::cli::running::Told;
use crate::cli::{Context, Exit, Failure};
use crate::message::{AgencyId, now, rfc3339};
use crate::pki::crl::Reason;
use crate::store::Effect;

#[derive(Args)]
pub(in crate::cli) struct Revoke {
    /// All certificates of this agency
    #[arg(required_unless_present = "serial", conflicts_with = "serial")]
    agency: Option<AgencyId>,
    /// The one certificate with this serial
    #[arg(long)]
    serial: Option<String>,
    /// key-compromise, affiliation-changed, superseded, cessation-of-operation or
    /// privilege-withdrawn
    #[arg(long, value_parser = reason)]
    reason: Reason,
    /// The agency's id once more, so that nobody is cut off by a slip
    #[arg(long, value_name = "AGENCY")]
    confirm: AgencyId,
}

impl Revoke {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context)?;
        let at = now();
        let mut chosen = office.store.certificates().await?;
        chosen.retain(|certificate| {
            self.agency.as_ref().is_none_or(|agency| certificate.agency == *agency)
                && self.serial.as_ref().is_none_or(|serial| certificate.serial == *serial)
        });
        if let Some(other) = chosen.iter().find(|certificate| certificate.agency != self.confirm) {
            let message = format!("--confirm does not name {}; nothing was revoked", other.agency);
            return Err(Failure::new(Exit::Misused, message));
        }
        chosen.retain(|certificate| certificate.revoked.is_none() && certificate.not_after > at);
        let Some(agency) = chosen.first().map(|certificate| certificate.agency.clone()) else {
            return Err(Failure::new(Exit::NotFound, "there is no such certificate in force")
                .hint("mash-gateway cert list"));
        };
        let serials: Vec<_> = chosen.iter().map(|c| c.serial.clone()).collect();
        // An entry for each, so that the log can be held against the register.
        for certificate in &chosen {
            let (serial, sha256) = (&certificate.serial, certificate.sha256);
            let event = Event::certificate_revoked(&agency, serial, &sha256, self.reason);
            let reason = self.reason.as_str().to_owned();
            office.record(&event, at, Effect::RevokeCertificate { sha256, at, reason }).await?;
        }
        let next_update = office.write_crl(at).await?;
        let told = office.tell_gateway().await;
        context.result(
            &json!({
                "agency": agency,
                "inForce": told == Told::InUse,
                "revoked": serials,
                "revokedAt": rfc3339(at),
            }),
            format!(
                "Revoked {} of {} at {}: {}\n\
                 Revocation list signed, next by {}.\n\
                 Do now:\n  1. Tell the contact officer by telephone\n\
                 \x20 2. Was personal data exposed? mash-gateway log show --home {}\n\
                 \x20 3. New certificate: mash-gateway cert issue {agency} --csr new.csr",
                serials.len(),
                agency,
                rfc3339(at),
                serials.join(", "),
                rfc3339(next_update),
                context.home.folder().display(),
            ),
        );
        match told {
            Told::InUse => {
                context.say("In force: the running gateway has confirmed.");
                Ok(())
            }
            Told::NotRunning | Told::Failed => Err(Failure::new(
                Exit::Failed,
                "the revocation is recorded, but NO RUNNING GATEWAY HAS CONFIRMED IT",
            )
            .hint("start or restart the gateway; it takes the list into use when it starts")),
        }
    }
}

pub(super) async fn sign_crl(context: &Context) -> Result<(), Failure> {
    let office = Office::open(context)?;
    let next_update = office.write_crl(now()).await?;
    if office.tell_gateway().await == Told::Failed {
        let message = "the list is signed, but THE RUNNING GATEWAY HAS NOT TAKEN IT INTO USE";
        return Err(Failure::new(Exit::Failed, message).hint("curl /readyz says why"));
    }
    context.result(
        &json!({ "nextUpdate": rfc3339(next_update) }),
        format!("Signed a new revocation list; the next is due by {}.", rfc3339(next_update)),
    );
    Ok(())
}

fn reason(name: &str) -> Result<Reason, String> {
    Reason::ALL
        .into_iter()
        .find(|reason| reason.kebab() == name)
        .ok_or_else(|| format!("one of {}", Reason::ALL.map(Reason::kebab).join(", ")))
}
