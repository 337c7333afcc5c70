//! Files that are sent with messages: uploaded and sealed piece by piece, bound to the message that
//! names them, and opened piece by piece for its recipient.

use std::sync::Arc;

use jiff::Timestamp;
use ring::digest;
use serde_json::json;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::{Gateway, not_found};
use crate::attachment::{NotAsClaimed, Sniffer};
use crate::audit::entry::Event;
use crate::event::content_digest;
use crate::message::{AgencyId, Attachment, AttachmentId, IdempotencyKey, MediaType, Role};
use crate::problem::{Problem, ProblemType};
use crate::schema::{Refusal, Violation};
use crate::seal::file::{FileKey, FileOpener, FileSealer};
use crate::seal::{self, OpenError};
use crate::store::{
    Applied, Effect, NewAttachment, NewUpload, PartAdded, SentAttachment, Store, StoreError,
    StoredAttachment,
};

/// What files agencies may upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The largest file.
    pub bytes_max: u64,
    /// Of one agency, all files together that no message names, sealed.
    pub unsent_bytes_max: u64,
}

/// A file that somebody begins to upload.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Whose certificate it came with.
    pub sender: AgencyId,
    /// In which role, when a person sends it.
    pub desk: Option<Role>,
    /// The serial of the certificate.
    pub certificate: Option<String>,
    /// The sender's name for this upload.
    pub idempotency_key: IdempotencyKey,
    /// What it is said to be.
    pub media_type: MediaType,
    /// Its length, as far as that was said.
    pub bytes_at_least: u64,
}

impl Gateway {
    /// Begins to take a file; what comes of it is in the database sealed, part by part, and is given up
    /// unless [`Upload::finish`] is reached.
    pub async fn begin_upload(
        self: &Arc<Self>,
        new: NewFile,
        now: Timestamp,
    ) -> Result<Upload, Problem> {
        let partner = self.directory().get(&new.sender).cloned();
        if !partner.is_some_and(|partner| partner.may_attach) {
            let detail = "The directory does not say that this agency may send files.";
            return Err(Problem::new(ProblemType::AttachmentsNotAllowed, detail));
        }
        if new.bytes_at_least > self.files.bytes_max {
            return Err(self.too_large());
        }
        let key_hash = seal::upload_key_hash(&new.sender, &new.idempotency_key);
        let first = self.store.uploaded(&key_hash).await?;
        // One that is here already is only looked at again.
        let arriving = match first {
            Some(_) => None,
            None => Some(self.arriving(&new, now).await?),
        };
        Ok(Upload {
            gateway: Arc::clone(self),
            sniffer: Sniffer::new(new.media_type),
            new,
            key_hash,
            first,
            arriving,
            digest: digest::Context::new(&digest::SHA256),
            size_bytes: 0,
        })
    }

    async fn arriving(&self, new: &NewFile, now: Timestamp) -> Result<Arriving, Problem> {
        let id = AttachmentId::new(now);
        let upload = NewUpload { id, uploader: new.sender.clone(), at: now };
        let max = self.files.unsent_bytes_max;
        if !self.store.begin_upload(upload, new.bytes_at_least, max).await? {
            return Err(self.too_much_unsent());
        }
        let store = Arc::clone(&self.store);
        Ok(Arriving {
            id,
            sealer: FileSealer::with_new_key(),
            draft: Draft { store, id, is_kept: false },
        })
    }

    /// The largest file that this agency may send; none when it may send no files.
    pub fn attachment_bytes_max(&self, agency: &AgencyId) -> Option<u64> {
        let may_attach = self.directory().get(agency).is_some_and(|partner| partner.may_attach);
        may_attach.then_some(self.files.bytes_max)
    }

    /// The keys of the files that a message names, if each is there to be sent and is what it says.
    pub(super) async fn held_files(
        &self,
        sender: &AgencyId,
        named: &[Attachment],
        pointer: &str,
    ) -> Result<Vec<FileKey>, Problem> {
        let (mut files, mut violations) = (Vec::with_capacity(named.len()), Vec::new());
        for (i, attachment) in named.iter().enumerate() {
            match self.held_file(sender, attachment).await? {
                Ok(file) => files.push(file),
                Err(unfit) => violations.push(unfit.at(format!("{pointer}/{i}"))),
            }
        }
        if violations.is_empty() { Ok(files) } else { Err(Refusal::Violations(violations).into()) }
    }

