//! Page tokens: where a list goes on, and which list it is.

use crate::StoreError;
use crate::key::RunKey;

/// The last run that the page before looked at, and the digest of what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageToken {
    pub(crate) run: RunKey,
    pub(crate) question: u64,
}

impl PageToken {
    pub(crate) fn encode(self) -> String {
        format!("{:016x}{:016x}", self.run.0, self.question)
    }

    /// Reads a token that was given with the question whose digest is `question`.
    pub(crate) fn parse(text: &str, question: u64) -> Result<Self, StoreError> {
        let token = Self::read(text).ok_or_else(|| StoreError::MalformedPageToken {
            token: text.chars().take(40).collect(),
        })?;
        if token.question != question {
            return Err(StoreError::ForeignPageToken);
        }
        Ok(token)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self {
            run: RunKey(u64::from_str_radix(&text[..16], 16).ok()?),
            question: u64::from_str_radix(&text[16..], 16).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_serves_only_the_list_it_came_from() {
        let token = PageToken {
            run: RunKey(7),
            question: 9,
        };
        assert_eq!(PageToken::parse(&token.encode(), 9).unwrap(), token);
        let error = PageToken::parse(&token.encode(), 8).unwrap_err();
        assert!(matches!(error, StoreError::ForeignPageToken), "{error}");
    }

    #[test]
    fn a_malformed_token_is_refused_and_named() {
        let long = "é".repeat(100);
        for bad in ["", "7", "+000000000000007000000000000000a", long.as_str()] {
            let error = PageToken::parse(bad, 9).unwrap_err();
            assert!(matches!(error, StoreError::MalformedPageToken { .. }), "{bad}: {error}");
            assert!(error.to_string().len() < 250);
        }
    }
}
