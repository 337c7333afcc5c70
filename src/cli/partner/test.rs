//! `partner test`: a real round trip with an agency, by way of everything an RFI goes through, and
//! about nobody.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::add::next;
use super::checklist::{Checklist, has_certificate};
use super::file::no_such_agency;
use crate::audit::checkpoint::LogKey;
use crate::audit::entry::{EventName, Fields};
use crate::cli::connect::{self, Connection};
use crate::cli::running;
use crate::cli::sound::{self, Signing};
use crate::cli::{Context, Exit, Failure, serve};
use crate::config::{Config, timers};
use crate::directory::{Admission, Directory, Endpoint};
use crate::exchange::{Gateway, Parts, TIMELINE_MAX};
use crate::ledger::Ledger;
use crate::message::{
    AgencyId, Exchange, ExchangeId, IdempotencyKey, Kind, MessageId, Submission, Target, hex, now,
    rfc3339,
};
use crate::problem::Problem;
use crate::schema::Schemas;
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoredEntry};
use crate::telemetry::Metrics;

#[derive(Args)]
pub(in crate::cli) struct Test {
    /// The agency
    id: AgencyId,
    /// How long to wait for its answer, such as 90s, 10m or 2h
    #[arg(long, default_value = "10m", value_parser = wait)]
    wait: SignedDuration,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = crate::cli::config(&context.home)?;
        let directory = serve::directory(&context.home, &config)?;
        let agency = directory.get(&self.id).ok_or_else(|| no_such_agency(&directory, &self.id))?;
        let Signing { log_key, .. } = sound::signing(&context.home, &config).await?;
        let database = context.home.resolve(&config.store.sqlite);
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open_keeping(&database, config.store.free_bytes_min)?);
        // It is the running gateway that the agency has to be able to reach.
        if !running::tell(&context.home, &config).await.is_in_use() {
            let message = "no gateway of this home answers on its local door; nothing was sent";
            return Err(Failure::new(Exit::Failed, message)
                .hint(format!("start it: mash-gateway serve{}", context.at_home())));
        }
        let hub = directory.hub().id.clone();
        let gateway = gateway(context, &config, directory.clone(), &store, log_key).await?;
        let at = now();
        let may_answer = directory.admission(&self.id, at) != Admission::Nothing;
        if may_answer && !has_certificate(&*store, &self.id, at).await? {
            let message = format!("{} has no certificate in force; nothing was sent", self.id);
            let (request, home) = (connect::request(&self.id), context.at_home());
            return Err(Failure::new(Exit::Failed, message)
                .hint(format!("mash-gateway cert issue {} --csr {request}{home}", self.id)));
        }
        let reply_by = at + self.wait;
        let submission = Submission {
            sender: hub.clone(),
            desk: None,
            idempotency_key: IdempotencyKey::new(at),
            target: Target::Test(self.id.clone()),
            body: test(reply_by)?,
            traceparent: None,
            certificate: None,
        };
        let answer = gateway.submit(submission, at).await.map_err(|problem| refused(&problem))?;
        let answer: Value = serde_json::from_str(&answer.body)?;
        let id: ExchangeId = answer["exchange"].as_str().unwrap_or_default().parse()?;
        let exchange = store.exchange(&id).await?;
        // A push that is queued now is not left to the next time somebody looks.
        running::tell(&context.home, &config).await;
        if !context.global.quiet {
            eprintln!(
                "Sent the test {}. Waiting until {} for {} to do this (see its CONNECT.txt):\n{}",
                exchange.reference,
                rfc3339(reply_by),
                agency.name,
                Connection::of(context, &directory, agency)?.test_commands(&exchange)
            );
        }

        let is_pushed = matches!(agency.endpoints.first(), Some(Endpoint::Push { .. }));
        let waited = Facts { is_pushed, ..self.watch(context, &*store, &id, at).await? };
        let facts = match waited.reply {
            Some(reply) => {
                let is_right = gateway.is_answered_right(&exchange, &reply).await;
                let is_right = is_right.map_err(|problem| refused(&problem))?;
                // Nobody else is to find it waiting.
                let at = now();
                gateway
                    .collect(&hub, None, None, &reply, at)
                    .await
                    .map_err(|problem| refused(&problem))?;
                gateway
                    .save(&hub, None, None, &reply, None, at)
                    .await
                    .map_err(|problem| refused(&problem))?;
                Facts { is_right, ..waited }
            }
            None => waited,
        };
        let checklist = Checklist::of(context, &config, agency, now()).await?;
        let mut view = facts.to_json();
        view["agency"] = json!(self.id);
        view["checklist"] = checklist.to_json();
        view["exchange"] = json!(exchange.id);
        view["reference"] = json!(exchange.reference);
        if facts.missing().is_empty() {
            context.result(&view, format!("  {}\n{checklist}", facts.in_words()));
            next(context, &checklist);
            return Ok(());
        }
        let turned_away = self.turned_away(&*store, &exchange).await?;
        view["refused"] = json!(turned_away);
        let mut message = format!(
            "the test {} is not done after {}: {}",
            exchange.reference,
            spoken(self.wait),
            facts.missing().join("; ")
        );
        for refusal in &turned_away {
            message.push_str(&format!("\n  refused meanwhile: {refusal}"));
        }
        Err(Failure {
            document: Some(view),
            ..Failure::new(Exit::Failed, message).hint(
                "an answer that comes later counts too: mash-gateway partner show says so; or test again",
            )
        })
    }

    // Looks until the answer is there or the time is over.
    async fn watch(
        &self,
        context: &Context,
        store: &dyn Store,
        exchange: &ExchangeId,
        sent: Timestamp,
    ) -> Result<Facts, Failure> {
        let is_shown = std::io::stderr().is_terminal() && !context.global.quiet;
        let wait = Duration::try_from(self.wait)?;
        let limit = tokio::time::Instant::now() + wait;
        loop {
            let facts = Facts::of(&store.timeline(exchange, TIMELINE_MAX).await?, sent);
            let is_over = tokio::time::Instant::now() >= limit;
            if is_shown {
                let so_far = match facts.reached {
                    Some(_) => "collected, not answered yet",
                    None => "not collected yet",
                };
                let left = limit.saturating_duration_since(tokio::time::Instant::now()).as_secs();
                let end = if facts.reply.is_some() || is_over { "\r\x1b[K" } else { "" };
                eprint!("\r\x1b[K  {so_far}; {left} s left {end}");
                let _ = std::io::stderr().flush();
            }
            if facts.reply.is_some() || is_over {
                return Ok(facts);
            }
            tokio::time::sleep_until((tokio::time::Instant::now() + LOOK).min(limit)).await;
        }
    }

    // Why requests of the agency's were refused since the test was sent: most often the reason.
    async fn turned_away(
        &self,
        store: &dyn Store,
        exchange: &Exchange,
    ) -> Result<Vec<String>, Failure> {
        let mut from = store.message(&exchange.rfi).await?.entry;
        let mut found = Vec::new();
        loop {
            let entries = store.entries(from, PAGE).await?;
            let Some(last) = entries.last() else { break };
            from = last.index + 1;
            for entry in &entries {
                let Some(fields) = entry.fields.as_deref().and_then(Fields::parse) else {
                    continue;
                };
                let is_its = fields.get("event") == Some(EventName::Refused.as_str())
                    && fields.get("agency") == Some(self.id.as_str());
                if let (true, Some(problem)) = (is_its, fields.get("problem")) {
                    let route = fields.get("route").unwrap_or_default();
                    let time = fields.get("time").unwrap_or_default();
                    found.push(format!("{time} {route} {problem}"));
                }
            }
        }
        let surplus = found.len().saturating_sub(REFUSALS_MAX);
        Ok(found.split_off(surplus))
    }
}

