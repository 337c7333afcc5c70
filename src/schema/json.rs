//! The strict JSON reader: what two readers could understand differently is refused here.
//!
//! A duplicate key, a number that is rounded, a string cut at U+0000: each lets a body mean one
//! thing when it is checked and another when it is used. So none of them is read at all.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Nesting allowed; the contract's own deepest place is under 10.
const DEPTH_MAX: usize = 64;

/// Values allowed in one body: a megabyte of `[[],[],…` must not become a gigabyte of memory.
const VALUES_MAX: usize = 100_000;

/// The largest whole number every JSON reader holds exactly (RFC 7493).
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Why a body is not JSON we read. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JsonFault {
    /// It begins with a byte order mark.
    #[error("the body begins with a byte order mark: send UTF-8 without one")]
    ByteOrderMark,
    /// An object has the same name twice.
    #[error("line {}, column {}: a name occurs twice in one object", .0.line, .0.column)]
    DuplicateKey(Position),
    /// There is nothing but white space.
    #[error("the body is empty")]
    Empty,
    /// A string or a name holds U+0000.
    #[error("line {}, column {}: a string holds the character U+0000", .0.line, .0.column)]
    NulCharacter(Position),
    /// A number that not every reader holds exactly.
    #[error(
        "line {}, column {}: a number is out of range: whole numbers are within 2^53 of zero",
        .0.line, .0.column
    )]
    NumberOutOfRange(Position),
    /// It is not JSON.
    #[error("line {}, column {}: this is not JSON (RFC 8259)", .0.line, .0.column)]
    Syntax(Position),
    /// It is nested too deeply.
    #[error("line {}, column {}: nested more than 64 deep", .0.line, .0.column)]
    TooDeep(Position),
    /// It holds too many values.
    #[error("line {}, column {}: more than 100,000 values in one body", .0.line, .0.column)]
    TooManyValues(Position),
    /// Something follows the value.
    #[error("line {}, column {}: something follows the end of the JSON", .0.line, .0.column)]
    TrailingBytes(Position),
    /// It is cut short.
    #[error("line {}, column {}: the body ends too early", .0.line, .0.column)]
    UnexpectedEnd(Position),
    /// It is not UTF-8.
    #[error("line {}, column {}: the body is not UTF-8", .0.line, .0.column)]
    Utf8(Position),
}

/// A place in a body. Columns count bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1; 0 when the fault is the end of the line before.
    pub column: usize,
}

/// A body, read once.
pub(crate) struct Read {
    pub(crate) value: Value,
    /// How many values it holds.
    pub(crate) values: usize,
}

/// Reads one JSON document.
pub(crate) fn read(bytes: &[u8]) -> Result<Read, JsonFault> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Err(JsonFault::ByteOrderMark);
    }
    // Checked whole and first: it is fast, and serde_json then need not check each string.
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonFault::Utf8(position(&bytes[..error.valid_up_to()])))?;

    let limits = Limits { fault: Cell::new(None), values: Cell::new(0) };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = AnyValue { limits: &limits, depth: 0 }
        .deserialize(&mut reader)
        .map_err(|error| fault(text, &limits, &error))?;
    reader.end().map_err(|error| JsonFault::TrailingBytes(Position::of(&error)))?;
    Ok(Read { value, values: limits.values.get() })
}

