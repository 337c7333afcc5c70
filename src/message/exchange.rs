//! One exchange: who asks whom, how it stands, and what can be said in it when.
//!
//! The state follows from what was said alone ([`Before::after`]), so that the store, the simulation and
//! whoever reads the log come to the same.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AgencyId, EnquiryId, ExchangeId, Kind, MessageId, Priority, Reference};

/// One exchange as the gateway knows it: who, when, how it stands. No contents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// Its id.
    pub id: ExchangeId,
    /// The enquiry it belongs to.
    pub enquiry: EnquiryId,
    /// Its short name.
    pub reference: Reference,
    /// Who asks.
    pub hub: AgencyId,
    /// Who is asked.
    pub agency: AgencyId,
    /// The RFI that opened it.
    pub rfi: MessageId,
    /// The categories asked, so that an answer can be held to them (R46). None in a test.
    pub categories: Vec<String>,
    /// The `personId`s of the RFI (`p1`, `p2`, …): not identities, only places in the form.
    pub persons: Vec<String>,
    /// How urgent.
    pub priority: Priority,
    /// When the answer is required.
    pub response_required_by: Timestamp,
    /// When the RFI was accepted.
    pub opened_at: Timestamp,
    /// Where it stands.
    pub state: ExchangeState,
    /// The latest answer's result, once there is one.
    pub result: Option<ResponseResult>,
    /// What was said in it and when.
    pub marks: Marks,
    /// What was decided in its enquiry, as far as any agency was told.
    pub decision: Option<Decision>,
    /// When its enquiry was destroyed: nothing that was said in it can be read any more.
    pub destroyed_at: Option<Timestamp>,
    /// Whether something came after the answer, or unasked, that the hub has not saved (R85).
    pub needs_attention: bool,
    /// What a sender was told of a message in it that has not reached its recipient, if there is one.
    pub undelivered: Option<Undelivered>,
    /// The public half of the enquiry's sealing key: an age recipient, `age1…`.
    pub sealing_recipient: String,
}

impl Exchange {
    /// What `agency` is in this exchange, if anything.
    pub fn party(&self, agency: &AgencyId) -> Option<Party> {
        match agency {
            id if *id == self.hub => Some(Party::Hub),
            id if *id == self.agency => Some(Party::Agency),
            _ => None,
        }
    }

    /// Whether it only tries the agency's connection.
    pub fn is_test(&self) -> bool {
        self.reference.is_test()
    }
}

/// The two parties to an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Party {
    /// The agency that was asked.
    Agency,
    /// The hub that asks.
    Hub,
}

/// How an agency answered (R18): always one of four, and silence is none of them (R17).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponseResult {
    /// Nothing may be shared, with a reason.
    CannotShare,
    /// Every category asked is answered.
    Complete,
    /// The agency looked and holds nothing.
    NothingKnown,
    /// Some now, more later, or some withheld.
    Partial,
}

impl ResponseResult {
    /// Every result.
    pub const ALL: [Self; 4] =
        [Self::CannotShare, Self::Complete, Self::NothingKnown, Self::Partial];

    /// The name used in payloads and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CannotShare => "cannot-share",
            Self::Complete => "complete",
            Self::NothingKnown => "nothing-known",
            Self::Partial => "partial",
        }
    }

    /// The result with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.as_str() == name)
    }
}

/// What the sender was told of a message that has not reached its recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undelivered {
    /// It is late, and is still tried.
    Delayed,
    /// It was given up.
    Returned,
}

/// Where an exchange stands, in FHIR Task's words. `Requested` and `Received` are silence.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeState {
    /// The agency said it will reply.
    Accepted,
    /// The hub needs no answer any more; whoever works on one stops. One that crosses this is taken.
    Cancelled,
    /// Answered in full; which of the four answers is beside it.
    Completed,
    /// Answered in part.
    InProgress,
    /// Delivered to the agency, or collected by it; it has said nothing.
    Received,
    /// The agency said it is not theirs to answer.
    Rejected,
    /// Dispatched; the agency has not taken it.
    Requested,
}

