//! `receipt`: what a receipt proves, checked offline.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Exit, Failure, log, read_text};
use crate::audit::checkpoint::LogVerifier;
use crate::audit::entry::EventName;
use crate::audit::receipt;
use crate::message::rfc3339;
use crate::report::evidence::{CaseFile, Verified};

/// Receipts, checked offline.
#[derive(Subcommand)]
pub(super) enum Receipt {
    /// Check a receipt, the whole answer it came in, or a case file; exit 3 if it does not verify
    #[command(after_help = "Examples:
  mash-gateway receipt verify my.receipt --log-key log-key.txt
  mash-gateway receipt verify case/evidence.json --log-key log-key.txt

Needs nothing but the two files: no gateway, no network.")]
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct Verify {
    /// The receipt, the 202 answer that holds it, or a case file's evidence.json
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
        if let Some(file) = CaseFile::parse(&text) {
            return verify_case_file(context, &file, &key);
        }
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

// All of a case file that proofs cover. What they do not is said, so that nobody takes it for proved.
fn verify_case_file(context: &Context, file: &CaseFile, key: &LogVerifier) -> Result<(), Failure> {
    let verified = file.verify(key).map_err(|error| {
        Failure::new(Exit::VerificationFailed, format!("this case file does not verify: {error}"))
            .hint("have it made again: mash-gateway evidence; keep this one, it is evidence too")
    })?;
    let Verified { entries, destroyed } = verified;
    let mut lines = vec![
        "verified".to_owned(),
        format!("  Enquiry {}, made {}.", file.enquiry, file.made_at),
        format!(
            "  {entries} entries, word for word, are in the log {} of {} entries, under its signed \
             checkpoint.",
            key.origin(),
            file.log_size
        ),
    ];
    if destroyed > 0 {
        lines.push(format!("  Of {destroyed} more, the words were destroyed."));
    }
    for case in &file.exchanges {
        lines.push(format!("  {}: {} asked {}.", case.reference, case.hub, case.agency));
    }
    lines.push(
        "  What stands under recorded and opened is the gateway's word, which no proof covers."
            .into(),
    );
    context.result(
        &json!({
            "verified": true, "enquiry": file.enquiry, "entries": entries, "destroyed": destroyed,
            "origin": key.origin(), "size": file.log_size,
        }),
        lines.join("\n"),
    );
    Ok(())
}

const NOT_PROVED: &str = "this receipt does not verify";
