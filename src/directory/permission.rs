//! Who at a desk may do what (R7): one table, and everything that is said of it comes from it.
//!
//! An agency's system may do all that its agency may, but for what a person has to decide; a person only
//! what the role is there for.
//! Which of an agency's own things these are is not decided here, but where they are looked up.

use super::AgencyKind;
use crate::message::{Kind, Role};

/// Something that can be done at the partner API, or at the desk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Say anything an agency says in answer to an RFI.
    Answer,
    /// Upload a file, to be sent with what one says.
    Attach,
    /// Ask about an RFI or an answer, or answer such a question.
    Clarify,
    /// Have a message's contents, and say that they are saved.
    Collect,
    /// Ask an agency what may be released to somebody who asks for what is held about them.
    Consult,
    /// Record that consent that is missing is overridden (R20): a decision of a person, and of no system.
    Override,
    /// See the hub's board: every enquiry, and how each agency stands.
    ReadBoard,
    /// See the contract: the schemas and the API's description.
    ReadContract,
    /// See exchanges and their timelines.
    ReadExchanges,
    /// See what waits: envelopes, no contents.
    ReadInbox,
    /// See how timely each agency is.
    ReadFigures,
    /// See the log.
    ReadLog,
    /// Have receipts.
    ReadReceipts,
    /// Have one's own certificate renewed.
    Renew,
    /// Make somebody's certificate worthless.
    RevokeCertificate,
    /// See every agency: its certificates, where its messages go, what waits for it and what was returned.
    SeeAgencies,
    /// Tell agencies what the hub decided.
    SendOutcome,
    /// Ask.
    SendRfi,
    /// Record that whoever referred the child was told what was decided (R115): the social worker's to do,
    /// by the agreement, or the hub's for them.
    TellReferrer,
    /// Ask who one is.
    WhoAmI,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 20] = [
        Self::Answer,
        Self::Attach,
        Self::Clarify,
        Self::Collect,
        Self::Consult,
        Self::Override,
        Self::ReadBoard,
        Self::ReadContract,
        Self::ReadExchanges,
        Self::ReadFigures,
        Self::ReadInbox,
        Self::ReadLog,
        Self::ReadReceipts,
        Self::Renew,
        Self::RevokeCertificate,
        Self::SeeAgencies,
        Self::SendOutcome,
        Self::SendRfi,
        Self::TellReferrer,
        Self::WhoAmI,
    ];

    /// Saying something of this kind.
    pub fn saying(kind: Kind) -> Self {
        match kind {
            Kind::Acknowledgement
            | Kind::OnwardDisclosure
            | Kind::Response
            | Kind::SubjectAccessView
            | Kind::Supplement
            | Kind::TestReply => Self::Answer,
            // Whoever may ask may tell what went wrong.
            Kind::Clarification | Kind::Incident => Self::Clarify,
            // Whoever tells what was decided also tells those who go on with the family.
            Kind::Forwarding | Kind::Outcome | Kind::StepDown => Self::SendOutcome,
            // Whoever asks also says that no answer is needed, rings, and writes down what was said.
            Kind::Cancellation
            | Kind::ConsentWithdrawal
            | Kind::Rfi
            | Kind::TelephoneContact
            | Kind::Test
            | Kind::Transcription => Self::SendRfi,
            Kind::SubjectAccessConsultation => Self::Consult,
        }
    }
}