impl ExchangeState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Cancelled,
        Self::Completed,
        Self::InProgress,
        Self::Received,
        Self::Rejected,
        Self::Requested,
    ];

    /// The name used in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::InProgress => "in-progress",
            Self::Received => "received",
            Self::Rejected => "rejected",
            Self::Requested => "requested",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What there is of an exchange before something is said in it, as far as it matters whether it can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Before {
    /// Where it stands.
    pub state: ExchangeState,
    /// Whether the agency itself has answered; what the hub wrote down for it is no answer of its own.
    pub is_answered: bool,
    /// Whether there is an answer's result, its own or written down.
    pub has_result: bool,
    /// Whether the hub has told the agency its outcome.
    pub has_outcome: bool,
    /// Whether the hub has said that it needs no answer any more.
    pub is_cancelled: bool,
    /// Whether the agency was asked what may be released to somebody who asks for what is held about
    /// them, and has not said since.
    pub is_consulted: bool,
}

impl Before {
    /// Whether a message of this kind to the hub is more than the answer that was waited for: until the
    /// hub has saved it, the exchange asks for attention (R85).
    pub fn needs_attention(&self, kind: Kind) -> bool {
        match kind {
            Kind::Clarification | Kind::Incident | Kind::OnwardDisclosure | Kind::Supplement => {
                true
            }
            Kind::Response => self.has_outcome || self.is_cancelled,
            Kind::Acknowledgement
            | Kind::Cancellation
            | Kind::ConsentWithdrawal
            | Kind::Forwarding
            | Kind::Outcome
            | Kind::Rfi
            | Kind::StepDown
            | Kind::SubjectAccessConsultation
            | Kind::SubjectAccessView
            | Kind::TelephoneContact
            | Kind::Test
            | Kind::TestReply
            | Kind::Transcription => false,
        }
    }

    /// The state after `said`, or why it cannot be said now.
    ///
    /// A rejected or cancelled exchange may still be answered: an agency that finds it does know
    /// something must not be turned away.
    pub fn after(self, said: Said) -> Result<ExchangeState, Untimely> {
        use ExchangeState::{Accepted, Cancelled, Completed, InProgress, Rejected};
        let Self { state, .. } = self;
        match (said, state) {
            (Said::Acknowledgement { .. }, Cancelled) | (Said::Cancellation, Cancelled) => {
                Err(Untimely::AlreadyCancelled)
            }
            (Said::Acknowledgement { .. }, Completed | InProgress)
            | (Said::Cancellation | Said::TestReply | Said::Transcription(_), Completed) => {
                Err(Untimely::AlreadyAnswered)
            }
            (Said::Response(_), Completed) if self.is_answered => Err(Untimely::AlreadyAnswered),
            (Said::Acknowledgement { will_reply_by: Some(_) }, _) => Ok(Accepted),
            (Said::Acknowledgement { will_reply_by: None }, _) => Ok(Rejected),
            (Said::Cancellation, _) => Ok(Cancelled),
            (Said::Outcome { .. }, _) if self.has_outcome => Err(Untimely::OutcomeAlreadySent),
            (
                Said::Forwarding
                | Said::OnwardDisclosure
                | Said::SubjectAccessConsultation
                | Said::Supplement,
                state,
            ) => self.has_result.then_some(state).ok_or(Untimely::NotYetAnswered),
            (Said::Response(ResponseResult::Partial), Cancelled | Completed)
            | (Said::Transcription(ResponseResult::Partial), Cancelled) => Ok(state),
            (Said::Response(ResponseResult::Partial), _)
            | (Said::Transcription(ResponseResult::Partial), _) => Ok(InProgress),
            (Said::Response(_) | Said::TestReply | Said::Transcription(_), _) => Ok(Completed),
            (Said::SubjectAccessView, state) => {
                self.is_consulted.then_some(state).ok_or(Untimely::NotConsulted)
            }
            (
                Said::Clarification
                | Said::ConsentWithdrawal
                | Said::Incident { .. }
                | Said::Outcome { .. }
                | Said::StepDown
                | Said::TelephoneContact { .. },
                state,
            ) => Ok(state),
        }
    }
}

