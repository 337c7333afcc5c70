"""Has a running gateway's TLS judged by tools that others wrote, at both settings of `[tls] min`.

The judges: sslyze, testssl.sh, and OpenSSL as a client, both Debian's and the newer one that pyca's
wheel brings. Each must also complain about something that is wrong, or its silence is worth
nothing. Usage:
python check_tls.py SSLYZE

SSLYZE is the command; it needs an environment of its own, with an older cryptography.
"""

import argparse
import contextlib
import http.client
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

import home
from cryptography import x509
from OpenSSL import SSL

AGENCY = "demo-surgery"
OTHER = "demo-revoked"
# What testssl.sh says about itself: the finding, each time in these words, and why it may stand.
WAIVED = {"engine_problem": ("No engine or GOST support", "GOST ciphers are none of ours")}
# No DNS: the names here are nobody's, and what it says of public authorities is not for ours.
TESTSSL = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"]
UNPUBLISHED = (
    "Neither CRL nor OCSP URI provided",
    "the certificate was not told where its list is published",
)
# testssl.sh has no option for a client certificate: it is given an openssl that shows one.
OPENSSL = """#!/bin/sh
if [ "$1" = s_client ]; then
    shift
    exec {openssl} s_client -cert '{certificate}' -key '{key}' "$@"
fi
exec {openssl} "$@"
"""
REQUEST = """GET /v1/whoami HTTP/1.1\r
Host: gateway.mash.example.org\r
Accept-Encoding: gzip, deflate, br, zstd\r
Connection: close\r
\r
"""
SERVER_EXTENSIONS = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:{host}, IP:{address}
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sslyze", type=pathlib.Path)
    options = parser.parse_args()
    tally = home.Tally()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as running:
        gateways = []
        for setting, versions, profile in (
            ("1.3", ["1.3"], "modern"),
            ("1.2", ["1.2", "1.3"], "intermediate"),
        ):
            folder = pathlib.Path(scratch) / setting
            folder.mkdir()
            gateway = Gateway(folder, setting, versions, profile)
            running.enter_context(gateway.made.serving())
            gateways.append(gateway)
        weak = running.enter_context(weak_server(gateways[0]))
        # These take longest, and mostly wait: they run beside the others.
        scans = [(gateway, start_testssl(gateway)) for gateway in gateways]
        for gateway in gateways:
            for judge in (sslyze, sessions, groups, authorities):
                for what, fault in judge(gateway, options):
                    tally.check(f"{judge.__name__}, min {gateway.setting}: {what}", fault)
        for what, fault in sslyze_control(gateways[1], options):
            tally.check(f"sslyze: {what}", fault)
        for what, fault in sessions_control(gateways[1]):
            tally.check(f"sessions: {what}", fault)
        for gateway, scan in scans:
            for what, fault in testssl(gateway, *scan):
                tally.check(f"testssl, min {gateway.setting}: {what}", fault)
        for what, fault in testssl_control(gateways[0], weak):
            tally.check(f"testssl: {what}", fault)
        # Last: it changes the gateway's certificate.
        for gateway in gateways:
            for what, fault in reload(gateway):
                tally.check(f"reload, min {gateway.setting}: {what}", fault)
    return tally.end()


class Gateway:
    """A home with two agencies, at one setting of `[tls] min`."""

    def __init__(self, folder, setting, versions, profile):
        self.folder = folder
        self.setting = setting
        self.versions = versions
        self.profile = profile
        self.made = home.Home(folder, min_tls=setting)
        for agency in (AGENCY, OTHER):
            self.made.add(agency)
        self.certificate, self.key = self.made.issue(AGENCY)
        self.other = self.made.issue(OTHER)

    @property
    def door(self):
        """Where partners connect."""
        return self.made.doors["partners"]

    def client(self, *words, door=None, pair=None):
        """Connects with Debian's openssl, asks one thing, and gives all that it printed."""
        certificate, key = pair or (self.certificate, self.key)
        command = ["openssl", "s_client", "-connect", door or self.door, "-ign_eof"]
        command += ["-CAfile", self.made.root, "-verify_return_error"]
        command += ["-cert", certificate, "-key", key, *words]
        done = subprocess.run(
            command, input=REQUEST.encode(), capture_output=True, timeout=home.PATIENCE, check=False
        )
        return (done.stdout + done.stderr).decode(errors="replace")


