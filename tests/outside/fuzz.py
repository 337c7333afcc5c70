"""schemathesis over the gateway's own description, as the hub and as another agency.

Nothing may be answered with 5xx, nor with a status, a content type, a header or a body that the
description does not have. What it calls invalid must be refused, and what it calls valid must not.
The control is a description with four faults in it, each of which must be found. Usage:
python fuzz.py [--cases N]
"""

import argparse
import collections
import copy
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from judged import HOST, HUB, POLICE, SURGERY, Line, Tally, case, ended_well, judged, new_key

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(__file__).resolve().parent
# When the examples of the contract are received: they speak of the days around it.
RECEIVED = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.timezone.utc)
# One agency's requests are not to be refused for their number.
SETTINGS = (("requests_per_agency_per_minute", "60000"),)
CASES = 1_000
# Which agencies of ours the examples' recipients become.
RECIPIENTS = {"demo-police": POLICE, "demo-childrens-hospital": SURGERY, "X99999": "Z99999"}

# Each kind of message, and where it is sent.
SAID = {
    "acknowledgement": "/v1/exchanges/{id}/acknowledgements",
    "cancellation": "/v1/exchanges/{id}/cancellations",
    "clarification": "/v1/exchanges/{id}/clarifications",
    "consent-withdrawal": "/v1/exchanges/{id}/consent-withdrawals",
    "dispatch": "/v1/rfis",
    "incident": "/v1/exchanges/{id}/incidents",
    "onward-disclosure": "/v1/exchanges/{id}/onward-disclosures",
    "outcome": "/v1/exchanges/{id}/outcomes",
    "response": "/v1/exchanges/{id}/responses",
    "subject-access-consultation": "/v1/exchanges/{id}/subject-access-consultations",
    "subject-access-view": "/v1/exchanges/{id}/subject-access-views",
    "supplement": "/v1/exchanges/{id}/supplements",
    "telephone-contact": "/v1/exchanges/{id}/telephone-contacts",
    "test-reply": "/v1/exchanges/{id}/test-replies",
    "transcription": "/v1/exchanges/{id}/transcriptions",
}
# What nobody here can have taken: no system decides for the Team Manager, and there is nobody to tell of an
# outcome. It is refused for what it says, and not for how it is written.
REFUSED = {
    "forwarding": "/v1/exchanges/{id}/forwardings",
    "override": "/v1/overrides",
    "step-down": "/v1/exchanges/{id}/step-downs",
}
# As the log has them.
KINDS = {"rfi" if kind == "dispatch" else kind for kind in SAID}
# What ends an exchange for others, or the consent in it: it has some to itself.
ENDING = ("cancellation", "consent-withdrawal", "transcription")
RESERVED = 8
# From so many cases on all of what schemathesis can do is done, and otherwise by chance.
WHOLE = 5_000
# What a response has and a supplement has not.
OF_RESPONSES = {"moreToFollowBy", "respondedBy", "result"}
# How often the hub asks before it begins, so that there is something to answer.
ASKED = 20
# What the control is wrong about, by what must be found there.
WRONG = {
    "/v1/log/proof": "Undocumented status code",
    "/v1/inbox": "Response violates schema",
    "/v1/whoami": "Missing required response headers",
    "/v1/exchanges": "Schema-violating request accepted",
}
CONTROL_EACH = 12

