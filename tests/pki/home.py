"""A home with invented agencies in it, its running gateway, and a tally of what was checked."""

import contextlib
import itertools
import json
import pathlib
import re
import signal
import socket
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = REPOSITORY / "target" / "debug" / "mash-gateway"
# pkilint takes no name without a dot for a DNS name, so this is not localhost.
HOST = "gateway.mash.example.org"
ADDRESS = "127.0.0.1"
# Where the certificates are to say that the authority's certificate and list are had.
PUBLISHED = f"http://{HOST}:8447"
# How long anything may take to become true, in seconds.
PATIENCE = 20

P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
P384 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-384")
ED25519 = ("ed25519",)

AGENCY = """
[[agency]]
id = "{id}"
name = "Demonstration Surgery {number}"
kind = "gp-surgery"
class = "sefton-gp-surgeries"
ods_code = "Z{number:05}"
status = "active"
statutory_basis = "Children Act 2004, section 11"
telephone = "01632 960017"
contact_officer = {{ name = "Tobiah Larkmoor", telephone = "01632 960018" }}
deputy = {{ name = "Perpetua Osgood", telephone = "01632 960019" }}
endpoints = [{{ kind = "mailbox" }}]
"""


class Tally:
    """Counts what was checked, and says what was wrong."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, what, fault):
        """Counts one check. The fault says what is wrong; nothing says that all is well."""
        if fault:
            self.failed += 1
            print(f"{what}: {fault}", flush=True)
        else:
            self.passed += 1

    def end(self):
        """Prints the last line, and gives the exit code."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


class Home:
    """A gateway's home, made in an empty folder."""

    def __init__(self, folder, min_tls=None):
        self.folder = folder / "H"
        self.certs = self.folder / "certs"
        self.issued = folder / "issued"
        self.root = self.certs / "root.pem"
        self.doors = {}
        self._process = None
        self._numbers = itertools.count(1)
        published = ["--published-url", PUBLISHED] if knows("--published-url", "init") else []
        self.run("init", "--gateway-host", HOST, ADDRESS, *published)
        settings = self.folder / "gateway.toml"
        text = settings.read_text("utf-8")
        # Every door that there is, on a port that is free now: commands look for the gateway there.
        text = re.sub(
            r'^# (\w+) = "(?:\d+\.){3}\d+:\d+"$',
            lambda door: f'{door[1]} = "{ADDRESS}:{free_port()}"',
            text,
            flags=re.MULTILINE,
        )
        if min_tls:
            text = text.replace('# min = "1.3"', f'min = "{min_tls}"')
        settings.write_text(text, "utf-8")

    def run(self, *words, fails=False):
        """Runs a command on this home, and gives what it printed."""
        done = subprocess.run(
            [BINARY, *words, "--home", self.folder], capture_output=True, text=True, check=False
        )
        if (done.returncode != 0) != fails:
            raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def add(self, agency):
        """Puts a surgery into the directory."""
        with open(self.folder / "partners.toml", "a", encoding="utf-8") as directory:
            directory.write(AGENCY.format(id=agency, number=next(self._numbers)))
        self.run("partner", "check")

    def issue(self, agency, key=P256, *more):
        """Has an agency's new key certified, and gives the certificate's and the key's file."""
        folder = self.issued / "-".join([agency, *(word.strip("-") for word in more[:1])])
        folder.mkdir(parents=True)
        request(folder / "new.csr", folder / "new.key", key, agency)
        csr = ["--csr", str(folder / "new.csr"), "--out", str(folder)]
        said = json.loads(self.run("--json", "cert", "issue", agency, *csr, *more))
        return folder / pathlib.Path(said["certificate"]).name, folder / "new.key"

    def revoke(self, agency):
        """Revokes an agency's certificates; a running gateway must confirm."""
        reason = ["--reason", "key-compromise", "--confirm", agency]
        self.run("cert", "revoke", agency, *reason)

    @contextlib.contextmanager
    def serving(self):
        """Runs the gateway meanwhile; `doors` says where it listens with TLS."""
        with (
            open(self.folder / "serve.log", "wb") as log,
            subprocess.Popen(
                [BINARY, "serve", "--home", self.folder], stdout=subprocess.PIPE, stderr=log
            ) as self._process,
        ):
            try:
                # The first line comes when it listens; none comes when it has ended.
                line = self._process.stdout.readline().decode()
                self.doors = {
                    name: address for address, name in re.findall(r"https://(\S+) \((\w+)\)", line)
                }
                if "partners" not in self.doors:
                    raise RuntimeError(f"it does not listen: {line}{self.log()}")
                yield
            finally:
                self._process.terminate()
                self._process.wait(PATIENCE)

    def reload(self):
        """Asks the gateway to take changed files into use, as an operator does."""
        self._process.send_signal(signal.SIGHUP)

    def log(self):
        """What the gateway has logged so far."""
        return (self.folder / "serve.log").read_text("utf-8")


def knows(option, *command):
    """Whether a command has an option."""
    help_text = subprocess.run([BINARY, *command, "--help"], capture_output=True, text=True)
    return option in help_text.stdout


def request(csr, key, kind, name):
    """Makes a key and a signing request with openssl."""
    made = ["-keyout", key, "-out", csr, "-subj", f"/CN={name}"]
    openssl("req", "-new", "-newkey", *kind, "-nodes", *made)


def openssl(*words, fed=None):
    """Runs openssl, which must succeed, and gives what it printed."""
    done = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, input=fed, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr}")
    return done.stdout


def free_port():
    with socket.create_server((ADDRESS, 0)) as listener:
        return listener.getsockname()[1]


def until(is_true):
    """Waits until something is true, and says whether it became so."""
    give_up = time.monotonic() + PATIENCE
    while not is_true():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True
