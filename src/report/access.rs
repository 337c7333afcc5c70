//! Who read what and when (R88), as the log has it: every collection, every push that was taken, every file
//! that was fetched, everything that was saved, and everything that was opened for a case file.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::entry::{EventName, Fields};

/// Once that somebody read something.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// The entry that says so.
    pub entry: u64,
    /// When.
    pub time: String,
    /// Whose people or system it was; [`GATEWAY`] when it was opened on the gateway's own machine.
    pub reader: String,
    /// In which role; [`SYSTEM`] when it was no person at a desk.
    pub role: String,
    /// The serial of the certificate, if one was needed.
    pub certificate: String,
    /// How, as the log calls it.
    pub event: String,
    /// What.
    pub kind: String,
    /// In which exchange.
    pub reference: String,
    /// The message, or the one that the file went with.
    pub message: String,
    /// The file, if it was one.
    pub attachment: String,
}

impl Reading {
    /// What an entry says, if it says that somebody read something.
    pub fn of(entry: u64, fields: &Fields) -> Option<Self> {
        let text = |name| fields.get(name).unwrap_or_default().to_owned();
        let event = text("event");
        if !READINGS.iter().any(|name| name.as_str() == event) {
            return None;
        }
        let is_ours = event == EventName::OpenedForAudit.as_str();
        let reader = match event == EventName::OpenedBySender.as_str() {
            true => text("sender"),
            false if is_ours => GATEWAY.to_owned(),
            false => text("recipient"),
        };
        let role = match fields.get("desk") {
            Some(role) => role,
            None if is_ours => "operator",
            None => SYSTEM,
        };
        Some(Self {
            entry,
            time: text("time"),
            reader,
            role: role.to_owned(),
            certificate: text("certificate"),
            event,
            kind: text("kind"),
            reference: text("reference"),
            message: text("message"),
            attachment: text("attachment"),
        })
    }

    /// Its cells, in the order of [`HEADINGS`].
    pub fn cells(self) -> Vec<String> {
        let Self { entry, time, reader, role, certificate, event, kind, .. } = self;
        let Self { reference, message, attachment, .. } = self;
        let entry = entry.to_string();
        vec![entry, time, reader, role, certificate, event, kind, reference, message, attachment]
    }
}

/// How often a role at an agency read in one way.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readings {
    /// Whose.
    pub reader: String,
    /// In which role.
    pub role: String,
    /// How.
    pub event: String,
    /// How often.
    pub count: usize,
    /// With how many certificates: of a person, how many people.
    pub certificates: usize,
}

/// The readings by who, in which role, and how.
pub fn counted(readings: &[Reading]) -> Vec<Readings> {
    let mut groups = BTreeMap::<_, Vec<&Reading>>::new();
    for one in readings {
        groups.entry((&one.reader, &one.role, &one.event)).or_default().push(one);
    }
    groups
        .into_iter()
        .map(|((reader, role, event), group)| {
            let mut certificates: Vec<_> =
                group.iter().map(|one| &one.certificate).filter(|c| !c.is_empty()).collect();
            certificates.sort_unstable();
            certificates.dedup();
            Readings {
                reader: reader.clone(),
                role: role.clone(),
                event: event.clone(),
                count: group.len(),
                certificates: certificates.len(),
            }
        })
        .collect()
}

/// What stands over [`Reading::cells`].
pub const HEADINGS: [&str; 10] = [
    "entry",
    "time",
    "reader",
    "role",
    "certificate",
    "event",
    "kind",
    "reference",
    "message",
    "attachment",
];

/// The reader of what is opened on the gateway's own machine: no agency's id has parentheses.
pub const GATEWAY: &str = "(gateway)";

/// The role of no person.
pub const SYSTEM: &str = "system";

const READINGS: [EventName; 6] = [
    EventName::AttachmentCollected,
    EventName::Collected,
    EventName::Delivered,
    EventName::OpenedBySender,
    EventName::OpenedForAudit,
    EventName::Saved,
];
