//! The parameters of a GraphQL request (`query`, `documentId`, `operationName`, `variables`, `extensions`), parsed from
//! a JSON body or a query string.
//!
//! Finding the document that they name is the document cache's.

use std::borrow::Cow;
use std::fmt;

use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Request, Value, Variables};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::cluster::MAX_EXACT;
use crate::graphql::error::bad_request;
use crate::graphql::operation::apq;
use crate::graphql::operation::document_cache::DOCUMENT_ID;
use crate::http::{likely, pairs};
use crate::resolvers::checks::truncate;

/// The parameters of a request.
#[derive(Default)]
pub struct Parameters {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<Value>,
    extensions: Option<Value>,
    /// The first unknown name that is probably one of these misspelt, and that one.
    misspelt: Option<(String, &'static str)>,
}

/// The names of the parameters.
const PARAMETERS: [&str; 5] = ["query", "documentId", "operationName", "variables", "extensions"];

/// Whether an unknown name is probably a misspelt parameter, and which. Other unknown names are ignored, since clients
/// may send parameters of other servers. A misspelt one is refused, because a document without its variables may select
/// everything.
pub fn misspelt(name: &str) -> Option<(String, &'static str)> {
    likely(name, PARAMETERS).map(|meant| (truncate(name).into_owned(), meant))
}

/// The error response to a misspelt parameter.
pub fn misspelt_error(name: &str, meant: &str) -> async_graphql::Response {
    bad_request(format!("Unknown parameter `{name}`: did you mean `{meant}`?"))
}

/// Implemented by hand to see unknown names.
impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Parameters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object with `query`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut parameters = Parameters::default();
                let mut seen = [false; PARAMETERS.len()];
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    let index = PARAMETERS.iter().position(|known| *known == name);
                    if let Some((seen, name)) =
                        index.and_then(|index| Some((seen.get_mut(index)?, PARAMETERS.get(index)?)))
                        && std::mem::replace(seen, true)
                    {
                        return Err(A::Error::duplicate_field(name));
                    }
                    match &*name {
                        "query" => parameters.query = map.next_value()?,
                        "documentId" => parameters.document_id = map.next_value()?,
                        "operationName" => parameters.operation_name = map.next_value()?,
                        "variables" => parameters.variables = map.next_value()?,
                        "extensions" => parameters.extensions = map.next_value()?,
                        other => {
                            parameters.misspelt = parameters.misspelt.or_else(|| misspelt(other));
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(parameters)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl Parameters {
    /// Parses a query string: maps are JSON texts, and an empty value counts as absent.
    pub fn of_query_string(query: &str) -> Result<Self, async_graphql::Response> {
        let mut texts: [Option<Cow<'_, str>>; PARAMETERS.len()] = Default::default();
        let mut misspelt = None;
        for (name, text) in pairs(query).map_err(|error| bad_request(error.message().to_owned()))? {
            let index = PARAMETERS.iter().position(|known| *known == name);
            match index.and_then(|index| texts.get_mut(index)) {
                Some(Some(_)) => return Err(bad_request(format!("`{name}` is given more than once"))),
                Some(index) => *index = Some(text),
                None => misspelt = misspelt.or_else(|| self::misspelt(&name)),
            }
        }
        let [query, document_id, operation_name, variables, extensions] =
            texts.map(|text| text.filter(|it| !it.is_empty()));
        let json = |name, text: Option<Cow<'_, str>>| match text.map(|text| serde_json::from_str(&text)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(bad_request(format!("`{name}` is not JSON"))),
        };
        Ok(Self {
            query: query.map(Into::into),
            document_id: document_id.map(Into::into),
            operation_name: operation_name.map(Into::into),
            variables: json("variables", variables)?,
            extensions: json("extensions", extensions)?,
            misspelt,
        })
    }

    /// The request for the executor; or the error response to parameters of wrong types or without a document.
    pub fn into_request(self) -> Result<Request, async_graphql::Response> {
        let Self { query, document_id, operation_name, variables, extensions, misspelt } = self;
        if let Some((name, meant)) = misspelt {
            return Err(misspelt_error(&name, meant));
        }
        let query = query.filter(|query| !query.trim().is_empty());
        let extensions = map("extensions", extensions)?;
        let is_named = document_id.is_some() || extensions.get(apq::EXTENSION).is_some_and(|it| *it != Value::Null);
        if query.is_none() && !is_named {
            return Err(bad_request("`query` is missing: send the document in it".to_owned()));
        }
        let variables = normalize_numbers(Variables::from_value(Value::Object(map("variables", variables)?)));
        let mut request = Request::new(query.unwrap_or_default()).variables(variables);
        for (name, mut value) in extensions {
            normalize_number(&mut value);
            request.extensions.insert(name.to_string(), value);
        }
        if let Some(id) = document_id {
            request.extensions.insert(DOCUMENT_ID.to_owned(), Value::from(id));
        }
        request.operation_name = non_empty_name(operation_name);
        Ok(request)
    }
}

/// Turns numbers such as `16.0` and `1e3` into integers: JSON does not tell them apart, nor do clients whose language
/// has one type of number. REST parses them alike. Numbers beyond the exact range of doubles are left as they are.
pub fn normalize_numbers(mut variables: Variables) -> Variables {
    variables.values_mut().for_each(normalize_number);
    variables
}

fn normalize_number(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64);
            if let Some(whole) = whole {
                *number = (whole as i64).into();
            }
        }
        Value::List(list) => list.iter_mut().for_each(normalize_number),
        Value::Object(fields) => fields.values_mut().for_each(normalize_number),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Boolean(_) | Value::Binary(_) | Value::Enum(_) => {}
    }
}

/// The operation name; an empty text counts as none. No operation can have an empty name, and a query string has no
/// other way to send null.
pub fn non_empty_name(operation_name: Option<String>) -> Option<String> {
    operation_name.filter(|name| !name.is_empty())
}

fn map(name: &str, value: Option<Value>) -> Result<IndexMap<Name, Value>, async_graphql::Response> {
    match value {
        None | Some(Value::Null) => Ok(IndexMap::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(bad_request(format!("`{name}` must be a JSON object"))),
    }
}
