//! JSON for people: with line breaks and indentation, and otherwise as it was written.

/// From this level on lines are indented no further: a value of 100,000 levels would be 20 GB of spaces.
const MOST_INDENTED: usize = 64;

/// The JSON text with line breaks and two spaces for each level. The order of keys and the digits of numbers stay.
pub(crate) fn pretty(json: &str) -> String {
    let mut writer = Writer {
        text: String::with_capacity(json.len() * 2),
        level: 0,
    };
    let mut rest = json.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '"' => string(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => &rest[..1],
            _ => {
                &rest[..rest
                    .find(|c: char| "{}[],:\"".contains(c) || c.is_whitespace())
                    .unwrap_or(rest.len())]
            }
        };
        rest = rest[token.len()..].trim_start();
        writer.write(token, rest);
        rest = writer.skip_end_of_empty(token, rest);
    }
    writer.text
}

/// The string that a text begins with, quotes included.
fn string(text: &str) -> &str {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[..=at],
            _ => {}
        }
    }
    text
}

struct Writer {
    text: String,
    level: usize,
}

impl Writer {
    fn write(&mut self, token: &str, rest: &str) {
        match token {
            "{" | "[" if !begins_with_end(rest) => {
                self.text.push_str(token);
                self.level += 1;
                self.new_line();
            }
            "}" | "]" => {
                self.level = self.level.saturating_sub(1);
                self.new_line();
                self.text.push_str(token);
            }
            "," => {
                self.text.push(',');
                self.new_line();
            }
            ":" => self.text.push_str(": "),
            _ => self.text.push_str(token),
        }
    }

    /// An object or array without anything in it stays on its line.
    fn skip_end_of_empty<'a>(&mut self, token: &str, rest: &'a str) -> &'a str {
        if !matches!(token, "{" | "[") || !begins_with_end(rest) {
            return rest;
        }
        self.text.push_str(&rest[..1]);
        rest[1..].trim_start()
    }

    fn new_line(&mut self) {
        self.text.push('\n');
        self.text
            .extend(std::iter::repeat_n("  ", self.level.min(MOST_INDENTED)));
    }
}

fn begins_with_end(text: &str) -> bool {
    text.starts_with(['}', ']'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_keep_their_order_and_numbers_their_digits() {
        let json = r#"{"z":1.50,"a":[1, 2],"empty":{},"none":[ ],"text":"a \"{,}\" ü","deep":{"x":null}}"#;
        let expected = r#"{
  "z": 1.50,
  "a": [
    1,
    2
  ],
  "empty": {},
  "none": [],
  "text": "a \"{,}\" ü",
  "deep": {
    "x": null
  }
}"#;
        assert_eq!(pretty(json), expected);
        assert_eq!(pretty(expected), expected);
    }

    #[test]
    fn it_is_the_same_value_and_what_is_no_json_does_no_harm() {
        let json = r#"[{"a":[[],{"b":"\\"}]},-1e9,true]"#;
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&pretty(json)), value(json));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(pretty(&deep).len() < 30_000_000);
        for broken in ["", "\"", "}}]", "{\"a", "ü"] {
            let _ = pretty(broken);
        }
    }
}
