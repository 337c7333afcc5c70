//! How timely each agency is, as `report timeliness` has it: figures and a plot.
//!
//! Making them takes reading everything that was asked in the period, which no page waits for: they are made
//! beside it when somebody asks and those there are have grown old, and the page says as of when they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::{SignedDuration, Timestamp};

use super::office::Office;
use super::page::{Frame, page};
use super::requests::Moment;
use super::visitor::Visitor;
use super::{ROWS, words};
use crate::http::api::no_such_thing;
use crate::message::{AgencyId, Period};
use crate::problem::Problem;
use crate::report::timeliness::{ALL, Figures, Summary, Timeliness};
use crate::report::{plot, reading};
use crate::store::Store;
use crate::timer::Settings;

/// The figures that were made last, and whether others are being made.
#[derive(Default)]
pub(super) struct Kept(Mutex<Making>);

#[derive(Default)]
struct Making {
    latest: Option<(Timestamp, Arc<Timeliness>)>,
    is_making: bool,
    has_failed: bool,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Making> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Those that were made last; and others are begun, when they are old and nobody has begun.
fn latest(office: &Office, at: Timestamp) -> Option<(Timestamp, Arc<Timeliness>)> {
    let mut kept = office.figures.lock();
    let latest = kept.latest.clone();
    let is_new = latest.as_ref().is_some_and(|(made, _)| at.duration_since(*made).abs() < GOOD_FOR);
    if !is_new && !kept.is_making {
        kept.is_making = true;
        let (gateway, figures) = (&office.api.gateway, Arc::clone(&office.figures));
        // Not the gateway itself: one that stops does not wait for them.
        tokio::spawn(make(figures, Arc::clone(gateway.store()), gateway.timers(), at));
    }
    latest
}

async fn make(kept: Arc<Kept>, store: Arc<dyn Store>, timers: Arc<Settings>, at: Timestamp) {
    // Whatever becomes of it, the next who asks may begin again.
    let _begun = Begun(Arc::clone(&kept));
    let period = Period { from: at - PERIOD, to: at };
    match reading::timeliness(&*store, &timers, period, at).await {
        Ok(made) => {
            let mut kept = kept.lock();
            kept.latest = Some((at, Arc::new(made)));
            kept.has_failed = false;
        }
        Err(error) => {
            tracing::error!(error = %error, "the figures were not made");
            kept.lock().has_failed = true;
        }
    }
}

struct Begun(Arc<Kept>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.lock().is_making = false;
    }
}

/// The figures.
#[derive(Template)]
#[template(path = "desk/timeliness.html")]
struct TimelinessPage {
    frame: Frame,
    title: &'static str,
    as_of: Moment,
    from: Moment,
    /// None while the first are made.
    report: Option<Shown>,
    has_failed: bool,
}

struct Shown {
    working_time: String,
    rows: Vec<Row>,
    is_cut: bool,
    overdue: Vec<Overdue>,
    overdue_of: usize,
}

struct Row {
    agency: String,
    asked: usize,
    in_time: usize,
    late: usize,
    overdue: usize,
    waiting: usize,
    others: usize,
    percent: String,
    hours: String,
}

struct Overdue {
    agency: String,
    reference: String,
    due: String,
}

/// Shows the figures of the last days.
pub(super) async fn figures(
    State(office): State<Office>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let gateway = &office.api.gateway;
    let latest = latest(&office, visitor.at());
    let directory = gateway.directory();
    let name = |id: &str| {
        let known = AgencyId::parse(id).ok();
        let known = known.and_then(|id| directory.name(&id).map(str::to_owned));
        known.unwrap_or_else(|| if id == ALL { "All agencies".to_owned() } else { id.to_owned() })
    };
    let made = latest.as_ref().map_or_else(|| visitor.at(), |(made, _)| *made);
    let report = latest.map(|(_, report)| {
        let (rows, is_cut) = shown(&report);
        Shown {
            working_time: report.working_time.clone(),
            rows: rows.into_iter().map(|one| row(one, name(&one.agency))).collect(),
            is_cut,
            overdue_of: report.overdue.len(),
            overdue: report
                .overdue
                .iter()
                .take(ROWS)
                .map(|one| Overdue {
                    agency: name(&one.agency),
                    reference: one.reference.clone(),
                    due: words::time_in(&one.due_at),
                })
                .collect(),
        }
    });
    let template = TimelinessPage {
        frame: Frame::of(gateway, Some(&visitor)),
        title: "How timely agencies answer",
        as_of: Moment::of(made),
        from: Moment::of(made - PERIOD),
        report,
        has_failed: office.figures.lock().has_failed,
    };
    page(StatusCode::OK, &template)
}

/// The same as a picture.
pub(super) async fn plot(
    State(office): State<Office>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let (_, report) = latest(&office, visitor.at()).ok_or_else(no_such_thing)?;
    let (rows, _) = shown(&report);
    let picture = plot::picture(&rows);
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], picture).into_response())
}

// All together, then those that were asked most: as many as a page has room for; and whether there are others.
fn shown(report: &Timeliness) -> (Vec<&Figures>, bool) {
    let mut rows: Vec<_> = report.figures.iter().filter(|one| one.priority == ALL).collect();
    let is_cut = rows.len() > AGENCIES;
    if is_cut {
        rows.sort_by_key(|one| (one.agency != ALL, std::cmp::Reverse(one.asked)));
        rows.truncate(AGENCIES);
    }
    (rows, is_cut)
}

fn row(figures: &Figures, agency: String) -> Row {
    let none = || "–".to_owned();
    let hours = |of: Summary| format!("{:.1}, {:.1}, {:.1}", of.median, of.p90, of.worst);
    Row {
        agency,
        asked: figures.asked,
        in_time: figures.answered_in_time,
        late: figures.answered_late,
        overdue: figures.overdue,
        waiting: figures.due_soon + figures.running,
        others: figures.rejected + figures.cancelled,
        percent: figures.in_time_percent.map_or_else(none, |percent| format!("{percent:.1} %")),
        hours: figures.to_reply.working_hours.map_or_else(none, hours),
    }
}

/// Which time the figures are about: a quarter, as somebody who oversees looks at it.
const PERIOD: SignedDuration = SignedDuration::from_hours(24 * 92);
/// For how long they are not made anew.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(10);
/// How many agencies there is room for.
const AGENCIES: usize = 40;
