//! Entity tags: whether the client has this response already, and whether the state that a command is tied to still
//! holds.
//!
//! A tag is a hash of what the response is made of (the revision of each object, and what changes with the clock), not
//! of its bytes. So it is known before the response is rendered (rows of the row cache have their part of it beside
//! them, so that only changed rows are rendered for the tag of a whole list), and it is the same for every compression.
//! Hence it is a *weak* tag. It changes whenever the body would: of an online worker once a second, with its `uptime`;
//! of VMs and their distribution only when they change.

use std::hash::{BuildHasher as _, Hash, Hasher};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use foldhash::quality::FixedState;

use super::error::Result;
use super::json_objects::{
    ClusterEvent, ClusterStats, Drain, ListedVm, Reservation, Token, Vm, VmCounts, Worker, WorkerCounts,
    WorkerDistribution, Zone,
};
use crate::cluster::{VmView, WorkerView};
use crate::http::HttpError;
use crate::json;
use crate::resolvers::{ExpectedRevision, ExpectedState, Precondition};

/// Part of every tag, because another version of the program may render the same state differently.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a response's body is determined by.
pub(super) trait Versioned {
    /// Hashes everything that the body depends on.
    fn version<H: Hasher>(&self, hasher: &mut H);

    /// The revision and epoch that a client can tie a command to, if the response is about one object that has
    /// commands.
    fn place(&self) -> Option<(u64, &str)> {
        None
    }
}

/// The hash of a response, or of one row of it: the same on every server of this version.
pub(super) fn version_of(answer: &impl Versioned) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    VERSION.hash(&mut hasher);
    answer.version(&mut hasher);
    hasher.finish()
}

/// A weak entity tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag(HeaderValue);

const WEAK: &str = "W/";

/// The number of digits at the end of a tag that distinguish bodies.
const REST: usize = 16;

impl Tag {
    /// The tag of a response.
    pub(super) fn of(answer: &impl Versioned) -> Self {
        const LONGEST: usize = "W/\"18446744073709551615-0123456789ab-0123456789abcdef\"".len();
        let mut text = Vec::with_capacity(LONGEST);
        text.extend_from_slice(WEAK.as_bytes());
        text.push(b'"');
        if let Some((revision, epoch)) = answer.place() {
            json::value(&revision, &mut text);
            text.push(b'-');
            text.extend_from_slice(epoch.as_bytes());
            text.push(b'-');
        }
        // Formatted by hand: the formatting machinery takes ten times as long, and most of the time of a tag.
        for byte in version_of(answer).to_be_bytes() {
            text.extend([byte >> 4, byte & 0xF].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        text.push(b'"');
        // Letters, digits and punctuation are always a valid header value.
        Self(HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("W/\"\"")))
    }

    /// The value of the header `ETag`.
    pub(super) fn into_header_value(self) -> HeaderValue {
        self.0
    }

    /// Whether `If-None-Match` contains this tag. `*` matches, because there is a response.
    pub(super) fn is_among(&self, known: &[HeaderValue]) -> bool {
        let strong = |tag| str::strip_prefix(tag, WEAK).unwrap_or(tag);
        listed(known).any(|tag| tag == "*" || strong(tag) == strong(self.0.to_str().unwrap_or_default()))
    }
}

/// The tag of a worker after a command: its policy has the revision of the command.
pub(super) fn tag_of_worker(worker: &WorkerView) -> String {
    let revision = worker.worker.revision;
    format!("\"{revision}-{}\"", worker.view.snapshot.epochs.of(revision))
}

/// The preconditions in `If-Match` and `If-None-Match`. Whether a tag is of this database is checked in the commit.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition> {
    let if_match = seen(headers, &header::IF_MATCH, "If-Match")?;
    Ok(Precondition { if_match, if_none_match: seen(headers, &header::IF_NONE_MATCH, "If-None-Match")? })
}

