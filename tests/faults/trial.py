"""One trial of a gateway: agencies at work, something that happens to it, and the two ledgers held to
each other in the end.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time
import uuid

import case
from ground import HUB, Gateway, Home, some, until
from load import Load
from truth import Truth

# A push whose answer was lost is made again while we watch.
SETTINGS = (("lease_s", 4), ("attempt_timeout_s", 3), ("retry_base_s", 1))


def parse(description, examples, cases, control, seconds):
    """The arguments of a program that tries these cases. `seconds` is their default, and what for."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default, purpose = seconds
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)} [all]")
    parser.add_argument("--seconds", type=float, default=default, help=f"{purpose} [{default}]")
    parser.add_argument(
        "--control",
        choices=(control,),
        help="break something on purpose: succeeds only when that is found",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(cases):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return arguments


def try_all(tally, cases, control, arguments):
    """Tries the cases that were asked for, or the control; gives the exit code."""
    if arguments.control:
        control(tally, arguments)
        return tally.end()
    for name in arguments.cases or cases:
        began = time.monotonic()
        cases[name](tally, arguments)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return tally.end()


class Trial:
    """A gateway, agencies at work, and what they know."""

    def __init__(
        self, tally, name, settings=(), wrapper=(), environment=None, made=(), is_deduplicating=True
    ):
        self.tally = tally
        self.name = name
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self._temporary.name).resolve()
        self.home = Home(self.folder, settings=(*SETTINGS, *settings), wrapper=made)
        self.home.wrapper = ()
        self.gateway = Gateway(self.home, wrapper=wrapper, environment=environment)
        self.truth = Truth(self.folder, is_deduplicating)
        self.load = Load(self.home, self.truth, timeout=5)
        self._asked = {}

    def __enter__(self):
        self.gateway.start()
        self.load.start()
        self.load.up()
        self.work()
        return self

    def __exit__(self, *_):
        if self.gateway.is_running():
            self.gateway.kill()
        self.truth.close()
        self.load.close()
        self._temporary.cleanup()

    def check(self, what, fault):
        """Counts one check of this trial. The fault says what is wrong; nothing, that all is well."""
        self.tally.check(f"{self.name}: {what}", fault)

    def work(self, messages=40, patience=60):
        """Waits until so many more messages were acknowledged; says whether they were."""
        wanted = len(self.truth.messages) + messages
        return until(lambda: len(self.truth.messages) >= wanted, patience)

    def undelivered(self, agency):
        """What was acknowledged for an agency and did not come there."""
        return [id for id in self.truth.undelivered() if self.truth.messages[id][0] == agency]

    def refused(self, status):
        """How often the agencies were told so."""
        return self.load.refusals.get(status, 0)

    def logged(self, text):
        """How often the gateway's own log has this."""
        return self.gateway.whole_log().count(text)

    def is_ready(self):
        """Whether /readyz says that the gateway takes work."""
        return self.ready()[0] == 200

    def ready(self):
        """The status and the text of /readyz; none when it is not answered."""
        try:
            return self.gateway.ready()
        except (OSError, ValueError):
            return 0, ""

    def ask(self, key=None):
        """One RFI over a connection of its own; always the same under one key."""
        key = key or str(uuid.uuid4())
        mark = f"Mark {key}."
        body = self._asked.setdefault(key, case.dispatch(mark))
        self.truth.begin(key, mark)
        line = self.load.line(HUB)
        try:
            answer = line.ask("POST", "/v1/rfis", body, key)
        finally:
            line.close()
        if answer.status == 202:
            self.truth.acknowledge(key, answer.body)
        return answer

    def conclude(self, restarts=0, patience=60):
        """Lets all that is under way arrive, and holds the two ledgers to each other."""
        self.load.quiet()
        has_arrived = until(lambda: not self.truth.undelivered(), patience)
        has_ended = self.load.end()
        error = self.load.failed()
        self.gateway.stop()
        lost, twice = self.truth.reconcile(self.home.entries())
        verified = self.home.attempt("log", "verify")
        print(
            f"{self.name}: {len(self.truth.messages)} acknowledged, refused {self.load.refusals}, "
            f"{self.truth.repeats} pushed again, {self.truth.replays} asked again",
            flush=True,
        )
        for what, fault in (
            ("nothing acknowledged is lost", some(lost)),
            ("nothing was accepted twice", some(twice)),
            ("everything acknowledged came to its recipient", some(self.truth.undelivered())),
            ("no effect was doubled", some(self.truth.doubled())),
            ("every answer and receipt was as promised", some(self.truth.faults)),
            ("the log verifies", verified.returncode and verified.stdout + verified.stderr),
            ("the work came to its end", error or "" if has_arrived and has_ended else "it did not"),
            ("it was never restarted", "" if self.gateway.starts == 1 + restarts else "it was"),
        ):
            self.check(what, fault)


def run(*words):
    """Runs a program, which must succeed."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stdout}{done.stderr}")