impl Position {
    fn of(error: &serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

fn position(before: &[u8]) -> Position {
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    Position { line, column }
}

fn fault(text: &str, limits: &Limits, error: &serde_json::Error) -> JsonFault {
    let at = Position::of(error);
    match limits.fault.get() {
        Some(Broken::DuplicateKey) => JsonFault::DuplicateKey(at),
        Some(Broken::Nul) => JsonFault::NulCharacter(at),
        Some(Broken::Number) => JsonFault::NumberOutOfRange(at),
        Some(Broken::Depth) => JsonFault::TooDeep(at),
        Some(Broken::Values) => JsonFault::TooManyValues(at),
        None if text.trim_ascii().is_empty() => JsonFault::Empty,
        None if error.is_eof() => JsonFault::UnexpectedEnd(at),
        // serde_json has no kind for a number that overflows; a test holds it to these words.
        None if error.to_string().starts_with("number out of range") => {
            JsonFault::NumberOutOfRange(at)
        }
        None => JsonFault::Syntax(at),
    }
}

/// Which of our own limits stopped the reading, and how much was read.
struct Limits {
    fault: Cell<Option<Broken>>,
    values: Cell<usize>,
}

#[derive(Clone, Copy)]
enum Broken {
    Depth,
    DuplicateKey,
    Nul,
    Number,
    Values,
}

impl Limits {
    // What serde is told does not matter: `fault` reads the cell.
    #[cold]
    fn refuse<E: Error>(&self, broken: Broken) -> E {
        self.fault.set(Some(broken));
        E::custom("refused")
    }

    fn count<E: Error>(&self) -> Result<(), E> {
        let values = self.values.get() + 1;
        self.values.set(values);
        if values > VALUES_MAX { Err(self.refuse(Broken::Values)) } else { Ok(()) }
    }

    fn text<E: Error>(&self, text: &str) -> Result<(), E> {
        if text.as_bytes().contains(&0) { Err(self.refuse(Broken::Nul)) } else { Ok(()) }
    }
}

/// Reads any value, `depth` arrays or objects down.
#[derive(Clone, Copy)]
struct AnyValue<'l> {
    limits: &'l Limits,
    depth: usize,
}

impl AnyValue<'_> {
    fn inside<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return Err(self.limits.refuse(Broken::Depth));
        }
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.limits.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(self.limits.refuse(Broken::Number));
        }
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(self.limits.refuse(Broken::Number));
        }
        Ok(Value::Number(value.into()))
    }

    // A whole number too long for 64 bits arrives here too, already rounded.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) if value.abs() <= INTEGER_MAX as f64 => Ok(Value::Number(number)),
            _ => Err(self.limits.refuse(Broken::Number)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.limits.text(text)?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        self.limits.text(&text)?;
        Ok(Value::String(text))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key_seed(Name { limits: self.limits })? {
            match object.entry(name) {
                Entry::Occupied(_) => return Err(self.limits.refuse(Broken::DuplicateKey)),
                Entry::Vacant(place) => place.insert(members.next_value_seed(inside)?),
            };
        }
        Ok(Value::Object(object))
    }
}