    async fn held_file(
        &self,
        sender: &AgencyId,
        named: &Attachment,
    ) -> Result<Result<FileKey, Unfit>, Problem> {
        let stored = match self.store.attachment(&named.id).await {
            Ok(stored) if stored.uploader == *sender => stored,
            // Whether another agency has such a file is nobody's business.
            Ok(_) | Err(StoreError::NotFound) => return Ok(Err(Unfit::Unknown)),
            Err(error) => return Err(error.into()),
        };
        let Some(wrapped_key) = &stored.wrapped_key else { return Ok(Err(Unfit::Sent)) };
        let file = self.sealer.held_file(&named.id, sender, wrapped_key)?;
        Ok(if file.attachment() == named { Ok(file) } else { Err(Unfit::Other) })
    }

    /// A file for the recipient of a message that names it. That it was collected is durable and in the
    /// log before a byte of it is handed over.
    pub async fn collect_attachment(
        &self,
        reader: &AgencyId,
        certificate: Option<&str>,
        desk: Option<Role>,
        id: &AttachmentId,
        now: Timestamp,
    ) -> Result<Outgoing, Problem> {
        let sent = self.store.sent_attachment(id, reader).await?;
        let outgoing = self.outgoing(&sent)?;
        let envelope = &sent.message.envelope;
        // As for messages: a retry is no news, and a program in a loop must not fill the log.
        if !sent.is_collected || self.file_collections.check_key(&(*id, envelope.id)).is_ok() {
            if self.file_collections.len() > super::COLLECTIONS_MAX {
                self.file_collections.retain_recent();
            }
            let event =
                Event::attachment_collected(envelope, id).at_desk(desk).done_with(certificate);
            let effect = Effect::CollectAttachment { attachment: *id, message: envelope.id };
            self.record(&event, now, &sent.message, effect).await?;
        }
        Ok(outgoing)
    }

    fn outgoing(&self, sent: &SentAttachment) -> Result<Outgoing, Problem> {
        let SentAttachment { attachment: stored, message, wrapped_key, enquiry_key, .. } = sent;
        let store = Arc::clone(&self.store);
        let (facts, opening) = if message.envelope.is_sealed_to_agency {
            let facts = Facts {
                media_type: SEALED_MEDIA_TYPE,
                size_bytes: stored.sealed_bytes,
                digest: stored.digest,
                wrapped_key: Some(wrapped_key.clone()),
            };
            (
                facts,
                Opening::NotOurs(Box::new(digest::Context::new(&digest::SHA256)), stored.digest),
            )
        } else {
            let key = self.sealer.sent_file(
                &stored.id,
                &message.envelope,
                enquiry_key.as_deref(),
                wrapped_key,
            )?;
            let attachment = key.attachment();
            if !is_same_file(stored, attachment) {
                return Err(OpenError::HeaderMismatch.into());
            }
            let facts = Facts {
                media_type: attachment.media_type.as_str(),
                size_bytes: attachment.size_bytes,
                digest: attachment.digest,
                wrapped_key: None,
            };
            (facts, Opening::Ours(Box::new(FileOpener::new(key))))
        };
        Ok(Outgoing { facts, id: stored.id, next: 0, parts: stored.parts, opening, store })
    }

    fn too_large(&self) -> Problem {
        let detail = format!("A file may have {} bytes at most.", self.files.bytes_max);
        Problem::new(ProblemType::BodyTooLarge, detail)
    }

    fn too_much_unsent(&self) -> Problem {
        let max = self.files.unsent_bytes_max;
        let detail = format!("Files that no message names may have {max} bytes together.");
        Problem::new(ProblemType::AttachmentsUnsent, detail)
    }
}

/// A file on its way in.
pub struct Upload {
    gateway: Arc<Gateway>,
    new: NewFile,
    key_hash: [u8; 16],
    /// The upload that was made under this key before, and its fingerprint.
    first: Option<(AttachmentId, [u8; 32])>,
    /// None when there was one.
    arriving: Option<Arriving>,
    sniffer: Sniffer,
    digest: digest::Context,
    size_bytes: u64,
}

