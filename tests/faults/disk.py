"""A disk that is full, that fails, that can only be read; under load, and put right under load.

Agencies send, collect and save over mutual TLS while it happens. Nothing may be acknowledged that is
not kept, the gateway says in /readyz what is wrong, and it goes on by itself when the disk does. Then
the agencies' own ledger is held to the gateway's.

Needs root: the disk is a tmpfs of its own. libfiu (Debian's fiu-utils) makes system calls fail.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid

import case
from ground import POLICE, SURGERY, Gateway, Tally, local, until
from trial import Trial, parse, run, try_all

EXAMPLES = """examples:
  python disk.py                         every case
  python disk.py full no-reserve         these
  python disk.py --seconds 60 sync       longer
  python disk.py --control stale         must find messages lost

MASH_GATEWAY=target/release/mash-gateway runs another build than the debug one."""

MIB = 1 << 20
# What the gateway is told to keep free, and the size of its disk, in MiB.
KEPT_MIB, DISK_MIB = 64, 320
# How libfiu names what SQLite calls, and how often it fails.
FAILING = {
    "sync": ("posix/io/sync/fsync", 0.05),
    "write": ("posix/io/rw/pwrite", 0.02),
    "read": ("posix/io/rw/pread", 0.1),
}
EIO = 5


def main():
    arguments = parse(__doc__, EXAMPLES, CASES, "stale", (2, "under each fault"))
    tally = Tally()
    if not can_mount():
        tally.check("a disk of its own", "mount is not permitted here: nothing was tried")
        return tally.end()
    return try_all(tally, CASES, stale, arguments)


class DiskTrial(Trial):
    """A trial with the database on a disk of its own."""

    def __init__(self, tally, name, is_failing=False, kept_mib=KEPT_MIB):
        kept = (("free_bytes_min", kept_mib * MIB),)
        self._control = pathlib.Path(tempfile.mkdtemp())
        wrapper = ("fiu-run", "-x", "-f", self._control / "fiu") if is_failing else ()
        super().__init__(tally, name, settings=kept, wrapper=wrapper)
        self.disk = self.home.database.parent
        self._mount()

    def __exit__(self, *exception):
        if self.gateway.is_running():
            self.gateway.kill()
        # The issuer has its socket there; it ends with the gateway.
        until(lambda: not subprocess.run(["umount", self.disk], check=False).returncode)
        shutil.rmtree(self._control)
        super().__exit__(*exception)

    def fill(self, leave_mib):
        """Another program's file takes the disk but for so much."""
        with open(self.disk / "another-programs.file", "ab") as file:
            while (room := self.free() - leave_mib * MIB) > 0:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, min(room, MIB))
                except OSError:
                    break

    def empty(self):
        """The other program's file is gone."""
        (self.disk / "another-programs.file").unlink()

    def free(self):
        """What is free, in bytes."""
        disk = os.statvfs(self.disk)
        return disk.f_bavail * disk.f_frsize

    def fail(self, *points):
        """Makes system calls fail from now on: each a name, how often of one, and the error."""
        self._tell(
            f"enable_random name={name},probability={chance},failinfo={error}"
            for name, chance, error in points
        )

    def mend(self, *points):
        """They do no longer."""
        self._tell(f"disable name={name}" for name, *_ in points)

    def collect(self):
        """Collects what waits longest for the surgery and says that it is saved; gives what is wrong.

        The surgery's own program is held up by an answer that is refused.
        """
        line = self.load.line(SURGERY)
        waiting = line.ask("GET", "/v1/inbox?limit=50").json()["messages"]
        if not waiting:
            return "nothing waits"
        path = f"/v1/messages/{waiting[-1]['id']}"
        collected, saved = line.ask("GET", path), line.ask("POST", f"{path}/saved", b"{}")
        line.close()
        if (collected.status, saved.status) != (200, 200):
            return f"{collected.status}, {saved.status}"
        document = collected.json()
        self.truth.collect(document["id"])
        self.truth.take(SURGERY, document["id"], case.mark_in(document))
        self.truth.save(document["id"])
        return ""

    def is_revocation_missed(self, agency, serial):
        """Whether a certificate could not be revoked, tried as soon as a message finds no room."""
        refused = self.refused(507)
        until(lambda: self.refused(507) > refused)
        done, entries = self.revoke(agency, serial)
        return done.returncode != 0 and not entries

    def revoke(self, agency, serial):
        """Revokes a certificate: how the command ended, and how often the log says it now."""
        before = self.revocations()
        words = ("--reason", "key-compromise", "--confirm", agency)
        done = self.home.attempt("cert", "revoke", "--serial", serial, *words)
        return done, self.revocations() - before

    def revocations(self):
        return sum(entry["event"] == "certificate-revoked" for entry in self.home.entries())

    def _mount(self):
        kept = self.folder / "kept"
        self.disk.rename(kept)
        self.disk.mkdir(mode=0o700)
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "tmpfs", self.disk)
        shutil.copytree(kept, self.disk, dirs_exist_ok=True)
        shutil.rmtree(kept)

    def _tell(self, commands):
        words = [word for command in commands for word in ("-c", command)]
        run("fiu-ctrl", "-f", self._control / "fiu", *words, self.gateway.process.pid)


