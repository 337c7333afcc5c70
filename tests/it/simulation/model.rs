//! What has to be so: plain maps, moved by what agencies were answered and by what entries say, and by
//! nothing that the gateway's own code decides.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use mash_gateway::audit::entry::Fields;
use mash_gateway::audit::tree::Hash;
use mash_gateway::message::{AgencyId, ExchangeId, MessageId, Target};

use super::Said;
use crate::support::{HUB, POLICE, SURGERY};

/// Something that was sent, and what is known of what became of it.
pub(super) struct Sent {
    pub(super) sender: &'static str,
    pub(super) key: String,
    pub(super) target: Target,
    pub(super) what: Option<Said>,
    pub(super) body: String,
    /// Whether it was accepted.
    pub(super) is_kept: bool,
    /// What its sender was answered, once it was.
    pub(super) answer: Option<String>,
}

pub(super) struct Message {
    pub(super) sender: String,
    pub(super) recipient: String,
    pub(super) exchange: ExchangeId,
    pub(super) is_rfi: bool,
    /// Which of [`Model::sent`] made it.
    pub(super) sent: usize,
    /// Where its delivery stands.
    pub(super) state: &'static str,
    /// Since when it waits to be pushed.
    since: Timestamp,
    /// Whether its sender knows that it is late.
    is_told: bool,
}

pub(super) struct Exchange {
    pub(super) agency: String,
    pub(super) rfi: MessageId,
    pub(super) state: &'static str,
    pub(super) has_outcome: bool,
}

/// What explains new entries.
pub(super) enum Cause {
    /// This of what was sent, to these recipients.
    Sent(usize, Vec<String>),
    Collected(MessageId),
    Saved(MessageId),
    Delivery,
    Retried(MessageId),
    GivenUp(MessageId),
    /// Something about this agency's certificates.
    Certificates(&'static str),
    /// A command of the program did this, and goes by its own clock.
    Command(&'static str),
}

#[derive(Default)]
pub(super) struct Model {
    /// How many entries are explained.
    pub(super) size: u64,
    /// Every head ever seen.
    pub(super) heads: BTreeMap<u64, Hash>,
    pub(super) sent: Vec<Sent>,
    pub(super) messages: BTreeMap<MessageId, Message>,
    pub(super) exchanges: BTreeMap<ExchangeId, Exchange>,
    references: HashSet<String>,
    /// How often what was logged.
    pub(super) events: BTreeMap<String, usize>,
    /// What endpoints have refused, and what they have taken, answered or not.
    pub(super) refused: BTreeSet<MessageId>,
    pub(super) taken: BTreeMap<MessageId, String>,
}

impl Model {
    /// What an exchange becomes when this is said in it by its agency, or the outcome by the hub; none
    /// when it is not the time for it.
    fn after(exchange: &Exchange, what: Said) -> Option<&'static str> {
        let state = exchange.state;
        let is_answered = matches!(state, "completed" | "in-progress");
        match what {
            Said::WillReply => (!is_answered).then_some("accepted"),
            Said::WillNotReply => (!is_answered).then_some("rejected"),
            Said::Partial => (state != "completed").then_some("in-progress"),
            Said::Response => (state != "completed").then_some("completed"),
            Said::Supplement => is_answered.then_some(state),
            Said::Outcome => (!exchange.has_outcome).then_some(state),
        }
    }

    /// Why this is refused, as a problem's code; none when it has to be accepted.
    pub(super) fn refusal(&self, sent: &Sent) -> Option<&'static str> {
        let known = self
            .sent
            .iter()
            .find(|known| known.is_kept && known.sender == sent.sender && known.key == sent.key);
        if let Some(known) = known {
            let is_same = known.target == sent.target && known.body == sent.body;
            return (!is_same).then_some("idempotency-key-reused");
        }
        let (Target::Exchange(id, _), Some(what)) = (&sent.target, sent.what) else { return None };
        let exchange = &self.exchanges[id];
        let speaks = if what == Said::Outcome { HUB } else { &exchange.agency };
        if sent.sender != speaks {
            let is_party = sent.sender == HUB || sent.sender == exchange.agency;
            return Some(if is_party { "wrong-party" } else { "not-found" });
        }
        match (Self::after(exchange, what), what) {
            (Some(_), _) => None,
            (None, Said::Supplement) => Some("not-yet-answered"),
            (None, Said::Outcome) => Some("outcome-already-sent"),
            (None, _) => Some("already-answered"),
        }
    }

