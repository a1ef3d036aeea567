//! Checks the parameters of a query string against those that the route takes.
//!
//! A misspelt filter must never mean everything, so an unknown parameter is refused, with the nearest known name. The
//! check runs before the handler, for all routes that have said what they take
//! ([`Routes::with_parameters`](super::routing::Routes::with_parameters)). Values are not parsed here but by
//! [`Query`](super::extract::Query).

use std::borrow::Cow;

use axum::http::{Uri, uri::PathAndQuery};

use super::error::{HttpError, truncate};

/// A parameter that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Whether its value is a text. A number or a flag without a value is refused.
    pub is_text: bool,
}

/// Checks the query string of an address. Returns the address with normalized parameters, if they were spelled in
/// another way.
pub(super) fn check(uri: &Uri, known: &[Parameter]) -> Result<Option<Uri>, HttpError> {
    let Some(query) = uri.query() else { return Ok(None) };
    let mut has_brackets = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = decoded(name)?;
        let plain = without_brackets(&decoded);
        let Some(parameter) = known.iter().find(|parameter| parameter.name == plain) else {
            // Libraries add such parameters to get past caches.
            if plain.starts_with('_') {
                continue;
            }
            return Err(unknown(&decoded, known));
        };
        super::query_params::decoded(value).map_err(|problem| about(&parameter.name, problem.message()))?;
        if value.is_empty() && !parameter.is_text {
            return Err(about(&parameter.name, "a value is missing"));
        }
        has_brackets |= plain.len() < decoded.len();
    }
    Ok(if has_brackets { rewritten(uri, query) } else { None })
}

/// A name and a value of a query string, decoded.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The decoded pairs of a query string; an error if one cannot be decoded.
pub(crate) fn pairs(query: &str) -> Result<Vec<Pair<'_>>, HttpError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name)?;
        let value = decoded(value).map_err(|problem| about(&name, problem.message()))?;
        Ok((name, value))
    });
    pairs.collect()
}

/// A name without the `[]` that some libraries append to repeated parameters.
pub(crate) fn without_brackets(name: &str) -> &str {
    name.strip_suffix("[]").unwrap_or(name)
}

fn about(parameter: &str, problem: &str) -> HttpError {
    HttpError::bad_request(format!("Query parameter `{}`: {problem}", truncate(parameter)))
        .of_argument(truncate(parameter))
}

fn unknown(name: &str, known: &[Parameter]) -> HttpError {
    let names = known.iter().map(|parameter| parameter.name.as_str());
    let taken: Vec<_> = names.clone().map(|name| format!("`{name}`")).collect();
    let refusal = match nearest(name, names) {
        Some(nearest) => format!(
            "Unknown query parameter `{}`: did you mean `{nearest}`? Taken here: {}",
            truncate(name),
            taken.join(", ")
        ),
        None => format!("Unknown query parameter `{}`: none is taken here", truncate(name)),
    };
    HttpError::bad_request(refusal).of_argument(truncate(name))
}

/// The known name with the smallest edit distance, case ignored.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No known name is longer than this, so that only the beginning matters.
    let name: String = without_brackets(name).chars().take(64).collect::<String>().to_lowercase();
    known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(&name, &known.to_lowercase()))
}

/// The known name that is probably meant: it differs by case, a hyphen, brackets or one or two letters only.
pub(crate) fn likely<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.split('[').next().unwrap_or_default();
    let name: String = name.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ')).take(64).collect();
    known.into_iter().find(|known| {
        // One letter in a word as short as `query`, so that `queryId` does not count.
        let slips = if known.len() < 8 { 1 } else { 2 };
        strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()) <= slips
    })
}

