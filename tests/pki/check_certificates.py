"""Has every certificate and revocation list of a home judged by tools that others wrote.

They are what `init`, `cert issue`, `cert revoke` and `cert crl` write. The judges: pkilint,
openssl, pyca's verifier, strongSwan and GnuTLS. Each must also complain about something that is
wrong, or its silence is worth nothing. Usage:
python check_certificates.py
"""

import concurrent.futures
import datetime
import ipaddress
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import home
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEYS = {"demo-p256": home.P256, "demo-p384": home.P384, "demo-ed25519": home.ED25519}
REVOKED = "demo-revoked"
PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\n", re.DOTALL)
PURPOSES = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "sslclient",
    ExtendedKeyUsageOID.SERVER_AUTH: "sslserver",
}
# Where pip put the linters' commands.
COMMANDS = pathlib.Path(sys.executable).parent


def main():
    tally = home.Tally()
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        made = home.Home(scratch)
        with made.serving():
            fill(made)
        estate = Estate(scratch / "estate", [made.certs, made.issued])
        stranger = Stranger(scratch / "stranger", estate)
        print(estate, flush=True)
        for what, fault in estate.completeness():
            tally.check(what, fault)
        for judge in (pkilint, openssl, pyca, strongswan, gnutls):
            for what, fault in judge(estate, stranger):
                tally.check(f"{judge.__name__}: {what}", fault)
    return tally.end()


def fill(made):
    """Issues to keys of each kind, in each profile there is, and revokes one certificate."""
    for agency in (*KEYS, REVOKED):
        made.add(agency)
        made.issue(agency, KEYS.get(agency, home.P256))
    if home.knows("--desk", "cert", "issue"):
        made.issue("demo-p256", home.P256, "--desk", "Tobiah Larkmoor", "--role", "contact-officer")
    made.revoke(REVOKED)
    made.run("cert", "crl")


# --- what is judged -------------------------------------------------------------------------------


class Estate:
    """Every certificate and list that was found, each once, and in a file of its own."""

    def __init__(self, folder, places):
        self.folder = folder
        self.roots, self.issuing, self.leaves, lists, self.unknown = [], [], [], [], []
        folder.mkdir()
        seen = set()
        for path in sorted(path for place in places for path in place.rglob("*.pem")):
            for number, block in enumerate(PEM.finditer(path.read_text("ascii"))):
                text, name = block[0], f"{path.relative_to(places[0].parent.parent)}[{number}]"
                if text in seen:
                    continue
                seen.add(text)
                if block[1] == "X509 CRL":
                    lists.append(List(folder, name, text))
                elif block[1] == "CERTIFICATE":
                    self._place(Certificate(folder, name, text))
                else:
                    self.unknown.append(f"{name} is a {block[1]}")
        # A list that has a successor is not judged by what it lacks.
        newest = {}
        for one in sorted(lists, key=lambda one: one.number):
            newest[one.parsed.issuer] = one
        self.lists = list(newest.values())
        self.every_root = together(folder / "roots.pem", self.roots)
        self.every_issuing = together(folder / "issuing.pem", self.issuing)
        self.every_list = together(folder / "lists.pem", self.lists)

    def __str__(self):
        return (
            f"{len(self.roots)} roots, {len(self.issuing)} issuing authorities, "
            f"{len(self.leaves)} certificates, {len(self.lists)} revocation lists"
        )

    def _place(self, certificate):
        if not certificate.is_authority:
            self.leaves.append(certificate)
        elif certificate.parsed.issuer == certificate.parsed.subject:
            self.roots.append(certificate)
        else:
            self.issuing.append(certificate)

    def certificates(self):
        return [*self.roots, *self.issuing, *self.leaves]

    def issuers(self, signed):
        """The authorities that signed a certificate or a list."""
        return [one for one in (*self.roots, *self.issuing) if is_signed_by(signed, one.parsed)]

    def is_revoked(self, certificate):
        lists = (one for one in self.lists if one.parsed.issuer == certificate.parsed.issuer)
        serial = certificate.parsed.serial_number
        return any(one.parsed.get_revoked_certificate_by_serial_number(serial) for one in lists)

    def lists_above(self, leaf):
        """The lists that decide about a certificate and about the authorities above it."""
        above = [leaf, *self.issuing, *self.roots]
        issuers = {one.parsed.issuer for one in above}
        return [one for one in self.lists if one.parsed.issuer in issuers]

    def completeness(self):
        """That there was something to judge, and nothing that nobody judged."""
        keys = [leaf.parsed.public_key() for leaf in self.leaves]
        curves = {key.curve.name for key in keys if isinstance(key, ec.EllipticCurvePublicKey)}
        is_found = {
            "a P-256 key": "secp256r1" in curves,
            "a P-384 key": "secp384r1" in curves,
            "an Ed25519 key": any(isinstance(key, ed25519.Ed25519PublicKey) for key in keys),
            "a revoked certificate": any(map(self.is_revoked, self.leaves)),
            "a client's": any(leaf.purpose == "sslclient" for leaf in self.leaves),
            "a server's": any(leaf.purpose == "sslserver" for leaf in self.leaves),
            "the push client's": any("push.pem" in leaf.name for leaf in self.leaves),
        }
        for what, found in is_found.items():
            yield f"certificates: {what}", not found and "none"
        yield "certificates: every PEM block is one or is a list", ", ".join(self.unknown)
        for signed in (*self.certificates(), *self.lists):
            yield f"issuer of {signed.name}", not self.issuers(signed.parsed) and "none"
        for authority in (*self.roots, *self.issuing):
            has_list = any(is_signed_by(one.parsed, authority.parsed) for one in self.lists)
            yield f"revocation list of {authority.name}", not has_list and "none"


