//! Sealing at rest with age: the only module that sees plaintext after validation.
//!
//! Two layers. Each enquiry has a key of its own, kept only wrapped to the gateway's at-rest
//! identities and the recovery recipients; each payload is sealed to its enquiry's public half, so
//! accepting needs no secret and destroying one wrap shreds an enquiry. Both layers are plain age
//! files: with the at-rest identity, the stock `age` tool recovers everything without us.

pub mod file;
pub mod record;

use std::fmt;
use std::io::{Read, Write};
use std::iter;
use std::sync::LazyLock;

use age::x25519;
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::directory::{Custody, Routed, RoutedMessage, RoutedStep};
use crate::message::{
    AgencyId, EnquiryId, Envelope, Exchange, ExchangeId, ExchangeState, IdempotencyKey, Kind,
    Marks, MediaType, MessageId, Submission, Target, sha256,
};
use crate::store::{
    AttachedKey, DecisionToken, DeliveryState, IdempotencyToken, NewEnquiry, SealedPayload, Step,
};
use file::FileKey;
use uuid::Uuid;

/// A submission whose plaintext is gone; digest and ciphertext remain.
#[derive(Debug)]
pub struct Sealed {
    pub(crate) token: IdempotencyToken,
    pub(crate) enquiry: Option<NewEnquiry>,
    /// The override it spends.
    pub(crate) decision: Option<DecisionToken>,
    pub(crate) messages: Vec<SealedMessage>,
}

impl Sealed {
    /// Whether any of its messages is to be pushed.
    pub fn is_pushed(&self) -> bool {
        let is_queued =
            |message: &SealedMessage| matches!(message.delivery, DeliveryState::Queued { .. });
        self.messages.iter().any(is_queued)
    }
}

/// One sealed message.
#[derive(Debug)]
pub(crate) struct SealedMessage {
    pub(crate) envelope: Envelope,
    /// SHA-256 of the schema the payload satisfied.
    pub(crate) schema_digest: [u8; 32],
    pub(crate) ciphertext: Vec<u8>,
    /// The files that go with it, each with its key for this message's recipient.
    pub(crate) attachments: Vec<AttachedKey>,
    pub(crate) delivery: DeliveryState,
    pub(crate) step: Step,
}

/// The gateway's at-rest keys: seals what is accepted, opens what is delivered.
pub struct Sealer {
    identities: Identities,
    /// To whom enquiry keys are wrapped: our identities' public halves, then the recovery ones.
    recipients: Vec<x25519::Recipient>,
}

impl Sealer {
    /// A sealer that opens with any of `identities`, and whose enquiry keys the holders of the
    /// recovery recipients can unwrap too.
    pub fn new(identities: Identities, recovery_recipients: &[String]) -> Result<Self, KeyError> {
        let mut recipients: Vec<_> = identities.0.iter().map(|own| own.to_public()).collect();
        for (text, position) in recovery_recipients.iter().zip(1..) {
            let recovery = parse_recipient(text)
                .map_err(|InvalidRecipient| KeyError::InvalidRecoveryRecipient { position })?;
            recipients.push(recovery);
        }
        Ok(Self { identities, recipients })
    }

    /// Seals every message of the submission with this fingerprint, and to the recipient of each the
    /// keys of the files it names; wipes its plaintext.
    pub fn seal(
        &self,
        routed: Routed,
        token: IdempotencyToken,
        decision: Option<DecisionToken>,
        files: &[FileKey],
    ) -> Result<Sealed, SealError> {
        let opened = routed.opens.map(|enquiry| self.new_enquiry(enquiry));
        let enquiry_recipient = opened.as_ref().map(|(_, recipient)| recipient);
        let messages = routed
            .messages
            .into_iter()
            .map(|message| seal_message(message, enquiry_recipient, files))
            .collect::<Result<_, _>>()?;
        Ok(Sealed { token, enquiry: opened.map(|(enquiry, _)| enquiry), decision, messages })
    }

    /// The payload of a stored message. Nothing is returned until the whole of it is verified, and
    /// is found to be the payload of this very envelope.
    pub fn open(
        &self,
        envelope: &Envelope,
        payload: &SealedPayload,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let ciphertext = intact_ciphertext(envelope, payload)?;
        if envelope.is_sealed_to_agency && !envelope.kind.is_about_nobody() {
            return Err(OpenError::SealedToAgency);
        }
        let wrapped_key = payload.wrapped_key.as_deref().ok_or(OpenError::Purged)?;
        let enquiry_key = unwrap_key(&self.identities.0, &envelope.enquiry, wrapped_key)?;
        let opened = open_payload(&[enquiry_key], ciphertext)?;
        let is_same_size = usize::try_from(envelope.size_bytes) == Ok(opened.body.len());
        if is_same_size && opened.header.is_of(envelope) {
            Ok(opened.body)
        } else {
            Err(OpenError::HeaderMismatch)
        }
    }

    /// Whether an enquiry's key opens with the identities there are.
    pub fn opens(&self, enquiry: &EnquiryId, wrapped_key: &[u8]) -> Result<(), OpenError> {
        unwrap_key(&self.identities.0, enquiry, wrapped_key).map(drop)
    }

    /// Seals and opens a probe with each identity: shows that the keys are there and usable.
    pub fn self_test(&self) -> Result<(), OpenError> {
        const PROBE: &[u8] = b"probe";
        let enquiry = EnquiryId::from_bytes([0; 16]);
        let (made, recipient) = self.new_enquiry(enquiry);
        let ciphertext = encrypt(iter::once(&recipient), &[PROBE]);
        for identity in &self.identities.0 {
            let key = unwrap_key([identity], &enquiry, &made.wrapped_key)?;
            if *decrypt([&key], &ciphertext)? != PROBE {
                return Err(OpenError::Tampered);
            }
        }
        Ok(())
    }

