//! What an agency has of its own: a list of ids, or the receipts and documents it kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::audit::checkpoint::LogVerifier;
use crate::audit::entry::Fields;
use crate::audit::receipt;
use crate::cli::{Exit, Failure};
use crate::message::{MessageId, sha256};

/// The messages an agency says it has.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) messages: HashMap<MessageId, Own>,
    /// Files in its folders that are none of ours.
    pub(super) passed_over: u64,
    faults: Vec<String>,
}

/// What an agency has of one message.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// SHA-256 of the sealed payload, if it has that.
    pub(super) digest: Option<[u8; 32]>,
    /// Where it says so: a file, and a line where it has lines.
    pub(super) place: String,
}

impl List {
    /// Reads all of these files and folders; with a log's key, every receipt has to verify.
    pub(super) fn read(files: &[PathBuf], log: Option<&LogVerifier>) -> Result<Self, Failure> {
        let mut list = Self::default();
        for path in files {
            if path.is_dir() {
                for file in contents(path)? {
                    list.file(&file, log, IfUnknown::PassOver)?;
                }
            } else {
                list.file(path, log, IfUnknown::Refuse)?;
            }
        }
        if list.faults.is_empty() {
            return Ok(list);
        }
        let mut message = "the list cannot be read:".to_owned();
        for fault in list.faults.iter().take(FAULTS_SHOWN) {
            message.push_str(&format!("\n  {fault}"));
        }
        if let Some(more @ 1..) = list.faults.len().checked_sub(FAULTS_SHOWN) {
            message.push_str(&format!("\n  and {more} more"));
        }
        Err(Failure::new(Exit::Misused, message).hint(FORMS))
    }

    fn file(
        &mut self,
        path: &Path,
        log: Option<&LogVerifier>,
        if_unknown: IfUnknown,
    ) -> Result<(), Failure> {
        let name = path.display();
        let bytes = read(path)?;
        let Ok(text) = String::from_utf8(bytes) else {
            self.unknown(path, if_unknown, "it is not text");
            return Ok(());
        };
        // As spreadsheets on Windows begin a file.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let is_csv = path.extension().is_some_and(|extension| extension == "csv");
        if text.starts_with(RECEIPT) {
            return self.receipts(&name.to_string(), text, log);
        }
        match text.trim_start().chars().next() {
            Some('[') => self.json_list(&name.to_string(), text),
            Some('{') => return self.object(path, text, log, if_unknown),
            _ if is_csv || if_unknown == IfUnknown::Refuse => self.lines(&name.to_string(), text),
            _ => self.passed_over += 1,
        }
        Ok(())
    }

    fn unknown(&mut self, path: &Path, if_unknown: IfUnknown, why: &str) {
        match if_unknown {
            IfUnknown::PassOver => self.passed_over += 1,
            IfUnknown::Refuse => self.fault(&path.display().to_string(), why),
        }
    }

