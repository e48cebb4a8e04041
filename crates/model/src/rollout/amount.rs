//! How many: a count, or a share of something that is counted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Type},
};

/// Hundredths of a percent in the whole.
const WHOLE: u32 = 10_000;

/// A share from 0 to 100 %, to two decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    /// So many whole percent; `None` above 100.
    #[must_use]
    pub const fn whole(percent: u32) -> Option<Self> {
        if percent > 100 {
            return None;
        }
        Some(Self(percent * 100))
    }

    /// The share of `total`, rounded down.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        (u128::from(total) * u128::from(self.0) / u128::from(WHOLE))
            .try_into()
            .unwrap_or(u64::MAX)
    }

    /// The share of `total`, rounded up.
    #[must_use]
    pub fn of_rounded_up(self, total: u64) -> u64 {
        (u128::from(total) * u128::from(self.0))
            .div_ceil(u128::from(WHOLE))
            .try_into()
            .unwrap_or(u64::MAX)
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// It is neither a number nor a percentage.
    #[error("\"{0}\" is neither a count, such as 5, nor a share, such as \"10%\" or \"2.5%\"")]
    Malformed(String),
    /// More than everything.
    #[error("\"{0}\" is more than 100%")]
    OverWhole(String),
    /// Less than nothing.
    #[error("{0} is negative")]
    Negative(String),
    /// A number that no fleet has.
    #[error("{0} is more than 4294967295")]
    TooLarge(String),
}

impl FromStr for Percent {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let malformed = || AmountError::Malformed(text.to_owned());
        let digits = text.trim().strip_suffix('%').ok_or_else(malformed)?.trim_end();
        if digits.starts_with('-') {
            return Err(AmountError::Negative(text.to_owned()));
        }
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(decimals) || decimals.len() > 2 {
            return Err(malformed());
        }
        let over = || AmountError::OverWhole(text.to_owned());
        let whole: u32 = whole.parse().map_err(|_| over())?;
        let rest: u32 = format!("{decimals:0<2}").parse().map_err(|_| malformed())?;
        let value = whole
            .checked_mul(100)
            .and_then(|it| it.checked_add(rest))
            .ok_or_else(over)?;
        if value > WHOLE { Err(over()) } else { Ok(Self(value)) }
    }
}

/// A count, or a share of what is counted. In JSON `5`, or `"10%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// This share, rounded down.
    Percent(Percent),
}

impl Amount {
    /// So many of `total`: a share is rounded down, and never to zero.
    #[must_use]
    pub fn at_least_one(self, total: u64) -> u64 {
        self.rounded_down(total).max(1)
    }

    /// So many of `total`: a share is rounded down, to zero if need be.
    #[must_use]
    pub fn rounded_down(self, total: u64) -> u64 {
        match self {
            Self::Count(count) => u64::from(count),
            Self::Percent(percent) => percent.of(total),
        }
    }

    /// Whether it says none at all.
    #[must_use]
    pub fn is_zero(self) -> bool {
        match self {
            Self::Count(count) => count == 0,
            Self::Percent(percent) => percent.is_zero(),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(percent) => percent.fmt(f),
        }
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let trimmed = text.trim();
        if trimmed.ends_with('%') {
            return trimmed.parse().map(Self::Percent);
        }
        if trimmed.starts_with('-') {
            return Err(AmountError::Negative(text.to_owned()));
        }
        if trimmed.is_empty() || !trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::Malformed(text.to_owned()));
        }
        trimmed
            .parse()
            .map(Self::Count)
            .map_err(|_| AmountError::TooLarge(text.to_owned()))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(percent) => serializer.collect_str(percent),
        }
    }
}

struct AmountVisitor;

impl de::Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count, such as 5, or a share, such as \"10%\"")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Amount, E> {
        let too_large = |_| E::custom(AmountError::TooLarge(count.to_string()));
        u32::try_from(count).map(Amount::Count).map_err(too_large)
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Amount, E> {
        Err(E::custom(AmountError::Negative(count.to_string())))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

macro_rules! amount_schema {
    ($name:ty, $text:literal) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<utoipa::openapi::Schema> {
                let types = utoipa::openapi::schema::SchemaType::from_iter([Type::Integer, Type::String]);
                ObjectBuilder::new()
                    .schema_type(types)
                    .description(Some($text))
                    .into()
            }
        }

        impl ToSchema for $name {}
    };
}
amount_schema!(
    Amount,
    "A count, such as `5`, or a share rounded down, such as `\"10%\"`."
);

/// How many failures are tolerated. In JSON `3`, `"5%"`, or `"<5%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tolerance {
    /// Up to so many, or up to this share rounded down.
    UpTo(Amount),
    /// Fewer than this share: of 10 targets, `<10%` tolerates none.
    FewerThan(Percent),
}

impl Tolerance {
    /// None at all.
    pub const NONE: Self = Self::UpTo(Amount::Count(0));

    /// How many of `total` may fail.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::UpTo(amount) => amount.rounded_down(total),
            Self::FewerThan(percent) => percent.of_rounded_up(total).saturating_sub(1),
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo(amount) => amount.fmt(f),
            Self::FewerThan(percent) => write!(f, "<{percent}"),
        }
    }
}

