//! Constructors of JSON Schemas that the rest of the document is written with.

use std::ops::RangeInclusive;

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Array, KnownFormat, Object, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};

use crate::cluster::MAX_EXACT;

/// The pattern of a text without control characters, as every name, label and reason is. In the syntax of ECMAScript,
/// which JSON Schema refers to.
const NO_CONTROL_CHARACTERS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Text of any kind and length.
pub(super) fn any_text() -> Object {
    Object::with_type(Type::String)
}

/// Text of this length in characters.
pub(super) fn sized(chars: RangeInclusive<usize>) -> Object {
    let mut text = any_text();
    text.min_length = (*chars.start() > 0).then_some(*chars.start());
    text.max_length = Some(*chars.end());
    text
}

/// Text of this length in characters, without control characters.
pub(super) fn text(chars: RangeInclusive<usize>) -> Object {
    matching(sized(chars), NO_CONTROL_CHARACTERS)
}

/// Text that matches a regular expression.
pub(super) fn matching(mut text: Object, pattern: impl Into<String>) -> Object {
    text.pattern = Some(pattern.into());
    text
}

/// Text with a `format`: one of JSON Schema, or one of this API's, which the description explains.
pub(super) fn formatted(format: &str) -> Object {
    let mut text = any_text();
    text.format = Some(SchemaFormat::Custom(format.to_owned()));
    text
}

/// Text that is one of these.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Object {
    let mut text = any_text();
    text.enum_values = Some(words.into_iter().map(Value::from).collect());
    text
}

/// A whole number in this range.
pub(super) fn whole(range: RangeInclusive<i64>) -> Object {
    let mut number = Object::with_type(Type::Integer);
    let format = if i32::try_from(*range.end()).is_ok() { KnownFormat::Int32 } else { KnownFormat::Int64 };
    number.format = Some(SchemaFormat::KnownFormat(format));
    number.minimum = Some(number_of(*range.start()));
    number.maximum = Some(number_of(*range.end()));
    number
}

/// A whole number that is one of these.
pub(super) fn whole_of<const N: usize>(numbers: [u16; N]) -> Object {
    let least = numbers.iter().min().copied().unwrap_or_default();
    let most = numbers.iter().max().copied().unwrap_or_default();
    let mut number = whole(least.into()..=most.into());
    number.enum_values = Some(numbers.into_iter().map(Value::from).collect());
    number
}

/// A whole number from 0 to the largest that JSON carries exactly everywhere.
pub(super) fn exact() -> Object {
    whole(0..=MAX_EXACT)
}

/// A number that is not negative.
pub(super) fn measure() -> Object {
    let mut number = Object::with_type(Type::Number);
    number.format = Some(SchemaFormat::KnownFormat(KnownFormat::Double));
    number.minimum = Some(number_of(0));
    number
}

/// Any number.
pub(super) fn number() -> Object {
    let mut number = Object::with_type(Type::Number);
    number.format = Some(SchemaFormat::KnownFormat(KnownFormat::Double));
    number
}

/// True or false.
pub(super) fn flag() -> Object {
    Object::with_type(Type::Boolean)
}

/// A list.
pub(super) fn list(of: impl Into<RefOr<Schema>>) -> Array {
    Array::new(of)
}

/// A list with a maximum length.
pub(super) fn list_up_to(most: usize, of: impl Into<RefOr<Schema>>) -> Array {
    let mut list = list(of);
    list.max_items = Some(most);
    list
}

/// An object with arbitrary keys.
pub(super) fn map(of: impl Into<RefOr<Schema>>) -> Object {
    let mut map = Object::with_type(Type::Object);
    map.additional_properties = Some(Box::new(AdditionalProperties::RefOr(of.into())));
    map
}

/// The schema, or `null`.
pub(super) fn or_null(schema: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    let nullable = |known: &mut SchemaType| {
        if let SchemaType::Type(known_type) = known {
            *known = SchemaType::Array(vec![known_type.clone(), Type::Null]);
        }
    };
    let mut schema = schema.into();
    match &mut schema {
        RefOr::T(Schema::Object(object)) => {
            nullable(&mut object.schema_type);
            if let Some(values) = &mut object.enum_values {
                values.push(Value::Null);
            }
            schema
        }
        RefOr::T(Schema::Array(array)) => {
            nullable(&mut array.schema_type);
            schema
        }
        RefOr::Ref(_) | RefOr::T(_) => AnyOfBuilder::new().item(schema).item(null()).into(),
    }
}

/// Nothing but `null`.
pub(super) fn null() -> Object {
    Object::with_type(Type::Null)
}

/// An object, or `null`, expressed by `not`. With types or an `anyOf` that contain `null`, generators of code make a
/// union of an optional body, and some of them then cannot leave it out; `not` they ignore.
pub(super) fn object_or_null(mut object: Object) -> Object {
    object.schema_type = SchemaType::AnyValue;
    with_keyword(object, "not", json!({"type": ["array", "boolean", "number", "string"], "items": {}}))
}

/// The schema with a keyword that utoipa does not know. At most one: utoipa does not keep the order of several, and the
/// document has to be the same each time.
pub(super) fn with_keyword(mut object: Object, keyword: &str, value: Value) -> Object {
    object.extensions = Some([(keyword, value)].into_iter().collect());
    object
}

/// A reference to a component.
pub(super) fn named(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

/// The schema with a description; a reference carries it beside its target.
pub(super) fn described(schema: impl Into<RefOr<Schema>>, description: impl Into<String>) -> RefOr<Schema> {
    let (mut schema, description) = (schema.into(), description.into());
    match &mut schema {
        RefOr::Ref(reference) => reference.description = description,
        RefOr::T(Schema::Object(object)) => object.description = Some(description),
        RefOr::T(Schema::Array(array)) => array.description = Some(description),
        RefOr::T(Schema::OneOf(composed)) => composed.description = Some(description),
        RefOr::T(Schema::AllOf(composed)) => composed.description = Some(description),
        RefOr::T(Schema::AnyOf(composed)) => composed.description = Some(description),
        // utoipa may get more kinds; this document uses these.
        RefOr::T(_) => {}
    }
    schema
}

/// An object with these required fields.
pub(super) fn object<'a>(description: &str, fields: impl IntoIterator<Item = (&'a str, RefOr<Schema>)>) -> Object {
    let mut object = Object::with_type(Type::Object);
    object.description = Some(description.to_owned());
    for (name, schema) in fields {
        object.required.push(name.to_owned());
        object.properties.insert(name.to_owned(), schema);
    }
    object
}

/// Adds an optional field.
pub(super) fn with_optional(mut object: Object, name: &str, schema: RefOr<Schema>) -> Object {
    object.properties.insert(name.to_owned(), schema);
    object
}

fn number_of(number: i64) -> utoipa::Number {
    utoipa::Number::Int(number as isize)
}
