"""Requests whose end two readers could see in different places, with another request behind each.

Over TLS sockets, by hand: no HTTP library would send them. Every one is a good message but for the
one thing, and is followed by a request for a path that is nobody else's. It must be answered once,
with the connection closed behind it over HTTP/1, and the request behind it must not be read: its
answer does not come, and the gateway neither counts nor logs one. The same message in good order is
taken, and the request behind it answered. Usage: python smuggle.py
"""

import sys
import uuid

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)
from judged import HOST, HUB, SURGERY, Tally, case, ended_well, judged, until

# How long a connection may take to be closed, in seconds. The gateway is told to wait four times
# as long for what does not come, so that none is closed for its age.
PATIENCE = 30
SETTINGS = (
    ("header_timeout_s", "120"),
    ("request_timeout_s", "120"),
    ("stall_timeout_s", "600"),
    ("refusals_logged_per_minute", "60000"),
)

# The path of the request behind, and how the gateway knows of one that it has read.
BEHIND = "/smuggled"
READ = 'mash_gateway_problems_total{problem="not-found"}'
FOLLOWER = f"GET {BEHIND} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()

MESSAGE = case.dispatch("It must be kept once, or not at all.", [SURGERY])
N = len(MESSAGE)
HALF = N // 2
NOW = "HTTP/1.1"


def chunked(*pieces, size=b"%x", end=b"\r\n"):
    """A body in these chunks, and the last one."""
    coded = [(size % len(piece)) + b"\r\n" + piece + end for piece in pieces]
    return b"".join(coded) + b"0\r\n\r\n"


CHUNKS = chunked(MESSAGE[:HALF], MESSAGE[HALF:])
LENGTH = f"Content-Length: {N}\r\n"
CODED = "Transfer-Encoding: chunked\r\n"
HOSTED = f"Host: {HOST}\r\n"


def post(framing, body, host=HOSTED, line=f"POST /v1/rfis {NOW}\r\n"):
    """The message with this framing."""
    kind = "Content-Type: application/json\r\n"
    return lambda key: f"{line}{host}{kind}Idempotency-Key: {key}\r\n{framing}\r\n".encode() + body


def head(framing):
    """The same, with a body as long as Content-Length says."""
    return post(LENGTH + framing, MESSAGE)


def length(value):
    """A Content-Length written so."""
    return post(f"Content-Length: {value}\r\n", MESSAGE)


def coding(value):
    """A Transfer-Encoding written so, and chunks."""
    return post(f"Transfer-Encoding: {value}\r\n", CHUNKS)


def raw(text, body=b""):
    """A request without a message."""
    return lambda _: text.encode("latin-1") + body


# The request behind inside what one of two readers takes for the body.
INSIDE = FOLLOWER + b"x" * 7
UNREAD = f"Connection: close\r\nContent-Length: {len(FOLLOWER)}\r\n"

