"""Enrols and renews over EST (RFC 7030) with clients that others wrote: strongSwan's, and curl.

Over TLS 1.2 and 1.3. Who has no token, a wrong one or a used one must get nothing. Usage:
python check_est.py
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import uuid

import home
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

# What strongSwan speaks of itself, and what it must be told to speak 1.3.
VERSIONS = {"1.2": "", "1.3": "libtls {\n  version_max = 1.3\n}\n"}
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)


def main():
    tally = home.Tally()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as running:
        for version, settings in VERSIONS.items():
            folder = pathlib.Path(scratch) / version
            folder.mkdir()
            # The gateway speaks 1.2 only where it was told to: the client's version is the oldest.
            door = Door(folder, version, settings)
            running.enter_context(door.made.serving())
            for client in (strongswan, curl):
                for what, fault in client(door):
                    tally.check(f"{client.__name__}, TLS {version}: {what}", fault)
    return tally.end()


class Door:
    """The enrolment door of a gateway, with agencies that have no certificate yet."""

    def __init__(self, folder, version, settings):
        self.folder = folder
        self.version = version
        self.made = home.Home(folder, min_tls=version)
        self.settings = folder / "strongswan.conf"
        self.settings.write_text(settings, "utf-8")

    @property
    def url(self):
        """Where it is."""
        return f"https://{self.made.doors['enrolment']}"

    def token(self, agency, *words):
        """Has a one-time token made for an agency."""
        return json.loads(self.made.run("--json", "cert", "token", agency, *words))["token"]

    def new_agency(self, name):
        """Puts an agency into the directory, with a request of its own."""
        self.made.add(name)
        return Applicant(self, name)

    def authorities(self):
        """What cacerts must hand out: whoever vouches for agencies, and the root above."""
        files = (self.made.root, self.made.certs / "agency-ca.pem")
        return fingerprints("".join(file.read_text("ascii") for file in files))

    def whoami(self, certificate, key):
        """Whom the gateway takes the holder of a certificate for."""
        partners = f"https://{self.made.doors['partners']}/v1/whoami"
        trusting = ["--cacert", self.made.root, "--cert", certificate, "--key", key]
        answer = execute(["curl", "-sS", *trusting, partners])
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(answer.stdout).get("agency")
        return answer.stderr


class Applicant:
    """An agency, and its requests; each is for a new key."""

    def __init__(self, door, name):
        self.door = door
        self.name = name
        self.key = self.csr = self.certificate = None

    def ask(self, kind=home.P256):
        """Makes a new key, and the request for it in DER."""
        stem = self.door.folder / f"{self.name}-{uuid.uuid4()}"
        self.key, request = stem.with_suffix(".key"), stem.with_suffix(".csr")
        self.csr = stem.with_suffix(".der")
        home.request(request, self.key, kind, self.name)
        home.openssl("req", "-in", request, "-outform", "DER", "-out", self.csr)

    def key_fingerprint(self):
        """What the agency reads out over the telephone: the SHA-256 of its public key."""
        request = x509.load_der_x509_csr(self.csr.read_bytes())
        return hashlib.sha256(der(request.public_key())).hexdigest()

    def took(self, text):
        """What is wrong with the certificate that came; it is kept for the next renewal."""
        found = PEM.findall(text)
        if not found:
            return f"no certificate: {text[-600:]}"
        self.certificate = self.csr.with_suffix(".pem")
        self.certificate.write_text(found[0], "ascii")
        certificate = x509.load_pem_x509_certificate(found[0].encode())
        request = x509.load_der_x509_csr(self.csr.read_bytes())
        if der(certificate.public_key()) != der(request.public_key()):
            return "it is for another key"
        made = self.door.made
        chain = ["-CAfile", made.root, "-untrusted", made.certs / "agency-ca.pem"]
        verified = execute(["openssl", "verify", "-x509_strict", *chain, self.certificate])
        if verified.returncode != 0:
            return verified.stderr
        taken_for = self.door.whoami(self.certificate, self.key)
        return taken_for != self.name and f"the gateway takes it for {taken_for}"


# --- strongSwan -----------------------------------------------------------------------------------


def strongswan(door):
    """`pki --estca` and `pki --est`."""
    handed_out = door.folder / "cacert.pem"
    fetched = pki(door, "--estca", "--url", door.url, "--caout", handed_out, "--outform", "pem")
    files = sorted(door.folder.glob("cacert*.pem"))
    got = fingerprints("".join(file.read_text("ascii") for file in files))
    yield "hands out the authorities", failure(fetched) or differ(got, door.authorities())
    yield (
        "speaks the version",
        f"negotiated TLS {door.version} " not in fetched.stderr and fetched.stderr,
    )
    distrusted = pki(door, "--estca", "--url", door.url, "--caout", door.folder / "no", root=False)
    yield "the client checks whom it asks", distrusted.returncode == 0 and "it trusted a stranger"

    agency = door.new_agency("demo-strongswan")
    agency.ask()
    token = door.token(agency.name)
    refused = est(door, agency, "--userpass", f"{agency.name}:{wrong(token)}")
    yield "a wrong token is refused", success(refused)
    other = door.new_agency("demo-strongswan-other")
    other.ask()
    refused = est(door, other, "--userpass", f"{other.name}:{token}")
    yield "another agency's token is refused", success(refused)
    enrolled = est(door, agency, "--userpass", f"{agency.name}:{token}")
    yield "the right token enrols", failure(enrolled) or agency.took(enrolled.stdout)
    is_trusted = "Issued certificate is trusted" in enrolled.stderr
    yield "the client trusts what it got", not is_trusted and enrolled.stderr
    old = ["--cert", agency.certificate, "--key", agency.key]
    agency.ask()
    refused = est(door, agency, "--userpass", f"{agency.name}:{token}")
    yield "a used token is refused", success(refused)

    agency.ask(home.P384)
    renewed = est(door, agency, *old)
    yield "renews with a new key", failure(renewed) or agency.took(renewed.stdout)
    yield from strongswan_approval(door)


def strongswan_approval(door):
    agency = door.new_agency("demo-strongswan-approved")
    agency.ask()
    token = door.token(agency.name, "--approval")
    command = est_command(door, agency, "--userpass", f"{agency.name}:{token}")
    command += ["--interval", "1", "--maxpolltime", "120"]
    said = door.folder / "polling.log"
    with open(said, "wb") as log:
        polling = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=environment(door), text=True
        )
    try:
        pending = "EST request pending"
        is_pending = home.until(lambda: pending in said.read_text() or polling.poll() is not None)
        is_pending = is_pending and polling.poll() is None
        yield "waits for approval", not is_pending and said.read_text()[-600:]
        if is_pending:
            door.made.run("cert", "approve", agency.name, "--key", agency.key_fingerprint())
        # As long as the gateway told it to wait, and then it asks again.
        text, _ = polling.communicate(timeout=130)
        fault = polling.returncode and said.read_text()[-600:]
        yield "gets it when approved", fault or agency.took(text)
    finally:
        polling.kill()


def est(door, applicant, *words):
    return execute(est_command(door, applicant, *words), environment(door))


def est_command(door, applicant, *words):
    made = door.made
    trusting = ["--cacert", made.root, "--cacert", made.certs / "agency-ca.pem"]
    command = ["pki", "--est", "--url", door.url, "--in", applicant.csr, *trusting]
    return [*map(str, [*command, "--outform", "pem", *words])]


def pki(door, *words, root=True):
    trusted = door.made.root if root else door.made.certs / "agency-ca.pem"
    return execute(["pki", *words, "--cacert", trusted], environment(door))


def environment(door):
    return {**os.environ, "STRONGSWAN_CONF": str(door.settings)}


# --- curl and openssl -----------------------------------------------------------------------------


def curl(door):
    """What the README's reader does by hand."""
    handed_out = ask(door, "cacerts")
    got = fingerprints(certificates(handed_out))
    yield "hands out the authorities", handed_out.fault(200) or differ(got, door.authorities())

    agency = door.new_agency("demo-curl")
    agency.ask()
    token = door.token(agency.name)
    yield "no token is refused", unauthorised(ask(door, "simpleenroll", agency))
    refused = ask(door, "simpleenroll", agency, user=f"{agency.name}:{wrong(token)}")
    yield "a wrong token is refused", unauthorised(refused)
    refused = ask(door, "simpleenroll", agency, user=f"demo-nobody:{token}")
    yield "an unknown agency is refused", unauthorised(refused)
    body = base64.b64encode(b"not a request")
    refused = ask(door, "simpleenroll", agency, user=f"{agency.name}:{token}", body=body)
    yield "what is no request is refused", refused.fault(400)
    enrolled = ask(door, "simpleenroll", agency, user=f"{agency.name}:{token}")
    yield "the token was not used up by that", enrolled.fault(200)
    yield "the right token enrols", agency.took(certificates(enrolled))
    is_pkcs7 = enrolled.headers.get("content-type", "").startswith("application/pkcs7-mime")
    yield "it says what it sends", not is_pkcs7 and str(enrolled.headers)
    old = (agency.certificate, agency.key)
    agency.ask()
    refused = ask(door, "simpleenroll", agency, user=f"{agency.name}:{token}")
    yield "a used token is refused", unauthorised(refused)

    # 403: no user name and password would help.
    yield "nobody renews without a certificate", ask(door, "simplereenroll", agency).fault(403)
    renewed = ask(door, "simplereenroll", agency, pair=old)
    yield "renews with a new key", renewed.fault(200) or agency.took(certificates(renewed))

    # Some clients send the request as openssl writes it.
    armoured = door.new_agency("demo-curl-armoured")
    armoured.ask()
    user = f"{armoured.name}:{door.token(armoured.name)}"
    body = home.openssl("req", "-inform", "DER", "-in", armoured.csr).encode()
    enrolled = ask(door, "simpleenroll", armoured, user=user, body=body)
    fault = enrolled.fault(200) or armoured.took(certificates(enrolled))
    yield "an armoured request is taken", fault

    door.made.revoke(agency.name)
    pair = (agency.certificate, agency.key)
    agency.ask()
    refused = ask(door, "simplereenroll", agency, pair=pair)
    yield "who was revoked does not renew", refused.status == 200 and "it was renewed"
    yield from curl_approval(door)