    fn new_enquiry(&self, id: EnquiryId) -> (NewEnquiry, x25519::Recipient) {
        let key = x25519::Identity::generate();
        let recipient = key.to_public();
        let secret = key.to_string();
        let secret = secret.expose_secret().as_bytes();
        // An identity file, so that what unwraps it can hand it to the age tool as it is.
        let wrapped_key =
            encrypt(self.recipients.iter(), &[wrap_header(&id).as_bytes(), secret, b"\n"]);
        (NewEnquiry { id, recipient: recipient.to_string(), wrapped_key }, recipient)
    }
}

/// The secret halves of at-rest keys. Wiped when dropped; never shown.
pub struct Identities(Vec<x25519::Identity>);

impl Identities {
    /// Reads an age identity file: one `AGE-SECRET-KEY-1…` a line, `#` before a comment.
    pub fn parse(text: &SecretString) -> Result<Self, KeyError> {
        let mut identities = Vec::new();
        for (line, number) in text.expose_secret().lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = line.parse().map_err(|_| KeyError::InvalidIdentity { line: number })?;
            identities.push(identity);
        }
        if identities.is_empty() { Err(KeyError::NoIdentity) } else { Ok(Self(identities)) }
    }

    /// The public halves, `age1…`, in the order of the file.
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(|identity| identity.to_public().to_string()).collect()
    }
}

/// A new identity file, and its public half (`age1…`). `purpose` is its first comment line.
pub fn generate_identity(purpose: &'static str) -> (SecretString, String) {
    let identity = x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    let secret = secret.expose_secret();
    let text = Zeroizing::new(format!("# {purpose}\n# public key: {recipient}\n{secret}\n"));
    (SecretString::from(text.as_str()), recipient)
}

/// Whether `text` is a recipient that can be sealed to: for checking the directory when it is read.
pub fn check_recipient(text: &str) -> Result<(), InvalidRecipient> {
    parse_recipient(text).map(|_| ())
}

/// A submission's fingerprint: what the store compares to tell a repeat from a reused key.
pub fn idempotency_token(new: &Submission) -> IdempotencyToken {
    let Submission { sender, idempotency_key: key, target, body, .. } = new;
    let sender = sender.as_str().as_bytes();
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [sender, key.as_bytes()] {
        hash.update(&length_prefix(part));
        hash.update(part);
    }
    let mut key_hash = [0; 16];
    key_hash.copy_from_slice(&hash.finish().as_ref()[..16]);

    let target = match target {
        Target::Exchange(id, kind) => format!("exchange {id} {}", kind.as_str()),
        Target::Rfis => "rfis".to_owned(),
        Target::Test(agency) => format!("test {agency}"),
    };
    // Keyed by what the store does not hold, so that a stolen row cannot confirm a guessed body.
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
    for part in [target.as_bytes(), body.as_slice()] {
        mac.update(&length_prefix(part));
        mac.update(part);
    }
    let mut body_mac = [0; 32];
    body_mac.copy_from_slice(mac.sign().as_ref());
    IdempotencyToken { key_hash, body_mac }
}

/// What is kept of an override, by which what is to be sent is held to what was decided: it tells neither
/// the code nor the decision.
pub fn decision_token(code: &Uuid, decided: &[u8]) -> DecisionToken {
    let mut code_hash = [0; 16];
    code_hash.copy_from_slice(&sha256(code.as_bytes())[..16]);
    let mut mac = [0; 32];
    let key = hmac::Key::new(hmac::HMAC_SHA256, code.as_bytes());
    mac.copy_from_slice(hmac::sign(&key, decided).as_ref());
    DecisionToken { code_hash, mac }
}

/// The name under which an upload is known, so that it is not made twice: of its own sort, apart from
/// those of submissions.
pub fn upload_key_hash(sender: &AgencyId, key: &IdempotencyKey) -> [u8; 16] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [b"attachments".as_slice(), sender.as_str().as_bytes(), key.as_bytes()] {
        hash.update(&length_prefix(part));
        hash.update(part);
    }
    let mut key_hash = [0; 16];
    key_hash.copy_from_slice(&hash.finish().as_ref()[..16]);
    key_hash
}

/// What tells an upload repeated from another under the same key: keyed, as a submission's is.
pub fn upload_mac(key: &IdempotencyKey, media_type: MediaType, digest: &[u8; 32]) -> [u8; 32] {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
    mac.update(media_type.as_str().as_bytes());
    mac.update(digest);
    let mut tag = [0; 32];
    tag.copy_from_slice(mac.sign().as_ref());
    tag
}

/// Seals a secret of the gateway's own, such as an authority's key, as an age file to these
/// recipients (`age1…`).
pub fn wrap_secret(recipients: &[String], secret: &[u8]) -> Result<Vec<u8>, InvalidRecipient> {
    let recipients =
        recipients.iter().map(|text| parse_recipient(text)).collect::<Result<Vec<_>, _>>()?;
    if recipients.is_empty() {
        return Err(InvalidRecipient);
    }
    Ok(encrypt(recipients.iter(), &[secret]))
}

/// Opens what [`wrap_secret`] sealed.
pub fn unwrap_secret(
    identities: &Identities,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    decrypt(&identities.0, sealed)
}

