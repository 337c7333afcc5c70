//! The demonstration's case: invented people, invented agencies, and what they say.
//!
//! NHS numbers begin with 999 and telephone numbers are those kept for drama.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::message::rfc3339;

/// The hub of the demonstration.
pub(super) const HUB: &str = "demo-mash";
/// Is pushed to.
pub(super) const POLICE: &str = "demo-police";
/// Is pushed to, and holds its own key: the gateway cannot open what it keeps for it.
pub(super) const TRUST: &str = "demo-trust";
/// Collects from its mailbox.
pub(super) const SURGERY: &str = "demo-surgery";

/// The directory, with the push endpoints at these ports and the trust's own age recipient.
pub(super) fn partners(police_port: u16, trust_port: u16, trust_recipient: &str) -> String {
    let mut text = String::from("# The demonstration's directory. Everything in it is invented.\n");
    let agencies = [
        (HUB, "Demonstration MASH", "hub", String::new()),
        (POLICE, "Demonstration Police", "police", push(police_port)),
        (
            TRUST,
            "Demonstration NHS Trust",
            "nhs-trust",
            format!(
                "{}custody = \"agency\"\nage_recipients = [\"{trust_recipient}\"]\n",
                push(trust_port)
            ),
        ),
        (
            SURGERY,
            "Demonstration Surgery",
            "gp-surgery",
            "ods_code = \"Z99999\"\nclass = \"demo-surgeries\"\n".to_owned() + MAILBOX,
        ),
        ("demo-surgeries", "Demonstration Surgeries", "gp-surgery-class", String::new()),
    ];
    for (id, name, kind, more) in agencies {
        text.push_str(&format!(
            "\n[[agency]]\nid = \"{id}\"\nname = \"{name}\"\nkind = \"{kind}\"\n\
             status = \"active\"\nstatutory_basis = \"invented for the demonstration\"\n{}",
            match kind {
                "hub" => format!("{MAILBOX}{POLICY}"),
                "gp-surgery-class" => String::new(),
                _ => format!("{OFFICERS}{more}"),
            }
        ));
    }
    text
}

fn push(port: u16) -> String {
    format!(
        "endpoints = [\n    {{ kind = \"push\", url = \"https://localhost:{port}/mash\", \
         ca = \"certs/demo-endpoints.pem\" }},\n    {{ kind = \"mailbox\" }},\n]\n"
    )
}

/// What an RFI on the ground of paragraph 18 needs; the document itself is not part of a demonstration.
const POLICY: &str = "policy_document = { sha256 = \
    \"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e\", review = 2099-01-01 }\n";
const MAILBOX: &str = "endpoints = [{ kind = \"mailbox\" }]\n";
const OFFICERS: &str = "telephone = \"01632 960100\"\n\
    contact_officer = { name = \"A. Officer\", telephone = \"01632 960101\" }\n\
    deputy = { name = \"B. Deputy\", telephone = \"01632 960102\" }\n";

/// The RFI and whom it goes to.
pub(super) fn dispatch(now: Timestamp) -> Value {
    json!({
        "recipients": [
            {
                "agency": POLICE,
                "why": "Officers attended the family's address in the spring.",
                "categories": ["domestic-abuse", "criminal-activity"],
            },
            {
                "agency": TRUST,
                "why": "A walk-in attendance was mentioned by the school.",
                "categories": ["ae-walk-in-attendances"],
            },
            {
                "odsCode": "Z99999",
                "why": "Both children are registered with this surgery.",
                "categories": ["last-seen-at-gp", "parental-health-conditions"],
            },
        ],
        "rfi": {
            "dateOfRequest": ago(now, 1),
            "responseRequiredBy": ahead(now, 8),
            "priority": "urgent",
            "purpose": "assess-risk",
            "pathway": "safeguarding",
            "enquiryAuthorisation": {
                "by": {
                    "name": "Imogen Fablewright",
                    "jobTitle": "MASH Team Manager",
                    "role": "mash-team-manager",
                },
                "at": ago(now, 2),
                "why": "The school's account and the mother's absence point to a risk of \
                        significant harm.",
            },
            "requester": {
                "name": "Oswin Quillfeather",
                "jobTitle": "MASH Health Representative",
                "role": "mash-health-representative",
                "telephone": "+441632960017",
            },
            "persons": [
                {
                    "personId": "p1",
                    "kind": "child",
                    "relationship": "child",
                    "familyName": "Thistlebank",
                    "givenName": "Wrenna",
                    "birthDate": "2017-05-09",
                    "nhsNumber": "9990000018",
                    "nhsNumberStatus": "number-present-and-verified",
                },
                {
                    "personId": "p2",
                    "kind": "parent-or-guardian",
                    "relationship": "mother",
                    "familyName": "Thistlebank",
                    "givenName": "Marisole",
                    "nhsNumber": "9990000026",
                    "nhsNumberStatus": "number-present-and-verified",
                    "birthDate": "1989-11-30",
                },
            ],
            "reason": {
                "concerns": "Wrenna told her teacher that she sleeps in the greenhouse when it is \
                             loud at home, and has come to school without a coat for two weeks.",
            },
            "informationRequired": {
                "categories": [
                    "domestic-abuse",
                    "criminal-activity",
                    "ae-walk-in-attendances",
                    "last-seen-at-gp",
                    "parental-health-conditions",
                ],
            },
            "referral": { "source": "professional", "parentsAware": "no" },
            "consent": {
                "child": {
                    "answer": "no",
                    "notObtainedReason": "would-increase-risk",
                    "explanation": "Asking Wrenna at home would tell those in the house that she \
                                    had spoken.",
                },
                "parentOrGuardian": {
                    "answer": "no",
                    "notObtainedReason": "would-increase-risk",
                    "explanation": "The mother has been told nothing yet: it is not known who else \
                                    lives in the house.",
                },
                "otherFamilyContacts": { "answer": "no-such-person" },
            },
            "override": {
                "decidedBy": {
                    "name": "Imogen Fablewright",
                    "jobTitle": "MASH Team Manager",
                    "role": "mash-team-manager",
                },
                "decidedAt": ago(now, 2),
                "decision": "override-and-dispense",
                "rationale": "Waiting for consent would leave the child in the house for another \
                              night.",
                "confidenceGateway": "protect-from-harm",
            },
            "lawfulBasis": {
                "codelist": "uk-2026-09",
                "article6": "e",
                "specialCategory": true,
                "article9": "g",
                "dpaSchedule1": "pt2-para18",
                "para18WithoutConsentReason": "2c-would-prejudice-protection",
                "para18": { "aim": "protect-from-neglect-or-harm", "individual": "under-18" },
                "appropriatePolicyDocument": "APD-DEMO-1",
                "powers": ["children-act-1989-s47"],
            },
        },
    })
}

