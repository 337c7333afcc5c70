//! What somebody filled in, and the questions of a page.

use std::collections::BTreeMap;

use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderValue, header};
use hyper::body::Body as _;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Map, Value};

use super::message::Fact;
use super::words;
use crate::http::api::{Api, bounded};
use crate::problem::{Problem, ProblemType};
use crate::schema::Violation;

/// What was filled in, by the names of the fields. Empty is as if it was not there.
#[derive(Default)]
pub(super) struct Form(BTreeMap<String, Vec<String>>);

impl Form {
    /// Reads a body of the type that browsers send (`application/x-www-form-urlencoded`).
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut fields = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in form_urlencoded::parse(body) {
            // As HTML sends the ends of lines; a person pressed a key once.
            let value = value.replace("\r\n", "\n");
            let value = value.trim();
            if !value.is_empty() {
                fields.entry(name.into_owned()).or_default().push(value.to_owned());
            }
        }
        Self(fields)
    }

    /// The first of this name.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.first()).map(String::as_str)
    }

    /// All of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// A telephone number as the contract has it, however it was written: "01632 960021" is
    /// "+441632960021". What is none stays as it was, for the contract to refuse.
    pub(super) fn telephone(&self, name: &str) -> Option<String> {
        self.one(name).map(telephone)
    }

    /// A day and a time in London, from the two fields `NAME-day` and `NAME-time`; what is not whole stays
    /// as it was, for the contract to refuse.
    pub(super) fn instant(&self, name: &str) -> Option<String> {
        let day = self.one(&format!("{name}-day"));
        let time = self.one(&format!("{name}-time"));
        if day.is_none() && time.is_none() {
            return None;
        }
        let written = format!("{} {}", day.unwrap_or_default(), time.unwrap_or_default());
        let whole = written
            .parse::<DateTime>()
            .ok()
            .and_then(|whole| whole.to_zoned(words::zone()).ok())
            .map(|whole| whole.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
        Some(whole.unwrap_or(written))
    }
}

fn telephone(written: &str) -> String {
    let (number, extension) = match written.split_once(";ext=") {
        Some((number, extension)) => (number, Some(extension)),
        None => match written.to_ascii_lowercase().find("ext") {
            Some(at) => {
                (&written[..at], Some(written[at + 3..].trim_start_matches(['.', ':', ' '])))
            }
            None => (written, None),
        },
    };
    let mut digits: String =
        number.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '\u{a0}')).collect();
    if !digits.trim_start_matches('+').chars().all(|c| c.is_ascii_digit()) {
        return written.to_owned();
    }
    if let Some(national) = digits.strip_prefix('0') {
        digits = match national.strip_prefix('0') {
            Some(international) => format!("+{international}"),
            None => format!("+44{national}"),
        };
    }
    match extension {
        Some(extension) => format!("{digits};ext={extension}"),
        None => digits,
    }
}

impl<S: Send + Sync> FromRequest<S> for Form
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let api = Api::from_ref(state);
        let (parts, body) = request.into_parts();
        let declared = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        // A button alone sends nothing.
        if !body.is_end_stream() && declared != Some(MEDIA_TYPE) {
            let detail = "The page was not sent as a browser sends it.";
            return Err(Problem::new(ProblemType::ContentType, detail));
        }
        let (body, _room) = bounded(&api, body).await?;
        Ok(Self::parse(&body))
    }
}

const MEDIA_TYPE: &[u8] = b"application/x-www-form-urlencoded";

/// The day and the time of an instant in a document, for the two fields that ask for it.
pub(super) fn day_and_time(document: &Value, pointer: &str) -> (String, String) {
    let found = document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match found.parse::<Timestamp>() {
        Ok(at) => {
            let there = at.to_zoned(words::zone());
            (there.strftime("%Y-%m-%d").to_string(), there.strftime("%H:%M").to_string())
        }
        // Half of it, as it was given.
        Err(_) => match found.split_once(' ') {
            Some((day, time)) => (day.to_owned(), time.to_owned()),
            None => (found.to_owned(), String::new()),
        },
    }
}

/// Puts a value where this pointer says, of objects alone; nothing takes away what is there.
pub(super) fn put(document: &mut Value, pointer: &str, value: Option<Value>) {
    let mut names = pointer.trim_start_matches('/').split('/').peekable();
    let mut place = document;
    while let Some(name) = names.next() {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Some(members) = place.as_object_mut() else { return };
        if names.peek().is_some() {
            place = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
            continue;
        }
        match value {
            Some(value) => drop(members.insert(name.to_owned(), value)),
            None => drop(members.remove(name)),
        }
        return;
    }
}

