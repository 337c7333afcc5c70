//! Who is connected, and who was here last.
//!
//! An agency has its share of the connections; a revocation is confirmed when nobody is connected
//! any more with what was revoked; and the inventory says when each certificate was last used.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::message::AgencyId;
use crate::pki::identity::Peer;
use crate::store::CertificateUse;

/// Everybody who is connected, by agency and by certificate.
#[derive(Debug, Default)]
pub struct Presence {
    here: Mutex<Here>,
    left: Notify,
    cut: AtomicUsize,
}

#[derive(Debug, Default)]
struct Here {
    agencies: HashMap<AgencyId, usize>,
    certificates: HashMap<[u8; 32], usize>,
    uses: HashMap<[u8; 32], (Timestamp, IpAddr)>,
}

impl Presence {
    /// A place for one more connection of this peer's agency; none when it has `max` already.
    pub fn enter(self: &Arc<Self>, peer: &Arc<Peer>, max: usize) -> Option<Place> {
        let mut here = self.lock();
        let count = here.agencies.entry(peer.agency().clone()).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        *here.certificates.entry(*peer.sha256()).or_insert(0) += 1;
        Some(Place { presence: Arc::clone(self), peer: Arc::clone(peer) })
    }

    /// How many connections are open with certificates for which this holds.
    pub fn count(&self, is_meant: impl Fn(&[u8; 32]) -> bool) -> usize {
        let here = self.lock();
        here.certificates.iter().filter(|(sha256, _)| is_meant(sha256)).map(|(_, n)| n).sum()
    }

    /// Waits until there are none.
    pub async fn none_left(&self, is_meant: impl Fn(&[u8; 32]) -> bool) {
        loop {
            let left = self.left.notified();
            if self.count(&is_meant) == 0 {
                return;
            }
            left.await;
        }
    }

    /// A connection is cut because its certificate was revoked.
    pub fn note_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections were cut since this was last asked.
    pub fn take_cut(&self) -> usize {
        self.cut.swap(0, Ordering::Relaxed)
    }

    /// A certificate is used.
    pub fn used(&self, sha256: &[u8; 32], from: IpAddr, at: Timestamp) {
        self.lock().uses.insert(*sha256, (at, from));
    }

    /// The latest use of every certificate used since this was last asked.
    pub fn take_uses(&self) -> Vec<CertificateUse> {
        let uses = std::mem::take(&mut self.lock().uses);
        uses.into_iter()
            .map(|(sha256, (at, from))| CertificateUse { sha256, at, address: from.to_string() })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; given up when dropped.
#[derive(Debug)]
pub struct Place {
    presence: Arc<Presence>,
    peer: Arc<Peer>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut here = self.presence.lock();
        take_one(&mut here.agencies, self.peer.agency());
        take_one(&mut here.certificates, self.peer.sha256());
        drop(here);
        self.presence.left.notify_waiters();
    }
}

fn take_one<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
