//! `cert token` and `cert approve`: how an agency enrols by itself, over EST.

use clap::Args;
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::Office;
use super::office::refused;
use crate::cli::connect;
use crate::cli::{Context, Exit, Failure};
use crate::directory::Status;
use crate::message::{AgencyId, now, rfc3339};
use crate::pki::fingerprint::fingerprint;

#[derive(Args)]
pub(in crate::cli) struct Token {
    /// The agency, as the directory names it
    agency: AgencyId,
    /// For how many hours it is good
    #[arg(long, default_value_t = 72, value_name = "HOURS",
          value_parser = clap::value_parser!(u16).range(1..=720))]
    valid_hours: u16,
    /// Issue only when an operator has approved the key
    #[arg(long)]
    approval: bool,
}

impl Token {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let (_, partner) = office.partner(&self.agency)?;
        let status = partner.status_at(now());
        if !matches!(status, Status::Active | Status::Pending) {
            let message = format!("{} is {}: it cannot enrol", self.agency, status.as_str());
            return Err(Failure::new(Exit::Failed, message)
                .hint(format!("mash-gateway partner show {}", self.agency)));
        }
        let valid_for = SignedDuration::from_hours(self.valid_hours.into());
        let made = office.register.make_token(&self.agency, valid_for, self.approval, now()).await;
        let (token, expires_at) = made.map_err(refused)?;
        // An agency that was just written into the directory is to be known at the door.
        office.tell_gateway().await;
        let next = match self.approval {
            true => format!(
                "It enrols when you have approved its key: mash-gateway cert approve {} --key SHA256{}",
                self.agency,
                context.at_home()
            ),
            false => "It is good once.".to_owned(),
        };
        // Alone on standard output, so that it can be handed on.
        if !context.global.json && !context.global.quiet {
            eprintln!(
                "One-time token for {} ({}), good until {}. {next}\n\
                 Give it to the agency by another way than CONNECT.txt. It is not kept here and \
                 cannot be shown again.\nThe agency also needs ca.pem, log-key.txt and CONNECT.txt; \
                 read out over the telephone what ca.pem's fingerprint is:\n{}",
                self.agency,
                partner.name,
                rfc3339(expires_at),
                connect::root_fingerprints(context)?,
            );
        }
        context.result(
            &json!({
                "agency": self.agency,
                "expires": rfc3339(expires_at),
                "needsApproval": self.approval,
                "token": token.expose_secret(),
            }),
            token.expose_secret(),
        );
        Ok(())
    }
}

#[derive(Args)]
pub(in crate::cli) struct Approve {
    /// The agency whose key waits; without it, everything that waits is listed
    agency: Option<AgencyId>,
    /// The key's SHA-256 as the agency reads it out, or its beginning, 8 characters or more: somebody
    /// else may have presented a key of his own with the token
    #[arg(long, value_name = "HEX", requires = "agency")]
    key: Option<String>,
}

impl Approve {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let at = now();
        let mut waiting = office.register.awaiting_approval(at).await.map_err(refused)?;
        waiting.retain(|token| self.agency.as_ref().is_none_or(|agency| token.agency == *agency));
        let key = |token: &crate::store::EnrolmentToken| {
            token.key_sha256.as_ref().map(fingerprint).unwrap_or_default()
        };
        let Some(agency) = &self.agency else {
            let lines: Vec<_> = waiting
                .iter()
                .map(|token| format!("{:<40} key SHA256 {}", token.agency.as_str(), key(token)))
                .collect();
            let list: Vec<_> = waiting
                .iter()
                .map(|token| json!({ "agency": token.agency, "keySha256": key(token) }))
                .collect();
            let shown = if lines.is_empty() { "nothing waits".into() } else { lines.join("\n") };
            context.result(&json!({ "waiting": list }), shown);
            return Ok(());
        };
        let Some(wanted) = &self.key else {
            let message = "say which key, as the agency reads it out; nothing was approved";
            return Err(Failure::new(Exit::Misused, message)
                .hint(format!("mash-gateway cert approve {agency} --key SHA256")));
        };
        {
            let plain = |text: &str| text.replace([':', ' '], "").to_ascii_lowercase();
            let wanted = plain(wanted);
            if wanted.len() < KEY_LENGTH_MIN {
                let message = "--key needs at least 8 characters; nothing was approved";
                return Err(Failure::new(Exit::Misused, message));
            }
            waiting.retain(|token| plain(&key(token)).starts_with(&wanted));
        }
        let [token] = waiting.as_slice() else {
            let message = match waiting.as_slice() {
                [] => format!("no key of {agency} waits to be approved"),
                _ => format!("several keys of {agency} wait; say which with --key"),
            };
            let exit = if waiting.is_empty() { Exit::NotFound } else { Exit::Misused };
            return Err(Failure::new(exit, message).hint("mash-gateway cert approve"));
        };
        if !office.register.approve(token, at).await.map_err(refused)? {
            return Err(Failure::new(Exit::Failed, "the token was used meanwhile"));
        }
        context.result(
            &json!({ "agency": agency, "keySha256": key(token) }),
            format!(
                "Approved the key of {agency}\n  SHA256 {}\nIt gets its certificate when it asks \
                 the next time.",
                key(token)
            ),
        );
        Ok(())
    }
}

const KEY_LENGTH_MIN: usize = 8;