# Name, request. Each is answered with 400.
DISPUTED = [
    # RFC 9112, 6.1 and 6.3: both framings.
    ("length and chunks", post(LENGTH + CODED, CHUNKS)),
    ("chunks and length", post(CODED + LENGTH, CHUNKS)),
    (
        "chunks and the length of what they hold",
        post(f"{CODED}Content-Length: {len(CHUNKS)}\r\n", CHUNKS),
    ),
    (
        "CL.TE: what is behind is in the length",
        post(f"Content-Length: {5 + len(FOLLOWER)}\r\n{CODED}", b"0\r\n\r\n"),
    ),
    ("TE.CL: what is behind is in a chunk", post(f"{CODED}Content-Length: 4\r\n", chunked(INSIDE))),
    ("chunks and a length of nought", post(f"{CODED}Content-Length: 0\r\n", CHUNKS)),
    # One length, said once, in digits.
    ("two equal lengths", post(LENGTH * 2, MESSAGE)),
    ("two lengths", post(f"{LENGTH}Content-Length: {N + len(FOLLOWER)}\r\n", MESSAGE)),
    ("two lengths, nought first", post(f"Content-Length: 0\r\n{LENGTH}", MESSAGE)),
    ("a list of equal lengths", length(f"{N}, {N}")),
    ("a list of lengths", length(f"{N}, {N + len(FOLLOWER)}")),
    ("a length with a plus", length(f"+{N}")),
    ("a length with a minus", length(f"-{N}")),
    ("a length in hexadecimal", length(f"{N:#x}")),
    ("a length with an exponent", length("1e3")),
    ("a length with a fraction", length(f"{N}.0")),
    ("a length with a space in it", length(f"{N // 10} {N % 10}")),
    ("a length with something after it", length(f"{N};x")),
    ("a length in quotes", length(f'"{N}"')),
    ("no length", length("")),
    ("a length of 2^64 and more", length(2**64 + N)),
    ("a length with a vertical tab", length(f"\x0b{N}")),
    ("a space before the colon of the length", post(f"Content-Length : {N}\r\n", MESSAGE)),
    ("a tab before the colon of the length", post(f"Content-Length\t: {N}\r\n", MESSAGE)),
    # One coding, which is chunked.
    ("chunked twice in a list", coding("chunked, chunked")),
    ("chunked twice", post(CODED * 2, CHUNKS)),
    ("chunked, then identity", coding("chunked, identity")),
    ("identity, then chunked", coding("identity, chunked")),
    ("gzip, then chunked", coding("gzip, chunked")),
    ("identity beside a length", head("Transfer-Encoding: identity\r\n")),
    ("a coding nobody knows", coding("xchunked")),
    ("chunked in quotes", coding('"chunked"')),
    ("chunked with a parameter", coding("chunked;q=1")),
    ("chunked with a vertical tab", coding("\x0bchunked")),
    ("chunked with a form feed", coding("chunked\x0c")),
    ("chunked with a NUL", coding("chunked\0")),
    ("chunked with a comma", coding("chunked,")),
    ("no coding beside a length", head("Transfer-Encoding: \r\n")),
    ("a space before the colon of the coding", post("Transfer-Encoding : chunked\r\n", CHUNKS)),
    ("a space before the name of the coding", post(" Transfer-Encoding: chunked\r\n", CHUNKS)),
    ("chunked on a folded line", post("Transfer-Encoding:\r\n chunked\r\n", CHUNKS)),
    ("chunked behind a folded line", post("X: y\r\n Transfer-Encoding: chunked\r\n", CHUNKS)),
    ("chunks in HTTP/1.0", post(CODED, CHUNKS, line="POST /v1/rfis HTTP/1.0\r\n")),
    # Lines end with CR LF, and hold neither.
    ("a bare LF after a field", head("X: y\n")),
    ("a bare LF, and the coding after it", head("X: y\nTransfer-Encoding: chunked\r\n")),
    ("a bare CR, and the coding after it", head("X: y\rTransfer-Encoding: chunked\r\n")),
    ("a bare LF after the request line", post(LENGTH, MESSAGE, line=f"POST /v1/rfis {NOW}\n")),
    ("a bare LF before the body", lambda key: head("")(key).replace(b"\r\n\r\n", b"\r\n\n", 1)),
    ("CR CR LF", head("X: y\r\r\n")),
    ("a folded line", head("X: y\r\n z\r\n")),
    ("a line folded with a tab", head("X: y\r\n\tz\r\n")),
    ("a NUL in a value", head("X: a\0b\r\n")),
    ("a NUL in a name", head("X\0: y\r\n")),
    ("a space in a name", head("X Y: z\r\n")),
    ("a field without a colon", head("X\r\n")),
    ("a field without a name", head(": y\r\n")),
    ("DEL in a value", head("X: a\x7fb\r\n")),
    # The request line.
    ("a whole URI", post(LENGTH, MESSAGE, line=f"POST https://{HOST}/v1/rfis {NOW}\r\n")),
    (
        "a whole URI of another host",
        post(LENGTH, MESSAGE, line=f"POST https://evil.example/v1/rfis {NOW}\r\n"),
    ),
    ("CONNECT", raw(f"CONNECT {HOST}:443 {NOW}\r\n{HOSTED}\r\n")),
    ("two spaces", post(LENGTH, MESSAGE, line=f"POST  /v1/rfis {NOW}\r\n")),
    ("a tab", post(LENGTH, MESSAGE, line=f"POST\t/v1/rfis {NOW}\r\n")),
    ("a space in the path", post(LENGTH, MESSAGE, line=f"POST /v1/rfis x {NOW}\r\n")),
    ("a NUL in the path", post(LENGTH, MESSAGE, line=f"POST /v1/rfis\0 {NOW}\r\n")),
    ("HTTP/1.2", post(LENGTH, MESSAGE, line="POST /v1/rfis HTTP/1.2\r\n")),
    ("HTTP/2.0 in text", post(LENGTH, MESSAGE, line="POST /v1/rfis HTTP/2.0\r\n")),
    ("http in small letters", post(LENGTH, MESSAGE, line="POST /v1/rfis http/1.1\r\n")),
    ("HTTP/0.9", raw("GET /v1/whoami\r\n")),
    ("a space before the method", post(LENGTH, MESSAGE, line=f" POST /v1/rfis {NOW}\r\n")),
    # One host, of ours.
    ("no Host", post(LENGTH, MESSAGE, host="")),
    ("two equal Hosts", post(LENGTH, MESSAGE, host=HOSTED * 2)),
    ("two Hosts", post(LENGTH, MESSAGE, host=f"{HOSTED}Host: evil.example\r\n")),
    ("another Host", post(LENGTH, MESSAGE, host="Host: evil.example\r\n")),
    ("a list of Hosts", post(LENGTH, MESSAGE, host=f"Host: {HOST}, evil.example\r\n")),
    ("a user in the Host", post(LENGTH, MESSAGE, host=f"Host: {HOST}@evil.example\r\n")),
    ("a path in the Host", post(LENGTH, MESSAGE, host=f"Host: {HOST}/x\r\n")),
    ("an empty Host", post(LENGTH, MESSAGE, host="Host: \r\n")),
    (
        "Upgrade to HTTP/2",
        head("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"),
    ),
    ("Upgrade to a WebSocket", head("Connection: Upgrade\r\nUpgrade: websocket\r\n")),
    # A chunk's size is hexadecimal digits, and its end is there.
    ("a chunk size with a space", post(CODED, chunked(MESSAGE, size=b"%x "))),
    ("a chunk size with a space before", post(CODED, chunked(MESSAGE, size=b" %x"))),
    ("a chunk size with 0x", post(CODED, chunked(MESSAGE, size=b"0x%x"))),
    ("a chunk size with a plus", post(CODED, chunked(MESSAGE, size=b"+%x"))),
    ("a chunk size with a minus", post(CODED, chunked(MESSAGE, size=b"-%x"))),
    ("a chunk size that overflows 64 bits", post(CODED, chunked(MESSAGE, size=b"1%016x"))),
    ("no chunk size", post(CODED, b"\r\n" + MESSAGE + b"\r\n0\r\n\r\n")),
    ("a chunk size with an underscore", post(CODED, chunked(MESSAGE, size=b"0_%x"))),
    ("a bare LF after a chunk size", post(CODED, CHUNKS.replace(b"\r\n", b"\n", 1))),
    ("a bare LF in a chunk extension", post(CODED, chunked(MESSAGE, size=b"%x;a=\nb"))),
    ("a bare CR in a chunk extension", post(CODED, chunked(MESSAGE, size=b"%x;a=\rb"))),
    ("a chunk longer than its size", post(CODED, chunked(MESSAGE, end=b"xx\r\n"))),
    ("a chunk without its end", post(CODED, chunked(MESSAGE, end=b""))),
    ("a bare LF after a chunk", post(CODED, chunked(MESSAGE, end=b"\n"))),
    ("a bare LF after the last chunk", post(CODED, CHUNKS[:-4] + b"\n\r\n")),
    ("a bare LF after the trailers", post(CODED, CHUNKS[:-2] + b"\n")),
    ("a bare LF in a trailer", post(CODED, CHUNKS[:-2] + b"X: y\n\r\n")),
]