/// Decodes a name or a value. Other decoders turn bytes that are not UTF-8 into `�` and keep a `%` without two digits,
/// so that something else would be searched for than the client asked.
fn decoded(text: &str) -> Result<Cow<'_, str>, HttpError> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let is_escape = after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if !is_escape {
            return Err(HttpError::bad_request(
                "a % must be followed by two hexadecimal digits; write %25 for the sign",
            ));
        }
        rest = &after[2..];
    }
    let spaces: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    match spaces {
        Cow::Borrowed(text) => percent_decoded(text.as_bytes()),
        Cow::Owned(text) => percent_decoded(text.as_bytes()).map(|text| Cow::Owned(text.into_owned())),
    }
}

fn percent_decoded(text: &[u8]) -> Result<Cow<'_, str>, HttpError> {
    percent_encoding::percent_decode(text)
        .decode_utf8()
        .map_err(|_| HttpError::bad_request("what is percent-encoded here is not UTF-8"))
}

/// The address with the brackets of its parameters removed.
fn rewritten(uri: &Uri, query: &str) -> Option<Uri> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let pairs = pairs.map(|(name, value)| (without_brackets(&name).to_owned(), value));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{}?{query}", uri.path())).ok();
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Parameter> {
        let text = |name: &str| Parameter { name: name.to_owned(), is_text: true };
        vec![text("zone"), text("status"), Parameter { name: "limit".to_owned(), is_text: false }]
    }

    fn checked(query: &str) -> Result<Option<String>, String> {
        let uri: Uri = format!("http://host/path?{query}").parse().unwrap();
        let checked = check(&uri, &known()).map_err(|failure| failure.message().to_owned());
        checked.map(|uri| uri.map(|uri| uri.to_string()))
    }

    #[test]
    fn what_is_known_passes_as_it_is() {
        for query in ["", "&&", "zone=a&zone=b", "zone", "zone=", "z%6Fne=%C3%A4+b", "_=1", "_zones=%zz", "limit=2"] {
            assert_eq!(checked(query), Ok(None), "{query}");
        }
    }

    #[test]
    fn brackets_are_taken_off() {
        for (query, plain) in [
            ("zone[]=a&zone[]=b", "zone=a&zone=b"),
            ("zone%5B%5D=a%26b&limit=2", "zone=a%26b&limit=2"),
            ("limit[]=2&limit=3", "limit=2&limit=3"),
        ] {
            assert_eq!(checked(query), Ok(Some(format!("http://host/path?{plain}"))), "{query}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_the_nearest() {
        for (query, name, nearest) in [
            ("zones=a", "zones", "zone"),
            ("Zone=a", "Zone", "zone"),
            ("zone=a&ZONE=b", "ZONE", "zone"),
            ("stauts", "stauts", "status"),
            ("zone[0]=a", "zone[0]", "zone"),
            ("zones[]=a", "zones[]", "zone"),
            ("limits=", "limits", "limit"),
            ("zone%20=a", "zone ", "zone"),
        ] {
            let expected = format!(
                "Unknown query parameter `{name}`: did you mean `{nearest}`? Taken here: `zone`, `status`, `limit`"
            );
            assert_eq!(checked(query), Err(expected), "{query}");
        }
        let nothing = check(&"/path?a=b".parse().unwrap(), &[]).map_err(|failure| failure.message().to_owned());
        assert_eq!(nothing, Err("Unknown query parameter `a`: none is taken here".to_owned()));
    }

    #[test]
    fn what_says_nothing_or_cannot_be_read_is_refused() {
        let percent = "a % must be followed by two hexadecimal digits; write %25 for the sign";
        for (query, expected) in [
            ("limit=", "Query parameter `limit`: a value is missing".to_owned()),
            ("limit", "Query parameter `limit`: a value is missing".to_owned()),
            ("zone=%ff", "Query parameter `zone`: what is percent-encoded here is not UTF-8".to_owned()),
            ("zone=100%", format!("Query parameter `zone`: {percent}")),
            ("zone=%4", format!("Query parameter `zone`: {percent}")),
            ("zone=%u0041", format!("Query parameter `zone`: {percent}")),
            ("%zz=a", percent.to_owned()),
        ] {
            assert_eq!(checked(query), Err(expected), "{query}");
        }
    }
}
