//! Does the steps to a real gateway, and looks at everything after each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mash_gateway::audit::entry::{Event, Fields, GiveUpReason, Grant};
use mash_gateway::audit::receipt::verify_answer;
use mash_gateway::issuer::IssuedChain;
use mash_gateway::message::{AgencyId, ExchangeId, Kind, MessageId, Target, now};
use mash_gateway::pki::ca::Profile;
use mash_gateway::pki::crl::Reason;
use mash_gateway::pki::identity::{Registry, Standing};
use mash_gateway::problem::Problem;
use mash_gateway::register::{RegisterError, is_gateways};
use mash_gateway::store::{DeliveryState, Effect, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::model::{Cause, GIVE_UP_AFTER, Model, Sent};
use super::{By, Op, Said, Step, Tried};
use crate::support::endpoint::{Behaviour, Endpoint};
use crate::support::faulty_store::{Defect, FaultyStore, Plan};
use crate::support::told::{self, Told};
use crate::support::{HUB, POLICE, SURGERY, TRUST, case, text};

const AGENCIES: [&str; 4] = [HUB, POLICE, TRUST, SURGERY];

/// An agency's certificate, as it knows it.
struct Certificate {
    sha256: [u8; 32],
    serial: String,
    not_after: Timestamp,
    is_revoked: bool,
}

pub(super) struct World {
    home: TempDir,
    /// Where the police and the surgery take pushes; the surgery has a mailbox as well.
    endpoint: Endpoint,
    /// How much of what the endpoint was sent is known.
    pushed: usize,
    defect: Option<Defect>,
    plan: Arc<Plan>,
    running: Option<Told>,
    at: Timestamp,
    model: Model,
    certificates: BTreeMap<&'static str, Certificate>,
    saved: BTreeMap<MessageId, (u64, Timestamp)>,
    /// What recipients were told that it has reached them, or is in their record.
    told: Vec<(MessageId, &'static [&'static str])>,
    backup: Option<(PathBuf, u64)>,
    tried: Tried,
}

impl World {
    pub(super) async fn new(home: &Path, defect: Option<Defect>) -> Self {
        let home = told::copy(home);
        let mut endpoint = Endpoint::reserve();
        let lines = [false, true].map(|has_mailbox| endpoint.lines(has_mailbox));
        let partners = case::partners(&[(POLICE, &lines[0]), (SURGERY, &lines[1])]);
        std::fs::write(home.path().join("partners.toml"), partners).unwrap();
        endpoint.introduce(home.path());
        endpoint.start(home.path());
        let mut world = Self {
            home,
            endpoint,
            pushed: 0,
            defect,
            plan: Arc::default(),
            running: None,
            at: now(),
            model: Model::default(),
            certificates: BTreeMap::new(),
            saved: BTreeMap::new(),
            told: Vec::new(),
            backup: None,
            tried: Tried::default(),
        };
        world.start();
        let store = world.running().store();
        let size = store.head().await.unwrap().unwrap().size;
        let certificates = store.certificates().await.unwrap();
        world.model.size = size;
        for known in certificates {
            let agency = AGENCIES.into_iter().find(|agency| known.agency.as_str() == *agency);
            if let Some(agency) = agency.filter(|_| !is_gateways(&known)) {
                let (sha256, serial) = (known.sha256, known.serial);
                let certificate =
                    Certificate { sha256, serial, not_after: known.not_after, is_revoked: false };
                world.certificates.insert(agency, certificate);
            }
        }
        world
    }

