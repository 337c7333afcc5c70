//! `reconcile`: an agency's own records held against what the gateway says it sent and was sent.

mod list;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::client::{Connection, Gateway};
use super::exchange::text;
use super::{Context, Exit, Failure, block_on, read_text};
use crate::audit::checkpoint::LogVerifier;
use crate::message::{Kind, MessageId, Period, hex, now, rfc3339};
use list::{List, parse_digest};

/// Compare your agency's own records with the gateway's, and name every gap; exit 3 if there is one
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway reconcile receipts collected --from 2026-11-01 --to 2026-11-30 \\
      --cert surgery.pem --key surgery.key --ca ca.pem
  mash-gateway reconcile list.csv --from 2026-11-24T00:00:00Z --json \\
      --cert surgery.pem --key surgery.key --ca ca.pem

FILE is what your agency has of its own: a list with one message id to a line, and behind a comma its
digest (`digest` in a receipt, `contentdigest` in a collected message); the same as JSON; a receipt, an
answer or a collected message; or a folder of those. It should hold what you sent and what you were
sent; what was accepted outside the period is left out on both sides.

A date is a whole day in UTC; a time has its offset. Gaps, by the codes that --json gives:
  missing-at-gateway  you have it and the gateway does not: it was lost
  digest-differs      both have it, and it is not the same
  unknown-sent        the gateway has it from your agency, and you know nothing of it
  not-collected       it waits for you
  on-its-way          it is still being pushed to your endpoint
  not-kept            your agency took it, and you do not have it

Exit codes: 0 all agree, 2 the list cannot be read, 3 there is a gap.")]
pub(super) struct Reconcile {
    /// Your agency's own records
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The first day, or instant, of the period [default: from the beginning]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// The last day of the period, or the first instant after it [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The log's public key: every receipt has to verify with it
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// What is not the same on both sides.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum GapKind {
    MissingAtGateway,
    DigestDiffers,
    UnknownSent,
    NotKept,
    NotCollected,
    OnItsWay,
}

/// One message that is not the same on both sides.
struct Gap {
    kind: GapKind,
    id: MessageId,
    /// The line shown for it.
    line: String,
    json: Value,
}

/// What the comparison came to.
#[derive(Default)]
struct Found {
    sent: u64,
    received: u64,
    /// Of those that agree, how many by their id alone.
    by_id: u64,
    outside: u64,
    gaps: Vec<Gap>,
}

impl Reconcile {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let period = Period::parse(self.from.as_deref(), self.to.as_deref(), now())
            .map_err(|error| Failure::new(Exit::Misused, error))?;
        let log = match &self.log_key {
            Some(path) => Some(LogVerifier::parse(read_text(path)?.trim())?),
            None => None,
        };
        let list = List::read(&self.files, log.as_ref())?;
        let passed_over = list.passed_over;
        let gateway = self.connection.open()?;
        let found = block_on(compare(context, &gateway, list, period))?;
        found.show(context, period, passed_over)
    }
}

