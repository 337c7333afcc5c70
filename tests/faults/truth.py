"""The agencies' own ledger: what they sent, what was acknowledged to them, what came to them.

It is the truth that the gateway is held to. It is a file beside the home, of one JSON value a line,
and a later run goes on from it.
"""

import hashlib
import json
import threading

import receipt
from ground import HUB, POLICE, SURGERY


class Truth:
    """What the agencies know."""

    def __init__(self, folder, is_deduplicating=True):
        self._path = folder / "truth.jsonl"
        self._lock = threading.Lock()
        self._is_deduplicating = is_deduplicating
        self.begun = {}
        self.acknowledged = {}
        self.messages = {}
        self.effects = {HUB: {}, POLICE: {}, SURGERY: {}}
        self.collected = set()
        self.saved = set()
        self.repeats = 0
        self.replays = 0
        self.faults = []
        self.kept = folder / "receipts"
        self.kept.mkdir(exist_ok=True)
        self.log = None
        if self._path.exists():
            with open(self._path, encoding="utf-8") as lines:
                for line in lines:
                    if line.endswith("\n"):
                        self._take(*json.loads(line))
        self._file = open(self._path, "a", encoding="utf-8")

    def begin(self, key, mark):
        """A message is about to be sent."""
        self._write("begun", key, mark)

    def acknowledge(self, key, answer):
        """A message was acknowledged: with receipts that verify, or it is a fault."""
        body = json.loads(answer)
        rows = []
        for row in body.get("exchanges") or [body]:
            try:
                index, fields = self.log.prove(row["receipt"])
                if fields["message"] != row["message"] or fields["event"] != "accepted":
                    raise ValueError("the receipt is about something else")
            except (ValueError, KeyError) as error:
                self.fault("receipt", f"{row.get('message')}: {error}")
                continue
            rows.append((row["message"], fields["recipient"], index))
        with self._lock:
            keep = len(self.acknowledged) % 500 == 0
        if keep:
            (self.kept / f"{key}.json").write_bytes(answer)
        self._write("acknowledged", key, hashlib.sha256(answer).hexdigest(), rows)

    def replay(self, key, answer):
        """The same key was sent again: the answer must be the first one, byte for byte."""
        with self._lock:
            self.replays += 1
            first = self.acknowledged[key]
        if hashlib.sha256(answer).hexdigest() != first:
            self.fault("replay", f"{key} was answered otherwise than at first")

    def take(self, agency, message, mark):
        """A message came to an agency; gives whether it was the first time, and so had an effect."""
        with self._lock:
            is_first = message not in self.effects[agency]
            self.repeats += not is_first
        if is_first or not self._is_deduplicating:
            self._write("effect", agency, message, mark)
        return is_first

    def collect(self, message):
        """A message was handed over from a mailbox."""
        self._write("collected", message)

    def save(self, message):
        """That a message is in the agency's record was acknowledged."""
        self._write("saved", message)

    def fault(self, kind, text):
        """Something is not as promised."""
        with self._lock:
            self.faults.append(f"{kind}: {text}")
        if len(self.faults) <= 20:
            print(f"FAULT {kind}: {text}", flush=True)

    def undelivered(self):
        """Acknowledged messages that did not come to their recipient yet."""
        with self._lock:
            return [
                message
                for message, (recipient, _) in self.messages.items()
                if message not in self.effects[recipient]
            ]

    def doubled(self):
        """Effects that an agency had more than once: the same mark under two ids, or one id twice."""
        with self._lock:
            doubled = []
            for agency, effects in self.effects.items():
                seen = {}
                for message, marks in effects.items():
                    for mark in marks:
                        if mark in seen:
                            doubled.append((agency, mark, seen[mark], message))
                        seen[mark] = message
            return doubled

    def reconcile(self, entries):
        """Holds the log's entries to what the agencies know. Gives the lost, and those accepted twice."""
        accepted, collected, saved = {}, set(), set()
        for index, fields in enumerate(entries):
            if fields["event"] == "accepted":
                accepted[fields["message"]] = index
            elif fields["event"] == "collected":
                collected.add(fields["message"])
            elif fields["event"] == "saved":
                saved.add(fields["message"])
        with self._lock:
            lost = [
                message
                for message, (_, index) in self.messages.items()
                if accepted.get(message) != index
            ]
            lost += [message for message in self.collected if message not in collected]
            lost += [message for message in self.saved if message not in saved]
            open_ones = len(self.begun) - len(self.acknowledged)
            twice = [message for message in accepted if message not in self.messages]
        # Of one that was never answered, the agency cannot say whether it was accepted: to each of two.
        return lost, twice if len(twice) > 2 * open_ones else []

    def close(self):
        self._file.close()

    def _write(self, *line):
        text = json.dumps(line) + "\n"
        with self._lock:
            self._file.write(text)
            self._file.flush()
            self._take(*line)

    def _take(self, what, *rest):
        match what:
            case "begun":
                self.begun[rest[0]] = rest[1]
            case "acknowledged":
                key, digest, rows = rest
                self.acknowledged[key] = digest
                for message, recipient, index in rows:
                    self.messages[message] = (recipient, index)
            case "effect":
                agency, message, mark = rest
                self.effects[agency].setdefault(message, []).append(mark)
            case "collected":
                self.collected.add(rest[0])
            case "saved":
                self.saved.add(rest[0])


def log_key(line):
    """The log's public key, as an agency asks for it."""
    return receipt.Log(line.ask("GET", "/v1/log/key").body.decode())
