"""tlsfuzzer's scripts for TLS 1.3 against the enrolment door.

tlsfuzzer is to be had as source only, and nothing of it is kept here: TLSFUZZER names a folder with
it. Without one it is said that it was not run. Where the gateway differs from what a script
expects, the difference is listed here with its reason; any other is a fault. Usage:
python tlsfuzz.py
"""

import os
import pathlib
import re
import subprocess
import sys

from judged import ADDRESS, Tally, anybody, ended_well, judged

ADAPTER = pathlib.Path(__file__).resolve().with_name("anonymous.py")
# As many of each script's conversations, chosen by it.
CONVERSATIONS = 25
SCRIPTS = """
0rtt-garbage ccs conversation count-tickets crfg-curves ecdhe-curves empty-alert finished
finished-plaintext hrr invalid-ciphers keyshare-omitted keyupdate large-number-of-extensions
legacy-version multiple-ccs-messages no-unknown-groups nociphers record-layer-limits record-padding
shuffled-extentions symetric-ciphers unencrypted-alert unrecognised-groups
version-negotiation zero-content-type zero-length-data
""".split()

# What differs: of which script and conversation, how, and why that is as it should be.
EXPECTED = [
    (
        r".*",
        r"Expected alert description .* does not match received",
        "it is refused, and called by another name",
    ),
    (
        r"zero-.*|0rtt-garbage.*",
        r"Unexpected closure from peer|Broken pipe|Connection reset",
        "it is refused; what was still being sent to a closed door has cost the client the alert",
    ),
    (
        r"0rtt-garbage.*",
        r"bad_record_mac",
        "nobody is given a ticket, so that nobody honest sends early data: it is not passed over",
    ),
    (
        r"(0rtt-garbage|version-negotiation).*(TLS 1\.2|to 1\.2).*",
        r"Alert\(fatal, protocol_version\)",
        "TLS 1.2 is not spoken, unless it was switched on",
    ),
    (
        r".*(x448|secp521r1|ffdhe|CCM).*",
        r"Alert\(fatal, handshake_failure\)",
        "finite fields, X448, P-521 and CCM are not offered",
    ),
    (
        r"legacy-version.*version \(.*",
        r"Handshake\(server_hello\)",
        "rustls goes by supported_versions alone, and passes over a version nobody speaks",
    ),
    (
        r"(large-number-of-extensions|shuffled-extentions).*",
        r"Alert\(fatal, decode_error\)",
        "of these numbers some have been given away since, to extensions that may not be empty",
    ),
    (
        r"shuffled-extentions.*HRR.*",
        r"Handshake\(server_hello\)",
        "rustls takes a second hello whose unknown extensions come in another order",
    ),
    (
        r"multiple-ccs-messages.*",
        r"Timeout when waiting",
        "rustls passes over more than one change_cipher_spec, which says nothing in TLS 1.3",
    ),
    (
        r"record-layer-limits.*max size payload.*left padding.*",
        r"decrypt_error|server_hello",
        "the padding makes another Finished of it, which is refused",
    ),
    (
        r"record-layer-limits.*too big ClientHello.*",
        r"Handshake\(server_hello\)",
        "rustls measures a record that is not encrypted as if it were: 2^14 and 2,048 bytes",
    ),
]


def main():
    tally = Tally()
    folder = os.environ.get("TLSFUZZER")
    if folder is None:
        print("tlsfuzzer: could not be fetched, not run")
        print("0 passed, 0 failed")
        return 0
    with judged([("handshakes_per_address_per_second", "1000")]) as gateway:
        for script in SCRIPTS:
            judge(tally, script, conversations(folder, script, gateway.enrolment))
            answer = anybody(gateway).ask("GET", "/.well-known/est/cacerts")
            fault = answer.status != 200 and f"{answer.status}"
            tally.check(f"{script}: the door is open afterwards", fault)
        # What does not speak TLS differs in everything, as nothing in the list says.
        for name, difference in conversations(folder, "ccs", gateway.home.ports["local"]):
            is_seen = difference and reason(f"ccs: {name}", difference) is None
            tally.check(f"control: {name}", not is_seen and f"{difference}")
        tally.check("the gateway ends in order", ended_well(gateway))
    return tally.end()


def judge(tally, script, found):
    """Counts a script's conversations, but for those that differ as is expected."""
    waived = 0
    for name, difference in found:
        if difference and reason(f"{script}: {name}", difference):
            waived += 1
        else:
            tally.check(f"{script}: {name}", difference)
    if waived:
        print(f"{script}: {waived} differ as expected", flush=True)
    tally.check(f"{script}: it ran", not found and "nothing")


def reason(name, difference):
    """Why this is expected to differ so, if it is."""
    for which, how, why in EXPECTED:
        if re.fullmatch(which, name) and re.search(how, difference):
            return why
    return None


def conversations(folder, script, port):
    """The conversations a script had with the door: each one's name, and how it differed."""
    words = [f"test-tls13-{script}.py", "-h", ADDRESS, "-p", port, "-n", CONVERSATIONS]
    command = map(str, [sys.executable, ADAPTER, folder, *words])
    # Python would keep what it compiled in the folder, which is not ours.
    unkept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=unkept
    )
    if "Test end" not in done.stdout:
        raise RuntimeError(f"{script}, exit {done.returncode}: {done.stdout[-2000:]}")
    said = re.split(r"^(.+) \.\.\.$", done.stdout.split("Test end")[0], flags=re.MULTILINE)[1:]
    found = []
    for name, outcome in zip(said[::2], said[1::2], strict=True):
        errors = re.findall(r"^\w*(?:Error|Exception)\w*: .*", outcome, re.MULTILINE)
        is_good = re.search(r"^OK$", outcome, re.MULTILINE)
        found.append((name, "" if is_good else (errors or [outcome[-600:]])[-1]))
    return found


if __name__ == "__main__":
    sys.exit(main())