/// The ciphertext of a stored message, if it is still the one that was logged. What an agency that
/// holds its own key is given.
pub fn intact_ciphertext<'a>(
    envelope: &Envelope,
    payload: &'a SealedPayload,
) -> Result<&'a [u8], OpenError> {
    let ciphertext = payload.ciphertext.as_deref().ok_or(OpenError::Purged)?;
    if sha256(ciphertext) == envelope.digest { Ok(ciphertext) } else { Err(OpenError::Tampered) }
}

/// Opens a sealed payload with an identity file alone, outside the gateway: a custodian's way in.
pub fn open_with(identities: &Identities, ciphertext: &[u8]) -> Result<Opened, OpenError> {
    open_payload(&identities.0, ciphertext)
}

/// A payload opened outside the gateway. Its header is its own claim: no envelope vouches for it.
pub struct Opened {
    /// What it says it is.
    pub header: InnerHeader,
    /// The payload.
    pub body: Zeroizing<Vec<u8>>,
}

/// The first line inside every sealed payload. It ties the ciphertext to its row: age itself has
/// nothing to bind a file to where it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InnerHeader {
    /// The enquiry it belongs to.
    pub enquiry: EnquiryId,
    /// The message whose payload it is.
    pub message: MessageId,
    /// Who sent it.
    pub sender: AgencyId,
    /// The one agency that may read it.
    pub recipient: AgencyId,
    /// What it is.
    pub kind: Kind,
    /// SHA-256 of the schema it satisfied.
    pub schema_digest: [u8; 32],
}

impl InnerHeader {
    /// Parses the line, without its line feed. Each header has one spelling.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(SEAL_VERSION)?.strip_prefix(' ')?.split(' ');
        let header = Self {
            enquiry: words.next()?.parse().ok()?,
            message: words.next()?.parse().ok()?,
            sender: words.next()?.parse().ok()?,
            recipient: words.next()?.parse().ok()?,
            kind: Kind::parse(words.next()?)?,
            schema_digest: parse_hex(words.next()?)?,
        };
        if words.next().is_none() { Some(header) } else { None }
    }

    fn is_of(&self, envelope: &Envelope) -> bool {
        self.enquiry == envelope.enquiry
            && self.message == envelope.id
            && self.sender == envelope.sender
            && self.recipient == envelope.recipient
            && self.kind == envelope.kind
    }
}

impl fmt::Display for InnerHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enquiry, message, sender, recipient, kind, schema_digest } = self;
        let kind = kind.as_str();
        write!(f, "{SEAL_VERSION} {enquiry} {message} {sender} {recipient} {kind} ")?;
        schema_digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// At-rest keys that cannot be used. Never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// A line is neither a comment nor an X25519 identity.
    #[error("line {line} of the identity file is not an age X25519 identity (AGE-SECRET-KEY-1…)")]
    InvalidIdentity {
        /// From 1.
        line: usize,
    },
    /// A recovery recipient is not an X25519 recipient.
    #[error("recovery recipient {position} is not an age X25519 recipient (age1…)")]
    InvalidRecoveryRecipient {
        /// From 1.
        position: usize,
    },
    /// The file holds no identity.
    #[error("the identity file holds no identity")]
    NoIdentity,
}

/// Text that is not an age X25519 recipient, or is one that anybody could open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an age X25519 recipient (age1…)")]
pub struct InvalidRecipient;

/// Why a submission could not be sealed. Nothing of it was kept.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// An agency's registered age recipient is not one; the directory is to be corrected.
    #[error("an age recipient registered for agency {0} is not an age X25519 recipient (age1…)")]
    AgencyRecipient(AgencyId),
    /// The exchange has no enquiry key to seal to; the store contradicts itself.
    #[error("exchange {0} has no usable sealing recipient")]
    EnquiryRecipient(ExchangeId),
    /// Custody is the agency's, but it registered no age recipient.
    #[error("agency {0} has custody of what is sent to it but no age recipient")]
    NoAgencyRecipient(AgencyId),
}

/// Why a payload could not be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// What was opened is the payload, or the key, of something else.
    #[error("the sealed payload does not belong to this message")]
    HeaderMismatch,
    /// None of the identities given opens it.
    #[error("no identity given opens this")]
    NotOurs,
    /// It was destroyed when its retention ended.
    #[error("the payload has been purged")]
    Purged,
    /// Only the recipient's own key opens it.
    #[error("the payload is sealed to the agency's own key")]
    SealedToAgency,
    /// It is not what was sealed.
    #[error("the sealed payload has been altered or cut short")]
    Tampered,
}

