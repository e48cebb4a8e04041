//! The context of a trace, as <https://www.w3.org/TR/trace-context/> says it crosses process boundaries.

use std::fmt;

/// The longest `tracestate` that is kept, in bytes; a longer one is left out, as the standard allows.
const MAX_STATE_BYTES: usize = 512;
/// Entries that a `tracestate` may have.
const MAX_STATE_ENTRIES: usize = 32;
/// The bit of the flags that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// The number of a span within its trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// The span with this number. Zero, which is no span, becomes one.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number.max(1))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A trace and a span in it, to which what follows belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace: u128,
    /// The span that is the parent of what follows.
    pub span: SpanId,
    /// The flags of the standard.
    pub flags: u8,
    /// `tracestate`: what vendors pass along, unread.
    pub state: Option<String>,
}

impl TraceContext {
    /// A new trace that is recorded. Both numbers should be random.
    #[must_use]
    pub fn sampled(trace: u128, span: SpanId) -> Self {
        Self {
            trace: trace.max(1),
            span,
            flags: SAMPLED,
            state: None,
        }
    }

    /// Reads the headers `traceparent` and `tracestate`, each with all values that came.
    ///
    /// `None` when there is not exactly one valid `traceparent`: whoever receives that begins a new trace. A
    /// `tracestate` that is not valid is left out, and the rest stands.
    pub fn read<'a>(
        parents: impl IntoIterator<Item = &'a str>,
        states: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let mut parents = parents.into_iter();
        let context = parse_parent(parents.next()?)?;
        if parents.next().is_some() {
            return None;
        }
        let state = states.into_iter().collect::<Vec<_>>().join(",");
        Some(Self {
            state: valid_state(&state).then_some(state),
            ..context
        })
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        is_sampled(self.flags)
    }

    /// The same trace, with another span as the parent of what follows.
    #[must_use]
    pub fn with_span(&self, span: SpanId) -> Self {
        Self { span, ..self.clone() }
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn parent(&self) -> String {
        format!(
            "00-{:032x}-{:016x}-{:02x}",
            self.trace,
            self.span.0,
            self.flags & SAMPLED
        )
    }
}

/// Whether a trace with these flags is recorded.
#[must_use]
pub fn is_sampled(flags: u8) -> bool {
    flags & SAMPLED != 0
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parent())
    }
}

/// Section 3.2 of the standard: `00-<trace>-<parent>-<flags>`. A newer version may have more after another dash.
fn parse_parent(text: &str) -> Option<TraceContext> {
    let (known, rest) = text.trim_matches([' ', '\t']).split_at_checked(55)?;
    let mut fields = known.split('-');
    let version = hex(fields.next()?, 2)?;
    let trace = hex(fields.next()?, 32)?;
    let span = hex(fields.next()?, 16)?;
    let flags = hex(fields.next()?, 2)?;
    let fits = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    if !fits || fields.next().is_some() || trace == 0 || span == 0 {
        return None;
    }
    Some(TraceContext {
        trace,
        span: SpanId(u64::try_from(span).ok()?),
        flags: u8::try_from(flags).ok()?,
        state: None,
    })
}

/// Exactly so many digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Section 3.3: `key=value` entries between commas, each key once.
fn valid_state(text: &str) -> bool {
    let entries: Vec<&str> = text
        .split(',')
        .map(|entry| entry.trim_matches([' ', '\t']))
        .filter(|entry| !entry.is_empty())
        .collect();
    let mut keys: Vec<&str> = entries
        .iter()
        .filter_map(|entry| Some(entry.split_once('=')?.0))
        .collect();
    let valid = entries.iter().all(|entry| {
        entry
            .split_once('=')
            .is_some_and(|(key, value)| valid_key(key) && valid_value(value))
    });
    keys.sort_unstable();
    let unique = keys.windows(2).all(|pair| pair[0] != pair[1]);
    valid && unique && (1..=MAX_STATE_ENTRIES).contains(&entries.len()) && text.len() <= MAX_STATE_BYTES
}

fn valid_key(key: &str) -> bool {
    let other = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let begins = key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    begins && key.len() <= 256 && key.bytes().all(other) && key.matches('@').count() <= 1
}

fn valid_value(value: &str) -> bool {
    let printable = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(printable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(parent: &str) -> Option<TraceContext> {
        TraceContext::read([parent], [])
    }

    #[test]
    fn a_valid_traceparent_is_passed_on_with_another_span() {
        let context = read(GOOD).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.parent(), GOOD);
        assert_eq!(
            context.with_span(SpanId::new(0xf)).parent(),
            "00-0af7651916cd43dd8448eb211c80319c-000000000000000f-01"
        );
        assert!(!read(&GOOD.replace("-01", "-00")).unwrap().is_sampled());
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        let long = format!("{GOOD}-more");
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replace("00-0a", "ff-0a"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            &GOOD.replace("-01", "-0x"),
            &GOOD.replacen('-', "_", 1),
            &long,
            "00-äf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(TraceContext::read([GOOD, GOOD], []), None, "two of them");
    }

    #[test]
    fn a_newer_version_is_read_as_far_as_it_is_known() {
        assert!(read(&GOOD.replace("00-0a", "cc-0a")).is_some());
        assert!(read(&format!("{}-what-the-future", GOOD.replace("00-0a", "cc-0a"))).is_some());
        assert!(read(&format!("{}.what", GOOD.replace("00-0a", "cc-0a"))).is_none());
    }

    #[test]
    fn an_invalid_tracestate_is_left_out_and_the_trace_stands() {
        let state = |states: &[&str]| TraceContext::read([GOOD], states.iter().copied()).unwrap().state;
        assert_eq!(state(&["a=1", "b@v=2 3"]).as_deref(), Some("a=1,b@v=2 3"));
        let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        for bad in [
            "",
            "a",
            "A=1",
            "a=1,a=2",
            "a=b=c",
            "a=",
            "a=ü",
            &many,
            &format!("a={}", "x".repeat(300)),
        ] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
    }
}
