//! Working time: Monday to Friday, in the hours that the settings give, but for the bank holidays of
//! England and Wales (agreement, section 2.6; R45, R48, R115).
//!
//! Days and hours are London's; instants are everybody's. The clock changes at night, outside any working
//! hours that people keep, but nothing here depends on that.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::Deserialize;

/// When people work.
#[derive(Clone, Debug)]
pub struct WorkingTime {
    zone: TimeZone,
    from: Time,
    to: Time,
    holidays: BankHolidays,
}

/// Days on which nobody works, as GOV.UK publishes them.
#[derive(Clone, Debug)]
pub struct BankHolidays {
    days: BTreeSet<Date>,
    last: Date,
}

/// Why these are no bank holidays.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidHolidays {
    /// It is not the file that GOV.UK publishes.
    #[error(
        "it is not the bank holidays file of GOV.UK: {{\"england-and-wales\": {{\"events\": \
         [{{\"date\": \"2026-12-25\", …}}, …]}}}}"
    )]
    Form,
    /// It names no day at all.
    #[error("it names no bank holiday of England and Wales")]
    None,
}

/// What GOV.UK publishes at /bank-holidays.json, as far as it is needed.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "england-and-wales")]
    england_and_wales: Division,
}

#[derive(Deserialize)]
struct Division {
    events: Vec<Holiday>,
}

#[derive(Deserialize)]
struct Holiday {
    date: Date,
}

impl BankHolidays {
    /// Those that are shipped with the gateway.
    pub fn shipped() -> Self {
        Self::parse(SHIPPED).expect("what is shipped parses: tested")
    }

    /// Those in a file of the form that GOV.UK publishes.
    pub fn parse(text: &str) -> Result<Self, InvalidHolidays> {
        let file: File = serde_json::from_str(text).map_err(|_| InvalidHolidays::Form)?;
        let days: BTreeSet<_> =
            file.england_and_wales.events.into_iter().map(|event| event.date).collect();
        let last = *days.last().ok_or(InvalidHolidays::None)?;
        Ok(Self { days, last })
    }

    /// Days from `now` until the end of the year of the last one named: after that, bank holidays are
    /// counted as days on which people work.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        let end = self.last.last_of_year();
        let today = TimeZone::UTC.to_datetime(now).date();
        end.duration_since(today).as_hours().div_euclid(24)
    }
}

/// Working hours that are none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("working hours begin before they end, on the same day")]
pub struct NoHours;

impl WorkingTime {
    /// From this time of day to that one.
    pub fn new(from: Time, to: Time, holidays: BankHolidays) -> Result<Self, NoHours> {
        if from >= to {
            return Err(NoHours);
        }
        let zone = TimeZone::get("Europe/London").expect("the zone is built in: tested");
        Ok(Self { zone, from, to, holidays })
    }

    /// The bank holidays it knows.
    pub fn holidays(&self) -> &BankHolidays {
        &self.holidays
    }

    /// Whether people work on this day.
    pub fn is_working_day(&self, day: Date) -> bool {
        !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
            && !self.holidays.days.contains(&day)
    }

    /// The time it is in London.
    pub fn clock(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }

    /// The day it is in London.
    pub fn day(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(at).date()
    }

