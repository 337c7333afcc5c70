//! Holds what the gateway answers to `schemas/openapi.json`.

use std::sync::LazyLock;

use hyper::Method;
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

use super::Answer;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../schemas/openapi.json");
    serde_json::from_str(text).unwrap()
});

/// Fails unless the description has this answer, with this body, for this path.
#[track_caller]
pub(crate) fn hold(method: &Method, path: &str, answer: &Answer) {
    let Some((template, operation)) = operation(method, path) else {
        // What the description does not have is refused.
        assert!(matches!(answer.status, 403..=405), "{method} {path} is not described");
        return;
    };
    let status = answer.status.to_string();
    let response = resolved(&operation["responses"][&status]);
    assert!(
        !response.is_null(),
        "{method} {template} answered {status}, which is not described: {}",
        answer.text()
    );
    let media_type = answer.headers["content-type"].to_str().unwrap();
    let (pointer, content) = response["content"]
        .as_object()
        .and_then(|content| content.get_key_value(media_type))
        .map(|(name, content)| (name.clone(), content))
        .unwrap_or_else(|| panic!("{method} {template} {status} is not of {media_type}"));
    if pointer.contains("json") {
        let validator = validator(&content["schema"]);
        let body = answer.json();
        let errors: Vec<_> = validator
            .iter_errors(&body)
            .map(|e| format!("{} at {}", e, e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{method} {template} {status}: {errors:#?}\n{body:#}");
    }
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        if resolved(header)["required"] == true {
            assert!(answer.headers.contains_key(name), "{method} {template} {status} lacks {name}");
        }
    }
}

/// Every operation described: its path, method and id.
pub(crate) fn operations() -> Vec<(String, Method, String)> {
    let mut all = Vec::new();
    for (path, item) in DESCRIPTION["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(id) = operation["operationId"].as_str() {
                let method = method.to_uppercase().parse().unwrap();
                all.push((path.clone(), method, id.to_owned()));
            }
        }
    }
    assert!(all.len() >= 21);
    all
}

/// The roles that an operation's description names.
pub(crate) fn roles(operation: &str) -> Vec<String> {
    let items = DESCRIPTION["paths"].as_object().unwrap().values();
    let found = items
        .flat_map(|item| item.as_object().unwrap().values())
        .find(|described| described["operationId"] == operation)
        .unwrap_or_else(|| panic!("{operation} is not described"));
    let roles = found["x-roles"].as_array().unwrap().iter();
    roles.map(|role| role.as_str().unwrap().to_owned()).collect()
}

fn operation(method: &Method, path: &str) -> Option<(String, Value)> {
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let matches = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) =
            (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(&path).all(|(t, p)| t.starts_with('{') || t == p)
    };
    paths.iter().filter(|(template, _)| matches(template)).find_map(|(template, item)| {
        let operation = item.get(method.as_str().to_lowercase())?;
        Some((template.clone(), operation.clone()))
    })
}

fn resolved(value: &Value) -> Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => DESCRIPTION.pointer(pointer).cloned().unwrap_or_default(),
        None => value.clone(),
    }
}

fn validator(schema: &Value) -> Validator {
    const URI: &str = "urn:test:openapi";
    // The description is one document: its references start at its own root.
    let rooted = schema.to_string().replace("\"#/", &format!("\"{URI}#/"));
    let schema: Value = serde_json::from_str(&rooted).unwrap();
    let mut document = DESCRIPTION.clone();
    document["$id"] = json!(URI);
    let documents = std::collections::BTreeMap::from([(URI.to_owned(), document)]);
    let registry =
        Registry::new().extend(&documents).and_then(|builder| builder.prepare()).unwrap();
    jsonschema::options()
        .with_registry(&registry)
        .offline()
        .should_ignore_unknown_formats(true)
        .build(&schema)
        .unwrap()
}