def full(tally, arguments):
    """The disk fills up: refused before it is full, and what must be written still is."""
    with DiskTrial(tally, "full") as trial:
        spare = trial.home.issue(POLICE, "spare")
        key = str(uuid.uuid4())
        first = trial.ask(key)
        trial.check("it is ready with all that is free", "" if trial.is_ready() else trial.ready())

        trial.fill(KEPT_MIB + 32)
        status, text = trial.ready()
        is_amber = status == 200 and "with-concerns" in text and "disk: " in text
        trial.check("little is a concern before it is too little", "" if is_amber else text)
        trial.check("it accepts still", "" if trial.work() else "it does not")

        trial.fill(KEPT_MIB - 16)
        pause(arguments.seconds)
        trial.check("new work was refused", "" if trial.refused(507) > 10 else trial.load.refusals)
        status, text = trial.ready()
        is_red = status == 503 and "nothing new is accepted" in text
        trial.check("readyz is red, and says why", "" if is_red else f"{status} {text}")
        trial.check("before the disk is full", "" if trial.free() > 32 * MIB else trial.free())
        refused = trial.ask()
        trial.check("the refusal says who can help", wrong_refusal(refused))
        again = trial.ask(key)
        is_same = again.status == 202 and again.body == first.body
        trial.check("what was accepted has its receipt", "" if is_same else again.body)
        pushed = until(lambda: not trial.undelivered(POLICE))
        trial.check("what was accepted is pushed", "" if pushed else "it is not")
        trial.check("and collected, and saved", trial.collect())
        trial.load.quiet()
        failed = trial.logged("the batch was not written")
        trial.check("no commit ever failed", f"{failed} did" if failed else "")
        _, metrics = local(trial.home.ports["local"], "/metrics")
        free = int(re.search(r"^mash_gateway_store_free_bytes (\d+)$", metrics, re.M)[1])
        trial.check("the metric has what is free", "" if free == trial.free() else f"{free}")
        found = trial.home.attempt("doctor", "--quick").stdout
        trial.check("doctor says the same", "" if re.search(r"ACT +disk ", found) else found)

        trial.fill(0)
        trial.check("nothing at all is free", f"{trial.free()}" if trial.free() else "")
        done, entries = trial.revoke(POLICE, spare)
        is_revoked = done.returncode == 0 and entries == 1
        trial.check("a certificate can be revoked", "" if is_revoked else done.stdout + done.stderr)

        trial.empty()
        trial.load.resume()
        trial.check("room again: it accepts", "" if trial.work() else "it does not")
        trial.check("and is ready", "" if trial.is_ready() else trial.ready())
        trial.conclude()


def no_reserve(tally, arguments):
    """Nothing is kept free: the commit itself finds no room. Also the control of `full`."""
    with DiskTrial(tally, "no-reserve", kept_mib=0) as trial:
        spares = [trial.home.issue(POLICE, f"spare-{number}") for number in range(8)]
        trial.fill(0)
        until(lambda: trial.refused(507) > 10)
        pause(arguments.seconds)
        failed = trial.logged("the batch was not written")
        trial.check("commits found no room", "" if failed else "none did")
        trial.check("and were answered 507", "" if trial.refused(507) > 10 else trial.load.refusals)
        # One may fit into what the write-ahead log has from before; not all of them.
        is_missed = any(trial.is_revocation_missed(POLICE, spare) for spare in spares)
        trial.check("without a reserve a revocation fails", "" if is_missed else "none does")
        before = len(trial.truth.messages)
        trial.empty()
        is_back = until(lambda: len(trial.truth.messages) > before + 20)
        trial.check("room again: it accepts", "" if is_back else "it does not")
        trial.check("and is ready", "" if until(trial.is_ready) else trial.ready())
        trial.conclude()


def failing(kind):
    """Some of the system calls of one kind fail."""

    def one(tally, arguments):
        name, chance = FAILING[kind]
        with DiskTrial(tally, kind, is_failing=True) as trial:
            point = (name, chance, EIO)
            trial.fail(point)
            has_fired = until(lambda: trial.refused(503) >= 5)
            pause(arguments.seconds)
            trial.mend(point)
            trial.check("whoever asked was told", "" if has_fired else trial.load.refusals)
            # What is read is mostly in memory, where the writer has it.
            has_failed = kind == "read" or trial.logged("the disk failed")
            trial.check("the database was closed", "" if has_failed else "it was not")
            opened = until(lambda: kind == "read" or trial.logged("was opened again"))
            trial.check("and opened anew", "" if opened else "it was not")
            trial.check("it accepts again", "" if trial.work() else "it does not")
            trial.check("and is ready", "" if until(trial.is_ready) else trial.ready())
            trial.conclude()

    return one


