//! What is due in an exchange, by when, and whose it is (agreement, sections 2.6 and Appendix 4).
//!
//! Computed from how the exchange stands, each time it is asked: nothing here is remembered, so nothing can
//! be forgotten, and a changed setting or calendar counts at once.

pub mod working_time;

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::Serialize;

use crate::message::{Exchange, ExchangeState, Party};
use working_time::WorkingTime;

/// By what the timers go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When people work.
    pub working_time: WorkingTime,
    /// How "less than 24 working hours" is read (R45).
    pub telephone_threshold: TelephoneThreshold,
    /// What is due within so many working hours is due soon.
    pub due_soon: SignedDuration,
    /// Working days from the decision to the outcome (R48).
    pub outcome_days: u32,
    /// Working days from the answer to the outcome, while nothing is decided.
    pub outcome_backstop_days: u32,
    /// Working days from a decision that the threshold is not met until the referrer is told (R115).
    pub referrer_days: u32,
}

/// How "less than 24 working hours" (R45) is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TelephoneThreshold {
    /// Fewer than 24 hours inside working hours: three days of eight. The cautious reading.
    WorkingHours,
    /// Before the same time on the next working day.
    WorkingDay,
}

impl TelephoneThreshold {
    /// Both readings.
    pub const ALL: [Self; 2] = [Self::WorkingHours, Self::WorkingDay];

    /// The name used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkingHours => "24-working-hours",
            Self::WorkingDay => "one-working-day",
        }
    }
}

/// What can be due.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timer {
    /// Whoever had an incident decides whether the Information Commissioner and the people it is about are
    /// told (R95).
    IncidentAssessment,
    /// The agency is told the outcome (R48).
    Outcome,
    /// Whoever referred the child is told that the threshold is not met (R115).
    ReferrerTold,
    /// The agency answers (R121).
    Reply,
    /// The agency says what may be released to somebody who asks for what is held about them (R97).
    SubjectAccessView,
    /// The hub rings the agency, because the answer is needed soon (R45).
    Telephone,
}

impl Timer {
    /// Every timer.
    pub const ALL: [Self; 6] = [
        Self::IncidentAssessment,
        Self::Outcome,
        Self::ReferrerTold,
        Self::Reply,
        Self::SubjectAccessView,
        Self::Telephone,
    ];

    /// The name used in answers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IncidentAssessment => "incident-assessment",
            Self::Outcome => "outcome",
            Self::ReferrerTold => "referrer-told",
            Self::Reply => "reply",
            Self::SubjectAccessView => "subject-access-view",
            Self::Telephone => "telephone",
        }
    }

    /// Who has to see to it.
    pub fn owner(self) -> Party {
        match self {
            Self::Reply | Self::SubjectAccessView => Party::Agency,
            // Whoever had it decides; that it is decided is the hub's Operational Lead's to see to (R94).
            Self::IncidentAssessment | Self::Outcome | Self::ReferrerTold | Self::Telephone => {
                Party::Hub
            }
        }
    }
}

/// How near it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// There is time.
    Running,
    /// It is due soon.
    DueSoon,
    /// It is late.
    Overdue,
}

impl Grade {
    /// Every grade.
    pub const ALL: [Self; 3] = [Self::Running, Self::DueSoon, Self::Overdue];

    /// The name used in answers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::DueSoon => "due-soon",
            Self::Overdue => "overdue",
        }
    }
}

/// Something that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Due {
    /// What.
    pub timer: Timer,
    /// When.
    pub at: Timestamp,
    /// How near that is.
    pub grade: Grade,
    /// How much working time is left; none when it is past.
    pub left: SignedDuration,
}

impl Settings {
    /// All that is due in this exchange, the first first. Nothing is, in a test.
    pub fn due(&self, exchange: &Exchange, now: Timestamp) -> Vec<Due> {
        if exchange.is_test() {
            return Vec::new();
        }
        let mut all: Vec<_> = Timer::ALL
            .into_iter()
            .filter_map(|timer| {
                let at = self.due_at(timer, exchange)?;
                let left = self.working_time.between(now, at);
                Some(Due { timer, at, grade: self.grade(timer, now, at, left), left })
            })
            .collect();
        all.sort_by_key(|due| (due.at, due.timer));
        all
    }

