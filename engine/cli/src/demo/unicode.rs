//! The demo's data set: the Unicode Character Database, a row for each assigned code point.

use rusqlite::{Connection, params};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_script::UnicodeScript;
use unicode_width::UnicodeWidthChar;

/// Where the rows come from, and under which licence.
pub const SOURCE: &str =
    "Unicode Character Database, Unicode License (crates unicode_names2, -properties, -script, -width)";
/// The table they go to.
pub const SCHEMA: &str = "
    CREATE TABLE chars(cp INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL,
                       script TEXT NOT NULL, width INTEGER, seen INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX chars_script ON chars(script, category);
    CREATE INDEX chars_name ON chars(name);";
/// Rows of one import transaction.
pub const ROWS_PER_TRANSACTION: usize = 4096;

/// One code point.
pub struct Row {
    cp: u32,
    name: String,
    category: String,
    script: &'static str,
    width: Option<u64>,
}

/// Each code point that has a name, in order.
pub fn rows() -> impl Iterator<Item = Row> {
    (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter_map(|c| {
        let category = c.general_category();
        if matches!(category, GeneralCategory::Unassigned | GeneralCategory::PrivateUse) {
            return None;
        }
        let name = unicode_names2::name(c)?.to_string();
        Some(Row {
            cp: u32::from(c),
            name,
            category: format!("{category:?}"),
            script: c.script().full_name(),
            width: c.width().map(|w| w as u64),
        })
    })
}

/// Inserts `rows` as one transaction and returns their number.
pub fn insert(db: &mut Connection, rows: &[Row]) -> rusqlite::Result<usize> {
    let transaction = db.transaction()?;
    {
        let mut statement = transaction
            .prepare_cached("INSERT INTO chars(cp, name, category, script, width) VALUES(?, ?, ?, ?, ?)")?;
        for r in rows {
            statement.execute(params![r.cp, r.name, r.category, r.script, r.width])?;
        }
    }
    transaction.commit()?;
    Ok(rows.len())
}

/// Questions that the readers ask again and again; each returns some rows.
pub const QUERIES: &[&str] = &[
    "SELECT script, count(*) FROM chars GROUP BY script ORDER BY 2 DESC LIMIT 5",
    "SELECT category, count(*), max(length(name)) FROM chars GROUP BY category",
    "SELECT cp, name FROM chars WHERE name LIKE '%DRAGON%' ORDER BY cp",
    "SELECT a.name FROM chars a JOIN chars b ON b.cp = a.cp + 32 WHERE a.script = 'Latin' AND b.script = 'Latin' AND a.category = 'UppercaseLetter'",
    "SELECT width, count(*) FROM chars GROUP BY width",
];
