//! Reading a settings file so that every mistake in it is told at once, each with its line, its
//! field, what is wrong and what to do.
//!
//! Used for `partners.toml` and `gateway.toml`. A key that nothing asked for is a mistake: a
//! misspelt setting must not be a setting silently left at its default.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong with a settings file.
///
/// Repeats keys, ids and the values of closed lists; never a name, a number or an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The field, as a person would point at it: `agency "alder-hey" endpoints[0].url`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}. {}", self.line, self.field, self.problem, self.remedy)
    }
}

/// Everything wrong with one settings file, in the order of its lines. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistakes {
    file: &'static str,
    all: Vec<Mistake>,
}

impl Mistakes {
    /// The file's name.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// Each mistake.
    pub fn all(&self) -> &[Mistake] {
        &self.all
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.all.len() == 1 { "mistake" } else { "mistakes" };
        write!(f, "{} has {} {plural}", self.file, self.all.len())?;
        for Mistake { line, field, problem, remedy } in &self.all {
            write!(f, "\n  {}:{line}: {field}: {problem}\n      {remedy}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A settings file being read: its text and the mistakes found so far.
pub(crate) struct Document<'t> {
    file: &'static str,
    text: &'t str,
    /// What a section that is not there is read from: nothing, which is what defaults are for.
    nothing: DeTable<'t>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'t> Document<'t> {
    /// Parses the text as TOML. When it is not, all that is told is where: a half-read file would
    /// make one missing quotation mark look like a dozen missing fields.
    pub(crate) fn parse(
        file: &'static str,
        text: &'t str,
    ) -> Result<(Self, Spanned<DeTable<'t>>), Mistakes> {
        let document = Self { file, text, nothing: DeTable::new(), mistakes: RefCell::default() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(1, |span| document.line(&span));
            document.mistake(
                line,
                "syntax".to_owned(),
                format!("not TOML: {}", error.message()),
                "Look at this line and the one above it for a missing quotation mark, bracket or \
                 equals sign, or a key given twice"
                    .to_owned(),
            );
        }
        let document = document.finish()?;
        Ok((document, table))
    }

    /// The whole file as one section.
    pub(crate) fn root<'d>(&'d self, table: &'d Spanned<DeTable<'t>>) -> Section<'d> {
        Section {
            document: self,
            table: table.get_ref(),
            line: 1,
            prefix: String::new(),
            known: Vec::new(),
        }
    }

    /// The document when nothing is wrong with it so far, otherwise everything that is.
    pub(crate) fn finish(self) -> Result<Self, Mistakes> {
        let mut all = self.mistakes.take();
        if all.is_empty() {
            return Ok(self);
        }
        all.sort_by_key(|mistake| mistake.line);
        Err(Mistakes { file: self.file, all })
    }

    fn mistake(&self, line: usize, field: String, problem: String, remedy: String) {
        self.mistakes.borrow_mut().push(Mistake { line, field, problem, remedy });
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.bytes().filter(|c| *c == b'\n').count() + 1
    }
}

/// One table of a settings file. It remembers which keys were asked for.
pub(crate) struct Section<'d> {
    document: &'d Document<'d>,
    table: &'d DeTable<'d>,
    line: usize,
    prefix: String,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The line the section begins on.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// Says that fields of this section are to be named after `owner`.
    pub(crate) fn call_it(&mut self, owner: &str) {
        self.prefix = format!("{owner} ");
    }