/// Reads a member's name.
struct Name<'l> {
    limits: &'l Limits,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        self.limits.text(text)?;
        Ok(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<String, E> {
        self.limits.text(&text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(bytes: impl AsRef<[u8]>) -> &'static str {
        match read(bytes.as_ref()) {
            Ok(_) => "read",
            Err(JsonFault::ByteOrderMark) => "bom",
            Err(JsonFault::DuplicateKey(_)) => "duplicate",
            Err(JsonFault::Empty) => "empty",
            Err(JsonFault::NulCharacter(_)) => "nul",
            Err(JsonFault::NumberOutOfRange(_)) => "number",
            Err(JsonFault::Syntax(_)) => "syntax",
            Err(JsonFault::TooDeep(_)) => "deep",
            Err(JsonFault::TooManyValues(_)) => "many",
            Err(JsonFault::TrailingBytes(_)) => "trailing",
            Err(JsonFault::UnexpectedEnd(_)) => "end",
            Err(JsonFault::Utf8(_)) => "utf8",
        }
    }

    #[test]
    fn reads_json_and_refuses_what_is_not() {
        let cases: &[(&[u8], &str)] = &[
            // What RFC 8259 allows.
            (b"[]", "read"),
            (b"{}", "read"),
            (b" \t\r\n[ ] \n", "read"),
            (b"null", "read"),
            (b"true", "read"),
            (b"\"\"", "read"),
            (b"[1,2.5,-0,0e1,1E+2,1e-2,-0.1]", "read"),
            (b"[9007199254740991,-9007199254740991]", "read"),
            (b"[1e-999]", "read"),
            (b"{\"a\":{\"a\":1},\"b\":{\"a\":2}}", "read"),
            (b"{\"\":0}", "read"),
            (br#"["\u0041\ud83d\ude00\"\\\/\b\f\n\r\t"]"#, "read"),
            ("[\"\u{2028}\u{10ffff}\u{7f}\"]".as_bytes(), "read"),
            (br#"["\uFFFF"]"#, "read"),
            // What it does not.
            (b"", "empty"),
            (b" \n\t", "empty"),
            (b"[", "end"),
            (b"[1,", "end"),
            (b"{\"a\":", "end"),
            (b"\"abc", "end"),
            (b"tru", "end"),
            (b"[1,]", "syntax"),
            (b"[1,,2]", "syntax"),
            (b"[,1]", "syntax"),
            (b"[1 2]", "syntax"),
            (b"{\"a\":1,}", "syntax"),
            (b"{a:1}", "syntax"),
            (b"{'a':1}", "syntax"),
            (b"{\"a\" 1}", "syntax"),
            (b"{1:1}", "syntax"),
            (b"[01]", "syntax"),
            (b"[-]", "syntax"),
            (b"[+1]", "syntax"),
            (b"[.5]", "syntax"),
            (b"[1.]", "syntax"),
            (b"[1e]", "syntax"),
            (b"[0x1]", "syntax"),
            (b"[NaN]", "syntax"),
            (b"[Infinity]", "syntax"),
            (b"[nul]", "syntax"),
            (b"[True]", "syntax"),
            (b"[\"\n\"]", "syntax"),
            (b"[\"\x00\"]", "syntax"),
            (br#"["\x41"]"#, "syntax"),
            (br#"["\u12"]"#, "syntax"),
            (br#"["\ud800"]"#, "syntax"),
            (br#"["\udc00\ud800"]"#, "syntax"),
            (b"[1]//", "trailing"),
            (b"/**/[1]", "syntax"),
            (b"[1]x", "trailing"),
            (b"{}{}", "trailing"),
            (b"[]\x00", "trailing"),
            (b"\x0c[]", "syntax"),
            ("\u{a0}[]".as_bytes(), "syntax"),
            // What it allows and we refuse.
            (b"\xEF\xBB\xBF{}", "bom"),
            (b"{\"a\":1,\"a\":1}", "duplicate"),
            (br#"{"a":1,"\u0061":1}"#, "duplicate"),
            (br#"[{"b":{"a":1,"a":2}}]"#, "duplicate"),
            (br#"["\u0000"]"#, "nul"),
            (br#"["a\u0000b"]"#, "nul"),
            (br#"{"a\u0000":1}"#, "nul"),
            (b"[9007199254740992]", "number"),
            (b"[-9007199254740992]", "number"),
            (b"[18446744073709551616]", "number"),
            (b"[-9223372036854775809]", "number"),
            (b"[1e20]", "number"),
            (b"[1e999]", "number"),
            (b"[-1e999999999999]", "number"),
            (b"[\"\xff\"]", "utf8"),
            (b"[\"\xc0\xaf\"]", "utf8"),
            (b"[\"\xed\xa0\x80\"]", "utf8"),
            (b"\xff\xfe[\x00]\x00", "utf8"),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(kind(bytes), *wanted, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn limits_hold_exactly() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(kind(nested(DEPTH_MAX)), "read");
        assert_eq!(kind(nested(DEPTH_MAX + 1)), "deep");
        assert_eq!(kind("[".repeat(100_000)), "deep");
        assert_eq!(kind("{\"a\":".repeat(100_000)), "deep");
        assert_eq!(kind("[".to_owned() + &"1".repeat(100_000) + "]"), "number");

        let many = |values: usize| format!("[0{}]", ",0".repeat(values - 2));
        assert_eq!(kind(many(VALUES_MAX)), "read");
        assert_eq!(kind(many(VALUES_MAX + 1)), "many");
        assert_eq!(read(many(10).as_bytes()).unwrap().values, 10);
    }

    #[test]
    fn a_fault_says_where_and_never_what() {
        let body = b"{\n  \"given\": \"Robin\",\n  \"given\": \"Alex\"\n}";
        let fault = read(body).err().unwrap();
        assert!(matches!(fault, JsonFault::DuplicateKey(Position { line: 3, .. })), "{fault:?}");
        let fault = read(b"[\"ok\",\n\"Robin\xff\"]").err().unwrap();
        assert_eq!(fault, JsonFault::Utf8(Position { line: 2, column: 7 }));
        assert_eq!(fault.to_string(), "line 2, column 7: the body is not UTF-8");
    }

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        let text = r#"{"b":[1,-2,3.5,true,null,"x\ny"],"a":{"é":"ü"}}"#;
        let ours = read(text.as_bytes()).unwrap().value;
        assert_eq!(ours, serde_json::from_str::<Value>(text).unwrap());
    }

    proptest! {
        #[test]
        fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn what_is_nearly_json_returns(text in "[\\[\\]{}:,\"\\\\u0-9eE+\\-. a-c]{0,80}") {
            // What we read, serde_json reads to the same value: we only ever refuse more.
            if let Ok(read) = read(text.as_bytes()) {
                prop_assert_eq!(read.value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
