//! What a clarification must say beyond its schema: it is about a category that was asked.

use serde_json::Value;

use super::{text, violation};
use crate::message::Exchange;
use crate::schema::Violation;

/// What is wrong with a clarification in this exchange. Which message it answers is for either party to
/// say, and is not looked up: a reader who does not know it is told so by its id.
pub(crate) fn violations_in(clarification: &Value, exchange: &Exchange) -> Vec<Violation> {
    let asked = |category: &str| exchange.categories.iter().any(|each| each == category);
    text(clarification, "/category")
        .filter(|category| !asked(category))
        .map(|_| {
            violation(
                "/category",
                "category-not-asked",
                "Name a category that this RFI asks, or leave the category out.",
            )
        })
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{brief, exchange};
    use super::*;

    #[test]
    fn it_is_about_what_was_asked() {
        let found = |clarification| violations_in(&clarification, &exchange());
        assert!(found(json!({"category": "neglect"})).is_empty());
        assert!(found(json!({})).is_empty());
        let other = found(json!({"category": "cse-cce"}));
        assert_eq!(brief(&other), [("/category", "category-not-asked")]);
    }
}
