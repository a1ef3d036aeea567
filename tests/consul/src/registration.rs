//! The body of a registration: read as Consul reads it, except that what it would overlook is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use go_duration::GoDuration;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::catalog::Status;

const META_PAIRS: usize = 64;
const META_KEY_BYTES: usize = 128;
const META_VALUE_BYTES: usize = 512;

/// A service that is to be registered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) meta: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) weights: Option<Weights>,
    #[serde(default)]
    pub(crate) enabletagoverride: bool,
    #[serde(default)]
    check: Option<CheckDefinition>,
    #[serde(default)]
    checks: Vec<CheckDefinition>,
}

/// How much of the traffic an instance takes, by DNS.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    pub(crate) passing: u16,
    pub(crate) warning: u16,
}

/// A check of a service that is to be registered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckDefinition {
    #[serde(default)]
    checkid: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) notes: String,
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    deregistercriticalserviceafter: Option<String>,
}

/// A check that was found to be in order.
#[derive(Clone, Debug)]
pub struct NewCheck {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) notes: String,
    pub(crate) status: Status,
    pub(crate) ttl: Duration,
    pub(crate) deregister_after: Option<Duration>,
}

impl Registration {
    /// # Errors
    ///
    /// 400 with the sentence of Consul for what it refuses, and with one of ours for fields that it does not know, and
    /// would overlook.
    pub fn read(body: &[u8]) -> Result<(Self, Vec<NewCheck>), Refusal> {
        let undecodable = |error| Refusal::bad_request(format!("Request decode failed: {error}"));
        let body: Value = serde_json::from_slice(body).map_err(undecodable)?;
        let mut registration: Self = serde_json::from_value(lower(body)).map_err(undecodable)?;
        if registration.name.is_empty() {
            return Err(Refusal::bad_request("Missing service name"));
        }
        if registration.address.parse().is_ok_and(|address: IpAddr| address.is_unspecified()) {
            return Err(Refusal::bad_request("Invalid service address"));
        }
        if registration.id.is_empty() {
            registration.id.clone_from(&registration.name);
        }
        validate_meta(&registration.meta)?;
        let checks = registration.new_checks()?;
        Ok((registration, checks))
    }

    fn new_checks(&self) -> Result<Vec<NewCheck>, Refusal> {
        let definitions: Vec<_> = self.check.iter().chain(&self.checks).collect();
        let several = definitions.len() > 1;
        let new_check = |(index, definition): (usize, &&CheckDefinition)| {
            let numbered =
                if several { format!("service:{}:{}", self.id, index + 1) } else { format!("service:{}", self.id) };
            definition.new_check(numbered, &self.name)
        };
        definitions.iter().enumerate().map(new_check).collect()
    }
}

impl CheckDefinition {
    fn new_check(&self, default_id: String, service: &str) -> Result<NewCheck, Refusal> {
        let invalid = |sentence: &str| Refusal::bad_request(format!("Invalid check: {sentence}"));
        let ttl = self.ttl.as_deref().map(duration).transpose()?.unwrap_or_default();
        if ttl.is_zero() {
            return Err(invalid("TTL must be > 0 for TTL checks"));
        }
        let status = match self.status.as_deref() {
            None | Some("") => Status::Critical,
            Some(status) => Status::parse(status)
                .ok_or_else(|| Refusal::bad_request("Status for checks must 'passing', 'warning', 'critical'"))?,
        };
        let deregister_after = self.deregistercriticalserviceafter.as_deref().map(duration).transpose()?;
        Ok(NewCheck {
            id: if self.checkid.is_empty() { default_id } else { self.checkid.clone() },
            name: if self.name.is_empty() { format!("Service '{service}' check") } else { self.name.clone() },
            notes: self.notes.clone(),
            status,
            ttl,
            deregister_after: deregister_after.filter(|after| !after.is_zero()),
        })
    }
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    let nanoseconds = text.parse().ok().and_then(|GoDuration(nanoseconds)| u64::try_from(nanoseconds).ok());
    let undecodable = || Refusal::bad_request(format!("Request decode failed: time: invalid duration \"{text}\""));
    nanoseconds.map(Duration::from_nanos).ok_or_else(undecodable)
}

fn validate_meta(meta: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::bad_request(format!("Invalid Service Meta: {why}")));
    if meta.len() > META_PAIRS {
        return refuse(format!("Node metadata cannot contain more than {META_PAIRS} key/value pairs"));
    }
    for (key, value) in meta {
        let why = if key.is_empty() {
            "Key cannot be blank".to_owned()
        } else if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            "Key contains invalid characters".to_owned()
        } else if key.len() > META_KEY_BYTES {
            format!("Key is too long (limit: {META_KEY_BYTES} characters)")
        } else if key.starts_with("consul-") {
            "Key prefix 'consul-' is reserved for internal use".to_owned()
        } else if value.len() > META_VALUE_BYTES {
            format!("Value is too long (limit: {META_VALUE_BYTES} characters)")
        } else {
            continue;
        };
        return refuse(format!("Couldn't load metadata pair ('{key}', '{value}'): {why}"));
    }
    Ok(())
}

/// Keys as they are compared: `TTL`, `ttl` and `Ttl` are one, and so are `service_id` and `ServiceID`. Keys of the
/// metadata are left as they are, and what is null is not there.
fn lower(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return match value {
            Value::Array(items) => items.into_iter().map(lower).collect(),
            other => other,
        };
    };
    let lowered = fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
        let key = key.to_ascii_lowercase().replace('_', "");
        let value = if key == "meta" { value } else { lower(value) };
        (key, value)
    });
    Value::Object(lowered.collect::<Map<_, _>>())
}

/// Refuses checks that the agent would have to do by itself, before their fields are called unknown.
///
/// # Errors
///
/// 501 if there is one.
pub fn refuse_active_checks(body: &[u8]) -> Result<(), Refusal> {
    const ACTIVE: [&str; 8] = ["http", "tcp", "udp", "grpc", "h2ping", "args", "aliasservice", "osservice"];
    let Ok(body) = serde_json::from_slice(body).map(lower) else { return Ok(()) };
    let checks = body["checks"].as_array().into_iter().flatten().chain(body.get("check"));
    let fields = checks.filter_map(Value::as_object).flat_map(Map::keys);
    match fields.into_iter().find(|field| ACTIVE.contains(&field.as_str())) {
        Some(field) => Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("the stub of Consul does no checks by itself, as {field} asks: only TTL checks"),
        )),
        None => Ok(()),
    }
}