/// A file that is here.
pub struct Uploaded {
    /// Its id.
    pub id: AttachmentId,
    /// How a message is to name it, as JSON.
    pub answer: String,
}

struct Arriving {
    id: AttachmentId,
    sealer: FileSealer,
    draft: Draft,
}

impl Upload {
    /// The next piece of it.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), Problem> {
        self.size_bytes += piece.len() as u64;
        if self.size_bytes > self.gateway.files.bytes_max {
            return Err(self.gateway.too_large());
        }
        self.sniffer.look(piece)?;
        self.digest.update(piece);
        let Some(arriving) = &mut self.arriving else { return Ok(()) };
        arriving.sealer.write(piece);
        while let Some(part) = arriving.sealer.part() {
            keep(&self.gateway, &arriving.id, part).await?;
        }
        Ok(())
    }

    /// The end of it: once this returns the file is here, durable and in the log. `expected` is the
    /// digest that its sender gave. The answer says how a message is to name the file; the same upload
    /// under the same key gets the same answer.
    pub async fn finish(
        mut self,
        expected: Option<&str>,
        now: Timestamp,
    ) -> Result<Uploaded, Problem> {
        self.sniffer.finish()?;
        let mut digest = [0; 32];
        digest.copy_from_slice(self.digest.clone().finish().as_ref());
        if expected.is_some_and(|expected| expected != content_digest(&digest)) {
            let detail = "The body's SHA-256 is not the one given.";
            return Err(Problem::new(ProblemType::ContentDigestMismatch, detail));
        }
        let Self { new, size_bytes, .. } = &self;
        let (media_type, size_bytes) = (new.media_type, *size_bytes);
        let body_mac = seal::upload_mac(&new.idempotency_key, media_type, &digest);
        let id = match (self.first, self.arriving.take()) {
            (Some(first), _) => same(first, &body_mac)?,
            (None, Some(arriving)) => {
                let attachment = Attachment { id: arriving.id, media_type, size_bytes, digest };
                self.attach(arriving, &attachment, body_mac, now).await?
            }
            (None, None) => return Err(not_found()),
        };
        let digest = content_digest(&digest);
        let media_type = media_type.as_str();
        let answer =
            json!({ "digest": digest, "id": id, "mediaType": media_type, "size": size_bytes });
        Ok(Uploaded { id, answer: answer.to_string() })
    }

    async fn attach(
        &self,
        arriving: Arriving,
        attachment: &Attachment,
        body_mac: [u8; 32],
        now: Timestamp,
    ) -> Result<AttachmentId, Problem> {
        let Arriving { id, sealer, mut draft } = arriving;
        let Self { gateway, new, key_hash, .. } = self;
        let sealed = sealer.finish(&gateway.sealer, attachment, &new.sender);
        keep(gateway, &id, sealed.last_part).await?;
        let Attachment { media_type, size_bytes, .. } = *attachment;
        let event =
            Event::attachment_uploaded(&new.sender, &id, media_type, size_bytes, &sealed.digest)
                .at_desk(new.desk)
                .done_with(new.certificate.as_deref());
        let effect = Effect::Attach(Box::new(NewAttachment {
            id,
            media_type,
            size_bytes,
            digest: sealed.digest,
            key_hash: *key_hash,
            body_mac,
            wrapped_key: sealed.wrapped_key,
        }));
        match gateway.ledger.record(&event, now, None, effect).await? {
            Applied::Recorded(_) => {
                draft.is_kept = true;
                Ok(id)
            }
            // The same was sent twice at once, and the other is here.
            Applied::OtherState => {
                let first = gateway.store.uploaded(key_hash).await?.ok_or_else(not_found)?;
                same(first, &body_mac)
            }
            Applied::KeyReused => Err(key_reused()),
            _ => Err(took_too_long()),
        }
    }
}

async fn keep(gateway: &Gateway, id: &AttachmentId, part: Vec<u8>) -> Result<(), Problem> {
    match gateway.store.add_part(id, part, gateway.files.unsent_bytes_max).await? {
        PartAdded::Yes => Ok(()),
        PartAdded::NoRoom => Err(gateway.too_much_unsent()),
        PartAdded::Gone => Err(took_too_long()),
    }
}

