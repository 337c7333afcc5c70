//! `apd`: agencies' appropriate policy documents, and when they are to be reviewed (R72).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::partner::add::next;
use super::partner::checklist::Checklist;
use super::partner::file::{PartnersFile, no_such_agency};
use super::{Context, Exit, Failure, block_on, serve};
use crate::directory::edit::Setting;
use crate::directory::{AgencyKind, Directory, Partner, PolicyDocument, Status};
use crate::message::{AgencyId, hex, now, sha256};

/// Agencies' appropriate policy documents.
#[derive(Subcommand)]
pub(super) enum Apd {
    /// Record an agency's policy document: its digest, and when it is to be reviewed
    #[command(after_help = "Example:
  mash-gateway apd add demo-surgery --file apd.pdf --review 2027-11-01 --home H

The file itself stays with you: keep it where the Information Commissioner can be shown it.")]
    Add(Add),
    /// Every agency's policy document, and which reviews are due
    #[command(after_help = "Example:
  mash-gateway apd list --home H")]
    List,
    /// The same as a table, for whoever asks for the register: the Information Commissioner, an auditor
    #[command(after_help = "Example:
  mash-gateway apd export --home H > policy-documents.csv

A document is kept until six months after its agency has closed (Data Protection Act 2018, Schedule 1,
Part 4, paragraph 41). The digest shows which file it is.")]
    Export,
}

#[derive(Args)]
pub(super) struct Add {
    /// The agency
    id: AgencyId,
    /// The document
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The day by which it is to be reviewed
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    review: Date,
}

impl Apd {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Add(add) => block_on(add.run(context)),
            Self::Export => export(context),
            Self::List => list(context),
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        let bytes = std::fs::read(&self.file).map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::Failed,
            };
            Failure::new(exit, format!("cannot read {}: {error}", self.file.display()))
        })?;
        if bytes.is_empty() {
            let message = format!("{} is empty; nothing was written", self.file.display());
            return Err(Failure::new(Exit::Misused, message));
        }
        let document = PolicyDocument { sha256: hex(&sha256(&bytes)), review: self.review };
        if document.days_to_review(at) < 0 {
            let message = "the day of its review has passed; nothing was written";
            return Err(Failure::new(Exit::Misused, message)
                .hint("have the document reviewed first, and give the day of the next review"));
        }
        let file = PartnersFile::open(context, at)?;
        let settings = [Setting::PolicyDocument(document.clone())];
        let written = file.set(&self.id, &settings, at)?.write(context).await?;
        let directory = &written.directory;
        let partner = directory.get(&self.id).ok_or_else(|| no_such_agency(directory, &self.id))?;
        let checklist = Checklist::of(context, &written.config, partner, at).await?;
        context.result(
            &json!({
                "agency": self.id,
                "checklist": checklist.to_json(),
                "review": document.review.to_string(),
                "sha256": document.sha256,
            }),
            format!(
                "Recorded the policy document of {}: SHA256 {}, to be reviewed by {}.\n{checklist}",
                self.id, document.sha256, document.review
            ),
        );
        context.say(written.use_in_words());
        next(context, &checklist);
        Ok(())
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let config = super::config(&context.home)?;
    let directory = serve::directory(&context.home, &config)?;
    let at = now();
    let asked = asked(&directory, at);
    let list: Vec<Value> = asked.iter().map(|partner| view(partner, at)).collect();
    let lines: Vec<_> = asked
        .iter()
        .map(|partner| {
            let review = partner.policy_document.as_ref().map(|d| d.review.to_string());
            let review = review.unwrap_or_else(|| "-".to_owned());
            format!("{:<40} {review:<10}  {}", partner.id.as_str(), in_words(partner, at))
        })
        .collect();
    context.result(&json!({ "policyDocuments": list }), lines.join("\n"));
    Ok(())
}

fn export(context: &Context) -> Result<(), Failure> {
    let config = super::config(&context.home)?;
    let directory = serve::directory(&context.home, &config)?;
    let at = now();
    let mut table = "agency,statutory basis,SHA-256,review,standing,keep until\n".to_owned();
    for partner in asked(&directory, at) {
        let document = partner.policy_document.as_ref();
        let cells = [
            partner.id.as_str().to_owned(),
            partner.statutory_basis.clone(),
            document.map(|document| document.sha256.clone()).unwrap_or_default(),
            document.map(|document| document.review.to_string()).unwrap_or_default(),
            standing(partner, at).to_owned(),
            keep_until(partner, at).map(|day| day.to_string()).unwrap_or_default(),
        ];
        table.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        table.push('\n');
    }
    super::print(table.trim_end());
    Ok(())
}

// As RFC 4180 has it; and no spreadsheet takes it for a formula.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

// Everybody who has one or should have, and who has closed and left one that is still to be kept.
fn asked(directory: &Directory, at: Timestamp) -> Vec<&Partner> {
    directory
        .all()
        .filter(|partner| {
            let is_closed = partner.status_at(at) == Status::Closed;
            let is_kept = !is_closed || partner.policy_document.is_some();
            partner.kind != AgencyKind::GpSurgeryClass && is_kept
        })
        .collect()
}

/// Six months after the last day of an agency that has closed.
fn keep_until(partner: &Partner, at: Timestamp) -> Option<Date> {
    let document = partner.policy_document.as_ref();
    let last = document.and(partner.valid_to).filter(|_| partner.status_at(at) == Status::Closed);
    last.and_then(|last| last.checked_add(6.months()).ok())
}

fn view(partner: &Partner, at: Timestamp) -> Value {
    let mut view = json!({ "agency": partner.id, "standing": standing(partner, at) });
    if let Some(document) = &partner.policy_document {
        view["daysToReview"] = json!(document.days_to_review(at));
        view["review"] = json!(document.review.to_string());
        view["sha256"] = json!(document.sha256);
    }
    if let Some(day) = keep_until(partner, at) {
        view["keepUntil"] = json!(day.to_string());
    }
    view
}

fn standing(partner: &Partner, at: Timestamp) -> &'static str {
    match &partner.policy_document {
        Some(_) if partner.status_at(at) == Status::Closed => match keep_until(partner, at) {
            Some(day) if at.to_zoned(TimeZone::UTC).date() > day => "no-longer-needed",
            _ => "kept",
        },
        None => "none",
        Some(document) if document.days_to_review(at) < 0 => "review-overdue",
        Some(document) if document.is_due(at) => "review-due",
        Some(_) => "in-force",
    }
}

fn in_words(partner: &Partner, at: Timestamp) -> String {
    let days = partner.policy_document.as_ref().map(|document| document.days_to_review(at));
    match (standing(partner, at), days) {
        ("review-overdue", Some(days)) => format!("REVIEW OVERDUE by {} days", -days),
        ("review-due", Some(days)) => format!("review due in {days} days"),
        ("none", _) => "no policy document".to_owned(),
        ("no-longer-needed", _) => {
            "of an agency that has closed; need not be kept any more".to_owned()
        }
        ("kept", _) => match keep_until(partner, at) {
            Some(day) => format!("of an agency that has closed; keep it until {day}"),
            None => "of an agency that has closed; keep it".to_owned(),
        },
        _ => "in force".to_owned(),
    }
}

pub(super) fn day(text: &str) -> Result<Date, String> {
    let day = (text.len() == 10).then(|| text.parse().ok()).flatten();
    day.ok_or_else(|| "a day such as 2027-11-01".to_owned())
}
