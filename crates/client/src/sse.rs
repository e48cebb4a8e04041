//! Server-sent events, as the HTML standard describes the format (section 9.2.6): fields on lines, a blank line ends
//! an event.

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) id: Option<String>,
}

/// Turns bytes as they come into events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are known to hold no line's end.
    searched: usize,
    event: Event,
    has_data: bool,
}

/// An event grew beyond what the client keeps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Bytes of one event: a view with the largest input, context and outputs.
const MAX_EVENT_BYTES: usize = 256 * 1024 * 1024;

impl Parser {
    /// Takes bytes, and returns the events that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start.max(self.searched)..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let end = start.max(self.searched) + length;
            let line = String::from_utf8_lossy(&self.buffer[start..end]).into_owned();
            start = end + 1;
            self.searched = start;
            events.extend(self.line(line.trim_end_matches('\r')));
        }
        self.buffer.drain(..start);
        self.searched = self.buffer.len();
        if self.buffer.len() + self.event.data.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments (an empty field) and fields of later days.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text =
            ": hello\r\nevent: history\nid: 7\ndata: {\"a\":\ndata:1}\n\n:keep-alive\n\nevent: end\ndata: {}\n\n";
        let whole = Parser::default().feed(text.as_bytes()).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!(
            whole[0],
            Event {
                name: "history".into(),
                data: "{\"a\":\n1}".into(),
                id: Some("7".into())
            }
        );
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let pieces = text.as_bytes().chunks(size);
            let events: Vec<Event> = pieces.flat_map(|piece| parser.feed(piece).unwrap()).collect();
            assert_eq!(events, whole, "cut every {size} bytes");
        }
    }
}
