//! The receipt: our signed word that an entry is in the log, which anyone can check offline with
//! nothing but the log's public key.
//!
//! A receipt is a C2SP `tlog-proof` whose extra data is the entry itself: its fields and the salt of
//! its commitment. Every receipt has one spelling, and the 202 answer is rendered from receipts
//! alone; so any changed byte in either is found.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::checkpoint::{CheckpointError, LogVerifier};
use super::entry::{EventName, Fields, commitment};
use super::tree::{Hash, verify_inclusion};
use crate::message::Kind;

/// A logged entry, with its proof and checkpoint: what a receipt is made of.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its place in the log.
    pub index: u64,
    /// Its canonical fields.
    pub fields: String,
    /// The salt of its commitment.
    pub salt: [u8; 32],
    /// The inclusion proof in the checkpoint's tree.
    pub proof: Vec<Hash>,
    /// The signed checkpoint of the batch that appended it.
    pub checkpoint: Arc<str>,
}

impl Logged {
    /// The receipt.
    pub fn receipt(&self) -> String {
        // Written out, not through a JSON value: the fields are placed as they were committed to.
        let extra =
            format!(r#"{{"fields":{},"salt":"{}"}}"#, self.fields, STANDARD.encode(self.salt));
        let mut receipt =
            format!("{HEADER}\nextra {}\nindex {}\n", STANDARD.encode(extra), self.index);
        for hash in &self.proof {
            receipt.push_str(&STANDARD.encode(hash.as_bytes()));
            receipt.push('\n');
        }
        receipt.push('\n');
        receipt.push_str(&self.checkpoint);
        receipt
    }

    /// Reads a receipt. It must be spelled exactly as we spell it.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let malformed = ReceiptError::Form;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(malformed);
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or(malformed)?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(malformed)?;
        let proof = lines
            .map(|line| Some(Hash::from_bytes(decode(line)?)))
            .collect::<Option<Vec<_>>>()
            .ok_or(malformed)?;
        let extra = STANDARD.decode(extra).map_err(|_| malformed)?;
        let extra: Value = serde_json::from_slice(&extra).map_err(|_| malformed)?;
        let salt = extra["salt"].as_str().and_then(decode).ok_or(malformed)?;
        let logged = Self {
            index: index.parse().map_err(|_| malformed)?,
            fields: extra["fields"].to_string(),
            salt,
            proof,
            checkpoint: checkpoint.into(),
        };
        if logged.receipt() == text { Ok(logged) } else { Err(malformed) }
    }

    /// What this proves, if it does: that a message was accepted, or that one was returned to its sender,
    /// as its event says. A refusal is in the log as well, and proves nothing of the kind.
    pub fn verify(&self, log: &LogVerifier) -> Result<Proven, ReceiptError> {
        let proven = self.included(log)?;
        if !is(&proven.fields, EventName::Accepted) && !is(&proven.fields, EventName::Returned) {
            return Err(ReceiptError::NotAReceipt);
        }
        Ok(proven)
    }

    /// That the entry is in the log, whatever it tells of.
    pub fn included(&self, log: &LogVerifier) -> Result<Proven, ReceiptError> {
        let checkpoint = log.open(&self.checkpoint)?;
        let leaf = commitment(&self.salt, &self.fields);
        if !verify_inclusion(&leaf, self.index, checkpoint.size, &self.proof, &checkpoint.root) {
            return Err(ReceiptError::NotIncluded);
        }
        let fields = Fields::parse(&self.fields).ok_or(ReceiptError::Form)?;
        Ok(Proven {
            fields,
            index: self.index,
            size: checkpoint.size,
            origin: log.origin().to_owned(),
            checkpoint: Arc::clone(&self.checkpoint),
        })
    }
}

/// What a receipt that verifies proves: the log's key signed that these fields are in it.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The entry's fields.
    pub fields: Fields,
    /// Its place in the log.
    pub index: u64,
    /// How many entries the log had under the checkpoint.
    pub size: u64,
    /// The log's name.
    pub origin: String,
    /// The signed checkpoint under which it is proved.
    pub checkpoint: Arc<str>,
}

/// Why a receipt proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiptError {
    /// The answer around the receipts says something else than they do.
    #[error("the answer is not what its receipts say")]
    Answer,
    /// The checkpoint is not this log's.
    #[error("its checkpoint is refused: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The text is not a receipt as this gateway writes them.
    #[error("it is not a receipt, or a byte of it was changed")]
    Form,
    /// What was logged is something else: a refusal, a collection.
    #[error("the entry in it neither accepted a message nor returned one")]
    NotAReceipt,
    /// The entry is not in the log that was signed.
    #[error("the entry in it is not in the log that was signed")]
    NotIncluded,
}

