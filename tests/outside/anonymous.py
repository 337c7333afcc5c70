"""Runs a script of tlsfuzzer's as a client that has no certificate, at a door whose key is P-256.

The enrolment door asks for a certificate and does not insist; the scripts expect not to be asked,
and most of them offer signatures by RSA only. So each conversation of theirs is given the question
and its empty answer where TLS 1.3 has them, and offers ECDSA too. Usage:
python anonymous.py FOLDER SCRIPT [WORD…]
"""

import pathlib
import runpy
import sys


def main():
    folder, script = map(pathlib.Path, sys.argv[1:3])
    # tlsfuzzer is not installed: it is used where it was fetched to.
    sys.path.insert(0, str(folder))
    from tlsfuzzer.runner import Runner

    begin = Runner.__init__

    def begun(runner, conversation):
        adapt(conversation)
        begin(runner, conversation)

    Runner.__init__ = begun
    sys.argv = [script.name, *sys.argv[3:]]
    runpy.run_path(str(folder / "scripts" / script), run_name="__main__")


def adapt(conversation):
    """Changes a conversation wherever it can lead; one that is run again has been changed."""
    from tlsfuzzer import expect, messages
    from tlslite.x509certchain import X509CertChain

    nodes, seen = [conversation], set()
    while nodes:
        node = nodes.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        child = node.child
        if isinstance(node, messages.ClientHelloGenerator):
            offer_ecdsa(node)
        if isinstance(node, expect.ExpectEncryptedExtensions):
            if isinstance(child, expect.ExpectCertificate):
                node.add_child(expect.ExpectCertificateRequest()).add_child(child)
        elif not isinstance(node, messages.CertificateGenerator):
            if isinstance(child, messages.FinishedGenerator):
                node.add_child(messages.CertificateGenerator(X509CertChain([]))).add_child(child)
        nodes += [child, node.next_sibling]


def offer_ecdsa(hello):
    from tlslite.constants import ExtensionType, SignatureScheme

    wanted = SignatureScheme.ecdsa_secp256r1_sha256
    offered = (hello.extensions or {}).get(ExtensionType.signature_algorithms)
    sigalgs = getattr(offered, "sigalgs", None)
    if sigalgs and wanted not in sigalgs:
        sigalgs.append(wanted)


if __name__ == "__main__":
    main()
