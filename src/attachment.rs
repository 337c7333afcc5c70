//! What a file says it is, held against its bytes as they pass.
//!
//! Only that it begins as such a file must, or for text that all of it is text: enough that no
//! recipient opens one thing as another, not that the file is whole.

use crate::message::MediaType;

/// Looks at a file, piece by piece.
#[derive(Debug)]
pub struct Sniffer {
    claimed: MediaType,
    /// The first bytes, until there are enough of them to judge by.
    head: Vec<u8>,
    /// A character of a text that the piece before broke off in.
    broken: Vec<u8>,
}

impl Sniffer {
    /// For a file that is said to be of this type.
    pub fn new(claimed: MediaType) -> Self {
        Self { claimed, head: Vec::with_capacity(HEAD_BYTES), broken: Vec::new() }
    }

    /// The next piece, of any length.
    pub fn look(&mut self, piece: &[u8]) -> Result<(), NotAsClaimed> {
        if self.head.len() < HEAD_BYTES {
            let taken = piece.len().min(HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(&piece[..taken]);
            if self.head.len() == HEAD_BYTES {
                self.judge_head()?;
            }
        }
        if self.claimed == MediaType::Text { self.look_at_text(piece) } else { Ok(()) }
    }

    /// The end. An empty file is of no type.
    pub fn finish(&self) -> Result<(), NotAsClaimed> {
        if self.head.is_empty() || !self.broken.is_empty() {
            return Err(NotAsClaimed);
        }
        self.judge_head()
    }

    fn judge_head(&self) -> Result<(), NotAsClaimed> {
        let begins = MediaType::ALL.into_iter().find(|media_type| {
            beginnings(*media_type).iter().any(|beginning| self.head.starts_with(beginning))
        });
        let is_as_claimed = match self.claimed {
            // Nothing that another program would open as something else.
            MediaType::Text => begins.is_none(),
            other => begins == Some(other),
        };
        if is_as_claimed { Ok(()) } else { Err(NotAsClaimed) }
    }

    fn look_at_text(&mut self, piece: &[u8]) -> Result<(), NotAsClaimed> {
        // A character ends within three bytes of where the last piece broke off.
        let mut rest = piece;
        while !self.broken.is_empty() {
            let Some((first, after)) = rest.split_first() else { return Ok(()) };
            self.broken.push(*first);
            rest = after;
            match str::from_utf8(&self.broken) {
                Ok(_) => self.broken.clear(),
                Err(error) if error.error_len().is_some() => return Err(NotAsClaimed),
                Err(_) => {}
            }
        }
        let text = match str::from_utf8(rest) {
            Ok(text) => text.as_bytes(),
            Err(error) if error.error_len().is_none() => {
                let (text, broken) = rest.split_at(error.valid_up_to());
                self.broken.extend_from_slice(broken);
                text
            }
            Err(_) => return Err(NotAsClaimed),
        };
        let is_text = |c: &u8| !c.is_ascii_control() || matches!(c, b'\t' | b'\n' | b'\r' | 0x0c);
        if text.iter().all(is_text) { Ok(()) } else { Err(NotAsClaimed) }
    }
}

/// The file is not what it was said to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the file is not what it was said to be")]
pub struct NotAsClaimed;

// The first bytes of files of a type; none for text, which may begin with any.
fn beginnings(media_type: MediaType) -> &'static [&'static [u8]] {
    match media_type {
        MediaType::Jpeg => &[b"\xff\xd8\xff"],
        MediaType::Pdf => &[b"%PDF-1.", b"%PDF-2."],
        MediaType::Png => &[b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"],
        MediaType::Text => &[],
    }
}

/// As many bytes as the longest beginning.
const HEAD_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
    const PDF: &[u8] = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01";

    /// In pieces of every length, which must not matter.
    fn is(claimed: MediaType, file: &[u8]) -> bool {
        let verdicts: Vec<_> = (1..=file.len().max(1))
            .map(|length| {
                let mut sniffer = Sniffer::new(claimed);
                file.chunks(length).all(|piece| sniffer.look(piece).is_ok())
                    && sniffer.finish().is_ok()
            })
            .collect();
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{file:x?}");
        verdicts[0]
    }

    #[test]
    fn each_file_is_of_its_own_type_only() {
        let text = "Seen on Tuesday at the school’s gate: 😀\r\n\tshe was well.\n".as_bytes();
        let files = [JPEG, PDF, PNG, text];
        for (claimed, own) in MediaType::ALL.into_iter().zip(files) {
            for file in files {
                assert_eq!(is(claimed, file), file == own, "{claimed:?}");
            }
            assert!(!is(claimed, b""), "{claimed:?}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        let before = [b"\n".as_slice(), PDF].concat();
        for (claimed, file) in [
            (MediaType::Pdf, before.as_slice()),
            (MediaType::Pdf, b"%PDF-"),
            (MediaType::Pdf, b"%PDF-3.0 and so on"),
            (MediaType::Pdf, b"<html>%PDF-1.7</html>"),
            (MediaType::Pdf, b"PK\x03\x04%PDF-1.7 an archive"),
            (MediaType::Png, &PNG[..15]),
            (MediaType::Png, b"\x89PNG\r\n\x1a\n\0\0\0\rIDAT\0\0\0\x01"),
            (MediaType::Jpeg, b"\xff\xd8"),
            (MediaType::Jpeg, b"GIF89a\xff\xd8\xff\xe0 and so on"),
            // A PDF may be all letters.
            (MediaType::Text, b"%PDF-1.7\n1 0 obj << >> endobj"),
            (MediaType::Text, b"a NUL\0 in it"),
            (MediaType::Text, b"an escape \x1b[31m in it"),
            (MediaType::Text, b"not UTF-8: \xe9t\xe9 and so on"),
            (MediaType::Text, b"a surrogate \xed\xa0\x80 and so on"),
            (MediaType::Text, b"cut off in a character \xf0\x9f\x98"),
        ] {
            assert!(!is(claimed, file), "{claimed:?} {file:x?}");
        }
        assert!(is(MediaType::Text, b"a"));
        assert!(is(MediaType::Text, "é".as_bytes()));
    }
}
