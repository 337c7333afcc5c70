//! What entries say of files that are sent with messages, held against their rows: who uploaded each,
//! which message names it, and whether it was swept.

use std::collections::HashMap;

use super::entry::{EventName, Fields};
use super::verify::{Fault, LogFault};
use crate::message::{AttachmentId, hex};
use crate::store::AttachmentDigest;

/// Every file that entries so far have told of.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<AttachmentId, File>);

#[derive(Debug)]
struct File {
    /// The latest entry about it.
    entry: u64,
    agency: String,
    /// The enquiry of the messages that name it, once there is one.
    enquiry: Option<String>,
    is_swept: bool,
    /// Whether its row, if there is one, says that a message names it.
    row: Option<bool>,
}

/// Holds the file whose row names an entry, if one does, against the fields of that entry, and its parts
/// against both. There is none once it was swept or destroyed.
pub(super) fn compare(
    fields: Option<&Fields>,
    row: Option<&AttachmentDigest>,
) -> Result<(), Fault> {
    let Some(row) = row else { return Ok(()) };
    let uploaded = Some(EventName::AttachmentUploaded.as_str());
    let fields =
        fields.filter(|fields| fields.get("event") == uploaded).ok_or(Fault::Attachment)?;
    let stored = &row.attachment;
    let is_as_logged = fields.get("attachment") == Some(&*stored.id.to_string())
        && fields.get("agency") == Some(stored.uploader.as_str())
        && fields.get("digest") == Some(&*hex(&stored.digest))
        && fields.get("mediaType") == Some(stored.media_type.as_str())
        && fields.number("sizeBytes") == Some(stored.size_bytes);
    if !is_as_logged {
        return Err(Fault::Attachment);
    }
    if row.parts_sha256 == stored.digest { Ok(()) } else { Err(Fault::AttachmentParts) }
}

impl Files {
    /// Takes in the next entry, whatever it is about.
    pub(super) fn entry(&mut self, index: u64, fields: &Fields) -> Result<(), Fault> {
        let event = fields.get("event").unwrap_or_default();
        let is = |name: EventName| event == name.as_str();
        match () {
            () if is(EventName::Accepted) => self.named(index, fields),
            () if is(EventName::AttachmentCollected) => self.collected(fields),
            () if is(EventName::AttachmentSwept) => self.swept(index, fields),
            () if is(EventName::AttachmentUploaded) => self.uploaded(index, fields),
            () if is(EventName::EnquiryDestroyed) => {
                self.destroyed(index, fields);
                Ok(())
            }
            () => Ok(()),
        }
    }

    /// Takes in the row of the file that the latest entry says was uploaded.
    pub(super) fn row(&mut self, row: &AttachmentDigest) -> Result<(), Fault> {
        let file = self.0.get_mut(&row.attachment.id).ok_or(Fault::Attachment)?;
        if file.entry != row.entry {
            return Err(Fault::Attachment);
        }
        file.row = Some(row.is_bound);
        Ok(())
    }

    /// What differs between the entries and the rows, each at the latest entry about it.
    pub(super) fn compare(&self) -> impl Iterator<Item = LogFault> {
        self.0
            .values()
            .filter(|file| {
                let expected = (!file.is_swept).then_some(file.enquiry.is_some());
                file.row != expected
            })
            .map(|file| LogFault { entry: file.entry, fault: Fault::Attachment })
    }

    fn uploaded(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let text = |name| fields.get(name).unwrap_or_default().to_owned();
        let id = text("attachment").parse().map_err(|_| Fault::Attachment)?;
        let file =
            File { entry, agency: text("agency"), enquiry: None, is_swept: false, row: None };
        match self.0.insert(id, file) {
            None => Ok(()),
            Some(_) => Err(Fault::Attachment),
        }
    }

    fn swept(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let file = self.find(fields.get("attachment").unwrap_or_default())?;
        if fields.get("agency") != Some(&*file.agency) || file.enquiry.is_some() || file.is_swept {
            return Err(Fault::Attachment);
        }
        (file.is_swept, file.entry) = (true, entry);
        Ok(())
    }

    // Its uploader's messages, of one enquiry, name it; and it is still there.
    fn named(&mut self, entry: u64, fields: &Fields) -> Result<(), Fault> {
        let Some(ids) = fields.get("attachments") else { return Ok(()) };
        let enquiry = fields.get("enquiry").unwrap_or_default();
        for id in ids.split(' ') {
            let file = self.find(id)?;
            let is_of_another = file.enquiry.as_ref().is_some_and(|first| first != enquiry);
            if fields.get("sender") != Some(&*file.agency) || file.is_swept || is_of_another {
                return Err(Fault::Attachment);
            }
            (file.enquiry, file.entry) = (Some(enquiry.to_owned()), entry);
        }
        Ok(())
    }

    fn collected(&mut self, fields: &Fields) -> Result<(), Fault> {
        let file = self.find(fields.get("attachment").unwrap_or_default())?;
        if file.enquiry.is_some() { Ok(()) } else { Err(Fault::Attachment) }
    }

    // With the messages that name it.
    fn destroyed(&mut self, entry: u64, fields: &Fields) {
        let enquiry = fields.get("enquiry");
        for file in self.0.values_mut().filter(|file| file.enquiry.as_deref() == enquiry) {
            (file.is_swept, file.entry) = (true, entry);
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut File, Fault> {
        id.parse().ok().and_then(|id| self.0.get_mut(&id)).ok_or(Fault::Attachment)
    }
}
