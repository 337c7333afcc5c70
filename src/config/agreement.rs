//! `[agreement]`: the information sharing agreement that the gateway carries, who holds it, and when it is
//! looked at again.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::directory::document::Section;

/// The agreement.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgreementSettings {
    /// Who is named in it as its holder (R103): a post, not a person.
    pub holder: Option<String>,
    /// The day it was signed.
    pub signed_on: Option<Date>,
    /// The day it was last reviewed.
    pub reviewed_on: Option<Date>,
}

impl AgreementSettings {
    /// The day by which it is to be reviewed (R104): six months after it was signed, and then a year after
    /// each review.
    pub fn next_review(&self) -> Option<Date> {
        let signed = self.signed_on?;
        let next = match self.reviewed_on {
            Some(reviewed) if reviewed > signed => reviewed.checked_add(1.year()),
            Some(_) | None => signed.checked_add(6.months()),
        };
        next.ok()
    }

    /// Days from `now` (UTC) to that day.
    pub fn days_to_review(&self, now: Timestamp) -> Option<i64> {
        let today = TimeZone::UTC.to_datetime(now).date();
        Some(self.next_review()?.duration_since(today).as_hours().div_euclid(24))
    }

    /// Whether its review is overdue, or due within the 30 days' notice.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.days_to_review(now).is_some_and(|days| days <= REVIEW_NOTICE_DAYS)
    }
}

/// How long before the agreement is to be reviewed its operator is told.
const REVIEW_NOTICE_DAYS: i64 = 30;

pub(super) fn agreement(mut section: Section<'_>) -> AgreementSettings {
    let settings = AgreementSettings {
        holder: section.text("holder").map(str::to_owned),
        signed_on: section.date("signed_on"),
        reviewed_on: section.date("reviewed_on"),
    };
    section.finish();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_reviewed_after_six_months_and_then_every_year() {
        let day = |text: &str| Some(text.parse::<Date>().unwrap());
        let next = |signed_on, reviewed_on| {
            AgreementSettings { holder: None, signed_on, reviewed_on }.next_review()
        };
        assert_eq!(next(None, None), None);
        assert_eq!(next(day("2026-08-31"), None), day("2027-02-28"));
        assert_eq!(next(day("2026-08-31"), day("2027-02-20")), day("2028-02-20"));
        assert_eq!(next(day("2026-08-31"), day("2025-01-01")), day("2027-02-28"));
    }
}
