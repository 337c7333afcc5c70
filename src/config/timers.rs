//! `[timers]`: when people work, and how long things may take.

use std::path::PathBuf;

use jiff::SignedDuration;
use jiff::civil::Time;

use super::{Home, number};
use crate::directory::document::Section;
use crate::timer::working_time::{BankHolidays, WorkingTime, time_of_day};
use crate::timer::{Settings, TelephoneThreshold};

/// When people work, and how long things may take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TimerSettings {
    /// When work begins.
    pub from: Time,
    /// When it ends.
    pub to: Time,
    /// The file of bank holidays, relative to the home folder; those that are shipped when none.
    pub bank_holidays: Option<PathBuf>,
    /// How "less than 24 working hours" is read (R45).
    pub telephone_threshold: TelephoneThreshold,
    /// Within how many working hours something is due soon.
    pub due_soon_hours: u16,
    /// Working days from the decision until an agency is told the outcome (R48).
    pub outcome_days: u32,
    /// Working days from an answer until its agency is told the outcome, while nothing is decided.
    pub outcome_backstop_days: u32,
    /// Working days until whoever referred the child is told that the threshold is not met (R115).
    pub referrer_days: u32,
}

/// What the timers go by, as the files now have it; or what is wrong with the file of bank holidays.
pub fn load(home: &Home, settings: &TimerSettings) -> Result<Settings, String> {
    let holidays = match &settings.bank_holidays {
        None => BankHolidays::shipped(),
        Some(path) => {
            let path = home.resolve(path);
            let fault = |why: String| format!("{} cannot be used: {why}", path.display());
            let text = std::fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
            BankHolidays::parse(&text).map_err(|error| fault(error.to_string()))?
        }
    };
    let working_time = WorkingTime::new(settings.from, settings.to, holidays)
        .map_err(|error| error.to_string())?;
    Ok(Settings {
        working_time,
        telephone_threshold: settings.telephone_threshold,
        due_soon: SignedDuration::from_hours(settings.due_soon_hours.into()),
        outcome_days: settings.outcome_days,
        outcome_backstop_days: settings.outcome_backstop_days,
        referrer_days: settings.referrer_days,
    })
}

pub(super) fn timers(mut section: Section<'_>) -> TimerSettings {
    let mut time = |key: &'static str, default: Time| {
        let Some(text) = section.text(key) else { return default };
        time_of_day(text).unwrap_or_else(|| {
            section.wrong(
                key,
                "is not a time of day",
                "Write hours and minutes with a colon between, such as \"09:00\"",
            );
            default
        })
    };
    let from = time("working_from", Time::constant(9, 0, 0, 0));
    let to = time("working_to", Time::constant(17, 0, 0, 0));
    if from >= to {
        section.wrong(
            "working_to",
            "is not after working_from: nobody would ever work",
            "Write when work ends on the same day, such as \"17:00\"",
        );
    }
    let thresholds = TelephoneThreshold::ALL.map(|threshold| (threshold.as_str(), threshold));
    let settings = TimerSettings {
        from,
        to,
        bank_holidays: section.text("bank_holidays").map(PathBuf::from),
        telephone_threshold: section
            .choice("telephone_threshold", &thresholds)
            .unwrap_or(TelephoneThreshold::WorkingHours),
        due_soon_hours: number(&mut section, "due_soon_hours", 1..=1_000, 4),
        outcome_days: number(&mut section, "outcome_days", 1..=365, 3),
        outcome_backstop_days: number(&mut section, "outcome_backstop_days", 1..=365, 10),
        referrer_days: number(&mut section, "referrer_days", 1..=365, 1),
    };
    section.finish();
    settings
}