    /// Whether the answer is needed so soon that the agency is also rung (R45).
    pub fn is_short(&self, exchange: &Exchange) -> bool {
        let (from, to) = (exchange.opened_at, exchange.response_required_by);
        match self.telephone_threshold {
            TelephoneThreshold::WorkingHours => {
                self.working_time.between(from, to) < SignedDuration::from_hours(24)
            }
            TelephoneThreshold::WorkingDay => to < self.working_time.next_day(from),
        }
    }

    // When this is due, if it is.
    fn due_at(&self, timer: Timer, exchange: &Exchange) -> Option<Timestamp> {
        let marks = &exchange.marks;
        let is_waited_for = !matches!(
            exchange.state,
            ExchangeState::Cancelled | ExchangeState::Completed | ExchangeState::Rejected
        );
        match timer {
            Timer::IncidentAssessment => marks.assessment_due_by,
            Timer::Reply => is_waited_for.then_some(exchange.response_required_by),
            // At once: the call is due when the RFI is sent.
            Timer::Telephone => {
                let is_due =
                    is_waited_for && marks.telephoned_at.is_none() && self.is_short(exchange);
                is_due.then_some(exchange.opened_at)
            }
            Timer::Outcome if marks.outcome_at.is_none() => {
                let answered_at = marks.answered_at.or(marks.transcribed_at)?;
                let work = &self.working_time;
                Some(match exchange.decision {
                    Some(decision) => work.days_after(decision.at, self.outcome_days),
                    None => work.days_after(answered_at, self.outcome_backstop_days),
                })
            }
            Timer::Outcome => None,
            Timer::ReferrerTold => exchange
                .decision
                .filter(|decision| {
                    decision.outcome.is_below_threshold() && decision.referrer_told_at.is_none()
                })
                .map(|decision| self.working_time.days_after(decision.at, self.referrer_days)),
            // The law gives a calendar month from the request; the hub had it before it consulted.
            Timer::SubjectAccessView if marks.is_consulted() => {
                let utc = marks.consulted_at?.to_zoned(jiff::tz::TimeZone::UTC);
                utc.checked_add(1.month()).ok().map(|due| due.timestamp())
            }
            Timer::SubjectAccessView => None,
        }
    }

