"""What every outside judge stands on: the ground of the fault tests, and a gateway to be judged."""

import asyncio
import contextlib
import pathlib
import re
import socket
import ssl
import sys
import tempfile
import threading
import uuid

# One place makes homes and starts gateways, for the fault tests and for these.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "faults"))

import case  # noqa: E402, F401
from ground import (  # noqa: E402, F401
    ADDRESS,
    HOST,
    HUB,
    PATIENCE,
    POLICE,
    SURGERY,
    Gateway,
    Home,
    Line,
    Refused,
    Tally,
    free_port,
    local,
    until,
)


class Judged:
    """A gateway in a folder of its own, where every agency has a mailbox."""

    def __init__(self, folder, settings):
        self.folder = folder
        self.home = Home(folder, settings, has_push=False)
        self.gateway = Gateway(self.home)
        self.partners = self.home.ports["partner_api"]
        self.enrolment = self.home.ports["enrolment"]

    def connect(self, agency, protocol, timeout):
        """An agency's connection to the partner door, which speaks this protocol: a TLS socket."""
        context = self.home.credentials(agency)
        context.set_alpn_protocols([protocol])
        raw = socket.create_connection((ADDRESS, self.partners), timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(raw, server_hostname=HOST)

    def metric(self, line):
        """The value of a metric's line, with its labels; nought when there is none."""
        _, text = local(self.home.ports["local"], "/metrics")
        found = re.search(rf"^{re.escape(line)} (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0


def anybody(judged):
    """Somebody without a certificate at the enrolment door."""
    return Line(judged.enrolment, ssl.create_default_context(cafile=judged.home.root))


def new_key():
    """An idempotency key that nothing was sent with."""
    return str(uuid.uuid4())


@contextlib.contextmanager
def judged(settings=()):
    """Runs a gateway with these settings meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        judged = Judged(pathlib.Path(folder), settings)
        judged.gateway.start()
        try:
            yield judged
        finally:
            if judged.gateway.is_running():
                judged.gateway.stop()


def ended_well(judged):
    """Stops the gateway; the fault, if it did not end in order or its log does not verify."""
    code = judged.gateway.stop()
    if code != 0:
        return f"exit {code}: {judged.gateway.log()}"
    verified = judged.home.attempt("log", "verify")
    return verified.returncode != 0 and verified.stdout + verified.stderr


@contextlib.contextmanager
def relay(judged, agency, protocol):
    """A plain port in front of the partner door, for tools that cannot show a certificate."""
    context = judged.home.credentials(agency)
    context.set_alpn_protocols([protocol])
    loop = asyncio.new_event_loop()

    async def carry(reader, writer):
        with contextlib.suppress(OSError):
            answers, requests = await asyncio.open_connection(
                ADDRESS, judged.partners, ssl=context, server_hostname=HOST
            )
            there = loop.create_task(pump(reader, requests))
            back = loop.create_task(pump(answers, writer))
            # When one side has ended, so has the other.
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            there.cancel(), back.cancel()
            requests.close()
        writer.close()

    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while some := await reader.read(65536):
                writer.write(some)
                await writer.drain()

    server = loop.run_until_complete(asyncio.start_server(carry, ADDRESS, 0, backlog=1024))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
