"""Power cuts under load: what was acknowledged is on the disk, not in the machine's memory.

kill -9 leaves the page cache whole, so a store that never syncs passes it. Here the gateway runs in a
virtual machine (guest.py), its home on ext4 or xfs on a dm-flakey device; the agencies and their ledger
are outside of it, and outlive it. A cut is this, in this order:

1. The agencies take no more answers. One whose first byte has not come yet is thrown away, as if it
   had been lost on the way: whatever counts as acknowledged was committed before step 2.
2. dm-flakey is switched to `drop_writes`, with `--nolockfs` and `--noflush`: a suspend without them
   would first write back all that is dirty. What the disk has at this instant is what a power cut would
   leave on it: what was written back, but nothing of what was only in memory, in the middle of commits,
   syncs and checkpoints. From here on every write and flush succeeds and goes nowhere.
3. The gateway is killed. What it may have said since step 2 is the disk's lie and not the gateway's,
   and step 1 has seen to it that nobody took it for true.
4. The file system is unmounted, which throws its memory away into nothing; the device is switched back,
   its cache dropped, and the file system mounted again, as after a boot. It replays its own journal.
5. The gateway is started, without any repair, and held to the agencies' ledger as in kill.py.

In each cut a file that was written and not synced must have lost its contents: otherwise it was no power
cut. And a gateway whose write-ahead log is not synced at a commit, which is synchronous=NORMAL, must be
found to lose what it has acknowledged.

A disk that says of its own volatile cache that it was flushed is another fault, and not tried here.
"""

import argparse
import json
import pathlib
import random
import statistics
import sys
import threading
import time

from ground import PATIENCE, Home, Tally, contextful, pause, some, until
from guest import GUEST, HERE, Guest, Image
from load import Load
from truth import Truth

EXAMPLES = """examples:
  python power.py                        8 cuts on ext4 and xfs, and the control, as in CI
  python power.py --cuts 200 --folder F  the full count; F is kept
  python power.py --accelerator kvm      faster, where KVM works

MASH_GATEWAY=target/release/mash-gateway runs another build than the debug one."""

FILE_SYSTEMS = ("ext4", "xfs")
# What the gateway acknowledges between two cuts, at least and at most.
ACKNOWLEDGED = (5, 25)
# Of synchronous=NORMAL not every cut need find something to lose: so many at most.
CONTROL_CUTS = 10
CONTROL = "control"
AT_HOME = "--home /mnt/H"


def main():
    arguments = parse()
    with contextful(arguments.folder) as folder:
        seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
        print(f"seed {seed}, folder {folder}", flush=True)
        home = Home(folder, has_push=False)
        for door in ("partner_api", "enrolment"):
            home.set(door, f'"{GUEST}:{home.ports[door]}"')
        image = Image(folder, home.folder, HERE / "unsynced_wal.c")
        tally = Tally()
        for number, name in enumerate((*FILE_SYSTEMS, CONTROL)):
            file_system = "ext4" if name == CONTROL else name
            with Guest(image, folder / name, file_system, home, arguments.accelerator) as guest:
                run = Run(guest, home, name, Truth(folder / name), random.Random(seed + number))
                if name == CONTROL:
                    run.find_out(tally)
                else:
                    run.cut_all((arguments.cuts + number) // len(FILE_SYSTEMS), tally)
        return tally.end()


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=int, default=8, help="how many in all [8]")
    parser.add_argument("--folder", type=pathlib.Path, help="kept [a new one, and gone afterwards]")
    parser.add_argument("--seed", type=int, help="of the moments [by chance, and printed]")
    parser.add_argument(
        "--accelerator", choices=("tcg", "kvm"), default="tcg", help="of the virtual machine [tcg]"
    )
    return parser.parse_args()