class Certificate:
    """A certificate, and the file that holds it alone."""

    def __init__(self, folder, name, text):
        self.name = name
        self.text = text
        self.parsed = x509.load_pem_x509_certificate(text.encode())
        extensions = self.parsed.extensions
        try:
            self.is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            self.is_authority = False
        self.file = folder / f"{self.parsed.serial_number:x}.pem"
        self.file.write_text(text, "ascii")

    @property
    def purpose(self):
        """What openssl calls the one thing a leaf is for."""
        usage = self.parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        (purpose,) = usage
        return PURPOSES[purpose]


class List:
    """A revocation list, and the file that holds it alone."""

    def __init__(self, folder, name, text):
        self.name = name
        self.text = text
        self.parsed = x509.load_pem_x509_crl(text.encode())
        number = self.parsed.extensions.get_extension_for_class(x509.CRLNumber).value
        self.number = number.crl_number
        self.file = folder / f"{self.number:x}-{name.replace('/', '-')}"
        self.file.write_text(text, "ascii")


class Stranger:
    """What the judges must refuse: a chain that has our names and not our keys, and poor work."""

    def __init__(self, folder, estate):
        folder.mkdir()
        root_key, issuing_key, leaf_key = (ec.generate_private_key(ec.SECP384R1()) for _ in "123")
        model = next(leaf for leaf in estate.leaves if leaf.purpose == "sslclient")
        issuing = estate.issuers(model.parsed)[0]
        root = estate.issuers(issuing.parsed)[0]
        self.root = forged(folder, root, root_key, root_key)
        self.issuing = forged(folder, issuing, issuing_key, root_key)
        self.leaf = forged(folder, model, leaf_key, issuing_key)
        # No key identifiers, no basic constraints, and an address that is none.
        poor = builder(model.parsed, leaf_key.public_key()).add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier("http://not an address")]),
            critical=False,
        )
        self.poor = write(folder / "poor.pem", poor.sign(issuing_key, hashes.SHA384()))
        now = datetime.datetime.now(datetime.UTC)
        bare_list = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(model.parsed.issuer)
            .last_update(now)
            .next_update(now + datetime.timedelta(days=1))
        )
        self.poor_list = write(folder / "poor.crl", bare_list.sign(issuing_key, hashes.SHA384()))


