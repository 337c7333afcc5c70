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
        "referral": {"source": "professional", "parentsAware": "yes"},
        "consent": {
            "child": {
                "answer": "no",
                "notObtainedReason": "too-young-or-unborn",
                "explanation": "She is nine, and her grandmother speaks for her here.",
            },
            "parentOrGuardian": {"answer": "yes", "howGiven": "verbal", "copyAttached": False},
            "otherFamilyContacts": {"answer": "no-such-person"},
        },
        "lawfulBasis": {
            "codelist": "uk-2026-09",
            "article6": "e",
            "specialCategory": True,
            "article9": "g",
            "dpaSchedule1": "pt2-para18",
            "para18WithoutConsentReason": "2c-would-prejudice-protection",
            "para18": {"aim": "protect-from-neglect-or-harm", "individual": "under-18"},
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
