//! Recomputes a whole log from what is stored: entry by entry, in order, naming the first that is
//! wrong.
//!
//! It trusts nothing but the log's public key. What it is fed may have been edited by someone with
//! the database in their hands.

use super::checkpoint::{CheckpointError, LogVerifier};
use super::entry::{EventName, Fields, commitment};
use super::files;
use super::standing::Standing;
use super::tree::Tree;
use crate::message::{hex, rfc3339};
use crate::store::{
    AttachmentDigest, CertificateRecord, EnrolmentToken, Head, Mailbox, MessageDigest, RowFault,
    StoredEntry,
};

/// Checks a log as it is read, oldest entry first.
#[derive(Debug)]
pub struct LogChecker {
    log: LogVerifier,
    tree: Tree,
    standing: Standing,
    /// The size the last checkpoint signed.
    signed: u64,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("entry {entry}: {fault}")]
pub struct LogFault {
    /// Which entry it shows at.
    pub entry: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A file's row is not what entries say of it, or it went where it may not.
    #[error("the file it is about does not stand as was logged")]
    Attachment,
    /// A file's parts are not what was sealed.
    #[error("the sealed file it is about is not what was logged")]
    AttachmentParts,
    /// A certificate's row is not what entries say of it.
    #[error("the certificate it is about does not stand as was logged")]
    Certificate,
    /// The timeline of its exchange leaves something out.
    #[error("the timeline of its exchange is not what was logged")]
    Chain,
    /// An RFI goes on without consent by a decision that was not recorded, or was spent.
    #[error("the override it names was not recorded before, or was spent on another enquiry")]
    Decision,
    /// An enquiry that is said to be destroyed or held is not, or the other way round.
    #[error("the enquiry of the message it accepted is not destroyed, or held, as was logged")]
    Destruction,
    /// The delivery of its message is not where entries say.
    #[error("the delivery of the message it accepted does not stand as was logged")]
    Delivery,
    /// The exchange it opened is not where entries say.
    #[error("the exchange it opened does not stand as was logged")]
    Exchange,
    /// A certificate was issued for a token or a predecessor that was not good for it then.
    #[error("what it was issued for did not entitle to it, by the entries before")]
    Grant,
    /// A mailbox would be refused or filled by a count that is wrong.
    #[error("what waits for the agency it is for is not what its mailbox is said to hold")]
    Mailbox,
    /// Messages would be sealed to somebody else.
    #[error("its enquiry is not sealed to whom was logged")]
    SealingRecipient,
    /// An accepted message's row is gone.
    #[error("the message it accepted is missing")]
    MessageMissing,
    /// The checkpoint's columns are not what its note says.
    #[error("the checkpoint over it is not what its signed note says")]
    CheckpointColumns,
    /// The note is refused.
    #[error("the checkpoint over it is refused: {0}")]
    Checkpoint(CheckpointError),
    /// Salt and fields are not what was committed to.
    #[error("its text is not what was logged")]
    Commitment,
    /// Half of it is missing.
    #[error("its salt or its text is missing")]
    Half,
    /// A message's row differs from the entry that accepted it.
    #[error("the stored message's {0} is not what was logged")]
    Message(&'static str),
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// The stored hashes are not those of the log so far.
    #[error("its stored hashes are not those of the log so far")]
    Nodes,
    /// The stored message claims an entry that accepted no message.
    #[error("a message claims it, and it accepted none")]
    NotAccepted,
    /// A row that belongs to the message it accepted is not as it was written.
    #[error("of the message it accepted, {0}")]
    Row(RowFault),
    /// The log so far is not what was signed.
    #[error(
        "the log up to here is not what was signed: something before was changed, added or removed"
    )]
    Root,
    /// An enrolment token's row is not what entries say of it.
    #[error("the enrolment token it is about does not stand as was logged")]
    Token,
    /// No checkpoint covers it.
    #[error("no signed checkpoint covers it")]
    Unsigned,
}

impl LogChecker {
    /// A checker for the log with this public key.
    pub fn new(log: LogVerifier) -> Self {
        Self { log, tree: Tree::empty(), standing: Standing::default(), signed: 0 }
    }

    /// The next entry.
    pub fn entry(&mut self, entry: &StoredEntry) -> Result<(), LogFault> {
        let expected = self.tree.size();
        if entry.index != expected {
            return Err(LogFault { entry: expected, fault: Fault::Missing });
        }
        let named = |fault| LogFault { entry: entry.index, fault };
        let Some(leaf) = entry.nodes.first() else { return Err(named(Fault::Nodes)) };
        let fields = read_back(entry).map_err(named)?;
        let extension = self.tree.extend(&[*leaf]);
        if extension.nodes(0) != entry.nodes {
            return Err(named(Fault::Nodes));
        }
        self.tree = extension.tree().clone();
        self.standing.entry(entry, &fields).map_err(named)
    }

