"""What every fault test stands on: a home, its gateway, agencies that talk to it over mutual TLS, an
endpoint that it pushes to, and a tally.

Run as an agency would see it: nothing here knows the gateway from inside.
"""

import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HOST = "localhost"
ADDRESS = "127.0.0.1"
# How long anything may take to become true, in seconds.
PATIENCE = 60

HUB, POLICE, SURGERY = "test-mash", "test-police", "test-surgery"

AGENCY = """
[[agency]]
id = "{id}"
name = "Test {id}"
kind = "{kind}"
status = "active"
statutory_basis = "invented"
telephone = "01632 960100"
contact_officer = {{ name = "A. Officer", telephone = "01632 960101" }}
deputy = {{ name = "B. Deputy", telephone = "01632 960102" }}
{more}"""


# What an RFI on the ground of paragraph 18 needs.
POLICY = 'policy_document = { sha256 = "' + "5e" * 32 + '", review = 2099-01-01 }\n'


def binary():
    """The gateway's program: MASH_GATEWAY names another than the debug build."""
    named = os.environ.get("MASH_GATEWAY")
    return pathlib.Path(named or REPOSITORY / "target" / "debug" / "mash-gateway").resolve()


class Tally:
    """Counts what was checked, and says what was wrong."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, what, fault):
        """Counts one check. The fault says what is wrong; nothing says that all is well."""
        if fault:
            self.failed += 1
            print(f"FAILED {what}: {fault}", flush=True)
        else:
            self.passed += 1
            print(f"ok     {what}", flush=True)

    def end(self):
        """Prints the last line, and gives the exit code."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