/// The body of the 202 for a submission's messages: JSON, keys sorted, made from the entries alone,
/// so that the first answer and every later one are the same bytes. `warnings` follow from the RFI alone, and
/// so are the same each time too; what is not in the log is not proved by it.
pub fn answer(messages: &[Logged], warnings: Option<Value>) -> String {
    let mut rows: Vec<_> = messages.iter().map(row).collect();
    let is_reply = !rows.iter().any(|(fields, _)| is_rfi(fields));
    let answer = match rows.pop() {
        Some((fields, mut row)) if is_reply && rows.is_empty() => {
            copy(&fields, "time", &mut row, "acceptedAt");
            row
        }
        last => {
            rows.extend(last);
            let mut answer = Map::new();
            if let Some((fields, _)) = rows.first() {
                copy(fields, "enquiry", &mut answer, "enquiry");
            }
            let exchanges = rows.into_iter().map(|(fields, mut row)| {
                copy(&fields, "recipient", &mut row, "agency");
                Value::Object(row)
            });
            answer.insert("exchanges".to_owned(), exchanges.collect());
            if let Some(warnings) = warnings {
                answer.insert("warnings".to_owned(), warnings);
            }
            answer
        }
    };
    Value::Object(answer).to_string()
}

/// Checks a receipt or a notice of non-delivery, or the whole 202 answer that holds receipts: each must verify, and the answer
/// must be exactly what is made from them, but for what it warns of (newlines that a program added or took away at the end are allowed).
pub fn verify_answer(text: &str, log: &LogVerifier) -> Result<Vec<Proven>, ReceiptError> {
    let messages = parse_answer(text)?;
    let proven: Vec<Proven> =
        messages.iter().map(|logged| logged.verify(log)).collect::<Result<_, _>>()?;
    if text.starts_with(HEADER) {
        return Ok(proven);
    }
    // A 202 says that all of it was accepted, and nothing else.
    let is_accepted = proven.iter().all(|proven| is(&proven.fields, EventName::Accepted));
    let body: Value = serde_json::from_str(text).map_err(|_| ReceiptError::Form)?;
    let warnings = body.get("warnings").filter(|warnings| warnings.is_array()).cloned();
    if !is_accepted || text.strip_suffix('\n').unwrap_or(text) != answer(&messages, warnings) {
        return Err(ReceiptError::Answer);
    }
    Ok(proven)
}

/// Reads a receipt, or the receipts in a whole 202 answer. Nothing is verified by it.
pub fn parse_answer(text: &str) -> Result<Vec<Logged>, ReceiptError> {
    if text.starts_with(HEADER) {
        // `jq -r` adds a newline at the end, and an editor or a mail program may take one away.
        let text = format!("{}\n", text.trim_end_matches('\n'));
        return Ok(vec![Logged::parse(&text)?]);
    }
    let body: Value = serde_json::from_str(text).map_err(|_| ReceiptError::Form)?;
    let rows = match body["exchanges"].as_array() {
        Some(rows) => rows.iter().collect(),
        None => vec![&body],
    };
    rows.iter()
        .map(|row| Logged::parse(row["receipt"].as_str().ok_or(ReceiptError::Form)?))
        .collect()
}

fn row(logged: &Logged) -> (Fields, Map<String, Value>) {
    // Fields we wrote always parse; were they damaged, the answer would lack what they said.
    let fields = Fields::parse(&logged.fields).unwrap_or_else(|| Fields::from_json(Map::new()));
    let mut row = Map::new();
    for name in ["exchange", "message", "reference"] {
        copy(&fields, name, &mut row, name);
    }
    row.insert("receipt".to_owned(), json!(logged.receipt()));
    (fields, row)
}

fn is_rfi(fields: &Fields) -> bool {
    is(fields, EventName::Accepted) && fields.get("kind") == Some(Kind::Rfi.as_str())
}

fn is(fields: &Fields, event: EventName) -> bool {
    fields.get("event") == Some(event.as_str())
}

