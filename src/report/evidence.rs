//! The case file of one enquiry: who asked whom, for what, when it was answered, and the proof of each step.
//!
//! Every event is given with its entry in full and the proof that the log has it, all under one checkpoint,
//! so that whoever has the log's public key checks it offline. What the gateway only knows (what was asked
//! for, by when, how it stands) is kept apart under `recorded`: no proof covers it. Nothing that was said is
//! in it, but for what somebody with the at-rest keys opened for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::access::{GATEWAY, SYSTEM};
use super::page::{Cell, escape, page, table, utc};
use super::timeliness::Asked;
use crate::audit::checkpoint::LogVerifier;
use crate::audit::entry::{EventName, Fields};
use crate::audit::receipt::{Logged, ReceiptError};
use crate::message::{Exchange, Kind, rfc3339};

/// A case file, as `evidence.json` has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CaseFile {
    /// [`FORMAT`].
    pub format: String,
    /// When it was made.
    pub made_at: String,
    /// The enquiry.
    pub enquiry: String,
    /// The log's public key, as whoever made it has it: check it against one you were given.
    pub log_key: String,
    /// How many entries the log had.
    pub log_size: u64,
    /// The signed checkpoint that every proof is under.
    pub checkpoint: String,
    /// Each agency that was asked.
    pub exchanges: Vec<Case>,
    /// What belongs to the enquiry and to none of them: its override, the upload of its files.
    pub before: Vec<Item>,
}

/// One exchange.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// Its id.
    pub exchange: String,
    /// Its short name.
    pub reference: String,
    /// Who asked.
    pub hub: String,
    /// Who was asked.
    pub agency: String,
    /// What the gateway knows of it besides: no proof covers this.
    pub recorded: Value,
    /// Everything that was logged about it, in order.
    pub events: Vec<Item>,
    /// What was opened for this file, when something was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<Opened>,
}

/// One entry of the log.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Item {
    /// Its place in the log.
    pub entry: u64,
    /// What it says; none when that was destroyed at the end of its retention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Value>,
    /// The proof that the log has it, a C2SP `tlog-proof`: of a message that was accepted, its receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// A message that was opened for this file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Opened {
    /// The message.
    pub message: String,
    /// What it is.
    pub kind: String,
    /// Why, on which basis and by whose decision, as it says; none when it cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<Value>,
    /// Why it cannot be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_opened: Option<String>,
}

/// What the version of a file is told by.
pub const FORMAT: &str = "mash-evidence/v1";

impl Item {
    /// A logged entry, with its proof.
    pub fn of(logged: &Logged) -> Self {
        Self {
            entry: logged.index,
            fields: Fields::parse(&logged.fields).map(|fields| fields.to_json()),
            proof: Some(logged.receipt()),
        }
    }

    /// An entry whose words were destroyed.
    pub fn destroyed(entry: u64) -> Self {
        Self { entry, fields: None, proof: None }
    }

    fn field(&self, name: &str) -> &str {
        self.fields.as_ref().and_then(|fields| fields[name].as_str()).unwrap_or_default()
    }

    fn verify(&self, file: &CaseFile, log: &LogVerifier) -> Result<(), ReceiptError> {
        let (Some(fields), Some(proof)) = (&self.fields, &self.proof) else {
            let is_destroyed = self.fields.is_none() && self.proof.is_none();
            return if is_destroyed { Ok(()) } else { Err(ReceiptError::Form) };
        };
        let logged = Logged::parse(proof)?;
        let proven = logged.included(log)?;
        let is_same = proven.index == self.entry
            && proven.fields.to_json() == *fields
            && *proven.checkpoint == *file.checkpoint;
        if is_same { Ok(()) } else { Err(ReceiptError::Answer) }
    }
}

/// What a case file that verifies proves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified {
    /// So many entries, each as it stands in the file.
    pub entries: usize,
    /// Of which nothing is left but their place.
    pub destroyed: usize,
}

