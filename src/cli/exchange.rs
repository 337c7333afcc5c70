//! `rfi`, `respond`, `supplement` and `outcome`: what is said in an exchange.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Connection, Gateway};
use super::{Context, Exit, Failure, block_on};
use crate::message::Kind;
use crate::schema::Schemas;

/// The hub's requests for information.
#[derive(Subcommand)]
pub(super) enum Rfi {
    /// Dispatch a request to the agencies it names
    #[command(after_help = "Example:
  mash-gateway rfi send rfi.json --cert hub.pem --key hub.key --ca ca.pem

The file is what POST /v1/rfis takes: {\"recipients\": […], \"rfi\": {…}}.
Sending the same file again does nothing more and shows the first receipts.")]
    Send(Send),
    /// Show how exchanges stand; silence is shown as silence
    #[command(after_help = "Examples:
  mash-gateway rfi status --cert hub.pem --key hub.key --ca ca.pem
  mash-gateway rfi status RFI-2026-000001-H --cert hub.pem --key hub.key --ca ca.pem")]
    Status(Status),
}

/// The hub's outcomes.
#[derive(Subcommand)]
pub(super) enum Outcome {
    /// Tell an agency what was decided
    #[command(after_help = "Examples:
  mash-gateway outcome send RFI-2026-000001-H outcome.json \\
      --cert hub.pem --key hub.key --ca ca.pem")]
    Send(Reply),
}

#[derive(Args)]
pub(super) struct Send {
    /// The request, JSON
    file: PathBuf,
    #[command(flatten)]
    sending: Sending,
    #[command(flatten)]
    connection: Connection,
}

/// What every command that sends a message takes.
#[derive(Args, Clone)]
struct Sending {
    /// Where to keep the receipts
    #[arg(long, default_value = ".", value_name = "DIR")]
    receipts: PathBuf,
    /// Your own id for this submission [default: made from the contents]
    #[arg(long, value_name = "UUID")]
    idempotency_key: Option<uuid::Uuid>,
}

#[derive(Args)]
pub(super) struct Status {
    /// One exchange, by reference or id [default: all, newest first]
    reference: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Something said in an exchange that exists.
#[derive(Args)]
pub(super) struct Reply {
    /// The exchange, by reference (RFI-2026-000001-H) or id
    reference: String,
    /// What to send, JSON; inReplyTo is filled in when the file does not have it
    file: PathBuf,
    #[command(flatten)]
    sending: Sending,
    #[command(flatten)]
    connection: Connection,
}

impl Rfi {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Send(send) => block_on(send.run(context)),
            Self::Status(status) => block_on(status.run(context)),
        }
    }
}

impl Outcome {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Send(reply) => reply.run(context, Kind::Outcome),
        }
    }
}

impl Send {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let gateway = self.connection.open()?;
        let body = read_bytes(&self.file)?;
        let answer = gateway.post_message("/v1/rfis", body, self.sending.idempotency_key).await?;
        let dispatched: Value = serde_json::from_str(&answer)?;
        let mut lines = vec![format!("enquiry  {}", text(&dispatched, "enquiry"))];
        for exchange in dispatched["exchanges"].as_array().into_iter().flatten() {
            let path = keep_receipt(&self.sending.receipts, exchange, "rfi")?;
            lines.push(format!(
                "{}  to {}  receipt {}",
                text(exchange, "reference"),
                text(exchange, "agency"),
                path.display()
            ));
        }
        context.result(&dispatched, lines.join("\n"));
        Ok(())
    }
}

impl Status {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let gateway = self.connection.open()?;
        match &self.reference {
            Some(reference) => {
                let exchange = gateway.get_json(&format!("/v1/exchanges/{reference}")).await?;
                let mut lines = vec![status_line(&exchange)];
                for entry in exchange["timeline"].as_array().into_iter().flatten() {
                    lines.push(timeline_line(entry));
                }
                context.result(&exchange, lines.join("\n"));
            }
            None => {
                let list = gateway.get_json("/v1/exchanges").await?;
                let exchanges = list["exchanges"].as_array().cloned().unwrap_or_default();
                let lines: Vec<_> = exchanges.iter().map(status_line).collect();
                let shown =
                    if lines.is_empty() { "no exchanges".to_owned() } else { lines.join("\n") };
                context.result(&list, shown);
            }
        }
        Ok(())
    }
}

