//! What must be true of agencies beyond the shape of each value: who may be active, what belongs to
//! what, and that the agencies of a directory fit together.

use std::collections::HashMap;

use jiff::civil::Date;

use super::document::{Section, nearest};
use super::parse::Draft;
use super::{AgencyKind, Custody, Status};
use crate::message::AgencyId;

// R3: where an agency came from and went to.
pub(crate) fn check_life(draft: &Draft<'_>, today: Date) {
    let Draft { section, valid_from, valid_to, .. } = draft;
    if let (Some(first), Some(last)) = (valid_from, valid_to)
        && first > last
    {
        section.wrong("valid_to", "is before valid_from", "Correct one of the two dates");
    }
    if draft.status != Some(Status::Closed) {
        return;
    }
    if !section.has("valid_to") {
        section.wrong(
            "valid_to",
            "is missing, though the agency is closed",
            "Write its last day, such as valid_to = 2023-06-30",
        );
    } else if valid_to.is_some_and(|last| last > today) {
        section.wrong(
            "status",
            "is closed, though valid_to has not come yet",
            "Write \"active\": the agency closes by itself when that day is over",
        );
    }
}

// R4: nobody is asked who cannot be reached, and nobody is reached but through a named officer.
pub(crate) fn check_active(draft: &Draft<'_>) {
    let Draft { section, .. } = draft;
    if draft.kind == Some(AgencyKind::GpSurgeryClass) {
        if section.has("endpoints") {
            section.wrong(
                "endpoints",
                "belong to a surgery, not to the class of all surgeries",
                "Remove them, and give each surgery its own [[agency]] with its ODS code",
            );
        }
        return;
    }
    if draft.status != Some(Status::Active) {
        return;
    }
    if !section.has("endpoints") || section.is_empty_list("endpoints") {
        section.wrong(
            "endpoints",
            "is missing, though the agency is active",
            "Add endpoints = [{ kind = \"mailbox\" }], or set status = \"pending\"",
        );
    }
    if matches!(draft.kind, None | Some(AgencyKind::Hub)) {
        return;
    }
    for (key, remedy) in [
        ("contact_officer", "Add contact_officer = { name = \"…\", telephone = \"…\" }"),
        ("deputy", "Add deputy = { name = \"…\", telephone = \"…\" }"),
        ("telephone", "Add the agency's telephone"),
    ] {
        if !section.has(key) {
            let remedy = format!("{remedy}, or set status = \"pending\" until there is one");
            section.wrong(key, "is missing, though the agency is active", remedy);
        }
    }
}

pub(crate) fn check_surgery(draft: &Draft<'_>) {
    let Draft { section, kind: Some(kind), .. } = draft else { return };
    if *kind == AgencyKind::GpSurgery && !section.has("ods_code") {
        section.wrong(
            "ods_code",
            "is missing: surgeries are addressed by it",
            "Look the surgery up in the NHS Organisation Data Service and add its code",
        );
    }
    if *kind != AgencyKind::GpSurgery && section.has("class") {
        section.wrong("class", "is only for a surgery", "Remove it, or set kind = \"gp-surgery\"");
    }
    if *kind == AgencyKind::GpSurgeryClass && section.has("ods_code") {
        section.wrong(
            "ods_code",
            "belongs to a surgery, not to the class of all surgeries",
            "Remove it, and give each surgery its own [[agency]] with its ODS code",
        );
    }
}

pub(crate) fn check_custody(draft: &Draft<'_>) {
    if draft.custody == Custody::Agency && !draft.section.has("age_recipients") {
        draft.section.wrong(
            "age_recipients",
            "is missing, though custody = \"agency\"",
            "Add the agency's own age recipients (age1…), or set custody = \"gateway\"",
        );
    } else if draft.custody == Custody::Agency && draft.section.is_empty_list("age_recipients") {
        draft.section.wrong(
            "age_recipients",
            "is empty, though custody = \"agency\": nobody could open its messages",
            "Add the agency's own age recipients (age1…), or set custody = \"gateway\"",
        );
    }
}

pub(crate) fn check_ids(drafts: &[Draft<'_>]) {
    let mut seen = HashMap::new();
    for draft in drafts {
        let Some(id) = &draft.id else { continue };
        if let Some(line) = seen.insert(id, draft.section.line()) {
            draft.section.wrong(
                "id",
                format!("is also the id of the agency on line {line}"),
                "Give each agency its own id; merge the two if they are one",
            );
        }
    }
}

pub(crate) fn check_ods_codes(drafts: &[Draft<'_>]) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for draft in drafts {
        let Some(code) = draft.ods_code else { continue };
        if let Some(other) = seen.insert(code, &draft.owner) {
            draft.section.wrong(
                "ods_code",
                format!("is also the ODS code of {other}"),
                "Look both up in the NHS Organisation Data Service: a message must have one way \
                 to go",
            );
        }
    }
}

pub(crate) fn check_links(drafts: &[Draft<'_>]) {
    let find = |id: &str| drafts.iter().find(|draft| draft.is_called(id));
    let ids = || drafts.iter().filter_map(|draft| draft.id.as_ref()).map(AgencyId::as_str);
    for draft in drafts {
        if let Some(class) = draft.class
            && find(class).and_then(|found| found.kind) != Some(AgencyKind::GpSurgeryClass)
        {
            draft.section.wrong(
                "class",
                "names no agency of kind \"gp-surgery-class\"",
                "Write the id of the class as it stands in this file, or remove the key",
            );
        }
        let Some(successor) = draft.successor else { continue };
        if find(successor).is_none() {
            let remedy = match nearest(successor, ids()) {
                Some(id) => format!("Did you mean \"{id}\"?"),
                None => {
                    "Add the successor as an [[agency]] of its own, even if only pending".to_owned()
                }
            };
            draft.section.wrong("successor", "names no agency in this file", remedy);
        } else if goes_in_a_circle(draft, find) {
            draft.section.wrong(
                "successor",
                "leads back to the agency itself",
                "Name the agency that took over the work, which must be another",
            );
        }
    }
}

fn goes_in_a_circle<'a, 'd: 'a>(
    draft: &'a Draft<'d>,
    find: impl Fn(&str) -> Option<&'a Draft<'d>>,
) -> bool {
    let mut next = draft.successor;
    // A circle that `draft` leads into but is no part of is told at its own members.
    for _ in 0..64 {
        let Some(id) = next else { return false };
        if draft.is_called(id) {
            return true;
        }
        next = find(id).and_then(|found| found.successor);
    }
    false
}

pub(crate) fn check_hub(root: &Section<'_>, drafts: &[Draft<'_>]) {
    let is_active_hub =
        |draft: &&Draft<'_>| draft.kind.zip(draft.status).is_some_and(|(k, s)| is_hub(k, s));
    let mut hubs = drafts.iter().filter(is_active_hub);
    let first = hubs.next();
    for other in hubs {
        other.section.wrong(
            "kind",
            format!(
                "is a second active hub; {} is the first",
                first.map_or("another", |first| &first.owner)
            ),
            "Keep one active hub: close or suspend the other, or correct its kind",
        );
    }
    let might_be_hub = |draft: &Draft<'_>| draft.kind.is_none() || draft.status.is_none();
    if first.is_none() && !drafts.iter().any(might_be_hub) {
        root.wrong(
            "agency",
            "holds no active hub",
            "Add the MASH itself as an [[agency]] with kind = \"hub\" and status = \"active\"",
        );
    }
}

pub(crate) fn is_hub(kind: AgencyKind, status: Status) -> bool {
    kind == AgencyKind::Hub && status == Status::Active
}
