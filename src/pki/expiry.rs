//! What ends soon: certificates, authorities, revocation lists. One notion of it, for the log, the
//! metrics, the doctor and the inventory.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::message::{AgencyId, hex};
use crate::pki::ca::{self, CaError, Profile};
use crate::pki::crl::Crl;
use crate::store::CertificateRecord;

/// How many days before an end somebody is told, each time once: the nearest first.
pub const THRESHOLD_DAYS: [u16; 4] = [1, 7, 14, 30];

/// Everything of a home that ends.
#[derive(Debug)]
pub struct Inventory {
    /// The gateway's own certificates, as its files have them.
    pub own: Vec<Dated>,
    /// Of each kind of authority the one that issues, and of the roots the one that ends last.
    pub authorities: Vec<Dated>,
    /// The revocation lists, each with the name it is published under.
    pub lists: Vec<(String, Crl)>,
}

/// A thing and when it ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dated {
    /// What it is.
    pub what: What,
    /// Its serial, lower-case hex; a list has none.
    pub serial: Option<String>,
    /// When it is no longer of use.
    pub end: Timestamp,
}

/// What ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// An agency's certificate.
    Agency {
        /// Whose.
        agency: AgencyId,
        /// What it is for, as the register has it.
        profile: String,
    },
    /// An authority. An issuing one is of no more use once what it issues would outlive it.
    Authority {
        /// The name its certificate is published under.
        file_stem: String,
    },
    /// A revocation list.
    List {
        /// The name it is published under.
        file_stem: String,
    },
    /// One of the gateway's own certificates.
    Own(&'static str),
}

/// Something that ends soon, or has ended, and has no successor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// What ends, and when.
    pub dated: Dated,
    /// Whole days left; negative once it has ended.
    pub days_left: i64,
    /// The nearest of [`THRESHOLD_DAYS`] that it has passed.
    pub within_days: u16,
}

/// What ends soon at `now`, or has ended: the first to end first. Of agencies, only those that
/// `is_active` names.
pub fn endings(
    inventory: &Inventory,
    register: &[CertificateRecord],
    is_active: impl Fn(&AgencyId) -> bool,
    now: Timestamp,
) -> Vec<Ending> {
    let agencies = current(register).into_iter().filter(|one| is_active(&one.agency)).map(|one| {
        let (agency, profile) = (one.agency.clone(), one.profile.clone());
        let what = What::Agency { agency, profile };
        Dated { what, serial: Some(one.serial.clone()), end: one.not_after }
    });
    let certificates = inventory.own.iter().chain(&inventory.authorities).cloned();
    let mut endings: Vec<_> = agencies
        .chain(certificates)
        .filter_map(|dated| {
            let within_days = nearest(dated.end, now)?;
            Some(Ending { days_left: days_left(dated.end, now), dated, within_days })
        })
        .collect();
    // A list is made for a few days and replaced each day: what is alarming is that it was not.
    for (file_stem, list) in &inventory.lists {
        if list.is_past_half_life(now) {
            let end = list.next_update;
            let what = What::List { file_stem: file_stem.clone() };
            let [.., farthest] = THRESHOLD_DAYS;
            endings.push(Ending {
                dated: Dated { what, serial: None, end },
                days_left: days_left(end, now),
                within_days: nearest(end, now).unwrap_or(farthest),
            });
        }
    }
    endings.sort_by_key(|ending| ending.dated.end);
    endings
}

/// Of each agency and profile the certificate that counts: not revoked, and none ends later. The
/// gateway's own are not among them: which of those are in use is in its files.
pub fn current(register: &[CertificateRecord]) -> Vec<&CertificateRecord> {
    let mut latest = BTreeMap::new();
    for record in register.iter().filter(|record| record.revoked.is_none()) {
        let of_same_kind = latest.entry((&record.agency, &record.profile)).or_insert(record);
        let ends = |one: &CertificateRecord| (one.not_after, one.issued_at);
        if ends(record) > ends(of_same_kind) {
            *of_same_kind = record;
        }
    }
    latest.into_values().filter(|record| is_agencys(record)).collect()
}

/// How a certificate on the register stands, for whoever looks after it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Validity {
    /// Its time is over.
    Expired,
    /// It ends within the farthest of [`THRESHOLD_DAYS`], and has no successor.
    ExpiresSoon,
    /// It was revoked.
    Revoked,
    /// It is good.
    Active,
}

/// How this certificate stands at `now`, among all of the register.
pub fn validity(
    record: &CertificateRecord,
    register: &[CertificateRecord],
    now: Timestamp,
) -> Validity {
    match &record.revoked {
        Some(_) => Validity::Revoked,
        None if record.not_after <= now => Validity::Expired,
        None if nearest(record.not_after, now).is_some() && !is_renewed(record, register) => {
            Validity::ExpiresSoon
        }
        None => Validity::Active,
    }
}

