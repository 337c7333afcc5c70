//! `report`: figures, samples and access lists, from the log and the store of a home; beside a gateway that
//! runs, too.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::cert::serial;
use super::evidence::{self, Cases};
use super::{Context, Exit, Failure, block_on, log, print};
use crate::config::write_synced;
use crate::message::{AgencyId, EnquiryId, Period, hex, now, rfc3339};
use crate::report::access::{self, Reading, counted};
use crate::report::reading::{self, opened};
use crate::report::sample::drawn;
use crate::report::table::csv;
use crate::report::timeliness::{ALL, Figures, Timeliness};

/// Figures for whoever sees to it that it is done as agreed
#[derive(Subcommand)]
pub(super) enum Report {
    /// How many RFIs each agency answered in time, and how long it took
    #[command(after_help = "Examples:
  mash-gateway report timeliness --from 2026-10-01 --to 2026-12-31 --home H
  mash-gateway report timeliness --format html --home H > timeliness.html
  mash-gateway report timeliness --format csv --home H > timeliness.csv

Counts RFIs sent in the period, as they stand now. docs/reports.md says what each figure is.")]
    Timeliness(TimelinessReport),
    /// Case files of enquiries drawn at random, for a case audit
    #[command(after_help = "Example:
  mash-gateway report sample --count 10 --from 2026-10-01 --to 2026-12-31 --out audit --home H

Prints the seed: with it and the same period, anybody at the gateway draws the same enquiries again.")]
    Sample(Sample),
    /// Who read what and when: collected, pushed, fetched, saved, opened for a case file
    #[command(after_help = "Examples:
  mash-gateway report access --agency test-police --from 2026-11-01 --home H
  mash-gateway report access --certificate 5f2a… --format csv --home H > access.csv")]
    Access(Access),
}

/// Which time a report is about.
#[derive(Args)]
struct Span {
    /// From this day (2026-11-01) or instant on [default: the beginning]
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// To the end of this day, or until just before this instant [default: now]
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
}

#[derive(Args)]
pub(super) struct TimelinessReport {
    #[command(flatten)]
    span: Span,
    /// How to print it [default: for people to read here]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Args)]
pub(super) struct Sample {
    /// How many enquiries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    count: u16,
    #[command(flatten)]
    span: Span,
    /// Draw with this seed, as an earlier sample printed it [default: a new one]
    #[arg(long, value_name = "SEED", value_parser = seed)]
    seed: Option<String>,
    /// The folder to make, with one in it for each enquiry
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
pub(super) struct Access {
    /// Only what this agency's people and system read
    #[arg(long)]
    agency: Option<AgencyId>,
    /// Only what was read with the certificate with this serial
    #[arg(long, value_name = "SERIAL")]
    certificate: Option<String>,
    #[command(flatten)]
    span: Span,
    /// How to print it [default: for people to read here]
    #[arg(long, value_enum)]
    format: Option<TableFormat>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Html,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum TableFormat {
    Csv,
    Json,
}

impl Report {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Access(access) => access.run(context, now()).await,
                Self::Sample(sample) => sample.run(context, now()).await,
                Self::Timeliness(report) => report.run(context, now()).await,
            }
        })
    }
}

impl Span {
    fn period(&self, at: Timestamp) -> Result<Period, Failure> {
        Period::parse(self.from.as_deref(), self.to.as_deref(), at)
            .map_err(|error| Failure::new(Exit::Misused, error))
    }
}

impl TimelinessReport {
    async fn run(self, context: &Context, at: Timestamp) -> Result<(), Failure> {
        let period = self.span.period(at)?;
        let (store, timers) = (log::open(context)?, evidence::timers(context)?);
        let report = reading::timeliness(&*store, &timers, period, at).await?;
        match self.format {
            Some(Format::Csv) => print(report.csv().trim_end_matches('\n')),
            Some(Format::Html) => print(report.html().trim_end()),
            Some(Format::Json) => print(format_args!("{:#}", serde_json::to_value(&report)?)),
            None => context.result(&serde_json::to_value(&report)?, in_lines(&report)),
        }
        Ok(())
    }
}

fn in_lines(report: &Timeliness) -> String {
    let mut lines = vec![format!("RFIs sent from {} until just before {}", report.from, report.to)];
    if report.figures.is_empty() {
        lines.push("nothing was asked".to_owned());
    }
    lines.extend(report.figures.iter().filter(|one| one.priority == ALL).map(in_a_line));
    lines.extend(
        report
            .overdue
            .iter()
            .map(|one| format!("OVERDUE  {}  {}  due {}", one.agency, one.reference, one.due_at)),
    );
    lines.join("\n")
}

