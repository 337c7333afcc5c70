//! Shares of something that is counted: so many at once for each of those who take part.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How many places each has taken. Whoever has none is not remembered.
#[derive(Debug)]
pub struct Shares<K: Eq + Hash>(Mutex<HashMap<K, usize>>);

impl<K: Clone + Eq + Hash> Shares<K> {
    /// Takes a place of `whose`, unless it has `max` already.
    pub(crate) fn enter(self: &Arc<Self>, whose: K, max: usize) -> Option<Place<K>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(whose.clone()).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { shares: Arc::clone(self), whose })
    }
}

impl<K: Eq + Hash> Default for Shares<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One place; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    whose: K,
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_given_up() {
        let shares = Arc::new(Shares::default());
        let (first, _second) = (shares.enter("one", 2).unwrap(), shares.enter("one", 2));
        assert!(shares.enter("one", 2).is_none());
        assert!(shares.enter("another", 2).is_some(), "another's share");
        drop(first);
        assert!(shares.enter("one", 2).is_some());
    }
}