/// The text at this pointer, or nothing.
pub(super) fn text(document: &Value, pointer: &str) -> String {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Something that a page asks.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The field's name, and its id.
    pub(super) name: String,
    /// Where the answer goes in what is sent, and so where what is wrong with it is found.
    pub(super) pointer: String,
    /// What is asked.
    pub(super) label: String,
    /// How to answer.
    pub(super) hint: String,
    /// In which form.
    pub(super) answer: Answer,
    /// What is wrong with what was filled in.
    pub(super) error: Option<String>,
}

/// The form of an answer, with what was filled in.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A line of text; what browsers may fill in (`autocomplete`), and the keyboard that fits.
    Line { value: String, autocomplete: &'static str, kind: &'static str },
    /// Text of several lines.
    Text { value: String },
    /// One of these.
    One(Vec<Choice>),
    /// Any of these.
    Any(Vec<Choice>),
    /// A day and a time.
    Instant { day: String, time: String },
}

/// One of the answers there are.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// What is sent.
    pub(super) value: String,
    /// What is read.
    pub(super) label: String,
    /// What it means.
    pub(super) hint: String,
    /// Whether it is chosen.
    pub(super) is_chosen: bool,
}

impl Choice {
    /// A choice that is chosen when `given` is its value.
    pub(super) fn new(value: &str, label: impl Into<String>, given: &str) -> Self {
        Self {
            value: value.to_owned(),
            label: label.into(),
            hint: String::new(),
            is_chosen: value == given,
        }
    }

    /// The same, explained.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }
}

impl Question {
    /// A question whose answer goes to this place.
    pub(super) fn new(name: &str, pointer: &str, label: impl Into<String>, answer: Answer) -> Self {
        Self {
            name: name.to_owned(),
            pointer: pointer.to_owned(),
            label: label.into(),
            hint: String::new(),
            answer,
            error: None,
        }
    }

    /// The same, with a hint.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// What is asked, without whether it has to be answered.
    pub(super) fn bare_label(&self) -> &str {
        self.label.trim_end_matches(" (optional)")
    }

    /// What was answered, if anything was.
    pub(super) fn answered(&self) -> Option<Fact> {
        let text = match &self.answer {
            Answer::Line { value, .. } | Answer::Text { value } => value.clone(),
            Answer::One(choices) | Answer::Any(choices) => {
                let chosen = choices.iter().filter(|choice| choice.is_chosen);
                chosen.map(|choice| choice.label.as_str()).collect::<Vec<_>>().join("\n")
            }
            Answer::Instant { day, time } => words::local_time(day, time),
        };
        (!text.is_empty()).then(|| Fact::new(self.bare_label(), text))
    }

    /// Which field the error summary leads to: the first that can be filled in.
    pub(super) fn target(&self) -> String {
        match &self.answer {
            Answer::Line { .. } | Answer::Text { .. } => self.name.clone(),
            Answer::One(_) | Answer::Any(_) => format!("{}-1", self.name),
            Answer::Instant { .. } => format!("{}-day", self.name),
        }
    }

    /// The ids of what describes the field, with spaces between.
    pub(super) fn described_by(&self) -> String {
        let hint = (!self.hint.is_empty()).then(|| format!("{}-hint", self.name));
        let error = self.error.is_some().then(|| format!("{}-error", self.name));
        hint.into_iter().chain(error).collect::<Vec<_>>().join(" ")
    }

    // What is wrong as whoever fills in a page reads it: without the contract's terms for what it has none of
    // its own words for, and with what was asked, because the summary stands far from it.
    fn in_its_words(&self, violation: Violation) -> String {
        let asked = self.bare_label();
        match (violation.code.as_str(), &self.answer) {
            ("required", Answer::One(_) | Answer::Any(_)) => format!("Choose an answer: {asked}"),
            ("required" | "instant-format", Answer::Instant { .. }) => {
                format!("Give the day and the time: {asked}")
            }
            ("required", Answer::Line { .. } | Answer::Text { .. }) => {
                format!("Fill this in: {asked}")
            }
            _ => violation.message,
        }
    }

