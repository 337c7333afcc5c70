"""Power cuts under load: what was acknowledged is on the disk, and not only in memory.

kill -9 leaves the page cache whole, so a store that never syncs passes it. Here the gateway runs in a
virtual machine (guest.py) with its home on ext4 or xfs, on a dm-flakey device. The agencies and their
ledger are outside the machine. A cut is this, in this order (`cut` in guest_init.sh):

1. No acknowledgement that is given from here on counts, for the disk may already lie. There are two kinds
   of cut, by turns. "frozen": as soon as an acknowledgement has arrived the gateway is stopped (SIGSTOP), so
   that it says nothing more; every one that the agencies have counts, to the last. "running": it works
   on, and the agencies throw away each answer that begins to arrive later, as if it had been lost on the
   way; so the disk stops in the midst of writes and syncs.
2. dm-flakey is switched to `drop_writes`, by a suspend with --nolockfs: without that the file system
   would first write back all it has in memory. What the disk has now is what a power cut leaves.
   Every later write and flush succeeds and goes nowhere.
3. The gateway is killed, and the file system unmounted: what it writes then is dropped, and its memory is
   gone. The device is switched back, its cache dropped, and the file system mounted again, which replays
   its own journal as after any power cut.
4. The gateway is started, without any repair, and held to the agencies' ledger as in kill.py.

Each cut has a witness: a file that was written just before and not synced must be without its contents
after it. And there is a control: a gateway that does not sync its write-ahead log (unsynced_wal.c), as
with synchronous=NORMAL, must be found to lose what it has acknowledged.

That a disk itself says it is flushed when it is not is another fault. No software can do anything about
that one, and it is not tried here.
"""

import argparse
import json
import pathlib
import random
import statistics
import sys
import threading
import time

from ground import Home, Tally, contextful, some, until
from guest import GUEST, GUEST_PATIENCE, HERE, Guest, Image
from load import Load
from truth import Truth

EXAMPLES = """examples:
  python power.py                        8 cuts on ext4 and xfs, and the control, as in CI
  python power.py --cuts 200 --folder F  the full count; F is kept
  python power.py --accelerator kvm      faster, where KVM works

MASH_GATEWAY=target/release/mash-gateway runs another build than the debug one."""

FILE_SYSTEMS = ("ext4", "xfs")
# What the gateway acknowledges before a cut, at least and at most.
ACKNOWLEDGED = (3, 15)
# A checkpoint makes up for a sync that was left out, several times a second: not every cut comes between.
CONTROL_CUTS = 10
CONTROL = "control"
AT_HOME = "--home /mnt/H"


def main():
    arguments = parse()
    with contextful(arguments.folder) as folder:
        if any(folder.iterdir()):
            sys.exit(f"{folder} is not empty: each run begins with a new disk")
        seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
        print(f"seed {seed}, folder {folder}", flush=True)
        home = Home(folder, has_push=False)
        for door in ("partner_api", "desk", "enrolment"):
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
        self.is_due = False
        self.due = threading.Event()
        self.is_dark = False
        self.discarded = 0
        self.cuts = 0
        self.survived = []
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
        has_arrived = until(lambda: not self.truth.undelivered(), GUEST_PATIENCE)
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
        for what, fault in (
            (f"{cuts} cuts dropped what was not synced", some(self.survived)),
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
        """The control: a gateway that does not sync must lose something that it has acknowledged."""
        lost = []
        while not lost and self.cuts < CONTROL_CUTS:
            # It would tell at the start; here it is the agencies' ledger that has to find it out.
            self.guest.must("rm -f /mnt/H/keys/log-anchor.txt")
            self.start("/preload.so")
            self.work()
            self.cut("frozen")
            lost, _ = self.truth.reconcile(self.entries())
        self.load.end()
        acknowledged = len(self.truth.messages)
        print(f"{self.name}: {len(lost)} of {acknowledged} lost at cut {self.cuts}", flush=True)
        tally.check("a log that is not synced at a commit is found out", "" if lost else "it is not")

    def start(self, preload=""):
        """Starts the gateway as it is, and lets the agencies work."""
        began = time.monotonic()
        self.guest.must(f"start {preload}")
        self.starts.append(time.monotonic() - began)
        self.is_dark = False
        self.load.up()

    def work(self):
        """Lets the agencies work until some messages were acknowledged, to the moment of the last."""
        enough = len(self.truth.acknowledged) + self.chance.randint(*ACKNOWLEDGED)
        self.due.clear()
        has_worked = until(lambda: len(self.truth.acknowledged) >= enough, GUEST_PATIENCE)
        self.is_due = True
        if not has_worked or not self.due.wait(GUEST_PATIENCE):
            raise RuntimeError(f"nothing is acknowledged\n{self.guest.must('tail -n 20 /run/serve.log')}")
        if error := self.load.failed():
            raise RuntimeError("an agency's worker died") from error

    def cut(self, kind):
        """Cuts the power, in a way that is `frozen` or `running`, and brings it back."""
        self.is_dark = kind == "running"
        self.guest.must(f"cut {self.cuts} {kind}")
        self.load.down()
        if self.guest.run(f"test -s /mnt/unsynced-{self.cuts}")[0] == 0:
            self.survived.append(self.cuts)
        self.cuts += 1
        acknowledged = len(self.truth.messages)
        print(f"{self.name}: cut {self.cuts}, {kind}, {acknowledged} acknowledged", flush=True)

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
        if self.is_due and kind[0] == "POST":
            self.is_due = False
            self.due.set()
        return False


if __name__ == "__main__":
    sys.exit(main())