/// Whether this role may do this.
pub fn may(role: Role, action: Action) -> bool {
    use Action::{
        Answer, Attach, Clarify, Collect, Consult, Override, ReadBoard, ReadContract,
        ReadExchanges, ReadFigures, ReadInbox, ReadLog, ReadReceipts, Renew, RevokeCertificate,
        SeeAgencies, SendOutcome, SendRfi, TellReferrer, WhoAmI,
    };
    let actions: &[Action] = match role {
        // Whether it was done as agreed can be seen without reading what was said.
        Role::Auditor => &[
            ReadContract,
            ReadExchanges,
            ReadFigures,
            ReadLog,
            ReadReceipts,
            Renew,
            SeeAgencies,
            WhoAmI,
        ],
        // The deputy stands in for the contact officer in everything (R4).
        Role::ContactOfficer | Role::Deputy => &[
            Answer,
            Attach,
            Clarify,
            Collect,
            ReadContract,
            ReadExchanges,
            ReadInbox,
            ReadLog,
            ReadReceipts,
            Renew,
            WhoAmI,
        ],
        // The override (R20) is the Team Manager's alone. It is on the RFI, which either may send.
        Role::TeamManager if action == Override => &[Override],
        Role::HealthRepresentative | Role::TeamManager => &[
            Attach,
            Clarify,
            Collect,
            Consult,
            ReadBoard,
            ReadContract,
            ReadExchanges,
            ReadInbox,
            ReadLog,
            ReadReceipts,
            SendOutcome,
            SendRfi,
            TellReferrer,
            Renew,
            WhoAmI,
        ],
        // Assesses the child: sees what agencies know, and what the police let nobody else see (R40).
        Role::SocialWorker => &[
            Collect,
            ReadBoard,
            ReadContract,
            ReadExchanges,
            ReadInbox,
            ReadLog,
            ReadReceipts,
            Renew,
            TellReferrer,
            WhoAmI,
        ],
        // Sees how the hub's work stands, and not what is in it. Notices of incidents (R93) will be
        // this role's to send.
        Role::OperationalLead => &[
            ReadBoard,
            ReadContract,
            ReadExchanges,
            ReadFigures,
            ReadLog,
            ReadReceipts,
            Renew,
            SeeAgencies,
            WhoAmI,
        ],
        // Runs the machine: nothing of any family's is needed for that.
        Role::Operator => &[ReadContract, ReadLog, Renew, RevokeCertificate, SeeAgencies, WhoAmI],
    };
    actions.contains(&action)
}

/// Whether an agency's system may do this, if its agency may: all but what a person has to decide.
pub fn may_system(action: Action) -> bool {
    action != Action::Override && !is_hubs(action)
}

/// Whether this is for people at the hub alone, whatever their role is: it is about every agency.
pub fn is_hubs(action: Action) -> bool {
    matches!(action, Action::ReadFigures | Action::RevokeCertificate | Action::SeeAgencies)
}

/// Every role that may do this.
pub fn who_may(action: Action) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| may(*role, action)).collect()
}

/// Whether an agency of this kind has people in this role.
pub fn exists_at(role: Role, kind: AgencyKind) -> bool {
    let is_hub = kind == AgencyKind::Hub;
    match role {
        Role::Auditor => true,
        Role::ContactOfficer | Role::Deputy => !is_hub,
        Role::HealthRepresentative
        | Role::OperationalLead
        | Role::Operator
        | Role::SocialWorker
        | Role::TeamManager => is_hub,
    }
}

/// Every role that an agency of this kind has.
pub fn roles_at(kind: AgencyKind) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| exists_at(*role, kind)).collect()
}

/// These roles as a sentence names them: "the contact officer or the deputy".
pub fn named(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| format!("the {}", role.title())).collect();
    match names.split_last() {
        None => "nobody at a desk".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_done_by_somebody_and_contents_only_by_those_who_work_with_them() {
        for action in Action::ALL {
            assert!(!who_may(action).is_empty(), "{action:?}");
        }
        let outside = [Role::Auditor, Role::OperationalLead, Role::Operator];
        for action in
            [Action::Answer, Action::Attach, Action::Collect, Action::SendOutcome, Action::SendRfi]
        {
            assert!(outside.iter().all(|role| !may(*role, action)), "{action:?}");
        }
        // Whoever looks after the machine does not see how agencies do, and nobody else cuts anybody off.
        assert_eq!(who_may(Action::RevokeCertificate), [Role::Operator]);
        assert!(!may(Role::Operator, Action::ReadFigures));
        // Nobody can both ask and answer.
        assert!(Role::ALL.iter().all(|r| !(may(*r, Action::Answer) && may(*r, Action::SendRfi))));
    }

    #[test]
    fn roles_are_named_as_people_say_them() {
        assert_eq!(
            named(&who_may(Action::SendRfi)),
            "the MASH health representative or the MASH Team Manager"
        );
        assert_eq!(
            named(&roles_at(AgencyKind::Police)),
            "the auditor, the contact officer or the deputy"
        );
        assert_eq!(named(&[Role::Operator]), "the operator");
    }
}