    /// The message that an entry accepted, as its row and ciphertext are now; none when there is no
    /// such row.
    pub fn message(
        &mut self,
        entry: &StoredEntry,
        message: Option<&MessageDigest>,
    ) -> Result<(), LogFault> {
        let named = |fault| LogFault { entry: entry.index, fault };
        let fields = entry.fields.as_deref().and_then(Fields::parse);
        compare(fields.as_ref(), message).map_err(named)?;
        message.map_or(Ok(()), |message| self.standing.message(message)).map_err(named)
    }

    /// The file that an entry says was uploaded, as its row and parts are now; none when there is no
    /// such row, which is right once it was swept.
    pub fn attachment(
        &mut self,
        entry: &StoredEntry,
        file: Option<&AttachmentDigest>,
    ) -> Result<(), LogFault> {
        let fields = entry.fields.as_deref().and_then(Fields::parse);
        files::compare(fields.as_ref(), file)
            .and_then(|()| file.map_or(Ok(()), |file| self.standing.files.row(file)))
            .map_err(|fault| LogFault { entry: entry.index, fault })
    }

    /// The next checkpoint, once every entry it covers has been seen.
    pub fn checkpoint(&mut self, head: &Head) -> Result<(), LogFault> {
        let last = head.size.saturating_sub(1);
        let wrong = |entry, fault| Err(LogFault { entry, fault });
        let said = match self.log.open(&head.note) {
            Ok(said) => said,
            Err(error) => return wrong(last, Fault::Checkpoint(error)),
        };
        if (said.size, said.root) != (head.size, head.root) {
            return wrong(last, Fault::CheckpointColumns);
        }
        if head.size > self.tree.size() {
            return wrong(self.tree.size(), Fault::Missing);
        }
        if head.size != self.tree.size() || head.root != self.tree.root() {
            return wrong(last, Fault::Root);
        }
        self.signed = head.size;
        Ok(())
    }

    /// The end: every entry must be covered by a checkpoint, and everything must stand as the
    /// entries together say. `certificates` and `tokens` are the whole register, `mailboxes` what waits
    /// for each agency.
    pub fn finish(
        &self,
        certificates: &[CertificateRecord],
        tokens: &[EnrolmentToken],
        mailboxes: &[Mailbox],
    ) -> Result<(), LogFault> {
        if self.signed < self.tree.size() {
            return Err(LogFault { entry: self.signed, fault: Fault::Unsigned });
        }
        self.standing.finish(self.tree.size(), certificates, tokens, mailboxes)
    }
}

/// The fields of an entry, if salt and text are what was committed to.
pub(super) fn read_back(entry: &StoredEntry) -> Result<Fields, Fault> {
    let leaf = entry.nodes.first().ok_or(Fault::Nodes)?;
    let (Some(salt), Some(text)) = (&entry.salt, &entry.fields) else { return Err(Fault::Half) };
    if commitment(salt, text) != *leaf {
        return Err(Fault::Commitment);
    }
    Fields::parse(text).ok_or(Fault::Commitment)
}

