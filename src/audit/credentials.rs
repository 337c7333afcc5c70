//! How certificates and enrolment tokens must stand by what was logged: folded as the log is read,
//! and held against the register's rows at its end.
//!
//! The gateway issues by the rows. A row that was put there, used and taken away again leaves no
//! trace among the rows; but what was issued for it is in the log, and what it was issued for is not.

use std::collections::HashMap;

use jiff::Timestamp;

use super::entry::{EventName, Fields};
use super::verify::{Fault, LogFault};
use crate::message::{hex, rfc3339};
use crate::pki::certificate::Particulars;
use crate::pki::crl::Reason;
use crate::store::{CertificateRecord, EnrolmentToken};

/// Everything that entries so far have said of certificates and tokens.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// By serial.
    certificates: HashMap<String, Certificate>,
    /// By the name that entries give them: the first bytes of their hash.
    tokens: HashMap<String, Token>,
}

#[derive(Debug)]
struct Certificate {
    /// The latest entry about it.
    entry: u64,
    agency: String,
    sha256: String,
    profile: String,
    issued_at: Timestamp,
    /// When it was revoked first, and why.
    revoked: Option<(Timestamp, String)>,
    /// The key that an operator approved for it, if one had to.
    approved_key: Option<String>,
}

#[derive(Debug)]
struct Token {
    /// The latest entry about it.
    entry: u64,
    agency: String,
    made_at: Timestamp,
    expires_at: Timestamp,
    needs_approval: bool,
    /// When an operator approved a key, and which.
    approved: Option<(Timestamp, String)>,
    used_at: Option<Timestamp>,
}

impl Credentials {
    /// Takes in the next entry, whatever it is about.
    pub(super) fn entry(&mut self, index: u64, fields: &Fields) -> Result<(), Fault> {
        let event = fields.get("event").unwrap_or_default();
        let is = |name: EventName| event == name.as_str();
        match () {
            () if is(EventName::CertificateIssued) => self.issued(index, fields),
            () if is(EventName::CertificateRevoked) => self.revoked(index, fields),
            () if is(EventName::EnrolmentApproved) => self.approved(index, fields),
            () if is(EventName::EnrolmentTokenMade) => self.made(index, fields),
            () if event == TOKENS_VOIDED => self.voided(index, fields),
            () => Ok(()),
        }
    }

    /// What differs between the entries and the rows, each at the latest entry about it; `size` is
    /// the number of entries, the rows are all there are.
    pub(super) fn compare(
        &self,
        size: u64,
        certificates: &[CertificateRecord],
        tokens: &[EnrolmentToken],
    ) -> Vec<LogFault> {
        let mut faults = Vec::new();
        let mut unseen: HashMap<_, _> = self.certificates.iter().collect();
        for row in certificates {
            let logged = unseen.remove(&row.serial);
            if !logged.is_some_and(|logged| logged.is_as_logged(row)) {
                let entry = logged.map_or(size, |logged| logged.entry);
                faults.push(LogFault { entry, fault: Fault::Certificate });
            }
        }
        let gone = unseen.values().map(|left| (left.entry, Fault::Certificate));
        faults.extend(gone.map(|(entry, fault)| LogFault { entry, fault }));
        let mut unseen: HashMap<_, _> = self.tokens.iter().collect();
        for row in tokens {
            let logged = unseen.remove(&hex(&row.hash[..8]));
            if !logged.is_some_and(|logged| logged.is_as_logged(row)) {
                let entry = logged.map_or(size, |logged| logged.entry);
                faults.push(LogFault { entry, fault: Fault::Token });
            }
        }
        let gone = unseen.values().map(|left| (left.entry, Fault::Token));
        faults.extend(gone.map(|(entry, fault)| LogFault { entry, fault }));
        faults
    }