    /// Takes one entry in, if the cause explains it.
    pub(super) fn follow(
        &mut self,
        fields: &Fields,
        cause: &Cause,
        at: Timestamp,
    ) -> Result<(), String> {
        let event = fields.get("event").unwrap();
        *self.events.entry(event.to_owned()).or_default() += 1;
        let time: Timestamp = fields.get("time").unwrap().parse().unwrap();
        if let Cause::Command(done) = cause {
            return if *done == event { Ok(()) } else { Err(format!("{event} for {done}")) };
        }
        if time != at {
            return Err(format!("{event} at {time}, and it is {at}"));
        }
        let id = fields.get("message").map(|id| id.parse::<MessageId>().unwrap());
        let wrong = |why: &str| Err(format!("{event}: {why}"));
        match (event, cause) {
            ("accepted", Cause::Sent(sent, recipients)) => {
                return self.accepted(fields, *sent, recipients, at);
            }
            ("collected", Cause::Collected(of)) if id == Some(*of) => {
                let message = self.messages.get_mut(of).unwrap();
                if matches!(message.state, "held" | "queued" | "returned") {
                    message.state = "collected";
                }
                self.reached(of);
            }
            ("saved", Cause::Saved(of)) if id == Some(*of) => {
                let message = self.messages.get_mut(of).unwrap();
                if !matches!(message.state, "collected" | "delivered") {
                    return wrong("before it reached its recipient, or again");
                }
                message.state = "saved";
            }
            ("delivered", Cause::Delivery) => {
                let id = id.unwrap();
                let message = self.messages.get_mut(&id).unwrap();
                if message.state != "queued" {
                    return wrong("it was not queued");
                }
                if self.taken.get(&id) != Some(&message.recipient) {
                    return wrong("nobody took it");
                }
                message.state = "delivered";
                self.reached(&id);
            }
            ("attempt-failed", Cause::Delivery) => {
                let message = self.messages.get_mut(&id.unwrap()).unwrap();
                if message.state != "queued" {
                    return wrong("it was not queued");
                }
                if fields.get("next").is_none() {
                    if message.recipient != SURGERY {
                        return wrong("it has no mailbox to go to");
                    }
                    message.state = "held";
                }
            }
            ("delayed", Cause::Delivery) => {
                let message = self.messages.get_mut(&id.unwrap()).unwrap();
                if message.state != "queued" || message.is_told {
                    return wrong("it is not queued, or its sender was told before");
                }
                if at.duration_since(message.since) < DELAYED_AFTER {
                    return wrong("it is not late");
                }
                message.is_told = true;
            }
            ("returned", Cause::Delivery) => {
                let id = id.unwrap();
                let message = self.messages.get_mut(&id).unwrap();
                let is_over = at.duration_since(message.since) >= GIVE_UP_AFTER;
                let is_refused = self.refused.contains(&id);
                if message.state != "queued" || message.recipient != POLICE {
                    return wrong("it was not queued, or has a mailbox");
                }
                if !is_over && !is_refused {
                    return wrong("it was given up too early");
                }
                message.state = "returned";
            }
            ("returned", Cause::GivenUp(of)) if id == Some(*of) => {
                let message = self.messages.get_mut(of).unwrap();
                if message.state != "queued" {
                    return wrong("it was not queued");
                }
                message.state = "returned";
            }
            ("retried", Cause::Retried(of)) if id == Some(*of) => {
                let message = self.messages.get_mut(of).unwrap();
                if message.state != "returned" {
                    return wrong("it was not returned");
                }
                (message.state, message.since, message.is_told) = ("queued", at, false);
                self.refused.remove(of);
            }
            (
                "certificate-issued" | "certificate-revoked" | "enrolment-tokens-voided",
                Cause::Certificates(agency),
            ) if fields.get("agency") == Some(agency) => {}
            _ => return wrong("nobody did that"),
        }
        Ok(())
    }

    fn accepted(
        &mut self,
        fields: &Fields,
        sent: usize,
        recipients: &[String],
        at: Timestamp,
    ) -> Result<(), String> {
        let get = |name| fields.get(name).unwrap().to_owned();
        let (id, exchange) = (get("message").parse().unwrap(), get("exchange").parse().unwrap());
        let made = self.messages.values().filter(|message| message.sent == sent).count();
        let (sender, recipient) = (get("sender"), get("recipient"));
        if recipients.get(made) != Some(&recipient) {
            return Err(format!("accepted for {recipient}, and sent to {recipients:?}"));
        }
        if sender != self.sent[sent].sender {
            return Err(format!("accepted from {sender}, who did not send it"));
        }
        if self.messages.contains_key(&id) {
            return Err(format!("the id {id} is given twice"));
        }
        let is_rfi = self.sent[sent].what.is_none();
        if is_rfi {
            if !self.references.insert(get("reference")) {
                return Err(format!("{} is given twice", get("reference")));
            }
            let agency = recipient.clone();
            let opened = Exchange { agency, rfi: id, state: "requested", has_outcome: false };
            if self.exchanges.insert(exchange, opened).is_some() {
                return Err("an exchange is opened twice".to_owned());
            }
        }
        if let Some(what) = self.sent[sent].what {
            let known = self.exchanges.get_mut(&exchange).unwrap();
            known.state = Self::after(known, what).ok_or("accepted when it was not the time")?;
            known.has_outcome |= what == Said::Outcome;
        }
        let is_pushed = matches!(recipient.as_str(), POLICE | SURGERY);
        let state = if is_pushed { "queued" } else { "held" };
        self.sent[sent].is_kept = true;
        let is_told = false;
        self.messages.insert(
            id,
            Message { sender, recipient, exchange, is_rfi, sent, state, since: at, is_told },
        );
        Ok(())
    }

    fn reached(&mut self, id: &MessageId) {
        let message = &self.messages[id];
        let exchange = self.exchanges.get_mut(&message.exchange).unwrap();
        if message.is_rfi && exchange.state == "requested" {
            exchange.state = "received";
        }
    }

    /// The messages an agency finds in its inbox.
    pub(super) fn inbox(&self, agency: &AgencyId) -> BTreeSet<MessageId> {
        let waits = |message: &&Message| {
            message.recipient == agency.as_str()
                && matches!(message.state, "held" | "collected" | "returned")
        };
        let own = self.messages.iter().filter(|(_, message)| waits(message));
        own.map(|(id, _)| *id).collect()
    }
}

const DELAYED_AFTER: SignedDuration = SignedDuration::from_mins(15);
pub(super) const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(5 * 24);
