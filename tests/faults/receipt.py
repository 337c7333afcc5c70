"""Receipts checked by a second hand: written from the formats (C2SP tlog-proof, tlog-checkpoint and
signed-note, RFC 9162), not from the gateway's code."""

import base64
import hashlib
import hmac
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Log:
    """A log's public key, as its `/v1/log/key` gives it: origin+key id+base64."""

    def __init__(self, text):
        self.text = text.strip()
        self.origin, _, encoded = self.text.split("+", 2)
        algorithm, *public = base64.b64decode(encoded)
        if algorithm != 1:
            raise ValueError("the log's key is not an Ed25519 key")
        named = self.origin.encode() + b"\n\x01" + bytes(public)
        self._id = hashlib.sha256(named).digest()[:4]
        self._key = Ed25519PublicKey.from_public_bytes(bytes(public))

    def prove(self, receipt):
        """The index and the fields of the entry that a receipt proves; ValueError if it does not."""
        head, note = receipt.split("\n\n", 1)
        first, extra, index, *proof = head.split("\n")
        if first != "c2sp.org/tlog-proof@v1":
            raise ValueError("it is no tlog-proof")
        extra = base64.b64decode(extra.removeprefix("extra ")).decode()
        index = int(index.removeprefix("index "))
        parsed = json.loads(extra)
        # The fields count as they are spelled, so they are taken as text.
        fields = extra.removeprefix('{"fields":').rpartition(',"salt":')[0]
        salt = base64.b64decode(parsed["salt"])
        commitment = b"\x01" + hmac.digest(salt, fields.encode(), "sha256")
        leaf = hashlib.sha256(b"\x00" + commitment).digest()
        size, root = self._open(note)
        if included(leaf, index, size, [base64.b64decode(line) for line in proof]) != root:
            raise ValueError("the entry is not in the tree that was signed")
        return index, parsed["fields"]

    def _open(self, note):
        body, signatures = note.split("\n\n", 1)
        name, encoded = signatures.split("\n")[0].removeprefix("\u2014 ").split(" ")
        signed = base64.b64decode(encoded)
        if name != self.origin or signed[:4] != self._id:
            raise ValueError("another log's checkpoint")
        try:
            self._key.verify(signed[4:], (body + "\n").encode())
        except InvalidSignature as error:
            raise ValueError("the checkpoint's signature does not verify") from error
        origin, size, root = body.split("\n")
        if origin != self.origin:
            raise ValueError("another log's name in the checkpoint")
        return int(size), base64.b64decode(root)


def included(leaf, index, size, proof):
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2)."""
    if index >= size:
        raise ValueError("the entry is past the end of the log")
    at, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        if at & 1 or at == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        at, last = at >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    return node
