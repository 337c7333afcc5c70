//! `cert show`: one certificate.

use clap::Args;
use serde_json::json;

use super::Office;
use super::list::standing;
use super::serial;
use crate::cli::{Context, Failure};
use crate::message::{Role, now, rfc3339};
use crate::pki::ca::common_name;
use crate::pki::fingerprint::{fingerprint, spoken};

#[derive(Args)]
pub(in crate::cli) struct Show {
    /// The certificate's serial, or the first eight digits of it or more; colons are passed over
    serial: String,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open_as_it_is(context).await?;
        let certificate = serial::find(office.store.certificates().await?, &self.serial)?;
        let at = now();
        let desk = Role::parse(&certificate.profile).zip(common_name(&certificate.pem));
        let spoken = spoken(&certificate.sha256);
        let mut view = json!({
            "agency": certificate.agency,
            "issuedAt": rfc3339(certificate.issued_at),
            "notAfter": rfc3339(certificate.not_after),
            "notBefore": rfc3339(certificate.not_before),
            "pem": certificate.pem,
            "profile": certificate.profile,
            "serial": certificate.serial,
            "sha256": fingerprint(&certificate.sha256),
            "spoken": spoken,
            "standing": standing(&certificate, at),
        });
        let mut lines = vec![
            format!("serial       {}", certificate.serial),
            format!("agency       {}", certificate.agency),
        ];
        match &desk {
            Some((role, holder)) => {
                view["role"] = json!(role);
                view["holder"] = json!(holder);
                lines.push(format!("desk         {}, {}", holder, role.title()));
            }
            None => lines.push(format!("desk         none: {}", certificate.profile)),
        }
        lines.push(format!(
            "good         from {} to {}",
            rfc3339(certificate.not_before),
            rfc3339(certificate.not_after)
        ));
        match &certificate.revoked {
            Some((when, reason)) => {
                view["revokedAt"] = json!(rfc3339(*when));
                view["reason"] = json!(reason);
                lines.push(format!("standing     revoked at {} ({reason})", rfc3339(*when)));
            }
            None => lines.push(format!("standing     {}", standing(&certificate, at))),
        }
        lines.push(format!("fingerprint  SHA256 {}", fingerprint(&certificate.sha256)));
        lines.extend(aloud(&spoken));
        context.result(&view, lines.join("\n"));
        Ok(())
    }
}

/// A fingerprint's lines for the telephone, as they stand below it.
pub(super) fn aloud(spoken: &[String; 4]) -> impl Iterator<Item = String> {
    ["read aloud", "", "", ""]
        .into_iter()
        .zip(spoken)
        .map(|(label, line)| format!("{label:<11}  {line}"))
}
