//! How timely each agency is (R13, R52): how many RFIs it was asked and answered, how many by the time they
//! were due, and how long it took.
//!
//! Nothing is estimated. What is counted and what is left out is said in `docs/reports.md`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::page::{Cell, escape, page, table, utc};
use super::plot;
use crate::audit::entry::{EventName, Fields};
use crate::message::{
    AgencyId, Exchange, ExchangeState, Kind, Period, Priority, Reference, rfc3339,
};
use crate::store::{DeliveryState, StoredEntry};
use crate::timer::working_time::WorkingTime;
use crate::timer::{Grade, Settings, Timer};

/// One RFI to one agency, as far as it is measured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// In which exchange.
    pub reference: Reference,
    /// Who was asked.
    pub agency: AgencyId,
    /// How urgently.
    pub priority: Priority,
    /// When.
    pub asked_at: Timestamp,
    /// When the answer was due.
    pub due_at: Timestamp,
    /// Since when the agency could have it: in its mailbox, or taken by its endpoint.
    pub dispatched_at: Option<Timestamp>,
    /// When the agency had it: collected, or taken by its endpoint.
    pub collected_at: Option<Timestamp>,
    /// When its first answer came, whole or in part, or what it said by telephone was written down.
    pub replied_at: Option<Timestamp>,
    /// How it stands.
    pub standing: Standing,
    /// Whether the answer that there is is a part of one still.
    pub is_in_part: bool,
}

/// How an RFI stands: one of these.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Answered by the time it was due.
    InTime,
    /// Answered after that.
    Late,
    /// Not answered, and that time is past.
    Overdue,
    /// Not answered, and due soon.
    DueSoon,
    /// Not answered, and there is time.
    Running,
    /// Not answered: the agency said that it is not theirs to answer.
    Rejected,
    /// Not answered, and no answer is needed any more.
    Cancelled,
}

impl Asked {
    /// What an exchange, what was logged about it, and how the delivery of its RFI stands come to.
    pub fn of(
        exchange: &Exchange,
        timeline: &[StoredEntry],
        delivery: &DeliveryState,
        timers: &Settings,
        now: Timestamp,
    ) -> Self {
        let entries: Vec<_> =
            timeline.iter().filter_map(|entry| Fields::parse(entry.fields.as_deref()?)).collect();
        let (dispatched_at, collected_at) = way(exchange, &entries, delivery);
        let replied_at = entries.iter().find_map(answered_at).or_else(|| {
            // Where the words of the entries are destroyed by now.
            exchange.marks.answered_at.or(exchange.marks.transcribed_at)
        });
        let due_at = exchange.response_required_by;
        let standing = match (replied_at, exchange.state) {
            (Some(at), _) if at <= due_at => Standing::InTime,
            (Some(_), _) => Standing::Late,
            (None, ExchangeState::Cancelled) => Standing::Cancelled,
            (None, ExchangeState::Rejected) => Standing::Rejected,
            (None, _) => {
                let due = timers.due(exchange, now);
                match due.iter().find(|due| due.timer == Timer::Reply).map(|due| due.grade) {
                    Some(Grade::Overdue) => Standing::Overdue,
                    Some(Grade::DueSoon) => Standing::DueSoon,
                    Some(Grade::Running) | None => Standing::Running,
                }
            }
        };
        Self {
            reference: exchange.reference.clone(),
            agency: exchange.agency.clone(),
            priority: exchange.priority,
            asked_at: exchange.opened_at,
            due_at,
            dispatched_at,
            collected_at,
            replied_at,
            standing,
            is_in_part: exchange.state == ExchangeState::InProgress,
        }
    }
}

// Since when the agency could have the RFI, and since when it had it.
fn way(
    exchange: &Exchange,
    entries: &[Fields],
    delivery: &DeliveryState,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let rfi = exchange.rfi.to_string();
    let (mut dispatched, mut collected) = (None, None);
    // Until something says that it is pushed, it is in the mailbox from the first.
    let mut is_pushed = false;
    for fields in entries.iter().filter(|fields| fields.get("message") == Some(&rfi)) {
        let Some(at) = time(fields) else { continue };
        let is = |event: EventName| fields.get("event") == Some(event.as_str());
        if is(EventName::Collected) || is(EventName::Delivered) {
            let from_mailbox = is(EventName::Collected) && !is_pushed;
            dispatched.get_or_insert(if from_mailbox { exchange.opened_at } else { at });
            collected.get_or_insert(at);
        } else if is(EventName::AttemptFailed) {
            is_pushed = true;
            if fields.get("next").is_none() {
                // The mailbox took over.
                dispatched.get_or_insert(at);
            }
        } else if is(EventName::Retried) && fields.get("to") == Some("mailbox") {
            dispatched.get_or_insert(at);
        } else if is(EventName::Delayed) || is(EventName::Returned) {
            is_pushed = true;
        }
    }
    if !is_pushed && *delivery == DeliveryState::Held {
        dispatched.get_or_insert(exchange.opened_at);
    }
    (dispatched, collected)
}