/// The most tags in one header. Each is checked in the commit, for which other commands wait.
const MAX_TAGS: usize = 100;

/// Parses the tags of a header. None if the header is missing.
///
/// Only the revision and epoch at the beginning of a tag count. The rest distinguishes bodies, which differ with each
/// heartbeat, and heartbeats do not concern an operator's decision; for the same reason a weak tag is accepted.
fn seen(headers: &HeaderMap, header: &HeaderName, name: &str) -> Result<Option<ExpectedState>> {
    if !headers.contains_key(header) {
        return Ok(None);
    }
    let mut places = Vec::new();
    for tag in listed(headers.get_all(header)) {
        if tag == "*" {
            return Ok(Some(ExpectedState::Any));
        }
        let opaque = tag.strip_prefix(WEAK).unwrap_or(tag);
        let Some(opaque) = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Err(HttpError::bad_request(format!(
                "{name} must be *, or tags in quotes such as \"812\": the ETag of the worker, or its `revision`, not {tag}"
            )));
        };
        let mut parts = opaque.split('-');
        // A foreign tag has revision 0, which matches nothing.
        let revision = parts.next().and_then(|revision| revision.parse().ok()).unwrap_or(0);
        // A tag of a version without epochs has the longer rest directly after its revision. A bare `revision` of a
        // worker has neither.
        let epoch = parts.next().filter(|part| part.len() < REST).map(Into::into);
        places.push(ExpectedRevision { revision, epoch });
    }
    match places.len() {
        0 => Err(HttpError::bad_request(format!("{name} must be *, or tags in quotes such as \"812\", and not empty"))),
        1..=MAX_TAGS => Ok(Some(ExpectedState::OneOf(places))),
        count => Err(HttpError::bad_request(format!("{name} must have at most {MAX_TAGS} tags, not {count}"))),
    }
}

/// Refuses preconditions, for requests that cannot have any: a heartbeat is tied to its incarnation and sequence, and a
/// batch has no tag.
pub(super) struct Unconditional;

impl<S: Sync> FromRequestParts<S> for Unconditional {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        if [header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|condition| parts.headers.contains_key(condition)) {
            let problem = "Heartbeats are not tied to tags: what they belong to is said by `incarnation` and `sequence`. \
                           Leave If-Match and If-None-Match out";
            return Err(HttpError::new(StatusCode::PRECONDITION_FAILED, problem));
        }
        Ok(Self)
    }
}

/// The entries of a header that is a list. (Tags of this server contain no comma.)
fn listed<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a str> {
    let lines = lines.into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

impl Versioned for Worker {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        version_of_worker(&self.0, hasher);
    }

    fn place(&self) -> Option<(u64, &str)> {
        let revision = self.0.worker.revision;
        Some((revision, self.0.view.snapshot.epochs.of(revision)))
    }
}

impl Versioned for Drain {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash_shown(hasher);
    }
}

impl Versioned for Vm {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        version_of_vm(&self.0, hasher);
    }
}

impl Versioned for ListedVm {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        version_of_vm(&self.0, hasher);
    }
}

impl Versioned for ClusterStats {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

impl Versioned for Zone {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

impl Versioned for WorkerCounts {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

impl Versioned for VmCounts {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

impl Versioned for WorkerDistribution {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        let identity = self.0.worker.identity();
        (self.0.worker.worker.id.as_str(), &identity.hostname, &identity.zone, self.0.vms.len()).hash(hasher);
        self.0.vms.iter().for_each(|vm| version_of_vm(vm, hasher));
    }
}

impl Versioned for ClusterEvent {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        // An event never changes.
        self.0.event.cursor.hash(hasher);
    }
}

impl Versioned for Reservation {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        // It changes by commits, and once by the clock.
        let reservation = &self.0.reservation;
        let epoch = self.0.view.snapshot.epochs.of(reservation.revision);
        (reservation.id.as_str(), reservation.revision, epoch, self.0.state().as_str()).hash(hasher);
    }
}

impl Versioned for Token {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        // It changes by commits, by its uses, and once by the clock.
        let token = &self.0.token;
        (token.id.as_str(), token.revision, self.0.state().as_str(), token.last_used.at()).hash(hasher);
    }
}

