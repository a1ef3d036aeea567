//! The trace context of the W3C: `traceparent` says which trace a request belongs to and which span it comes from, and
//! `tracestate` what tracing systems on the way have to say.
//!
//! What is malformed is no error but not there, as the recommendation has it: a `traceparent` takes its `tracestate` with
//! it, a malformed `tracestate` goes alone.

use std::fmt;
use std::str;
use std::sync::Arc;

/// The header of the trace and its parent, in lower case.
pub const TRACEPARENT: &str = "traceparent";

/// The header with what tracing systems have to say, in lower case.
pub const TRACESTATE: &str = "tracestate";

/// A `tracestate` with more members than this is malformed.
pub const MAX_TRACESTATE_MEMBERS: usize = 32;

/// The longest `tracestate` that is given on. The recommendation asks for 512 characters at least, and this is several
/// times that; a longer one is left out.
const LONGEST_TRACESTATE: usize = 4_096;

/// Length of a `traceparent` of version 00: the version, 16 bytes, 8 bytes and the flags, in hexadecimal digits.
const TRACEPARENT_LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// The version that no `traceparent` has.
const FORBIDDEN_VERSION: u8 = 0xff;

/// The flag that says that the sender may have recorded the trace.
const SAMPLED: u8 = 0x01;

/// The flags that have a meaning: sampled, and that the trace id is random. All others are given on as zeros.
const KNOWN_FLAGS: u8 = SAMPLED | 0x02;

/// A trace, and the span in it that what follows comes from.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// A context of these ids, none of which is zero, or nothing.
    pub fn new(trace_id: u128, span_id: u64, is_sampled: bool, state: Option<&str>) -> Option<Self> {
        let flags = if is_sampled { SAMPLED } else { 0 };
        let state = state.filter(|state| !state.is_empty()).map(Arc::from);
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags, state })
    }

    /// Reads the value of `traceparent` and those of all `tracestate` headers, in their order.
    pub fn parse<'a>(traceparent: &[u8], tracestate: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let (known, rest) = traceparent.split_at_checked(TRACEPARENT_LENGTH)?;
        let [version, trace_id, span_id, flags] = fields(known)?;
        let version = u8::try_from(hexadecimal(version)?).ok()?;
        // A later version may go on after what is known of it, with a hyphen.
        let is_right = match version {
            0 => rest.is_empty(),
            FORBIDDEN_VERSION => false,
            1.. => rest.is_empty() || rest.starts_with(b"-"),
        };
        let (trace_id, span_id) = (hexadecimal(trace_id)?, u64::try_from(hexadecimal(span_id)?).ok()?);
        let flags = u8::try_from(hexadecimal(flags)?).ok()? & KNOWN_FLAGS;
        let is_right = is_right && trace_id != 0 && span_id != 0;
        is_right.then(|| Self { trace_id, span_id, flags, state: read_state(tracestate) })
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the span that what follows comes from.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether the sender may have recorded the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What tracing systems have to say, as one header.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The value of `traceparent`, of version 00.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceContext").field(&self.traceparent()).field(&self.state).finish()
    }
}

/// The four fields of a `traceparent` of the right length.
fn fields(text: &[u8]) -> Option<[&[u8]; 4]> {
    let mut fields = text.split(|byte| *byte == b'-');
    let four = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    (fields.next().is_none() && four.map(<[u8]>::len) == [2, 32, 16, 2]).then_some(four)
}

/// A number of at most 32 hexadecimal digits, in lower case only.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// All `tracestate` headers as one; nothing if there is none, or if anything in it is malformed.
fn read_state<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<Arc<str>> {
    let mut state = String::new();
    let mut keys = Vec::new();
    for header in headers {
        for member in str::from_utf8(header).ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_right = is_key(key) && is_value(value) && !keys.contains(&key);
            if !is_right || keys.len() == MAX_TRACESTATE_MEMBERS || state.len() + member.len() >= LONGEST_TRACESTATE {
                return None;
            }
            keys.push(key);
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
    }
    (!state.is_empty()).then(|| state.into())
}

/// Whether it is a key: up to 256 characters, or up to 241 of a tenant and up to 14 of a system with `@` between them.
fn is_key(key: &str) -> bool {
    let is_rest =
        |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'));
    let begins = |text: &str, digits: bool| {
        text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || digits && byte.is_ascii_digit())
    };
    match key.split_once('@') {
        None => key.len() <= 256 && begins(key, true) && is_rest(key),
        Some((tenant, system)) => {
            let is_tenant = tenant.len() <= 241 && begins(tenant, true) && is_rest(tenant);
            is_tenant && system.len() <= 14 && begins(system, true) && is_rest(system)
        }
    }
}