def forged(folder, model, key, signing_key):
    """The model's every word about another key, signed by somebody else."""
    copy = builder(model.parsed, key.public_key())
    for extension in model.parsed.extensions:
        copy = copy.add_extension(extension.value, extension.critical)
    text = copy.sign(signing_key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
    return Certificate(folder, f"forged {model.name}", text.decode())


def builder(model, public_key):
    return (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(model.issuer)
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
        .serial_number(x509.random_serial_number())
        .public_key(public_key)
    )


def write(path, signed):
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return path


def together(path, parts):
    path.write_text("".join(part.text for part in parts), "ascii")
    return path


def is_signed_by(signed, authority):
    if signed.issuer != authority.subject:
        return False
    if isinstance(signed, x509.CertificateRevocationList):
        return signed.is_signature_valid(authority.public_key())
    try:
        signed.verify_directly_issued_by(authority)
    except Exception:  # A wrong signature and a wrong kind of key are raised as different things.
        return False
    return True


# --- the judges -----------------------------------------------------------------------------------


def pkilint(estate, stranger):
    """The profile of RFC 5280, of each certificate, of each with its issuer, and of each list."""
    jobs = [(f"{one.name}", ["lint_pkix_cert", one.file]) for one in estate.certificates()]
    for one in (*estate.issuing, *estate.leaves):
        for issuer in estate.issuers(one.parsed):
            pair = ["lint_pkix_signer_signee_cert_chain", issuer.file, one.file]
            jobs.append((f"{one.name} under {issuer.name}", pair))
    jobs += [(one.name, ["lint_crl", "-t", "CRL", "-p", "PKIX", one.file]) for one in estate.lists]
    poor = ["lint_pkix_cert", stranger.poor]
    wrong_pair = [
        "lint_pkix_signer_signee_cert_chain",
        stranger.issuing.file,
        next(leaf for leaf in estate.leaves if leaf.purpose == "sslserver").file,
    ]
    poor_list = ["lint_crl", "-t", "CRL", "-p", "PKIX", stranger.poor_list]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        findings = threads.map(lambda job: lint(job[1]), jobs)
        for (what, _), found in zip(jobs, findings, strict=True):
            yield what, "; ".join(found)
        for what, job, expected in (
            ("a poor certificate", poor, "pkix.invalid_uri_syntax"),
            ("a pair that is none", wrong_pair, "pkix."),
            ("a poor list", poor_list, "pkix."),
        ):
            found = "; ".join(lint(job))
            yield f"complains about {what}", expected not in found and f"it says: {found}"


def lint(command):
    """What a linter found, without what is waived."""
    name, *words = command
    done = subprocess.run(
        [COMMANDS / name, "lint", "-s", "NOTICE", "-f", "JSON", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        results = json.loads(done.stdout)["results"]
    except json.JSONDecodeError:
        return [f"{name} failed: {done.stderr}"]
    found = [finding for result in results for finding in result["finding_descriptions"]]
    # Its exit code is the number of its findings: nothing was lost on the way here.
    if done.returncode != len(found):
        return [f"{name} found {done.returncode} and told of {len(found)}: {done.stderr}"]
    told = (f"{one['severity']} {one['code']} {one['message']}" for one in found)
    return [one for one in told if not is_waived(one)]


def is_waived(finding):
    """Its list of URI schemes is the web's; RFC 3986 has room for SPIFFE's."""
    waived = r'ERROR pkix\.invalid_uri_syntax Invalid URI syntax: "spiffe://[a-z0-9./-]+"'
    return re.fullmatch(waived, finding) is not None


def openssl(estate, stranger):
    """Strictly, with a revocation list for each step."""
    strict = ["verify", "-x509_strict", "-crl_check_all", "-CRLfile", estate.every_list]
    strict += ["-CAfile", estate.every_root, "-untrusted", estate.every_issuing]
    for leaf in estate.leaves:
        wanted = r"certificate revoked" if estate.is_revoked(leaf) else None
        names = server_names(leaf)
        yield (
            leaf.name,
            run(["openssl", *strict, "-purpose", leaf.purpose, *names, leaf.file], wanted),
        )
        (other,) = set(PURPOSES.values()) - {leaf.purpose}
        refusal = run(["openssl", *strict, "-purpose", other, leaf.file], "unsuitable certificate")
        yield f"refuses {leaf.name} as {other}", refusal
    for one in estate.issuing:
        yield one.name, run(["openssl", *strict, one.file])
    for one in estate.lists:
        issuer = estate.issuers(one.parsed)[0]
        checked = ["openssl", "crl", "-noout", "-in", one.file, "-CAfile", issuer.file]
        yield one.name, run(checked, says="verify OK")
    forged_chain = ["-untrusted", stranger.issuing.file, stranger.leaf.file]
    yield "refuses a stranger", run(["openssl", *strict, *forged_chain], "error")
    wrong_name = ["-verify_hostname", "other.example.org"]
    server = next(leaf for leaf in estate.leaves if leaf.purpose == "sslserver")
    refusal = run(["openssl", *strict, *wrong_name, server.file], "hostname mismatch")
    yield "refuses another host", refusal
    without = [*strict[:3], "-CAfile", estate.every_root, "-untrusted", estate.every_issuing]
    refusal = run(["openssl", *without, server.file], "unable to get certificate CRL")
    yield "refuses without lists", refusal


def server_names(leaf):
    if leaf.purpose != "sslserver":
        return []
    return ["-verify_hostname", home.HOST, "-verify_ip", home.ADDRESS]


def pyca(estate, stranger):
    """A path builder that is strict in the web's way. It reads no lists: it gets none revoked."""
    builder = verification.PolicyBuilder().store(
        verification.Store([root.parsed for root in estate.roots])
    )
    authorities = [one.parsed for one in estate.issuing]
    address = x509.IPAddress(ipaddress.ip_address(home.ADDRESS))
    for leaf in estate.leaves:
        if leaf.purpose == "sslclient":
            client = builder.build_client_verifier()
            yield leaf.name, refusal(client, leaf, authorities)
            continue
        for name in (x509.DNSName(home.HOST), address):
            server = builder.build_server_verifier(name)
            yield f"{leaf.name} as {name.value}", refusal(server, leaf, authorities)
        other = builder.build_server_verifier(x509.DNSName("other.example.org"))
        yield "refuses another host", not refusal(other, leaf, authorities) and "it accepted it"
        as_client = builder.build_client_verifier()
        yield "refuses a server as a client", not refusal(as_client, leaf, authorities) and "no"
    late = stranger.leaf.parsed.not_valid_after_utc + datetime.timedelta(seconds=1)
    expired = builder.time(late).build_client_verifier()
    leaf = next(leaf for leaf in estate.leaves if leaf.purpose == "sslclient")
    yield "refuses an expired one", not refusal(expired, leaf, authorities) and "it accepted it"
    forged_chain = refusal(
        builder.build_client_verifier(), stranger.leaf, [stranger.issuing.parsed]
    )
    yield "refuses a stranger", not forged_chain and "it accepted it"


def refusal(verifier, leaf, authorities):
    try:
        verifier.verify(leaf.parsed, authorities)
    except verification.VerificationError as error:
        return str(error)
    return None


def strongswan(estate, stranger):
    """Reads each certificate and list, and verifies each leaf with the lists above it."""
    for one in estate.certificates():
        subject = one.parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        yield f"reads {one.name}", run(["pki", "--print", "--in", one.file], says=f"CN={subject}")
    for one in estate.lists:
        says = r"next on .*, ok"
        yield (
            f"reads {one.name}",
            run(["pki", "--print", "--type", "crl", "--in", one.file], says=says),
        )
    good = r"certificate trusted, lifetimes valid, certificate not revoked"
    for leaf in estate.leaves:
        command = ["pki", "--verify", "--in", leaf.file]
        for authority in (*estate.roots, *estate.issuing):
            command += ["--cacert", authority.file]
        for one in estate.lists_above(leaf):
            command += ["--crl", one.file]
        if estate.is_revoked(leaf):
            yield f"refuses {leaf.name}", run(command, "certificate was revoked")
        else:
            yield leaf.name, run(command, says=good)
    command = ["pki", "--verify", "--in", stranger.leaf.file]
    for authority in (*estate.roots, *estate.issuing):
        command += ["--cacert", authority.file]
    yield "refuses a stranger", run(command, "untrusted|no issuer|not trusted")


def gnutls(estate, stranger):
    """The chain up to the root, with the purpose and every list; and each list."""
    medium = ["--verify-profile", "medium"]
    trusted = ["--load-ca-certificate", estate.every_root, "--load-crl", estate.every_list]
    purposes = {name: oid.dotted_string for oid, name in PURPOSES.items()}
    for leaf in estate.leaves:
        issuing = estate.issuers(leaf.parsed)[0]
        chain = together(estate.folder / "chain.pem", [leaf, issuing])
        verify = ["certtool", "--verify", *medium, *trusted, "--infile", chain]
        mine = ["--verify-purpose", purposes[leaf.purpose]]
        if estate.is_revoked(leaf):
            yield f"refuses {leaf.name}", run([*verify, *mine], "chain is revoked")
            continue
        if leaf.purpose == "sslserver":
            mine += ["--verify-hostname", home.HOST]
        yield leaf.name, run([*verify, *mine], says="Chain verification output: Verified")
        (other,) = set(purposes) - {leaf.purpose}
        as_other = run([*verify, "--verify-purpose", purposes[other]], "intended purpose")
        yield f"refuses {leaf.name} as {other}", as_other
        whole = together(
            estate.folder / "whole.pem", [leaf, issuing, *estate.issuers(issuing.parsed)[:1]]
        )
        to_root = ["certtool", "--verify-chain", *medium, "--infile", whole]
        yield (
            f"{leaf.name} with its chain",
            run(to_root, says="Chain verification output: Verified"),
        )
    for one in estate.lists:
        issuer = estate.issuers(one.parsed)[0]
        read = ["certtool", "--crl-info", "--infile", one.file]
        yield f"reads {one.name}", run(read, says=f"CRL Number .*: 0*{one.number:x}")
        verify = ["certtool", "--verify-crl", "--infile", one.file, "--load-ca-certificate"]
        yield one.name, run([*verify, issuer.file], says="Verification output: Verified")
        refused = run([*verify, stranger.root.file], "NOT trusted")
        yield f"refuses {one.name} as a stranger's", refused
    chain = together(estate.folder / "chain.pem", [stranger.leaf, stranger.issuing])
    verify = ["certtool", "--verify", *medium, *trusted, "--infile", chain]
    yield "refuses a stranger", run(verify, "NOT trusted")


def run(command, refuses=None, says=None):
    """What was wrong with a run: it must succeed, or be a refusal, and say what is expected."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    is_good = (done.returncode == 0) == (refuses is None)
    if is_good and re.search(refuses or says or "", said):
        return None
    return f"exit {done.returncode}, and it says: {said.strip()[-600:]}"


if __name__ == "__main__":
    sys.exit(main())