    /// How much of the time from `from` to `to` is inside working hours; nothing when `to` comes first.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        let mut sum = SignedDuration::ZERO;
        let mut day = self.day(from);
        let last = self.day(to);
        while day <= last {
            if let Some((begin, end)) = self.hours(day) {
                let (begin, end) = (begin.max(from), end.min(to));
                if begin < end {
                    sum += end.duration_since(begin);
                }
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        sum
    }

    /// The end of the `days`th working day after the day of `at`: what is due within one working day of
    /// something on Friday is due when people go home on Monday.
    pub fn days_after(&self, at: Timestamp, days: u32) -> Timestamp {
        let mut day = self.day(at);
        let mut counted = 0;
        while let Ok(next) = day.tomorrow() {
            if counted == days {
                break;
            }
            day = next;
            counted += u32::from(self.is_working_day(day));
        }
        self.instant(day, self.to).unwrap_or(at)
    }

    /// When this much of working time will have passed since `at`: none has at once, also at night.
    pub fn after(&self, at: Timestamp, work: SignedDuration) -> Timestamp {
        if work.is_zero() {
            return at;
        }
        let mut left = work;
        let mut day = self.day(at);
        loop {
            if let Some((begin, end)) = self.hours(day) {
                let begin = begin.max(at);
                if begin < end && left <= end.duration_since(begin) {
                    return begin + left;
                }
                if begin < end {
                    left -= end.duration_since(begin);
                }
            }
            match day.tomorrow() {
                Ok(next) => day = next,
                Err(_) => return Timestamp::MAX,
            }
        }
    }

    /// The same time of day on the next working day.
    pub fn next_day(&self, at: Timestamp) -> Timestamp {
        let local = self.zone.to_datetime(at);
        let mut day = local.date();
        while let Ok(next) = day.tomorrow() {
            day = next;
            if self.is_working_day(day) {
                break;
            }
        }
        self.instant(day, local.time()).unwrap_or(at)
    }

    // From when to when people work on this day, if they do.
    fn hours(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let is_working = self.is_working_day(day);
        is_working.then(|| Some((self.instant(day, self.from)?, self.instant(day, self.to)?)))?
    }

    fn instant(&self, day: Date, time: Time) -> Option<Timestamp> {
        let zoned = self.zone.to_ambiguous_zoned(day.to_datetime(time)).compatible().ok()?;
        Some(zoned.timestamp())
    }
}

/// A time of day as settings have it: `09:00`.
pub fn time_of_day(text: &str) -> Option<Time> {
    let shaped = text.len() == "09:00".len() && text.as_bytes()[2] == b':';
    shaped.then(|| Time::strptime("%H:%M", text).ok())?
}

impl fmt::Display for WorkingTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.strftime("%H:%M"), self.to.strftime("%H:%M"));
        write!(f, "Monday to Friday, {from} to {to}, but for bank holidays")
    }
}