fn in_a_line(figures: &Figures) -> String {
    let percent = figures
        .in_time_percent
        .map_or_else(String::new, |percent| format!(" ({percent:.1} % of what was due)"));
    let reply = figures.to_reply.working_hours.map_or_else(String::new, |of| {
        format!(
            "; reply in {:.1} working hours, {:.1} at 90 %, {:.1} at worst",
            of.median, of.p90, of.worst
        )
    });
    format!(
        "{}  asked {}, in time {}{percent}, late {}, overdue {}, waiting {}, not theirs {}, \
         cancelled {}{reply}",
        figures.agency,
        figures.asked,
        figures.answered_in_time,
        figures.answered_late,
        figures.overdue,
        figures.due_soon + figures.running,
        figures.rejected,
        figures.cancelled
    )
}

impl Sample {
    async fn run(self, context: &Context, at: Timestamp) -> Result<(), Failure> {
        let period = self.span.period(at)?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => new_seed()?,
        };
        let cases = Cases::of(context).await?;
        let all: BTreeSet<EnquiryId> = opened(&*cases.store, period)
            .await?
            .into_iter()
            .map(|exchange| exchange.enquiry)
            .collect();
        if all.is_empty() {
            return Err(Failure::new(Exit::NotFound, "nothing was asked in this period"));
        }
        let drawn = drawn(&seed, &all, usize::from(self.count));
        evidence::make_folder(&self.out)?;
        let mut list = Vec::new();
        let mut lines = vec![format!(
            "drew {} of {} enquiries opened from {} until just before {}\nseed {seed}",
            drawn.len(),
            all.len(),
            rfc3339(period.from),
            rfc3339(period.to)
        )];
        for enquiry in &drawn {
            let file = cases.file(enquiry, at).await?;
            let folder = self.out.join(&file.enquiry);
            evidence::make_folder(&folder)?;
            evidence::write(&file, &folder)?;
            let references: Vec<_> = file.exchanges.iter().map(|case| &*case.reference).collect();
            lines.push(format!("{}  {}", folder.display(), references.join(", ")));
            list.push(json!({ "enquiry": file.enquiry, "references": references }));
        }
        let result = json!({
            "drawn": list, "from": rfc3339(period.from), "of": all.len(), "seed": seed,
            "to": rfc3339(period.to),
        });
        // How it was drawn lies beside what was drawn.
        write_synced(&self.out.join("sample.json"), format!("{result:#}\n").as_bytes(), 0o600)?;
        context.result(&result, lines.join("\n"));
        Ok(())
    }
}

impl Access {
    async fn run(self, context: &Context, at: Timestamp) -> Result<(), Failure> {
        let period = self.span.period(at)?;
        let store = log::open(context)?;
        let certificate = match &self.certificate {
            Some(serial) => Some(serial::find(store.certificates().await?, serial)?.serial),
            None => None,
        };
        let mut readings = Vec::new();
        log::each(&*store, |entry, fields| {
            let Some(reading) = Reading::of(entry, fields) else { return };
            let is_in_period = reading.time.parse().is_ok_and(|at: Timestamp| period.contains(at));
            let is_theirs = self.agency.as_ref().is_none_or(|id| id.as_str() == reading.reader);
            let is_with = certificate.as_ref().is_none_or(|serial| *serial == reading.certificate);
            if is_in_period && is_theirs && is_with {
                readings.push(reading);
            }
        })
        .await?;
        let summary = counted(&readings);
        let whole = json!({
            "from": rfc3339(period.from), "readings": readings, "summary": summary,
            "to": rfc3339(period.to),
        });
        match self.format {
            Some(TableFormat::Csv) => {
                let rows = readings.into_iter().map(Reading::cells);
                print(csv(&access::HEADINGS, rows).trim_end_matches('\n'));
            }
            Some(TableFormat::Json) => print(format_args!("{whole:#}")),
            None => {
                let mut lines: Vec<_> = readings
                    .iter()
                    .map(|one| {
                        format!(
                            "{:>6}  {}  {} ({})  {} {}  {}",
                            one.entry,
                            one.time,
                            one.reader,
                            one.role,
                            one.event,
                            one.kind,
                            one.reference
                        )
                    })
                    .collect();
                if lines.is_empty() {
                    lines.push("nobody read anything".to_owned());
                }
                for one in &summary {
                    lines.push(format!(
                        "{} ({})  {} {} times, with {} certificates",
                        one.reader, one.role, one.event, one.count, one.certificates
                    ));
                }
                context.result(&whole, lines.join("\n"));
            }
        }
        Ok(())
    }
}

fn new_seed() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::new(Exit::Failed, "the system gives no random bytes"))?;
    Ok(hex(&bytes))
}

// What can be printed, typed again and told apart.
fn seed(text: &str) -> Result<String, String> {
    let is_seed = (1..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic());
    if is_seed { Ok(text.to_owned()) } else { Err("1 to 64 characters, no spaces".to_owned()) }
}
