"""A .p12 file logs in: Debian's Chromium, with the file imported into its own key store.

Makes a home with the program given, issues PKCS#12 files to people at the hub, imports them with
NSS's pk12util, and opens /v1/whoami in a headless Chromium. Which certificate a browser offers is for the
person at it to choose; a managed policy chooses here, as on managed machines. The policy is a file
that only root may write; it is taken away again. Usage: python3 log_in.py PROGRAM
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

POLICIES = pathlib.Path("/etc/chromium/policies/managed")
HUB = "sefton-mash"
SECONDS_MAX = 90
results = {"passed": 0, "failed": 0}


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        gateway = Gateway(program, folder)
        with gateway.serving(), policy(gateway.port):
            try_all(gateway, folder)
    print(f"{results['passed']} passed, {results['failed']} failed")
    return 1 if results["failed"] else 0


def try_all(gateway, folder):
    gateway.issue("modern", "Zoë O'Brien", "mash-health-representative")
    gateway.issue("legacy-3des", "J. Smith", "mash-operational-lead")

    nobody = Person(folder / "nobody", gateway)
    page = nobody.open()
    check("without a certificate nothing is shown", HUB not in page, page)
    check("and the log says why", "certificate-missing" in gateway.reasons(), gateway.reasons())

    wrong = Person(folder / "wrong", gateway)
    check("a wrong password opens no file", not wrong.imports("modern", password="not it"), "")

    for format, role in (
        ("modern", "mash-health-representative"),
        ("legacy-3des", "mash-operational-lead"),
    ):
        person = Person(folder / format, gateway)
        check(f"NSS reads the {format} file", person.imports(format), "")
        shown = said(person.open())
        check(f"a {format} file logs in", shown.get("agency") == HUB, shown)
        check(f"as the desk it is for ({format})", shown.get("desk") == role, shown)
        if format == "modern":
            modern, serial = person, shown.get("certificate", {}).get("serial", "")

    groups = gateway.key_exchanges()
    is_hybrid = set(groups) == {"X25519MLKEM768"}
    check("keys are agreed with X25519MLKEM768 and nothing else", is_hybrid, groups)

    gateway.run("cert", "revoke", "--serial", serial, "--reason", "superseded", "--confirm", HUB)
    page = modern.open()
    check("once revoked it is worth nothing", HUB not in page, page)
    check("and the log says so", "certificate-revoked" in gateway.reasons(), gateway.reasons())


class Gateway:
    """A home of its own, and the gateway that runs in it."""

    def __init__(self, program, folder):
        self.program, self.folder, self.home = program, folder, folder / "home"
        self.run("init", "--gateway-host", "localhost")
        settings = self.home / "gateway.toml"
        text = settings.read_text()
        for name, default in (
            ("partner_api", "0.0.0.0:8443"),
            ("desk", "0.0.0.0:8444"),
            ("enrolment", "0.0.0.0:8445"),
            ("local", "127.0.0.1:8446"),
        ):
            line = f'# {name} = "{default}"'
            if line not in text:
                sys.exit(f"gateway.toml has no line {line}")
            text = text.replace(line, f'{name} = "127.0.0.1:0"')
        settings.write_text(text)

    def run(self, *arguments):
        command = [self.program, *arguments, "--home", self.home]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{arguments}: {done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def serving(self):
        log = open(self.folder / "gateway.log", "w")
        command = [self.program, "serve", "--home", self.home]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = process.stdout.readline()
            found = re.search(r":(\d+) \(partners\).*(http://[\d.:]+) \(local\)", line)
            if not found:
                sys.exit(f"the gateway did not start: {(self.folder / 'gateway.log').read_text()}")
            self.port, self.local = int(found[1]), found[2]
            # So that commands which tell the running gateway find it.
            settings = self.home / "gateway.toml"
            local = self.local.removeprefix("http://")
            settings.write_text(
                re.sub(r"(?m)^local = .*$", f'local = "{local}"', settings.read_text())
            )
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS_MAX)

    def issue(self, format, name, role):
        self.run(
            "cert", "issue", HUB, "--p12", f"{format}.p12", "--password-file", f"{format}.txt",
            "--format", format, "--desk", name, "--role", role, "--out", "handed-out",
        )

    def reasons(self):
        entries = json.loads(self.run("log", "show", "--json"))["entries"]
        return [entry["fields"].get("reason") for entry in entries]

    def key_exchanges(self):
        with urllib.request.urlopen(f"{self.local}/metrics", timeout=SECONDS_MAX) as metrics:
            text = metrics.read().decode()
        return dict(re.findall(r'key_exchanges_total\{group="([^"]+)"\} (\d+)', text))


class Person:
    """Someone at a browser: a home folder with a key store that trusts the gateway's root."""

    def __init__(self, home, gateway):
        self.home, self.gateway = home, gateway
        self.store = home / ".pki" / "nssdb"
        self.store.mkdir(parents=True)
        self.nss("certutil", "-N", "--empty-password")
        root = gateway.folder / "handed-out" / "ca.pem"
        self.nss("certutil", "-A", "-n", "root", "-t", "C,,", "-i", root)

    def nss(self, tool, *arguments):
        command = [tool, "-d", f"sql:{self.store}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
        if done.returncode and tool == "certutil":
            sys.exit(f"{command}: {done.stderr}")
        return done.returncode == 0

    def imports(self, format, password=None):
        words = self.gateway.folder / f"{format}.txt"
        password = password or words.read_text().strip()
        file = self.home / "password"
        file.write_text(password)
        p12 = self.gateway.folder / f"{format}.p12"
        return self.nss("pk12util", "-i", p12, "-w", file, "-K", "")

    def open(self):
        """What the page holds, as the browser understood it."""
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--dump-dom",
            f"--user-data-dir={self.home / 'profile'}",
            f"https://localhost:{self.gateway.port}/v1/whoami",
        ]
        done = subprocess.run(
            command, env={**os.environ, "HOME": str(self.home)}, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, timeout=SECONDS_MAX,
        )
        return done.stdout


@contextlib.contextmanager
def policy(port):
    """While this lasts, Chromium offers what certificate it has to this port without asking."""
    choice = json.dumps({"pattern": f"https://localhost:{port}", "filter": {}})
    text = json.dumps({"AutoSelectCertificateForUrls": [choice]})
    file = POLICIES / f"mash-gateway-test-{os.getpid()}.json"
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    made = [folder for folder in (POLICIES, POLICIES.parent) if not folder.exists()]
    subprocess.run([*as_root, "mkdir", "-p", POLICIES], check=True)
    write = [*as_root, "tee", file]
    subprocess.run(write, input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run([*as_root, "rm", "-f", file], check=True)
        for folder in made:
            subprocess.run([*as_root, "rmdir", "--ignore-fail-on-non-empty", folder], check=True)


def said(page):
    """The JSON that the browser shows, or nothing."""
    found = re.search(r"\{.*\}", page, re.DOTALL)
    try:
        return json.loads(found[0]) if found else {}
    except json.JSONDecodeError:
        return {}


def check(what, holds, otherwise):
    results["passed" if holds else "failed"] += 1
    print(f"{'ok  ' if holds else 'FAIL'} {what}" + ("" if holds else f": {otherwise}"), flush=True)


if __name__ == "__main__":
    for tool in ("chromium", "certutil", "pk12util"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    sys.exit(main())