class contextful:
    """The folder given, or one that is gone afterwards."""

    def __init__(self, folder):
        self._temporary = None if folder else tempfile.TemporaryDirectory()
        self._folder = folder or pathlib.Path(self._temporary.name)

    def __enter__(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder.resolve()

    def __exit__(self, *_):
        if self._temporary:
            self._temporary.cleanup()


class Home:
    """A gateway's home in `folder`/H: made there, or found there from an earlier run."""

    def __init__(self, folder, settings=(), has_push=True, hosts=(HOST, ADDRESS), wrapper=()):
        self.wrapper = wrapper
        self.folder = folder / "H"
        self.database = self.folder / "data" / "gateway.db"
        self.issued = folder / "issued"
        self.root = self.folder / "certs" / "root.pem"
        self._ports = folder / "ports.json"
        if self._ports.exists():
            self.ports = json.loads(self._ports.read_text("utf-8"))
            return
        self.ports = {}
        for door in ("partner_api", "desk", "enrolment", "local", "endpoint"):
            self.ports[door] = free_port(apart_from=self.ports.values())
        self.run("init", "--gateway-host", *hosts)
        if has_push:
            self.set("allow_loopback", "true")
        for name, value in settings:
            self.set(name, value)
        for door in ("partner_api", "desk", "enrolment", "local"):
            self.set(door, f'"{ADDRESS}:{self.ports[door]}"')
        mailbox = 'endpoints = [{ kind = "mailbox" }]\n'
        push = (
            f'endpoints = [{{ kind = "push", url = "https://{HOST}:{self.ports["endpoint"]}/in", '
            'ca = "certs/endpoint.pem" }, { kind = "mailbox" }]\n'
        )
        surgery = f'ods_code = "Z99999"\nclass = "test-surgeries"\n{mailbox}'
        directory = (
            AGENCY.format(id=HUB, kind="hub", more=mailbox + POLICY)
            + AGENCY.format(id=POLICE, kind="police", more=push if has_push else mailbox)
            + AGENCY.format(id=SURGERY, kind="gp-surgery", more=surgery)
            + '\n[[agency]]\nid = "test-surgeries"\nname = "Test surgeries"\n'
            'kind = "gp-surgery-class"\nstatus = "active"\nstatutory_basis = "invented"\n'
        )
        (self.folder / "partners.toml").write_text(directory, "utf-8")
        self._certify_endpoint()
        self.run("partner", "check")
        for agency in (HUB, POLICE, SURGERY):
            self.issue(agency, agency)
        self._ports.write_text(json.dumps(self.ports), "utf-8")

    def run(self, *words, fails=False):
        """Runs a command on this home, and gives what it printed."""
        done = self.attempt(*words)
        if (done.returncode != 0) != fails:
            raise RuntimeError(
                f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def attempt(self, *words):
        """Runs a command on this home, which may fail."""
        return subprocess.run(
            [*self.wrapper, binary(), *words, "--home", self.folder],
            capture_output=True,
            text=True,
            check=False,
        )

    def set(self, name, value):
        """Gives a setting a value, in its place in gateway.toml."""
        path = self.folder / "gateway.toml"
        text, found = re.subn(
            rf"^(# )?{name} = .*$", f"{name} = {value}", path.read_text("utf-8"), flags=re.MULTILINE
        )
        if found != 1:
            raise RuntimeError(f"{found} settings are called {name}")
        path.write_text(text, "utf-8")

    def credentials(self, agency):
        """An agency's side of a TLS connection to the gateway."""
        context = ssl.create_default_context(cafile=self.root)
        certificate, key = self.issued / agency / "chain.pem", self.issued / agency / "new.key"
        context.load_cert_chain(certificate, key)
        return context

    def entries(self):
        """Every entry of the log, in order, as its fields."""
        shown = json.loads(self.run("log", "show", "--json"))
        return [entry["fields"] for entry in shown["entries"]]

    def issue(self, agency, name):
        """A certificate for an agency, in a folder of this name; gives its serial."""
        folder = self.issued / name
        folder.mkdir(parents=True)
        self._openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", folder / "new.key", "-out", folder / "new.csr", "-subj", f"/CN={agency}"),
        )
        csr = ["--csr", folder / "new.csr", "--out", folder]
        said = json.loads(self.run("--json", "cert", "issue", agency, *csr))
        (folder / pathlib.Path(said["certificate"]).name).rename(folder / "chain.pem")
        return said["serial"]

    # The endpoint's operator has an authority of its own.
    def _certify_endpoint(self):
        folder = self.issued / "endpoint"
        folder.mkdir(parents=True)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650")
        ca, ca_key = folder / "ca.pem", folder / "ca.key"
        self._openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-subj", "/CN=Endpoints")
        self._openssl(
            *("req", "-x509", *curve, "-CA", ca, "-CAkey", ca_key, "-subj", "/CN=endpoint"),
            *("-keyout", folder / "new.key", "-out", folder / "chain.pem"),
            *("-addext", f"subjectAltName=DNS:{HOST}", "-addext", "extendedKeyUsage=serverAuth"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
        (self.folder / "certs" / "endpoint.pem").write_bytes(ca.read_bytes())

    def _openssl(self, *words):
        done = subprocess.run(
            [*self.wrapper, "openssl", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"openssl {words[0]}: {done.stderr}")


class Gateway:
    """The gateway of a home: started, killed, started again."""

    def __init__(self, home, environment=None, wrapper=()):
        self.home = home
        self.process = None
        self.starts = 0
        self._environment = {**os.environ, **(environment or {})}
        self._wrapper = wrapper
        self._log = home.folder.parent / "serve.log"

    def spawn(self):
        """Starts it, and does not wait until it listens."""
        self.starts += 1
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [*self._wrapper, binary(), "serve", "--home", self.home.folder],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        return self

    def wait_until_it_listens(self):
        """Its first line says that it does; none comes when it has ended."""
        line = self.process.stdout.readline()
        if b"Listening" not in line:
            self.process.wait()
            raise RuntimeError(f"it does not listen, exit {self.process.returncode}\n{self.log()}")

    def start(self):
        """Starts it, and gives how long that took, in seconds."""
        began = time.monotonic()
        self.spawn().wait_until_it_listens()
        return time.monotonic() - began

    def kill(self):
        """kill -9, and whether that is what it died of."""
        self.signal(signal.SIGKILL)
        return self.reap() == -signal.SIGKILL

    def stop(self):
        """Stops it in order, and gives its exit code."""
        self.signal(signal.SIGTERM)
        return self.reap()

    def signal(self, number):
        """Sends the gateway itself a signal, and none of its children."""
        # Until it was waited for, its number is nobody else's.
        if self.process.returncode is None:
            os.kill(self.process.pid, number)

    def reap(self):
        """Waits for its end, and gives its exit code."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"it does not end\n{self.threads()}\n{self.log()}") from error
        self.process.stdout.close()
        return code

    def threads(self):
        """Each of its threads: the name, and in what the kernel has it wait."""
        tasks = sorted(pathlib.Path(f"/proc/{self.process.pid}/task").iterdir())
        facts = [[(task / fact).read_text().strip() for fact in ("comm", "wchan", "syscall")] for task in tasks]
        return "\n".join(" ".join(fact) for fact in facts)

    def is_running(self):
        """Whether it has not ended."""
        return self.process is not None and self.process.poll() is None

    def log(self):
        """The end of what it has logged."""
        return self.whole_log()[-4000:]

    def whole_log(self):
        """All that it has logged."""
        return self._log.read_text("utf-8", "replace")

    def ready(self):
        """The status and the body of /readyz."""
        return local(self.home.ports["local"], "/readyz")


class Refused(Exception):
    """There was no whole answer: whether the request was carried out is not known."""


class Answer:
    """An HTTP answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


class Line:
    """One agency's connection to the gateway, made when it is first needed and after each break.

    `watch` is told when a request has been sent, and before and after an answer is read.
    """

    def __init__(self, port, context, watch=None, timeout=PATIENCE):
        self._port = port
        self._context = context
        self._watch = watch
        self._timeout = timeout
        self._socket = None

    def ask(self, method, path, body=None, key=None):
        """Sends one request and gives its answer; Refused when there is none."""
        try:
            return self._ask(method, path, body, key)
        except (OSError, ValueError) as error:
            self.close()
            raise Refused(str(error)) from error

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, method, path, body, key):
        if self._socket is None:
            raw = socket.create_connection((ADDRESS, self._port), self._timeout)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = self._context.wrap_socket(raw, server_hostname=HOST)
        head = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{self._port}"]
        if key is not None:
            head.append(f"Idempotency-Key: {key}")
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self._socket.sendall("\r\n".join([*head, "", ""]).encode() + (body or b""))
        kind = (method, path)
        if self._watch is not None:
            self._watch("sent", kind)
        taken = b""
        if self._watch is not None and (few := self._watch("answering", kind)):
            # So much of the answer is read, and no more before it is dead.
            taken = self._socket.recv(few)
            if self._watch("partly-answered", kind):
                raise OSError("the gateway was killed there")
        while b"\r\n\r\n" not in taken:
            taken += self._receive()
        head, body = taken.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers["content-length"])
        while len(body) < length:
            body += self._receive()
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(status.split(" ")[1]), headers, body)

    def _receive(self):
        received = self._socket.recv(65536)
        if not received:
            raise OSError("the connection ended")
        return received


class Endpoint:
    """A push endpoint.

    `taken` is called with the document before it is answered, `answered` after that. While it is not
    `open` it takes nothing and answers nothing.
    """

    def __init__(self, home, taken, answered):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder = home.issued / "endpoint"
        self._context.load_cert_chain(folder / "chain.pem", folder / "new.key")
        self._context.load_verify_locations(home.root)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server((ADDRESS, home.ports["endpoint"]), backlog=64)
        self._taken = taken
        self._answered = answered
        self.is_open = True
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self):
        """Listens no longer, so that another can at the same port."""
        self._listener.close()

    def _listen(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # It was closed.
                return
            if not self.is_open:
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.settimeout(PATIENCE)
            with self._context.wrap_socket(connection, server_side=True) as stream:
                taken = b""
                while b"\r\n\r\n" not in taken:
                    taken += received(stream)
                head, body = taken.split(b"\r\n\r\n", 1)
                length = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)[1])
                while len(body) < length:
                    body += received(stream)
                self._taken(json.loads(body))
                stream.sendall(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
                self._answered()
        except OSError:
            # It died meanwhile, which is what this is about.
            connection.close()


def received(stream):
    """What comes next; an error when nothing does."""
    more = stream.recv(65536)
    if not more:
        raise OSError("the connection ended")
    return more


def local(port, path):
    """The status and the body of what the local door has at a path."""
    with socket.create_connection((ADDRESS, port), PATIENCE) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        taken = b""
        while more := connection.recv(65536):
            taken += more
    head, body = taken.split(b"\r\n\r\n", 1)
    return int(head.split(b" ")[1]), body.decode()


def free_port(apart_from=()):
    """A port that nobody listens on, and that no connection is given as its own while a gateway stops and
    starts again: below those that systems choose from for that (32768 on Linux, 49152 by RFC 6335)."""
    while True:
        port = random.randrange(20_000, 32_768)
        if port in apart_from:
            continue
        try:
            with socket.create_server((ADDRESS, port)):
                return port
        except OSError:
            continue


def until(is_true, patience=PATIENCE):
    """Waits until something is true, and says whether it became so."""
    give_up = time.monotonic() + patience
    while not is_true():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def pause(seconds):
    """Lets so much time pass: the moment of a kill is a time."""
    threading.Event().wait(seconds)


def some(faults):
    """The first few of them, as a fault; nothing if there are none."""
    return f"{len(faults)}: {faults[:3]}" if faults else ""
