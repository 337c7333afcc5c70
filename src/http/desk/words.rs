//! The words that pages use for the contract's codes, and how they write times: London's, as people say them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::directory::AgencyKind;
use crate::message::{ExchangeState, Kind, Priority, Role};
use crate::timer::Timer;

/// A category of the form, as a heading (R129 to R139).
pub(super) fn category(code: &str) -> &str {
    match code {
        "mental-health-substance-alcohol" => "Mental health, substance misuse, alcohol misuse",
        "domestic-abuse" => "Domestic abuse",
        "cse-cce" => "Child sexual or criminal exploitation",
        "neglect" => "Neglect: missed appointments, poor home conditions",
        "parental-health-conditions" => "Parents' health conditions that affect parenting",
        "ae-walk-in-attendances" => "A&E and walk-in attendances",
        "last-seen-at-gp" => "Last seen at the surgery",
        "criminal-activity" => "Criminal activity",
        "agency-interventions" => "Interventions by other agencies",
        "historical-social-care" => "Earlier social care concerns",
        "medication-treatment-compliance" => "Medication and treatment",
        other => other,
    }
}

/// A kind of message, as the reader of a list calls it.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Acknowledgement => "Acknowledgement",
        Kind::Cancellation => "Cancellation: no answer is needed any more",
        Kind::Clarification => "Question, or the answer to one",
        Kind::ConsentWithdrawal => "Consent was withdrawn",
        Kind::Forwarding => "Answer passed on to you",
        Kind::Incident => "Incident",
        Kind::OnwardDisclosure => "What the family may be told",
        Kind::Outcome => "Outcome",
        Kind::Response => "Reply",
        Kind::Rfi => "Request for information",
        Kind::StepDown => "Step-down to Early Help",
        Kind::SubjectAccessConsultation => "Subject access: may your part be released?",
        Kind::SubjectAccessView => "Subject access: what may be released",
        Kind::Supplement => "Supplement",
        Kind::TelephoneContact => "Telephone call",
        Kind::Test => "Test of the connection",
        Kind::TestReply => "Answer to a test",
        Kind::Transcription => "Your answer, written down by the hub",
    }
}

/// How an exchange stands.
pub(super) fn state(state: ExchangeState) -> &'static str {
    match state {
        ExchangeState::Requested => "Not opened",
        ExchangeState::Received => "Opened, no reply",
        ExchangeState::Accepted => "Acknowledged",
        ExchangeState::InProgress => "In progress",
        ExchangeState::Completed => "Answered",
        ExchangeState::Rejected => "Not for this agency",
        ExchangeState::Cancelled => "Cancelled",
    }
}

/// How urgent a request is. Nothing where that is nothing special: so that a banner means something (R119).
pub(super) fn urgency(priority: Priority) -> Option<&'static str> {
    match priority {
        Priority::Routine => None,
        Priority::Urgent => Some("Urgent"),
        Priority::Asap => Some("As soon as possible"),
        Priority::Stat => Some("Immediate"),
    }
}

/// What kind of agency one is.
pub(super) fn agency_kind(kind: AgencyKind) -> String {
    match kind {
        AgencyKind::ChildrensSocialCare => "Children's social care".to_owned(),
        AgencyKind::GpSurgery => "GP surgery".to_owned(),
        AgencyKind::GpSurgeryClass => "GP surgeries, as a class".to_owned(),
        AgencyKind::Hub => "The hub".to_owned(),
        AgencyKind::NhsTrust => "NHS trust".to_owned(),
        other => code(other.as_str()),
    }
}

/// Whose a certificate is: a program's, or a person's in this role.
pub(super) fn bearer(profile: &str) -> String {
    Role::parse(profile)
        .map_or_else(|| "The agency's program".to_owned(), |role| format!("The {}", role.title()))
}