/// What is known of the round trip, from the log alone.
#[derive(Debug, Default)]
struct Facts {
    /// How long it took until the agency had the test, and whether it fetched it itself.
    reached: Option<(SignedDuration, Reached)>,
    /// Whether it goes to an endpoint of the agency's first.
    is_pushed: bool,
    /// Why the last push was not taken.
    push_failed: Option<String>,
    /// The agency's answer.
    reply: Option<MessageId>,
    /// Whether that answer was held to the schema this program has.
    is_same_schema: bool,
    /// Whether it repeats the code word.
    is_right: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reached {
    Collected,
    Delivered,
}

impl Facts {
    fn of(timeline: &[StoredEntry], sent: Timestamp) -> Self {
        let mut facts = Self::default();
        let schema = hex(&Schemas::digest(Kind::TestReply));
        let entries = timeline.iter().filter_map(|entry| Fields::parse(entry.fields.as_deref()?));
        for fields in entries {
            let is = |name: EventName| fields.get("event") == Some(name.as_str());
            let kind = fields.get("kind").and_then(Kind::parse);
            let after = || {
                let at: Timestamp = fields.get("time")?.parse().ok()?;
                Some(at.duration_since(sent).max(SignedDuration::ZERO))
            };
            if kind == Some(Kind::TestReply) && is(EventName::Accepted) {
                facts.reply = fields.get("message").and_then(|id| id.parse().ok());
                facts.is_same_schema = fields.get("schema") == Some(schema.as_str());
            } else if kind == Some(Kind::Test) && is(EventName::AttemptFailed) {
                facts.push_failed = fields.get("code").map(str::to_owned);
            } else if kind == Some(Kind::Test) && facts.reached.is_none() {
                let reached = match () {
                    () if is(EventName::Collected) => Some(Reached::Collected),
                    () if is(EventName::Delivered) => Some(Reached::Delivered),
                    () => None,
                };
                facts.reached = after().zip(reached);
            }
        }
        facts
    }

