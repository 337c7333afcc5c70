//! A certificate as people name it: by its serial, or by the beginning of it.

use crate::cli::{Exit, Failure};
use crate::store::CertificateRecord;

/// The fewest digits of a serial that are taken for it.
const DIGITS_MIN: usize = 8;

/// The one certificate whose serial this is, or begins so; colons and capitals are passed over.
pub(in crate::cli) fn find(
    mut certificates: Vec<CertificateRecord>,
    serial: &str,
) -> Result<CertificateRecord, Failure> {
    let serial = serial.replace(':', "").to_ascii_lowercase();
    if serial.len() < DIGITS_MIN || !serial.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let message = format!("a serial is {DIGITS_MIN} hexadecimal digits or more");
        return Err(Failure::new(Exit::Misused, message).hint("mash-gateway cert list shows them"));
    }
    certificates.retain(|certificate| certificate.serial.starts_with(&serial));
    match certificates.len() {
        0 => Err(Failure::new(Exit::NotFound, "no certificate has this serial")
            .hint("mash-gateway cert list shows them")),
        1 => Ok(certificates.swap_remove(0)),
        several => Err(Failure::new(Exit::Misused, format!("{several} serials begin so"))
            .hint("give more of its digits")),
    }
}
