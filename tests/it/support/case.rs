//! An invented case: the directory, an RFI, answers.

use jiff::{SignedDuration, Timestamp};
use mash_gateway::message::Kind;
use serde_json::{Value, json};

use super::{CLOSED, EARLY_HELP, HUB, POLICE, SOCIAL_CARE, SURGERY, SUSPENDED, TRUST};

/// A directory in which these agencies have these lines instead of a mailbox.
pub(crate) fn partners(special: &[(&str, &str)]) -> String {
    let officers = "telephone = \"01632 960100\"\n\
        contact_officer = { name = \"A. Officer\", telephone = \"01632 960101\" }\n\
        deputy = { name = \"B. Deputy\", telephone = \"01632 960102\" }\n";
    let mailbox = "endpoints = [{ kind = \"mailbox\" }]\n";
    let policy =
        format!("policy_document = {{ sha256 = \"{}\", review = 2099-01-01 }}\n", "5e".repeat(32));
    let mut text = String::new();
    for (id, kind, status, more) in [
        (HUB, "hub", "active", &*policy),
        (POLICE, "police", "active", ""),
        (TRUST, "nhs-trust", "active", ""),
        (SURGERY, "gp-surgery", "active", "ods_code = \"Z99999\"\nclass = \"test-surgeries\"\n"),
        (SUSPENDED, "other", "suspended", ""),
        (CLOSED, "other", "closed", "valid_to = 2020-01-31\nsuccessor = \"test-police\"\n"),
        ("test-surgeries", "gp-surgery-class", "active", ""),
    ] {
        text.push_str(&format!(
            "[[agency]]\nid = \"{id}\"\nname = \"Test {id}\"\nkind = \"{kind}\"\n\
             status = \"{status}\"\nstatutory_basis = \"invented\"\n{more}"
        ));
        let own = special.iter().find(|(agency, _)| *agency == id).map(|(_, lines)| *lines);
        match kind {
            "gp-surgery-class" => {}
            "hub" => text.push_str(own.unwrap_or(mailbox)),
            _ => {
                text.push_str(officers);
                text.push_str(own.unwrap_or(mailbox));
            }
        }
        text.push('\n');
    }
    text
}

/// Those who go on with a family, as lines of a directory.
pub(crate) fn followers() -> String {
    let officers = "telephone = \"01632 960200\"\n\
        contact_officer = { name = \"C. Officer\", telephone = \"01632 960201\" }\n\
        deputy = { name = \"D. Deputy\", telephone = \"01632 960202\" }\n\
        endpoints = [{ kind = \"mailbox\" }]\n";
    [(EARLY_HELP, "early-help"), (SOCIAL_CARE, "childrens-social-care")]
        .map(|(id, kind)| {
            format!(
                "[[agency]]\nid = \"{id}\"\nname = \"Test {id}\"\nkind = \"{kind}\"\n\
                 status = \"active\"\nstatutory_basis = \"invented\"\n{officers}\n"
            )
        })
        .concat()
}

/// An RFI to these agencies, asking each everything.
pub(crate) fn dispatch(recipients: &[&str]) -> Value {
    let recipients: Vec<_> = recipients
        .iter()
        .map(|agency| json!({ "agency": agency, "why": "They may know the family." }))
        .collect();
    json!({ "recipients": recipients, "rfi": rfi() })
}

/// A valid RFI.
pub(crate) fn rfi() -> Value {
    let manager = json!({
        "name": "Imogen Fablewright", "jobTitle": "Manager", "role": "mash-team-manager",
    });
    json!({
        "dateOfRequest": hours(-1),
        "responseRequiredBy": hours(8),
        "priority": "urgent",
        "purpose": "assess-risk",
        "pathway": "safeguarding",
        "enquiryAuthorisation": {
            "by": manager, "at": hours(-2), "why": "The account points to significant harm.",
        },
        "requester": {
            "name": "Oswin Quillfeather", "jobTitle": "Health Representative",
            "role": "mash-health-representative", "telephone": "+441632960017",
        },
        "persons": [{
            "personId": "p1", "kind": "child", "relationship": "child",
            "familyName": "Thistlebank", "givenName": "Wrenna", "birthDate": "2017-05-09",
            "nhsNumber": "9990000018", "nhsNumberStatus": "number-present-and-verified",
        }],
        "reason": { "concerns": "She sleeps in the greenhouse when it is loud at home." },
        "informationRequired": { "categories": ["neglect", "criminal-activity"] },
        "referral": { "source": "professional", "parentsAware": "yes" },
        "consent": {
            "child": {
                "answer": "no", "notObtainedReason": "too-young-or-unborn",
                "explanation": "She is nine, and her grandmother speaks for her here.",
            },
            "parentOrGuardian": { "answer": "yes", "howGiven": "verbal", "copyAttached": false },
            "otherFamilyContacts": { "answer": "no-such-person" },
        },
        "lawfulBasis": {
            "codelist": "uk-2026-09", "article6": "e", "specialCategory": true, "article9": "g",
            "dpaSchedule1": "pt2-para18",
            "para18WithoutConsentReason": "2c-would-prejudice-protection",
            "para18": { "aim": "protect-from-neglect-or-harm", "individual": "under-18" },
            "appropriatePolicyDocument": "APD-1", "powers": ["children-act-1989-s47"],
        },
    })
}