    fn start(&mut self) {
        let open = |database: &Path| -> Arc<dyn Store> {
            Arc::new(FaultyStore::open(database, &self.plan, self.defect))
        };
        self.running = Some(Told::on(self.home.path(), open));
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end().await;
        }
    }

    pub(super) async fn end(mut self) -> Tried {
        self.stop().await;
        Tried { pushes: self.pushed, events: self.model.events, ..self.tried }
    }

    fn running(&self) -> &Told {
        self.running.as_ref().unwrap()
    }

    /// Does the steps, and then waits until nothing is queued any more; what is promised is held to all
    /// the while.
    pub(super) async fn live(&mut self, steps: &[Step]) -> Result<(), String> {
        for (i, step) in steps.iter().enumerate() {
            self.at += SignedDuration::from_millis(1);
            let done = self.step(step).await;
            done.map_err(|why| format!("step {i}, {:?}: {why}", step.op))?;
            self.tried.steps += 1;
        }
        self.settle().await.map_err(|why| format!("in the end: {why}"))
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(fault) = step.fault {
            self.plan.arm_next(fault);
        }
        let cause = self.act(step).await?;
        self.disarm();
        self.look(&cause).await
    }

    /// Whether the fault that was to come did come; it does not come any more.
    fn disarm(&mut self) -> bool {
        let has_fired = self.plan.fired().is_some();
        self.tried.faults += usize::from(has_fired);
        has_fired
    }

    /// What comes of this, or nothing when no answer comes.
    async fn answer<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.plan.unanswered() => {
                self.plan.forsake();
                None
            }
        }
    }

    async fn act(&mut self, step: &Step) -> Result<Cause, String> {
        match step.op {
            Op::Ask(whom) => {
                let asked = [POLICE, TRUST, SURGERY].into_iter().enumerate();
                let asked: Vec<_> =
                    asked.filter(|(i, _)| whom >> i & 1 == 1).map(|(_, a)| a).collect();
                let mut body = case::dispatch(&asked);
                body["rfi"]["responseRequiredBy"] = json!(ONE_DAY);
                self.send_new(HUB, Target::Rfis, None, body, step.asks_again).await
            }
            Op::Say { exchange, what, by } => self.say(exchange, what, by, step.asks_again).await,
            Op::SendAgain { which, is_altered } => {
                let Some(which) = choose(which, self.model.sent.len()) else {
                    return Ok(nothing());
                };
                let mut index = which;
                if is_altered {
                    let Sent { sender, key, target, what, body, .. } = &self.model.sent[which];
                    let (key, target, body) = (key.clone(), target.clone(), format!("{body} "));
                    index = self.sent(sender, key, target, *what, body);
                }
                self.send(index, step.asks_again).await
            }
            Op::Collect { message, by } => self.collect(message, by, step.asks_again).await,
            Op::Save { message, by } => self.save(message, by, step.asks_again).await,
            Op::Deliver { is_twice } => {
                self.deliver(is_twice).await?;
                Ok(Cause::Delivery)
            }
            Op::Endpoints(behaviour) => {
                self.endpoint.behave(behaviour);
                Ok(nothing())
            }
            Op::Retry(message) => {
                let Some(id) = self.message_that_is("returned", message) else {
                    return Ok(nothing());
                };
                let (at, to) = (self.at, &self.model.messages[&id].recipient);
                let is_pushed = matches!(to.as_str(), POLICE | SURGERY);
                let state = match is_pushed {
                    true => DeliveryState::Queued { endpoint: 0, at, attempts: 0 },
                    false => DeliveryState::Held,
                };
                let effect = Effect::Retry { message: id, state, at };
                self.operate(&id, |envelope| Event::retried(envelope, is_pushed), effect).await;
                Ok(Cause::Retried(id))
            }
            Op::GiveUp(message) => {
                let Some(id) = self.message_that_is("queued", message) else {
                    return Ok(nothing());
                };
                let effect = Effect::GiveUp { message: id, at: self.at };
                let reason = GiveUpReason::SenderAsked;
                self.operate(&id, |envelope| Event::given_up(envelope, 0, reason), effect).await;
                Ok(Cause::GivenUp(id))
            }
            Op::Revoke(agency) => {
                let agency = AGENCIES[usize::from(agency) % AGENCIES.len()];
                // Whoever revokes does so until it is done.
                loop {
                    let id = agency.parse().unwrap();
                    let revoking = self.running().register.revoke_agency(
                        &id,
                        Reason::Superseded,
                        None,
                        self.at,
                    );
                    if let Some(Ok(_)) = self.answer(revoking).await {
                        break;
                    }
                }
                self.certificates.get_mut(agency).unwrap().is_revoked = true;
                Ok(Cause::Certificates(agency))
            }
            Op::Renew(agency) => {
                let agency = AGENCIES[usize::from(agency) % AGENCIES.len()];
                let Certificate { serial, is_revoked, .. } = &self.certificates[agency];
                let (grant, is_revoked) = (Grant::Renewal { serial: serial.clone() }, *is_revoked);
                match self.certify(agency, grant).await {
                    Some(Err(RegisterError::PredecessorRevoked)) if is_revoked => {}
                    Some(Ok(_)) if is_revoked => return Err("renewed what was revoked".to_owned()),
                    Some(Ok(issued)) => self.holds(agency, issued),
                    _ if self.disarm() => {}
                    _ => return Err("not renewed".to_owned()),
                }
                Ok(Cause::Certificates(agency))
            }
            Op::Issue(agency) => {
                let agency = AGENCIES[usize::from(agency) % AGENCIES.len()];
                match self.certify(agency, Grant::Operator).await {
                    Some(Ok(issued)) => self.holds(agency, issued),
                    _ if self.disarm() => {}
                    _ => return Err("not issued".to_owned()),
                }
                Ok(Cause::Certificates(agency))
            }
            Op::Restart => {
                self.stop().await;
                self.start();
                self.verify().await?;
                Ok(nothing())
            }
            Op::Wait(seconds) => {
                self.at += SignedDuration::from_secs(seconds.into());
                Ok(nothing())
            }
            Op::BackUp => {
                let folder = self.home.path().join(format!("backup-{}", self.model.size));
                let made = self.command(&["backup", folder.to_str().unwrap()]);
                if !made.status.success() {
                    return Err(text(&made.stderr));
                }
                // That it was made is in it.
                self.backup = Some((folder, self.model.size + 1));
                Ok(Cause::Command("store-backed-up"))
            }
            Op::Restore => {
                let Some((folder, size)) = self.backup.clone() else { return Ok(nothing()) };
                self.stop().await;
                let restored = self.command(&["restore", folder.to_str().unwrap()]);
                self.start();
                // An older one is refused, and what is there stays.
                let expected = if size == self.model.size { 0 } else { 3 };
                if restored.status.code() != Some(expected) {
                    return Err(format!("exit {expected} expected: {}", text(&restored.stderr)));
                }
                Ok(Cause::Command("store-restored"))
            }
        }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mash-gateway"));
        command.arg("store").args(arguments).arg("--home").arg(self.home.path());
        command.output().unwrap()
    }

    fn message(&self, number: u8) -> Option<MessageId> {
        let index = choose(number, self.model.messages.len())?;
        self.model.messages.keys().nth(index).copied()
    }

    /// A message in this state while there are any, or else any: what is not the time for it is tried too.
    fn message_that_is(&self, state: &str, number: u8) -> Option<MessageId> {
        let such = self.model.messages.iter().filter(|(_, message)| message.state == state);
        let such: Vec<_> = such.map(|(id, _)| *id).collect();
        choose(number, such.len()).map(|index| such[index]).or_else(|| self.message(number))
    }

    // --- what is sent -----------------------------------------------------------------------------

    async fn say(
        &mut self,
        exchange: u8,
        what: Said,
        by: By,
        asks_again: bool,
    ) -> Result<Cause, String> {
        let Some(index) = choose(exchange, self.model.exchanges.len()) else {
            return Ok(nothing());
        };
        let (id, exchange) = self.model.exchanges.iter().nth(index).unwrap();
        let rfi = exchange.rfi.to_string();
        let (kind, mut body) = match what {
            Said::WillReply | Said::WillNotReply => {
                (Kind::Acknowledgement, case::acknowledgement(&rfi))
            }
            Said::Partial => (Kind::Response, case::partial(&rfi)),
            Said::Response => (Kind::Response, case::response(&rfi)),
            Said::Supplement => (Kind::Supplement, case::supplement(&rfi)),
            Said::Outcome => (Kind::Outcome, case::outcome()),
        };
        match what {
            Said::WillReply => body["willReplyBy"] = json!(ONE_DAY),
            Said::WillNotReply => {
                body = json!({
                    "inReplyTo": rfi, "acknowledgedBy": body["acknowledgedBy"],
                    "wrongRecipient": { "suggestion": "We do not know." },
                });
            }
            Said::Partial => body["moreToFollowBy"] = json!(ONE_DAY),
            Said::Response | Said::Supplement | Said::Outcome => {}
        }
        let party = if what == Said::Outcome { HUB } else { &exchange.agency };
        let sender = speaker(party, by);
        self.send_new(sender, Target::Exchange(*id, kind), Some(what), body, asks_again).await
    }

    async fn send_new(
        &mut self,
        sender: &'static str,
        target: Target,
        what: Option<Said>,
        body: Value,
        asks_again: bool,
    ) -> Result<Cause, String> {
        let key = format!("01890a5d-ac96-774b-bcce-{:012}", self.model.sent.len());
        let index = self.sent(sender, key, target, what, body.to_string());
        self.send(index, asks_again).await
    }

    /// Which of what was sent this is.
    fn sent(
        &mut self,
        sender: &'static str,
        key: String,
        target: Target,
        what: Option<Said>,
        body: String,
    ) -> usize {
        let is_it = |known: &Sent| {
            (known.sender, &known.key, &known.target, &known.body) == (sender, &key, &target, &body)
        };
        self.model.sent.iter().position(is_it).unwrap_or_else(|| {
            let (is_kept, answer) = (false, None);
            self.model.sent.push(Sent { sender, key, target, what, body, is_kept, answer });
            self.model.sent.len() - 1
        })
    }

    async fn send(&mut self, index: usize, asks_again: bool) -> Result<Cause, String> {
        let sent = &self.model.sent[index];
        if !self.is_let_in(sent.sender).await {
            return Ok(nothing());
        }
        let recipients = match &sent.target {
            Target::Exchange(id, _) if sent.sender == HUB => {
                vec![self.model.exchanges[id].agency.clone()]
            }
            Target::Exchange(..) | Target::Test(_) => vec![HUB.to_owned()],
            Target::Rfis => {
                let body: Value = serde_json::from_str(&sent.body).unwrap();
                let asked = body["recipients"].as_array().unwrap();
                asked.iter().map(|to| to["agency"].as_str().unwrap().to_owned()).collect()
            }
        };
        let expected = self.model.refusal(sent);
        let mut answered = self.submit(sent).await;
        let has_fired = self.disarm();
        if is_no_answer(&answered) && has_fired {
            if !asks_again {
                return Ok(Cause::Sent(index, recipients));
            }
            answered = self.submit(&self.model.sent[index]).await;
        }
        match (answered, expected) {
            (Some(Ok(answer)), None) => {
                let sent = &mut self.model.sent[index];
                if sent.answer.get_or_insert_with(|| answer.clone()) != &answer {
                    return Err("another answer than the first".to_owned());
                }
            }
            (Some(Err(problem)), Some(code)) if problem.kind.facts().code == code => {}
            (answered, expected) => {
                let answered = answered.map(|answered| {
                    answered.map_err(|problem| (problem.kind.facts().code, problem.detail))
                });
                return Err(format!("{answered:?}, and not {expected:?}"));
            }
        }
        Ok(Cause::Sent(index, recipients))
    }

    async fn submit(&self, sent: &Sent) -> Option<Result<String, Problem>> {
        let Sent { sender, key, target, body, .. } = sent;
        self.answer(self.running().submit(sender, key, target.clone(), body, self.at)).await
    }

    // --- what is received -------------------------------------------------------------------------

    async fn collect(&mut self, number: u8, by: By, asks_again: bool) -> Result<Cause, String> {
        let Some(id) = self.message(number) else { return Ok(nothing()) };
        let recipient = self.model.messages[&id].recipient.clone();
        let reader = speaker(&recipient, by);
        if !self.is_let_in(reader).await {
            return Ok(nothing());
        }
        let mut collected = self.fetch(reader, &id).await;
        if self.disarm() {
            if !asks_again {
                return Ok(Cause::Collected(id));
            }
            collected = self.fetch(reader, &id).await;
        }
        match collected {
            Some(Ok(document)) if reader == recipient => {
                self.is_document(&id, &document)?;
                self.told.push((id, REACHED));
            }
            Some(Err("not-found")) if reader != recipient => {}
            Some(Ok(_)) => return Err(format!("{reader} reads what is {recipient}'s")),
            other => return Err(format!("{reader}: {other:?}")),
        }
        Ok(Cause::Collected(id))
    }

    async fn fetch(&self, reader: &str, id: &MessageId) -> Option<Result<Value, &'static str>> {
        let reader = reader.parse().unwrap();
        let collecting = self.running().gateway.collect(&reader, None, None, id, self.at);
        let collected = self.answer(collecting).await?;
        Some(match collected {
            Ok(document) => Ok(serde_json::from_slice(&document).unwrap()),
            Err(problem) => Err(problem.kind.facts().code),
        })
    }

    /// That a document is this message, for its recipient, with its sender's words in it.
    fn is_document(&self, id: &MessageId, document: &Value) -> Result<(), String> {
        let message = &self.model.messages[id];
        let from = format!("/{}", message.sender);
        let is_its = document["id"] == id.to_string()
            && document["to"] == message.recipient
            && document["source"].as_str().unwrap().ends_with(&from);
        let sent: Value = serde_json::from_str(&self.model.sent[message.sent].body).unwrap();
        // An RFI is narrowed to what each agency is asked.
        let are_words = match message.is_rfi {
            true => document["data"]["persons"] == sent["rfi"]["persons"],
            false => document["data"] == sent,
        };
        if is_its && are_words { Ok(()) } else { Err(format!("{id} is not {document}")) }
    }

    async fn save(&mut self, number: u8, by: By, asks_again: bool) -> Result<Cause, String> {
        let Some(id) = self.message(number) else { return Ok(nothing()) };
        let message = &self.model.messages[&id];
        let (recipient, state) = (message.recipient.clone(), message.state);
        let reader = speaker(&recipient, by);
        if !self.is_let_in(reader).await {
            return Ok(nothing());
        }
        let expected = match state {
            _ if reader != recipient => Err("not-found"),
            "collected" | "delivered" | "saved" => Ok(()),
            _ => Err("not-collected"),
        };
        let mut saved = self.note_saved(reader, &id).await;
        if self.disarm() {
            if !asks_again {
                return Ok(Cause::Saved(id));
            }
            saved = self.note_saved(reader, &id).await;
        }
        match (saved, expected) {
            (Some(Ok(first)), Ok(())) => {
                if *self.saved.entry(id).or_insert(first) != first {
                    return Err("saved at another time than the first".to_owned());
                }
                self.told.push((id, &["saved"]));
            }
            (Some(Err(code)), Err(expected)) if code == expected => {}
            (saved, expected) => return Err(format!("{saved:?}, and not {expected:?}")),
        }
        Ok(Cause::Saved(id))
    }

    async fn note_saved(
        &self,
        reader: &str,
        id: &MessageId,
    ) -> Option<Result<(u64, Timestamp), &'static str>> {
        let reader = reader.parse().unwrap();
        let saving = self.running().gateway.save(&reader, None, None, id, None, self.at);
        let saved = self.answer(saving).await?;
        Some(
            saved.map(|saved| (saved.entry, saved.at)).map_err(|problem| problem.kind.facts().code),
        )
    }

    // --- what is done unasked, and by operators ---------------------------------------------------

    /// What is due is done; returns when more is.
    async fn deliver(&mut self, is_twice: bool) -> Result<Option<Timestamp>, String> {
        let beside = is_twice.then(|| Told::of(self.home.path()));
        let (at, running) = (self.at, self.running());
        let next = self
            .answer(async {
                let Some(beside) = &beside else { return running.deliver.round(at).await };
                let (own, others) =
                    tokio::join!(running.deliver.round(at), beside.deliver.round(at));
                others?;
                own
            })
            .await;
        if let Some(beside) = beside {
            beside.end().await;
        }
        let has_fired = self.disarm();
        match next {
            Some(Ok(Some(next))) if next <= at => Err("time does not go on".to_owned()),
            Some(Ok(next)) => Ok(next),
            _ if has_fired => Ok(Some(at)),
            Some(Err(problem)) => Err(problem.detail),
            None => Err("no answer".to_owned()),
        }
    }

    async fn operate(
        &self,
        id: &MessageId,
        event: impl FnOnce(&mash_gateway::message::Envelope) -> Event,
        effect: Effect,
    ) {
        let running = self.running();
        let stored = running.store().message(id).await.unwrap();
        let exchange = Some(stored.envelope.exchange);
        let event = event(&stored.envelope);
        // Whether it was done, the log says.
        self.answer(running.gateway.ledger().record(&event, self.at, exchange, effect)).await;
    }

    async fn certify(
        &self,
        agency: &str,
        grant: Grant,
    ) -> Option<Result<IssuedChain, RegisterError>> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "any");
        let request = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let (profile, csr) = (Profile::Agency(agency.parse().unwrap()), request.pem().unwrap());
        self.answer(self.running().register.issue(&profile, &csr, grant, self.at)).await
    }

    fn holds(&mut self, agency: &'static str, issued: IssuedChain) {
        let IssuedChain { sha256, serial, not_after, .. } = issued;
        let certificate = Certificate { sha256, serial, not_after, is_revoked: false };
        self.certificates.insert(agency, certificate);
    }

    /// Whether the door lets the agency in with the certificate it has.
    async fn is_let_in(&self, agency: &str) -> bool {
        let registry = Registry::new(&self.running().store().certificates().await.unwrap());
        registry.standing(&self.certificates[agency].sha256, self.at) == Standing::Active
    }

    // --- what has to be so ------------------------------------------------------------------------

    /// Every new entry is one that the cause explains.
    async fn follow(&mut self, cause: &Cause) -> Result<(), String> {
        self.learn_pushes()?;
        let running = self.running.as_ref().unwrap();
        let store = running.store();
        for entry in store.entries(self.model.size, usize::MAX >> 1).await.unwrap() {
            if entry.index != self.model.size {
                return Err(format!("entry {} is missing", self.model.size));
            }
            let fields = Fields::parse(&entry.fields.unwrap()).unwrap();
            self.model.follow(&fields, cause, self.at)?;
            self.model.size += 1;
        }
        let head = store.head().await.unwrap().unwrap();
        if head.size != self.model.size {
            return Err(format!("{} entries, and signed are {}", self.model.size, head.size));
        }
        if *self.model.heads.entry(head.size).or_insert(head.root) != head.root {
            return Err(format!("two roots of {} entries", head.size));
        }
        if self.model.sent.iter().any(|sent| sent.answer.is_some() && !sent.is_kept) {
            return Err("answered and not kept".to_owned());
        }
        for (id, states) in self.told.drain(..) {
            let state = self.model.messages[&id].state;
            if !states.contains(&state) {
                return Err(format!("handed over or saved, and {id} is {state}"));
            }
        }
        Ok(())
    }

    async fn look(&mut self, cause: &Cause) -> Result<(), String> {
        self.follow(cause).await?;
        let running = self.running();
        let store = running.store();
        for (id, message) in &self.model.messages {
            let stored = store.message(id).await.map_err(|error| format!("{id}: {error}"))?;
            let is_its = stored.envelope.recipient.as_str() == message.recipient;
            if stored.delivery.as_str() != message.state || !is_its {
                let expected = (message.state, &message.recipient);
                let found = (stored.delivery.as_str(), stored.envelope.recipient.as_str());
                return Err(format!("{id} is {found:?}, and not {expected:?}"));
            }
        }
        for (id, exchange) in &self.model.exchanges {
            let stored = store.exchange(id).await.unwrap();
            let found = (stored.state.as_str(), stored.marks.outcome_at.is_some());
            if found != (exchange.state, exchange.has_outcome) {
                return Err(format!("exchange {id} is {found:?}, and not {}", exchange.state));
            }
        }
        self.inboxes(running).await?;
        self.strangers(running).await?;
        self.standings(store).await
    }

    /// Learns what the endpoint was sent. What it took, it took for the right agency.
    fn learn_pushes(&mut self) -> Result<(), String> {
        let pushed = self.endpoint.pushed().split_off(self.pushed);
        self.pushed += pushed.len();
        for push in pushed {
            let id = push.document["id"].as_str().unwrap().parse().unwrap();
            if !self.model.messages.contains_key(&id) {
                return Err(format!("{id} is pushed, and was not accepted"));
            }
            self.is_document(&id, &push.document)?;
            match push.behaviour {
                Behaviour::Take | Behaviour::TakeAndFail | Behaviour::TakeAndVanish => {
                    let to = push.document["to"].as_str().unwrap().to_owned();
                    self.model.taken.insert(id, to);
                }
                Behaviour::Refuse => {
                    self.model.refused.insert(id);
                }
                Behaviour::AreDown | Behaviour::AreBusy => {}
            }
        }
        Ok(())
    }

    async fn inboxes(&self, running: &Told) -> Result<(), String> {
        for agency in AGENCIES {
            let agency: AgencyId = agency.parse().unwrap();
            let listed = running.gateway.inbox(&agency, None, None, usize::MAX >> 1).await;
            let listed: BTreeSet<_> =
                listed.ok().unwrap().iter().map(|stored| stored.envelope.id).collect();
            if listed != self.model.inbox(&agency) {
                return Err(format!("the inbox of {agency} has {} messages", listed.len()));
            }
        }
        Ok(())
    }

    /// That nobody learns anything of what is between others: of the newest message.
    async fn strangers(&self, running: &Told) -> Result<(), String> {
        let Some((id, message)) = self.model.messages.last_key_value() else { return Ok(()) };
        for agency in AGENCIES {
            if agency == message.recipient || agency == message.sender {
                continue;
            }
            let (reader, gateway) = (agency.parse().unwrap(), &running.gateway);
            let exchange: ExchangeId = message.exchange;
            let codes = [
                gateway.collect(&reader, None, None, id, self.at).await.err(),
                gateway.save(&reader, None, None, id, None, self.at).await.err(),
                gateway.receipt(&reader, id).await.err(),
                gateway.non_delivery(&reader, id).await.err(),
                gateway.exchange_of(&reader, id).await.err(),
                gateway.exchange(&reader, &exchange).await.err(),
                gateway.timeline(&reader, &exchange).await.err(),
            ]
            .map(|problem| problem.map(|problem| problem.kind.facts().code));
            if codes != [Some("not-found"); 7] {
                return Err(format!("{agency} learns of {id}: {codes:?}"));
            }
        }
        Ok(())
    }

    async fn standings(&self, store: &dyn Store) -> Result<(), String> {
        let registry = Registry::new(&store.certificates().await.unwrap());
        for (agency, known) in &self.certificates {
            let expected = match known {
                Certificate { is_revoked: true, .. } => Standing::Revoked,
                known if self.at > known.not_after => Standing::Expired,
                _ => Standing::Active,
            };
            let found = registry.standing(&known.sha256, self.at);
            if found != expected {
                return Err(format!("the certificate of {agency} is {found:?}"));
            }
        }
        Ok(())
    }

    async fn verify(&self) -> Result<(), String> {
        told::verify(self.running().store(), self.running().gateway.log()).await
    }

    /// Days pass, and everything comes to its end: each message is delivered or comes back with a notice,
    /// its recipient can have it all the same, and its sender gets its first answer again.
    async fn settle(&mut self) -> Result<(), String> {
        let deadline = self.at + GIVE_UP_AFTER + LONGEST * 2;
        loop {
            self.at += SignedDuration::from_millis(1);
            let next = self.deliver(false).await?;
            self.look(&Cause::Delivery).await?;
            let Some(next) = next else { break };
            if self.at > deadline {
                return Err("five days are over, and something is still queued".to_owned());
            }
            let next = Timestamp::from_millisecond(next.as_millisecond() + 1).unwrap();
            self.at = next.max(self.at + LONGEST);
        }
        for (id, message) in &self.model.messages {
            if message.state == "queued" {
                return Err(format!("{id} is queued, and nothing is due"));
            }
            if message.state == "returned" {
                let (gateway, sender) = (&self.running().gateway, message.sender.parse().unwrap());
                let notice = gateway.non_delivery(&sender, id).await;
                let notice = notice.map_err(|problem| format!("no notice: {}", problem.detail))?;
                let proven = verify_answer(&notice, gateway.log()).map_err(|e| e.to_string())?;
                if proven[0].fields.get("message") != Some(&id.to_string()) {
                    return Err(format!("the notice for {id} is another's"));
                }
            }
        }
        let everything: Vec<_> = self.model.messages.keys().copied().collect();
        for id in everything {
            let recipient = self.model.messages[&id].recipient.clone();
            match self.fetch(&recipient, &id).await {
                Some(Ok(document)) => self.is_document(&id, &document)?,
                other => return Err(format!("{id} cannot be collected: {other:?}")),
            }
            self.follow(&Cause::Collected(id)).await?;
            let saved = self.note_saved(&recipient, &id).await;
            if !matches!(saved, Some(Ok(_))) {
                return Err(format!("{id} cannot be saved: {saved:?}"));
            }
            self.follow(&Cause::Saved(id)).await?;
        }
        for sent in self.model.sent.iter().filter(|sent| sent.is_kept) {
            let again = self.submit(sent).await.unwrap().map_err(|problem| problem.detail)?;
            if sent.answer.as_ref().is_some_and(|first| *first != again) {
                return Err("another answer than the first".to_owned());
            }
            verify_answer(&again, self.running().gateway.log()).map_err(|e| e.to_string())?;
        }
        self.look(&nothing()).await?;
        self.verify().await
    }
}

/// Who does something that this agency may do.
fn speaker(party: &str, by: By) -> &'static str {
    let index = AGENCIES.iter().position(|agency| *agency == party).unwrap();
    AGENCIES[(index + usize::from(by == By::Other)) % AGENCIES.len()]
}

fn choose(number: u8, count: usize) -> Option<usize> {
    (count > 0).then(|| usize::from(number) % count)
}

fn is_no_answer(answered: &Option<Result<String, Problem>>) -> bool {
    match answered {
        None => true,
        Some(Ok(_)) => false,
        Some(Err(problem)) => problem.kind.facts().code == "unavailable",
    }
}

/// What explains no entry at all.
fn nothing() -> Cause {
    Cause::Sent(usize::MAX, Vec::new())
}

/// Where a message may stand whose recipient has had it.
const REACHED: &[&str] = &["collected", "delivered", "saved"];

/// Some day that no test lives to see.
const ONE_DAY: &str = "2049-12-31T12:00:00Z";

/// In the end, what is tried again is looked at no more often.
const LONGEST: SignedDuration = SignedDuration::from_hours(7);