    // One id to a line, and perhaps its digest behind a comma.
    fn lines(&mut self, name: &str, text: &str) {
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            let mut cells = line.split([',', ';', '\t']).map(|cell| cell.trim().trim_matches('"'));
            let (id, digest) = (cells.next().unwrap_or_default(), cells.next());
            let is_heading = number == 1 && id.eq_ignore_ascii_case("id");
            if line.is_empty() || line.starts_with('#') || is_heading {
                continue;
            }
            let place = format!("{name} line {number}");
            self.item(place, id, digest.filter(|digest| !digest.is_empty()));
        }
    }

    fn json_list(&mut self, name: &str, text: &str) {
        match serde_json::from_str::<Vec<Value>>(text) {
            Ok(items) => self.items(name, &items),
            Err(error) => {
                self.fault(&format!("{name} line {}", error.line()), "this is not JSON");
            }
        }
    }

    fn items(&mut self, name: &str, items: &[Value]) {
        for (item, number) in items.iter().zip(1..) {
            let place = format!("{name} item {number}");
            let named = |names: &[&str]| names.iter().find_map(|name| item[*name].as_str());
            match item.as_str().or_else(|| named(&["id", "message"])) {
                Some(id) => self.item(place, id, named(&["digest", "contentDigest"])),
                None => self.fault(&place, "it is neither an id nor an object with an id"),
            }
        }
    }

    fn object(
        &mut self,
        path: &Path,
        text: &str,
        log: Option<&LogVerifier>,
        if_unknown: IfUnknown,
    ) -> Result<(), Failure> {
        let name = path.display().to_string();
        let object: Object = match serde_json::from_str(text) {
            Ok(object) => object,
            Err(error) => {
                let place = format!("{name} line {}", error.line());
                self.fault(&place, "this is no message, no answer and no list");
                return Ok(());
            }
        };
        if object.receipt.is_some() || object.exchanges.is_some() {
            return self.receipts(&name, text, log);
        }
        match object {
            Object { messages: Some(items), .. } => self.items(&name, &items),
            Object { specversion: Some(_), id: Some(id), contentdigest, data_base64, .. } => {
                // Whoever holds the sealed payload itself need not believe what is said of it.
                let own = data_base64.and_then(|data| STANDARD.decode(data).ok());
                let digest = match own {
                    Some(file) => Some(crate::event::content_digest(&sha256(&file))),
                    None => contentdigest,
                };
                self.item(name, &id, digest.as_deref());
            }
            _ => self.unknown(path, if_unknown, "this is no message, no answer and no list"),
        }
        Ok(())
    }

    // A receipt, or the answer that came with receipts.
    fn receipts(
        &mut self,
        name: &str,
        text: &str,
        log: Option<&LogVerifier>,
    ) -> Result<(), Failure> {
        let receipts = match receipt::parse_answer(text) {
            Ok(receipts) => receipts,
            Err(error) => {
                self.fault(name, &error.to_string());
                return Ok(());
            }
        };
        if let Some(log) = log {
            receipt::verify_answer(text, log).map_err(|error| {
                let message = format!("{name}: this receipt does not verify: {error}");
                Failure::new(Exit::VerificationFailed, message).hint("keep the file as it is")
            })?;
        }
        for receipt in &receipts {
            let fields = Fields::parse(&receipt.fields);
            let get = |name: &str| fields.as_ref().and_then(|fields| fields.get(name));
            self.item(name.to_owned(), get("message").unwrap_or_default(), get("digest"));
        }
        Ok(())
    }

    fn item(&mut self, place: String, id: &str, digest: Option<&str>) {
        // An upper-case id is the same id.
        let Ok(id) = id.to_ascii_lowercase().parse::<MessageId>() else {
            return self.fault(&place, "it has no message id where one should be");
        };
        let digest = match digest.map(parse_digest) {
            None => None,
            Some(Some(digest)) => Some(digest),
            Some(None) => return self.fault(&place, "its digest is not a SHA-256"),
        };
        match self.messages.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(Own { digest, place });
            }
            Entry::Occupied(mut entry) => match (entry.get().digest, digest) {
                (Some(one), Some(other)) if one != other => {
                    let fault = format!("it has another digest than {}", entry.get().place);
                    self.faults.push(format!("{place}: {fault}"));
                }
                (None, Some(_)) => entry.get_mut().digest = digest,
                (_, None) | (Some(_), Some(_)) => {}
            },
        }
    }

    // Never what it found there: a file given by mistake may hold anything.
    fn fault(&mut self, place: &str, why: &str) {
        self.faults.push(format!("{place}: {why}"));
    }
}

/// What becomes of a file that is none of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum IfUnknown {
    PassOver,
    Refuse,
}

/// The parts by which a JSON object is known for a document, an answer or a list. What else is in it,
/// the payload for one, is not even looked at.
#[derive(Deserialize)]
struct Object {
    contentdigest: Option<String>,
    data_base64: Option<String>,
    exchanges: Option<serde::de::IgnoredAny>,
    id: Option<String>,
    messages: Option<Vec<Value>>,
    receipt: Option<serde::de::IgnoredAny>,
    specversion: Option<String>,
}

// In hex, as receipts have it, or as RFC 9530 writes it, as documents do.
pub(super) fn parse_digest(text: &str) -> Option<[u8; 32]> {
    if let Some(base64) = text.strip_prefix("sha-256=:").and_then(|rest| rest.strip_suffix(':')) {
        return STANDARD.decode(base64).ok()?.try_into().ok();
    }
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

// The files of a folder, in the order of their names.
fn contents(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    })
}

/// How a receipt begins.
const RECEIPT: &str = "c2sp.org/tlog-proof@v1";

/// The most mistakes shown of a list: enough to see what kind of file it is.
const FAULTS_SHOWN: usize = 20;

const FORMS: &str = "give a list with one id to a line, and its digest behind a comma if you have it; \
                     or JSON; or the folder in which receipts and collected messages are kept";