def read_only(tally, arguments):
    """The disk fails for good and is mounted read-only, as ext4 does it; then it can be written to."""
    with DiskTrial(tally, "read-only", is_failing=True) as trial:
        points = [(FAILING[kind][0], 1, EIO) for kind in ("sync", "write")]
        trial.fail(*points)
        # It cannot be, as long as anybody has a file there open to write.
        mounted = until(lambda: not remount(trial.disk, "ro"))
        trial.check("the disk is read-only", "" if mounted else "it is not")
        trial.mend(*points)
        # What others hear of now may have been answered before.
        answers = [trial.ask().status]
        pause(arguments.seconds)
        answers += [trial.ask().status for _ in range(5)]
        trial.check("nothing is accepted", "" if set(answers) == {503} else answers)
        status, text = trial.ready()
        trial.check("readyz is red", "" if status == 503 and '"reason"' in text else text)
        run("mount", "-o", "remount,rw", trial.disk)
        trial.check("it accepts again", "" if trial.work() else "it does not")
        trial.check("and is ready", "" if until(trial.is_ready) else trial.ready())
        trial.conclude()


def start(tally, arguments):
    """What it finds when it starts: a disk that cannot be written to, and one that fails."""
    with DiskTrial(tally, "start", is_failing=True) as trial:
        trial.load.down()
        trial.gateway.stop()
        remount(trial.disk, "ro")
        trial.check("a read-only disk: it says so and ends", start_fault(trial.home))
        remount(trial.disk, "rw")
        for kind, (name, _) in FAILING.items():
            failing = f"enable name={name},failinfo={EIO}"
            fault = start_fault(trial.home, ("fiu-run", "-x", "-c", failing))
            trial.check(f"an error in each {kind}: it says so and ends", fault)
        trial.gateway.start()
        trial.load.up()
        trial.check("then it starts and accepts", "" if trial.work() else "it does not")
        trial.conclude(restarts=1)


def stale(tally, arguments):
    """The control: a disk that comes back as it was some time ago has to be found out."""
    with DiskTrial(tally, "stale") as trial:
        trial.load.down()
        trial.gateway.stop()
        # The database and what is beside it: together they are what it was.
        earlier = {path.name: path.read_bytes() for path in trial.disk.glob("gateway.db*")}
        trial.gateway.start()
        trial.load.up()
        trial.work()
        trial.load.down()
        trial.gateway.stop()
        for path in trial.disk.glob("gateway.db*"):
            path.unlink()
        for name, content in earlier.items():
            (trial.disk / name).write_bytes(content)
        lost, _ = trial.truth.reconcile(trial.home.entries())
    tally.check("a disk that went stale is found out", "" if lost else "it is not")


CASES = {
    "full": full,
    "no-reserve": no_reserve,
    "sync": failing("sync"),
    "write": failing("write"),
    "read": failing("read"),
    "read-only": read_only,
    "start": start,
}


def wrong_refusal(answer):
    """What is not as it should be in the answer of a gateway without room."""
    problem = answer.json()
    is_right = (
        answer.status == 507
        and problem["type"] == "urn:mash:problem:storage-full"
        and problem["resolver"] == "the gateway's operator"
        and "receipt" not in problem
        and int(answer.headers["retry-after"]) > 0
    )
    return "" if is_right else f"{answer.status} {problem}"


def start_fault(home, wrapper=()):
    """What is not as it should be when a gateway cannot start."""
    gateway = Gateway(home, wrapper=wrapper)
    gateway.spawn()
    line = gateway.process.stdout.readline()
    if b"Listening" in line:
        gateway.kill()
        return "it listens"
    code, said = gateway.reap(), gateway.log()
    if code != 1 or "panicked" in said or "error: " not in said:
        return f"exit {code}\n{said}"
    return ""


def remount(disk, how):
    return subprocess.run(
        ["mount", "-o", f"remount,{how}", disk], capture_output=True, check=False
    ).returncode


def can_mount():
    with tempfile.TemporaryDirectory() as folder:
        words = ["mount", "-t", "tmpfs", "tmpfs", folder]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            return False
        run("umount", folder)
        return True


def pause(seconds):
    """Lets so much time pass under a fault."""
    threading.Event().wait(seconds)


if __name__ == "__main__":
    sys.exit(main())
