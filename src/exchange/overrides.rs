//! The override of missing consent (R20, R36): recorded by the MASH Team Manager with a certificate of their
//! own, and spent by the one RFI that it is about.
//!
//! What is kept of it cannot be read: its code's hash, and a MAC of what was decided that is keyed by the
//! code. Whoever has the code, which is the manager and whoever the manager gives it to, can have one RFI
//! sent in which consent, persons and decision are word for word those. The RFI then holds all of it.

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Gateway;
use crate::audit::entry::Event;
use crate::message::{AgencyId, Role, rfc3339};
use crate::problem::{Problem, ProblemType};
use crate::rule;
use crate::schema::{Refusal, Valid, Violation};
use crate::seal;
use crate::store::{Applied, DecisionToken, Effect};

/// A decision as its manager is told that it is recorded.
pub struct Recorded {
    /// What an RFI names it by. Not kept by the gateway.
    pub code: String,
    /// The entry that says so.
    pub entry: u64,
    /// When.
    pub at: Timestamp,
    /// A paragraph for the child's record (R20).
    pub text_for_record: Zeroizing<String>,
}

impl Gateway {
    /// Records the override in `body`. That it is the MASH Team Manager's is [`Gateway::permit`]'s to say.
    pub async fn record_override(
        &self,
        sender: &AgencyId,
        desk: Option<Role>,
        certificate: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Recorded, Problem> {
        let decided = self.schemas().check_override(body, now)?;
        let code = new_code()?;
        let token = seal::decision_token(&code, &canonical(&decided));
        let event =
            Event::override_recorded(sender, &token.code_hash).at_desk(desk).done_with(certificate);
        let effect = Effect::RecordOverride { token, at: now };
        match self.ledger().record(&event, now, None, effect).await? {
            Applied::Recorded(logged) => Ok(Recorded {
                code: code.hyphenated().to_string(),
                entry: logged.index,
                at: now,
                text_for_record: text_for_record(&decided, logged.index, now),
            }),
            _ => Err(Problem::new(ProblemType::Internal, "The decision could not be recorded.")),
        }
    }

    /// The decision that this submission spends, if it names one or needs one: an RFI that goes on without
    /// consent, and that the Team Manager does not send in person.
    pub(super) fn decision(
        &self,
        valid: &Valid,
        desk: Option<Role>,
    ) -> Result<Option<DecisionToken>, Problem> {
        let Some(rfi) = valid.rfi().filter(|rfi| rfi.get("override").is_some()) else {
            return Ok(None);
        };
        let code = rule::text(rfi, "/override/decisionCode");
        if desk == Some(Role::TeamManager) && code.is_none() {
            return Ok(None);
        }
        let code = code.and_then(|code| code.parse().ok());
        let code: Uuid = code.ok_or_else(not_recorded)?;
        Ok(Some(seal::decision_token(&code, &canonical(rfi))))
    }
}

/// That no such decision is on record, or that it was spent: the two are told alike.
pub(super) fn not_recorded() -> Problem {
    let violation = Violation {
        pointer: "/rfi/override/decisionCode".to_owned(),
        code: "override-not-recorded".to_owned(),
        message: "Have the MASH Team Manager record this override with their own certificate (POST \
                  /v1/overrides, mash-gateway override record) for exactly this consent, these persons \
                  and this decision, and give the code that they were told. It is good for one RFI."
            .to_owned(),
    };
    Refusal::Violations(vec![violation]).into()
}

// What was decided about, in one spelling: names are sorted, and the code itself is not part of it.
fn canonical(rfi: &Value) -> Zeroizing<Vec<u8>> {
    let mut decision = rfi["override"].clone();
    if let Some(decision) = decision.as_object_mut() {
        decision.remove("decisionCode");
    }
    let decided = json!({
        "consent": rfi["consent"], "override": decision, "persons": rfi["persons"],
    });
    Zeroizing::new(decided.to_string().into_bytes())
}

fn new_code() -> Result<Uuid, Problem> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        Problem::new(ProblemType::Internal, "There is no randomness to make a code from.")
    })?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn text_for_record(decided: &Value, entry: u64, at: Timestamp) -> Zeroizing<String> {
    let text = |pointer| rule::text(decided, pointer).unwrap_or_default();
    Zeroizing::new(format!(
        "Information was requested without consent. {} ({}, MASH Team Manager) decided this at {} and \
         recorded it at {} (entry {entry} of the gateway's log). Rationale: {}",
        text("/override/decidedBy/name"),
        text("/override/decidedBy/jobTitle"),
        text("/override/decidedAt"),
        rfc3339(at),
        text("/override/rationale"),
    ))
}