/// Whether a certificate on the register is an agency's, and not the gateway's own.
pub fn is_agencys(record: &CertificateRecord) -> bool {
    let own = [Profile::GatewayClient, Profile::GatewayServer { names: Vec::new() }];
    own.iter().all(|profile| profile.name() != record.profile)
}

/// Whether another certificate of the same agency and profile takes over from this one.
pub fn is_renewed(record: &CertificateRecord, register: &[CertificateRecord]) -> bool {
    register.iter().any(|other| {
        other.revoked.is_none()
            && (&other.agency, &other.profile) == (&record.agency, &record.profile)
            && (other.not_after, other.issued_at) > (record.not_after, record.issued_at)
    })
}

/// The first certificate of a chain, as one of the gateway's own.
pub fn own(what: &'static str, chain_pem: &str) -> Result<Dated, CaError> {
    let leaf = ca::certificates(chain_pem)?.swap_remove(0);
    dated(What::Own(what), &leaf)
}

/// The authority of a bundle that issues, the first: its end is when what is good for `issues_for`
/// would outlive it.
pub fn issuing(bundle_pem: &str, issues_for: SignedDuration) -> Result<Dated, CaError> {
    let first = ca::authority_certificates(bundle_pem)?.swap_remove(0);
    let dated = dated(What::Authority { file_stem: first.file_stem }, &first.der)?;
    Ok(Dated { end: dated.end - issues_for, ..dated })
}

/// The root of a bundle that ends last.
pub fn root(bundle_pem: &str) -> Result<Dated, CaError> {
    let roots = ca::authority_certificates(bundle_pem)?;
    let last = roots.into_iter().max_by_key(|root| root.not_after).ok_or(CaError::Certificate)?;
    dated(What::Authority { file_stem: last.file_stem }, &last.der)
}

/// The revocation lists of a bundle, each with the name it is published under.
pub fn lists(bundle_pem: &str, lists: Vec<Crl>) -> Result<Vec<(String, Crl)>, CaError> {
    let authorities = ca::authority_certificates(bundle_pem)?;
    let named = lists.into_iter().filter_map(|list| {
        let signer = authorities.iter().find(|authority| list.is_signed_by(&authority.der))?;
        Some((signer.file_stem.clone(), list))
    });
    Ok(named.collect())
}

fn dated(what: What, der: &[u8]) -> Result<Dated, CaError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CaError::Certificate)?;
    let end = Timestamp::from_second(certificate.validity().not_after.timestamp());
    let end = end.map_err(|_| CaError::Certificate)?;
    Ok(Dated { what, serial: Some(hex(certificate.raw_serial())), end })
}

fn nearest(end: Timestamp, now: Timestamp) -> Option<u16> {
    let left = end.duration_since(now);
    THRESHOLD_DAYS.into_iter().find(|days| left <= DAY * i32::from(*days))
}

