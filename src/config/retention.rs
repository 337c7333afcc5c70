//! `[retention]`: how long what is kept.

use jiff::SignedDuration;

use super::number;
use crate::directory::document::Section;
use crate::retention::Periods;

/// How long what is kept (R87).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetentionSettings {
    /// Days from the last word in an enquiry of which all is in its recipients' own records.
    pub after_saved_days: u32,
    /// Days from the last word in an enquiry that is closed.
    pub after_closed_days: u32,
    /// Days from when somebody last kept something of an RFI that was not sent.
    pub unsent_rfi_days: u32,
}

impl RetentionSettings {
    /// The same, as they are reckoned with.
    pub fn periods(&self) -> Periods {
        let days = |days: u32| SignedDuration::from_hours(24 * i64::from(days));
        Periods {
            after_saved: days(self.after_saved_days),
            after_closed: days(self.after_closed_days),
        }
    }

    /// How long an RFI may lie unsent.
    pub fn rfi_drafts(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.unsent_rfi_days))
    }
}

pub(super) fn retention(mut section: Section<'_>) -> RetentionSettings {
    let settings = RetentionSettings {
        after_saved_days: number(&mut section, "after_saved_days", 1..=36_500, 30),
        after_closed_days: number(&mut section, "after_closed_days", 1..=36_500, 180),
        unsent_rfi_days: number(&mut section, "unsent_rfi_days", 1..=36_500, 30),
    };
    section.finish();
    settings
}
