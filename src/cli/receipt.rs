//! `receipt`: what a receipt proves, checked offline.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Exit, Failure, log, read_text};
use crate::audit::checkpoint::LogVerifier;
use crate::audit::entry::EventName;
use crate::audit::receipt;
use crate::message::rfc3339;

/// Receipts, checked offline.
#[derive(Subcommand)]
pub(super) enum Receipt {
    /// Check a receipt, or the whole answer it came in; exit 3 if it does not verify
    #[command(after_help = "Example:
  mash-gateway receipt verify my.receipt --log-key log-key.txt

Needs nothing but the two files: no gateway, no network.")]
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct Verify {
    /// The receipt, or the 202 answer that holds it
    file: PathBuf,
    /// The log's public key [default: certs/log-key.txt in the home]
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
    /// Witnesses' public keys, one to a line: says which of them cosigned its checkpoint
    /// [default: witness_keys in the home's settings]
    #[arg(long, value_name = "FILE")]
    witness_keys: Option<PathBuf>,
}

impl Receipt {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run(context),
        }
    }
}

impl Verify {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let path = self.log_key.unwrap_or_else(|| context.home.log_key_public());
        let key = LogVerifier::parse(read_text(&path)?.trim())?;
        let text = match std::fs::read(&self.file) {
            // Bytes that are not even text are a receipt that was changed, not a broken disk.
            Ok(bytes) => String::from_utf8(bytes)
                .map_err(|_| Failure::new(Exit::VerificationFailed, NOT_PROVED))?,
            Err(_) => read_text(&self.file)?,
        };
        let proven = receipt::verify_answer(&text, &key).map_err(|error| {
            Failure::new(Exit::VerificationFailed, format!("{NOT_PROVED}: {error}"))
                .hint("keep the file; ask for the receipt again with GET /v1/messages/{id}/receipt")
        })?;
        let policy = log::witnesses(context, self.witness_keys.as_deref())?;
        let mut lines = vec!["verified".to_owned()];
        let mut list = Vec::new();
        for entry in &proven {
            let get = |name: &str| entry.fields.get(name).unwrap_or_default();
            let (did, detail) = if get("event") == EventName::Returned.as_str() {
                let (attempts, code) = (get("attempt"), get("code"));
                ("gave up delivering", format!("after {attempts} attempts: {code}"))
            } else {
                let digest = get("digest");
                ("accepted, durably,", format!("whose sealed payload has SHA-256 {digest}"))
            };
            lines.push(format!(
                "  At {} the gateway {did} a {} ({}) from {} to {},\n  message {}, {detail}.\n  It \
                 is entry {} of the log {}, under a signed checkpoint of {} entries.",
                get("time"),
                get("kind"),
                get("reference"),
                get("sender"),
                get("recipient"),
                get("message"),
                entry.index,
                entry.origin,
                entry.size,
            ));
            let witnessed = log::cosignatures(&policy, &entry.checkpoint)?;
            lines.extend(witnessed.iter().map(|by| format!("  Witnessed by {}.", log::said(by))));
            let witnessed: Vec<_> = witnessed
                .iter()
                .map(|by| json!({ "time": rfc3339(by.at), "witness": by.witness }))
                .collect();
            list.push(json!({
                "cosignatures": witnessed,
                "entry": entry.index,
                "fields": entry.fields.to_json(),
                "origin": entry.origin,
                "size": entry.size,
            }));
        }
        context.result(&json!({ "verified": true, "receipts": list }), lines.join("\n"));
        Ok(())
    }
}

const NOT_PROVED: &str = "this receipt does not verify";