impl CaseFile {
    /// Reads one; none when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|file: &Self| file.format == FORMAT)
    }

    /// Whether everything in it that a proof covers is so: each entry is in the log that was signed, word for
    /// word, and who asked whom is what the entries say.
    pub fn verify(&self, log: &LogVerifier) -> Result<Verified, ReceiptError> {
        let checkpoint = log.open(&self.checkpoint)?;
        let items = || self.exchanges.iter().flat_map(|case| &case.events).chain(&self.before);
        for item in items() {
            item.verify(self, log)?;
        }
        let is_right = checkpoint.size == self.log_size
            && self.log_key == log.to_string()
            && self.exchanges.iter().all(|case| case.is_what_is_proved(&self.enquiry));
        if !is_right {
            return Err(ReceiptError::Answer);
        }
        let destroyed = items().filter(|item| item.proof.is_none()).count();
        Ok(Verified { entries: items().count() - destroyed, destroyed })
    }

    /// The file as it is written. Names sorted, so that the same case is the same file.
    pub fn json(&self) -> String {
        let value = serde_json::to_value(self).expect("texts and numbers always serialize");
        format!("{value:#}\n")
    }

    /// The same to read and to print, with the SHA-256 of `evidence.json`, which has the proofs.
    pub fn html(&self, json_sha256: &str) -> String {
        let references: Vec<_> = self.exchanges.iter().map(|case| &*case.reference).collect();
        let title = format!("Case file of {}", references.join(", "));
        let is_opened = self.exchanges.iter().any(|case| !case.opened.is_empty());
        let mut body = format!("<h1>{}</h1>\n", escape(&title));
        if is_opened {
            body.push_str(
                "<p class=\"secret\">Holds what messages say. Keep it as you keep the case, and destroy \
                 it when the audit is over. That they were opened is in the log.</p>\n",
            );
        }
        body.push_str(&list(&[
            ("Enquiry", escape(&self.enquiry)),
            ("Made", utc(&self.made_at)),
            ("The log then", format!("{} entries", self.log_size)),
            ("The log's key", format!("<span class=\"code\">{}</span>", escape(&self.log_key))),
            (
                "SHA-256 of evidence.json",
                format!("<span class=\"code\">{}</span>", escape(json_sha256)),
            ),
        ]));
        body.push_str(&table(
            "Who was asked, and how it stands",
            &[
                "Reference",
                "Asked by",
                "Asked of",
                "Sent",
                "Due",
                "First answer",
                "In time",
                "State",
            ],
            self.exchanges.iter().map(Case::row),
        ));
        if !self.before.is_empty() {
            body.push_str("<h2>Before it was sent</h2>\n");
            body.push_str(&events("Of the enquiry as a whole", &self.before));
        }
        for case in &self.exchanges {
            body.push_str(&case.html());
        }
        body.push_str(&format!(
            "<h2>How to check it</h2>\n<p>Everything in a table of events is an entry of the gateway's \
             tamper-evident log. evidence.json, which lies beside this page and has the SHA-256 above, has \
             each of them word for word with the proof that it is in the log. With the log's public key, \
             which every agency has, and no connection to anything:</p>\n\
             <pre>mash-gateway receipt verify evidence.json --log-key log-key.txt</pre>\n\
             <p>Any tool for C2SP tlog-proof can do the same. That nothing was left out is seen at the \
             gateway: <code>mash-gateway log verify --since checkpoint.note</code>. What was asked for, by \
             when, and how it stands is the gateway's own record, which no proof covers.</p>\n\
             <p>The checkpoint that the proofs are under:</p>\n<pre>{}</pre>\n",
            escape(&self.checkpoint)
        ));
        page(&title, &body)
    }
}

impl Case {
    /// What there is to say of an exchange before its events: when it was asked and answered, and for what.
    pub fn new(exchange: &Exchange, asked: &Asked, events: Vec<Item>) -> Self {
        let mut recorded = json!({
            "askedAt": rfc3339(asked.asked_at),
            "categories": exchange.categories,
            "dueAt": rfc3339(asked.due_at),
            "persons": exchange.persons.len(),
            "priority": exchange.priority,
            "state": exchange.state,
        });
        if !exchange.is_test() {
            recorded["standing"] = json!(asked.standing);
        }
        let at = |at: Option<jiff::Timestamp>| at.map(|at| json!(rfc3339(at)));
        for (name, value) in [
            ("collectedAt", at(asked.collected_at)),
            ("decidedAt", at(exchange.marks.decided_at)),
            ("dispatchedAt", at(asked.dispatched_at)),
            ("outcome", exchange.marks.outcome.map(|outcome| json!(outcome))),
            ("outcomeAt", at(exchange.marks.outcome_at)),
            ("repliedAt", at(asked.replied_at)),
            ("result", exchange.result.map(|result| json!(result))),
            ("telephonedAt", at(exchange.marks.telephoned_at)),
        ] {
            if let Some(value) = value {
                recorded[name] = value;
            }
        }
        Self {
            exchange: exchange.id.to_string(),
            reference: exchange.reference.to_string(),
            hub: exchange.hub.to_string(),
            agency: exchange.agency.to_string(),
            recorded,
            events,
            opened: Vec::new(),
        }
    }

