"""An invented case, with a mark in each message by which it is known again.

Its times are right for a gateway whose clock is a day off, either way.
"""

import datetime
import json

from ground import POLICE, SURGERY


def hours(from_now):
    """An instant so many hours from now."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=from_now)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def dispatch(mark, recipients=(POLICE, SURGERY)):
    """An RFI to these agencies."""
    asked = [{"agency": agency, "why": "They may know the family."} for agency in recipients]
    return written({"recipients": asked, "rfi": rfi(mark)})


def rfi(mark):
    manager = {
        "name": "Imogen Fablewright",
        "jobTitle": "Manager",
        "role": "mash-team-manager",
    }
    refusal = {
        "answer": "no",
        "notObtainedReason": "would-increase-risk",
        "explanation": "Asking at home would tell those who live there.",
    }
    return {
        "dateOfRequest": hours(-30),
        "responseRequiredBy": hours(80),
        "priority": "urgent",
        "purpose": "assess-risk",
        "pathway": "safeguarding",
        "enquiryAuthorisation": {
            "by": manager,
            "at": hours(-31),
            "why": "The account points to significant harm.",
        },
        "requester": {
            "name": "Oswin Quillfeather",
            "jobTitle": "Health Representative",
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
            }
        ],
        "reason": {"concerns": mark},
        "informationRequired": {"categories": ["neglect", "criminal-activity"]},
        "referral": {"source": "professional", "parentsAware": "no"},
        "consent": {
            "child": refusal,
            "parentOrGuardian": refusal,
            "otherFamilyContacts": {"answer": "no-such-person"},
        },
        "override": {
            "decidedBy": manager,
            "decidedAt": hours(-31),
            "decision": "override-and-dispense",
            "rationale": "Waiting would leave the child there another night.",
        },
        "lawfulBasis": {
            "codelist": "uk-2026-09",
            "article6": "e",
            "specialCategory": True,
            "article9": "g",
            "dpaSchedule1": "pt2-para18",
            "para18WithoutConsentReason": "2c-would-prejudice-protection",
            "appropriatePolicyDocument": "APD-1",
            "powers": ["children-act-1989-s47"],
        },
    }


def response(mark, asked):
    """A partial answer to the RFI with this message id: any number of them may be given."""
    return written({
        "inReplyTo": asked,
        "result": "partial",
        "moreToFollowBy": hours(40),
        "respondedBy": {"name": "Tobiah Larkmoor", "jobTitle": "Safeguarding Lead"},
        "answers": [
            {
                "category": "neglect",
                "status": "provided",
                "aboutPersonIds": ["p1"],
                "summary": mark,
                "factOrOpinion": "fact",
            }
        ],
        "accuracyChecked": "checked-against-record",
        "proportionate": True,
        "onwardDisclosure": "not-without-asking-us",
        "lawfulBasis": {
            "codelist": "uk-2026-09",
            "article6": "e",
            "specialCategory": True,
            "article9": "h",
            "powers": ["children-act-2004-s11"],
        },
    })


def mark_in(document):
    """The mark of the message that a document carries."""
    data = document["data"]
    if "reason" in data:
        return data["reason"]["concerns"]
    return data["answers"][0]["summary"]


def written(value):
    return json.dumps(value).encode()