    fn issued(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let text = |name| fields.get(name).unwrap_or_default();
        let (agency, at) = (text("agency"), time(fields, "time").ok_or(Fault::Certificate)?);
        let mut approved_key = None;
        match text("grant") {
            "renewal" => {
                let before = self.certificates.get(text("renews")).ok_or(Fault::Grant)?;
                if before.agency != agency || before.revoked.is_some() {
                    return Err(Fault::Grant);
                }
            }
            "token" => {
                let token = self.tokens.get_mut(text("token")).ok_or(Fault::Grant)?;
                if !token.grants(agency, at) {
                    return Err(Fault::Grant);
                }
                (token.used_at, token.entry) = (Some(at), entry);
                approved_key = token.approved.as_ref().map(|(_, key)| key.clone());
            }
            // An operator's word or the gateway's own timer, which nothing before has to bear out.
            _ => {}
        }
        let issued = Certificate {
            entry,
            agency: agency.to_owned(),
            sha256: text("sha256").to_owned(),
            // Before profiles were logged there was one.
            profile: fields.get("profile").unwrap_or("system").to_owned(),
            issued_at: at,
            revoked: None,
            approved_key,
        };
        match self.certificates.insert(text("serial").to_owned(), issued) {
            None => Ok(()),
            Some(_) => Err(Fault::Certificate),
        }
    }

    fn revoked(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let text = |name| fields.get(name).unwrap_or_default();
        let at = time(fields, "time").ok_or(Fault::Certificate)?;
        let issued = self.certificates.get_mut(text("serial")).ok_or(Fault::Certificate)?;
        if (issued.agency.as_str(), issued.sha256.as_str()) != (text("agency"), text("sha256")) {
            return Err(Fault::Certificate);
        }
        issued.entry = entry;
        let reason = text("reason");
        match &mut issued.revoked {
            // Why can become worse, and nothing else; when it was stays.
            Some((_, first)) if reason == Reason::KeyCompromise.as_str() => {
                *first = reason.to_owned();
            }
            Some(_) => {}
            None => issued.revoked = Some((at, reason.to_owned())),
        }
        Ok(())
    }

    fn made(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let text = |name| fields.get(name).unwrap_or_default();
        let made = Token {
            entry,
            agency: text("agency").to_owned(),
            made_at: time(fields, "time").ok_or(Fault::Token)?,
            expires_at: time(fields, "expires").ok_or(Fault::Token)?,
            needs_approval: fields.flag("needsApproval").ok_or(Fault::Token)?,
            approved: None,
            used_at: None,
        };
        match self.tokens.insert(text("token").to_owned(), made) {
            None => Ok(()),
            Some(_) => Err(Fault::Token),
        }
    }

    fn approved(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let text = |name| fields.get(name).unwrap_or_default();
        let at = time(fields, "time").ok_or(Fault::Token)?;
        let token = self.tokens.get_mut(text("token")).ok_or(Fault::Token)?;
        let is_awaited =
            token.agency == text("agency") && token.needs_approval && token.used_at.is_none();
        if !is_awaited {
            return Err(Fault::Token);
        }
        (token.approved, token.entry) = (Some((at, text("key").to_owned())), entry);
        Ok(())
    }

    fn voided(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let agency = fields.get("agency").unwrap_or_default();
        let at = time(fields, "time").ok_or(Fault::Token)?;
        for token in self.tokens.values_mut().filter(|token| token.agency == agency) {
            if token.used_at.is_none() && token.expires_at > at {
                (token.expires_at, token.entry) = (at, entry);
            }
        }
        Ok(())
    }
}

impl Certificate {
    fn is_as_logged(&self, row: &CertificateRecord) -> bool {
        let Some(own) = Particulars::read(&row.pem) else { return false };
        self.agency == row.agency.as_str()
            && self.sha256 == hex(&row.sha256)
            && self.profile == row.profile
            && self.issued_at == row.issued_at
            && self.revoked == row.revoked
            && own.sha256 == row.sha256
            && own.serial == row.serial
            && (own.not_before, own.not_after) == (row.not_before, row.not_after)
            && self.approved_key.as_ref().is_none_or(|key| *key == hex(&own.key_sha256))
    }
}