class Run:
    """A virtual machine, agencies at work with its gateway, and cuts."""

    def __init__(self, guest, home, name, truth, chance):
        self.guest = guest
        self.name = name
        self.truth = truth
        self.chance = chance
        self.load = Load(home, truth, self.watch, has_push=False)
        self.lock = threading.Lock()
        self.due = threading.Event()
        self.acknowledgements_left = 0
        self.is_dark = False
        self.discarded = 0
        self.cuts = 0
        self.starts = []
        self.load.start()

    def cut_all(self, cuts, tally):
        """Cuts so many times, lets everything that is under way arrive, and compares the ledgers."""
        while self.cuts < cuts:
            self.start()
            self.work()
            self.cut("running" if self.cuts % 2 else "frozen")
            self.hold("log verify")
        self.start()
        self.load.quiet()
        has_arrived = until(lambda: not self.truth.undelivered())
        has_ended = self.load.end()
        self.guest.must("stop")
        self.hold("store check")
        lost, twice = self.truth.reconcile(self.entries())
        print(
            f"{self.name}: {cuts} cuts, {len(self.truth.messages)} messages acknowledged, "
            f"{self.truth.replays} asked for again, {self.discarded} answers thrown away, "
            f"start: median {statistics.median(self.starts):.1f} s",
            flush=True,
        )
        few = len(self.truth.acknowledged) < cuts * ACKNOWLEDGED[0]
        for what, fault in (
            (f"{cuts} cuts, and messages acknowledged before each", "too few" if few else ""),
            ("everything acknowledged is in the log, where its receipt says", some(lost)),
            ("nothing was accepted twice", some(twice)),
            ("everything acknowledged came to its recipient", some(self.truth.undelivered())),
            ("no effect was doubled", some(self.truth.doubled())),
            ("every answer, receipt and replay was as promised", some(self.truth.faults)),
            ("acknowledged ones were asked for again", "" if self.truth.replays else "none"),
            ("the agencies' work came to its end", "" if has_arrived and has_ended else "it did not"),
        ):
            tally.check(f"{self.name}: {what}", fault)

    def find_out(self, tally):
        """The control, which must lose something that it has acknowledged."""
        lost = []
        while not lost and self.cuts < CONTROL_CUTS:
            self.start("/preload.so")
            self.work()
            self.cut("frozen")
            lost, _ = self.truth.reconcile(self.entries())
        self.load.end()
        acknowledged = len(self.truth.messages)
        print(f"{self.name}: {len(lost)} of {acknowledged} lost in {self.cuts} cuts", flush=True)
        tally.check("a log that is not synced at a commit is found out", "" if lost else "it is not")

    def start(self, preload=""):
        began = time.monotonic()
        self.guest.must(f"start {preload}")
        self.starts.append(time.monotonic() - began)
        self.is_dark = False
        self.load.up()

    def work(self):
        """Until some messages were acknowledged: to the very moment of the last of these."""
        self.guest.must(f"witness {self.cuts}")
        self.due.clear()
        self.acknowledgements_left = self.chance.randint(*ACKNOWLEDGED)
        if not self.due.wait(PATIENCE):
            raise RuntimeError(f"nothing is acknowledged\n{self.guest.must('cat /run/serve.log')}")
        if error := self.load.failed():
            raise RuntimeError("an agency's worker died") from error

    def cut(self, kind):
        self.is_dark = kind == "running"
        self.guest.must(f"cut {self.cuts} {kind}")
        self.load.down()
        if self.guest.run(f"test -s /mnt/unsynced-{self.cuts}")[0] == 0:
            raise RuntimeError("it was no power cut: what was not synced is there")
        self.cuts += 1

    def hold(self, command):
        """A command that must find nothing wrong with what the cut has left."""
        code, printed = self.guest.run(f"mash-gateway {command} {AT_HOME}")
        if code != 0:
            self.truth.fault(command, f"after cut {self.cuts}: exit {code}: {printed[-2000:]}")

    def entries(self):
        """Every entry of the log, in order, as its fields."""
        shown = json.loads(self.guest.must(f"mash-gateway log show --json {AT_HOME}"))
        return [entry["fields"] for entry in shown["entries"]]

    # Each answer comes by here when its first byte has been read.
    def watch(self, point, kind):
        if point != "partly-answered":
            return point == "answering"
        if self.is_dark:
            self.discarded += 1
            return True
        if kind[0] == "POST":
            with self.lock:
                self.acknowledgements_left -= 1
                if self.acknowledgements_left == 0:
                    self.due.set()
        return False


if __name__ == "__main__":
    sys.exit(main())