/// A valid RFI that goes on without anybody's consent, by this decision of the Team Manager's.
pub(crate) fn rfi_without_consent() -> Value {
    let refusal = json!({
        "answer": "no",
        "notObtainedReason": "would-increase-risk",
        "explanation": "Asking at home would tell those who live there.",
    });
    let mut rfi = rfi();
    rfi["referral"]["parentsAware"] = json!("no");
    rfi["consent"]["child"] = refusal.clone();
    rfi["consent"]["parentOrGuardian"] = refusal;
    rfi["override"] = json!({
        "decidedBy": rfi["enquiryAuthorisation"]["by"],
        "decidedAt": hours(-2),
        "decision": "override-and-dispense",
        "rationale": "Waiting would leave the child there another night.",
        "confidenceGateway": "protect-from-harm",
    });
    rfi
}

/// What of an RFI the Team Manager decides about.
pub(crate) fn overriding(rfi: &Value) -> Value {
    json!({ "consent": rfi["consent"], "override": rfi["override"], "persons": rfi["persons"] })
}

/// A full answer to the RFI that this message carried.
pub(crate) fn response(rfi: &str) -> Value {
    json!({
        "inReplyTo": rfi,
        "result": "complete",
        "respondedBy": { "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" },
        "answers": [
            {
                "category": "neglect", "status": "provided", "aboutPersonIds": ["p1"],
                "summary": "Seen without a coat on four mornings in November.",
                "factOrOpinion": "fact",
            },
            { "category": "criminal-activity", "status": "nothing-known" },
        ],
        "accuracyChecked": "checked-against-record",
        "proportionate": true,
        "onwardDisclosure": "not-without-asking-us",
        "lawfulBasis": basis(),
    })
}

/// A partial answer.
pub(crate) fn partial(rfi: &str) -> Value {
    let mut response = response(rfi);
    response["result"] = json!("partial");
    response["moreToFollowBy"] = json!(hours(4));
    response["answers"].as_array_mut().unwrap().truncate(1);
    response
}

/// More, after a response.
pub(crate) fn supplement(rfi: &str) -> Value {
    json!({
        "inReplyTo": rfi,
        "suppliedBy": { "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" },
        "answers": [{
            "category": "criminal-activity", "status": "provided", "aboutPersonIds": ["p1"],
            "summary": "A caution was found under an earlier name.", "factOrOpinion": "fact",
        }],
        "whyNow": "The earlier name was not known this morning.",
        "accuracyChecked": "checked-against-record",
        "proportionate": true,
        "onwardDisclosure": "not-without-asking-us",
        "lawfulBasis": basis(),
    })
}