    // Who asked whom is on the entry that opened it; and what is listed under it is about it.
    fn is_what_is_proved(&self, enquiry: &str) -> bool {
        let is_about_it =
            |item: &Item| item.proof.is_none() || item.field("exchange") == self.exchange;
        let in_order = self.events.is_sorted_by(|one, next| one.entry < next.entry);
        let opening = match self.events.first() {
            Some(first) if first.proof.is_some() => {
                first.field("event") == EventName::Accepted.as_str()
                    && first.field("sender") == self.hub
                    && first.field("recipient") == self.agency
                    && first.field("reference") == self.reference
                    && first.field("enquiry") == enquiry
            }
            Some(_) => true,
            None => false,
        };
        opening && in_order && self.events.iter().all(is_about_it)
    }

    fn row(&self) -> Vec<Cell> {
        let recorded = |name: &str| self.recorded[name].as_str().unwrap_or_default();
        let in_time = match recorded("standing") {
            "in-time" => "yes",
            "late" => "no",
            "overdue" => "no: overdue",
            "" => "",
            _ => "not answered",
        };
        let state = match recorded("result") {
            "" => recorded("state").to_owned(),
            result => format!("{} ({result})", recorded("state")),
        };
        vec![
            Cell::head(&self.reference),
            Cell::name(&self.hub),
            Cell::name(&self.agency),
            Cell::time(recorded("askedAt")),
            Cell::time(recorded("dueAt")),
            Cell::time(recorded("repliedAt")),
            Cell::text(in_time),
            Cell::text(&state),
        ]
    }

