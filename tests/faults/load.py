"""Agencies at work: they ask, answer, collect and save, and send again whatever was not answered."""

import queue
import threading
import uuid

import case
from ground import HUB, POLICE, SURGERY, Endpoint, Line, Refused, until
from truth import log_key

# So many messages may be under way before the hub asks further agencies.
BACKLOG_MAX = 60
# Not now, as the gateway says it: the same is sent again.
LATER = (408, 429, 503, 507)


class Ended(Exception):
    """The work is over."""


class Load:
    """The agencies, each with workers of its own. They work while the gateway is up."""

    def __init__(self, home, truth, watch=None, dispatchers=4, has_push=True, timeout=30):
        self.home = home
        self.truth = truth
        self.has_push = has_push
        self.watch = watch or (lambda point, kind: 0)
        self.timeout = timeout
        self.pushed = queue.SimpleQueue()
        self.refusals = {}
        self.state = threading.Condition()
        self._epoch = 0
        self._is_up = False
        self._is_dispatching = True
        self._has_ended = False
        self.endpoint = None
        if has_push:
            self.endpoint = Endpoint(
                home, self._take, lambda: self.watch("push-answered", None)
            )
        workers = [Dispatcher(self, HUB) for _ in range(dispatchers)]
        workers += [Collector(self, HUB), Collector(self, SURGERY)]
        if has_push:
            workers += [Responder(self, POLICE), Responder(self, POLICE)]
        else:
            workers += [Collector(self, POLICE)]
        self._workers = workers

    def start(self):
        """Sets the agencies to work; they wait until the gateway is up."""
        for worker in self._workers:
            worker.start()

    def up(self):
        """The gateway listens."""
        with self.state:
            self._epoch += 1
            self._is_up = True
            self.state.notify_all()
        if self.truth.log is None:
            self.truth.log = log_key(self.line(HUB))
            with self.state:
                self.state.notify_all()

    def down(self):
        """The gateway is dead."""
        with self.state:
            self._is_up = False

    def quiet(self):
        """The hub asks nobody further; what is under way goes on."""
        with self.state:
            self._is_dispatching = False
            self.state.notify_all()

    def rest(self):
        """The hub asks nobody further, and has the answer to what it asked; says whether it has."""
        self.quiet()
        return until(lambda: not any(worker.is_asking for worker in self._workers))

    def resume(self):
        """The hub asks again."""
        with self.state:
            self._is_dispatching = True
            self.state.notify_all()

    def end(self):
        """Everybody finishes what is in hand, while the gateway is up, and ends."""
        with self.state:
            self._has_ended = True
            self.state.notify_all()
        for worker in self._workers:
            self.pushed.put(None)
        for worker in self._workers:
            worker.join(120)
        # An answer may still have been under way when its collector ended.
        last = Collector(self, HUB)
        try:
            while last.step():
                pass
        except Ended:
            pass
        return not any(worker.is_alive() for worker in self._workers)

    def close(self):
        """Nothing is listened to any longer."""
        if self.endpoint is not None:
            self.endpoint.close()

    def failed(self):
        """What a worker died of, if one did."""
        return next((worker.error for worker in self._workers if worker.error), None)

    def line(self, agency):
        """A connection of this agency's."""
        ports, credentials = self.home.ports, self.home.credentials(agency)
        return Line(ports["partner_api"], credentials, self.watch, self.timeout)

    def wait(self, seen):
        """Waits until the gateway is up again after the time that was `seen`; gives the new one."""
        with self.state:
            # It may have been another fault than its death: then the wait is short.
            self.state.wait_for(lambda: self._epoch > seen, 0.25)
            self.state.wait_for(lambda: self._is_up and self.truth.log or self._has_ended)
            if not self._is_up:
                raise Ended
            return self._epoch

    def may_go_on(self, dispatcher=None):
        """Waits until there is something to do; says whether there will be."""
        with self.state:
            if dispatcher:
                dispatcher.is_asking = False
            self.state.wait_for(
                lambda: self._has_ended
                or (self._is_up and self.truth.log and (not dispatcher or self._has_room()))
            )
            if dispatcher:
                dispatcher.is_asking = not self._has_ended
            return not self._has_ended

    def refused(self, status):
        """Counts an answer that says: not now."""
        with self.state:
            self.refusals[status] = self.refusals.get(status, 0) + 1
            self.state.wait_for(lambda: self._has_ended, 0.05)

    def settled(self):
        """Something was delivered: there may be room for more."""
        with self.state:
            self.state.notify_all()

    def _has_room(self):
        delivered = sum(len(effects) for effects in self.truth.effects.values())
        return self._is_dispatching and len(self.truth.messages) - delivered < BACKLOG_MAX

    def _take(self, document):
        mark = case.mark_in(document)
        is_first = self.truth.take(POLICE, document["id"], mark)
        if is_first:
            self.pushed.put(document)
        self.settled()
        self.watch("push-taken", None)


