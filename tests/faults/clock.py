"""A gateway that is stopped for a while, and one whose clock is set a day forward and back; under load.

Agencies send, collect and save over mutual TLS while it happens. Whoever waits must wait as long as
before: what is to be pushed again in seconds is, whatever the clock says. Then the agencies' own ledger
is held to the gateway's.

libfaketime (Debian's faketime) gives the gateway another clock than the agencies have.
"""

import datetime
import glob
import os
import pathlib
import signal
import sys
import tempfile
import threading

from ground import POLICE, Refused, Tally, until
from trial import Trial, parse, try_all

EXAMPLES = """examples:
  python clock.py                        every case, as in CI
  python clock.py stopped --seconds 60   stopped for a minute
  python clock.py --control both-clocks  must find pushes that wait for a day

MASH_GATEWAY=target/release/mash-gateway runs another build than the debug one."""

# The homes are older than a day, and so good when the clock is set back.
MADE = ("faketime", "-f", "-3d")
RIGHT = "+0"


def main():
    arguments = parse(__doc__, EXAMPLES, CASES, "both-clocks", (10, "how long it is stopped"))
    return try_all(Tally(), CASES, both_clocks, arguments)


class ClockTrial(Trial):
    """A trial with a clock that can be set."""

    def __init__(self, tally, name, is_steady=True):
        self._file = pathlib.Path(tempfile.mkdtemp()) / "clock"
        self.set(RIGHT)
        [library] = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": str(int(is_steady)),
            "FAKETIME_DONT_FAKE_MONOTONIC": str(int(is_steady)),
        }
        # So that a wait is seconds, unless the clock makes a day of it.
        settings = (("retry_cap_s", 2),)
        super().__init__(tally, name, settings, environment=environment, made=MADE)

    def set(self, to):
        """Sets the gateway's clock, relative to the right one."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{to}\n", "utf-8")
        os.replace(new, self._file)

    def hold_pushes(self):
        """The police's endpoint takes nothing more; waits until pushes wait, and gives them."""
        self.load.endpoint.is_open = False
        until(lambda: len(self.undelivered(POLICE)) >= 10)
        # Until some of them have been tried, and wait to be tried again.
        failed = self.logged("a push was not taken")
        until(lambda: self.logged("a push was not taken") > failed + 3)
        return set(self.undelivered(POLICE))

    def release_pushes(self, held, patience=60):
        """It takes them again; waits for those, and gives how many did not come."""
        self.load.endpoint.is_open = True
        left = lambda: held & set(self.undelivered(POLICE))
        until(lambda: not left(), patience)
        return len(left())


def stopped(tally, arguments):
    """The process stands still for a while, as when its machine is moved."""
    with Trial(tally, "stopped") as trial:
        trial.gateway.signal(signal.SIGSTOP)
        # What was on its way to the agencies has come by then.
        pause(1)
        before = len(trial.truth.messages)
        pause(arguments.seconds - 1)
        trial.check("nothing was acknowledged", len(trial.truth.messages) - before or "")
        trial.gateway.signal(signal.SIGCONT)
        trial.check("it goes on", "" if trial.work() else "it does not")
        trial.check("what was acknowledged was asked for again", "" if trial.truth.replays else "no")
        trial.conclude()


def stepped(tally, arguments):
    """The clock is set a day forward, right, a day back, and right, while pushes wait."""
    with ClockTrial(tally, "stepped") as trial:
        for number, (to, name) in enumerate(
            (("+1d", "forward"), (RIGHT, "right"), ("-1d", "back"), (RIGHT, "right again"))
        ):
            held = trial.hold_pushes()
            trial.set(to)
            seen = until(lambda: trial.logged("the clock was set") > number)
            trial.check(f"{name}: the gateway noticed", "" if seen else "it did not")
            left = trial.release_pushes(held)
            trial.check(f"{name}: what waited was pushed", f"{left} of {len(held)} not" if left else "")
            trial.check(f"{name}: it accepts", "" if trial.work() else "it does not")
            status, text = trial.ready()
            is_behind = "clock: it is" in text
            is_told = status == 200 and is_behind == (name != "forward")
            trial.check(f"{name}: readyz says so", "" if is_told else f"{status} {text}")
        found = trial.home.attempt("doctor", "--quick").stdout
        trial.check("doctor says that the log is ahead", "" if "clock: it is" in found else found)

        held = trial.hold_pushes()
        trial.set("+1d")
        trial.load.down()
        trial.gateway.stop()
        trial.set(RIGHT)
        trial.gateway.start()
        trial.load.up()
        left = trial.release_pushes(held)
        trial.check("set back while it was stopped: what waited was pushed", left or "")

        is_resting = trial.load.rest() and until(lambda: not trial.truth.undelivered())
        trial.check("nobody asks while it is another time", "" if is_resting else "somebody does")
        trial.set("-5d")
        trial.check("before its time a certificate is refused", connects(trial) and "it is not")
        trial.set(RIGHT)
        trial.check("and is good in its time", "" if connects(trial) else "it is not")
        times = [datetime.datetime.fromisoformat(entry["time"]) for entry in trial.home.entries()]
        back = max(earlier - later for earlier, later in zip(times, times[1:]))
        is_set = back > datetime.timedelta(hours=23)
        trial.check("the log has the clock as it was", "" if is_set else f"{back} at most")
        trial.conclude(restarts=1)


def both_clocks(tally, arguments):
    """The control: a clock that takes the steady one with it is not noticed, and that must be found."""
    with ClockTrial(tally, "both-clocks", is_steady=False) as trial:
        held = trial.hold_pushes()
        trial.set("-1d")
        left = trial.release_pushes(held, patience=10)
    tally.check("pushes that wait for a day are found out", "" if left else "they are not")


CASES = {"stopped": stopped, "stepped": stepped}


def connects(trial):
    """Whether the hub is let in."""
    try:
        return trial.ask().status == 202
    except Refused:
        return False


def pause(seconds):
    """Lets so much time pass."""
    threading.Event().wait(seconds)


if __name__ == "__main__":
    sys.exit(main())