# What is answered without reading its body, which is a request: name, request, status.
NOT_READ = [
    ("a GET", raw(f"GET /v1/whoami {NOW}\r\n{HOSTED}{UNREAD}\r\n", FOLLOWER), 200),
    (
        "a POST where there is none",
        raw(f"POST /v1/whoami {NOW}\r\n{HOSTED}{UNREAD}\r\n", FOLLOWER),
        405,
    ),
    (
        "a body that was to wait",
        raw(f"POST /v1/rfis {NOW}\r\n{HOSTED}Expect: 100-continue\r\n{UNREAD}\r\n", FOLLOWER),
        400,
    ),
]

# Each is taken, and what is behind it is answered.
LEGAL = [
    ("a length", head("")),
    ("a length with noughts before it", length(f"000{N}")),
    ("chunks", coding("chunked")),
    ("chunks, in capitals", coding("CHUNKED")),
    ("a chunk extension", post(CODED, chunked(MESSAGE, size=b"%x;a=b"))),
    ("chunk sizes with noughts before them", post(CODED, chunked(MESSAGE, size=b"000%X"))),
    # What frames nothing there frames nothing.
    ("a length among the trailers", post(CODED, CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n")),
    ("a coding among the trailers", post(CODED, CHUNKS[:-2] + CODED.encode() + b"\r\n")),
    ("a Host among the trailers", post(CODED, CHUNKS[:-2] + b"Host: evil.example\r\n\r\n")),
    ("a name that is nearly the coding's", head("Transfer_Encoding: chunked\r\n")),
    ("a connection that names its length", head("Connection: content-length\r\n")),
    ("an empty line before", lambda key: b"\r\n" + head("")(key)),
]


def main():
    tally = Tally()
    with judged(SETTINGS) as gateway:
        legal(gateway, tally)
        disputed(gateway, tally)
        http2(gateway, tally)
        logged(gateway, tally)
        tally.check("the gateway ends in order", ended_well(gateway))
    return tally.end()


def legal(gateway, tally):
    """The positive control: it would be seen if the request behind were read."""
    for name, request in LEGAL:
        before = gateway.metric(READ)
        found = statuses(ask(gateway, request(uuid.uuid4()) + FOLLOWER))
        read = gateway.metric(READ) - before
        fault = (found, read) != ([202, 404], 1) and f"answered {found}, read {read}"
        tally.check(f"HTTP/1, in good order: {name}", fault)


def disputed(gateway, tally):
    for name, request in DISPUTED:
        tally.check(f"HTTP/1, disputed: {name}", answered_once(gateway, request, {400}))
    for name, request, status in NOT_READ:
        tally.check(f"HTTP/1, not read: {name}", answered_once(gateway, request, {status}))


def answered_once(gateway, request, wanted):
    """The fault, unless one of these statuses is all that came, and no other request was read."""
    before = gateway.metric(READ)
    answers = ask(gateway, request(uuid.uuid4()) + FOLLOWER)
    read = gateway.metric(READ) - before
    if answers is None:
        return f"the connection was open after {PATIENCE} s"
    found = [status for status in statuses(answers) if status != 100]
    is_once = len(found) == 1 and found[0] in wanted
    return not (is_once and read == 0) and f"answered {found}, read {read}"


def ask(gateway, sent):
    """All that comes for these bytes until the connection ends; nothing if it does not."""
    with gateway.connect(HUB, "http/1.1", PATIENCE) as line:
        line.sendall(sent)
        came = b""
        try:
            while more := line.recv(65536):
                came += more
        except TimeoutError:
            return None
        except ConnectionError:
            # It was closed with bytes of ours unread, which is a close.
            pass
        return came


def statuses(answers):
    """The status of each answer, one after the other as they are framed."""
    found = []
    while answers:
        top, separator, answers = answers.partition(b"\r\n\r\n")
        if not separator or not top.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            return [*found, repr(top[:80])]
        found.append(int(top.split(b" ")[1]))
        fields = dict(line.split(b": ", 1) for line in top.lower().split(b"\r\n")[1:])
        answers = answers[int(fields.get(b"content-length", 0)) :]
    return found


# --- HTTP/2 ---------------------------------------------------------------------------------------

REQUEST = [(":method", "POST"), (":scheme", "https"), (":path", "/v1/rfis"), (":authority", HOST)]
FIELDS = [("content-type", "application/json")]
LINES = f"\r\nHost: {HOST}\r\n\r\nGET {BEHIND} HTTP/1.1\r\nX: y"


def get(path):
    """A request for this path, as its pseudo-fields."""
    return [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", HOST)]


def sent(fields=(), pseudo=REQUEST, body=MESSAGE, trailers=None):
    """The message with these fields, its body and trailers."""
    return pseudo, [*FIELDS, *fields], body, trailers


def instead(name, *values):
    """The pseudo-fields, with other values for this one; any number of them."""
    kept = [field for field in REQUEST if field[0] != name]
    return sent(pseudo=kept + [(name, value) for value in values])


LEGAL_2 = [
    ("a message", sent()),
    ("its length", sent([("content-length", str(N))])),
    ("te: trailers", sent([("te", "trailers")])),
    ("a trailer", sent(trailers=[("x", "y")])),
    # The library passes it over, where RFC 9113, 8.1 has the request refused: nothing comes of it.
    ("a pseudo-field among the trailers", sent(trailers=[(":path", BEHIND)])),
]

# Name, request. Each must be refused as a whole: 400, or an error of the stream or the connection.
DISPUTED_2 = [
    ("a length that is too short", sent([("content-length", "5")])),
    ("a length that is too long", sent([("content-length", str(N + 5))])),
    ("a length of nought", sent([("content-length", "0")])),
    ("a length and no body", sent([("content-length", str(N))], body=b"")),
    ("two lengths", sent([("content-length", str(N)), ("content-length", "5")])),
    ("a list of lengths", sent([("content-length", f"{N}, {N}")])),
    ("a length with a plus", sent([("content-length", f"+{N}")])),
    ("a coding", sent([("transfer-encoding", "chunked")], body=CHUNKS)),
    (
        "a coding that ends at once",
        sent([("transfer-encoding", "chunked")], body=b"0\r\n\r\n" + FOLLOWER),
    ),
    ("a connection", sent([("connection", "close")])),
    ("keep-alive", sent([("keep-alive", "timeout=5")])),
    ("a proxy's connection", sent([("proxy-connection", "close")])),
    ("an upgrade", sent([("upgrade", "h2c")])),
    ("te that is not trailers", sent([("te", "gzip")])),
    ("CR LF in a value", sent([("x", f"y{LINES}")])),
    ("LF in a value", sent([("x", "y\ntransfer-encoding: chunked")])),
    ("CR in a value", sent([("x", "y\rz")])),
    ("NUL in a value", sent([("x", "y\0z")])),
    ("CR LF in a name", sent([("x: y\r\ntransfer-encoding", "chunked")])),
    ("a colon in a name", sent([("transfer-encoding: chunked", "y")])),
    ("a space in a name", sent([("transfer-encoding ", "chunked")])),
    ("capitals in a name", sent([("X-Y", "z")])),
    ("an empty name", sent([("", "y")])),
    ("lines in the path", instead(":path", f"/v1/rfis HTTP/1.1{LINES}")),
    ("a space in the path", instead(":path", "/v1/rfis HTTP/1.1")),
    ("an empty path", instead(":path", "")),
    ("no path", instead(":path")),
    ("two paths", instead(":path", "/v1/rfis", BEHIND)),
    ("a path that does not begin with a slash", instead(":path", "v1/rfis")),
    ("a whole URI for a path", instead(":path", f"https://evil.example{BEHIND}")),
    ("lines in the method", instead(":method", f"GET {BEHIND} HTTP/1.1{LINES}")),
    ("no method", instead(":method")),
    ("two methods", instead(":method", "POST", "GET")),
    ("lines in the authority", instead(":authority", f"{HOST}{LINES}")),
    ("a path in the authority", instead(":authority", f"{HOST}/x")),
    ("a user in the authority", instead(":authority", f"x@{HOST}")),
    ("another authority", instead(":authority", "evil.example")),
    ("two authorities", instead(":authority", HOST, "evil.example")),
    ("no authority", instead(":authority")),
    ("a Host that is not the authority", sent([("host", "evil.example")])),
    ("two Hosts", sent([("host", HOST), ("host", HOST)])),
    ("lines in the scheme", instead(":scheme", f"https://{HOST}{BEHIND} HTTP/1.1{LINES}")),
    ("no scheme", instead(":scheme")),
    ("two schemes", instead(":scheme", "https", "http")),
    ("a pseudo-field nobody knows", sent(pseudo=[*REQUEST, (":smuggled", "y")])),
    ("a pseudo-field of answers", sent(pseudo=[*REQUEST, (":status", "200")])),
    ("a pseudo-field after a field", sent([(":path", BEHIND)], pseudo=REQUEST[:2] + REQUEST[3:])),
    ("a coding among the trailers", sent(trailers=[("transfer-encoding", "chunked")])),
    ("CONNECT", sent(pseudo=[(":method", "CONNECT"), (":authority", f"{HOST}:443")])),
]


def http2(gateway, tally):
    """The same over HTTP/2, where frames say what ends where and nothing else may."""
    for name, message in LEGAL_2:
        before = gateway.metric(READ)
        found = converse(gateway, message, get(BEHIND))
        read = gateway.metric(READ) - before
        fault = (found, read) != (["202", "404"], 1) and f"answered {found}, read {read}"
        tally.check(f"HTTP/2, in good order: {name}", fault)
    for name, message in DISPUTED_2:
        before = gateway.metric(READ)
        found = converse(gateway, message, get("/v1/whoami"))
        read = gateway.metric(READ) - before
        # A fault of one request may leave the connection to the next, which is no part of it.
        is_refused = found[0] in ("400", "reset", "gone") and found[1] in ("200", "gone")
        fault = not (is_refused and read == 0) and f"answered {found}, read {read}"
        tally.check(f"HTTP/2, disputed: {name}", fault)


def converse(gateway, message, behind):
    """What becomes of a message and of a request behind it: a status, reset, or gone with all."""
    pseudo, fields, body, trailers = message
    key = ("idempotency-key", str(uuid.uuid4()))
    encoder = Encoder()
    settings = SettingsFrame(0).serialize()
    frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings
    frames += headers(1, encoder, [*pseudo, *fields, key], is_last=not body and trailers is None)
    if body:
        flags = ["END_STREAM"] if trailers is None else []
        frames += DataFrame(1, data=body, flags=flags).serialize()
    if trailers is not None:
        frames += headers(1, encoder, trailers, is_last=True)
    frames += headers(3, encoder, behind, is_last=True)
    became = {}
    with gateway.connect(HUB, "h2", PATIENCE) as line:
        line.sendall(frames)
        came = Frames(line)
        while not {1, 3} <= became.keys():
            frame, block = came.next()
            if frame is None or isinstance(frame, GoAwayFrame) and frame.error_code != 0:
                break
            if isinstance(frame, RstStreamFrame):
                became.setdefault(frame.stream_id, "reset")
            elif isinstance(frame, HeadersFrame) and block:
                became.setdefault(frame.stream_id, block)
    return [became.get(1, "gone"), became.get(3, "gone")]


def headers(stream, encoder, fields, is_last):
    # The encoder writes what it is given, also what is no field.
    block = encoder.encode([(name, value) for name, value in fields])
    flags = ["END_HEADERS", "END_STREAM"] if is_last else ["END_HEADERS"]
    return HeadersFrame(stream, data=block, flags=flags).serialize()


class Frames:
    """The frames that come on a connection, one after the other."""

    def __init__(self, line):
        self._line = line
        self._decoder = Decoder()
        self._buffer = b""

    def next(self):
        """The next frame, and the status it holds; no frame when the connection has ended."""
        top = self._take(9)
        if top is None:
            return None, None
        frame, size = Frame.parse_frame_header(memoryview(top))
        payload = self._take(size)
        if payload is None:
            return None, None
        frame.parse_body(memoryview(payload))
        if not isinstance(frame, HeadersFrame):
            return frame, None
        return frame, dict(self._decoder.decode(frame.data)).get(":status")

    def _take(self, size):
        while len(self._buffer) < size:
            try:
                more = self._line.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                return None
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


# --- the log --------------------------------------------------------------------------------------


def logged(gateway, tally):
    """What the gateway's own log has: of each legal pair one message and one refusal, no more."""
    pairs = len(LEGAL) + len(LEGAL_2)

    def read():
        events = [(entry["event"], entry.get("problem")) for entry in gateway.home.entries()]
        return events.count(("accepted", None)), events.count(("refused", "not-found"))

    # Refusals are logged without the refused waiting.
    until(lambda: read()[1] >= pairs)
    found = read()
    fault = found != (pairs, pairs) and f"taken and read {found}, not {pairs} each"
    tally.check("the log has the messages in good order and what was behind them", fault)


if __name__ == "__main__":
    sys.exit(main())