class Worker(threading.Thread):
    """One of an agency's connections, and what is done over it."""

    def __init__(self, load, agency):
        super().__init__(daemon=True)
        self.load = load
        self.truth = load.truth
        self.agency = agency
        self.error = None
        self.is_asking = False
        self._line = load.line(agency)
        self._epoch = 0
        # What was acknowledged since the last break: after the next one it is asked for again.
        self._unconfirmed = []

    def run(self):
        try:
            while self.load.may_go_on(self if isinstance(self, Dispatcher) else None):
                self.step()
        except Ended:
            pass
        except Exception as error:
            self.error = error
            self.truth.fault("worker", repr(error))
        finally:
            self._line.close()

    def say(self, path, body, mark):
        """Sends a message until it is acknowledged, always with the same key."""
        key = str(uuid.uuid4())
        self.truth.begin(key, mark)
        answer = self.ask("POST", path, body, key)
        if answer.status != 202:
            self.truth.fault("answer", f"{path}: {answer.status} {answer.body[:300]}")
            return
        self.truth.acknowledge(key, answer.body)
        self._unconfirmed.append((path, body, key))
        del self._unconfirmed[:-40]

    def ask(self, method, path, body=None, key=None):
        """Asks until there is an answer that is not "later"."""
        while True:
            answer = self._try(method, path, body, key)
            if answer is not None and answer.status not in LATER:
                return answer
            if answer is not None:
                self.load.refused(answer.status)
                if self.load.state and not self.load.may_go_on():
                    raise Ended

    # After a break everything that was acknowledged is asked for again, before anything else.
    def _try(self, method, path, body, key):
        try:
            while self._unconfirmed and self._is_after_a_break:
                again, sent, known = self._unconfirmed[-1]
                answer = self._line.ask("POST", again, sent, known)
                if answer.status in LATER:
                    return answer
                self._unconfirmed.pop()
                self.truth.replay(known, answer.body)
            self._is_after_a_break = False
            return self._line.ask(method, path, body, key)
        except Refused:
            self._is_after_a_break = True
            self._epoch = self.load.wait(self._epoch)
            return None

    _is_after_a_break = False


class Dispatcher(Worker):
    """Asks a police force and a surgery about a child."""

    def step(self):
        mark = f"Mark {uuid.uuid4()}."
        self.say("/v1/rfis", case.dispatch(mark), mark)


class Responder(Worker):
    """Answers what was pushed to its agency's endpoint."""

    def step(self):
        document = self.load.pushed.get()
        if document is not None:
            respond(self, document)


class Collector(Worker):
    """Collects from its agency's mailbox, has an effect for each new id, and says that it is saved."""

    def step(self):
        """Says whether anything waited."""
        listed = self.ask("GET", "/v1/inbox?limit=50")
        if listed.status != 200:
            self.truth.fault("answer", f"inbox: {listed.status} {listed.body[:300]}")
            return False
        waiting = listed.json()["messages"]
        if not waiting:
            with self.load.state:
                self.load.state.wait_for(lambda: self.load._has_ended, 0.05)
        for message in waiting:
            self._collect(f"/v1/messages/{message['id']}")
        return bool(waiting)

    def _collect(self, path):
        collected = self.ask("GET", path)
        if collected.status != 200:
            self.truth.fault("answer", f"{path}: {collected.status} {collected.body[:300]}")
            return
        document = collected.json()
        self.truth.collect(document["id"])
        is_first = self.truth.take(self.agency, document["id"], case.mark_in(document))
        self.load.settled()
        if is_first and self.agency != HUB:
            respond(self, document)
        saved = self.ask("POST", f"{path}/saved", b"{}")
        if saved.status == 200:
            self.truth.save(document["id"])
        else:
            self.truth.fault("answer", f"{path}/saved: {saved.status} {saved.body[:300]}")


def respond(worker, document):
    """Answers the RFI that a document carries."""
    mark = f"Mark {uuid.uuid4()}."
    body = case.response(mark, document["id"])
    worker.say(f"/v1/exchanges/{document['subject']}/responses", body, mark)
