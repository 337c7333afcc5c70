//! `rfi`, `respond`, `supplement`, `outcome` and their like: what is said in an exchange.

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
Sending the same file again does nothing more and shows the first receipts.

Before you ask: which power and which basis in data protection law is there (lawfulBasis)? Is it necessary and
proportionate, as a family's private life asks (proportionality)? Is a confidence broken, and why may it be
(override.confidenceGateway)?")]
    Send(Send),
    /// Say that no answer is needed any more; whoever works on one stops
    #[command(after_help = "Example:
  mash-gateway rfi cancel RFI-2026-000001-H why.json --cert hub.pem --key hub.key --ca ca.pem

The file says who decided it and why: {\"cancelledBy\": …, \"reason\": \"wrong-child\", \"why\": …}.
An answer that is already on its way is taken all the same.")]
    Cancel(Reply),
    /// Say that the agency was rung, as it is when the answer is needed in less than 24 working hours
    #[command(after_help = "Example:
  mash-gateway rfi telephoned RFI-2026-000001-H call.json --cert hub.pem --key hub.key --ca ca.pem

The file says when and who spoke to whom: {\"madeAt\": …, \"by\": …, \"spokeTo\": …}.")]
    Telephoned(Reply),
    /// Say that somebody has withdrawn their consent: no answer rests on it any more
    #[command(after_help = "Example:
  mash-gateway rfi consent-withdrawn RFI-2026-000001-H withdrawn.json \\
      --cert hub.pem --key hub.key --ca ca.pem

The file says whose, when, and what follows: {\"whose\": \"parent-or-guardian\", \"withdrawnAt\": …,
\"recordedBy\": …, \"whatFollows\": \"wait-for-decision\"}. With an enquiry's id in place of the reference, every
agency that was asked in it is told.")]
    ConsentWithdrawn(Reply),
    /// Write down the answer that an agency gave by telephone; the agency is sent it to check
    #[command(after_help = "Example:
  mash-gateway rfi transcribe RFI-2026-000001-H answer.json \\
      --cert hub.pem --key hub.key --ca ca.pem
  mash-gateway schema validate transcription answer.json    check it first, offline")]
    Transcribe(Reply),
    /// Show how exchanges stand and what is due; silence is shown as silence
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
    /// Tell the Early Help service of the concerns, after the outcome early-help
    #[command(after_help = "Example:
  mash-gateway outcome step-down RFI-2026-000001-H concerns.json \\
      --cert hub.pem --key hub.key --ca ca.pem

The file says to whom, who says it, and of whom: {\"to\": \"early-help\", \"notifiedBy\": …, \"concerns\": …,
\"persons\": […], \"familyTold\": …, \"letterToFamily\": …}.")]
    StepDown(Reply),
    /// Pass an answer on to children's social care, after the outcome social-care-assessment
    #[command(after_help = "Example:
  mash-gateway outcome forward RFI-2026-000001-H forward.json \\
      --cert hub.pem --key hub.key --ca ca.pem

The file says which answer goes to whom and why: {\"message\": …, \"to\": …, \"forwardedBy\": …, \"why\": …}.
The answer itself, its labels and the roles that may see it are written by the gateway.")]
    Forward(Reply),
}

/// The MASH Team Manager's decision to go on without consent.
#[derive(Subcommand)]
pub(super) enum Override {
    /// Put a decision on record, as the Team Manager, with a certificate of your own
    #[command(after_help = "Example:
  mash-gateway override record decision.json --cert manager.pem --key manager.key --ca ca.pem

The file has consent, override and persons as the request will have them, word for word. What is printed
is the code that the request names the decision by (override.decisionCode), good for one request, and a
paragraph for the child's record. The gateway does not keep the code.")]
    Record(Record),
}

#[derive(Args)]
pub(super) struct Record {
    /// The decision, JSON
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// What agencies sent, and somebody who asks for what is held about them.
#[derive(Subcommand)]
pub(super) enum SubjectAccess {
    /// Ask an agency, as the hub, what of its answer may be released
    #[command(after_help = "Example:
  mash-gateway subject-access consult RFI-2026-000001-H asked.json \\
      --cert hub.pem --key hub.key --ca ca.pem")]
    Consult(Reply),
    Release(super::release::Release),
    Search(super::person_search::Search),
    /// Say, as the agency, what may be released
    #[command(after_help = "Example:
  mash-gateway subject-access view RFI-2026-000001-H view.json \\
      --cert surgery.pem --key surgery.key --ca ca.pem")]
    View(Reply),
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
            Self::Cancel(reply) => reply.run(context, Kind::Cancellation),
            Self::ConsentWithdrawn(reply) => block_on(reply.send_each(context)),
            Self::Send(send) => block_on(send.run(context)),
            Self::Status(status) => block_on(status.run(context)),
            Self::Telephoned(reply) => reply.run(context, Kind::TelephoneContact),
            Self::Transcribe(reply) => reply.run(context, Kind::Transcription),
        }
    }
}

