//! Tables without lines: columns that stand below each other, as people and `awk` like them.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::{Console, Tone};

/// A table that is being filled.
pub(crate) struct Grid {
    table: Table,
    console: Console,
}

impl Grid {
    /// A table with these column heads.
    pub(crate) fn new(console: Console, heads: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if console.is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        if console.in_colour() {
            table.enforce_styling();
        }
        let mut grid = Self { table, console };
        let heads: Vec<Cell> = heads
            .iter()
            .map(|head| grid.cell((Tone::Quiet, (*head).to_owned()).into()))
            .collect();
        grid.table.set_header(heads);
        grid
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, fields: [Field; N]) {
        let cells: Vec<Cell> = fields.into_iter().map(|field| self.cell(field)).collect();
        self.table.add_row(cells);
    }

    /// The table as text, without spaces at the ends of its lines.
    pub(crate) fn text(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.table.trim_fmt()
    }

    fn cell(&self, field: Field) -> Cell {
        let cell = Cell::new(field.text);
        let Some(tone) = field.tone.filter(|_| self.console.in_colour()) else {
            return cell;
        };
        match tone {
            Tone::Good => cell.fg(Color::DarkGreen),
            Tone::Bad => cell.fg(Color::DarkRed),
            Tone::Busy => cell.fg(Color::DarkCyan),
            Tone::Waiting => cell.fg(Color::DarkYellow),
            Tone::Quiet => cell.add_attribute(Attribute::Dim),
            Tone::Strong => cell.add_attribute(Attribute::Bold),
        }
    }
}

/// One field of a table: text, perhaps with a colour.
pub(crate) struct Field {
    text: String,
    tone: Option<Tone>,
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<(Tone, String)> for Field {
    fn from((tone, text): (Tone, String)) -> Self {
        Self { text, tone: Some(tone) }
    }
}