impl Token {
    fn grants(&self, agency: &str, at: Timestamp) -> bool {
        self.agency == agency
            && self.expires_at > at
            && self.used_at.is_none()
            && (self.approved.is_some() || !self.needs_approval)
    }

    fn is_as_logged(&self, row: &EnrolmentToken) -> bool {
        let is_approved_as_logged = match &self.approved {
            Some((at, key)) => {
                row.approved_at == Some(*at)
                    && row.key_sha256.map(|k| hex(&k)).as_ref() == Some(key)
            }
            // Which key came first is not logged before somebody approves it.
            None => row.approved_at.is_none() && (row.key_sha256.is_none() || self.needs_approval),
        };
        self.agency == row.agency.as_str()
            && self.made_at == row.made_at
            && self.expires_at == row.expires_at
            && self.needs_approval == row.needs_approval
            && self.used_at == row.used_at
            && is_approved_as_logged
    }
}

// An instant as entries write it; any other spelling is none.
fn time(fields: &Fields, name: &str) -> Option<Timestamp> {
    let text = fields.get(name)?;
    text.parse().ok().filter(|at| rfc3339(*at) == text)
}

/// An agency's unused tokens were made worthless.
const TOKENS_VOIDED: &str = "enrolment-tokens-voided";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::{Event, Grant};
    use crate::message::AgencyId;

    const TOKEN: [u8; 32] = [7; 32];
    const KEY: [u8; 32] = [8; 32];

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn agency(name: &str) -> AgencyId {
        AgencyId::parse(name).unwrap()
    }

    fn made(needs_approval: bool) -> Event {
        Event::enrolment_token_made(&agency("demo-gp"), &TOKEN, at(100), needs_approval)
    }

    fn issued(name: &str, serial: &str, grant: Grant) -> Event {
        Event::certificate_issued(&agency(name), serial, &[9; 32], "system", &grant)
    }

    fn enrolled(name: &str, serial: &str) -> Event {
        issued(name, serial, Grant::Token(TOKEN))
    }

    fn approved(name: &str) -> Event {
        Event::enrolment_approved(&agency(name), &TOKEN, &KEY)
    }

    fn renewed(name: &str, serial: &str, before: &str) -> Event {
        issued(name, serial, Grant::Renewal { serial: before.to_owned() })
    }

    fn revoked(name: &str, serial: &str, reason: Reason) -> Event {
        Event::certificate_revoked(&agency(name), serial, &[9; 32], reason)
    }

    fn fold(events: &[(i64, Event)]) -> Result<Credentials, (usize, Fault)> {
        let mut credentials = Credentials::default();
        for (index, (second, event)) in events.iter().enumerate() {
            let fields = Fields::parse(&event.fields(at(*second))).unwrap();
            credentials.entry(index as u64, &fields).map_err(|fault| (index, fault))?;
        }
        Ok(credentials)
    }

    fn void(credentials: &mut Credentials, second: i64) {
        let fields = format!(
            r#"{{"agency":"demo-gp","count":1,"event":"enrolment-tokens-voided","time":"{}"}}"#,
            rfc3339(at(second))
        );
        credentials.entry(50, &Fields::parse(&fields).unwrap()).unwrap();
    }

    #[test]
    fn what_was_granted_in_order_is_taken_in() {
        let gp = "demo-gp";
        for events in [
            vec![(0, made(false)), (99, enrolled(gp, "a")), (200, renewed(gp, "b", "a"))],
            vec![(0, made(true)), (1, approved(gp)), (2, enrolled(gp, "a"))],
            vec![(0, made(true)), (1, approved(gp)), (2, approved(gp)), (3, enrolled(gp, "a"))],
            vec![(0, issued(gp, "a", Grant::Operator)), (1, issued(gp, "b", Grant::Timer))],
        ] {
            assert!(fold(&events).is_ok(), "{events:?}");
        }
    }

    #[test]
    fn what_nothing_granted_is_found_where_it_was_issued() {
        let (gp, other) = ("demo-gp", "demo-police");
        let first = || (0, issued(gp, "a", Grant::Operator));
        let superseded = || (1, revoked(gp, "a", Reason::Superseded));
        for (events, fault) in [
            (vec![(0, enrolled(gp, "a"))], Fault::Grant),
            (vec![(0, made(false)), (1, enrolled(other, "a"))], Fault::Grant),
            (vec![(0, made(false)), (100, enrolled(gp, "a"))], Fault::Grant),
            (vec![(0, made(true)), (1, enrolled(gp, "a"))], Fault::Grant),
            (vec![(0, made(false)), (1, enrolled(gp, "a")), (2, enrolled(gp, "b"))], Fault::Grant),
            (vec![(0, renewed(gp, "b", "a"))], Fault::Grant),
            (vec![first(), (1, renewed(other, "b", "a"))], Fault::Grant),
            (vec![first(), superseded(), (2, renewed(gp, "b", "a"))], Fault::Grant),
            (vec![first(), first()], Fault::Certificate),
            (vec![first(), (1, revoked(other, "a", Reason::Superseded))], Fault::Certificate),
            (vec![superseded()], Fault::Certificate),
            (vec![(0, made(false)), (1, made(false))], Fault::Token),
            (vec![(0, approved(gp))], Fault::Token),
            (vec![(0, made(false)), (1, approved(gp))], Fault::Token),
            (vec![(0, made(true)), (1, approved(other))], Fault::Token),
            (
                vec![(0, made(true)), (1, approved(gp)), (2, enrolled(gp, "a")), (3, approved(gp))],
                Fault::Token,
            ),
        ] {
            assert_eq!(fold(&events).err(), Some((events.len() - 1, fault)), "{events:?}");
        }
    }

    #[test]
    fn a_voided_token_grants_nothing_and_its_row_ends_then() {
        let mut credentials = fold(&[(0, made(false))]).unwrap();
        void(&mut credentials, 10);
        void(&mut credentials, 20);
        let row = |expires_at| EnrolmentToken {
            hash: TOKEN,
            agency: agency("demo-gp"),
            made_at: at(0),
            expires_at,
            needs_approval: false,
            key_sha256: None,
            approved_at: None,
            used_at: None,
        };
        assert_eq!(credentials.compare(60, &[], &[row(at(10))]), []);
        let fault = LogFault { entry: 50, fault: Fault::Token };
        assert_eq!(credentials.compare(60, &[], &[row(at(100))]), [fault]);
        let late = Fields::parse(&enrolled("demo-gp", "a").fields(at(11))).unwrap();
        assert_eq!(credentials.entry(51, &late), Err(Fault::Grant));

        // One that was used before is not touched.
        let mut credentials = fold(&[(0, made(false)), (5, enrolled("demo-gp", "a"))]).unwrap();
        void(&mut credentials, 10);
        let used = EnrolmentToken { used_at: Some(at(5)), ..row(at(100)) };
        let faults = credentials.compare(60, &[], &[used]);
        assert!(faults.iter().all(|fault| fault.fault != Fault::Token), "{faults:?}");
    }

    #[test]
    fn a_reason_only_becomes_worse_and_the_time_stays() {
        let of = |reasons: &[Reason]| {
            let mut events = vec![(0, issued("demo-gp", "a", Grant::Operator))];
            events.extend((1..).zip(reasons).map(|(n, r)| (n, revoked("demo-gp", "a", *r))));
            fold(&events).unwrap().certificates["a"].revoked.clone()
        };
        let (mild, grave) = (Reason::Superseded, Reason::KeyCompromise);
        assert_eq!(of(&[mild, grave]), Some((at(1), grave.as_str().to_owned())));
        assert_eq!(of(&[grave, mild]), Some((at(1), grave.as_str().to_owned())));
    }
}
