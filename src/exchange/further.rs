//! What the hub tells another agency than the one it asked: an answer, passed on to whoever assesses the child
//! (R37, R40), and the concerns, told to Early Help (R117). Each is a disclosure: a message of the exchange it
//! is said in, so that whose information it is sees on the timeline that it went further, and to whom.
//!
//! An answer is passed on as it came, word for word, by the gateway and not by the hub: with the roles that may
//! see it, and with what the family may be told as that was said last (R41, R42).

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Gateway, TIMELINE_MAX, hold_to_roles, not_found};
use crate::audit::entry::Fields;
use crate::message::{Exchange, ExchangeId, Kind, MessageId, OutcomeCode, Party, Role, rfc3339};
use crate::problem::{Problem, ProblemType};
use crate::rule;
use crate::schema::{Refusal, Schemas, Valid, Violation};
use crate::store::{StoreError, StoredMessage};

impl Gateway {
    /// Writes into what the hub tells another agency what the gateway has to write, or says why it may not be
    /// told. Nothing else is touched, nor what somebody sends who is not the hub: that is refused as that.
    pub(super) async fn told_further(
        &self,
        valid: &mut Valid,
        desk: Option<Role>,
    ) -> Result<(), Problem> {
        let sender = valid.sender.clone();
        let Some(reply) = valid.goes_further() else { return Ok(()) };
        if reply.exchange.party(&sender) != Some(Party::Hub) {
            return Ok(());
        }
        let (exchange, kind) = (reply.exchange.clone(), reply.kind);
        hold_to_outcome(&exchange, kind)?;
        if kind != Kind::Forwarding {
            return Ok(());
        }
        let mut body = Schemas::parse(&valid.body).map_err(|_| unreadable())?;
        let answer = rule::text(&body, "/message").and_then(|id| id.parse().ok());
        let answer = self.answer(&exchange, &answer.ok_or_else(unreadable)?).await?;
        hold_to_roles(&answer.envelope, desk)?;
        // A system passes it on to people itself, and the social worker is who it is for.
        hold_to_roles(&answer.envelope, Some(Role::SocialWorker))?;
        body["answer"] = self.opened(&answer).await?;
        let handling = answer.envelope.handling.clone();
        let confirmation = self.confirmation(&exchange.id, answer.entry).await?;
        let handling = match &confirmation {
            None => handling,
            Some(confirmed) => {
                body["confirmation"] = self.data(confirmed).await?;
                relabelled(handling.as_deref(), confirmed.envelope.handling.as_deref())
            }
        };
        valid.body = Zeroizing::new(body.to_string().into_bytes());
        if let Some(reply) = valid.goes_further() {
            reply.handling = handling;
            reply.visible_to = answer.envelope.visible_to;
        }
        Ok(())
    }

    // An answer of this exchange: what an agency said, or what the hub wrote down for it.
    async fn answer(&self, exchange: &Exchange, id: &MessageId) -> Result<StoredMessage, Problem> {
        let answer = match self.store().message(id).await {
            Ok(stored) => Some(stored),
            Err(StoreError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let is_answer = |stored: &StoredMessage| {
            stored.envelope.exchange == exchange.id
                && matches!(
                    stored.envelope.kind,
                    Kind::Response | Kind::Supplement | Kind::Transcription
                )
        };
        answer.filter(is_answer).ok_or_else(not_an_answer)
    }

    async fn opened(&self, answer: &StoredMessage) -> Result<Value, Problem> {
        let envelope = &answer.envelope;
        // What the hub wrote down for an agency is that agency's.
        let whose = match envelope.kind {
            Kind::Transcription => &envelope.recipient,
            _ => &envelope.sender,
        };
        let mut view = json!({
            "message": envelope.id,
            "kind": envelope.kind,
            "from": whose,
            "time": rfc3339(envelope.time),
            "handling": envelope.handling,
            "data": self.data(answer).await?,
        });
        if let Some(roles) = &envelope.visible_to {
            view["visibleTo"] = json!(roles);
        }
        Ok(view)
    }

    async fn data(&self, stored: &StoredMessage) -> Result<Value, Problem> {
        if stored.envelope.is_sealed_to_agency {
            return Err(sealed_to_agency());
        }
        let sealed = self.store().sealed_payload(&stored.envelope.id).await?;
        let body = self.sealer.open(&stored.envelope, &sealed)?;
        Schemas::parse(&body).map_err(|_| unreadable())
    }

    // What whose answer it is said last of what the family may be told, after the entry of the answer.
    async fn confirmation(
        &self,
        exchange: &ExchangeId,
        after: u64,
    ) -> Result<Option<StoredMessage>, Problem> {
        let timeline = self.store().timeline(exchange, TIMELINE_MAX).await?;
        let last =
            timeline.iter().rev().take_while(|entry| entry.index > after).find_map(|entry| {
                let fields = Fields::parse(entry.fields.as_deref()?)?;
                let is_it = fields.get("event") == Some("accepted")
                    && fields.get("kind") == Some(Kind::OnwardDisclosure.as_str());
                is_it.then(|| fields.get("message")?.parse::<MessageId>().ok())?
            });
        match last {
            Some(id) => Ok(Some(self.store().message(&id).await?)),
            None => Ok(None),
        }
    }
}

// Nobody is told what follows from an outcome before it is one.
fn hold_to_outcome(exchange: &Exchange, kind: Kind) -> Result<(), Problem> {
    let wanted = match kind {
        Kind::StepDown => OutcomeCode::EarlyHelp,
        _ => OutcomeCode::SocialCareAssessment,
    };
    let decided = exchange.decision.map(|decision| decision.outcome);
    if decided == Some(wanted) || exchange.marks.outcome == Some(wanted) {
        return Ok(());
    }
    let detail = format!("No agency of this enquiry has been told of {}.", wanted.as_str());
    Err(Problem::new(ProblemType::OutcomeNotSent, detail))
}

// What was said last of what the family may be told, with the other labels that the answer has.
fn relabelled(was: Option<&str>, confirmed: Option<&str>) -> Option<String> {
    let Some(confirmed) = confirmed else { return was.map(str::to_owned) };
    let others = was.and_then(|labels| labels.split_once(' ')).map(|(_, others)| others);
    Some(match others {
        Some(others) => format!("{confirmed} {others}"),
        None => confirmed.to_owned(),
    })
}

fn not_an_answer() -> Problem {
    let violation = Violation {
        pointer: "/message".to_owned(),
        code: "not-an-answer-here".to_owned(),
        message: "Give the id of a response, supplement or transcription of this exchange."
            .to_owned(),
    };
    Refusal::Violations(vec![violation]).into()
}

fn sealed_to_agency() -> Problem {
    let violation = Violation {
        pointer: "/message".to_owned(),
        code: "sealed-to-the-hub".to_owned(),
        message: "The hub alone has the key of this answer, so that the gateway cannot pass it on: give it to \
                  the social work team yourself, with its labels."
            .to_owned(),
    };
    Refusal::Violations(vec![violation]).into()
}

fn unreadable() -> Problem {
    not_found()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_the_family_takes_the_place_of_the_first_and_of_nothing_else() {
        let crime = Some("not-without-asking-us criminal-offence-data");
        for (was, confirmed, expected) in [
            (crime, None, "not-without-asking-us criminal-offence-data"),
            (crime, Some("family-may-be-told"), "family-may-be-told criminal-offence-data"),
            (Some("family-may-be-told"), Some("not-without-asking-us"), "not-without-asking-us"),
        ] {
            assert_eq!(relabelled(was, confirmed).as_deref(), Some(expected));
        }
    }
}