    // How well this question fits what is wrong there: the longer the place they share, the better.
    fn fits(&self, pointer: &str) -> Option<usize> {
        let below = |one: &str, other: &str| {
            one == other || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
        };
        if below(pointer, &self.pointer) {
            Some(2 * self.pointer.len() + 1)
        } else if below(&self.pointer, pointer) {
            Some(2 * pointer.len())
        } else {
            None
        }
    }
}

/// Says at each question what is wrong with its answer, and returns what is wrong elsewhere.
pub(super) fn mark(questions: &mut [Question], violations: Vec<Violation>) -> Vec<Violation> {
    let mut elsewhere = Vec::new();
    for violation in violations {
        let fitting = questions
            .iter_mut()
            .filter_map(|question| Some((question.fits(&violation.pointer)?, question)))
            // Of several that fit as well, the first is asked first.
            .fold(None, |best: Option<(usize, &mut Question)>, (fit, question)| match best {
                Some((better, kept)) if better >= fit => Some((better, kept)),
                _ => Some((fit, question)),
            });
        match fitting {
            Some((_, question)) => {
                let error = question.in_its_words(violation);
                question.error.get_or_insert(error);
            }
            None => elsewhere.push(violation),
        }
    }
    elsewhere
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn telephones_are_taken_as_people_write_them() {
        for (written, meant) in [
            ("01632 960021", "+441632960021"),
            ("(01632) 960-021", "+441632960021"),
            ("+44 1632 960021", "+441632960021"),
            ("0044 1632 960021", "+441632960021"),
            ("01632 960021 ext 4", "+441632960021;ext=4"),
            ("01632 960021 Ext. 12", "+441632960021;ext=12"),
            ("+441632960021;ext=4", "+441632960021;ext=4"),
            ("ask at the desk", "ask at the desk"),
        ] {
            assert_eq!(telephone(written), meant, "{written}");
        }
    }

    #[test]
    fn a_form_is_read_as_it_was_meant() {
        let form = Form::parse(b"a=one&b=x&b=y&c=++&d=first%0D%0Asecond&e=%FF");
        assert_eq!(form.one("a"), Some("one"));
        assert_eq!(form.all("b").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(form.one("c"), None);
        assert_eq!(form.one("d"), Some("first\nsecond"));
        assert_eq!(form.one("e"), Some("\u{fffd}"));
        let form = Form::parse(b"by-day=2026-05-28&by-time=16%3A00&half-day=2026-05-28");
        assert_eq!(form.instant("by").as_deref(), Some("2026-05-28T16:00:00+01:00"));
        assert_eq!(form.instant("half").as_deref(), Some("2026-05-28 "));
        assert_eq!(form.instant("none"), None);
        let kept = json!({ "by": "2026-05-28T15:00:00Z", "half": "2026-05-28 " });
        assert_eq!(day_and_time(&kept, "/by"), ("2026-05-28".to_owned(), "16:00".to_owned()));
        assert_eq!(day_and_time(&kept, "/half"), ("2026-05-28".to_owned(), String::new()));
    }

    #[test]
    fn values_are_put_and_taken_away() {
        let mut document = json!({});
        put(&mut document, "/a/b", Some(json!("c")));
        put(&mut document, "/d", Some(json!(1)));
        put(&mut document, "/d", None);
        put(&mut document, "/e", None);
        assert_eq!(document, json!({ "a": { "b": "c" } }));
    }

    #[test]
    fn what_is_wrong_stands_at_the_question_it_is_wrong_with() {
        let line = || Answer::Text { value: String::new() };
        let mut questions = [
            Question::new("name", "/by/name", "Name", line()),
            Question::new("title", "/by/jobTitle", "Job title", line()),
            Question::new("what", "/answers/1/summary", "What", line()),
            Question::new("else", "/answers/10/summary", "Else", line()),
        ];
        let wrong = |pointer: &str| Violation {
            pointer: pointer.to_owned(),
            code: "c".to_owned(),
            message: format!("at {pointer}"),
        };
        let pointers = ["/by/jobTitle", "/by", "/answers/1/summary", "/answers/1", "/elsewhere"];
        let elsewhere = mark(&mut questions, pointers.map(wrong).to_vec());
        assert_eq!(elsewhere, [wrong("/elsewhere")]);
        let errors = questions.map(|question| question.error);
        let errors = errors.each_ref().map(Option::as_deref);
        assert_eq!(
            errors,
            [Some("at /by"), Some("at /by/jobTitle"), Some("at /answers/1/summary"), None]
        );
    }
}