# --- scanners -------------------------------------------------------------------------------------


def sslyze(gateway, options):
    """Mozilla's profile, of every door, without a client certificate and with one."""
    for name, door in gateway.made.doors.items():
        manners = {"without a certificate": [], "with one": as_agency(gateway)}
        # It looks at how TLS 1.2 renegotiates only inside a connection that was let in.
        if name == "partners" and "1.2" in gateway.versions:
            del manners["without a certificate"]
        for manner, words in manners.items():
            code, verdict = scan(options, gateway, gateway.profile, door, *words)
            is_good = code == 0 and verdict == "OK - Compliant."
            yield f"{name}, {manner}: {gateway.profile}", not is_good and f"{code}: {verdict}"


def sslyze_control(gateway, options):
    code, verdict = scan(options, gateway, "modern", gateway.door, *as_agency(gateway))
    complains = code == 1 and verdict.startswith("FAILED - Not compliant.")
    yield "does not take TLS 1.2 for modern", not complains and f"{code}: {verdict}"


def as_agency(gateway):
    # The gateway knows the issuing authority. Nor can sslyze's SSL 2 client read a chain.
    leaf = gateway.folder / "leaf.pem"
    leaf.write_text(home.openssl("x509", "-in", gateway.certificate), "ascii")
    return ["--cert", leaf, "--key", gateway.key]


def scan(options, gateway, profile, door, *words):
    trusting = ["--certinfo_ca_file", gateway.made.root]
    done = subprocess.run(
        [options.sslyze, "--mozilla_config", profile, *trusting, *words, door],
        capture_output=True,
        text=True,
        check=False,
    )
    _, _, end = done.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")
    _, _, verdict = end.partition(f"{door}: ")
    return done.returncode, verdict.strip() or (done.stdout + done.stderr)[-600:]


def start_testssl(gateway):
    """Starts all its checks; they end by themselves."""
    report, program = gateway.folder / "testssl.json", gateway.folder / "openssl"
    shown = {"certificate": gateway.certificate, "key": gateway.key}
    program.write_text(OPENSSL.format(openssl=shutil.which("openssl"), **shown), "utf-8")
    program.chmod(0o755)
    trusting = ["--add-ca", gateway.made.root, "--openssl", program]
    command = ["testssl", *TESTSSL, *trusting, "--jsonfile", report, gateway.door]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, **quiet), report


def testssl(gateway, process, report):
    """Nothing above INFO."""
    said, _ = process.communicate()
    findings = read_findings(report)
    # The first thing it does, what only a connection that was let in can say, and the last.
    for found in ("TLS1_3", "HTTP_status_code", "scanTime"):
        yield f"has looked at {found}", found not in findings and said.decode()[-600:]
    waived = dict(WAIVED)
    served = x509.load_pem_x509_certificate((gateway.made.certs / "gateway.pem").read_bytes())
    try:
        served.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    except x509.ExtensionNotFound:
        waived["cert_revocation"] = UNPUBLISHED
    for name, (severity, finding) in findings.items():
        fault = severity not in ("OK", "INFO", "DEBUG") and f"{severity}: {finding}"
        words, reason = waived.get(name, (None, None))
        if fault and words and finding.startswith(words):
            print(
                f"testssl, min {gateway.setting}: waived {name} ({finding}): {reason}", flush=True
            )
            fault = None
        yield name, fault


def testssl_control(gateway, door):
    report = gateway.folder / "weak.json"
    command = ["testssl", *TESTSSL, "--protocols", "--jsonfile", report, door]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    severity, finding = read_findings(report).get("TLS1", ("nothing", ""))
    yield (
        "complains about TLS 1.0",
        severity in ("OK", "INFO", "nothing") and f"{severity} {finding}",
    )