/// Anything that is said in an exchange about the RFI that this message carried.
pub(crate) fn said(kind: Kind, rfi: &str) -> Value {
    let hub = json!({ "name": "Oswin Quillfeather", "jobTitle": "Health Representative" });
    let agency = json!({ "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" });
    match kind {
        Kind::Acknowledgement => acknowledgement(rfi),
        Kind::Cancellation => json!({
            "inReplyTo": rfi, "cancelledBy": hub, "reason": "no-longer-needed",
            "why": "The child has moved to another hub's area, and that hub asks.",
        }),
        Kind::Clarification => json!({
            "inReplyTo": rfi, "from": agency, "category": "neglect",
            "question": "Does this include what her brother's school wrote?",
        }),
        Kind::Incident => json!({
            "inReplyTo": rfi, "reportedBy": agency, "status": "open", "foundAt": hours(-1),
            "nearMiss": false, "serious": false, "nature": "sent-to-wrong-recipient",
            "whatHappened": "The answer was put into an envelope with another family's letter.",
            "reportedTo": ["security-or-data-protection"],
        }),
        Kind::ConsentWithdrawal => json!({
            "inReplyTo": rfi, "whose": "parent-or-guardian", "withdrawnAt": hours(0),
            "recordedBy": hub, "whatFollows": "answer-on-another-basis",
        }),
        Kind::OnwardDisclosure => json!({
            "inReplyTo": rfi, "onwardDisclosure": "family-may-be-told-part",
            "answers": [{
                "category": "neglect", "mayBeTold": "part", "what": "That she came without a coat.",
            }],
            "decidedBy": agency, "decidedAt": hours(0),
        }),
        Kind::Outcome => outcome(),
        Kind::Response => response(rfi),
        Kind::StepDown => json!({
            "inReplyTo": rfi, "to": EARLY_HELP, "notifiedBy": hub,
            "concerns": "She sleeps in the greenhouse when it is loud at home.",
            "persons": self::rfi()["persons"], "familyTold": { "answer": "yes" },
            "letterToFamily": { "state": "to-follow" },
        }),
        Kind::SubjectAccessConsultation => json!({
            "inReplyTo": rfi, "consultedBy": hub, "receivedAt": hours(-1), "replyBy": hours(100),
            "aboutPersonIds": ["p1"],
        }),
        Kind::SubjectAccessView => json!({
            "inReplyTo": rfi, "view": "release-in-part", "exemptions": ["protection-of-others"],
            "answers": [{ "category": "neglect" }],
            "explanation": "Whoever told us would be known by it.",
            "decidedBy": agency, "decidedAt": hours(0),
        }),
        Kind::Supplement => supplement(rfi),
        Kind::TelephoneContact => json!({
            "inReplyTo": rfi, "madeAt": hours(0), "by": hub, "spokeTo": agency,
            "summary": "They will look today.",
        }),
        Kind::Transcription => {
            let mut answer = response(rfi);
            answer["channel"] = json!("telephone-transcribed");
            answer["transcription"] =
                json!({ "takenBy": hub, "takenAt": hours(0), "readBack": true });
            answer
        }
        Kind::Forwarding | Kind::Rfi | Kind::Test | Kind::TestReply => {
            panic!("{kind:?} is said otherwise")
        }
    }
}

/// That the agency will answer.
pub(crate) fn acknowledgement(rfi: &str) -> Value {
    let who = json!({ "name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead" });
    json!({ "inReplyTo": rfi, "acknowledgedBy": who, "willReplyBy": hours(3), "handler": who })
}

/// What the hub decided.
pub(crate) fn outcome() -> Value {
    outcome_of("early-help")
}

/// The same, with this outcome.
pub(crate) fn outcome_of(outcome: &str) -> Value {
    let mut decided = json!({
        "outcome": outcome,
        "decidedAt": hours(0),
        "decidedBy": { "name": "Imogen Fablewright", "jobTitle": "Manager" },
        "representative": { "name": "Oswin Quillfeather", "jobTitle": "Health Representative" },
        "textForRecord": "The family is offered early help from the children's centre.",
    });
    if outcome == "early-help" {
        decided["familyTold"] = json!({ "answer": "yes" });
        decided["letterToFamily"] = json!({ "state": "to-follow" });
        decided["nextAgency"] = json!("Early Help, Exampleton Council");
    }
    decided
}

/// An answer, passed on to whoever assesses the child.
pub(crate) fn forwarding(rfi: &str, answer: &str) -> Value {
    json!({
        "inReplyTo": rfi, "message": answer, "to": SOCIAL_CARE,
        "forwardedBy": { "name": "Oswin Quillfeather", "jobTitle": "Health Representative" },
        "why": "Whoever assesses her needs what the school saw.",
    })
}

fn basis() -> Value {
    json!({
        "codelist": "uk-2026-09", "article6": "e", "specialCategory": true, "article9": "h",
        "powers": ["children-act-2004-s11"],
    })
}

/// An instant so many hours from now.
pub(crate) fn hours(from_now: i64) -> String {
    let at: Timestamp = mash_gateway::message::now() + SignedDuration::from_hours(from_now);
    mash_gateway::message::rfc3339(at)
}

/// Where replies of a kind go, for an exchange as the 202 or a document names it.
pub(crate) fn path(exchange: &Value, kinds: &str) -> String {
    let id = exchange["exchange"].as_str().or_else(|| exchange["subject"].as_str()).unwrap();
    format!("/v1/exchanges/{id}/{kinds}")
}