    /// Whether the key is there at all, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the key holds an empty list.
    pub(crate) fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.table.get(key).map(Spanned::get_ref), Some(DeValue::Array(a)) if a.is_empty())
    }

    /// Records a mistake in `field`: a key of this section, or an element of one, `key[3]`.
    pub(crate) fn wrong(&self, field: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let field_name = format!("{}{field}", self.prefix);
        self.document.mistake(self.line_of(field), field_name, problem.into(), remedy.into());
    }

    /// The text under `key`, not blank and on one line.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'d str> {
        let value = self.value(key)?;
        self.checked_text(key, value)
    }

    /// The text under `key`, which must be there.
    pub(crate) fn required_text(&mut self, key: &'static str, remedy: &str) -> Option<&'d str> {
        if !self.has(key) {
            self.wrong(key, "is missing", remedy);
        }
        self.text(key)
    }

    /// The texts under `key`, each with its place in the list; none when the key is not there.
    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<(usize, &'d str)> {
        let mut texts = Vec::new();
        for (i, value) in self.array(key).into_iter().enumerate() {
            texts.extend(self.checked_text(&format!("{key}[{i}]"), value).map(|text| (i, text)));
        }
        texts
    }

    /// The truth under `key`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        match self.value(key)?.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => self.wrong_type(key, other, "true or false, without quotation marks"),
        }
    }

    /// The whole number under `key`, within `range`.
    pub(crate) fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (range.start(), range.end());
        let remedy = format!("Write a whole number from {low} to {high}");
        let integer = match self.value(key)?.get_ref() {
            DeValue::Integer(integer) => integer,
            other => return self.wrong_type(key, other, "a whole number, without quotation marks"),
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(key, "is out of range", remedy);
        }
        number
    }

    /// The date under `key`, with or without quotation marks.
    pub(crate) fn date(&mut self, key: &'static str) -> Option<Date> {
        let date = match self.value(key)?.get_ref() {
            DeValue::Datetime(at) if at.time.is_none() => at.date.and_then(|date| {
                let part = |number: u8| i8::try_from(number).ok();
                let year = i16::try_from(date.year).ok()?;
                Date::new(year, part(date.month)?, part(date.day)?).ok()
            }),
            DeValue::String(text) if text.len() == 10 => text.parse().ok(),
            _ => None,
        };
        if date.is_none() {
            self.wrong(key, "is not a date", "Write year, month and day, such as 2026-04-01");
        }
        date
    }

    /// The choice named under `key`, out of a closed list.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(key)?;
        let choice = choices.iter().find(|(name, _)| *name == text);
        if choice.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let remedy = match nearest(text, names.iter().copied()) {
                Some(name) => format!("Did you mean \"{name}\"? Choices: {}", names.join(", ")),
                None => format!("Write one of: {}", names.join(", ")),
            };
            self.wrong(key, "is not one of the choices", remedy);
        }
        choice.map(|(_, choice)| *choice)
    }

    /// The choice named under `key`, which must be there.
    pub(crate) fn required_choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        if !self.has(key) {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(key, "is missing", format!("Write one of: {}", names.join(", ")));
        }
        self.choice(key, choices)
    }

    /// The table under `key`.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        self.child(key, value)
    }

    /// The table under `key`, or an empty one when there is none.
    pub(crate) fn section(&mut self, key: &'static str) -> Self {
        self.table(key).unwrap_or_else(|| Self {
            document: self.document,
            table: &self.document.nothing,
            line: self.line,
            prefix: format!("{}{key}.", self.prefix),
            known: Vec::new(),
        })
    }

    /// The tables under `key`; empty when there are none.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let mut tables = Vec::new();
        for (i, value) in self.array(key).into_iter().enumerate() {
            tables.extend(self.child(&format!("{key}[{i}]"), value));
        }
        tables
    }

    /// Ends the section: every key that was not asked for is a mistake.
    pub(crate) fn finish(self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, self.known.iter().copied()) {
                Some(known) => format!("Did you mean `{known}`?"),
                None => format!("Remove it. Known here: {}", self.known.join(", ")),
            };
            self.document.mistake(
                self.document.line(&key.span()),
                format!("{}{}", self.prefix, shown(name)),
                "is not a known setting".to_owned(),
                remedy,
            );
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    fn array(&mut self, key: &'static str) -> Vec<&'d Spanned<DeValue<'d>>> {
        match self.value(key).map(Spanned::get_ref) {
            None => Vec::new(),
            Some(DeValue::Array(array)) => array.iter().collect(),
            Some(other) => self.wrong_type(key, other, "a list in brackets").unwrap_or_default(),
        }
    }

    fn child(&self, field: &str, value: &'d Spanned<DeValue<'d>>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong_type(field, value.get_ref(), "a table, such as { key = \"value\" }");
        };
        Some(Self {
            document: self.document,
            table,
            line: self.document.line(&value.span()),
            prefix: format!("{}{field}.", self.prefix),
            known: Vec::new(),
        })
    }

    fn checked_text(&self, field: &str, value: &'d Spanned<DeValue<'d>>) -> Option<&'d str> {
        const LENGTH_MAX: usize = 500;
        let text = match value.get_ref() {
            DeValue::String(text) => text.trim(),
            other => return self.wrong_type(field, other, "text in quotation marks"),
        };
        let problem = match text {
            "" => "is empty",
            text if text.chars().any(char::is_control) => "holds a line break or control character",
            text if text.len() > LENGTH_MAX => "is longer than 500 bytes",
            text => return Some(text),
        };
        self.wrong(field, problem, "Write a short text on one line, or remove the key");
        None
    }

    fn wrong_type<T>(&self, field: &str, value: &DeValue<'_>, wanted: &str) -> Option<T> {
        let problem = format!("is the wrong type ({})", value.type_str());
        self.wrong(field, problem, format!("Write {wanted}"));
        None
    }

    fn line_of(&self, field: &str) -> usize {
        let (key, element) = match field.split_once('[') {
            Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (field, None),
        };
        let Some(mut value) = self.table.get(key) else { return self.line };
        if let Some(inner) = element.and_then(|i| value.get_ref().get(i)) {
            value = inner;
        }
        self.document.line(&value.span())
    }
}

