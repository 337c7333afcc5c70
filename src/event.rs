//! The CloudEvents 1.0 document in which a message reaches its recipient, by mailbox or by push.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::message::{AttachmentId, Envelope, rfc3339};

/// The body of a message as its recipient may have it.
pub enum Payload {
    /// The JSON the sender sent, opened.
    Opened(Zeroizing<Vec<u8>>),
    /// An age file that only the recipient's own key opens.
    Sealed(Vec<u8>),
}

/// The document, as `application/cloudevents+json`. `files` go with it, and are fetched apart;
/// `domain` is the SPIFFE trust domain.
pub fn document(
    envelope: &Envelope,
    files: &[AttachmentId],
    domain: &str,
    payload: &Payload,
) -> Zeroizing<Vec<u8>> {
    let mut attributes = attributes(envelope, domain);
    if !files.is_empty() {
        // An attribute of CloudEvents is one text.
        let ids: Vec<_> = files.iter().map(ToString::to_string).collect();
        attributes.insert("attachments".to_owned(), Value::String(ids.join(" ")));
    }
    let attributes = Value::Object(attributes).to_string();
    // The payload is JSON already: it is placed, not parsed and written anew, so that the recipient
    // has the sender's own bytes.
    let (name, data): (&str, Zeroizing<Vec<u8>>) = match payload {
        Payload::Opened(json) => ("data", json.clone()),
        Payload::Sealed(file) => {
            ("data_base64", Zeroizing::new(format!("\"{}\"", STANDARD.encode(file)).into_bytes()))
        }
    };
    let open = attributes.trim_end_matches('}');
    let mut document = Zeroizing::new(Vec::with_capacity(open.len() + name.len() + data.len() + 8));
    document.extend_from_slice(open.as_bytes());
    document.extend_from_slice(format!(",\"{name}\":").as_bytes());
    document.extend_from_slice(&data);
    document.push(b'}');
    document
}

/// The media type of [`document`].
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// `Content-Digest` and `contentdigest` as RFC 9530 writes them.
pub fn content_digest(sha256: &[u8; 32]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256))
}

fn attributes(envelope: &Envelope, domain: &str) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |name: &str, value: String| map.insert(name.to_owned(), Value::String(value));
    put("specversion", "1.0".to_owned());
    put("id", envelope.id.to_string());
    put("source", format!("spiffe://{domain}/agency/{}", envelope.sender));
    put("type", envelope.kind.event_type());
    put("subject", envelope.exchange.to_string());
    put("time", rfc3339(envelope.time));
    let carried =
        if envelope.is_sealed_to_agency { "application/octet-stream" } else { "application/json" };
    put("datacontenttype", carried.to_owned());
    put("dataschema", envelope.kind.schema());
    put("to", envelope.recipient.to_string());
    put("exchangereference", envelope.reference.to_string());
    put("priority", envelope.priority.as_str().to_owned());
    put("contentdigest", content_digest(&envelope.digest));
    if let Some(handling) = &envelope.handling {
        put("handling", handling.clone());
    }
    if let Some(roles) = &envelope.visible_to {
        put("visibleto", roles.clone());
    }
    if let Some(message) = &envelope.in_reply_to {
        put("inreplyto", message.to_string());
    }
    if let Some(traceparent) = &envelope.traceparent {
        put("traceparent", traceparent.clone());
    }
    map
}
