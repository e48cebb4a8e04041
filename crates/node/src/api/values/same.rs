//! Whether two texts are the same JSON: white space, the order of members and the way in which a number is written make no
//! difference. Numbers are compared as decimals, since floating point would take large ones that differ for equal.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// How deep JSON is compared; what is deeper is never the same.
const MAX_DEPTH: u32 = 128;

pub(super) fn same(one: &str, other: &str) -> bool {
    at_depth(0, one, other)
}

fn at_depth(depth: u32, one: &str, other: &str) -> bool {
    let (one, other) = (one.trim_ascii(), other.trim_ascii());
    if one == other {
        return true;
    }
    if depth >= MAX_DEPTH {
        return false;
    }
    let below = |one: &RawValue, other: &RawValue| at_depth(depth + 1, one.get(), other.get());
    let compared = match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => members(one).zip(members(other)).map(|(one, other)| {
            let pairs = one.iter().zip(&other);
            one.len() == other.len()
                && pairs
                    .into_iter()
                    .all(|(one, other)| one.0 == other.0 && below(one.1, other.1))
        }),
        (Some(b'['), Some(b'[')) => elements(one).zip(elements(other)).map(|(one, other)| {
            let mut pairs = one.iter().zip(&other);
            one.len() == other.len() && pairs.all(|(one, other)| below(one, other))
        }),
        (Some(b'"'), Some(b'"')) => text(one).zip(text(other)).map(|(one, other)| one == other),
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => {
            decimal(one).zip(decimal(other)).map(|(one, other)| one == other)
        }
        _ => None,
    };
    compared.unwrap_or(false)
}

fn members(json: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

fn elements(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// Sign, significant digits, and the power of ten of the last one.
fn decimal(number: &str) -> Option<(bool, String, i64)> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let shift = i64::try_from(digits.len() - significant.len()).ok()? - i64::try_from(fraction.len()).ok()?;
    Some((negative, significant.to_owned(), exponent.checked_add(shift)?))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn what_means_the_same_is_the_same() {
        for (one, other) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("-0.50", "-5E-1"),
            ("0", "-0.0"),
            (r#"{"a": 1, "b": [true, null]}"#, r#"{"b":[true,null],"a":1.0}"#),
            (r#""é""#, r#""\u00e9""#),
            ("18446744073709551616", "1.8446744073709551616e19"),
        ] {
            assert!(same(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn what_differs_beyond_the_precision_of_a_float_differs() {
        for (one, other) in [
            ("18446744073709551616", "18446744073709551617"),
            ("9007199254740993.0", "9007199254740992.0"),
            (r#"{"n":99999999999999999999}"#, r#"{"n":99999999999999999998}"#),
            ("1e400", "1e401"),
            ("1", "-1"),
            ("1", r#""1""#),
            ("[1,2]", "[1]"),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            ("[]", "{}"),
        ] {
            assert!(!same(one, other), "{one} and {other}");
        }
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(200), "]".repeat(200));
        assert!(!same(&deep("1"), &deep("1.0")));
    }
}
