//! What is kept of files: while they come in, until they are sent, and with the message that names them.

use jiff::Timestamp;

use super::StoredMessage;
use crate::message::{AgencyId, AttachmentId, MediaType};

/// A file that a message names, with the file's key for that message's recipient.
#[derive(Clone, Debug)]
pub struct AttachedKey {
    /// The file.
    pub attachment: AttachmentId,
    /// Its key, an age file to whomever the message is sealed to.
    pub wrapped_key: Vec<u8>,
}

/// A file that begins to come in.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// The id it is to have.
    pub id: AttachmentId,
    /// Whose it is.
    pub uploader: AgencyId,
    /// When.
    pub at: Timestamp,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PartAdded {
    /// The file is no longer coming in: it took too long.
    Gone,
    /// Its agency has as much uploaded and not sent as it may.
    NoRoom,
    /// It is kept.
    Yes,
}

/// A file that has come in whole.
#[derive(Clone, Debug)]
pub struct NewAttachment {
    /// The file.
    pub id: AttachmentId,
    /// What it is.
    pub media_type: MediaType,
    /// Its length before it was sealed.
    pub size_bytes: u64,
    /// SHA-256 of the sealed file.
    pub digest: [u8; 32],
    /// The name under which its upload is known.
    pub key_hash: [u8; 16],
    /// The fingerprint of its upload.
    pub body_mac: [u8; 32],
    /// Its key, an age file to the at-rest and recovery recipients.
    pub wrapped_key: Vec<u8>,
}

/// A file as stored, without what is in it.
#[derive(Clone, Debug)]
pub struct StoredAttachment {
    /// The file.
    pub id: AttachmentId,
    /// Who uploaded it.
    pub uploader: AgencyId,
    /// What it is.
    pub media_type: MediaType,
    /// Its length before it was sealed.
    pub size_bytes: u64,
    /// The length of the sealed file.
    pub sealed_bytes: u64,
    /// In how many parts that is kept.
    pub parts: u32,
    /// SHA-256 of it.
    pub digest: [u8; 32],
    /// Its key, while no message names it.
    pub wrapped_key: Option<Vec<u8>>,
}

/// A file and the message it was sent with, to one recipient.
#[derive(Clone, Debug)]
pub struct SentAttachment {
    /// The file.
    pub attachment: StoredAttachment,
    /// The message.
    pub message: StoredMessage,
    /// The file's key, sealed as the message is.
    pub wrapped_key: Vec<u8>,
    /// The enquiry's secret key, an age file to the at-rest recipients. None once purged.
    pub enquiry_key: Option<Vec<u8>>,
    /// Whether its recipient has fetched it before.
    pub is_collected: bool,
}

/// What an agency has uploaded and not sent.
#[derive(Clone, Debug)]
pub struct Unsent {
    /// The agency.
    pub agency: AgencyId,
    /// How many files.
    pub count: u64,
    /// The bytes they take, sealed.
    pub bytes: u64,
}

/// For comparing a file's rows with its entry.
#[derive(Clone, Debug)]
pub struct AttachmentDigest {
    /// The entry that says it was uploaded.
    pub entry: u64,
    /// Its row.
    pub attachment: StoredAttachment,
    /// SHA-256 of its parts as they are now, in order.
    pub parts_sha256: [u8; 32],
    /// Whether a message names it.
    pub is_bound: bool,
}