    // Who fetches or answers has shown a certificate that names it, in a handshake that held.
    fn is_identified(&self) -> bool {
        self.reply.is_some() || matches!(self.reached, Some((_, Reached::Collected)))
    }

    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.is_identified() && self.reached.is_none() {
            let why = match (self.is_pushed, &self.push_failed) {
                (_, Some(code)) => format!("its endpoint has not taken the test ({code})"),
                (true, None) => "its endpoint has not taken the test".to_owned(),
                (false, None) => "it has not collected the test".to_owned(),
            };
            missing.push(why);
        }
        if self.reply.is_none() {
            missing.push("it has not answered".to_owned());
        } else if !self.is_right {
            missing.push("its answer does not have the code word".to_owned());
        } else if !self.is_same_schema {
            missing.push("the gateway that runs has other schemas than this program".to_owned());
        }
        missing
    }

    fn in_words(&self) -> String {
        let reached = match self.reached {
            Some((after, Reached::Collected)) => {
                format!("test message collected {}", spoken(after))
            }
            Some((after, Reached::Delivered)) => {
                format!("test message delivered {}", spoken(after))
            }
            None => "test message read".to_owned(),
        };
        format!("TLS handshake ok   identity ok   schema versions ok   {reached}   reply valid")
    }

    fn to_json(&self) -> Value {
        let seconds = |wanted: Reached| {
            let (after, reached) = self.reached?;
            (reached == wanted).then(|| after.as_secs_f64())
        };
        json!({
            "collectedAfterSeconds": seconds(Reached::Collected),
            "deliveredAfterSeconds": seconds(Reached::Delivered),
            "identity": self.is_identified(),
            "missing": self.missing(),
            "replyValid": self.is_right,
            "schemaVersions": self.is_same_schema,
            "tlsHandshake": self.is_identified(),
        })
    }
}

// The gateway's own way of accepting, beside the one that runs.
async fn gateway(
    context: &Context,
    config: &Config,
    directory: Directory,
    store: &Arc<dyn Store>,
    log_key: LogKey,
) -> Result<Gateway, Failure> {
    let log = log_key.verifier();
    let sealer = sound::open_keys(&context.home, config, &**store).await?;
    let (ledger, _) = Ledger::start(Arc::clone(store), log_key, Arc::new(Metrics::new()))?;
    Ok(Gateway::new(Parts {
        domain: config.domain.clone(),
        schemas: Schemas::compiled(),
        directory,
        sealer,
        ledger,
        store: Arc::clone(store),
        log,
        files: serve::files(config),
        mailbox: serve::mailbox_limits(config),
        witnesses: config.log.witnesses.clone(),
        timers: timers::load(&context.home, &config.timers)
            .map_err(|error| Failure::new(Exit::Failed, error))?,
    }))
}

fn test(reply_by: Timestamp) -> Result<Vec<u8>, Failure> {
    let schemas: Vec<_> = Kind::ALL.iter().map(|kind| kind.schema()).collect();
    let test = json!({
        "codeWord": code_word()?,
        "notice": NOTICE,
        "replyBy": rfc3339(reply_by),
        "schemas": schemas,
    });
    Ok(test.to_string().into_bytes())
}

// Two words and four digits: to be copied, or read out, without mistakes.
fn code_word() -> Result<String, Failure> {
    let mut random = [0; 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Failure::new(Exit::Failed, "the system gives no random bytes"))?;
    let word = |byte: u8| WORDS[usize::from(byte) % WORDS.len()];
    let number = u32::from_le_bytes([random[2], random[3], random[4], random[5]]) % 10_000;
    Ok(format!("{}-{}-{number:04}", word(random[0]), word(random[1])))
}

// What the gateway would tell a sender, for the operator.
fn refused(problem: &Problem) -> Failure {
    let said = match problem.errors.first() {
        Some(violation) => &violation.message,
        None => &problem.detail,
    };
    Failure::new(Exit::Failed, format!("the test was not made: {said}"))
}

fn spoken(length: SignedDuration) -> String {
    let seconds = length.as_secs_f64();
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

fn wait(text: &str) -> Result<SignedDuration, String> {
    let length: Option<SignedDuration> = text.parse().ok();
    let is_good = |length: &SignedDuration| {
        *length > SignedDuration::ZERO && *length <= SignedDuration::from_hours(24)
    };
    length.filter(is_good).ok_or_else(|| "a time such as 90s, 10m or 2h, a day at most".to_owned())
}

/// The one sentence of every test, which its schema holds it to.
const NOTICE: &str = "This is a test of your connection to the gateway. It is about nobody. Send the code word back.";

const WORDS: [&str; 16] = [
    "amber", "beacon", "cedar", "dolphin", "ember", "falcon", "granite", "harbour", "island",
    "juniper", "kestrel", "lantern", "maple", "orchard", "pebble", "willow",
];

/// How often the log is looked at for an answer.
const LOOK: Duration = Duration::from_millis(200);

const PAGE: usize = 1_000;
const REFUSALS_MAX: usize = 5;
