//! Reports for whoever has to see that it was done as agreed: how timely each agency is, the case file of
//! an enquiry, who read what, and which enquiries an audit looks at.
//!
//! Told the time, and what the log and the store have, which only `reading` reads. What is shown is ids, codes and instants; contents
//! only where somebody opened them for it, which is itself in the log.

pub mod access;
pub mod evidence;
pub mod page;
pub mod plot;
pub mod reading;
pub mod sample;
pub mod table;
pub mod timeliness;