    fn grade(&self, timer: Timer, now: Timestamp, at: Timestamp, left: SignedDuration) -> Grade {
        if now >= at {
            Grade::Overdue
        } else if left <= self.due_soon || timer == Timer::Telephone {
            Grade::DueSoon
        } else {
            Grade::Running
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{
        AgencyId, Decision, EnquiryId, ExchangeId, Marks, MessageId, OutcomeCode, Priority,
        Reference, ResponseResult,
    };
    use working_time::{BankHolidays, time_of_day};

    fn settings() -> Settings {
        let time = |text| time_of_day(text).unwrap();
        Settings {
            working_time: WorkingTime::new(time("09:00"), time("17:00"), BankHolidays::shipped())
                .unwrap(),
            telephone_threshold: TelephoneThreshold::WorkingHours,
            due_soon: SignedDuration::from_hours(4),
            outcome_days: 3,
            outcome_backstop_days: 10,
            referrer_days: 1,
        }
    }

    fn at(text: &str) -> Timestamp {
        let zone = jiff::tz::TimeZone::get("Europe/London").unwrap();
        text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone).unwrap().timestamp()
    }

    /// Asked on a Friday at 16:59, before a bank holiday on Monday.
    fn exchange(required_by: &str) -> Exchange {
        let opened_at = at("2026-05-22 16:59");
        Exchange {
            id: ExchangeId::new(opened_at),
            enquiry: EnquiryId::new(opened_at),
            reference: Reference::new(2026, 1),
            hub: AgencyId::parse("mash").unwrap(),
            agency: AgencyId::parse("alder-hey").unwrap(),
            rfi: MessageId::new(opened_at),
            categories: Vec::new(),
            persons: Vec::new(),
            priority: Priority::Urgent,
            response_required_by: at(required_by),
            opened_at,
            state: ExchangeState::Requested,
            result: None,
            marks: Marks::default(),
            decision: None,
            destroyed_at: None,
            needs_attention: false,
            undelivered: None,
            sealing_recipient: String::new(),
        }
    }

    fn seen(exchange: &Exchange, now: &str) -> Vec<(&'static str, Timestamp, &'static str)> {
        let due = settings().due(exchange, at(now));
        due.iter().map(|due| (due.timer.as_str(), due.at, due.grade.as_str())).collect()
    }

    #[test]
    fn a_short_deadline_is_rung_about_until_it_was() {
        let mut asked = exchange("2026-05-28 16:00");
        let (opened, due) = (at("2026-05-22 16:59"), at("2026-05-28 16:00"));
        // Tuesday, Wednesday and seven hours of Thursday: 23 hours and a minute.
        assert_eq!(
            seen(&asked, "2026-05-26 09:00"),
            [("telephone", opened, "overdue"), ("reply", due, "running")]
        );
        asked.marks.telephoned_at = Some(at("2026-05-26 09:05"));
        assert_eq!(seen(&asked, "2026-05-26 09:05"), [("reply", due, "running")]);
        assert_eq!(seen(&asked, "2026-05-28 12:00"), [("reply", due, "due-soon")]);
        assert_eq!(seen(&asked, "2026-05-28 16:00"), [("reply", due, "overdue")]);
        asked.state = ExchangeState::Rejected;
        assert_eq!(seen(&asked, "2026-05-28 16:00"), []);
    }

    #[test]
    fn both_readings_of_24_working_hours() {
        let reading = |threshold, required_by| {
            let settings = Settings { telephone_threshold: threshold, ..settings() };
            settings.is_short(&exchange(required_by))
        };
        let (hours, day) = (TelephoneThreshold::WorkingHours, TelephoneThreshold::WorkingDay);
        for (required_by, by_hours, by_day) in [
            ("2026-05-22 18:00", true, true),
            ("2026-05-25 12:00", true, true),
            ("2026-05-26 16:58", true, true),
            ("2026-05-26 16:59", true, false),
            ("2026-05-28 16:58", true, false),
            // 24 hours exactly are not less than 24.
            ("2026-05-28 16:59", false, false),
            ("2026-06-05 12:00", false, false),
        ] {
            assert_eq!(reading(hours, required_by), by_hours, "{required_by}");
            assert_eq!(reading(day, required_by), by_day, "{required_by}");
        }
    }

    #[test]
    fn an_answer_is_owed_an_outcome_and_the_referrer_a_word() {
        let mut answered = exchange("2026-06-05 12:00");
        answered.state = ExchangeState::Completed;
        answered.result = Some(ResponseResult::NothingKnown);
        answered.marks.answered_at = Some(at("2026-05-27 10:00"));
        // Nothing is decided: ten working days.
        let backstop = at("2026-06-10 17:00");
        assert_eq!(seen(&answered, "2026-05-27 10:00"), [("outcome", backstop, "running")]);
        answered.decision = Some(Decision {
            at: at("2026-05-28 18:30"),
            outcome: OutcomeCode::NoFurtherActionThresholdNotMet,
            referrer_told_at: None,
        });
        let (referrer, outcome) = (at("2026-05-29 17:00"), at("2026-06-02 17:00"));
        assert_eq!(
            seen(&answered, "2026-05-29 14:00"),
            [("referrer-told", referrer, "due-soon"), ("outcome", outcome, "running")]
        );
        // Early help is for cases below it too; an assessment is not.
        for (decided, is_owed) in
            [(OutcomeCode::EarlyHelp, true), (OutcomeCode::SocialCareAssessment, false)]
        {
            let mut other = answered.clone();
            other.decision.as_mut().unwrap().outcome = decided;
            let due = settings().due(&other, at("2026-05-29 14:00"));
            assert_eq!(due.iter().any(|due| due.timer == Timer::ReferrerTold), is_owed);
        }
        answered.decision.as_mut().unwrap().referrer_told_at = Some(at("2026-05-29 15:00"));
        assert_eq!(seen(&answered, "2026-06-02 17:00"), [("outcome", outcome, "overdue")]);
        answered.marks.outcome_at = Some(at("2026-06-02 17:01"));
        assert_eq!(seen(&answered, "2026-06-02 17:01"), []);
    }

    #[test]
    fn a_consultation_has_a_month_and_a_test_has_nothing_due() {
        let mut consulted = exchange("2026-06-05 12:00");
        consulted.state = ExchangeState::Completed;
        consulted.marks.consulted_at = Some(at("2026-08-31 10:00"));
        let due = at("2026-09-30 10:00");
        assert_eq!(seen(&consulted, "2026-09-01 10:00"), [("subject-access-view", due, "running")]);
        consulted.marks.viewed_at = Some(at("2026-09-02 10:00"));
        assert_eq!(seen(&consulted, "2026-10-02 10:00"), []);
        let mut test = exchange("2026-05-22 18:00");
        test.reference = Reference::test(2026, 1);
        assert_eq!(seen(&test, "2026-05-29 10:00"), []);
    }
}
