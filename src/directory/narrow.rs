//! What of an RFI one agency gets to see.

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

/// An RFI as a value, to be written once for each agency. Wiped when dropped.
pub(crate) struct Form {
    rfi: Value,
    why_by_category: Option<Value>,
    size_bytes: usize,
}

impl Form {
    const REQUIRED: &str = "the schema requires an RFI to say what information it needs";

    /// The RFI as the hub wrote it, in a body of `size_bytes`.
    pub(crate) fn new(mut rfi: Value, size_bytes: usize) -> Self {
        let needed = rfi.get_mut("informationRequired").and_then(Value::as_object_mut);
        let why_by_category = needed.and_then(|needed| needed.remove("why"));
        Self { rfi, why_by_category, size_bytes }
    }

    /// What one agency sees: why it is asked, and only the categories asked of it (R109).
    pub(crate) fn narrowed(&mut self, why: String, categories: &[String]) -> Zeroizing<Vec<u8>> {
        let form = self.rfi.as_object_mut().expect(Self::REQUIRED);
        let old_why = form.insert("whyAsked".to_owned(), why.into());
        let needed = form.get_mut("informationRequired").and_then(Value::as_object_mut);
        let needed = needed.expect(Self::REQUIRED);
        needed.insert("categories".to_owned(), categories.into());
        let reasons: serde_json::Map<String, Value> = self
            .why_by_category
            .iter()
            .flat_map(Value::as_object)
            .flatten()
            .filter(|(category, _)| categories.contains(category))
            .map(|(category, why)| (category.clone(), why.clone()))
            .collect();
        let old_reasons = if reasons.is_empty() {
            needed.remove("why")
        } else {
            needed.insert("why".to_owned(), reasons.into())
        };
        [old_why, old_reasons].into_iter().flatten().for_each(wipe);
        // Large enough from the start: a buffer that grows leaves copies behind it.
        let mut text = Zeroizing::new(Vec::with_capacity(self.size_bytes + 1024));
        serde_json::to_writer(&mut *text, &self.rfi).expect("a JSON value is always writable");
        text
    }
}

impl Drop for Form {
    fn drop(&mut self) {
        wipe(self.rfi.take());
        self.why_by_category.take().into_iter().for_each(wipe);
    }
}

fn wipe(value: Value) {
    match value {
        Value::String(mut text) => text.zeroize(),
        Value::Array(all) => all.into_iter().for_each(wipe),
        Value::Object(all) => all.into_iter().for_each(|(_, value)| wipe(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
