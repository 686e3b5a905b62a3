//! The generated page: tables in Markdown, and below each the causes where Pagestone is slower.

use comfy_table::{CellAlignment, ColumnConstraint, Table, presets::ASCII_MARKDOWN};
use std::fmt::Write;

/// Below this ratio Pagestone counts as slower; bursts differ by what lies between it and 1.
const LOST_BELOW: f64 = 0.98;

/// How the names of Pagestone's rows begin.
pub const OURS: &str = "Pagestone";

/// A cell: the measured cost, and its ratio to Pagestone's. Less is better.
#[derive(Clone, Copy)]
pub struct Cell {
    /// The measured cost.
    pub cost: f64,
    /// Below one, Pagestone is slower.
    pub beside_ours: f64,
}

/// A row: its name, its cells, and the causes where Pagestone is slower.
pub struct Row {
    /// The name.
    pub name: String,
    /// By the table's columns.
    pub cells: Vec<Cell>,
    /// The cause, if one is known, why Pagestone is slower in a cell.
    pub cause: fn(&str, usize) -> Option<&'static str>,
}

/// The page.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push_str("\n\n");
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        self.paragraph(&format!("## {text}"));
    }

    /// A plot.
    pub fn picture(&mut self, text: &str, path: &str) {
        self.paragraph(&format!("![{text}]({path})"));
    }

    /// A table of costs. After each stands its ratio to Pagestone's; a letter marks the cells where Pagestone is
    /// slower, and refers to the cause below.
    pub fn costs(&mut self, head: &[&str], digits: usize, rows: &[Row]) {
        let mut causes: Vec<&str> = Vec::new();
        let lines = rows.iter().map(|row| {
            let cells = row.cells.iter().enumerate().map(|(column, cell)| {
                let text = format!("{:.digits$} ({:.2})", cell.cost, cell.beside_ours);
                if cell.beside_ours >= LOST_BELOW || row.name.starts_with(OURS) {
                    return text;
                }
                let cause = (row.cause)(&row.name, column).unwrap_or("The cause is not known.");
                let at = causes.iter().position(|known| *known == cause).unwrap_or_else(|| {
                    causes.push(cause);
                    causes.len() - 1
                });
                format!("**{text}** {}", letter(at))
            });
            std::iter::once(row.name.clone()).chain(cells).collect()
        });
        let lines: Vec<Vec<String>> = lines.collect();
        self.table(head, &lines);
        for (at, cause) in causes.iter().enumerate() {
            let _ = writeln!(self.0, "- {}: {cause}", letter(at));
        }
        if !causes.is_empty() {
            self.0.push('\n');
        }
    }

    /// A table of words; all columns but the first are numbers.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header(head);
        rows.iter().for_each(|row| {
            table.add_row(row);
        });
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_constraint(ColumnConstraint::ContentWidth);
            if at > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.paragraph(&table.to_string());
    }

    /// The whole page.
    pub fn text(&self) -> &str {
        self.0.trim_end_matches('\n')
    }
}

fn letter(at: usize) -> char {
    char::from(b'a' + (at % 26) as u8)
}

#[test]
fn what_is_lost_is_marked_and_its_cause_told_once() {
    let cell = |cost, beside_ours| Cell { cost, beside_ours };
    let cause = |name: &str, _| (name == "bare").then_some("It protects nothing.");
    let row = |name: &str, cells: [Cell; 2]| Row { name: name.into(), cells: cells.to_vec(), cause };
    let mut page = Page::default();
    let rows = [
        row("ours", [cell(2.0, 1.0), cell(4.0, 1.0)]),
        row("bare", [cell(1.0, 0.5), cell(1.0, 0.25)]),
        row("other", [cell(1.0, 0.5), cell(8.0, 2.0)]),
    ];
    page.costs(&["", "one", "two"], 1, &rows);
    let text = page.text();
    assert_eq!(text.matches("It protects nothing.").count(), 1);
    assert_eq!(text.matches("The cause is not known.").count(), 1);
    assert!(
        text.contains("**1.0 (0.50)** a") && text.contains("**1.0 (0.50)** b") && text.contains("8.0 (2.00)")
    );
}
