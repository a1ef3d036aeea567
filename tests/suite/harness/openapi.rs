//! The OpenAPI document, and a visitor of all its objects.

use serde_json::{Map, Value};

/// The prefix of the paths of the document.
pub const BASE: &str = "/api/v1";

/// The document that the program serves.
pub fn document() -> Value {
    serde_json::from_str(aetherium::rest::openapi()).unwrap()
}

/// Calls a function with every object of a document and its JSON pointer.
pub fn visit(node: &Value, show: &mut impl FnMut(&str, &Map<String, Value>)) {
    visit_at(node, "", show);
}

fn visit_at(node: &Value, place: &str, show: &mut impl FnMut(&str, &Map<String, Value>)) {
    match node {
        Value::Object(object) => {
            show(place, object);
            for (key, value) in object {
                visit_at(value, &format!("{place}/{key}"), show);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                visit_at(value, &format!("{place}/{index}"), show);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