/// What is due.
pub(super) fn timer(timer: Timer) -> &'static str {
    match timer {
        Timer::IncidentAssessment => "Decide who is told of the incident",
        Timer::Outcome => "Tell the outcome",
        Timer::ReferrerTold => "Tell whoever referred the child",
        Timer::Reply => "The agency's reply",
        Timer::SubjectAccessView => "The agency's view on a release",
        Timer::Telephone => "Ring the agency",
    }
}

/// What the family may be told of an exchange.
pub(super) fn family(level: &str) -> &'static str {
    match level {
        "all" => "all of it",
        "part" => "a part of it: see what was said",
        _ => "nothing, without asking first",
    }
}

/// Any other code of the contract: its hyphens are spaces, its first letter is a capital.
pub(super) fn code(code: &str) -> String {
    let spaced = code.replace('-', " ");
    let mut letters = spaced.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => spaced,
    }
}

/// A member of a document as a label: `levelOfRisk` is "Level of risk".
pub(super) fn label(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() || letter.is_ascii_digit() {
            words.push('-');
        }
        words.extend(letter.to_lowercase());
    }
    // What people write in capitals.
    code(&words).replace("Nhs ", "NHS ").replace("Ods ", "ODS ").replace("Cp is ", "CP-IS ")
}

/// A time as people say it: "Thursday 28 May 2026, 16:00".
pub(super) fn time(at: Timestamp) -> String {
    london(at).strftime("%A %-d %B %Y, %H:%M").to_string()
}

/// A day and a time in London, as two fields have them, said in the same way; what is not whole stays as it is.
pub(super) fn local_time(day: &str, time: &str) -> String {
    let written = format!("{day} {time}").trim().to_owned();
    let at = written.parse::<DateTime>().ok().filter(|_| !time.is_empty());
    let at = at.and_then(|at| at.to_zoned(zone()).ok());
    at.map_or(written, |at| self::time(at.timestamp()))
}

/// The same to the second, where the order of things matters.
pub(super) fn exact_time(at: Timestamp) -> String {
    london(at).strftime("%-d %B %Y, %H:%M:%S").to_string()
}

/// The same as a program reads it.
pub(super) fn machine_time(at: Timestamp) -> String {
    london(at).strftime("%Y-%m-%dT%H:%M%:z").to_string()
}

/// A time in the exchange's documents, or the text itself where it is none.
pub(super) fn time_in(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), time)
}

/// The zone that desks are in.
pub(super) fn zone() -> TimeZone {
    TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC)
}

fn london(at: Timestamp) -> Zoned {
    at.to_zoned(zone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_londons() {
        assert_eq!(time("2026-05-28T15:00:00Z".parse().unwrap()), "Thursday 28 May 2026, 16:00");
        assert_eq!(
            time("2026-11-28T15:00:00Z".parse().unwrap()),
            "Saturday 28 November 2026, 15:00"
        );
        assert_eq!(exact_time("2026-05-28T15:00:07.5Z".parse().unwrap()), "28 May 2026, 16:00:07");
        assert_eq!(time_in("2026-11-28T15:00:00Z"), "Saturday 28 November 2026, 15:00");
        assert_eq!(time_in("soon"), "soon");
        assert_eq!(local_time("2026-05-28", "16:00"), "Thursday 28 May 2026, 16:00");
        assert_eq!(local_time("2026-05-28", ""), "2026-05-28");
        assert_eq!(local_time("", ""), "");
        assert_eq!(machine_time("2026-05-28T15:00:00Z".parse().unwrap()), "2026-05-28T16:00+01:00");
    }

    #[test]
    fn codes_and_names_are_said_in_words() {
        assert_eq!(code("not-relevant-or-excessive"), "Not relevant or excessive");
        assert_eq!(label("levelOfRisk"), "Level of risk");
        assert_eq!(label("article6"), "Article 6");
        assert_eq!(label("nhsNumber"), "NHS number");
        assert_eq!(label("cpIsStatus"), "CP-IS status");
        assert_eq!(label(""), "");
    }
}