impl<T: Versioned> Versioned for Vec<T> {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        // A sum, so that the hash of a whole list can be added up from the hashes of cached rows.
        let sum = self.iter().map(version_of).fold(0, u64::wrapping_add);
        (self.len(), sum).hash(hasher);
    }
}

/// Revision and epoch stand for everything that is stored of a worker; the rest changes with the clock.
fn version_of_worker(worker: &WorkerView, hasher: &mut impl Hasher) {
    let kept = &worker.worker;
    (kept.id.as_str(), kept.revision, worker.view.snapshot.epochs.of(kept.revision)).hash(hasher);
    (worker.uptime(), worker.is_healthy()).hash(hasher);
    worker.drain().map(|drain| (drain.state(), drain.is_safe_to_power_off())).hash(hasher);
}

fn version_of_vm(vm: &VmView, hasher: &mut impl Hasher) {
    let kept = &vm.vm;
    (kept.id.as_str(), kept.worker_id.as_str(), kept.revision, &kept.name, kept.status).hash(hasher);
    (kept.vcpus, kept.memory_mb, vm.is_duplicate()).hash(hasher);
    (kept.created_at.get(), kept.started_at.map(|at| at.get()), kept.status_since.get()).hash(hasher);
    (kept.note(), kept.reservation_id()).hash(hasher);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_by_its_text_whatever_its_strength_and_company() {
        let tag = Tag(HeaderValue::from_static("W/\"7-ab\""));
        for (lines, known) in [
            (vec![], false),
            (vec![""], false),
            (vec!["*"], true),
            (vec!["W/\"7-ab\""], true),
            (vec!["\"7-ab\""], true),
            (vec!["\"x\", W/\"7-ab\""], true),
            (vec!["\"x\"", "W/\"7-ab\""], true),
            (vec!["7-ab"], false),
            (vec!["w/\"7-ab\""], false),
            (vec!["W/\"7-abc\""], false),
        ] {
            let values: Vec<_> = lines.iter().copied().map(HeaderValue::from_static).collect();
            assert_eq!(tag.is_among(&values), known, "{lines:?}");
        }
    }

    #[test]
    fn a_command_is_tied_to_the_places_of_its_tags() {
        let these = |tags: &[(u64, Option<&str>)]| {
            let places =
                tags.iter().map(|&(revision, epoch)| ExpectedRevision { revision, epoch: epoch.map(Into::into) });
            Some(Some(ExpectedState::OneOf(places.collect())))
        };
        for (lines, expected) in [
            (vec![], Some(None)),
            (vec!["*"], Some(Some(ExpectedState::Any))),
            (vec!["\"811\", *"], Some(Some(ExpectedState::Any))),
            (vec!["\"812\""], these(&[(812, None)])),
            (vec!["W/\"812-0123456789abcdef\""], these(&[(812, None)])),
            (vec!["\"812-0123456789ab\""], these(&[(812, Some("0123456789ab"))])),
            (vec!["W/\"812-0123456789ab-0123456789abcdef\""], these(&[(812, Some("0123456789ab"))])),
            (vec!["\"811\", \"812-a\"", "\"7\""], these(&[(811, None), (812, Some("a")), (7, None)])),
            (vec!["\"of-something-else\""], these(&[(0, Some("something"))])),
            (vec!["\"\""], these(&[(0, None)])),
            (vec!["812"], None),
            (vec!["\"812"], None),
            (vec![""], None),
            (vec![" , "], None),
        ] {
            for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
                let headers: HeaderMap =
                    lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect();
                assert_eq!(seen(&headers, &name, name.as_str()).ok(), expected, "{lines:?}");
            }
        }
    }
}
