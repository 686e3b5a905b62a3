//! The tables of the page.

use super::{Result, same};
use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/docs/format.md");

/// A field of a structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub offset: u64,
    pub size: u64,
    pub name: String,
}

/// A part of a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub bits: Range<u64>,
    pub name: String,
}

/// The content of all tables of the page.
#[derive(Clone, Default, Debug)]
pub struct Page {
    /// The fields of structures, by their headings.
    pub rows: BTreeMap<String, Vec<Row>>,
    /// The parts of words, by their headings.
    pub parts: BTreeMap<String, Vec<Part>>,
    /// Named numbers.
    pub values: BTreeMap<String, u64>,
    /// Frames of a fresh region.
    pub frames: BTreeMap<String, u64>,
    /// The consequences for a structure that is flipped, zeroed or stale.
    pub damage: BTreeMap<String, [String; 3]>,
}

impl Page {
    /// Reads the page.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(PAGE).expect("the page that describes the format");
        let (mut page, mut heading, mut columns) = (Self::default(), String::new(), String::new());
        for line in text.lines() {
            if let Some(found) = line.strip_prefix('#') {
                heading = found.trim_start_matches('#').trim().to_owned();
            }
            let Some(cells) = line.strip_prefix('|') else {
                columns.clear();
                continue;
            };
            let cells: Vec<_> = cells.split('|').map(str::trim).collect();
            if columns.is_empty() {
                columns = cells[..3.min(cells.len())].join(" ");
            } else if !cells[0].starts_with("---") {
                page.take(&heading, &columns, &cells);
            }
        }
        page
    }

    fn take(&mut self, heading: &str, columns: &str, cells: &[&str]) {
        let (first, name) = (cells[0], cells.get(1).copied().unwrap_or_default());
        if columns.starts_with("offset size name") {
            let row = Row { offset: number(first), size: number(name), name: cells[2].to_owned() };
            self.rows.entry(heading.to_owned()).or_default().push(row);
        } else if columns.starts_with("bits name") {
            let (start, end) = first.split_once("..").expect("a range of bits");
            let part = Part { bits: number(start)..number(end), name: name.to_owned() };
            self.parts.entry(heading.to_owned()).or_default().push(part);
        } else if columns.starts_with("name value") {
            let twice = self.values.insert(first.to_owned(), number(name));
            assert_eq!(twice, None, "the page has two values for {first}");
        } else if columns.starts_with("frame name") {
            self.frames.insert(name.to_owned(), number(first));
        } else if columns.starts_with("structure flip zeroed") {
            let cells = [1, 2, 3].map(|n| cells[n].to_owned());
            self.damage.insert(first.to_owned(), cells);
        }
    }

    /// Checks that the rows of a structure leave no gap, fill it, and cut no word, and that the parts of a word fill it.
    pub fn hangs_together(&self) -> Result {
        for (structure, rows) in &self.rows {
            let mut end = 0;
            for row in rows {
                same(&format!("{structure}: where {} begins", row.name), row.offset, end)?;
                end += row.size;
                let words = row.offset % 8 == 0 && row.size % 8 == 0 && row.size > 0;
                let part = [1, 2, 4].contains(&row.size) && row.offset % row.size == 0;
                // The reserved end of a sector is followed by its sum.
                let end = row.offset % 8 == 0 && row.size % 8 == 4 && row.name == "zero rest";
                if !(words || part || end) {
                    return Err(format!("{structure}: {} crosses a word", row.name));
                }
            }
            let expected = match structure.as_str() {
                "Superblock" | "Log header" | "Lease" => self.value("sector size")?,
                "Root words" => self.value("frame size")?,
                "Object records" => self.value("frame size")? / 8,
                "Root line" => self.value("line size")?,
                "Group entry" => 2 * self.value("word size")?,
                "Log records" => 5 * self.value("word size")?,
                "Record end" => self.value("word size")?,
                _ => return Err(format!("{structure} is a structure that nothing reads")),
            };
            same(&format!("{structure}: bytes"), end, expected)?;
        }
        for (word, parts) in &self.parts {
            let mut end = 0;
            for part in parts {
                same(&format!("{word}: where {} begins", part.name), part.bits.start, end)?;
                end = part.bits.end;
                // The number of a frame has 32 bits, and the flag for a loss has one.
                let width = match part.name.as_str() {
                    "frame" => 32,
                    "lost" => 1,
                    _ => end - part.bits.start,
                };
                same(&format!("{word}: bits of {}", part.name), end - part.bits.start, width)?;
            }
            same(&format!("{word}: bits"), end, 64)?;
        }
        Ok(())
    }

    /// A field.
    pub fn row(&self, structure: &str, name: &str) -> Result<&Row> {
        let rows = self.rows.get(structure).ok_or_else(|| format!("the page has no {structure}"))?;
        rows.iter().find(|row| row.name == name).ok_or_else(|| format!("{structure} has no {name}"))
    }

    /// A part of a word.
    pub fn part(&self, word: &str, name: &str) -> Result<&Range<u64>> {
        let parts = self.parts.get(word).ok_or_else(|| format!("the page has no {word}"))?;
        let part = parts.iter().find(|part| part.name == name);
        part.map(|part| &part.bits).ok_or_else(|| format!("{word} has no {name}"))
    }

    /// The part of this word with that name.
    pub fn bits(&self, table: &str, word: u64, name: &str) -> Result<u64> {
        let bits = self.part(table, name)?;
        Ok(low(word >> bits.start, bits.end - bits.start))
    }

    /// A named number.
    pub fn value(&self, name: &str) -> Result<u64> {
        self.values.get(name).copied().ok_or_else(|| format!("the page has no value for {name}"))
    }

    /// A frame of a fresh region.
    pub fn frame(&self, name: &str) -> Result<u64> {
        self.frames.get(name).copied().ok_or_else(|| format!("the page has no frame for {name}"))
    }
}

/// The lowest bits of a number.
pub const fn low(number: u64, bits: u64) -> u64 {
    if bits >= 64 { number } else { number & ((1 << bits) - 1) }
}

fn number(text: &str) -> u64 {
    let hex = text.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16));
    hex.unwrap_or_else(|| text.parse()).unwrap_or_else(|_| panic!("{text:?} is no number"))
}
