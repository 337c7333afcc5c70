//! The HTTP/2 frames that pass on a connection: whoever sends many that carry nothing is let go of.
//!
//! PING, SETTINGS, PRIORITY, RST_STREAM, empty DATA and CONTINUATION cost their sender nothing and
//! us an answer, or a request begun for nobody (CVE-2019-9512, 9515, 9518, CVE-2023-44487). The
//! library bounds what it keeps of them, not how many it answers. Here they are counted.

use tokio::time::Instant;

/// Follows the frames of one direction of one connection.
#[derive(Debug)]
pub(crate) struct Frames {
    /// How much of the preface, or of a frame's payload, is still to come.
    skip: u64,
    header: [u8; HEADER_LENGTH],
    /// How much of the header is there.
    length: usize,
}

impl Frames {
    /// What a client sends: a preface, then frames (RFC 9113, 3.4).
    pub(crate) fn of_client() -> Self {
        Self { skip: PREFACE_LENGTH, ..Self::of_server() }
    }

    /// What a server sends.
    pub(crate) fn of_server() -> Self {
        Self { skip: 0, header: [0; HEADER_LENGTH], length: 0 }
    }

    /// Goes on by these bytes; returns what frames began in them.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) -> Passed {
        let mut passed = Passed::default();
        loop {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let taken = (HEADER_LENGTH - self.length).min(bytes.len());
            if taken == 0 {
                return passed;
            }
            self.header[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.length += taken;
            if self.length == HEADER_LENGTH {
                self.length = 0;
                self.skip = passed.count(self.header);
            }
        }
    }
}

/// Frames that have passed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Passed {
    /// Those that carry nothing of a request.
    pub(crate) control: u32,
    /// Those that give more room to send, of which a peer that reads much sends many.
    pub(crate) window_updates: u32,
    /// Of the first, those that end a request early.
    pub(crate) resets: u32,
}

impl Passed {
    // Counts the frame with this header (RFC 9113, 4.1); returns the length of its payload.
    fn count(&mut self, header: [u8; HEADER_LENGTH]) -> u64 {
        let [a, b, c, kind, flags, ..] = header;
        let length = u64::from(u32::from_be_bytes([0, a, b, c]));
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => {}
            HEADERS => {}
            WINDOW_UPDATE => self.window_updates += 1,
            RST_STREAM => {
                self.resets += 1;
                self.control += 1;
            }
            _ => self.control += 1,
        }
        length
    }
}

/// How many frames a peer may still send that carry nothing: so many a second, and at once what ten
/// seconds would bring.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    /// A whole one.
    pub(crate) fn new(per_second: u32, at: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, left: per_second * BURST_S, at }
    }

    /// Takes these frames from it; whether there was enough.
    pub(crate) fn take(&mut self, passed: Passed, at: Instant) -> bool {
        let more = at.duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = at;
        self.left = (self.left + more).min(self.per_second * BURST_S);
        self.left -= f64::from(passed.control);
        self.left -= f64::from(passed.window_updates) / WINDOW_UPDATES_IN_ONE;
        self.left >= 0.0
    }
}

const PREFACE_LENGTH: u64 = 24;
const HEADER_LENGTH: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const BURST_S: f64 = 10.0;
/// They make us answer nothing, and a fast reader sends two for each 16 KiB.
const WINDOW_UPDATES_IN_ONE: f64 = 200.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_counted_however_they_come_in() {
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, &[0; 12]),
            frame(HEADERS, 4, b"abc"),
            frame(DATA, 0, &[RST_STREAM; 300]),
            frame(DATA, 0, b""),
            frame(DATA, END_STREAM, b""),
            frame(WINDOW_UPDATE, 0, &[0; 4]),
            frame(RST_STREAM, 0, &[0; 4]),
            frame(6, 0, &[0; 8]),
            frame(9, 0, b""),
            frame(0xee, 0, &[0; 70_000]),
        ]
        .concat();
        for size in [1, 7, 9, 64, bytes.len()] {
            let (mut frames, mut all) = (Frames::of_client(), Passed::default());
            for piece in bytes.chunks(size) {
                let passed = frames.follow(piece);
                all.control += passed.control;
                all.window_updates += passed.window_updates;
                all.resets += passed.resets;
            }
            assert_eq!(all, Passed { control: 6, window_updates: 1, resets: 1 }, "{size}");
        }
        assert_eq!(Frames::of_server().follow(&bytes[24..]).control, 6);
    }

    #[test]
    fn an_allowance_comes_back_with_time_and_does_not_grow() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(10, begun);
        let control = |control| Passed { control, ..Passed::default() };
        assert!(allowance.take(control(100), begun));
        assert!(!allowance.take(control(1), begun));
        let later = begun + Duration::from_secs(1);
        assert!(allowance.take(control(9), later));
        let much_later = begun + Duration::from_secs(1_000);
        assert!(allowance.take(control(100), much_later));
        assert!(!allowance.take(control(1), much_later));
        let again = much_later + Duration::from_secs(1);
        let updates = Passed { window_updates: 1_000, ..Passed::default() };
        assert!(allowance.take(updates, again));
        assert!(!allowance.take(updates, again));
    }
}