fn answered_at(fields: &Fields) -> Option<Timestamp> {
    let is_answer = [Kind::Response, Kind::Transcription]
        .into_iter()
        .any(|kind| fields.get("kind") == Some(kind.as_str()));
    let is_accepted = fields.get("event") == Some(EventName::Accepted.as_str());
    if is_answer && is_accepted { time(fields) } else { None }
}

fn time(fields: &Fields) -> Option<Timestamp> {
    fields.get("time")?.parse().ok()
}

/// The figures of one agency, or of all; for one priority, or for all.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The agency, or [`ALL`].
    pub agency: String,
    /// The priority, or [`ALL`].
    pub priority: String,
    /// RFIs to it.
    pub asked: usize,
    /// Those answered by the time they were due.
    pub answered_in_time: usize,
    /// Those answered later.
    pub answered_late: usize,
    /// Those of both whose answer is a part of one still.
    pub answered_in_part: usize,
    /// Not answered, and the time is past.
    pub overdue: usize,
    /// Not answered, and due soon.
    pub due_soon: usize,
    /// Not answered, and there is time.
    pub running: usize,
    /// Not answered: not theirs to answer, as they said.
    pub rejected: usize,
    /// Not answered: no answer is needed any more.
    pub cancelled: usize,
    /// Of those that were answered or are overdue, how many in a hundred were answered in time.
    pub in_time_percent: Option<f64>,
    /// How long until the agency could have it.
    pub to_dispatch: Spread,
    /// How long until it had it.
    pub to_collect: Spread,
    /// How long until it answered.
    pub to_reply: Spread,
}

/// How long something took.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// How often it happened.
    pub count: usize,
    /// In hours by the clock; none when it never happened.
    pub hours: Option<Summary>,
    /// In hours in which people work.
    pub working_hours: Option<Summary>,
}

/// Of durations, in hours to two places.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Half took no longer; between the two in the middle when they are even in number.
    pub median: f64,
    /// The shortest that nine in ten took no longer than.
    pub p90: f64,
    /// The longest.
    pub worst: f64,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeliness {
    /// When it was made, by which it goes what is overdue.
    pub as_at: String,
    /// RFIs asked from then on.
    pub from: String,
    /// And before then.
    pub to: String,
    /// What working hours are.
    pub working_time: String,
    /// All agencies together, then each; all priorities together, then each.
    pub figures: Vec<Figures>,
    /// What is overdue, by agency, what was due first first (R52).
    pub overdue: Vec<Overdue>,
}

/// An RFI that was not answered by the time it was due, nor since.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overdue {
    /// Who was asked.
    pub agency: String,
    /// In which exchange.
    pub reference: String,
    /// How urgently.
    pub priority: String,
    /// When.
    pub asked_at: String,
    /// When the answer was due.
    pub due_at: String,
    /// When the agency had it, if it has.
    pub collected_at: Option<String>,
}

impl Timeliness {
    /// The figures of what was asked in this period, as of `now`.
    pub fn of(asked: &[Asked], period: Period, work: &WorkingTime, now: Timestamp) -> Self {
        // None and 0 stand for all, and come first.
        let mut groups = BTreeMap::<(Option<&AgencyId>, usize), Vec<&Asked>>::new();
        for one in asked.iter().filter(|one| period.contains(one.asked_at)) {
            let priority = Priority::ALL.iter().position(|p| *p == one.priority).unwrap_or(0) + 1;
            for agency in [None, Some(&one.agency)] {
                for priority in [0, priority] {
                    groups.entry((agency, priority)).or_default().push(one);
                }
            }
        }
        let figures = groups.into_iter().map(|((agency, priority), group)| {
            let priority = priority.checked_sub(1).map_or(ALL, |at| Priority::ALL[at].as_str());
            Figures::of(agency.map_or(ALL, AgencyId::as_str), priority, &group, work)
        });
        let is_overdue =
            |one: &&Asked| period.contains(one.asked_at) && one.standing == Standing::Overdue;
        let mut overdue: Vec<_> = asked.iter().filter(is_overdue).collect();
        overdue.sort_by_key(|one| (&one.agency, one.due_at));
        Self {
            overdue: overdue.into_iter().map(Overdue::of).collect(),
            as_at: rfc3339(now),
            from: rfc3339(period.from),
            to: rfc3339(period.to),
            working_time: work.to_string(),
            figures: figures.collect(),
        }
    }