fn days_left(end: Timestamp, now: Timestamp) -> i64 {
    end.duration_since(now).as_secs().div_euclid(DAY.as_secs())
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::ca::{Authority, IssuingFor};
    use crate::pki::crl;

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn agency(id: &str) -> AgencyId {
        AgencyId::parse(id).unwrap()
    }

    fn record(id: &str, profile: &str, serial: &str, end: SignedDuration) -> CertificateRecord {
        CertificateRecord {
            sha256: [0; 32],
            serial: serial.to_owned(),
            agency: agency(id),
            issued_at: now() + end - DAY * 90,
            not_before: now() + end - DAY * 90,
            not_after: now() + end,
            revoked: None,
            pem: String::new(),
            profile: profile.to_owned(),
            last_use: None,
        }
    }

    fn revoked(record: CertificateRecord) -> CertificateRecord {
        let revoked = Some((now() - DAY, "superseded".to_owned()));
        CertificateRecord { revoked, ..record }
    }

    fn nothing() -> Inventory {
        Inventory { own: Vec::new(), authorities: Vec::new(), lists: Vec::new() }
    }

    // Serial, days left, threshold.
    fn told(register: &[CertificateRecord]) -> Vec<(String, i64, u16)> {
        endings(&nothing(), register, |_| true, now())
            .into_iter()
            .map(|one| (one.dated.serial.unwrap(), one.days_left, one.within_days))
            .collect()
    }

    #[test]
    fn each_threshold_is_passed_to_the_second() {
        let second = SignedDuration::from_secs(1);
        for (left, expected) in [
            (DAY * 30 + second, None),
            (DAY * 30, Some((30, 30))),
            (DAY * 15, Some((15, 30))),
            (DAY * 14 + second, Some((14, 30))),
            (DAY * 14, Some((14, 14))),
            (DAY * 7, Some((7, 7))),
            (DAY + second, Some((1, 7))),
            (DAY, Some((1, 1))),
            (second, Some((0, 1))),
            (SignedDuration::ZERO, Some((0, 1))),
            (-second, Some((-1, 1))),
            (-DAY, Some((-1, 1))),
            (-DAY * 40, Some((-40, 1))),
        ] {
            let found = told(&[record("police", "system", "01", left)]);
            let found = found.first().map(|(_, days, within)| (*days, *within));
            assert_eq!(found, expected, "{left}");
        }
    }

    #[test]
    fn what_has_a_successor_does_not_warn() {
        let old = record("police", "system", "01", DAY * 3);
        let new = record("police", "system", "02", DAY * 80);
        assert_eq!(told(&[new.clone(), old.clone()]), []);
        assert!(is_renewed(&old, &[new.clone(), old.clone()]));
        assert!(!is_renewed(&new, &[new.clone(), old.clone()]));
        // Another agency's, and one for something else, are no successors.
        let other = record("trust", "system", "03", DAY * 80);
        let desk = record("police", "contact-officer", "04", DAY * 80);
        assert_eq!(told(&[desk, other, old.clone()]), [("01".to_owned(), 3, 7)]);
        // Nor is one that was revoked.
        let register = [revoked(new), old.clone()];
        assert_eq!(told(&register), [("01".to_owned(), 3, 7)]);
        assert!(!is_renewed(&old, &register));
    }

    #[test]
    fn a_certificate_stands_as_it_is_told() {
        let soon = record("police", "system", "01", DAY * 3);
        let later = record("police", "system", "02", DAY * 80);
        let over = record("police", "deputy", "03", -DAY);
        let register = [soon.clone(), over.clone()];
        assert_eq!(validity(&soon, &register, now()), Validity::ExpiresSoon);
        assert_eq!(validity(&over, &register, now()), Validity::Expired);
        assert_eq!(validity(&revoked(over), &register, now()), Validity::Revoked);
        // With a successor it may end.
        let register = [soon.clone(), later.clone()];
        assert_eq!(validity(&soon, &register, now()), Validity::Active);
        assert_eq!(validity(&later, &register, now()), Validity::Active);
    }

    #[test]
    fn each_profile_of_an_agency_counts_and_the_first_to_end_is_first() {
        let register = [
            record("police", "system", "01", DAY * 9),
            record("police", "contact-officer", "02", DAY * 2),
            record("trust", "system", "03", -DAY),
        ];
        let expected =
            [("03".to_owned(), -1, 1), ("02".to_owned(), 2, 7), ("01".to_owned(), 9, 14)];
        assert_eq!(told(&register), expected);
        let of_police = |id: &AgencyId| id.as_str() == "police";
        assert_eq!(endings(&nothing(), &register, of_police, now()).len(), 2);
    }

    #[test]
    fn what_was_revoked_or_is_the_gateways_own_is_not_an_agencys_end() {
        let register = [
            revoked(record("police", "system", "01", DAY * 2)),
            record("mash", "gateway-client", "02", DAY * 2),
            record("mash", "gateway-server", "03", DAY * 2),
        ];
        assert_eq!(told(&register), []);
        assert_eq!(current(&register).len(), 0);
    }

    #[test]
    fn authorities_end_when_they_can_no_longer_issue_and_lists_warn_at_half_their_time() {
        let made = now() - ca_lifetime() + DAY * 100;
        let root = Authority::new_root("a root", made).unwrap();
        let agencies = root.new_issuing(&IssuingFor::Agencies, "agencies 1", None, made).unwrap();
        let pem = agencies.certificate_pem();
        let list = crl::build(&agencies, &[], 1, now() - DAY * 4, crl::CRL_VALID_FOR).unwrap();
        let list = crl::parse_all(&list).unwrap();
        let inventory = Inventory {
            own: Vec::new(),
            authorities: vec![
                issuing(&pem, DAY * 90).unwrap(),
                super::root(&root.certificate_pem()).unwrap(),
            ],
            lists: lists(&pem, list).unwrap(),
        };
        let at = |now| endings(&inventory, &[], |_| true, now);
        let found = at(now());
        let [list, authority] = &found[..] else { panic!("{found:?}") };
        let file_stem = agencies.file_stem();
        assert_eq!(list.dated.what, What::List { file_stem: file_stem.clone() });
        assert_eq!((list.days_left, list.within_days), (3, 7));
        // Good for another hundred days, less the ninety that a certificate is good for.
        assert_eq!(authority.dated.what, What::Authority { file_stem });
        assert_eq!((authority.days_left, authority.within_days), (9, 14));
        assert_eq!(authority.dated.serial.as_deref(), Some(agencies.serial()));

        assert_eq!(at(now() - DAY).len(), 1, "the list is not past half its time yet");
        assert_eq!(at(now() - DAY * 40).len(), 0);
    }

    fn ca_lifetime() -> SignedDuration {
        SignedDuration::try_from(ca::ISSUING_VALID_FOR).unwrap()
    }
}