fn same(first: (AttachmentId, [u8; 32]), body_mac: &[u8; 32]) -> Result<AttachmentId, Problem> {
    let (id, first_mac) = first;
    if first_mac == *body_mac { Ok(id) } else { Err(key_reused()) }
}

fn key_reused() -> Problem {
    let detail = "Another file was uploaded with this key before.";
    Problem::new(ProblemType::IdempotencyKeyReused, detail)
}

fn took_too_long() -> Problem {
    Problem::new(ProblemType::Timeout, "The upload took longer than this gateway waits.")
}

fn is_same_file(stored: &StoredAttachment, attachment: &Attachment) -> bool {
    (stored.media_type, stored.size_bytes) == (attachment.media_type, attachment.size_bytes)
}

/// A file that is not kept yet: given up when nobody waits for it any more.
struct Draft {
    store: Arc<dyn Store>,
    id: AttachmentId,
    is_kept: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Without a runtime the gateway is ending; whatever is left then is swept in time.
        if let (false, Ok(runtime)) = (self.is_kept, Handle::try_current()) {
            let (store, id) = (Arc::clone(&self.store), self.id);
            runtime.spawn(async move {
                if let Err(error) = store.discard_upload(&id).await {
                    tracing::warn!(%error, "an upload that broke off is left to be swept");
                }
            });
        }
    }
}

/// Why a file cannot go with a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unfit {
    /// It is another than the message says.
    Other,
    /// Another message names it.
    Sent,
    /// This agency has uploaded no such file, or it was swept.
    Unknown,
}

impl Unfit {
    fn at(self, pointer: String) -> Violation {
        let (code, message) = match self {
            Self::Other => (
                "attachment-differs",
                "Name the file as the answer to its upload does: the same digest, mediaType and size.",
            ),
            Self::Sent => (
                "attachment-sent",
                "Upload the file again: another message has it, and each file goes with one.",
            ),
            Self::Unknown => (
                "attachment-unknown",
                "Upload the file first. One that no message names in time is destroyed.",
            ),
        };
        Violation { pointer, code: code.to_owned(), message: message.to_owned() }
    }
}

/// What is said when the files were there to be sent, and then one was not.
pub(super) fn no_longer_held() -> Problem {
    Refusal::Violations(vec![Unfit::Sent.at(String::new())]).into()
}

/// A file on its way out.
pub struct Outgoing {
    /// What is said of it before it comes.
    pub facts: Facts,
    id: AttachmentId,
    next: u32,
    parts: u32,
    opening: Opening,
    store: Arc<dyn Store>,
}

/// What is handed over.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its type: the file's own, or that of an age file.
    pub media_type: &'static str,
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256 of it.
    pub digest: [u8; 32],
    /// When only the agency's own key opens the file: the file's key, an age file sealed to that.
    pub wrapped_key: Option<Vec<u8>>,
}

enum Opening {
    /// The gateway opens it.
    Ours(Box<FileOpener>),
    /// Only its recipient can: it is handed over sealed, if it has this digest.
    NotOurs(Box<digest::Context>, [u8; 32]),
}

impl Outgoing {
    /// The next piece of it; none at its end. Of the last piece nothing unless the whole is what was
    /// uploaded: whoever is told otherwise has no whole file.
    pub async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Problem> {
        if self.next == self.parts {
            return Ok(None);
        }
        let part = match self.store.attachment_part(&self.id, self.next).await {
            Err(StoreError::NotFound) => return Err(OpenError::Tampered.into()),
            part => part?,
        };
        self.next += 1;
        let is_last = self.next == self.parts;
        let piece = match &mut self.opening {
            Opening::Ours(opener) => opener.open(&part, is_last)?,
            Opening::NotOurs(hash, digest) => {
                hash.update(&part);
                if is_last && hash.as_ref().clone().finish().as_ref() != digest {
                    return Err(OpenError::Tampered.into());
                }
                Zeroizing::new(part)
            }
        };
        Ok(Some(piece))
    }
}

impl From<NotAsClaimed> for Problem {
    fn from(_: NotAsClaimed) -> Self {
        Self::new(ProblemType::MediaType, "The file is not what its Content-Type says it is.")
    }
}

/// What an age file is, to HTTP.
const SEALED_MEDIA_TYPE: &str = "application/octet-stream";