CONFIG = f"""
base-url = "{{url}}"
continue-on-failure = true
hooks = "{FOLDER / "planted.py"}"
request-cert = "{{certificate}}"
request-cert-key = "{{key}}"
tls-verify = "{{root}}"

[reports]
json.path = "{{report}}"

[generation]
max-examples = {{examples}}
deterministic = {{is_short}}
database = "none"

[phases]
coverage.enabled = {{is_whole}}
stateful.enabled = {{is_whole}}

[checks]
# What is right in form may be wrong in what it says.
positive_data_acceptance.expected-statuses = ["2xx", 403, 404, 409, 422]

[[operations]]
# Which of its parameters belong together, and which is the earlier, no description in OpenAPI can say.
include-operation-id = ["getProof", "listMessages"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 404]
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=int, default=CASES, help=f"at least, in all [{CASES}]")
    wanted = parser.parse_args().cases
    tally = Tally()
    count = 0
    with judged(SETTINGS) as gateway:
        planted = Planted(gateway)
        described = planted.described
        # Where nothing is taken there are fewer: a quarter more of the rest.
        each = -(-wanted * 5 // (8 * len(list(labels(described)))))
        before = taken(gateway)
        for agency in (HUB, POLICE):
            report = run(gateway, planted, agency, described, each, wanted >= WHOLE)
            count += report["test_cases"]["generated"]
            judge(tally, agency, described, report)
        tally.check("as many cases as were wanted", count < wanted and f"{count}")
        kinds = taken(gateway) - before
        print(f"{count} cases; taken: {dict(kinds)}", flush=True)
        tally.check("messages of every kind were taken", KINDS - {*kinds} and f"{kinds}")
        control(tally, gateway, planted)
        tally.check("the gateway ends in order", ended_well(gateway))
    return tally.end()


def judge(tally, agency, described, report):
    """Counts each operation, with all that was found of it."""
    found = findings(report)
    for label in labels(described):
        tally.check(f"{agency}: {label}", found.get(label))
    tally.check(f"{agency}: each case was answered", report["errors"] and f"{report['errors']}")
    if report["failures"] or report["errors"]:
        print(report["said"], flush=True)


def findings(report):
    """What schemathesis found, by operation."""
    found = collections.defaultdict(list)
    for failure in report["failures"]:
        for label in failure["operations"]:
            found[label].append(failure["title"])
    return found


def labels(described):
    """The operations as schemathesis calls them."""
    for path, item in described["paths"].items():
        for method in item:
            yield f"{method.upper()} {path}"


def taken(gateway):
    """How many messages of each kind the log has."""
    entries = gateway.home.entries()
    return collections.Counter(one["kind"] for one in entries if one["event"] == "accepted")


def control(tally, gateway, planted):
    """A description that is wrong in four ways: each must be found."""
    wrong = copy.deepcopy(planted.described)
    paths = {label: wrong["paths"][label] for label in WRONG}
    wrong["paths"] = paths
    del paths["/v1/log/proof"]["get"]["responses"]["400"]
    inbox = paths["/v1/inbox"]["get"]["responses"]["200"]["content"]["application/json"]
    inbox["schema"] = {"type": "object", "required": ["post"]}
    paths["/v1/whoami"]["get"]["responses"]["200"]["headers"]["X-Absent"] = {
        "required": True,
        "schema": {"type": "string"},
    }
    paths["/v1/exchanges"]["get"]["parameters"] = [
        {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 0}}
    ]
    report = run(gateway, planted, HUB, wrong, CONTROL_EACH, is_whole=False)
    found = findings(report)
    for path, title in WRONG.items():
        titles = found[f"GET {path}"]
        tally.check(f"control: {title}, {path}", title not in titles and f"{titles}")


class Planted:
    """What is in the gateway before schemathesis begins, and what messages are made from."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.lines = {
            agency: Line(gateway.partners, gateway.home.credentials(agency))
            for agency in (HUB, POLICE)
        }
        self.described = self.ask(HUB, "GET", "/openapi.json").json()
        self.asked = [self.ask_police(number) for number in range(ASKED)]
        self.reserved = [self.ask_police(ASKED + number) for number in range(RESERVED)]
        # One that is none of the police's.
        body = case.dispatch("Of another case.", [SURGERY])
        one = self.send(HUB, SAID["dispatch"], body)["exchanges"][0]
        self.asked.append((one["exchange"], one["message"]))
        # Nobody answers it yet, and it is not waited for.
        gateway.home.attempt("partner", "test", POLICE, "--wait", "1s")
        held = self.ask(POLICE, "GET", "/v1/inbox").json()["messages"]
        self.code_words = {}
        for message in held:
            document = self.ask(POLICE, "GET", f"/v1/messages/{message['id']}").json()
            if message["kind"] == "test":
                self.code_words[document["subject"]] = (message["id"], document["data"]["codeWord"])
        # So that there is something to collect, to supplement and to send an outcome for.
        for exchange, asked in self.asked[: ASKED // 2]:
            self.send(POLICE, SAID["response"].format(id=exchange), case.response("Yes.", asked))
        self.close()

    def ask_police(self, number):
        body = case.dispatch(f"Of case {number}.", [POLICE])
        one = self.send(HUB, SAID["dispatch"], body)["exchanges"][0]
        return one["exchange"], one["message"]

    def close(self):
        """Ends the connections: the gateway does not keep those that nothing is asked on."""
        for line in self.lines.values():
            line.close()

    def ask(self, agency, method, path):
        answer = self.lines[agency].ask(method, path)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body}")
        return answer

    def send(self, agency, path, body):
        answer = self.lines[agency].ask("POST", path, body, new_key())
        if answer.status != 202:
            raise RuntimeError(f"POST {path}: {answer.status} {answer.body}")
        return answer.json()

    def of(self, agency):
        """What an agency's cases are made from."""
        exchanges = [[exchange, {"inReplyTo": asked}] for exchange, asked in self.asked]
        reserved = [[exchange, {"inReplyTo": asked}] for exchange, asked in self.reserved]
        of_kind = {
            "test-reply": [
                [exchange, {"inReplyTo": message, "codeWord": word}]
                for exchange, (message, word) in self.code_words.items()
            ],
            # Of those that are answered one, for what is refused.
            **{kind: [*reserved, exchanges[0]] for kind in ENDING},
        }
        held = self.ask(agency, "GET", "/v1/inbox").json()["messages"]
        self.close()
        messages = [[message["id"], {}] for message in held]
        messages += [[asked, {}] for _, asked in self.asked]
        names = {
            f"POST {path}": of_kind.get(kind, exchanges)
            for kind, path in {**SAID, **REFUSED}.items()
            if "{id}" in path
        }
        names["GET /v1/exchanges/{id}"] = [[exchange, {}] for exchange, _ in exchanges]
        for path in ("", "/non-delivery", "/receipt"):
            names[f"GET /v1/messages/{{id}}{path}"] = messages
        names["POST /v1/messages/{id}/saved"] = messages
        sent = {**SAID, **REFUSED}.items()
        bodies = {f"POST {path}": examples(kind) for kind, path in sent}
        # The examples are to agencies that this directory does not have.
        dispatch = json.loads(case.dispatch("Anew.", [POLICE, SURGERY]))
        bodies["POST /v1/rfis"] += [dispatch] * len(bodies["POST /v1/rfis"])
        response = json.loads(case.response("Anew.", ""))
        bodies[f"POST {SAID['response']}"].append(response)
        bodies[f"POST {SAID['supplement']}"].append(supplement(response))
        key = self.described["components"]["parameters"]["IdempotencyKey"]["example"]
        return {"bodies": bodies, "names": names, "key": key}