fn copy(fields: &Fields, from: &str, row: &mut Map<String, Value>, to: &str) {
    if let Some(text) = fields.get(from) {
        row.insert(to.to_owned(), json!(text));
    }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::audit::checkpoint::LogKey;
    use crate::audit::entry::{Event, NewEntry};
    use crate::audit::tree::Tree;
    use crate::message::{
        AgencyId, EnquiryId, Envelope, ExchangeId, MessageId, Priority, Reference,
    };

    fn at() -> Timestamp {
        "2026-11-23T09:00:00Z".parse().unwrap()
    }

    fn envelope(kind: Kind, recipient: &str, number: u64) -> Envelope {
        Envelope {
            id: MessageId::new(at()),
            kind,
            enquiry: EnquiryId::from_bytes([7; 16]),
            exchange: ExchangeId::new(at()),
            reference: Reference::new(2026, number),
            sender: AgencyId::parse("demo-sender").unwrap(),
            recipient: AgencyId::parse(recipient).unwrap(),
            time: at(),
            priority: Priority::Urgent,
            handling: None,
            visible_to: None,
            in_reply_to: None,
            digest: [1; 32],
            size_bytes: 9,
            is_sealed_to_agency: false,
            traceparent: None,
        }
    }

    /// Messages logged in one batch after some other entries.
    fn logged(key: &LogKey, envelopes: &[Envelope]) -> Vec<Logged> {
        let before: Vec<_> =
            (0..5).map(|_| NewEntry::new(&Event::started("1"), at()).leaf_hash).collect();
        let tree = Tree::empty().extend(&before).tree().clone();
        let entries: Vec<_> = envelopes
            .iter()
            .map(|envelope| NewEntry::new(&Event::accepted(envelope, &[2; 32]), at()))
            .collect();
        let leaves: Vec<_> = entries.iter().map(|entry| entry.leaf_hash).collect();
        let extension = tree.extend(&leaves);
        let note: Arc<str> = key.sign(extension.tree().size(), &extension.tree().root()).into();
        entries
            .into_iter()
            .enumerate()
            .map(|(i, entry)| Logged {
                index: 5 + i as u64,
                fields: entry.fields,
                salt: entry.salt,
                proof: extension.inclusion_proof(i),
                checkpoint: Arc::clone(&note),
            })
            .collect()
    }

    fn key() -> LogKey {
        LogKey::generate("mash.example.org/log/1").unwrap()
    }

    #[test]
    fn a_receipt_verifies_with_nothing_but_the_public_key() {
        let key = key();
        let [logged] = &logged(&key, &[envelope(Kind::Response, "demo-hub", 1)])[..] else {
            panic!("one message, one entry");
        };
        let proven = verify_answer(&logged.receipt(), &key.verifier()).unwrap();
        assert_eq!(proven[0].index, 5);
        assert_eq!(proven[0].size, 6);
        assert_eq!(proven[0].fields.get("recipient"), Some("demo-hub"));
        assert!(matches!(
            verify_answer(&logged.receipt(), &self::key().verifier()),
            Err(ReceiptError::Checkpoint(CheckpointError::NotOurs))
        ));
    }

    #[test]
    fn the_answer_to_a_dispatch_has_a_receipt_for_each_agency() {
        let key = key();
        let messages = logged(
            &key,
            &[envelope(Kind::Rfi, "demo-police", 1), envelope(Kind::Rfi, "demo-gp", 2)],
        );
        let text = answer(&messages, None);
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["enquiry"], "07070707-0707-0707-0707-070707070707");
        assert_eq!(body["exchanges"][1]["agency"], "demo-gp");
        let proven = verify_answer(&format!("{text}\n"), &key.verifier()).unwrap();
        assert_eq!(proven.len(), 2);
        // An RFI to one agency has the same form.
        let body: Value = serde_json::from_str(&answer(&messages[..1], None)).unwrap();
        assert_eq!(body["exchanges"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn any_changed_byte_is_found() {
        let key = key();
        let messages = logged(&key, &[envelope(Kind::Response, "demo-hub", 1)]);
        for text in [messages[0].receipt(), answer(&messages, None)] {
            for at in 0..text.len() {
                for bit in [1, 0x20] {
                    let mut bytes = text.clone().into_bytes();
                    bytes[at] ^= bit;
                    if let Ok(changed) = String::from_utf8(bytes) {
                        assert!(
                            verify_answer(&changed, &key.verifier()).is_err(),
                            "byte {at} of {text}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_receipt_for_another_entry_is_refused() {
        let key = key();
        let mut messages = logged(
            &key,
            &[envelope(Kind::Rfi, "demo-police", 1), envelope(Kind::Rfi, "demo-gp", 2)],
        );
        messages[0].fields = messages[1].fields.clone();
        assert_eq!(messages[0].verify(&key.verifier()).unwrap_err(), ReceiptError::NotIncluded);
    }
}
