//! `cert show`: one certificate.

use clap::Args;
use serde_json::json;

use super::Office;
use super::list::standing;
use crate::cli::init::fingerprint;
use crate::cli::{Context, Exit, Failure};
use crate::message::{Role, now, rfc3339};
use crate::pki::ca::common_name;
use crate::pki::fingerprint::spoken;

/// The fewest digits of a serial that are taken for it.
const DIGITS_MIN: usize = 8;

#[derive(Args)]
pub(in crate::cli) struct Show {
    /// The certificate's serial, or the first eight digits of it or more; colons are passed over
    serial: String,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let serial = self.serial.replace(':', "").to_ascii_lowercase();
        if serial.len() < DIGITS_MIN || !serial.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let message = format!("a serial is {DIGITS_MIN} hexadecimal digits or more");
            return Err(Failure::new(Exit::Misused, message).hint("mash-gateway cert list"));
        }
        let office = Office::open(context).await?;
        let mut found = office.store.certificates().await?;
        found.retain(|certificate| certificate.serial.starts_with(&serial));
        let certificate = match found.as_slice() {
            [] => {
                return Err(Failure::new(Exit::NotFound, "no certificate has this serial")
                    .hint("mash-gateway cert list"));
            }
            [one] => one,
            [_, _, ..] => {
                let message = format!("{} serials begin so", found.len());
                return Err(Failure::new(Exit::Misused, message).hint("give more of its digits"));
            }
        };
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
            "standing": standing(certificate, at),
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
            None => lines.push(format!("standing     {}", standing(certificate, at))),
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