// Page after page, so that only the agency's own list is held at once.
async fn compare(
    context: &Context,
    gateway: &Gateway,
    mut list: List,
    period: Period,
) -> Result<Found, Failure> {
    let bar = match context.global.quiet {
        true => ProgressBar::hidden(),
        false => ProgressBar::new_spinner().with_style(
            ProgressStyle::with_template("{spinner} {pos} messages compared")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        ),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut found = Found::default();
    let mut next =
        Some(format!("/v1/messages?from={}&to={}", rfc3339(period.from), rfc3339(period.to)));
    while let Some(path) = next {
        let page = gateway.get(&path).await?;
        next = page.next();
        let page: Value = serde_json::from_slice(&page.body)?;
        let messages = page["messages"].as_array().ok_or_else(|| unexpected("a list"))?;
        for message in messages {
            let id: MessageId = text(message, "id").parse()?;
            found.compare(id, message, list.messages.remove(&id))?;
        }
        bar.inc(messages.len() as u64);
    }
    bar.finish_and_clear();
    for (id, own) in list.messages {
        // What is no id of ours has no time, and is nowhere.
        if id.made_at().is_some_and(|at| !period.contains(at)) {
            found.outside += 1;
            continue;
        }
        let digest = own.digest.map(|digest| hex(&digest));
        found.gaps.push(Gap {
            kind: GapKind::MissingAtGateway,
            id,
            line: format!("{id}  {}", own.place),
            json: json!({ "digest": digest, "place": own.place }),
        });
    }
    // Version 7 ids sort by time.
    found.gaps.sort_by_key(|gap| (gap.kind, gap.id));
    Ok(found)
}

impl Found {
    fn compare(
        &mut self,
        id: MessageId,
        message: &Value,
        own: Option<list::Own>,
    ) -> Result<(), Failure> {
        let is_sent = text(message, "direction") == "sent";
        let Some(own) = own else {
            // A test is about nobody, and commands send and read it: nobody keeps a record of it.
            let is_test = [Kind::Test, Kind::TestReply].map(Kind::as_str);
            if !is_test.contains(&text(message, "kind")) {
                let kind = match (is_sent, text(message, "state")) {
                    (true, _) => GapKind::UnknownSent,
                    (false, "held" | "returned") => GapKind::NotCollected,
                    (false, "queued") => GapKind::OnItsWay,
                    (false, _) => GapKind::NotKept,
                };
                self.gap(kind, id, message, "");
            }
            return Ok(());
        };
        let theirs =
            parse_digest(text(message, "contentDigest")).ok_or_else(|| unexpected("a digest"))?;
        match own.digest {
            Some(digest) if digest != theirs => {
                self.gap(GapKind::DigestDiffers, id, message, &own.place);
                return Ok(());
            }
            Some(_) => {}
            None => self.by_id += 1,
        }
        match is_sent {
            true => self.sent += 1,
            false => self.received += 1,
        }
        Ok(())
    }

    fn gap(&mut self, kind: GapKind, id: MessageId, message: &Value, place: &str) {
        let which_way = if text(message, "direction") == "sent" { "to" } else { "from" };
        let mut line = format!(
            "{id}  {} {which_way} {}  {}  {}  {}",
            text(message, "kind"),
            text(message, "agency"),
            text(message, "reference"),
            text(message, "time"),
            text(message, "state"),
        );
        let mut json = message.clone();
        if !place.is_empty() {
            let _ = write!(line, "  {place}");
            json["place"] = json!(place);
        }
        self.gaps.push(Gap { kind, id, line, json });
    }

    fn show(self, context: &Context, period: Period, passed_over: u64) -> Result<(), Failure> {
        let mut lines = vec![format!(
            "{} to {}: {} agree ({} sent, {} received)",
            rfc3339(period.from),
            rfc3339(period.to),
            counted(self.sent + self.received, "message"),
            self.sent,
            self.received
        )];
        for (count, says) in [
            (self.by_id, "of them by id alone: your list has no digest"),
            (self.outside, "in your list outside the period, not compared"),
            (passed_over, "in your folders not looked at: not ours"),
        ] {
            if count > 0 {
                lines.push(format!("  {count} {says}"));
            }
        }
        let mut last = None;
        for gap in &self.gaps {
            if last.replace(gap.kind) != Some(gap.kind) {
                let count = self.gaps.iter().filter(|other| other.kind == gap.kind).count() as u64;
                let (says, next) = gap.kind.says();
                lines.push(format!("\n{}: {} {says}", gap.kind.code(), counted(count, "message")));
                lines.push(format!("  do: {next}"));
            }
            lines.push(format!("  {}", gap.line));
        }
        let gaps = self.gaps.iter().map(|gap| {
            let mut json = gap.json.clone();
            json["gap"] = json!(gap.kind.code());
            json["id"] = json!(gap.id);
            json["next"] = json!(gap.kind.says().1);
            json
        });
        let document = json!({
            "agreed": { "byIdAlone": self.by_id, "received": self.received, "sent": self.sent },
            "filesPassedOver": passed_over,
            "from": rfc3339(period.from),
            "gaps": gaps.collect::<Vec<_>>(),
            "outsidePeriod": self.outside,
            "to": rfc3339(period.to),
        });
        context.result(&document, lines.join("\n"));
        if self.gaps.is_empty() {
            return Ok(());
        }
        let count = counted(self.gaps.len() as u64, "gap");
        Err(Failure::new(
            Exit::VerificationFailed,
            format!("{count} between your records and the gateway's"),
        ))
    }
}

impl GapKind {
    // Never changes its meaning: programs go by it.
    fn code(self) -> &'static str {
        match self {
            Self::DigestDiffers => "digest-differs",
            Self::MissingAtGateway => "missing-at-gateway",
            Self::NotCollected => "not-collected",
            Self::NotKept => "not-kept",
            Self::OnItsWay => "on-its-way",
            Self::UnknownSent => "unknown-sent",
        }
    }

    // What that means, and what a person does about it.
    fn says(self) -> (&'static str, &'static str) {
        match self {
            Self::DigestDiffers => (
                "that both have, and that are not the same",
                "keep your copy as it is; check its receipt with mash-gateway receipt verify; ring \
                 the hub",
            ),
            Self::MissingAtGateway => (
                "that you have and the gateway does not",
                "keep the receipt: with mash-gateway receipt verify it proves that the gateway \
                 accepted this. Ring the hub, and send again what you sent",
            ),
            Self::NotCollected => (
                "that wait for you",
                "mash-gateway inbox collect ID, then inbox acknowledge ID when it is in your record",
            ),
            Self::NotKept => (
                "that your agency took and that you do not have",
                "look where your system puts what it is sent; collect it again with \
                 mash-gateway inbox collect ID. If nobody here took it, ring the hub at once",
            ),
            Self::OnItsWay => (
                "that are still being pushed to you",
                "see that your endpoint answers; the gateway tries for five days",
            ),
            Self::UnknownSent => (
                "that the gateway has from your agency and that you know nothing of",
                "fetch its receipt (GET /v1/messages/ID/receipt) and ask who sent it. If nobody here \
                 did, somebody has your key: ring the hub at once to have it revoked",
            ),
        }
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn unexpected(what: &str) -> Failure {
    Failure::new(Exit::Failed, format!("the gateway's answer has no {what} where one should be"))
}
