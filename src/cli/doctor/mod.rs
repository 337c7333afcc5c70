//! `doctor`: everything an operator would check, in one go. Works whether the gateway runs or not,
//! changes nothing, and names agencies only by their ids.

mod agencies;
mod machine;
mod notices;
mod running;

use std::fmt;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::sound::Anchored;
use super::{Context, Exit, Failure, block_on, serve};
use crate::config::Config;
use crate::directory::Directory;
use crate::message::{AgencyId, now};
use crate::pki::tls::MinTls;
use crate::store::sqlite::Sqlite;

/// Check everything an operator would; exit 5 if something needs a person
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway doctor --home H
  mash-gateway doctor --home H --quick         without recomputing the whole log
  mash-gateway doctor --home H --json | jq '.findings[] | select(.verdict == \"act\")'

Each line is ok, note (worth knowing) or ACT (a person has to do something, and what). With --json
each finding has a code that never changes its meaning. Run it each morning, and after each change.

Exit codes: 0 well, 5 something needs a person, 1 or 4 it could not look.")]
pub(super) struct Doctor {
    /// Do not recompute the log, which takes long when it is large
    #[arg(long)]
    quick: bool,
}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            let config = super::config(&context.home)?;
            let mut report = Report::default();
            self.look(context, &config, &mut report).await;
            report.finish(context)
        })
    }

    async fn look(&self, context: &Context, config: &Config, report: &mut Report) {
        let (home, at) = (&context.home, now());
        let is_running = running::gateway(home, config, report).await;
        running::issuer(home, config, is_running, at, report).await;
        settings(config, report);
        machine::key_modes(home, config, report);
        machine::left_behind(home, report);
        machine::disk(home, config, report);
        let directory = match serve::directory(home, config) {
            Ok(directory) => {
                let count = directory.all().count();
                report.ok("directory", format!("{count} agencies, no mistakes"));
                Some(directory)
            }
            Err(_) => {
                report.act("directory", "partners.toml has mistakes: agencies were not looked at");
                report.next("mash-gateway partner check");
                None
            }
        };
        notices::look(home, config, directory.as_ref(), at, report).await;
        let read = self.database(context, config, directory.as_ref(), at, report).await;
        if let Err(error) = read {
            report.act("database", format!("it cannot be read: {error:#}"));
            report.next("keep it as it is, and bring the last backup");
        }
    }

    async fn database(
        &self,
        context: &Context,
        config: &Config,
        directory: Option<&Directory>,
        at: Timestamp,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (home, path) = (&context.home, context.home.resolve(&config.store.sqlite));
        anyhow::ensure!(path.exists(), "{} is not there; is its disk mounted?", path.display());
        let anchored = Anchored::read(home, config);
        let store = Sqlite::open(&path)?;
        // What is read first and what is read last fit together, also while the gateway writes.
        store.hold_still()?;
        machine::anchor(home, config, report);
        machine::self_check(home, config, &store, anchored, report).await;
        agencies::look(home, config, directory, &store, at, report).await?;
        machine::clock(&store, at, report).await?;
        machine::witnesses(&store, &config.log.witnesses, at, report).await?;
        report.ok("database", "it can be read");
        if self.quick {
            report.note("log", "it was not recomputed, because of --quick");
        } else {
            machine::log(home, &store, !context.global.quiet, report).await;
        }
        Ok(())
    }
}

fn settings(config: &Config, report: &mut Report) {
    if config.recovery_recipients.is_empty() {
        report.act("recovery-recipients", "there are none: a lost at-rest key loses every message");
        report.next("age-keygen on another machine; its public half to recovery_recipients");
    } else {
        let count = config.recovery_recipients.len();
        report.ok("recovery-recipients", format!("{count} can open everything if keys are lost"));
    }
    if config.published_url.is_none() {
        report.note("published-url", "certificates do not say where revocation lists are");
        report.next("published_url in gateway.toml, if agencies' own software asks for it");
    }
    if config.tls.min == MinTls::Tls12 {
        report.note("tls-1.2", "TLS 1.2 is still spoken");
        report.next("min = \"1.3\" under [tls] as soon as every agency's software can");
    }
    if config.push.allow_loopback {
        report.note("push-loopback", "agencies' endpoints may be on this machine: for trials only");
        report.next("remove allow_loopback under [push] in gateway.toml");
    }
}

/// What was found, in the order it was looked at.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

#[derive(Debug)]
struct Finding {
    /// Stable, for programs.
    code: &'static str,
    verdict: Verdict,
    says: String,
    next: Option<String>,
    agency: Option<AgencyId>,
    serial: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// A person has to do something.
    Act,
    /// Worth knowing.
    Note,
    Ok,
}

impl Report {
    fn ok(&mut self, code: &'static str, says: impl fmt::Display) {
        self.add(code, Verdict::Ok, says);
    }

    fn note(&mut self, code: &'static str, says: impl fmt::Display) {
        self.add(code, Verdict::Note, says);
    }

    fn act(&mut self, code: &'static str, says: impl fmt::Display) {
        self.add(code, Verdict::Act, says);
    }

    fn add(&mut self, code: &'static str, verdict: Verdict, says: impl fmt::Display) {
        let says = says.to_string();
        self.findings.push(Finding { code, verdict, says, next: None, agency: None, serial: None });
    }

    // What to do about the latest finding.
    fn next(&mut self, next: impl Into<String>) {
        if let Some(latest) = self.findings.last_mut() {
            latest.next = Some(next.into());
        }
    }

    // Whom, and which certificate, the latest finding is about.
    fn about(&mut self, agency: Option<&AgencyId>, serial: Option<&str>) {
        if let Some(latest) = self.findings.last_mut() {
            latest.agency = agency.cloned();
            latest.serial = serial.map(str::to_owned);
        }
    }

    // That all is well, if nothing was found under this code.
    fn ok_otherwise(&mut self, code: &'static str, says: impl fmt::Display) {
        if self.findings.iter().all(|finding| finding.code != code) {
            self.ok(code, says);
        }
    }

    fn finish(self, context: &Context) -> Result<(), Failure> {
        let acts = self.findings.iter().filter(|one| one.verdict == Verdict::Act).count();
        let list: Vec<Value> = self.findings.iter().map(Finding::view).collect();
        let lines: Vec<_> = self.findings.iter().map(ToString::to_string).collect();
        context.result(&json!({ "findings": list, "healthy": acts == 0 }), lines.join("\n"));
        match acts {
            0 => Ok(()),
            1 => Err(Failure::new(Exit::Unhealthy, "one matter needs a person")),
            more => Err(Failure::new(Exit::Unhealthy, format!("{more} matters need a person"))),
        }
    }
}

impl Finding {
    fn view(&self) -> Value {
        let Self { code, verdict, says, next, agency, serial } = self;
        json!({
            "agency": agency, "code": code, "next": next, "says": says, "serial": serial,
            "verdict": verdict.as_str(),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self.verdict {
            Verdict::Act => "ACT",
            Verdict::Note => "note",
            Verdict::Ok => "ok",
        };
        write!(f, "{shown:<4}  {:<30}  ", self.code)?;
        if let Some(agency) = &self.agency {
            write!(f, "{agency}: ")?;
        }
        f.write_str(&self.says)?;
        match &self.next {
            Some(next) => write!(f, ". Next: {next}"),
            None => Ok(()),
        }
    }
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Note => "note",
            Self::Ok => "ok",
        }
    }
}