def curl_approval(door):
    agency = door.new_agency("demo-curl-approved")
    agency.ask()
    user = f"{agency.name}:{door.token(agency.name, '--approval')}"
    waiting = ask(door, "simpleenroll", agency, user=user)
    yield "is told to wait for approval", waiting.fault(202)
    seconds = waiting.headers.get("retry-after", "")
    yield "is told how long", not re.fullmatch(r"[1-9]\d*", seconds) and f"Retry-After: {seconds}"
    yield "waits on until then", ask(door, "simpleenroll", agency, user=user).fault(202)
    approved_key, approved_csr = agency.key, agency.csr
    door.made.run("cert", "approve", agency.name, "--key", agency.key_fingerprint())
    # What was approved is one key, not whoever asks next.
    agency.ask()
    other = ask(door, "simpleenroll", agency, user=user)
    yield "another key was not approved", other.status == 200 and "it was issued"
    agency.key, agency.csr = approved_key, approved_csr
    issued = ask(door, "simpleenroll", agency, user=user)
    yield "gets it when approved", issued.fault(200) or agency.took(certificates(issued))


class Answer:
    """What curl was answered; without a status when there was no answer."""

    def __init__(self, done):
        head, _, self.body = done.stdout.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        self.status = int(first.split()[1]) if first.startswith("HTTP/") else None
        pairs = (line.partition(": ") for line in lines)
        self.headers = {name.lower(): value for name, _, value in pairs}
        self.said = (done.stdout + done.stderr)[-600:]

    def fault(self, wanted):
        """Whether the status is another than was wanted."""
        return self.status != wanted and f"{self.status}, not {wanted}: {self.said}"