fn seal_message(
    message: RoutedMessage,
    new_enquiry: Option<&x25519::Recipient>,
    files: &[FileKey],
) -> Result<SealedMessage, SealError> {
    let enquiry_recipient = match &message.step {
        RoutedStep::Open { .. } => new_enquiry.cloned(),
        RoutedStep::Say { exchange, .. } => parse_recipient(&exchange.sealing_recipient).ok(),
    }
    .ok_or(SealError::EnquiryRecipient(message.exchange))?;
    let mut recipients = message
        .age_recipients
        .iter()
        .map(|text| parse_recipient(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|InvalidRecipient| SealError::AgencyRecipient(message.recipient.clone()))?;
    match message.custody {
        Custody::Agency if recipients.is_empty() => {
            return Err(SealError::NoAgencyRecipient(message.recipient));
        }
        // The gateway has to know whether a test is answered right.
        Custody::Agency if !message.kind.is_about_nobody() => {}
        Custody::Agency | Custody::Gateway => recipients.push(enquiry_recipient.clone()),
    }

    let header = InnerHeader {
        enquiry: message.enquiry,
        message: message.id,
        sender: message.sender.clone(),
        recipient: message.recipient.clone(),
        kind: message.kind,
        schema_digest: message.schema_digest,
    };
    let header = format!("{header}\n");
    let ciphertext = encrypt(recipients.iter(), &[header.as_bytes(), &message.plaintext]);
    let attachments = files
        .iter()
        .map(|file| AttachedKey {
            attachment: file.attachment().id,
            wrapped_key: file.wrapped_for(&recipients, &message.id),
        })
        .collect();
    let step = match message.step {
        RoutedStep::Open { categories, persons, response_required_by, telephoned_at } => {
            Step::Open(Box::new(Exchange {
                id: message.exchange,
                enquiry: message.enquiry,
                reference: message.reference.clone(),
                hub: message.sender.clone(),
                agency: message.recipient.clone(),
                rfi: message.id,
                categories,
                persons,
                priority: message.priority,
                response_required_by,
                opened_at: message.time,
                state: ExchangeState::Requested,
                result: None,
                marks: Marks { telephoned_at, ..Marks::default() },
                decision: None,
                destroyed_at: None,
                needs_attention: false,
                undelivered: None,
                sealing_recipient: enquiry_recipient.to_string(),
            }))
        }
        RoutedStep::Say { said, .. } => Step::Say(said),
    };
    let delivery = if message.is_pushed {
        DeliveryState::Queued { endpoint: 0, at: message.time, attempts: 0 }
    } else {
        DeliveryState::Held
    };
    let envelope = Envelope {
        id: message.id,
        kind: message.kind,
        enquiry: message.enquiry,
        exchange: message.exchange,
        reference: message.reference,
        sender: message.sender,
        recipient: message.recipient,
        time: message.time,
        priority: message.priority,
        handling: message.handling,
        visible_to: message.visible_to,
        in_reply_to: message.in_reply_to,
        digest: sha256(&ciphertext),
        size_bytes: message.plaintext.len() as u64,
        is_sealed_to_agency: message.custody == Custody::Agency,
        traceparent: message.traceparent,
    };
    let schema_digest = message.schema_digest;
    Ok(SealedMessage { envelope, schema_digest, ciphertext, attachments, delivery, step })
}

fn unwrap_key<'a>(
    identities: impl IntoIterator<Item = &'a x25519::Identity>,
    enquiry: &EnquiryId,
    wrapped_key: &[u8],
) -> Result<x25519::Identity, OpenError> {
    let text = decrypt(identities, wrapped_key)?;
    let key =
        text.strip_prefix(wrap_header(enquiry).as_bytes()).ok_or(OpenError::HeaderMismatch)?;
    let key = key.strip_suffix(b"\n").ok_or(OpenError::Tampered)?;
    let key = str::from_utf8(key).map_err(|_| OpenError::Tampered)?;
    key.parse().map_err(|_| OpenError::Tampered)
}

fn open_payload(identities: &[x25519::Identity], ciphertext: &[u8]) -> Result<Opened, OpenError> {
    let mut plaintext = decrypt(identities, ciphertext)?;
    let end = plaintext.iter().position(|byte| *byte == b'\n').ok_or(OpenError::HeaderMismatch)?;
    let header = str::from_utf8(&plaintext[..end])
        .ok()
        .and_then(InnerHeader::parse)
        .ok_or(OpenError::HeaderMismatch)?;
    // Moves the body down in the buffer it is in, which is wiped whole: no second copy.
    plaintext.drain(..=end);
    Ok(Opened { header, body: plaintext })
}

/// `recipients` must not be empty.
fn encrypt<'a>(
    recipients: impl ExactSizeIterator<Item = &'a x25519::Recipient>,
    parts: &[&[u8]],
) -> Vec<u8> {
    let plaintext_len: usize = parts.iter().map(|part| part.len()).sum();
    let chunks = 1 + plaintext_len / CHUNK_LEN;
    let header_len = HEADER_LEN_MAX + STANZA_LEN * recipients.len();
    let mut ciphertext = Vec::with_capacity(header_len + plaintext_len + TAG_LEN * chunks);

    let recipients = recipients.map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients)
        .expect("X25519 recipients always go together, and no caller passes none");
    let mut writer = encryptor.wrap_output(&mut ciphertext).expect("writing to memory cannot fail");
    for part in parts {
        writer.write_all(part).expect("writing to memory cannot fail");
    }
    writer.finish().expect("writing to memory cannot fail");
    ciphertext
}

fn decrypt<'a>(
    identities: impl IntoIterator<Item = &'a x25519::Identity>,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let identities = identities.into_iter().map(|identity| identity as &dyn age::Identity);
    let mut reader = age::Decryptor::new_buffered(ciphertext)
        .and_then(|decryptor| decryptor.decrypt(identities))
        .map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => OpenError::NotOurs,
            // Foreign and non-exhaustive: every other fault is in the file.
            _ => OpenError::Tampered,
        })?;
    // Larger than the plaintext can be, so that it never grows and leaves a copy behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(ciphertext.len()));
    // To the end before anything is used: age hands out each chunk before it has seen the last.
    reader.read_to_end(&mut plaintext).map_err(|_| OpenError::Tampered)?;
    Ok(plaintext)
}

fn parse_recipient(text: &str) -> Result<x25519::Recipient, InvalidRecipient> {
    let recipient = text.parse().map_err(|_| InvalidRecipient)?;
    if WEAK_RECIPIENTS.contains(&recipient) { Err(InvalidRecipient) } else { Ok(recipient) }
}

fn wrap_header(enquiry: &EnquiryId) -> String {
    format!("# mash-key/v1 {enquiry}\n")
}

fn finished(hash: digest::Context) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