def read_findings(report):
    findings = json.loads(report.read_text("utf-8"))
    return {one["id"]: (one["severity"], one["finding"]) for one in findings}


# --- OpenSSL as a client --------------------------------------------------------------------------


def sessions(gateway, _options):
    """No session is ever resumed: who was cut off comes back by a whole handshake or not at all."""
    for version in gateway.versions:
        kept = gateway.folder / f"session-{version}"
        flag = f"-tls{version.replace('.', '_')}"
        first = gateway.client(flag, "-sess_out", kept)
        yield f"TLS {version} answers", "HTTP/1.1 200 OK" not in first and first[-600:]
        is_compressed = "content-encoding" in first.lower()
        yield f"TLS {version} does not compress", is_compressed and first[-600:]
        has_ticket = re.search(r"New Session Ticket|TLS session ticket:", first)
        yield f"TLS {version} gives no ticket", has_ticket and has_ticket[0]
        # The client keeps what the server lets it take up again: here, nothing.
        second = gateway.client(flag, "-sess_in", kept) if kept.exists() else ""
        yield f"TLS {version} leaves nothing to resume", second[-600:]
    if "1.2" not in gateway.versions:
        refused = gateway.client("-tls1_2")
        is_refused = "alert protocol version" in refused
        yield "TLS 1.2 is refused", not is_refused and refused[-600:]


def sessions_control(gateway):
    """OpenSSL's own server resumes, with the same certificates: the client does notice."""
    with openssl_server(gateway, "-Verify", "1") as door:
        for version in ("1.2", "1.3"):
            kept = gateway.folder / f"control-{version}"
            flag = f"-tls{version.replace('.', '_')}"
            first = gateway.client(flag, "-sess_out", kept, door=door)
            yield f"TLS {version} control begins", not is_new(first, version) and first[-600:]
            second = gateway.client(flag, "-sess_in", kept, door=door)
            is_reused = f"Reused, TLSv{version}" in second
            yield f"TLS {version} control is resumed", not is_reused and second[-600:]


def is_new(output, version):
    return f"New, TLSv{version}" in output and "Reused" not in output


def groups(gateway, _options):
    """Keys are exchanged as no quantum computer undoes; an older client is still served."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(gateway.made.root))
    context.set_verify(SSL.VERIFY_PEER)
    context.use_certificate_chain_file(str(gateway.certificate))
    context.use_privatekey_file(str(gateway.key))
    with socket.create_connection(address_of(gateway.door), timeout=home.PATIENCE) as stream:
        # With a limit of its own a socket is never ready at once for OpenSSL.
        stream.settimeout(None)
        connection = SSL.Connection(context, stream)
        connection.set_connect_state()
        connection.do_handshake()
        group = connection.get_group_name()
        connection.shutdown()
    yield "a new client's group", group != "X25519MLKEM768" and group
    older = gateway.client("-groups", "X25519")
    is_good = "Server Temp Key: X25519, 253 bits" in older and "HTTP/1.1 200 OK" in older
    yield "an older client's group", not is_good and older[-600:]


def authorities(gateway, _options):
    """The list of authorities it accepts is sent: the agencies', and no other."""
    wanted = {
        one.subject.rfc4514_string()
        for one in x509.load_pem_x509_certificates(
            (gateway.made.certs / "agency-ca.pem").read_bytes()
        )
    }
    for version in gateway.versions:
        flags = [f"-tls{version.replace('.', '_')}", "-nameopt", "RFC2253"]
        said = gateway.client(*flags)
        names = re.search(
            r"^Acceptable client certificate CA names\n((?:CN=.*\n)+)", said, re.MULTILINE
        )
        sent = set(names[1].splitlines()) if names else set()
        yield f"TLS {version}", sent != wanted and f"sent {sent}, not {wanted}"