/// What a message in an exchange says, as far as how the exchange stands depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// The agency has it, and will reply by then; or it is the wrong recipient.
    Acknowledgement {
        /// By when; none from a wrong recipient.
        will_reply_by: Option<Timestamp>,
    },
    /// The hub needs no answer any more.
    Cancellation,
    /// A question about it, or the answer to one.
    Clarification,
    /// Somebody has withdrawn their consent.
    ConsentWithdrawal,
    /// An answer is passed on to whoever assesses the child (R37).
    Forwarding,
    /// What one had of the other was lost, leaked or nearly so, or what became of that (R91).
    Incident {
        /// By when it is assessed whether the Commissioner is told; none when it is, or need not be.
        assessment_due_by: Option<Timestamp>,
    },
    /// What the family may be told, said again (R41).
    OnwardDisclosure,
    /// The hub's outcome.
    Outcome {
        /// What was decided.
        outcome: OutcomeCode,
        /// When, which is not when it was sent (R48).
        decided_at: Timestamp,
    },
    /// An answer.
    Response(ResponseResult),
    /// The Early Help service is told of the concerns (R117).
    StepDown,
    /// Somebody asks for what is held about them: may the agency's part be released (R97)?
    SubjectAccessConsultation,
    /// What the agency says to that.
    SubjectAccessView,
    /// New information.
    Supplement,
    /// The hub spoke with the agency by telephone (R45).
    TelephoneContact {
        /// When.
        made_at: Timestamp,
    },
    /// The right answer to a test.
    TestReply,
    /// An answer that the agency gave by telephone, as the hub wrote it down (R47).
    Transcription(ResponseResult),
}

/// A message that cannot be said in this exchange now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Untimely {
    /// The exchange has its answer: a supplement is the way to add to it.
    AlreadyAnswered,
    /// The hub needs no answer any more.
    AlreadyCancelled,
    /// Its enquiry was destroyed at the end of its retention.
    Destroyed,
    /// The agency was not asked what may be released, or has said so since.
    NotConsulted,
    /// There is no answer that this could be about: a response comes first.
    NotYetAnswered,
    /// The agency has been told the outcome.
    OutcomeAlreadySent,
}

/// What the hub decided (R33).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeCode {
    /// The family is offered early help.
    EarlyHelp,
    /// Nothing more is done: the referrer is to be told within one working day (R115).
    NoFurtherActionThresholdNotMet,
    /// Something else, in words.
    Other,
    /// Children's social care assesses the child.
    SocialCareAssessment,
}

impl OutcomeCode {
    /// Every outcome.
    pub const ALL: [Self; 4] = [
        Self::EarlyHelp,
        Self::NoFurtherActionThresholdNotMet,
        Self::Other,
        Self::SocialCareAssessment,
    ];

    /// Whether the threshold for social care is not met: the referrer is told so within a working day, and
    /// early help is for just such cases (R115; Appendix 4, 10 to 12).
    pub fn is_below_threshold(self) -> bool {
        matches!(self, Self::EarlyHelp | Self::NoFurtherActionThresholdNotMet)
    }

    /// The name used in payloads and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EarlyHelp => "early-help",
            Self::NoFurtherActionThresholdNotMet => "no-further-action-threshold-not-met",
            Self::Other => "other",
            Self::SocialCareAssessment => "social-care-assessment",
        }
    }

    /// The outcome with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name)
    }
}

/// How whoever referred the child was told what was decided (R115).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReferrerChannel {
    /// In writing.
    Letter,
    /// By telephone.
    Telephone,
}

impl ReferrerChannel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Letter, Self::Telephone];

    /// The name used in payloads and entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Letter => "letter",
            Self::Telephone => "telephone",
        }
    }

    /// The channel with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == name)
    }
}

/// What was said in an exchange and when, as far as something is due by it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Marks {
    /// When the agency's first response was accepted.
    pub answered_at: Option<Timestamp>,
    /// By when the agency said last that it will answer.
    pub will_reply_by: Option<Timestamp>,
    /// When an answer given by telephone was last written down for the agency.
    pub transcribed_at: Option<Timestamp>,
    /// When the hub last spoke with the agency by telephone, as it says.
    pub telephoned_at: Option<Timestamp>,
    /// What was decided, as this agency was told.
    pub outcome: Option<OutcomeCode>,
    /// When that was decided.
    pub decided_at: Option<Timestamp>,
    /// When the outcome was sent to the agency.
    pub outcome_at: Option<Timestamp>,
    /// When the hub said that it needs no answer any more.
    pub cancelled_at: Option<Timestamp>,
    /// When the hub last asked what may be released to somebody who asks for what is held about them.
    pub consulted_at: Option<Timestamp>,
    /// When the agency last said what may be.
    pub viewed_at: Option<Timestamp>,
    /// By when the latest incident is assessed, while it is not.
    pub assessment_due_by: Option<Timestamp>,
    /// When the hub first said that somebody has withdrawn their consent.
    pub consent_withdrawn_at: Option<Timestamp>,
}