    /// The figures as CSV.
    pub fn csv(&self) -> String {
        super::table::csv(&HEADINGS, self.figures.iter().map(Figures::cells))
    }

    /// The figures as one page, to look at and to print.
    pub fn html(&self) -> String {
        let (from, to) = (utc(&self.from), utc(&self.to));
        let mut body = format!(
            "<h1>How timely agencies answer</h1>\n<p>RFIs sent from {from} until just before {to}, as they \
             stood at {}. Working hours are {}. Tests are left out.</p>\n",
            utc(&self.as_at),
            escape(&self.working_time),
        );
        if self.figures.is_empty() {
            body.push_str("<p>Nothing was asked in this period.</p>\n");
            return page("How timely agencies answer", &body);
        }
        let each: Vec<_> = self.figures.iter().filter(|one| one.priority == ALL).collect();
        body.push_str(&plot::answers(&each));
        body.push_str(&table(
            "How many were answered",
            &[
                "Agency",
                "Priority",
                "Asked",
                "In time",
                "Late",
                "In part",
                "Overdue",
                "Due soon",
                "Running",
                "Not theirs",
                "Cancelled",
                "In time, %",
            ],
            self.figures.iter().map(Figures::counts),
        ));
        body.push_str(&table(
            "How long it took, in working hours (by the clock)",
            &[
                "Agency",
                "Priority",
                "To dispatch: median",
                "90 %",
                "worst",
                "To collect: median",
                "90 %",
                "worst",
                "To reply: median",
                "90 %",
                "worst",
            ],
            self.figures.iter().map(Figures::times),
        ));
        if !self.overdue.is_empty() {
            body.push_str(&table(
                "Not answered, and overdue",
                &["Agency", "Reference", "Priority", "Sent", "Due", "The agency had it"],
                self.overdue.iter().map(Overdue::row),
            ));
        }
        body.push_str(NOTES);
        page("How timely agencies answer", &body)
    }
}

impl Overdue {
    fn of(asked: &Asked) -> Self {
        Self {
            agency: asked.agency.to_string(),
            reference: asked.reference.to_string(),
            priority: asked.priority.as_str().to_owned(),
            asked_at: rfc3339(asked.asked_at),
            due_at: rfc3339(asked.due_at),
            collected_at: asked.collected_at.map(rfc3339),
        }
    }

    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::head(&self.agency),
            Cell::name(&self.reference),
            Cell::text(&self.priority),
            Cell::time(&self.asked_at),
            Cell::time(&self.due_at),
            Cell::time(self.collected_at.as_deref().unwrap_or("never")),
        ]
    }
}

impl Figures {
    fn of(agency: &str, priority: &str, group: &[&Asked], work: &WorkingTime) -> Self {
        let count = |standing| group.iter().filter(|one| one.standing == standing).count();
        let spread = |at: fn(&Asked) -> Option<Timestamp>| {
            Spread::of(group.iter().filter_map(|one| Some((one.asked_at, at(one)?))), work)
        };
        let (in_time, late) = (count(Standing::InTime), count(Standing::Late));
        let overdue = count(Standing::Overdue);
        let of = in_time + late + overdue;
        Self {
            agency: agency.to_owned(),
            priority: priority.to_owned(),
            asked: group.len(),
            answered_in_time: in_time,
            answered_late: late,
            answered_in_part: group.iter().filter(|one| one.is_in_part).count(),
            overdue,
            due_soon: count(Standing::DueSoon),
            running: count(Standing::Running),
            rejected: count(Standing::Rejected),
            cancelled: count(Standing::Cancelled),
            in_time_percent: (of > 0)
                .then(|| (in_time as f64 * 1_000.0 / of as f64).round() / 10.0),
            to_dispatch: spread(|one| one.dispatched_at),
            to_collect: spread(|one| one.collected_at),
            to_reply: spread(|one| one.replied_at),
        }
    }

    fn cells(&self) -> Vec<String> {
        let counts = [
            self.asked,
            self.answered_in_time,
            self.answered_late,
            self.answered_in_part,
            self.overdue,
            self.due_soon,
            self.running,
            self.rejected,
            self.cancelled,
        ];
        let mut cells = vec![self.agency.clone(), self.priority.clone()];
        cells.extend(counts.iter().map(usize::to_string));
        cells
            .push(self.in_time_percent.map_or_else(String::new, |percent| format!("{percent:.1}")));
        for spread in [&self.to_dispatch, &self.to_collect, &self.to_reply] {
            cells.push(spread.count.to_string());
            for summary in [spread.hours, spread.working_hours] {
                let hours = summary.map(|of| [of.median, of.p90, of.worst]);
                cells.extend(
                    (0..3).map(|at| {
                        hours.map_or_else(String::new, |hours| format!("{:.2}", hours[at]))
                    }),
                );
            }
        }
        cells
    }

