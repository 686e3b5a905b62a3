//! Compares the database after the kill with the transactions that the worker had acknowledged.

use super::ledger::Ledger;
use super::worker::{ROWS_PER_WRITE, connect, quote, tables};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows of each of the user's tables, by name.
pub type Counts = BTreeMap<String, i64>;

/// The results, and the expected values.
#[derive(Debug)]
pub struct Proof {
    /// Time from opening to the first answer, recovery included.
    pub reopened_in: Duration,
    /// The result of `PRAGMA integrity_check`.
    pub integrity: String,
    /// Rows of data found, and expected.
    pub rows: (u64, u64),
    /// Tables whose number of rows has changed.
    pub changed_tables: Vec<String>,
    /// Acknowledged transactions found whole, and expected.
    pub acknowledged: (u64, u64),
    /// Transactions found in part.
    pub torn: u64,
    /// Transactions that were open at the kill and are complete: they were committed, and the acknowledgement was cut
    /// off.
    pub unacknowledged: u64,
    /// Transactions that were never begun, and gaps in the numbers.
    pub strange: u64,
}

impl Proof {
    /// Whether everything is as it must be.
    pub fn holds(&self) -> bool {
        self.integrity == "ok"
            && self.rows.0 == self.rows.1
            && self.changed_tables.is_empty()
            && self.acknowledged.0 == self.acknowledged.1
            && self.torn == 0
            && self.strange == 0
    }
}

/// Rows of each of the user's tables.
pub fn count(db: &Connection) -> rusqlite::Result<Counts> {
    tables(db)?
        .into_iter()
        .map(|t| {
            let n = db.query_row(&format!("SELECT count(*) FROM {}", quote(&t)), [], |row| row.get(0))?;
            Ok((t, n))
        })
        .collect()
}

/// Opens the region again and compares. `own` has the numbers of rows of the user's tables before the work. Without
/// it the database has the built-in data.
pub fn prove(region: &Path, ledger: &Ledger, own: Option<&Counts>) -> rusqlite::Result<Proof> {
    let start = Instant::now();
    let db = connect(region)?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let reopened_in = start.elapsed();
    let integrity = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let (rows, changed_tables) = match own {
        Some(before) => compare(before, &count(&db)?),
        None => unicode(&db, ledger)?,
    };
    let mut proof = Proof {
        reopened_in,
        integrity,
        rows,
        changed_tables,
        acknowledged: (0, ledger.total_acknowledged()),
        torn: 0,
        unacknowledged: 0,
        strange: 0,
    };
    weigh(&db, ledger, &mut proof)?;
    Ok(proof)
}

fn compare(before: &Counts, after: &Counts) -> ((u64, u64), Vec<String>) {
    let sum = |c: &Counts| c.values().sum::<i64>().unsigned_abs();
    let changed = before.iter().filter(|(t, n)| after.get(*t) != Some(*n)).map(|(t, _)| t.clone()).collect();
    ((sum(after), sum(before)), changed)
}

/// Checks the built-in data: the number of rows, and that each row of a writer marked one character.
fn unicode(db: &Connection, ledger: &Ledger) -> rusqlite::Result<((u64, u64), Vec<String>)> {
    let (rows, seen): (u64, u64) =
        db.query_row("SELECT count(*), sum(seen) FROM chars", [], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let marks: u64 = db.query_row("SELECT count(*) FROM pagestone_demo", [], |r| r.get(0))?;
    let changed = if seen == marks { vec![] } else { vec!["chars".to_owned()] };
    Ok(((rows, ledger.rows), changed))
}

/// Checks the writers' transactions one by one.
fn weigh(db: &Connection, ledger: &Ledger, proof: &mut Proof) -> rusqlite::Result<()> {
    let mut statement = db.prepare(
        "SELECT thread, number, count(*) FROM pagestone_demo GROUP BY thread, number ORDER BY 1, 2",
    )?;
    let mut rows = statement.query([])?;
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (thread, number, parts): (u32, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let previous = last.insert(thread, number).unwrap_or(0);
        let of = |m: &BTreeMap<u32, u64>| m.get(&thread).copied().unwrap_or(0);
        if number != previous + 1 || number > of(&ledger.begun) {
            proof.strange += 1;
        } else if parts != ROWS_PER_WRITE {
            proof.torn += 1;
        } else if number > of(&ledger.acknowledged) {
            proof.unacknowledged += 1;
        } else {
            proof.acknowledged.0 += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::ledger::{Message, Writer};

    fn weighed(transactions: &[(u64, u64)], acknowledged: u64, begun: u64) -> Proof {
        let db = Connection::open_in_memory().expect("in memory");
        db.execute_batch("CREATE TABLE pagestone_demo(thread, number, part, note)").expect("create");
        for &(number, parts) in transactions {
            for part in 0..parts {
                db.execute("INSERT INTO pagestone_demo VALUES(0, ?, ?, '')", [number, part]).expect("insert");
            }
        }
        let mut ledger = Ledger::default();
        ledger.enter(Message::Begin(Writer { thread: 0, transaction: begun }));
        ledger.enter(Message::Ack(Writer { thread: 0, transaction: acknowledged }));
        let mut proof = Proof {
            reopened_in: Duration::ZERO,
            integrity: "ok".into(),
            rows: (0, 0),
            changed_tables: vec![],
            acknowledged: (0, acknowledged),
            torn: 0,
            unacknowledged: 0,
            strange: 0,
        };
        weigh(&db, &ledger, &mut proof).expect("weigh");
        proof
    }

    #[test]
    fn an_unacknowledged_transaction_may_be_whole_or_absent() {
        assert!(weighed(&[(1, 8), (2, 8)], 2, 3).holds());
        let whole = weighed(&[(1, 8), (2, 8), (3, 8)], 2, 3);
        assert!(whole.holds());
        assert_eq!(whole.unacknowledged, 1);
    }

    #[test]
    fn a_torn_a_lost_and_an_invented_transaction_are_found() {
        assert!(!weighed(&[(1, 8), (2, 8), (3, 5)], 2, 3).holds(), "torn");
        assert!(!weighed(&[(1, 8)], 2, 3).holds(), "lost at the end");
        assert!(!weighed(&[(2, 8)], 2, 3).holds(), "lost at the start");
        assert!(!weighed(&[(1, 8), (2, 8), (3, 8), (4, 8)], 2, 3).holds(), "invented");
    }
}