/// What an agency answers to each category it was asked; `rfi` is the message that asked.
pub(super) fn response(agency: &str, rfi: &str) -> Value {
    let answers = match agency {
        POLICE => json!([
            {
                "category": "domestic-abuse",
                "status": "provided",
                "aboutPersonIds": ["p2"],
                "summary": "Officers attended on 14 April after neighbours heard breaking glass; \
                            Marisole declined to make a statement.",
                "factOrOpinion": "fact",
            },
            { "category": "criminal-activity", "status": "nothing-known" },
        ]),
        TRUST => json!([
            {
                "category": "ae-walk-in-attendances",
                "status": "provided",
                "aboutPersonIds": ["p1"],
                "summary": "Wrenna was seen on 2 June with a burn to the left forearm, said to be \
                            from a kettle; the account fitted the injury.",
                "factOrOpinion": "professional-opinion",
            },
        ]),
        _ => json!([
            {
                "category": "last-seen-at-gp",
                "status": "provided",
                "lastSeen": [
                    { "personId": "p1", "date": "2026-03-18" },
                    { "personId": "p2", "never": true },
                ],
            },
            { "category": "parental-health-conditions", "status": "nothing-known" },
        ]),
    };
    json!({
        "inReplyTo": rfi,
        "result": "complete",
        "respondedBy": { "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" },
        "answers": answers,
        "accuracyChecked": "checked-against-record",
        "proportionate": true,
        "onwardDisclosure": "not-without-asking-us",
        "confidenceGateway": "protect-from-harm",
        "lawfulBasis": {
            "codelist": "uk-2026-09",
            "article6": "e",
            "specialCategory": true,
            "article9": "h",
            "powers": ["children-act-2004-s11"],
        },
    })
}

/// The surgery's first try: it answers what it was not asked, and leaves out what it was.
pub(super) fn bad_response(rfi: &str) -> Value {
    let mut response = response(SURGERY, rfi);
    response["answers"] = json!([
        {
            "category": "criminal-activity",
            "status": "provided",
            "aboutPersonIds": ["p2"],
            "summary": "The receptionist has heard that Marisole was once arrested in Umberleigh.",
            "factOrOpinion": "reported-by-other",
        },
    ]);
    response
}

/// What the hub decided.
pub(super) fn outcome(now: Timestamp) -> Value {
    json!({
        "outcome": "social-care-assessment",
        "decidedAt": ago(now, 0),
        "decidedBy": {
            "name": "Imogen Fablewright",
            "jobTitle": "MASH Team Manager",
            "role": "mash-team-manager",
        },
        "representative": {
            "name": "Oswin Quillfeather",
            "jobTitle": "MASH Health Representative",
            "role": "mash-health-representative",
        },
        "textForRecord": "A social worker will see Wrenna at school tomorrow morning and decide \
                          whether an assessment under section 47 follows.",
    })
}

/// Every word and number of a body that must never be found in a file: names, NHS numbers, dates of
/// birth, and whatever a person wrote in sentences.
pub(super) fn telling(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect("", body, &mut found);
    found.sort();
    found.dedup();
    found
}

fn collect(name: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(name, item, found)),
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect(name, member, found));
        }
        Value::String(text) => {
            let is_named = matches!(name, "birthDate" | "familyName" | "givenName" | "nhsNumber");
            // Codes, ids and instants have no spaces; a person's sentences do.
            if is_named || (text.contains(' ') && name != "jobTitle") {
                found.push(text.clone());
            }
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => {}
    }
}

fn ago(now: Timestamp, hours: i64) -> String {
    rfc3339(now - SignedDuration::from_hours(hours))
}

fn ahead(now: Timestamp, hours: i64) -> String {
    rfc3339(now + SignedDuration::from_hours(hours))
}