    fn html(&self) -> String {
        let categories: Vec<_> = self.recorded["categories"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(escape)
            .collect();
        let recorded = |name: &str| escape(self.recorded[name].as_str().unwrap_or_default());
        let mut html = format!(
            "<h2>{}: {} asked {}</h2>\n",
            escape(&self.reference),
            escape(&self.hub),
            escape(&self.agency)
        );
        let mut facts = vec![
            ("Asked for", categories.join(", ")),
            ("Persons", self.recorded["persons"].to_string()),
            ("Priority", recorded("priority")),
        ];
        if self.recorded["outcome"].is_string() {
            facts.push(("Outcome", recorded("outcome")));
        }
        if self.recorded["telephonedAt"].is_string() {
            facts.push(("Rung", utc(self.recorded["telephonedAt"].as_str().unwrap_or_default())));
        }
        html.push_str(&list(&facts));
        for opened in &self.opened {
            html.push_str(&format!(
                "<h3>What the {} says</h3>\n<p class=\"code\">{}</p>\n",
                escape(&opened.kind),
                escape(&opened.message)
            ));
            match (&opened.said, &opened.not_opened) {
                (Some(said), _) => html.push_str(&shown(said)),
                (None, why) => html.push_str(&format!(
                    "<p>Not opened: {}.</p>\n",
                    escape(why.as_deref().unwrap_or_default())
                )),
            }
        }
        html.push_str(&events("What happened", &self.events));
        html
    }
}

/// What of a message an audit asks for: on which basis, by whose decision and why. Not whom it is about, and
/// not what was told of them.
pub fn audited(kind: Kind, body: &Value) -> Value {
    let names: &[&str] = match kind {
        Kind::Rfi => &[
            "purpose",
            "pathway",
            "enquiryAuthorisation",
            "whyAsked",
            "consent",
            "override",
            "lawfulBasis",
        ],
        Kind::Response | Kind::Supplement | Kind::Transcription => {
            &["result", "accuracyChecked", "proportionate", "onwardDisclosure", "lawfulBasis"]
        }
        _ => &[],
    };
    let mut said = Map::new();
    for name in names {
        if let Some(value) = body.get(*name) {
            said.insert((*name).to_owned(), value.clone());
        }
    }
    // What the decision is spent by is nobody's business any more.
    if let Some(Value::Object(decided)) = said.get_mut("override") {
        decided.remove("decisionCode");
    }
    // Which categories were answered how, without the answers.
    if let Some(answers) = body["answers"].as_array().filter(|_| !names.is_empty()) {
        let brief = |answer: &Value| {
            let mut brief = Map::new();
            for name in ["category", "status"] {
                if let Some(value) = answer.get(name) {
                    brief.insert(name.to_owned(), value.clone());
                }
            }
            Value::Object(brief)
        };
        said.insert("answers".to_owned(), answers.iter().map(brief).collect());
    }
    Value::Object(said)
}

/// The kinds of message that are opened for a case file.
pub fn is_audited(kind: Kind) -> bool {
    matches!(kind, Kind::Response | Kind::Rfi | Kind::Supplement | Kind::Transcription)
}

fn events(caption: &str, items: &[Item]) -> String {
    table(
        caption,
        &["Entry", "When", "What", "Who", "Role", "Certificate", "Message"],
        items.iter().map(event_row),
    )
}

fn event_row(item: &Item) -> Vec<Cell> {
    let entry = Cell::number(&item.entry.to_string());
    if item.fields.is_none() {
        let what = "destroyed at the end of its retention";
        return vec![entry, Cell::text(""), Cell::text(what)];
    }
    let event = item.field("event");
    let is = |name: EventName| event == name.as_str();
    let (kind, file) = (item.field("kind"), item.field("attachment"));
    let (who, what) = if is(EventName::Accepted) {
        (item.field("sender"), format!("{kind} sent to {}", item.field("recipient")))
    } else if is(EventName::Collected) {
        (item.field("recipient"), format!("{kind} collected"))
    } else if is(EventName::Delivered) {
        (item.field("recipient"), format!("{kind} taken by its endpoint"))
    } else if is(EventName::Saved) {
        (item.field("recipient"), format!("{kind} saved to its own record"))
    } else if is(EventName::Returned) {
        ("", format!("{kind} given up and returned: {}", item.field("code")))
    } else if is(EventName::AttemptFailed) {
        ("", format!("{kind} not taken by its endpoint: {}", item.field("code")))
    } else if is(EventName::OpenedForAudit) {
        (GATEWAY, format!("{kind} opened for a case file"))
    } else if is(EventName::AttachmentCollected) {
        (item.field("recipient"), format!("file {file} collected"))
    } else if is(EventName::AttachmentUploaded) {
        (item.field("agency"), format!("file {file} uploaded"))
    } else if is(EventName::OverrideRecorded) {
        (item.field("agency"), "override of missing consent put on record".to_owned())
    } else {
        (item.field("agency"), format!("{event} {kind}"))
    };
    // Enough of a serial to find the certificate by.
    let certificate: String = item.field("certificate").chars().take(16).collect();
    let role = match (item.field("desk"), certificate.is_empty()) {
        ("", false) => SYSTEM,
        (role, _) => role,
    };
    vec![
        entry,
        Cell::time(item.field("time")),
        Cell::text(&what),
        Cell::name(who),
        Cell::text(role),
        Cell::code(&certificate),
        Cell::code(item.field("message")),
    ]
}

// Names and what they stand for, which is escaped already.
fn list(facts: &[(&str, String)]) -> String {
    let lines: String = facts
        .iter()
        .filter(|(_, fact)| !fact.is_empty())
        .map(|(name, fact)| format!("<dt>{}</dt><dd>{fact}</dd>\n", escape(name)))
        .collect();
    format!("<dl>\n{lines}</dl>\n")
}

// What a message says, member by member.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let lines: String = members
                .iter()
                .map(|(name, value)| {
                    format!("<dt>{}</dt><dd>{}</dd>\n", escape(&in_words(name)), shown(value))
                })
                .collect();
            format!("<dl>\n{lines}</dl>\n")
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            let items: Vec<_> = items.iter().map(shown).collect();
            items.join(", ")
        }
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => escape(text),
        Value::Null | Value::Number(_) => escape(&value.to_string()),
    }
}

// `enquiryAuthorisation` as "enquiry authorisation".
fn in_words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}
