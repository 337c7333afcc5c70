//! Where one HTTP/1 request ends and the next begins, said in one way only.
//!
//! The library that reads requests forgives what two readers could understand differently: a length
//! beside chunks, a length said twice, a bare LF (RFC 9112, 6.3 and 11.2). It has tidied that away
//! before a handler sees the request. So the bytes are followed on their way to it, and what is
//! ambiguous is stopped there. Nothing is kept but the line at hand, cut to what matters.

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    place: Place,
    /// The beginning of the line at hand, without its end.
    line: Vec<u8>,
    /// Whether the byte before was a CR.
    is_cr: bool,
    /// How long the request's body says it is.
    said: Said,
}

impl Framing {
    /// At the beginning of a connection.
    pub(crate) fn new() -> Self {
        Self { place: Place::Start, line: Vec::new(), is_cr: false, said: Said::Nothing }
    }

    /// Goes on by these bytes. The error says how many of them were good.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), (usize, &'static str)> {
        let mut at = 0;
        while at < bytes.len() {
            // A body is passed over as it comes: nothing in it ends it early.
            if let Place::Length(left) | Place::Chunk(left) = &mut self.place {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                *left -= here as u64;
                at += here;
                if *left == 0 {
                    self.place = match self.place {
                        Place::Chunk(_) => Place::ChunkEnd,
                        _ => Place::Start,
                    };
                }
                continue;
            }
            self.byte(bytes[at]).map_err(|fault| (at, fault))?;
            at += 1;
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        match (self.is_cr, byte) {
            (true, b'\n') => {
                self.is_cr = false;
                let line = std::mem::take(&mut self.line);
                self.ended(&line)
            }
            (true, _) => Err("bare-cr"),
            (false, b'\n') => Err("bare-lf"),
            (false, b'\r') => {
                self.is_cr = true;
                Ok(())
            }
            (false, _) => {
                // The lines that matter are short; of the others the name is enough.
                if self.line.len() < LINE_KEPT {
                    self.line.push(byte);
                }
                Ok(())
            }
        }
    }

    fn ended(&mut self, line: &[u8]) -> Result<(), &'static str> {
        self.place = match self.place {
            // An empty line before a request is passed over (RFC 9112, 2.2).
            Place::Start if line.is_empty() => Place::Start,
            Place::Start => {
                self.said = Said::Nothing;
                Place::Head
            }
            Place::Head if line.is_empty() => match self.said {
                Said::Nothing | Said::Length(0) => Place::Start,
                Said::Length(length) => Place::Length(length),
                Said::Chunks => Place::ChunkSize,
            },
            Place::Head => {
                self.header(line)?;
                Place::Head
            }
            Place::ChunkSize => match chunk_size(line).ok_or("chunk-size")? {
                0 => Place::Trailer,
                size => Place::Chunk(size),
            },
            Place::ChunkEnd if line.is_empty() => Place::ChunkSize,
            Place::ChunkEnd => return Err("chunk-end"),
            Place::Trailer if line.is_empty() => Place::Start,
            Place::Trailer => Place::Trailer,
            // Passed over in `follow`.
            Place::Length(_) | Place::Chunk(_) => return Err("framing"),
        };
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        // A folded line too begins with a space.
        if name.iter().any(|byte| byte.is_ascii_whitespace()) {
            return Err("space-in-name");
        }
        let value = rest.get(1..).unwrap_or_default().trim_ascii();
        let said = if name.eq_ignore_ascii_case(b"content-length") {
            Said::Length(length(value).ok_or("content-length")?)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("transfer-encoding");
            }
            Said::Chunks
        } else {
            return Ok(());
        };
        match std::mem::replace(&mut self.said, said) {
            Said::Nothing => Ok(()),
            Said::Length(_) | Said::Chunks => Err("framed-twice"),
        }
    }
}

/// Where in a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Before its first line.
    Start,
    /// In its header.
    Head,
    /// In a body, with so many bytes to come.
    Length(u64),
    /// Where the size of a chunk stands.
    ChunkSize,
    /// In a chunk, with so many bytes to come.
    Chunk(u64),
    /// After a chunk.
    ChunkEnd,
    /// After the last chunk.
    Trailer,
}

