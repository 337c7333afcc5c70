//! Files that are sent with messages: sealed as they come in and opened as they go out, in parts,
//! so that no file is ever in memory whole.
//!
//! A file comes before the message that names it, so it has a key of its own. Until then that key
//! is wrapped as enquiries' keys are; with the message it is wrapped anew to the enquiry's key, or
//! to the agency's own, and the first wrap is gone: whoever destroys the enquiry's key destroys the
//! file. File and wraps are plain age files, as everything at rest.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use age::stream::{StreamReader, StreamWriter};
use age::x25519;
use ring::digest;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::{
    CHUNK_LEN, OpenError, Sealer, TAG_LEN, decrypt, encrypt, finished, parse_hex, unwrap_key,
};
use crate::message::{AgencyId, Attachment, AttachmentId, Envelope, MediaType, MessageId};

/// Seals one file, piece by piece.
pub struct FileSealer {
    key: x25519::Identity,
    stream: StreamWriter<Sealed>,
    sealed: Sealed,
    digest: digest::Context,
}

/// What is left of a file once it is sealed.
pub struct SealedFile {
    /// The last part.
    pub last_part: Vec<u8>,
    /// SHA-256 of the sealed file, all of it.
    pub digest: [u8; 32],
    /// Its key, for the gateway until a message names it.
    pub wrapped_key: Vec<u8>,
}

impl FileSealer {
    /// For a new file, with a key of its own.
    pub fn with_new_key() -> Self {
        let key = x25519::Identity::generate();
        let recipient = key.to_public();
        let sealed = Sealed::new();
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
                .expect("one X25519 recipient is always enough");
        let stream = encryptor.wrap_output(sealed.clone()).expect("writing to memory cannot fail");
        Self { key, stream, sealed, digest: digest::Context::new(&digest::SHA256) }
    }

    /// The next piece of the file.
    pub fn write(&mut self, piece: &[u8]) {
        self.stream.write_all(piece).expect("writing to memory cannot fail");
    }

    /// A part of the sealed file, once there is enough for one.
    pub fn part(&mut self) -> Option<Vec<u8>> {
        let mut sealed = self.sealed.lock();
        if sealed.len() < PART_BYTES {
            return None;
        }
        // Moved down in the buffer it is in: large buffers that come and go leave holes in memory.
        let part = sealed[..PART_BYTES].to_vec();
        sealed.drain(..PART_BYTES);
        drop(sealed);
        self.digest.update(&part);
        Some(part)
    }

    /// The end of the file, which turned out to be this, uploaded by this agency.
    pub fn finish(
        mut self,
        sealer: &Sealer,
        attachment: &Attachment,
        uploader: &AgencyId,
    ) -> SealedFile {
        self.stream.finish().expect("writing to memory cannot fail");
        let last_part = std::mem::take(&mut *self.sealed.lock());
        self.digest.update(&last_part);
        let label = Label { attachment, place: Place::Held(uploader) };
        let wrapped_key = wrap(&sealer.recipients, &label, &self.key);
        SealedFile { last_part, digest: finished(self.digest), wrapped_key }
    }
}

/// A file's own key, and what the file is. Never shown.
pub struct FileKey {
    key: x25519::Identity,
    attachment: Attachment,
}

impl FileKey {
    /// What the file is, as was found when it was uploaded.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// The key for whoever is to have the file with this message.
    pub(super) fn wrapped_for(
        &self,
        recipients: &[x25519::Recipient],
        message: &MessageId,
    ) -> Vec<u8> {
        let label = Label { attachment: &self.attachment, place: Place::Message(message) };
        wrap(recipients, &label, &self.key)
    }
}

impl Sealer {
    /// The key of a file that this agency uploaded and no message names yet.
    pub fn held_file(
        &self,
        id: &AttachmentId,
        uploader: &AgencyId,
        wrapped_key: &[u8],
    ) -> Result<FileKey, OpenError> {
        open_key(&self.identities.0, id, &Place::Held(uploader), wrapped_key)
    }

    /// The key of a file that this message names.
    pub fn sent_file(
        &self,
        id: &AttachmentId,
        envelope: &Envelope,
        enquiry_key: Option<&[u8]>,
        wrapped_key: &[u8],
    ) -> Result<FileKey, OpenError> {
        let enquiry_key = enquiry_key.ok_or(OpenError::Purged)?;
        let enquiry_key = unwrap_key(&self.identities.0, &envelope.enquiry, enquiry_key)?;
        open_key([&enquiry_key], id, &Place::Message(&envelope.id), wrapped_key)
    }
}

/// Opens one file, part by part.
pub struct FileOpener {
    file: FileKey,
    sealed: Feed,
    /// None before the first part.
    stream: Option<StreamReader<BufReader<Feed>>>,
    digest: digest::Context,
    opened_bytes: u64,
}

impl FileOpener {
    /// For the file with this key.
    pub fn new(file: FileKey) -> Self {
        let digest = digest::Context::new(&digest::SHA256);
        Self { file, sealed: Feed::default(), stream: None, digest, opened_bytes: 0 }
    }