impl Reply {
    pub(super) fn run(self, context: &Context, kind: Kind) -> Result<(), Failure> {
        block_on(self.send(context, kind))
    }

    async fn send(self, context: &Context, kind: Kind) -> Result<(), Failure> {
        let gateway = self.connection.open()?;
        let body = self.body(&gateway).await?;
        let kinds = kind.path().ok_or_else(|| Failure::new(Exit::Misused, "not a reply"))?;
        let path = format!("/v1/exchanges/{}/{kinds}", self.reference);
        let answer = gateway.post_message(&path, body, self.sending.idempotency_key).await?;
        let accepted: Value = serde_json::from_str(&answer)?;
        let kept = keep_receipt(&self.sending.receipts, &accepted, kind.as_str())?;
        context.result(
            &accepted,
            format!(
                "{}  {} accepted at {}  receipt {}",
                text(&accepted, "reference"),
                kind.as_str(),
                text(&accepted, "acceptedAt"),
                kept.display()
            ),
        );
        Ok(())
    }

    // The file as it is, unless it lacks the one field the gateway itself can tell.
    async fn body(&self, gateway: &Gateway) -> Result<Vec<u8>, Failure> {
        let bytes = read_bytes(&self.file)?;
        // What is not strict JSON goes as it is, and is refused: parsing it here would mend it.
        let Ok(Value::Object(mut payload)) = Schemas::parse(&bytes) else { return Ok(bytes) };
        if payload.contains_key("inReplyTo") {
            return Ok(bytes);
        }
        let exchange = gateway.get_json(&format!("/v1/exchanges/{}", self.reference)).await?;
        payload.insert("inReplyTo".to_owned(), exchange["rfi"].clone());
        Ok(Value::Object(payload).to_string().into_bytes())
    }
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

// The receipt alone, as a file that `receipt verify` and any C2SP tool can read.
fn keep_receipt(dir: &Path, accepted: &Value, kind: &str) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(dir)?;
    let message = text(accepted, "message");
    let path = dir.join(format!("{}.{kind}.{message}.receipt", text(accepted, "reference")));
    std::fs::write(&path, text(accepted, "receipt"))?;
    Ok(path)
}

pub(super) fn status_line(exchange: &Value) -> String {
    let stands = match (text(exchange, "silence"), text(exchange, "result")) {
        ("", "") => text(exchange, "state").to_owned(),
        ("", result) => format!("{} ({result})", text(exchange, "state")),
        ("not-collected", _) => "no reply: not yet collected".to_owned(),
        (_, _) => "no reply: collected, nothing said".to_owned(),
    };
    let overdue = if exchange["isOverdue"] == true { "  OVERDUE" } else { "" };
    let undelivered = match text(exchange, "undelivered") {
        "" => "",
        "delayed" => "  DELAYED: a message is late",
        _ => "  RETURNED: a message was given up",
    };
    format!(
        "{}  {}  {}  due {}{overdue}{undelivered}",
        text(exchange, "reference"),
        text(exchange, "agency"),
        stands,
        text(exchange, "responseRequiredBy"),
    )
}

fn timeline_line(entry: &Value) -> String {
    let (sender, recipient) = (text(entry, "sender"), text(entry, "recipient"));
    let who = match text(entry, "event") {
        "accepted" => format!("from {sender} to {recipient}"),
        "collected" | "saved" => format!("by {recipient}"),
        _ => format!("to {recipient}"),
    };
    format!(
        "  {}  entry {}  {} {} {who}",
        text(entry, "time"),
        entry["index"],
        text(entry, "event"),
        text(entry, "kind"),
    )
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    })
}