impl Outcome {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Send(reply) => reply.run(context, Kind::Outcome),
            Self::StepDown(reply) => reply.run(context, Kind::StepDown),
            Self::Forward(reply) => reply.run(context, Kind::Forwarding),
        }
    }
}

impl Override {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Record(record) => block_on(record.run(context)),
        }
    }
}

impl Record {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let gateway = self.connection.open()?;
        let body = read_bytes(&self.file)?;
        let recorded = gateway.post_bytes("/v1/overrides", body).await?;
        context.result(
            &recorded,
            format!(
                "recorded at {}, entry {}\ncode for the request: {}\nfor the child's record:\n  {}",
                text(&recorded, "recordedAt"),
                recorded["entry"],
                text(&recorded, "decisionCode"),
                text(&recorded, "textForRecord")
            ),
        );
        Ok(())
    }
}

impl SubjectAccess {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Consult(reply) => reply.run(context, Kind::SubjectAccessConsultation),
            Self::Release(release) => block_on(release.run(context)),
            Self::Search(search) => block_on(search.run(context)),
            Self::View(reply) => reply.run(context, Kind::SubjectAccessView),
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
            let stands = format!("/v1/exchanges/{}", text(exchange, "exchange"));
            // It is sent, whether or not this can be said of it.
            if let Ok(stands) = gateway.get_json(&stands).await
                && is_due(&stands, "telephone")
            {
                lines.push(format!(
                    "  ring {} as well: the answer is needed soon; then\n  \
                     mash-gateway rfi telephoned {} FILE",
                    text(exchange, "agency"),
                    text(exchange, "reference")
                ));
            }
        }
        for warning in dispatched["warnings"].as_array().into_iter().flatten() {
            lines.push(format!("note {}  {}", text(warning, "pointer"), text(warning, "message")));
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
                let told = text(&exchange, "familyMayBeTold");
                if !told.is_empty() {
                    lines.push(format!("  of what was said the family may be told: {told}"));
                }
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

    // To each exchange of an enquiry, if it is an enquiry that is named. What one of them refuses is said, and
    // the others are told all the same; done again, nobody is told twice.
    async fn send_each(self, context: &Context) -> Result<(), Failure> {
        let kind = Kind::ConsentWithdrawal;
        let gateway = self.connection.open()?;
        let enquiry = gateway.get_json(&format!("/v1/enquiries/{}", self.reference)).await;
        let Ok(enquiry) = enquiry else { return self.send(context, kind).await };
        let mut refused = None;
        for exchange in enquiry["exchanges"].as_array().into_iter().flatten() {
            let reference = text(exchange, "reference").to_owned();
            let (file, sending) = (self.file.clone(), self.sending.clone());
            let reply = Self { reference, file, sending, connection: self.connection.clone() };
            refused = reply.send(context, kind).await.err().or(refused);
        }
        refused.map_or(Ok(()), Err)
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
    let cancelled = match (text(exchange, "state"), text(exchange, "cancelledAt")) {
        ("cancelled", _) | (_, "") => "",
        (_, _) => "  answered although it was cancelled",
    };
    let attention = match &exchange["needsAttention"] {
        Value::Bool(true) => "  LOOK AGAIN: something came that is not saved",
        _ => "",
    };
    let due: String = exchange["due"].as_array().into_iter().flatten().map(due_part).collect();
    let undelivered = match text(exchange, "undelivered") {
        "" => "",
        "delayed" => "  DELAYED: a message is late",
        _ => "  RETURNED: a message was given up",
    };
    format!(
        "{}  {}  {stands}{cancelled}{due}{attention}{undelivered}",
        text(exchange, "reference"),
        text(exchange, "agency"),
    )
}

fn due_part(due: &Value) -> String {
    let what = match text(due, "timer") {
        "outcome" => "outcome to the agency",
        "referrer-told" => "word to the referrer",
        "reply" => "reply",
        "subject-access-view" => "view on the subject access request",
        // It is due from the moment the RFI is sent.
        "telephone" => return "  RING THE AGENCY: the answer is needed soon".to_owned(),
        other => other,
    };
    let whose = match text(&due["representative"], "name") {
        "" => String::new(),
        name => format!(", by {name}"),
    };
    match text(due, "grade") {
        "overdue" => format!("  OVERDUE: {what}{whose}, due {}", text(due, "at")),
        grade => {
            let soon = if grade == "due-soon" { "SOON: " } else { "" };
            let left = text(due, "workingTimeLeft");
            format!("  {soon}{what}{whose} due {} ({left} working hours)", text(due, "at"))
        }
    }
}

fn is_due(exchange: &Value, timer: &str) -> bool {
    exchange["due"].as_array().into_iter().flatten().any(|due| due["timer"] == timer)
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

pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    })
}