def reload(gateway):
    """A new certificate, a revocation and a new list: nobody loses a connection by it."""
    made = gateway.made
    with keep_alive(gateway) as connection:
        own_port = connection.sock.getsockname()[1]
        yield "the connection answers before", whoami(connection)
        before = gateway.client(pair=gateway.other)
        yield "the other agency is served before", "200 OK" not in before and before[-600:]
        old = served_serial(gateway)
        new = replace_server_certificate(gateway)
        made.reload()
        is_served = home.until(lambda: served_serial(gateway) == new)
        yield "the new certificate is served", not (is_served and new != old) and made.log()[-600:]
        yield "the connection answers after it", whoami(connection)
        made.revoke(OTHER)
        made.run("cert", "crl")
        after = gateway.client(pair=gateway.other)
        is_refused = "alert certificate revoked" in after
        yield "the revoked agency is refused", not is_refused and after[-600:]
        yield "the connection answers after that", whoami(connection)
        is_same = connection.sock and connection.sock.getsockname()[1] == own_port
        yield "it is the same connection", not is_same and "it was opened anew"
        yield "new connections are served", "200 OK" not in gateway.client() and made.log()[-600:]


@contextlib.contextmanager
def keep_alive(gateway):
    context = ssl.create_default_context(cafile=gateway.made.root)
    context.load_cert_chain(gateway.certificate, gateway.key)
    connection = http.client.HTTPSConnection(
        *address_of(gateway.door), timeout=home.PATIENCE, context=context
    )
    connection.connect()
    # A connection that was dropped is not to come back unnoticed.
    connection.auto_open = 0
    with contextlib.closing(connection):
        yield connection


def whoami(connection):
    try:
        connection.request("GET", "/v1/whoami")
        answer = connection.getresponse()
        said = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    return answer.status != 200 and f"{answer.status}: {said}"


def served_serial(gateway):
    shown = gateway.client()
    certificate = re.search(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", shown, re.DOTALL
    )
    return certificate and x509.load_pem_x509_certificate(certificate[0].encode()).serial_number


def replace_server_certificate(gateway):
    """Puts another certificate in place, signed by the servers' authority; gives its serial."""
    made, folder = gateway.made, gateway.folder
    identity = made.folder / "keys" / "authority-identity.txt"
    authority_key, authority = folder / "server-ca.key", made.certs / "server-ca.pem"
    sealed = made.certs / "server-ca.key.age"
    subprocess.run(["age", "-d", "-i", identity, "-o", authority_key, sealed], check=True)
    key, csr, extensions = folder / "new.key", folder / "new.csr", folder / "new.ext"
    home.request(csr, key, home.P256, "MASH gateway")
    text = SERVER_EXTENSIONS.format(host=home.HOST, address=home.ADDRESS)
    extensions.write_text(text, "utf-8")
    signing = ["-CA", authority, "-CAkey", authority_key, "-days", "30", "-extfile", extensions]
    issued = home.openssl("x509", "-req", "-in", csr, *signing)
    (made.certs / "gateway.pem").write_text(issued + authority.read_text("ascii"), "ascii")
    (made.folder / "keys" / "tls-key.pem").write_text(key.read_text("ascii"), "ascii")
    return x509.load_pem_x509_certificate(issued.encode()).serial_number


# --- servers to compare with ----------------------------------------------------------------------


@contextlib.contextmanager
def openssl_server(gateway, *words):
    """Runs OpenSSL's own server with the gateway's certificate, and gives its address."""
    door = f"{home.ADDRESS}:{home.free_port()}"
    made = gateway.made
    command = ["openssl", "s_server", "-accept", door, "-www", "-CAfile", made.root]
    command += ["-cert", made.certs / "gateway.pem", "-cert_chain", made.certs / "gateway.pem"]
    command += ["-key", made.folder / "keys" / "tls-key.pem", *words]
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    with subprocess.Popen(command, **quiet) as server:
        try:
            if not home.until(lambda: is_open(door)):
                raise RuntimeError("openssl s_server does not listen")
            yield door
        finally:
            server.kill()


def weak_server(gateway):
    return openssl_server(gateway, "-cipher", "ALL:@SECLEVEL=0", "-tls1")


def is_open(door):
    try:
        socket.create_connection(address_of(door), timeout=1).close()
    except OSError:
        return False
    return True


def address_of(door):
    host, _, port = door.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    sys.exit(main())