    /// What can be opened with the next part. Of the last, nothing unless all of the file is what
    /// was uploaded.
    pub fn open(&mut self, part: &[u8], is_last: bool) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.sealed.add(part, is_last);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => age::Decryptor::new_buffered(BufReader::new(self.sealed.clone()))
                .and_then(|file| {
                    file.decrypt(std::iter::once(&self.file.key as &dyn age::Identity))
                })
                .map_err(|_| OpenError::Tampered)?,
        };
        // Never grows: what is opened is shorter than what was sealed.
        let mut opened = Zeroizing::new(Vec::with_capacity(self.sealed.len() + 2 * CHUNK_LEN));
        let mut chunk = Zeroizing::new(vec![0; CHUNK_LEN]);
        // A chunk is only asked for when all of it is there.
        while is_last || self.sealed.len() >= CHUNK_LEN + TAG_LEN {
            match stream.read(&mut chunk).map_err(|_| OpenError::Tampered)? {
                0 => break,
                length => opened.extend_from_slice(&chunk[..length]),
            }
        }
        self.stream = Some(stream);
        self.digest.update(&opened);
        self.opened_bytes += opened.len() as u64;
        if is_last {
            let Attachment { size_bytes, digest, .. } = &self.file.attachment;
            let found = finished(self.digest.clone());
            if self.opened_bytes != *size_bytes || found != *digest {
                return Err(OpenError::HeaderMismatch);
            }
        }
        Ok(opened)
    }
}

/// What a wrapped key says before the key: which file it opens, and for what it was wrapped. It ties
/// the wrap to its row.
struct Label<'a> {
    attachment: &'a Attachment,
    place: Place<'a>,
}

/// What a file's key is wrapped for.
#[derive(Debug, Eq, PartialEq)]
enum Place<'a> {
    /// Its uploader, until a message names it.
    Held(&'a AgencyId),
    /// The recipient of this message.
    Message(&'a MessageId),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(uploader) => write!(f, "uploaded-by {uploader}"),
            Self::Message(message) => write!(f, "with-message {message}"),
        }
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attachment { id, media_type, size_bytes, digest } = self.attachment;
        let media_type = media_type.as_str();
        write!(f, "{LABEL_VERSION} {id} {} {media_type} {size_bytes} ", self.place)?;
        digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// An identity file, so that what unwraps it can hand it to the age tool as it is.
fn wrap(recipients: &[x25519::Recipient], label: &Label<'_>, key: &x25519::Identity) -> Vec<u8> {
    let (label, secret) = (format!("{label}\n"), key.to_string());
    encrypt(recipients.iter(), &[label.as_bytes(), secret.expose_secret().as_bytes(), b"\n"])
}

fn open_key<'a>(
    identities: impl IntoIterator<Item = &'a x25519::Identity>,
    id: &AttachmentId,
    place: &Place<'_>,
    wrapped_key: &[u8],
) -> Result<FileKey, OpenError> {
    let text = decrypt(identities, wrapped_key)?;
    let text = str::from_utf8(&text).map_err(|_| OpenError::Tampered)?;
    let (label, rest) = text.split_once('\n').ok_or(OpenError::Tampered)?;
    let attachment = facts(label, id, place).ok_or(OpenError::HeaderMismatch)?;
    let key = rest.strip_suffix('\n').ok_or(OpenError::Tampered)?;
    let key = key.parse().map_err(|_| OpenError::Tampered)?;
    Ok(FileKey { key, attachment })
}

// What a label says of the file, if it is of this file and place.
fn facts(label: &str, id: &AttachmentId, place: &Place<'_>) -> Option<Attachment> {
    let said = label.strip_prefix(&format!("{LABEL_VERSION} {id} {place} "))?;
    let mut words = said.split(' ');
    let attachment = Attachment {
        id: *id,
        media_type: MediaType::parse(words.next()?)?,
        size_bytes: words.next()?.parse().ok()?,
        digest: parse_hex(words.next()?)?,
    };
    words.next().is_none().then_some(attachment)
}

/// Ciphertext on its way out of age.
#[derive(Clone)]
struct Sealed(Arc<Mutex<Vec<u8>>>);

impl Sealed {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(2 * PART_BYTES))))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ciphertext on its way into age: what is there, and whether that is all.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<(VecDeque<u8>, bool)>>);

impl Feed {
    fn add(&self, part: &[u8], is_last: bool) {
        let mut fed = self.lock();
        fed.0.extend(part);
        fed.1 = is_last;
    }

    fn len(&self) -> usize {
        self.lock().0.len()
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<u8>, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut fed = self.lock();
        // Nothing is the end only when it is: age would take a pause for a file cut short.
        if fed.0.is_empty() && !fed.1 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        fed.0.read(buffer)
    }
}

/// How large the parts are in which a sealed file is kept: of the disk's and the writer's time a
/// little, and not too many rows.
pub const PART_BYTES: usize = 256 << 10;

const LABEL_VERSION: &str = "# mash-file/v1";