def supplement(response):
    """What a response says, said after it."""
    said = {name: value for name, value in response.items() if name not in OF_RESPONSES}
    return {**said, "suppliedBy": response["respondedBy"], "whyNow": "It was found since."}


def examples(kind):
    """The contract's valid examples of a kind, as if received now and for agencies of ours."""
    later = datetime.datetime.now(datetime.timezone.utc) - RECEIVED

    def moved(found):
        return (datetime.datetime.fromisoformat(found[0]) + later).isoformat(timespec="seconds")

    made = []
    for path in sorted((REPOSITORY / "schemas" / "examples").glob(f"{kind}.*.valid.json")):
        text = path.read_text("utf-8")
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", moved, text)
        for theirs, ours in RECIPIENTS.items():
            text = text.replace(f'"{theirs}"', f'"{ours}"')
        made.append(json.loads(text))
    return made


def run(gateway, planted, agency, described, examples, is_whole):
    """What schemathesis reports of the gateway as this agency sees it."""
    url = f"https://{HOST}:{gateway.partners}"
    with tempfile.TemporaryDirectory(dir=gateway.folder) as made:
        folder = pathlib.Path(made)
        (folder / "planted.json").write_text(json.dumps(planted.of(agency)), "utf-8")
        (folder / "openapi.json").write_text(json.dumps(described), "utf-8")
        issued = gateway.home.issued / agency
        config = CONFIG.format(
            url=url,
            certificate=issued / "chain.pem",
            key=issued / "new.key",
            root=gateway.home.root,
            report=folder / "report.json",
            examples=examples,
            is_whole=json.dumps(is_whole),
            is_short=json.dumps(not is_whole),
        )
        (folder / "schemathesis.toml").write_text(config, "utf-8")
        words = ["--config-file", "schemathesis.toml", "run", "openapi.json", "--no-color"]
        done = subprocess.run(
            [pathlib.Path(sys.executable).with_name("schemathesis"), *words],
            cwd=folder,
            env={**os.environ, "PLANTED": str(folder / "planted.json")},
            capture_output=True,
            text=True,
            check=False,
        )
        report = folder / "report.json"
        if not report.exists():
            raise RuntimeError(f"schemathesis, exit {done.returncode}: {done.stdout}{done.stderr}")
        return {**json.loads(report.read_text("utf-8")), "said": done.stdout}


if __name__ == "__main__":
    sys.exit(main())