impl FromStr for Tolerance {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        match text.trim().strip_prefix('<') {
            Some(percent) => percent.parse().map(Self::FewerThan),
            None => text.parse().map(Self::UpTo),
        }
    }
}

impl Serialize for Tolerance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::UpTo(amount) => amount.serialize(serializer),
            Self::FewerThan(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Tolerance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Tolerance;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count, such as 3, a share, such as \"5%\", or fewer than a share, such as \"<5%\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Tolerance, E> {
                AmountVisitor.visit_u64(count).map(Tolerance::UpTo)
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Tolerance, E> {
                AmountVisitor.visit_i64(count).map(Tolerance::UpTo)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Tolerance, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
amount_schema!(
    Tolerance,
    "A count, a share rounded down, or fewer than a share: `3`, `\"5%\"`, `\"<5%\"`."
);

/// Batches that grow: `start`, `start · factor`, `start · factor²`, … up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Growth {
    /// The first batch.
    pub start: Amount,
    /// By how much each batch is larger than the one before it; at least 2.
    #[serde(default = "double")]
    pub factor: u32,
    /// No batch is larger than this; everything when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Amount>,
}

fn double() -> u32 {
    2
}

/// How many targets are moved at the same time.
///
/// A count or a share is a window: as soon as one target has proved itself, the next one moves. A list and a growth are
/// steps: a step begins when every target of the one before it has been decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Batch {
    /// Always so many in flight.
    Window(Amount),
    /// One step after another; the last one repeats.
    Steps(Vec<Amount>),
    /// Steps that grow.
    Growing(Growth),
}

impl Batch {
    /// Whether targets move in steps, each of which is finished before the next begins.
    #[must_use]
    pub fn is_stepped(&self) -> bool {
        !matches!(self, Self::Window(_))
    }

    /// How many targets the step has (counted from 0), of `total` in the wave. Never zero.
    #[must_use]
    pub fn size(&self, step: u32, total: u64) -> u64 {
        match self {
            Self::Window(amount) => amount.at_least_one(total),
            Self::Steps(steps) => {
                let last = steps.len().saturating_sub(1);
                let at = usize::try_from(step).unwrap_or(usize::MAX).min(last);
                steps.get(at).map_or(1, |amount| amount.at_least_one(total))
            }
            Self::Growing(growth) => {
                let most = growth.max.map_or(u64::MAX, |max| max.at_least_one(total));
                let grown = u64::from(growth.factor).saturating_pow(step);
                growth.start.at_least_one(total).saturating_mul(grown).min(most)
            }
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::Window(Amount::Percent(Percent(1_000)))
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Batch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a count, a share such as \"10%\", a list of these, or an object with start, factor and max",
                )
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Batch, E> {
                AmountVisitor.visit_u64(count).map(Batch::Window)
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Batch, E> {
                AmountVisitor.visit_i64(count).map(Batch::Window)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Batch, E> {
                AmountVisitor.visit_str(text).map(Batch::Window)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Batch, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(Batch::Steps)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Batch, A::Error> {
                Growth::deserialize(de::value::MapAccessDeserializer::new(map)).map(Batch::Growing)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read<T: for<'a> Deserialize<'a>>(json: &str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_share_is_rounded_down_and_a_batch_never_to_zero() {
        let percent: Amount = read("\"20%\"").unwrap();
        assert_eq!([4, 5, 9, 10].map(|total| percent.at_least_one(total)), [1, 1, 1, 2]);
        assert_eq!([4, 5, 9, 10].map(|total| percent.rounded_down(total)), [0, 1, 1, 2]);
        assert_eq!(read::<Amount>("\"0.05%\"").unwrap().rounded_down(10_000), 5);
    }

    #[test]
    fn fewer_than_a_share_stays_below_it() {
        let tolerance: Tolerance = read("\"<10%\"").unwrap();
        assert_eq!(
            [5, 10, 11, 20, 21, 0].map(|total| tolerance.of(total)),
            [0, 0, 1, 1, 2, 0]
        );
    }

    #[test]
    fn amounts_that_make_no_sense_are_refused_with_what_would() {
        for (json, part) in [
            ("\"101%\"", "more than 100%"),
            ("-1", "negative"),
            ("\"-5%\"", "negative"),
            ("\"ten\"", "such as 5"),
            ("\"1.234%\"", "such as 5"),
            ("5000000000", "more than 4294967295"),
        ] {
            let error = read::<Amount>(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn batches_are_read_in_all_four_forms() {
        let sizes = |json: &str| {
            let batch: Batch = read(json).unwrap();
            [0, 1, 2, 3].map(|step| batch.size(step, 100))
        };
        assert_eq!(sizes("7"), [7; 4]);
        assert_eq!(sizes("\"10%\""), [10; 4]);
        assert_eq!(sizes("[1, 5, \"10%\"]"), [1, 5, 10, 10]);
        assert_eq!(sizes("{\"start\": 1, \"factor\": 3, \"max\": \"20%\"}"), [1, 3, 9, 20]);
    }
}
