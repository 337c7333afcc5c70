//! `cert list`: the inventory.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Office;
use crate::cli::{Context, Failure};
use crate::message::{AgencyId, now, rfc3339};
use crate::pki::expiry;
use crate::pki::fingerprint::fingerprint;
use crate::store::CertificateRecord;

#[derive(Args)]
pub(in crate::cli) struct List {
    /// Only this agency's
    agency: Option<AgencyId>,
    /// Only those that expire within so many days; those with a successor are marked renewed
    #[arg(long, value_name = "DAYS")]
    expiring: Option<u16>,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let at = now();
        let register = office.register.certificates().await?;
        let mut certificates: Vec<_> = register.iter().collect();
        if let Some(agency) = &self.agency {
            certificates.retain(|certificate| certificate.agency == *agency);
        }
        if let Some(days) = self.expiring {
            let until = at + jiff::SignedDuration::from_hours(24 * i64::from(days));
            certificates.retain(|certificate| {
                certificate.revoked.is_none()
                    && certificate.not_after > at
                    && certificate.not_after <= until
            });
        }
        let is_renewed =
            |c: &CertificateRecord| standing(c, at) == ACTIVE && expiry::is_renewed(c, &register);
        let list: Vec<Value> = certificates.iter().map(|c| view(c, is_renewed(c), at)).collect();
        let lines: Vec<_> = certificates
            .iter()
            .map(|c| {
                let used = c.last_use.as_ref().map(|(at, from)| format!("{} {from}", rfc3339(*at)));
                format!(
                    "{}  {:<8}  to {}  {:<16}  {:<30}  last used {}",
                    c.serial,
                    if is_renewed(c) { "renewed" } else { standing(c, at) },
                    rfc3339(c.not_after),
                    c.profile,
                    c.agency.as_str(),
                    used.as_deref().unwrap_or("never")
                )
            })
            .collect();
        let shown = if lines.is_empty() { "no certificates".to_owned() } else { lines.join("\n") };
        context.result(&json!({ "certificates": list }), shown);
        Ok(())
    }
}

fn view(certificate: &CertificateRecord, is_renewed: bool, at: Timestamp) -> Value {
    let mut view = json!({
        "agency": certificate.agency,
        "issuedAt": rfc3339(certificate.issued_at),
        "notAfter": rfc3339(certificate.not_after),
        "lastUsed": certificate.last_use.as_ref().map(|(at, _)| rfc3339(*at)),
        "lastUsedFrom": certificate.last_use.as_ref().map(|(_, from)| from),
        "notBefore": rfc3339(certificate.not_before),
        "profile": certificate.profile,
        "renewed": is_renewed,
        "serial": certificate.serial,
        "sha256": fingerprint(&certificate.sha256),
        "standing": standing(certificate, at),
    });
    if let Some((when, reason)) = &certificate.revoked {
        view["revokedAt"] = json!(rfc3339(*when));
        view["reason"] = json!(reason);
    }
    view
}

pub(super) fn standing(certificate: &CertificateRecord, at: Timestamp) -> &'static str {
    match &certificate.revoked {
        Some(_) => "revoked",
        None if certificate.not_after < at => "expired",
        None => ACTIVE,
    }
}

const ACTIVE: &str = "active";