fn length_prefix(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let is_lower_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if text.len() != 64 || !text.bytes().all(is_lower_hex) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The points of small order: a file key wrapped to one is wrapped to everybody, and age panics
/// rather than do it. Recipients compare as field elements, so these five stand for every spelling.
static WEAK_RECIPIENTS: LazyLock<[x25519::Recipient; 5]> = LazyLock::new(|| {
    [
        "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
        "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya",
        "age1ur4h5lpmgxu2u9jku0a0r87ydtdqnr0tnsetrlvxvgz3vh6fhqqqzyt4v9",
        "age1t7wft09r2zxzfvwsk92eeql0tvzyghxytqwgapkcyf8dm5ylz9ts6wm9s8",
        "age1anlllllllllllllllllllllllllllllllllllllllllllllllals4n2t7m",
    ]
    .map(|text| text.parse().expect("a test parses each of these"))
});

const SEAL_VERSION: &str = "mash-seal/v1";

// The parts of an age file, to allocate one once. The header holds, beside a stanza for each
// recipient, the version line, a random stanza that age adds, the MAC line and the nonce.
const HEADER_LEN_MAX: usize = 22 + 230 + 48 + 16;
const STANZA_LEN: usize = 98;
const CHUNK_LEN: usize = 64 * 1024;
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use jiff::Timestamp;

    use super::*;
    use crate::message::{IdempotencyKey, Priority, Reference, ResponseResult, Said};

    #[test]
    fn what_is_sealed_opens_again() {
        let sealer = sealer();
        for len in [0, 1, 4_096, CHUNK_LEN - 300, CHUNK_LEN, 2 * CHUNK_LEN, 200_000] {
            let body: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let (envelope, payload) = stored(&sealer, with_body(&body));
            assert_eq!(envelope.size_bytes, len as u64);
            assert_eq!(*sealer.open(&envelope, &payload).unwrap(), body);
        }
        assert_eq!(sealer.self_test(), Ok(()));
    }

    #[test]
    fn sealing_fills_in_what_only_it_knows() {
        let sealed = sealer().seal(with_body(b"asked"), token(), None, &[]).unwrap();
        let enquiry = sealed.enquiry.unwrap();
        let [message] = &sealed.messages[..] else { panic!("one message") };
        let Step::Open(exchange) = &message.step else { panic!("an RFI opens its exchange") };
        assert_eq!(exchange.sealing_recipient, enquiry.recipient);
        assert_eq!(exchange.state, ExchangeState::Requested);
        assert_eq!(exchange.rfi, message.envelope.id);
        assert_eq!(message.delivery, DeliveryState::Held);
        assert_eq!(message.envelope.digest, sha256(&message.ciphertext));
        assert!(!message.envelope.is_sealed_to_agency);

        let mut pushed = with_body(b"asked");
        pushed.messages[0].is_pushed = true;
        let sealed = sealer().seal(pushed, token(), None, &[]).unwrap();
        let queued = DeliveryState::Queued { endpoint: 0, at: at(), attempts: 0 };
        assert_eq!(sealed.messages[0].delivery, queued);
    }

    #[test]
    fn a_reply_is_sealed_to_the_key_of_its_enquiry() {
        let sealer = sealer();
        let opened = sealer.seal(with_body(b"asked"), token(), None, &[]).unwrap();
        let enquiry = opened.enquiry.unwrap();
        let Step::Open(exchange) = opened.messages.into_iter().next().unwrap().step else {
            panic!("an RFI opens its exchange")
        };

        let sealed =
            sealer.seal(reply((*exchange).clone(), b"answered"), token(), None, &[]).unwrap();
        assert!(sealed.enquiry.is_none());
        let message = sealed.messages.into_iter().next().unwrap();
        assert!(matches!(message.step, Step::Say(Said::Response(ResponseResult::Complete))));
        let payload = SealedPayload {
            ciphertext: Some(message.ciphertext),
            wrapped_key: Some(enquiry.wrapped_key),
        };
        assert_eq!(*sealer.open(&message.envelope, &payload).unwrap(), b"answered");

        let id = exchange.id;
        let keyless = Exchange { sealing_recipient: String::new(), ..*exchange };
        let error = sealer.seal(reply(keyless, b"answered"), token(), None, &[]).unwrap_err();
        assert_eq!(error, SealError::EnquiryRecipient(id));
    }

    #[test]
    fn a_changed_byte_is_refused() {
        let sealer = sealer();
        let (envelope, payload) = stored(&sealer, with_body(b"a small body"));
        let (ciphertext, wrapped_key) = both(&payload);
        for at in 0..ciphertext.len() {
            let mut changed = ciphertext.clone();
            changed[at] ^= 1;
            let (changed, rehashed) = replaced(&envelope, changed, wrapped_key.clone());
            assert_eq!(sealer.open(&envelope, &changed), Err(OpenError::Tampered), "byte {at}");
            // Even were the digest changed with it.
            assert!(sealer.open(&rehashed, &changed).is_err(), "byte {at}");
        }
        for at in 0..wrapped_key.len() {
            let mut changed = wrapped_key.clone();
            changed[at] ^= 1;
            let (changed, _) = replaced(&envelope, ciphertext.clone(), changed);
            assert!(sealer.open(&envelope, &changed).is_err(), "byte {at} of the wrap");
        }
    }

    #[test]
    fn a_cut_or_longer_ciphertext_is_refused() {
        let sealer = sealer();
        let (envelope, payload) = stored(&sealer, with_body(b"a small body"));
        let (ciphertext, wrapped_key) = both(&payload);
        for len in 0..ciphertext.len() {
            let (cut, rehashed) =
                replaced(&envelope, ciphertext[..len].to_vec(), wrapped_key.clone());
            assert_eq!(sealer.open(&rehashed, &cut), Err(OpenError::Tampered), "{len} bytes");
        }
        for len in 0..wrapped_key.len() {
            let (cut, _) = replaced(&envelope, ciphertext.clone(), wrapped_key[..len].to_vec());
            assert_eq!(sealer.open(&envelope, &cut), Err(OpenError::Tampered), "{len} bytes");
        }
        let longer = [&ciphertext[..], b"\0"].concat();
        let (longer, rehashed) = replaced(&envelope, longer, wrapped_key);
        assert_eq!(sealer.open(&rehashed, &longer), Err(OpenError::Tampered));
    }

    #[test]
    fn a_long_payload_cut_between_chunks_is_refused() {
        let sealer = sealer();
        let (envelope, payload) = stored(&sealer, with_body(&[7; 2 * CHUNK_LEN]));
        let (mut ciphertext, wrapped_key) = both(&payload);
        // The header line makes the last chunk longer by itself: keep the two whole ones.
        let last = (2 * CHUNK_LEN + header_line(&envelope).len()) % CHUNK_LEN + TAG_LEN;
        ciphertext.truncate(ciphertext.len() - last);
        let (cut, rehashed) = replaced(&envelope, ciphertext, wrapped_key);
        assert_eq!(sealer.open(&rehashed, &cut), Err(OpenError::Tampered));
    }

    #[test]
    fn the_payload_of_another_row_is_refused() {
        let sealer = sealer();
        let mut both_asked = with_body(b"for police");
        both_asked.messages.extend(with_body(b"for health").messages);
        both_asked.messages[1].id = MessageId::from_bytes([9; 16]);
        both_asked.messages[1].recipient = agency("health");
        let sealed = sealer.seal(both_asked, token(), None, &[]).unwrap();
        let wrapped_key = sealed.enquiry.unwrap().wrapped_key;
        let [first, second] = &sealed.messages[..] else { panic!("two messages") };

        // Same enquiry, so the same key opens it: the inner header tells.
        let (swapped, rehashed) =
            replaced(&first.envelope, second.ciphertext.clone(), wrapped_key.clone());
        assert_eq!(sealer.open(&first.envelope, &swapped), Err(OpenError::Tampered));
        assert_eq!(sealer.open(&rehashed, &swapped), Err(OpenError::HeaderMismatch));

        let (own, envelope) = replaced(&first.envelope, first.ciphertext.clone(), wrapped_key);
        for other in [
            Envelope { enquiry: EnquiryId::from_bytes([9; 16]), ..envelope.clone() },
            Envelope { id: MessageId::from_bytes([8; 16]), ..envelope.clone() },
            Envelope { sender: agency("health"), ..envelope.clone() },
            Envelope { recipient: agency("health"), ..envelope.clone() },
            Envelope { kind: Kind::Outcome, ..envelope.clone() },
            Envelope { size_bytes: envelope.size_bytes + 1, ..envelope },
        ] {
            assert_eq!(sealer.open(&other, &own), Err(OpenError::HeaderMismatch));
        }

        // The wrap of another enquiry.
        let (_, strange) = stored(&sealer, with_body(b"for police"));
        let (strange, envelope) =
            replaced(&first.envelope, first.ciphertext.clone(), both(&strange).1);
        assert_eq!(sealer.open(&envelope, &strange), Err(OpenError::NotOurs));
    }

    #[test]
    fn a_stranger_opens_nothing() {
        let (envelope, payload) = stored(&sealer(), with_body(b"a small body"));
        assert_eq!(sealer().open(&envelope, &payload), Err(OpenError::NotOurs));
        let (stranger, _) = identities();
        let error = open_with(&stranger, &both(&payload).0).err();
        assert_eq!(error, Some(OpenError::NotOurs));
    }

    #[test]
    fn what_is_purged_does_not_open() {
        let sealer = sealer();
        let (envelope, payload) = stored(&sealer, with_body(b"a small body"));
        let without_key = SealedPayload { wrapped_key: None, ..payload.clone() };
        assert_eq!(sealer.open(&envelope, &without_key), Err(OpenError::Purged));
        let without_payload = SealedPayload { ciphertext: None, ..payload };
        assert_eq!(sealer.open(&envelope, &without_payload), Err(OpenError::Purged));
    }

    #[test]
    fn an_agency_that_registered_a_key_opens_its_copy_too() {
        let sealer = sealer();
        let (own, recipient) = identities();
        let mut asked = with_body(b"for police");
        asked.messages[0].age_recipients = vec![recipient];
        let (envelope, payload) = stored(&sealer, asked);
        assert_eq!(*sealer.open(&envelope, &payload).unwrap(), b"for police");

        let opened = open_with(&own, intact_ciphertext(&envelope, &payload).unwrap()).unwrap();
        assert_eq!(*opened.body, b"for police");
        assert!(opened.header.is_of(&envelope));
        assert_eq!(opened.header.schema_digest, [0xab; 32]);
    }

    #[test]
    fn what_an_agency_has_custody_of_only_it_opens() {
        let sealer = sealer();
        let (own, recipient) = identities();
        let mut asked = with_body(b"for police");
        asked.messages[0].custody = Custody::Agency;
        asked.messages[0].age_recipients = vec![recipient];
        let (envelope, payload) = stored(&sealer, asked);
        assert!(envelope.is_sealed_to_agency);
        assert_eq!(sealer.open(&envelope, &payload), Err(OpenError::SealedToAgency));
        // Nor would it open had the gateway forgotten: the enquiry's key is not among the keys.
        let forgotten = Envelope { is_sealed_to_agency: false, ..envelope.clone() };
        assert_eq!(sealer.open(&forgotten, &payload), Err(OpenError::NotOurs));

        let opened = open_with(&own, intact_ciphertext(&envelope, &payload).unwrap()).unwrap();
        assert_eq!(*opened.body, b"for police");

        let mut keyless = with_body(b"for police");
        keyless.messages[0].custody = Custody::Agency;
        let error = sealer.seal(keyless, token(), None, &[]).unwrap_err();
        assert_eq!(error, SealError::NoAgencyRecipient(agency("police")));
    }

    #[test]
    fn the_recovery_identity_unwraps_the_enquiry_key() {
        let (at_rest, _) = identities();
        let (recovery, recipient) = identities();
        let sealer = Sealer::new(at_rest, &[recipient]).unwrap();
        let (envelope, payload) = stored(&sealer, with_body(b"a small body"));
        let recovered = Sealer::new(recovery, &[]).unwrap();
        assert_eq!(*recovered.open(&envelope, &payload).unwrap(), b"a small body");
    }

    #[test]
    fn the_age_tool_opens_both_layers() {
        let folder = tempfile::tempdir().unwrap();
        let (text, _) = generate_identity("at-rest key of a test");
        let at_rest = Identities::parse(&text).unwrap();
        let sealer = Sealer::new(at_rest, &[]).unwrap();
        let (envelope, payload) = stored(&sealer, with_body(b"a small body"));
        let (ciphertext, wrapped_key) = both(&payload);
        let file = |name: &str| folder.path().join(name);
        fs::write(file("at-rest.txt"), text.expose_secret()).unwrap();
        fs::write(file("wrap.age"), wrapped_key).unwrap();
        fs::write(file("payload.age"), ciphertext).unwrap();

        let key = age_tool(&file("at-rest.txt"), &file("wrap.age"));
        fs::write(file("enquiry.txt"), key).unwrap();
        let plaintext = age_tool(&file("enquiry.txt"), &file("payload.age"));
        let expected = [header_line(&envelope).as_bytes(), b"a small body"].concat();
        assert_eq!(plaintext, expected);
    }

    #[test]
    fn only_sound_x25519_recipients_are_sealed_to() {
        let (_, good) = identities();
        assert_eq!(check_recipient(&good), Ok(()));
        let with_space = format!(" {good}");
        let refused = [
            "",
            "age1canary",
            with_space.as_str(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN",
            // Small order, spelled otherwise than in the list: p, p + 1, p and 0 with the top bit.
            "age1ahlllllllllllllllllllllllllllllllllllllllllllllllalsn46ayy",
            "age1amlllllllllllllllllllllllllllllllllllllllllllllllalselrwrv",
            "age1ahlllllllllllllllllllllllllllllllllllllllllllllllllsh3g6la",
            "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzqqsuwj9m",
        ];
        let weak = WEAK_RECIPIENTS.iter().map(ToString::to_string);
        for text in refused.into_iter().map(str::to_owned).chain(weak) {
            assert_eq!(check_recipient(&text), Err(InvalidRecipient), "{text}");
            let mut asked = with_body(b"for police");
            asked.messages[0].age_recipients = vec![text.clone()];
            let error = sealer().seal(asked, token(), None, &[]).unwrap_err();
            assert_eq!(error, SealError::AgencyRecipient(agency("police")));
            assert!(text.is_empty() || !error.to_string().contains(&text));
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_without_repeating_them() {
        let parse = |text: &str| Identities::parse(&SecretString::from(text)).err();
        assert_eq!(parse("# nothing here\n\n"), Some(KeyError::NoIdentity));
        let error = parse("# a comment\nAGE-SECRET-KEY-1CANARY\n").unwrap();
        assert_eq!(error, KeyError::InvalidIdentity { line: 2 });
        assert!(!error.to_string().contains("CANARY"));

        let (own, good) = identities();
        let error = Sealer::new(own, &[good, "age1canary".to_owned()]).err().unwrap();
        assert_eq!(error, KeyError::InvalidRecoveryRecipient { position: 2 });
        assert!(!error.to_string().contains("canary"));
    }

    #[test]
    fn an_identity_file_says_its_public_half() {
        let (text, recipient) = generate_identity("a purpose");
        assert!(text.expose_secret().starts_with("# a purpose\n# public key: age1"));
        assert_eq!(Identities::parse(&text).unwrap().recipients(), [recipient]);
    }

    #[test]
    fn a_header_has_one_spelling() {
        let (envelope, _) = stored(&sealer(), with_body(b""));
        let line = header_line(&envelope);
        let line = line.trim_end();
        assert_eq!(InnerHeader::parse(line).unwrap().to_string(), line);
        for wrong in [
            line.replace("mash-seal/v1", "mash-seal/v2"),
            line.replace(' ', "  "),
            line.replace("abab", "ABAB"),
            line.replace("abab", "+a+a"),
            line.replace(" rfi ", " RFI "),
            format!("{line} "),
            format!("{line}00"),
            line[..line.len() - 2].to_owned(),
        ] {
            assert_eq!(InnerHeader::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_tells_every_submission_apart() {
        let key = IdempotencyKey::from_bytes([1; 16]);
        let exchange = ExchangeId::from_bytes([2; 16]);
        let token = |sender: &str, key: &IdempotencyKey, target, body: &[u8]| {
            idempotency_token(&Submission {
                sender: agency(sender),
                desk: None,
                idempotency_key: *key,
                target,
                body: body.to_vec(),
                traceparent: None,
                certificate: None,
            })
        };
        let first = token("police", &key, Target::Rfis, b"body");
        assert_eq!(first, token("police", &key, Target::Rfis, b"body"));

        // Another body or route under the same key: the store must see one key, two bodies.
        let response = Target::Exchange(exchange, Kind::Response);
        let supplement = Target::Exchange(exchange, Kind::Supplement);
        let others = [
            token("police", &key, Target::Rfis, b"bodz"),
            token("police", &key, response, b"body"),
            token("police", &key, supplement, b"body"),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_eq!(other.key_hash, first.key_hash);
            assert_ne!(other.body_mac, first.body_mac);
            assert!(others[..i].iter().all(|earlier| earlier.body_mac != other.body_mac));
        }

        let other_key = IdempotencyKey::from_bytes([3; 16]);
        assert_ne!(token("police", &other_key, Target::Rfis, b"body").key_hash, first.key_hash);
        assert_ne!(token("health", &key, Target::Rfis, b"body").key_hash, first.key_hash);
    }

    #[test]
    fn a_ciphertext_is_allocated_once() {
        let (_, recipient) = identities();
        let recipient: x25519::Recipient = recipient.parse().unwrap();
        // Age adds random padding to each header: many draws.
        for len in (0..100).chain([CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1]) {
            let ciphertext = encrypt([&recipient, &recipient].into_iter(), &[&vec![0; len]]);
            let chunks = len / CHUNK_LEN + 1;
            let planned = HEADER_LEN_MAX + 2 * STANZA_LEN + len + TAG_LEN * chunks;
            assert!(ciphertext.len() <= planned, "{} > {planned}", ciphertext.len());
        }
    }

    fn sealer() -> Sealer {
        Sealer::new(identities().0, &[]).unwrap()
    }

    fn identities() -> (Identities, String) {
        let (text, recipient) = generate_identity("a key of a test");
        (Identities::parse(&text).unwrap(), recipient)
    }

    fn agency(id: &str) -> AgencyId {
        AgencyId::parse(id).unwrap()
    }

    fn at() -> Timestamp {
        "2026-03-02T09:30:00.125Z".parse().unwrap()
    }

    /// An RFI from the hub to the police, as routed.
    fn with_body(body: &[u8]) -> Routed {
        let enquiry = EnquiryId::from_bytes([4; 16]);
        let step = RoutedStep::Open {
            categories: vec!["attendance".to_owned()],
            persons: vec!["p1".to_owned()],
            response_required_by: at(),
            telephoned_at: None,
        };
        Routed {
            opens: Some(enquiry),
            messages: vec![RoutedMessage {
                id: MessageId::from_bytes([6; 16]),
                kind: Kind::Rfi,
                enquiry,
                exchange: ExchangeId::from_bytes([7; 16]),
                reference: Reference::new(2026, 1),
                sender: agency("hub"),
                recipient: agency("police"),
                time: at(),
                priority: Priority::Urgent,
                handling: None,
                visible_to: None,
                in_reply_to: None,
                traceparent: None,
                plaintext: Zeroizing::new(body.to_vec()),
                schema_digest: [0xab; 32],
                custody: Custody::Gateway,
                age_recipients: Vec::new(),
                is_pushed: false,
                step,
            }],
        }
    }

    /// The police's answer, as routed.
    fn reply(exchange: Exchange, body: &[u8]) -> Routed {
        let mut routed = with_body(body);
        routed.opens = None;
        let message = &mut routed.messages[0];
        message.kind = Kind::Response;
        message.sender = exchange.agency.clone();
        message.recipient = exchange.hub.clone();
        message.step = RoutedStep::Say {
            said: Said::Response(ResponseResult::Complete),
            exchange: Box::new(exchange),
        };
        routed
    }

    fn token() -> IdempotencyToken {
        IdempotencyToken { key_hash: [1; 16], body_mac: [2; 32] }
    }

    /// The first message of `routed`, as the store would hold it.
    fn stored(sealer: &Sealer, routed: Routed) -> (Envelope, SealedPayload) {
        let sealed = sealer.seal(routed, token(), None, &[]).unwrap();
        let message = sealed.messages.into_iter().next().unwrap();
        let payload = SealedPayload {
            ciphertext: Some(message.ciphertext),
            wrapped_key: sealed.enquiry.map(|enquiry| enquiry.wrapped_key),
        };
        (message.envelope, payload)
    }

    fn both(payload: &SealedPayload) -> (Vec<u8>, Vec<u8>) {
        (payload.ciphertext.clone().unwrap(), payload.wrapped_key.clone().unwrap())
    }

    /// A payload put in place of another, and the envelope with its digest changed to suit.
    fn replaced(
        envelope: &Envelope,
        ciphertext: Vec<u8>,
        wrapped_key: Vec<u8>,
    ) -> (SealedPayload, Envelope) {
        let rehashed = Envelope { digest: sha256(&ciphertext), ..envelope.clone() };
        let payload =
            SealedPayload { ciphertext: Some(ciphertext), wrapped_key: Some(wrapped_key) };
        (payload, rehashed)
    }

    fn header_line(envelope: &Envelope) -> String {
        let Envelope { enquiry, id, sender, recipient, kind, .. } = envelope;
        let digest = "ab".repeat(32);
        format!("mash-seal/v1 {enquiry} {id} {sender} {recipient} {} {digest}\n", kind.as_str())
    }

    fn age_tool(identity: &Path, file: &Path) -> Vec<u8> {
        let output = Command::new("age")
            .arg("--decrypt")
            .arg("--identity")
            .args([identity, file])
            .output()
            .expect("the age tool is needed for the tests: apt-get install age");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
