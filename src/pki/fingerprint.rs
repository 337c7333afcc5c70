//! Fingerprints as people read them to one another over the telephone.

/// A SHA-256 as people compare it: pairs of hex with colons.
pub fn fingerprint(sha256: &[u8; 32]) -> String {
    sha256.map(|byte| format!("{byte:02X}")).join(":")
}

/// A SHA-256 to be read aloud: a word for each digit, a comma after each pair, a line for each eight
/// pairs, so that both ends can say how far they are.
///
/// Letters are those of the telephone (ITU), because "B" and "D" sound alike.
pub fn spoken(sha256: &[u8; 32]) -> [String; 4] {
    let pair = |byte: &u8| format!("{} {}", word(byte >> 4), word(byte & 0x0f));
    let line = |bytes: &[u8]| bytes.iter().map(pair).collect::<Vec<_>>().join(", ");
    let (first, second) = sha256.split_at(16);
    [line(&first[..8]), line(&first[8..]), line(&second[..8]), line(&second[8..])]
}

fn word(digit: u8) -> &'static str {
    const WORDS: [&str; 16] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "alfa",
        "bravo", "charlie", "delta", "echo", "foxtrot",
    ];
    WORDS[usize::from(digit & 0x0f)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_has_its_own_word() {
        let mut sha256 = [0; 32];
        sha256[..8].copy_from_slice(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        sha256[31] = 0x7d;
        let spoken = spoken(&sha256);
        assert_eq!(
            spoken[0],
            "zero one, two three, four five, six seven, eight nine, alfa bravo, charlie delta, \
             echo foxtrot"
        );
        assert!(spoken[3].ends_with("zero zero, seven delta"));
        assert!(spoken.iter().all(|line| line.split(", ").count() == 8));
    }
}