/// What was decided in an enquiry: what the first outcome sent in it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// What.
    pub outcome: OutcomeCode,
    /// When whoever referred the child was told (R115), as the hub says.
    pub referrer_told_at: Option<Timestamp>,
}

impl Marks {
    /// Whether the agency was asked what may be released, and has not said since.
    pub fn is_consulted(&self) -> bool {
        self.consulted_at.is_some() && self.consulted_at > self.viewed_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(state: ExchangeState) -> Before {
        Before {
            state,
            is_answered: matches!(state, ExchangeState::Completed | ExchangeState::InProgress),
            has_result: matches!(state, ExchangeState::Completed | ExchangeState::InProgress),
            has_outcome: false,
            is_cancelled: state == ExchangeState::Cancelled,
            is_consulted: false,
        }
    }

    #[test]
    fn a_test_is_answered_once() {
        for state in ExchangeState::ALL {
            let after = before(state).after(Said::TestReply);
            if state == ExchangeState::Completed {
                assert_eq!(after, Err(Untimely::AlreadyAnswered));
            } else {
                assert_eq!(after, Ok(ExchangeState::Completed));
            }
        }
    }

    #[test]
    fn whoever_knows_something_is_heard_in_any_state_but_after_its_own_whole_answer() {
        for state in ExchangeState::ALL {
            for result in ResponseResult::ALL {
                let heard = before(state).after(Said::Response(result));
                assert_eq!(heard.is_err(), state == ExchangeState::Completed, "{state:?}");
                // What the hub wrote down for it does not keep the agency from answering itself.
                let written = Before { is_answered: false, ..before(state) };
                assert!(written.after(Said::Response(result)).is_ok(), "{state:?}");
            }
        }
        // Nothing more is waited for, so that a part of an answer does not make it wait again.
        let partial = Said::Response(ResponseResult::Partial);
        let cancelled = before(ExchangeState::Cancelled);
        assert_eq!(cancelled.after(partial), Ok(ExchangeState::Cancelled));
        let whole = Said::Response(ResponseResult::NothingKnown);
        assert_eq!(cancelled.after(whole), Ok(ExchangeState::Completed));
    }

    #[test]
    fn what_is_about_an_answer_needs_one() {
        for said in [
            Said::Forwarding,
            Said::OnwardDisclosure,
            Said::SubjectAccessConsultation,
            Said::Supplement,
        ] {
            for state in ExchangeState::ALL {
                let without = Before { has_result: false, ..before(state) };
                assert_eq!(without.after(said), Err(Untimely::NotYetAnswered));
                let with = Before { has_result: true, ..before(state) };
                assert_eq!(with.after(said), Ok(state));
            }
        }
        let asked = Before { is_consulted: true, ..before(ExchangeState::Completed) };
        assert_eq!(asked.after(Said::SubjectAccessView), Ok(ExchangeState::Completed));
        let unasked = before(ExchangeState::Completed).after(Said::SubjectAccessView);
        assert_eq!(unasked, Err(Untimely::NotConsulted));
    }

    #[test]
    fn a_cancelled_exchange_is_not_cancelled_or_promised_again() {
        let at = Timestamp::UNIX_EPOCH;
        let promise = Said::Acknowledgement { will_reply_by: Some(at) };
        let cancelled = before(ExchangeState::Cancelled);
        assert_eq!(cancelled.after(promise), Err(Untimely::AlreadyCancelled));
        assert_eq!(cancelled.after(Said::Cancellation), Err(Untimely::AlreadyCancelled));
        let answered = before(ExchangeState::Completed).after(Said::Cancellation);
        assert_eq!(answered, Err(Untimely::AlreadyAnswered));
        let outcome = Said::Outcome { outcome: OutcomeCode::Other, decided_at: at };
        assert_eq!(cancelled.after(outcome), Ok(ExchangeState::Cancelled));
        let told = Before { has_outcome: true, ..cancelled };
        assert_eq!(told.after(outcome), Err(Untimely::OutcomeAlreadySent));
    }
}