/// How long a body is, by its header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Nothing,
    Length(u64),
    Chunks,
}

// Digits alone: no list, no sign, and never more than fits.
fn length(value: &[u8]) -> Option<u64> {
    let is_plain = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_plain)?.parse().ok()
}

// What follows a semicolon says nothing of where the chunk ends.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next()?;
    let is_plain = (1..=15).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(size).ok().filter(|_| is_plain)?, 16).ok()
}

/// More than the longest line that frames a body, and than any length that is taken.
const LINE_KEPT: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: [&str; 6] = [
        "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n\n\r\r\n:",
        "POST /a HTTP/1.1\r\ncontent-length:0\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        "GET /a HTTP/1.1\r\nX-Content-Length: x\r\nX: Content-Length: 5\r\n\r\n",
    ];

    const BAD: [(&str, &str); 17] = [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "framed-twice"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "framed-twice"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "framed-twice"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "framed-twice"),
        ("Content-Length: 5, 5\r\n", "content-length"),
        ("Content-Length: +5\r\n", "content-length"),
        ("Content-Length: 0x5\r\n", "content-length"),
        ("Content-Length: \r\n", "content-length"),
        ("Content-Length: 99999999999999999999\r\n", "content-length"),
        ("Transfer-Encoding: gzip, chunked\r\n", "transfer-encoding"),
        ("Transfer-Encoding: chunked, identity\r\n", "transfer-encoding"),
        ("Transfer-Encoding: xchunked\r\n", "transfer-encoding"),
        ("Content-Length : 5\r\n", "space-in-name"),
        ("Host: h\r\n Content-Length: 5\r\n", "space-in-name"),
        ("Host: h\n", "bare-lf"),
        ("Host: h\rX: y\r\n", "bare-cr"),
        ("Transfer-Encoding: chunked\r\n\r\n5 \r\n", "chunk-size"),
    ];

    #[test]
    fn each_good_request_ends_where_the_next_begins() {
        for first in GOOD {
            for second in GOOD {
                let mut framing = Framing::new();
                assert_eq!(framing.follow(first.as_bytes()), Ok(()), "{first:?}");
                assert_eq!(framing.place, Place::Start, "{first:?}");
                assert_eq!(framing.follow(second.as_bytes()), Ok(()), "{second:?}");
                assert_eq!(framing.place, Place::Start, "{second:?}");
            }
        }
    }

    #[test]
    fn what_is_ambiguous_is_stopped_before_its_line_ends() {
        for (lines, fault) in BAD {
            for before in ["", GOOD[3]] {
                let text = format!("{before}POST /a HTTP/1.1\r\n{lines}");
                let (good, found) = Framing::new().follow(text.as_bytes()).unwrap_err();
                assert_eq!(found, fault, "{lines:?}");
                assert!(good >= before.len() && good < text.len(), "{lines:?}: {good}");
            }
        }
    }

    proptest! {
        // How the bytes come in makes no difference.
        #[test]
        fn cut_anywhere_it_is_the_same(
            good in 0..GOOD.len(),
            bad in 0..BAD.len(),
            cuts in proptest::collection::vec(1_usize..9, 1..40),
        ) {
            let text = format!("{}POST /a HTTP/1.1\r\n{}", GOOD[good], BAD[bad].0);
            let whole = Framing::new().follow(text.as_bytes());
            let (mut framing, mut at, mut found) = (Framing::new(), 0, Ok(()));
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(text.len());
                found = framing.follow(&text.as_bytes()[at..end]).map_err(|(n, f)| (at + n, f));
                at = end;
                if found.is_err() || at == text.len() {
                    break;
                }
            }
            prop_assert_eq!(found, whole);
        }

        // Whatever comes, it is taken or refused, and nothing grows.
        #[test]
        fn it_keeps_one_line_at_most(bytes in proptest::collection::vec(any::<u8>(), 0..4_096)) {
            let mut framing = Framing::new();
            let _ = framing.follow(&bytes);
            prop_assert!(framing.line.capacity() <= 2 * LINE_KEPT);
        }
    }
}