/// Holds the message whose row names an entry, if one does, against the fields of that entry.
pub(super) fn compare(
    fields: Option<&Fields>,
    message: Option<&MessageDigest>,
) -> Result<(), Fault> {
    let accepted =
        fields.filter(|fields| fields.get("event") == Some(EventName::Accepted.as_str()));
    let (fields, message) = match (accepted, message) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(Fault::NotAccepted),
        (Some(_), None) => return Err(Fault::MessageMissing),
        (Some(fields), Some(message)) => (fields, message),
    };
    let envelope = &message.envelope;
    let in_reply_to = envelope.in_reply_to.map(|id| id.to_string());
    let files: Vec<_> = message.attachments.iter().map(ToString::to_string).collect();
    let files = Some(files.join(" ")).filter(|files| !files.is_empty());
    // Which files it named is known from its entry alone once they were destroyed with it.
    let is_destroyed = message.rows.as_ref().is_ok_and(|rows| rows.destroyed.is_some());
    let named = fields.get("attachments").filter(|_| !is_destroyed);
    let compared = [
        ("id", Some(message.id.to_string()), fields.get("message")),
        ("kind", Some(envelope.kind.as_str().to_owned()), fields.get("kind")),
        ("sender", Some(envelope.sender.to_string()), fields.get("sender")),
        ("recipient", Some(envelope.recipient.to_string()), fields.get("recipient")),
        ("exchange", Some(envelope.exchange.to_string()), fields.get("exchange")),
        ("enquiry", Some(envelope.enquiry.to_string()), fields.get("enquiry")),
        ("reference", Some(envelope.reference.to_string()), fields.get("reference")),
        ("priority", Some(envelope.priority.as_str().to_owned()), fields.get("priority")),
        ("time", Some(rfc3339(envelope.time)), fields.get("time")),
        ("digest", Some(hex(&envelope.digest)), fields.get("digest")),
        ("in-reply-to", in_reply_to, fields.get("inReplyTo")),
        ("attachments", files, named),
    ];
    for (name, stored, logged) in &compared {
        if stored.as_deref() != *logged {
            return Err(Fault::Message(name));
        }
    }
    if fields.number("sizeBytes") != Some(envelope.size_bytes) {
        return Err(Fault::Message("size"));
    }
    let custody = if envelope.is_sealed_to_agency { Some("agency") } else { None };
    let hints = [
        ("custody", custody, fields.get("custody")),
        ("handling", envelope.handling.as_deref(), fields.get("handling")),
        ("readers", envelope.visible_to.as_deref(), fields.get("visibleTo")),
    ];
    for (name, stored, logged) in hints {
        if stored != logged {
            return Err(Fault::Message(name));
        }
    }
    if let Err(fault) = message.rows {
        return Err(Fault::Row(fault));
    }
    match message.ciphertext_sha256 {
        Some(digest) if digest != envelope.digest => Err(Fault::Message("sealed payload")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::LogKey;
    use crate::audit::entry::{Event, NewEntry};
    use crate::audit::tree::Hash;

    /// A log of `count` entries, signed after each third.
    fn log(key: &LogKey, count: usize) -> (Vec<StoredEntry>, Vec<Head>) {
        let at = "2026-11-23T09:00:00Z".parse().unwrap();
        let mut tree = Tree::empty();
        let (mut entries, mut heads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let entry = NewEntry::new(&Event::started("1"), at);
            let extension = tree.extend(&[entry.leaf_hash]);
            tree = extension.tree().clone();
            entries.push(StoredEntry {
                index: index as u64,
                salt: Some(entry.salt),
                fields: Some(entry.fields),
                nodes: extension.nodes(0).to_vec(),
                previous: None,
            });
            if index % 3 == 2 {
                let note = key.sign(tree.size(), &tree.root()).into();
                heads.push(Head { size: tree.size(), root: tree.root(), note });
            }
        }
        (entries, heads)
    }

    fn check(key: &LogKey, entries: &[StoredEntry], heads: &[Head]) -> Result<(), LogFault> {
        let mut checker = LogChecker::new(key.verifier());
        let mut heads = heads.iter().peekable();
        for entry in entries {
            checker.entry(entry)?;
            checker.message(entry, None)?;
            while let Some(head) = heads.next_if(|head| head.size <= entry.index + 1) {
                checker.checkpoint(head)?;
            }
        }
        for head in heads {
            checker.checkpoint(head)?;
        }
        checker.finish(&[], &[], &[])
    }

    fn fault(entry: u64, fault: Fault) -> Result<(), LogFault> {
        Err(LogFault { entry, fault })
    }

    #[test]
    fn a_whole_log_verifies() {
        let key = LogKey::generate("log").unwrap();
        let (entries, heads) = log(&key, 9);
        assert_eq!(check(&key, &entries, &heads), Ok(()));
    }

    #[test]
    fn what_was_changed_is_named() {
        let key = LogKey::generate("log").unwrap();
        let (entries, heads) = log(&key, 9);

        let mut edited = entries.clone();
        edited[4].fields = Some(r#"{"event":"stopped"}"#.to_owned());
        assert_eq!(check(&key, &edited, &heads), fault(4, Fault::Commitment));

        let mut half = entries.clone();
        half[4].salt = None;
        assert_eq!(check(&key, &half, &heads), fault(4, Fault::Half));
        half[4].fields = None;
        assert_eq!(check(&key, &half, &heads), fault(4, Fault::Half));

        let mut dropped = entries.clone();
        dropped.remove(4);
        assert_eq!(check(&key, &dropped, &heads), fault(4, Fault::Missing));

        let mut swapped = entries.clone();
        swapped.swap(4, 5);
        (swapped[4].index, swapped[5].index) = (4, 5);
        assert_eq!(check(&key, &swapped, &heads), fault(4, Fault::Nodes));

        let truncated = &entries[..7];
        assert_eq!(check(&key, truncated, &heads), fault(7, Fault::Missing));

        // Whoever also cuts the checkpoint leaves entries that nobody signed, or a log that is
        // merely shorter: that is found by comparing with receipts and kept checkpoints.
        assert_eq!(check(&key, truncated, &heads[..2]), fault(6, Fault::Unsigned));
        assert_eq!(check(&key, &entries[..6], &heads[..2]), Ok(()));
    }

    #[test]
    fn a_log_rewritten_with_the_hashes_recomputed_is_not_what_was_signed() {
        let key = LogKey::generate("log").unwrap();
        let (_, heads) = log(&key, 9);
        let (others, _) = log(&key, 9);
        assert_eq!(check(&key, &others, &heads), fault(2, Fault::Root));
        let other_key = LogKey::generate("log").unwrap();
        let (entries, resigned) = log(&other_key, 9);
        assert_eq!(
            check(&key, &entries, &resigned),
            fault(2, Fault::Checkpoint(CheckpointError::NotOurs))
        );
        let (entries, mut heads) = log(&key, 9);
        heads[1].root = Hash::from_bytes([0; 32]);
        assert_eq!(check(&key, &entries, &heads), fault(5, Fault::CheckpointColumns));
    }
}
