//! Scalars beside those of GraphQL itself.

use std::time;

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use go_duration::GoDuration;

use crate::clock::{Rfc3339, Timestamp};
use crate::cluster::{self, MAX_EXACT};
use crate::resolvers::input::echo;

/// Instant, RFC 3339 in UTC: `2025-11-02T12:30:45Z`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DateTime(pub(super) Timestamp);

/// Instant, RFC 3339 in UTC: `2025-11-02T12:30:45Z`.
#[Scalar(specified_by_url = "https://scalars.graphql.org/chillicream/date-time.html")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(time) => Ok(Self(time.into())),
                Err(_) => Err(InputValueError::custom(format!(
                    "{:?} is no instant: write it as RFC 3339 does, such as 2025-11-02T12:30:45Z",
                    echo(text)
                ))),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(Rfc3339::of(self.0).as_str().to_owned())
    }
}

/// Length of time as Go prints it: `2h30m45s`.
#[derive(Clone, Debug)]
pub(super) struct Duration(pub(super) String);

impl Duration {
    /// As the rest of the program measures time.
    pub(super) fn measured(&self) -> Option<time::Duration> {
        let nanoseconds = self.0.parse::<GoDuration>().ok()?.nanoseconds();
        u64::try_from(nanoseconds).ok().map(time::Duration::from_nanos)
    }
}

/// Length of time as Go prints it: `2h30m45s`.
#[Scalar(specified_by_url = "https://pkg.go.dev/time#ParseDuration")]
impl ScalarType for Duration {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => {
                let duration = Self(text);
                if duration.measured().is_some() {
                    Ok(duration)
                } else {
                    let text = duration.0;
                    Err(InputValueError::custom(format!(
                        "{:?} is no length of time: write it as in 1m30s or 500ms",
                        echo(&text)
                    )))
                }
            }
            value => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Whole number, exact up to 2^53, sent as a JSON number. Used where 32 bits are too few.
#[derive(Clone, Copy, Debug)]
pub(super) struct Int53(pub(super) i64);

/// Whole number, exact up to 2^53, sent as a JSON number. Used where 32 bits are too few.
#[Scalar]
impl ScalarType for Int53 {
    fn parse(value: Value) -> InputValueResult<Self> {
        let exact = match &value {
            Value::Number(number) => number.as_i64().filter(|number| (-MAX_EXACT..=MAX_EXACT).contains(number)),
            _ => None,
        };
        exact.map(Self).ok_or_else(|| match value {
            Value::Number(number) => {
                InputValueError::custom(format!("{number} is not a whole number from -2^53 to 2^53"))
            }
            value => InputValueError::expected_type(value),
        })
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// Place in the change log. Opaque; compare only for equality; pass back to resume.
#[derive(Clone, Debug)]
pub(super) struct Cursor(pub(super) String);

/// Place in the change log. Opaque; compare only for equality; pass back to resume.
#[Scalar]
impl ScalarType for Cursor {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => match text.parse::<cluster::Cursor>() {
                Ok(_) => Ok(Self(text)),
                Err(problem) => Err(InputValueError::custom(format!("{:?} {problem}", echo(&text)))),
            },
            value => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}
