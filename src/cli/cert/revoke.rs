//! `cert revoke` and `cert crl`: certificates made worthless, at once.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Office;
use super::office::{refused, warn_of_unregistered};
use super::serial;
use crate::cli::{Context, Exit, Failure};
use crate::message::{AgencyId, Role, now, rfc3339};
use crate::pki::crl::Reason;
use crate::register::{Told, is_gateways, is_revocable};
use crate::store::{CertificateDoing, CertificateRecord};

#[derive(Args)]
pub(in crate::cli) struct Revoke {
    /// All certificates of this agency
    #[arg(required_unless_present = "serial", conflicts_with = "serial")]
    agency: Option<AgencyId>,
    /// The one certificate with this serial, or whose serial begins so: 8 digits or more
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
        let office = Office::open_as_it_is(context).await?;
        let at = now();
        let mut chosen = office.register.certificates().await?;
        if let Some(serial) = &self.serial {
            chosen = vec![serial::find(chosen, serial)?];
        }
        chosen.retain(|certificate| {
            // The gateway's own stand under the hub's name: cutting the hub off does not stop it.
            let is_agencys =
                |agency: &AgencyId| certificate.agency == *agency && !is_gateways(certificate);
            self.agency.as_ref().is_none_or(is_agencys)
        });
        if let Some(other) = chosen.iter().find(|certificate| certificate.agency != self.confirm) {
            let message = format!("--confirm does not name {}; nothing was revoked", other.agency);
            return Err(Failure::new(Exit::Misused, message));
        }
        let Some(agency) = chosen.first().map(|certificate| certificate.agency.clone()) else {
            return Err(Failure::new(Exit::NotFound, "there is no such certificate")
                .hint("mash-gateway cert list"));
        };
        // Again for what was revoked before: somebody may have had no confirmation the first time.
        let chosen = match &self.agency {
            Some(agency) => {
                let revoked = office.register.revoke_agency(agency, self.reason, None, at).await;
                revoked.map_err(refused)?
            }
            None => {
                chosen.retain(|certificate| is_revocable(certificate, self.reason, at));
                office.register.revoke(&chosen, self.reason, None, at).await.map_err(refused)?;
                chosen
            }
        };
        let (told, signed) = office.register.enforce(|| office.tell_gateway(), at).await;
        let signed = signed.map_err(refused).inspect(warn_of_unregistered);
        self.report(context, &office, &agency, &chosen, &told, at).await?;
        match told {
            Told::InUse { .. } => {}
            Told::NotRunning | Told::Failed => {
                return Err(Failure::new(
                    Exit::Failed,
                    "the revocation is recorded, but NO RUNNING GATEWAY HAS CONFIRMED IT",
                )
                .hint("start or restart the gateway; it takes the list into use when it starts"));
            }
        }
        if let Err(failure) = signed {
            let why = format!("{:#}", failure.error);
            return Err(Failure::new(
                Exit::Failed,
                format!("the gateway refuses it, but THE REVOCATION LIST IS NOT SIGNED: {why}"),
            )
            .hint("mash-gateway cert crl"));
        }
        Ok(())
    }

    // What was cut, what waits, what the keys did, and what to do now.
    async fn report(
        &self,
        context: &Context,
        office: &Office<'_>,
        agency: &AgencyId,
        revoked: &[CertificateRecord],
        told: &Told,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let waiting = office.store.waiting(agency, None).await?;
        // Whoever has the key of one may have renewed it, or be one of several.
        let mut still_good = office.register.certificates().await?;
        still_good.retain(|one| {
            one.agency == *agency
                && !is_gateways(one)
                && one.revoked.is_none()
                && one.not_after > at
        });
        let mut used = Vec::new();
        for certificate in revoked {
            used.push((&certificate.serial, office.store.doings(&certificate.serial).await?));
        }
        let cut = match told {
            Told::InUse { cut } => Some(*cut),
            Told::Failed | Told::NotRunning => None,
        };
        let doings = |all: &[CertificateDoing]| -> Vec<Value> {
            let one = |doing: &CertificateDoing| {
                json!({
                    "count": doing.count,
                    "event": doing.event,
                    "first": rfc3339(doing.first),
                    "last": rfc3339(doing.last),
                })
            };
            all.iter().map(one).collect()
        };
        let json = json!({
            "agency": agency,
            "connectionsCut": cut,
            "inForce": cut.is_some(),
            "revoked": revoked.iter().map(|c| &c.serial).collect::<Vec<_>>(),
            "revokedAt": rfc3339(at),
            "stillGood": still_good.iter().map(|c| &c.serial).collect::<Vec<_>>(),
            "used": used
                .iter()
                .map(|(serial, all)| json!({ "doings": doings(all), "serial": serial }))
                .collect::<Vec<_>>(),
            "waiting": waiting,
        });
        let home = context.home.folder().display();
        let mut lines = Vec::new();
        for (serial, all) in &used {
            lines.push(format!("Revoked {serial} of {agency} at {}", rfc3339(at)));
            for doing in all {
                lines.push(format!(
                    "  used: {:<10} {:>5} times, {} to {}",
                    doing.event,
                    doing.count,
                    rfc3339(doing.first),
                    rfc3339(doing.last)
                ));
            }
            if all.is_empty() {
                lines.push("  used: no message was sent, collected or saved with it".to_owned());
            }
        }
        if revoked.is_empty() {
            lines.push(format!("Nothing of {agency} was left to revoke: it was revoked before."));
        }
        if !still_good.is_empty() {
            lines.push(format!(
                "STILL GOOD: {} other certificates of {agency}, renewals of this one perhaps among \
                 them:\n  mash-gateway cert list {agency} --home {home}\n  To revoke all of them: \
                 mash-gateway cert revoke {agency} --reason key-compromise --confirm {agency} \
                 --home {home}",
                still_good.len()
            ));
        }
        lines.push(match cut {
            Some(cut) => format!(
                "In force: the running gateway has confirmed. {cut} open connections were cut."
            ),
            None => "NOT CONFIRMED by a running gateway.".to_owned(),
        });
        lines.push(format!("Held for {agency}, not lost: {waiting} messages"));
        let officer =
            office.directory.as_ref().and_then(|all| all.get(agency)?.contact_officer.as_ref());
        let whom = match officer {
            Some(officer) => format!("{}, {}", officer.name, officer.telephone),
            None => "see mash-gateway partner show".to_owned(),
        };
        lines.push(format!("Do now:\n  1. Telephone the contact officer: {whom}"));
        // What was used most is where to look first.
        let most = |all: &[CertificateDoing]| all.iter().map(|doing| doing.count).sum::<u64>();
        let busiest = used.iter().max_by_key(|(_, all)| most(all));
        let mut next = 2;
        if let Some((serial, _)) = busiest.filter(|_| self.reason == Reason::KeyCompromise) {
            lines.push(format!(
                "  {next}. Was personal data exposed? See what it was used for:\n\
                 \x20    mash-gateway log show --certificate {serial} --home {home}"
            ));
            next += 1;
        }
        let person = revoked.iter().find_map(|one| Role::parse(&one.profile));
        let has_system = revoked.iter().any(|one| Role::parse(&one.profile).is_none());
        lines.push(match person.filter(|_| !has_system) {
            Some(role) => format!(
                "  {next}. A new key and certificate: mash-gateway cert issue {agency} --desk NAME \
                 --role {role} --p12 FILE --password-file FILE --home {home}",
                role = role.as_str()
            ),
            None => format!(
                "  {next}. A new key and certificate: mash-gateway cert issue {agency} --csr new.csr \
                 --home {home}\n     or by themselves:          mash-gateway cert token {agency} \
                 --home {home}"
            ),
        });
        context.result(&json, lines.join("\n"));
        Ok(())
    }
}

/// Signs new revocation lists.
pub(super) async fn sign_lists(context: &Context) -> Result<(), Failure> {
    let office = Office::open_as_it_is(context).await?;
    let next_update = office.sign_lists(now()).await?;
    if office.tell_gateway().await == Told::Failed {
        let message = "the lists are signed, but THE RUNNING GATEWAY HAS NOT TAKEN THEM INTO USE";
        return Err(Failure::new(Exit::Failed, message).hint("curl /readyz says why"));
    }
    context.result(
        &json!({ "nextUpdate": rfc3339(next_update) }),
        format!("Signed new revocation lists; the next are due by {}.", rfc3339(next_update)),
    );
    Ok(())
}

/// A reason by its name on the command line.
pub(in crate::cli) fn reason(name: &str) -> Result<Reason, String> {
    Reason::ALL
        .into_iter()
        .find(|reason| reason.kebab() == name)
        .ok_or_else(|| format!("one of {}", Reason::ALL.map(Reason::kebab).join(", ")))
}