def ask(door, operation, applicant=None, user=None, pair=None, body=None):
    """One request, with the version that is tried and no other."""
    flags = ["--tlsv1.2", "--tls-max", door.version, "--http1.1", "-sS", "-i", "-H", "Expect:"]
    command = ["curl", *flags, "--cacert", door.made.root]
    if applicant:
        sent = door.folder / "body"
        sent.write_bytes(body or base64.encodebytes(applicant.csr.read_bytes()))
        command += ["-H", "Content-Type: application/pkcs10", "--data-binary", f"@{sent}"]
    if user:
        # Not on the command line, where everybody on the machine can read it.
        secret = door.folder / "curl.conf"
        secret.write_text(f'user = "{user}"\n', "utf-8")
        command += ["--config", secret]
    if pair:
        command += ["--cert", pair[0], "--key", pair[1]]
    return Answer(execute([*command, f"{door.url}/.well-known/est/{operation}"]))


def unauthorised(answer):
    challenge = answer.headers.get("www-authenticate", "")
    return answer.fault(401) or (
        not challenge.startswith("Basic realm=") and f"WWW-Authenticate: {challenge}"
    )


def certificates(answer):
    """Those in a PKCS#7 answer, as openssl reads it."""
    try:
        content = base64.b64decode(answer.body)
    except ValueError:
        return answer.said
    done = subprocess.run(
        ["openssl", "pkcs7", "-inform", "DER", "-print_certs"], input=content, capture_output=True
    )
    return (done.stdout + done.stderr).decode(errors="replace")


# --- what both need -------------------------------------------------------------------------------


def execute(command, environment=None):
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        env=environment,
        timeout=home.PATIENCE,
        check=False,
    )
    # By hand: reading it as text would change the ends of HTTP's lines.
    done.stdout, done.stderr = (
        part.decode(errors="replace") for part in (done.stdout, done.stderr)
    )
    return done


def failure(done):
    return done.returncode != 0 and f"exit {done.returncode}: {done.stderr[-600:]}"


def success(done):
    is_refused = done.returncode != 0 and "BEGIN CERTIFICATE" not in done.stdout
    return not is_refused and f"exit {done.returncode}: {done.stderr[-600:]}"


def wrong(token):
    """Another token of the same form."""
    return token[:-1] + ("B" if token.endswith("A") else "A")


def fingerprints(text):
    found = (x509.load_pem_x509_certificate(block.encode()) for block in PEM.findall(text))
    return {certificate.fingerprint(hashes.SHA256()).hex() for certificate in found}


def differ(got, wanted):
    return got != wanted and f"got {sorted(got)}, not {sorted(wanted)}"


def der(key):
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, subject)


if __name__ == "__main__":
    sys.exit(main())