/// Whether it is a value: 1 to 256 printable characters of ASCII without a comma and `=`, the last of which is no space.
fn is_value(value: &str) -> bool {
    let is_right = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.bytes().all(is_right) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(traceparent: &str, tracestate: &[&str]) -> Option<TraceContext> {
        TraceContext::parse(traceparent.as_bytes(), tracestate.iter().map(|header| header.as_bytes()))
    }

    #[test]
    fn what_is_right_is_given_on_as_it_came() {
        for flags in ["00", "01", "02", "03"] {
            let sent = format!("00-{TRACE}-{SPAN}-{flags}");
            let context = read(&sent, &[]).unwrap();
            assert_eq!(context.traceparent(), sent);
            assert_eq!(context.is_sampled(), flags.ends_with(['1', '3']), "{flags}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for (sent, expected) in [
            (format!("01-{TRACE}-{SPAN}-01"), "01"),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), "01"),
            (format!("fe-{TRACE}-{SPAN}-00-"), "00"),
            // Of its flags only those that have a meaning today.
            (format!("01-{TRACE}-{SPAN}-ff"), "03"),
            (format!("00-{TRACE}-{SPAN}-f8"), "00"),
        ] {
            let expected = format!("00-{TRACE}-{SPAN}-{expected}");
            assert_eq!(read(&sent, &[]).map(|context| context.traceparent()), Some(expected), "{sent}");
        }
    }

    #[test]
    fn what_is_malformed_is_not_there() {
        let zeros = "0".repeat(32);
        for sent in [
            String::new(),
            "nonsense".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("01-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-011"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{TRACE}-{SPAN}-0x"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}a-01", &TRACE[1..]),
            format!("00_{TRACE}-{SPAN}-01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{}g-{SPAN}-01", &TRACE[1..]),
            format!("00-{}é-{SPAN}-01", &TRACE[2..]),
            format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(read(&sent, &["a=b"]), None, "{sent}");
        }
    }

    #[test]
    fn a_state_is_given_on_or_left_out_as_a_whole() {
        let traceparent = format!("00-{TRACE}-{SPAN}-01");
        let state = |sent: &[&str]| read(&traceparent, sent).unwrap().tracestate().map(str::to_owned);
        for (sent, expected) in [
            (&["rojo=00f067aa0ba902b7"][..], Some("rojo=00f067aa0ba902b7")),
            (&["rojo=1,congo=t61rcWkgMzE"], Some("rojo=1,congo=t61rcWkgMzE")),
            (&["rojo=1", "congo=2"], Some("rojo=1,congo=2")),
            (&["rojo=1 \t,\t congo=2,,"], Some("rojo=1,congo=2")),
            (&["fw529a3039@dt=FfAaIi;/", "0a=-*_/ ~"], Some("fw529a3039@dt=FfAaIi;/,0a=-*_/ ~")),
            (&["3@n=1"], Some("3@n=1")),
            (&[], None),
            (&[""], None),
            (&[","], None),
            (&["rojo"], None),
            (&["rojo="], None),
            (&["=1"], None),
            (&["rojo =1"], None),
            (&["Rojo=1"], None),
            (&["rojo=1=2"], None),
            (&["rojo=1", "rojo=2"], None),
            (&["rojo=1", "congo"], None),
            (&["a@b@c=1"], None),
            (&["a@=1"], None),
            (&["@a=1"], None),
            (&["a@longer-than-14-c=1"], None),
            (&["rojo=é"], None),
        ] {
            assert_eq!(state(sent).as_deref(), expected, "{sent:?}");
        }
        let members = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&[&members(MAX_TRACESTATE_MEMBERS)]).is_some());
        assert_eq!(state(&[&members(MAX_TRACESTATE_MEMBERS + 1)]), None);
        assert!(state(&[&format!("k={}", "v".repeat(256))]).is_some());
        assert_eq!(state(&[&format!("k={}", "v".repeat(257))]), None);
        assert!(state(&[&format!("{}=v", "k".repeat(256))]).is_some());
        assert_eq!(state(&[&format!("{}=v", "k".repeat(257))]), None);
        let long: Vec<_> = (0..20).map(|at| format!("k{at}={}", "v".repeat(250))).collect();
        assert_eq!(state(&[&long.join(",")]), None);
    }
}
