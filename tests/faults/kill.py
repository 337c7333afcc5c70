"""kill -9, again and again, at chosen and at random moments of the write path.

Agencies send, collect and save over mutual TLS; the gateway is killed under them and started again;
whatever was not answered is sent again with the same key. Then their own ledger is held to the
gateway's: everything acknowledged is there, under one id, delivered, and its receipt verifies.

kill -9 leaves the system's page cache whole: it cannot tell a store that syncs from one that does not.
power.py can.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import sys
import threading
import time

from ground import POLICE, Gateway, Home, Tally, contextful, pause, some, until
from load import Load
from truth import Truth

EXAMPLES = """examples:
  python kill.py                                   200 kills, as in CI
  python kill.py --kills 10000 --folder F          the full count; the same command goes on where it ended
  python kill.py --kills 40 --control stale-disk   must find messages lost
  python kill.py --kills 40 --control no-dedupe    must find effects doubled

MASH_GATEWAY=target/release/mash-gateway runs another build than the debug one."""

# When the gateway is killed, and how often of a hundred.
MOMENTS = {
    # As soon as a message has been sent, or a little after: while it is checked, sealed, committed.
    "sent": 24,
    # The database's write-ahead log has just been written to: before or during its sync.
    "commit": 20,
    # A few bytes of the answer have arrived.
    "answer": 14,
    # The database file has just been written to: in the middle of a checkpoint.
    "checkpoint": 10,
    # An endpoint has taken a push and has not answered; has just answered.
    "push-taken": 8,
    "push-answered": 6,
    # Before it listens.
    "start": 8,
    # While it stops in order.
    "stop": 2,
    "random": 8,
}
# What aiming may take before any moment will do, in seconds.
AIM = 2.0
# How old the disk of the control is, in kills: after so many, messages were surely acknowledged.
STALE_KILLS = 10


def main():
    arguments = parse()
    with contextful(arguments.folder) as folder:
        run = Run(folder, arguments)
        run.kill_all()
        return run.conclude()


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="how many in all [200]")
    parser.add_argument("--folder", type=pathlib.Path, help="kept, and gone on from [a new one]")
    parser.add_argument("--seed", type=int, help="of the moments [by chance, and printed]")
    parser.add_argument("--verify-every", type=int, default=50, help="kills between two log verify")
    parser.add_argument(
        "--control",
        choices=("stale-disk", "no-dedupe"),
        help="break something on purpose: succeeds only when that is found",
    )
    return parser.parse_args()


class Aim:
    """Kills at a moment that the agencies see come."""

    def __init__(self, kill, chance):
        self._kill = kill
        self._chance = chance
        self._lock = threading.Lock()
        self._moment = None
        self.fired = threading.Event()

    def take(self, moment):
        """Aims at the next such moment, or one a little later."""
        with self._lock:
            self.fired.clear()
            self._skipped = self._chance.randrange(12 if moment in ("sent", "answer") else 3)
            self._bytes = self._chance.randrange(1, 400)
            self._after = self._chance.choice((0, self._chance.uniform(0, 0.006)))
            self._moment = moment

    def drop(self):
        with self._lock:
            self._moment = None

    def __call__(self, point, kind):
        with self._lock:
            moment = self._moment
        is_message = kind is not None and kind[0] == "POST"
        if point == "answering":
            return self._bytes if moment == "answer" and is_message else 0
        if (moment, point) in (("sent", "sent"), ("answer", "partly-answered")):
            return is_message and self._fire(moment)
        return moment == point and self._fire(moment)

    def _fire(self, moment):
        with self._lock:
            if self._moment != moment:
                return False
            if self._skipped > 0:
                self._skipped -= 1
                return False
            self._moment = None
            after = time.perf_counter() + self._after
            while time.perf_counter() < after:
                pass
            self._kill()
        self.fired.set()
        return True


class Run:
    """A number of kills, and what is found after them."""

    def __init__(self, folder, arguments):
        self.arguments = arguments
        self.summary_path = folder / "summary.json"
        self.home = Home(
            folder,
            # So that a push whose answer was lost is made again while we watch.
            settings=(("lease_s", 4), ("attempt_timeout_s", 3), ("retry_base_s", 1)),
        )
        self.truth = Truth(folder, is_deduplicating=arguments.control != "no-dedupe")
        seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
        print(f"seed {seed}, folder {folder}", flush=True)
        self.chance = random.Random(seed)
        self.gateway = Gateway(self.home)
        self.aim = Aim(lambda: self.gateway.signal(signal.SIGKILL), self.chance)
        self.load = Load(self.home, self.truth, self.aim)
        self.kills = collections.Counter()
        self.hits = collections.Counter()
        self.starts = []
        self.seconds = 0.0
        self.verified = 0
        if self.summary_path.exists():
            before = json.loads(self.summary_path.read_text("utf-8"))
            self.kills.update(before["kills by moment"])
            self.hits.update(before["at the moment aimed at"])
            self.seconds, self.verified = before["seconds"], before["log verify"]
            self.truth.faults = before["faults"]
            self.truth.replays = before["asked again"]
            self.truth.repeats = before["pushed again"]
        self.snapshot = folder / "snapshot"

    def kill_all(self):
        self.load.start()
        interrupted = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: interrupted.set())
        began = shown = time.monotonic()
        while self.kills.total() < self.arguments.kills and not interrupted.is_set():
            self.kill_once()
            if self.kills.total() % self.arguments.verify_every == 0:
                self.verify()
            if error := self.load.failed():
                raise RuntimeError("an agency's worker died") from error
            now = time.monotonic()
            self.seconds += now - began
            began = now
            if now - shown > 10:
                shown = now
                self.report()
                self.write_summary()

    def kill_once(self):
        moment = self.chance.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        if self.arguments.control == "stale-disk":
            self.let_the_disk_go_stale()
        is_hit = self.kill_while_it_starts() if moment == "start" else self.kill_at(moment)
        if self.gateway.reap() == -signal.SIGKILL:
            self.kills[moment] += 1
            self.hits[moment] += is_hit
        self.load.down()

    def kill_while_it_starts(self):
        usual = statistics.median(self.starts[-50:]) if self.starts else 0.1
        self.gateway.spawn()
        pause(self.chance.uniform(0, usual))
        self.gateway.signal(signal.SIGKILL)
        return True

    def kill_at(self, moment):
        self.starts.append(self.gateway.start())
        self.load.up()
        database = self.home.database
        match moment:
            case "random":
                pause(self.chance.uniform(0.02, 0.4))
                is_hit = True
            case "commit":
                is_hit = written(database.with_name("gateway.db-wal"), self.chance.randrange(1, 12))
                pause(self.chance.choice((0, self.chance.uniform(0, 0.002))))
            case "checkpoint":
                is_hit = written(database, 1)
                pause(self.chance.choice((0, self.chance.uniform(0, 0.005))))
            case "stop":
                pause(self.chance.uniform(0.02, 0.1))
                self.gateway.signal(signal.SIGTERM)
                pause(self.chance.uniform(0, 0.02))
                is_hit = True
            case _:
                self.aim.take(moment)
                is_hit = self.aim.fired.wait(AIM)
                self.aim.drop()
        self.gateway.signal(signal.SIGKILL)
        return is_hit

    # As if the disk had not been written to for some kills. The anchor would tell at the next start, and
    # is taken away, so that it is the agencies' ledger that finds it out.
    def let_the_disk_go_stale(self):
        data = self.home.database.parent
        if self.kills.total() == self.arguments.kills // 2 and self.snapshot.exists():
            (self.home.folder / "keys" / "log-anchor.txt").unlink(missing_ok=True)
            for name in ("gateway.db", "gateway.db-wal", "gateway.db-shm"):
                (data / name).unlink(missing_ok=True)
                if (self.snapshot / name).exists():
                    shutil.copy2(self.snapshot / name, data / name)
        elif self.kills.total() == self.arguments.kills // 2 - STALE_KILLS:
            shutil.rmtree(self.snapshot, ignore_errors=True)
            self.snapshot.mkdir()
            for name in ("gateway.db", "gateway.db-wal"):
                if (data / name).exists():
                    shutil.copy2(data / name, self.snapshot / name)

    # As the kill left it.
    def verify(self):
        done = self.home.attempt("log", "verify")
        if done.returncode:
            self.truth.fault("log verify", done.stdout + done.stderr)
        self.verified += 1

    def conclude(self):
        """Lets everything that is under way arrive, and holds the two ledgers to each other."""
        tally = Tally()
        self.starts.append(self.gateway.start())
        self.load.quiet()
        self.load.up()
        patience = 10 if self.arguments.control else 90
        has_arrived = until(lambda: not self.truth.undelivered(), patience)
        has_ended = self.load.end()
        self.gateway.stop()
        entries = self.home.entries()
        lost, twice = self.truth.reconcile(entries)
        undelivered, doubled = self.truth.undelivered(), self.truth.doubled()
        self.verify()
        self.verify_receipts()
        self.write_summary(len(lost) + len(undelivered), len(twice) + len(doubled))
        self.report()
        starts = self.starts[-1000:]
        print(f"start: median {statistics.median(starts):.3f} s, longest {max(starts):.3f} s")
        for moment in MOMENTS:
            print(f"  {moment:14} {self.kills[moment]:6} kills, {self.hits[moment]:6} as aimed")
        found = []
        for what, fault in (
            ("everything acknowledged is in the log, where its receipt says", some(lost)),
            ("nothing was accepted twice", some(twice)),
            ("everything acknowledged came to its recipient", some(undelivered)),
            ("no effect was doubled", some(doubled)),
            ("every answer, receipt and replay was as promised", some(self.truth.faults)),
            ("the agencies' work came to its end", "" if has_arrived and has_ended else "it did not"),
        ):
            found.append(fault)
            if not self.arguments.control:
                tally.check(what, fault)
        match self.arguments.control:
            case "stale-disk":
                found_lost = found[0] and any("replay" in fault for fault in self.truth.faults)
                tally.check("a disk that went stale is found out", "" if found_lost else "it is not")
            case "no-dedupe":
                tally.check("effects that double are found out", "" if found[3] else "they are not")
            case _:
                self.check_that_it_fired(tally)
        return tally.end()

    # A run that killed nothing, or never where it aimed, has shown nothing.
    def check_that_it_fired(self, tally):
        kills = self.kills.total()
        fault = "" if kills >= self.arguments.kills else f"{kills} died of kill -9"
        tally.check(f"{self.arguments.kills} kills", fault)
        for moment in MOMENTS:
            few = kills >= 100 and self.hits[moment] * 2 < self.kills[moment]
            fault = f"{self.hits[moment]} of {self.kills[moment]} as aimed" if few else ""
            tally.check(f"kills as aimed: {moment}", fault)
        tally.check(
            "messages were acknowledged between kills",
            "" if len(self.truth.messages) > 3 * kills else f"only {len(self.truth.messages)}",
        )
        tally.check("acknowledged ones were asked for again", "" if self.truth.replays else "none")
        tally.check("a push was made again under its id", "" if self.truth.repeats else "none")

    def verify_receipts(self):
        key = self.home.folder.parent / "log.key"
        key.write_text(f"{self.truth.log.text}\n", "utf-8")
        for kept in sorted(self.truth.kept.iterdir()):
            done = self.home.attempt("receipt", "verify", kept, "--log-key", key)
            if done.returncode:
                self.truth.fault("receipt verify", f"{kept.name}: {done.stderr}")

    def report(self):
        truth = self.truth
        print(
            f"{self.kills.total()} of {self.arguments.kills} kills in {self.seconds:.0f} s, "
            f"{len(truth.messages)} messages acknowledged, {truth.replays} asked for again, "
            f"{len(truth.effects[POLICE])} pushed and {truth.repeats} taken again, "
            f"{len(truth.faults)} faults",
            flush=True,
        )

    def write_summary(self, lost=None, doubled=None):
        truth = self.truth
        starts = self.starts[-1000:] or [0]
        summary = {
            "kills": self.kills.total(),
            "kills by moment": self.kills,
            "at the moment aimed at": self.hits,
            "seconds": round(self.seconds, 1),
            "messages acknowledged": len(truth.messages),
            "asked again": truth.replays,
            "pushed again": truth.repeats,
            "lost": lost,
            "doubled": doubled,
            "log verify": self.verified,
            "start median s": round(statistics.median(starts), 3),
            "start longest s": round(max(starts), 3),
            "faults": truth.faults,
        }
        new = self.summary_path.with_suffix(".new")
        new.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
        os.replace(new, self.summary_path)


def written(path, times):
    """Waits until a file has been written to so many times; says whether it was."""
    give_up = time.monotonic() + AIM
    last = modified(path)
    while times > 0 and time.monotonic() < give_up:
        now = modified(path)
        if now != last:
            last, times = now, times - 1
        time.sleep(0.0001)
    return times == 0


def modified(path):
    try:
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