const SHIPPED: &str = include_str!("../../data/bank-holidays.json");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nine_to_five() -> WorkingTime {
        let time = |text| time_of_day(text).unwrap();
        WorkingTime::new(time("09:00"), time("17:00"), BankHolidays::shipped()).unwrap()
    }

    /// An instant by the clock on the wall in London.
    fn at(text: &str) -> Timestamp {
        let zone = TimeZone::get("Europe/London").unwrap();
        text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone).unwrap().timestamp()
    }

    #[test]
    fn what_is_shipped_covers_a_year_and_is_what_the_rules_make() {
        let holidays = BankHolidays::shipped();
        let now = crate::message::now();
        assert!(holidays.days_left(now) > 365, "{} days are left", holidays.days_left(now));
        for year in 2025..=2028 {
            let days: Vec<_> = holidays.days.iter().filter(|day| day.year() == year).collect();
            assert_eq!(days.len(), 8, "{year}");
            // No holiday is on a day on which nobody works anyway: then there is a substitute.
            assert!(
                days.iter()
                    .all(|day| { !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) })
            );
            let mondays = days.iter().filter(|day| day.weekday() == Weekday::Monday).count();
            assert!(mondays >= 4, "{year}: Easter Monday, two in May, one in August");
        }
    }

    #[test]
    fn a_file_that_is_not_gov_uks_is_refused() {
        for wrong in
            ["", "[]", "{}", r#"{"england-and-wales": {"events": [{"date": "25/12/2026"}]}}"#]
        {
            assert_eq!(BankHolidays::parse(wrong).err(), Some(InvalidHolidays::Form), "{wrong}");
        }
        let empty = r#"{"england-and-wales": {"division": "england-and-wales", "events": []}}"#;
        assert_eq!(BankHolidays::parse(empty).err(), Some(InvalidHolidays::None));
        let one =
            r#"{"england-and-wales": {"events": [{"date": "2031-06-02", "title": "Invented"}]}}"#;
        let holidays = BankHolidays::parse(one).unwrap();
        assert_eq!(holidays.days_left(at("2031-12-30 12:00")), 1);
        assert_eq!(holidays.days_left(at("2032-01-01 12:00")), -1);
        for wrong in ["9:00", "09.00", "25:00", "09:60", "09:00:00", ""] {
            assert_eq!(time_of_day(wrong), None, "{wrong}");
        }
        let nine = time_of_day("09:00").unwrap();
        assert!(WorkingTime::new(nine, nine, BankHolidays::shipped()).is_err());
    }

    #[test]
    fn working_hours_are_counted_over_nights_weekends_and_holidays() {
        let work = nine_to_five();
        for (from, to, minutes) in [
            ("2026-11-26 10:00", "2026-11-26 12:30", 150),
            ("2026-11-26 07:00", "2026-11-26 08:00", 0),
            ("2026-11-26 16:00", "2026-11-27 10:00", 120),
            // A weekend.
            ("2026-11-27 16:59", "2026-11-30 09:01", 2),
            // Friday before Christmas, a weekend, the Monday that stands for Boxing Day.
            ("2026-12-24 16:59", "2026-12-29 09:01", 2),
            // The clock goes back in the night to Sunday, and forward.
            ("2026-10-23 16:00", "2026-10-26 10:00", 120),
            ("2026-03-27 16:00", "2026-03-30 10:00", 120),
            ("2026-11-26 12:00", "2026-11-26 11:00", 0),
        ] {
            let counted = work.between(at(from), at(to));
            assert_eq!(counted.as_mins(), minutes, "{from} to {to}");
        }
        // Three whole days, which is what 24 working hours are.
        let from = at("2026-11-30 09:00");
        assert_eq!(work.between(from, at("2026-12-02 17:00")).as_hours(), 24);
        assert_eq!(work.after(from, SignedDuration::from_hours(24)), at("2026-12-02 17:00"));
        for from in ["2026-01-02 17:00", "2026-01-03 03:00"] {
            assert_eq!(work.after(at(from), SignedDuration::ZERO), at(from));
        }
    }

    #[test]
    fn working_days_end_when_people_go_home() {
        let work = nine_to_five();
        for (from, days, due) in [
            ("2026-11-26 08:00", 1, "2026-11-27 17:00"),
            ("2026-11-27 16:59", 1, "2026-11-30 17:00"),
            ("2026-11-28 12:00", 1, "2026-11-30 17:00"),
            ("2026-12-23 10:00", 3, "2026-12-30 17:00"),
            ("2026-04-02 16:59", 1, "2026-04-07 17:00"),
            ("2026-10-23 12:00", 3, "2026-10-28 17:00"),
            ("2026-11-26 08:00", 0, "2026-11-26 17:00"),
        ] {
            assert_eq!(work.days_after(at(from), days), at(due), "{days} after {from}");
        }
        assert_eq!(work.next_day(at("2026-11-27 11:15")), at("2026-11-30 11:15"));
        // Eleven by the clock on the wall, on either side of its change.
        assert_eq!(work.next_day(at("2026-10-23 11:00")), at("2026-10-26 11:00"));
    }

    proptest! {
        #[test]
        fn working_time_adds_up(from in 1_760_000_000_i64..1_830_000_000, a in 0_i64..2_000_000,
            b in 0_i64..2_000_000)
        {
            let work = nine_to_five();
            let at = |seconds| Timestamp::from_second(seconds).unwrap();
            let (first, second, third) = (at(from), at(from + a), at(from + a + b));
            let whole = work.between(first, third);
            prop_assert_eq!(whole, work.between(first, second) + work.between(second, third));
            prop_assert!(whole <= third.duration_since(first));
            // The one is the other's inverse.
            let due = work.after(first, whole);
            prop_assert!(due <= third);
            prop_assert_eq!(work.between(first, due), whole);
        }

        #[test]
        fn more_days_are_later(from in 1_760_000_000_i64..1_830_000_000, days in 0_u32..40) {
            let work = nine_to_five();
            let at = Timestamp::from_second(from).unwrap();
            let due = work.days_after(at, days);
            prop_assert!(days == 0 || due > at);
            prop_assert!(work.days_after(at, days + 1) > due);
            prop_assert!(days == 0 || work.is_working_day(work.day(due)));
        }
    }
}
