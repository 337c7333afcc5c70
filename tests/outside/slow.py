"""slowhttptest at both doors, while an agency at work is served.

It opens hundreds of connections, and sends or reads next to nothing on them. Each must be closed by
the gateway, and the agency must have every answer meanwhile. It shows no client certificate: the
enrolment door needs none, and at the partner door a relay shows one. Usage:
python slow.py [--connections N]
"""

import argparse
import subprocess
import sys
import threading

from judged import (
    ADDRESS,
    HUB,
    POLICE,
    SURGERY,
    Line,
    Refused,
    Tally,
    anybody,
    case,
    ended_well,
    judged,
    new_key,
    relay,
    until,
)

CONNECTIONS = 200
# How many it opens in a second, at the least.
PER_SECOND = 30
AUTHORITIES, ENROL = "/.well-known/est/cacerts", "/.well-known/est/simpleenroll"
# It has no option for fields of one's own, and writes what it is given for Accept as it is.
KEYED = f"*/*\r\nIdempotency-Key: {new_key()}"
# Mode, door, and what slowhttptest is told of it.
ATTACKS = [
    ("slow headers", "enrolment", ["-H", "-u", AUTHORITIES]),
    ("slow bodies", "enrolment", ["-B", "-u", ENROL, "-f", "application/pkcs10"]),
    (
        "slow reading",
        "enrolment",
        ["-X", "-w", "1", "-y", "64", "-z", "1", "-k", "3", "-u", AUTHORITIES],
    ),
    ("slow headers", "partners", ["-H", "-u", "/v1/whoami"]),
    ("slow bodies", "partners", ["-B", "-u", "/v1/rfis", "-f", "application/json", "-m", KEYED]),
]
# How many connections are open when only the agency at work has some.
AGENCYS = 2
OPEN = "mash_gateway_open_connections"


def settings(connections, seconds):
    """All may come from one address, and may be slow for so long: then most are open at once."""
    return (
        ("enrolment_connections_max", f"{2 * connections}"),
        ("connections_per_address_max", f"{2 * connections}"),
        ("connections_per_agency_max", f"{2 * connections}"),
        ("handshakes_per_address_per_second", "1000"),
        ("requests_per_agency_per_minute", "60000"),
        ("handshake_timeout_s", f"{seconds}"),
        ("header_timeout_s", f"{seconds}"),
        ("request_timeout_s", f"{seconds}"),
        ("stall_timeout_s", f"{seconds + 1}"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help=f"[{CONNECTIONS}]")
    count = parser.parse_args().connections
    seconds = max(5, count // PER_SECOND)
    tally = Tally()
    with judged(settings(count, seconds)) as gateway, relay(gateway, POLICE, "http/1.1") as port:
        doors = {
            "enrolment": f"https://{ADDRESS}:{gateway.enrolment}",
            "partners": f"http://{ADDRESS}:{port}",
        }
        for mode, door, words in ATTACKS:
            with Agency(gateway) as agency:
                for what, fault in attack(gateway, doors[door], words, count, seconds):
                    tally.check(f"{door}, {mode}: {what}", fault)
            fault = agency.fault or not agency.served and "nothing was asked"
            print(f"{agency.served} requests of an agency at work", flush=True)
            tally.check(f"{door}, {mode}: an agency at work is served", fault)
        tally.check("the gateway ends in order", ended_well(gateway))
    return tally.end()


def attack(gateway, door, words, count, seconds):
    """Runs slowhttptest, and says what became of its connections."""
    words = [f"{door}{word}" if word.startswith("/") else word for word in words]
    time = 10 * seconds
    common = ["-c", count, "-r", count, "-i", 1, "-x", 8, "-l", 2 * time]
    process = subprocess.Popen(
        ["slowhttptest", *map(str, common), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        is_held = until(lambda: gateway.metric(OPEN) > count / 2, time)
        yield "they are open", not is_held and f"{gateway.metric(OPEN)} were"
        is_over = until(lambda: gateway.metric(OPEN) <= AGENCYS, time)
        yield "the gateway closes them all", not is_over and f"{gateway.metric(OPEN)} are open"
    finally:
        process.kill()
        process.wait()


class Agency:
    """The hub at work meanwhile: it asks, sends, and fetches what anybody may have."""

    def __init__(self, gateway):
        self.fault = None
        self.served = 0
        self._line = Line(gateway.partners, gateway.home.credentials(HUB))
        self._gateway = gateway
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()
        self._line.close()

    def _work(self):
        while self.fault is None and not self._is_over.wait(0.05):
            try:
                self._ask(200, "GET", "/v1/inbox")
                self._ask(202, "POST", "/v1/rfis", case.dispatch("As ever.", [SURGERY]), new_key())
                line = anybody(self._gateway)
                answer = line.ask("GET", AUTHORITIES)
                line.close()
                if answer.status != 200:
                    self.fault = f"GET {AUTHORITIES}: {answer.status}"
            except Refused as error:
                self.fault = str(error)

    def _ask(self, wanted, method, path, body=None, key=None):
        answer = self._line.ask(method, path, body, key)
        if answer.status != wanted:
            self.fault = f"{method} {path}: {answer.status} {answer.body}"
        self.served += 1


if __name__ == "__main__":
    sys.exit(main())