    fn counts(&self) -> Vec<Cell> {
        let mut row = vec![Cell::head(&self.agency), Cell::text(&self.priority)];
        row.extend(self.cells()[2..12].iter().map(|count| Cell::number(count)));
        row
    }

    fn times(&self) -> Vec<Cell> {
        let mut row = vec![Cell::head(&self.agency), Cell::text(&self.priority)];
        for spread in [&self.to_dispatch, &self.to_collect, &self.to_reply] {
            let both = spread.working_hours.zip(spread.hours);
            for at in [|of: Summary| of.median, |of: Summary| of.p90, |of: Summary| of.worst] {
                let shown = both.map(|(work, clock)| {
                    format!("{:.1} ({:.1})", tenths(at(work)), tenths(at(clock)))
                });
                row.push(Cell::number(&shown.unwrap_or_default()));
            }
        }
        row
    }
}

impl Spread {
    fn of(spans: impl Iterator<Item = (Timestamp, Timestamp)>, work: &WorkingTime) -> Self {
        let (clock, working): (Vec<_>, Vec<_>) =
            spans.map(|(from, to)| (to.duration_since(from), work.between(from, to))).unzip();
        Self { count: clock.len(), hours: Summary::of(clock), working_hours: Summary::of(working) }
    }
}

impl Summary {
    fn of(mut took: Vec<SignedDuration>) -> Option<Self> {
        took.sort_unstable();
        let worst = *took.last()?;
        let middle = took.len() / 2;
        let median =
            if took.len() % 2 == 1 { took[middle] } else { (took[middle - 1] + took[middle]) / 2 };
        // By nearest rank.
        let p90 = took[(took.len() * 9).div_ceil(10) - 1];
        Some(Self { median: hours(median), p90: hours(p90), worst: hours(worst) })
    }
}

// To two places. What is logged of two machines' clocks may cross by a little: that is no time.
fn hours(took: SignedDuration) -> f64 {
    (took.as_secs_f64().max(0.0) / 36.0).round() / 100.0
}

// To one place, as people round.
fn tenths(hours: f64) -> f64 {
    (hours * 10.0).round() / 10.0
}

/// All agencies, or all priorities: no agency's id has parentheses.
pub const ALL: &str = "(all)";

/// What stands over the columns of the CSV.
pub const HEADINGS: [&str; 33] = [
    "agency",
    "priority",
    "asked",
    "answered_in_time",
    "answered_late",
    "answered_in_part",
    "overdue",
    "due_soon",
    "running",
    "rejected",
    "cancelled",
    "in_time_percent",
    "to_dispatch_count",
    "to_dispatch_hours_median",
    "to_dispatch_hours_p90",
    "to_dispatch_hours_worst",
    "to_dispatch_working_hours_median",
    "to_dispatch_working_hours_p90",
    "to_dispatch_working_hours_worst",
    "to_collect_count",
    "to_collect_hours_median",
    "to_collect_hours_p90",
    "to_collect_hours_worst",
    "to_collect_working_hours_median",
    "to_collect_working_hours_p90",
    "to_collect_working_hours_worst",
    "to_reply_count",
    "to_reply_hours_median",
    "to_reply_hours_p90",
    "to_reply_hours_worst",
    "to_reply_working_hours_median",
    "to_reply_working_hours_p90",
    "to_reply_working_hours_worst",
];

const NOTES: &str = "<h2>How to read this</h2>\n<ul>\n\
<li>Asked: one RFI to one agency. Each stands in exactly one of the columns in time, late, overdue, due soon, \
running, not theirs and cancelled; in part says of how many of the answers more is to come.</li>\n\
<li>In time, %: of what was answered or is overdue. What is not due yet, was not theirs to answer, or is needed \
no more is left out.</li>\n\
<li>To dispatch: until the agency could have it, in its mailbox (which is at once) or at its endpoint. To \
collect: until it had it. To reply: until its first answer, whole or in part, or until what it said by \
telephone was written down. All from when the hub sent the RFI.</li>\n\
<li>Times are of what happened. What was never answered has none: it stands under overdue.</li>\n\
<li>90 %: nine in ten took no longer.</li>\n</ul>\n";