/// The known word a mistyped one most resembles, if any does.
pub(crate) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const LENGTH_MAX: usize = 64;
    if word.len() > LENGTH_MAX {
        return None;
    }
    let (distance, nearest) = known
        .filter(|candidate| candidate.len() <= LENGTH_MAX)
        .map(|candidate| (edits(word, candidate), candidate))
        .min()?;
    (distance <= 1 + word.len() / 4).then_some(nearest)
}

// How many characters to insert, remove or change to turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

// A quoted key may hold anything; what is printed to a terminal may not.
fn shown(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if key.len() <= 64 && key.chars().all(plain) { key.to_owned() } else { "a key".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, read: impl Fn(&mut Section<'_>)) -> Vec<Mistake> {
        let (document, table) = match Document::parse("test.toml", text) {
            Ok(parsed) => parsed,
            Err(mistakes) => return mistakes.all,
        };
        let mut root = document.root(&table);
        read(&mut root);
        root.finish();
        document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.all)
    }

    fn lines(found: &[Mistake]) -> Vec<(usize, &str)> {
        found.iter().map(|mistake| (mistake.line, mistake.field.as_str())).collect()
    }

    #[test]
    fn every_syntax_error_has_its_line() {
        let found = mistakes("a = 1\nb = = 2\nc = 3\nd = \"open\ne = 1\na = 2\n", |_| ());
        let at: Vec<usize> = found.iter().map(|mistake| mistake.line).collect();
        assert!(at.contains(&2) && at.contains(&4) && at.contains(&6), "{found:?}");
    }

    #[test]
    fn a_mistyped_key_gets_a_suggestion() {
        let found = mistakes("\nlease_sec = 1\nzebra = 2\n", |root| {
            root.number("lease_s", 1..=9);
        });
        assert_eq!(lines(&found), [(2, "lease_sec"), (3, "zebra")]);
        assert_eq!(found[0].remedy, "Did you mean `lease_s`?");
        assert_eq!(found[1].remedy, "Remove it. Known here: lease_s");
    }

    #[test]
    fn a_key_that_is_not_plain_is_not_printed() {
        let found = mistakes("\"\\u001b[31m\" = 1\n", |_| ());
        assert_eq!(lines(&found), [(1, "a key")]);
    }

    #[test]
    fn types_and_ranges_are_held_to() {
        let text = "n = 10\ns = 5\nb = \"true\"\nd = 2026-02-30\nl = [\n  \"x\",\n  7,\n]\nt = 1\n";
        let found = mistakes(&text.replace("2026-02-30", "\"2026-02-30\""), |root| {
            root.number("n", 1..=9);
            root.text("s");
            root.boolean("b");
            root.date("d");
            root.texts("l");
            root.table("t");
        });
        let wanted = [(1, "n"), (2, "s"), (3, "b"), (4, "d"), (7, "l[1]"), (9, "t")];
        assert_eq!(lines(&found), wanted);
        assert_eq!(found[0].remedy, "Write a whole number from 1 to 9");
    }

    #[test]
    fn dates_are_read_in_both_spellings() {
        let found = mistakes("a = 2023-06-30\nb = \"2023-06-30\"\n", |root| {
            let wanted = Some(jiff::civil::date(2023, 6, 30));
            assert_eq!(root.date("a"), wanted);
            assert_eq!(root.date("b"), wanted);
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["active", "closed", "pending", "suspended"];
        assert_eq!(nearest("activ", known.into_iter()), Some("active"));
        assert_eq!(nearest("pendign", known.into_iter()), Some("pending"));
        assert_eq!(nearest("susp", known.into_iter()), None);
        assert_eq!(nearest("zebra", known.into_iter()), None);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "ab"), 2);
    }
}
