//! Which enquiries an audit looks at (R102): drawn at random, and drawn again by anybody who has the seed.
//!
//! Each enquiry's lot is SHA-256 over the seed, a line feed and its id; the lowest are drawn. Nobody who
//! does not choose the seed can see to it that a case is drawn or is not, and no generator has to stay as it
//! is for an old sample to be drawn again: `sha256sum` does.

use std::collections::BTreeSet;

use crate::message::{EnquiryId, sha256};

/// As many of these as are asked for, or all if there are fewer; in the order they were drawn.
pub fn drawn(seed: &str, from: &BTreeSet<EnquiryId>, count: usize) -> Vec<EnquiryId> {
    let mut lots: Vec<_> = from.iter().map(|id| (lot(seed, id), *id)).collect();
    lots.sort_unstable();
    lots.into_iter().take(count).map(|(_, id)| id).collect()
}

fn lot(seed: &str, id: &EnquiryId) -> [u8; 32] {
    sha256(format!("{seed}\n{id}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again_and_every_enquiry_as_often_as_another() {
        let all: BTreeSet<_> = (0..20).map(|n| EnquiryId::from_bytes([n; 16])).collect();
        let mut times = std::collections::BTreeMap::new();
        for seed in 0..1_000 {
            let drawn = drawn(&seed.to_string(), &all, 5);
            assert_eq!(drawn, super::drawn(&seed.to_string(), &all, 5));
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 5);
            drawn.into_iter().for_each(|id| *times.entry(id).or_insert(0) += 1);
        }
        // A quarter each, and seldom more than four standard deviations from it.
        assert!(times.values().all(|times| (195..=305).contains(times)), "{times:?}");
        assert_eq!(times.len(), 20);
        assert_eq!(drawn("a", &all, 50).len(), 20);
        assert!(drawn("a", &BTreeSet::new(), 5).is_empty());
        // As `printf 'a\n01010101-0101-0101-0101-010101010101' | sha256sum` has it.
        let hex = crate::message::hex(&lot("a", &EnquiryId::from_bytes([1; 16])));
        assert_eq!(hex, SHA256SUM);
    }

    const SHA256SUM: &str = "c31909ef10b0214fd4a86e3da6aaf7bff2c7dbe60a20e45176d03c3eb293e388";
}
