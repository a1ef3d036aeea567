//! The custom scalars: parsing, serialization and the check of their constants in documents.

use std::time;

use async_graphql::{InputValueError, InputValueResult, Number, Scalar, ScalarType, Value};
use go_duration::GoDuration;

use crate::clock::{Rfc3339, Timestamp};
use crate::cluster::{self, MAX_EXACT};
use crate::resolvers::checks::truncate;

/// Whether the custom scalar of this name accepts a value. The error continues a sentence that begins with the name of
/// the argument or variable: `must be …`. A test makes sure that no scalar is missing here.
pub fn check(scalar: &str, value: &Value) -> Result<(), String> {
    match scalar {
        "Cursor" => Cursor::read(value).map(|_| ()),
        "DateTime" => DateTime::read(value).map(|_| ()),
        "Duration" => Duration::read(value).map(|_| ()),
        "Int53" => Int53::read(value).map(|_| ()),
        unknown => Err(format!("must be {unknown}, of which nothing is known")),
    }
}

/// The text of a value, or the error that a text of this form is expected.
fn text<'a>(value: &'a Value, form: &str) -> Result<&'a str, String> {
    match value {
        Value::String(text) => Ok(text),
        value => Err(format!("must be a text {form}, not {}", truncate(&value.to_string()))),
    }
}

/// Instant, RFC 3339 in UTC: `2025-11-02T12:30:45Z`.
#[derive(Clone, Copy, Debug)]
pub struct DateTime(pub Timestamp);

impl DateTime {
    fn read(value: &Value) -> Result<Self, String> {
        let form = "as RFC 3339 has it, such as 2025-11-02T12:30:45Z";
        let text = text(value, form)?;
        let time = chrono::DateTime::parse_from_rfc3339(text);
        time.map(|time| Self(time.into()))
            .map_err(|_| format!("must be an instant {form}: {:?} is none", truncate(text)))
    }
}

/// Instant, RFC 3339 in UTC: `2025-11-02T12:30:45Z`.
#[Scalar(specified_by_url = "https://scalars.graphql.org/chillicream/date-time.html")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        Self::read(&value).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::String(Rfc3339::of(self.0).as_str().to_owned())
    }
}

/// Length of time as Go prints it: `2h30m45s`.
#[derive(Clone, Debug)]
pub struct Duration(pub String);

impl Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let form = "such as 1m30s or 500ms";
        let duration = Self(text(value, form)?.to_owned());
        match duration.measured() {
            Some(_) => Ok(duration),
            None => Err(format!("must be a length of time {form}: {:?} is no length of time", truncate(&duration.0))),
        }
    }

    /// The duration as a number; none if the text is no duration.
    pub fn measured(&self) -> Option<time::Duration> {
        // Go accepts zero without a unit.
        if matches!(self.0.as_str(), "0" | "+0") {
            return Some(time::Duration::ZERO);
        }
        let nanoseconds = self.0.parse::<GoDuration>().ok()?.nanoseconds();
        u64::try_from(nanoseconds).ok().map(time::Duration::from_nanos)
    }
}

/// Length of time as Go prints it: `2h30m45s`.
#[Scalar(specified_by_url = "https://pkg.go.dev/time#ParseDuration")]
impl ScalarType for Duration {
    fn parse(value: Value) -> InputValueResult<Self> {
        Self::read(&value).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Whole number, exact up to 2^53, sent as a JSON number. Used where 32 bits are too few.
#[derive(Clone, Copy, Debug)]
pub struct Int53(pub i64);

impl Int53 {
    fn read(value: &Value) -> Result<Self, String> {
        let exact = match value {
            Value::Number(number) => Number::as_i64(number).filter(|number| (-MAX_EXACT..=MAX_EXACT).contains(number)),
            _ => None,
        };
        exact.map(Self).ok_or_else(|| {
            let value = value.to_string();
            format!("must be a whole number: {} is not a whole number from -2^53 to 2^53", truncate(&value))
        })
    }
}

/// Whole number, exact up to 2^53, sent as a JSON number. Used where 32 bits are too few.
#[Scalar]
impl ScalarType for Int53 {
    fn parse(value: Value) -> InputValueResult<Self> {
        Self::read(&value).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// Place in the change log. Opaque; pass back to resume. Events are compared by `revision` and `position`.
#[derive(Clone, Debug)]
pub struct Cursor(pub String);

impl Cursor {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "that is a cursor of this API")?;
        match text.parse::<cluster::Cursor>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(problem) => Err(format!("must be a cursor: {:?} {problem}", truncate(text))),
        }
    }
}

/// Place in the change log. Opaque; pass back to resume. Events are compared by `revision` and `position`.
#[Scalar]
impl ScalarType for Cursor {
    fn parse(value: Value) -> InputValueResult<Self> {
        Self::read(&value).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphql::schema::index::SchemaIndex;

    #[test]
    fn every_custom_scalar_is_checked() {
        let scalars = SchemaIndex::of_schema().scalars();
        assert!(scalars.contains(&"Int53"), "{scalars:?}");
        for scalar in scalars {
            let refused = check(scalar, &Value::Object(Default::default())).unwrap_err();
            assert!(!refused.contains("nothing is known"), "{scalar}: {refused}");
        }
    }
}
