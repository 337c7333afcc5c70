//! Tells what ends soon while there is time to do something: in the log once for each threshold, and
//! in the metrics.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use crate::config::{Config, Home};
use crate::directory::Directory;
use crate::message::AgencyId;
use crate::pki::ca::GATEWAY_DAYS;
use crate::pki::crl;
use crate::pki::expiry::{self, Ending, Inventory, THRESHOLD_DAYS, What};
use crate::store::CertificateRecord;
use crate::telemetry::Metrics;
use crate::worker::trust::Own;

/// Reads everything of a home that ends, but for agencies' certificates, which the register has.
pub fn inventory(home: &Home, config: &Config) -> anyhow::Result<Inventory> {
    let days = |days: u16| SignedDuration::from_hours(24 * i64::from(days));
    let paths = &config.paths;
    let agency_ca = home.resolve(&paths.agency_ca);
    let root = home.resolve(&paths.root);
    let own = [Own::Server, Own::Client].map(|own| {
        let path = home.resolve(own.certificate(config));
        with(&path, |pem| Ok(expiry::own(own.what(), pem)?))
    });
    // The gateway's push certificate is of the agencies' authority too.
    let agency_days = config.certificate_days.max(GATEWAY_DAYS);
    let authorities = [
        with(&agency_ca, |pem| Ok(expiry::issuing(pem, days(agency_days))?)),
        with(&home.server_ca(), |pem| Ok(expiry::issuing(pem, days(GATEWAY_DAYS))?)),
        with(&root, |pem| Ok(expiry::root(pem)?)),
    ];
    let mut lists = Vec::new();
    for (authorities, bundle) in [
        (agency_ca, home.resolve(&paths.agency_crl)),
        (home.server_ca(), home.server_crl()),
        (root, home.root_crl()),
    ] {
        let found = with(&bundle, |pem| Ok(crl::parse_all(pem)?))?;
        lists.extend(with(&authorities, |pem| Ok(expiry::lists(pem, found)?))?);
    }
    Ok(Inventory {
        own: own.into_iter().collect::<anyhow::Result<_>>()?,
        authorities: authorities.into_iter().collect::<anyhow::Result<_>>()?,
        lists,
    })
}

/// Remembers what was said already.
#[derive(Debug, Default)]
pub(super) struct Watch {
    said: HashSet<(String, u16)>,
}

impl Watch {
    /// Looks at everything: says what was not said yet, and sets the gauges.
    pub(super) fn look(
        &mut self,
        inventory: &Inventory,
        register: &[CertificateRecord],
        directory: &Directory,
        metrics: &Metrics,
        at: Timestamp,
    ) {
        let is_active = |id: &AgencyId| directory.is_active(id, at);
        let endings = expiry::endings(inventory, register, is_active, at);
        for ending in &endings {
            self.say(ending);
        }
        let certificates = || endings.iter().filter(|one| one.dated.serial.is_some());
        for days in THRESHOLD_DAYS {
            let count = certificates().filter(|one| one.within_days <= days).count();
            metrics.expiring_certificates(days, count);
        }
        let current = expiry::current(register);
        let agencies = current.iter().filter(|one| is_active(&one.agency));
        metrics.agency_certificate_expiries(agencies.map(|one| (&one.agency, one.not_after)));
        let lists = inventory.lists.iter();
        metrics.revocation_lists(lists.map(|(stem, list)| (stem.as_str(), list.next_update)));
    }

    fn say(&mut self, ending: &Ending) {
        let Ending { dated, days_left, within_days } = ending;
        let serial = dated.serial.as_deref();
        let (what, agency, authority) = match &dated.what {
            What::Agency { agency, profile } => (profile.as_str(), Some(agency.as_str()), None),
            What::Authority { file_stem } => ("authority", None, Some(file_stem.as_str())),
            What::List { file_stem } => ("revocation-list", None, Some(file_stem.as_str())),
            What::Own(what) => (*what, None, None),
        };
        let which = serial.or(authority).unwrap_or(what).to_owned();
        if self.said.insert((which, *within_days)) {
            tracing::warn!(
                agency.id = agency,
                authority,
                certificate.serial = serial,
                days_left,
                what,
                "ends soon, or has ended, and has no successor: mash-gateway doctor"
            );
        }
    }
}

fn with<T>(path: &Path, read: impl FnOnce(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let named = || format!("cannot read {}", path.display());
    read(&std::fs::read_to_string(path).with_context(named)?).with_context(named)
}
