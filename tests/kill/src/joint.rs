//! Transactions over several databases: the round's own, one in another region, and a plain file of SQLite's own VFS.
//!
//! What SQLite promises for them depends on the journal. With `DELETE` or `TRUNCATE`, and not with `synchronous=OFF`,
//! there is a super-journal, and each is in all databases or in none. Otherwise each database by itself has it whole or
//! not at all.

use crate::workload::{Orders, payload};
use rusqlite::{Connection, TransactionBehavior, params};
use std::path::{Path, PathBuf};

/// One transaction in this many is joint.
const EVERY: u64 = 8;
/// The databases, by the names they are attached under.
pub const DATABASES: [&str; 3] = ["main", "other", "plain"];
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS joint(writer INTEGER PRIMARY KEY, number INTEGER, payload BLOB)";

/// Whether a writer's transaction is joint.
pub fn is_joint(number: u64) -> bool {
    number.is_multiple_of(EVERY)
}

/// The last joint transaction up to this one; 0 if there is none.
pub fn last_joint(number: u64) -> u64 {
    number - number % EVERY
}

/// Whether SQLite promises that all databases have a transaction or none.
pub fn is_promised(journal: &str, sync: &str) -> bool {
    journal != "WAL" && sync != "OFF"
}

/// The paths of the other two databases.
pub fn companions(region: &Path) -> [PathBuf; 2] {
    [region.with_extension("other.pgs"), region.with_extension("plain.sqlite")]
}

/// Attaches the other two to a connection of the first. `parameters` are those of the region.
pub fn attach(db: &Connection, region: &Path, parameters: &str) -> rusqlite::Result<()> {
    let [other, plain] = companions(region);
    let uris =
        [format!("file:{}?{parameters}", other.display()), format!("file:{}?vfs=unix", plain.display())];
    for (name, uri) in DATABASES[1..].iter().zip(uris) {
        db.execute(&format!("ATTACH ? AS {name}"), [uri])?;
    }
    Ok(())
}

/// Makes the tables, each in a transaction of its own, and sets the journal mode of every database.
pub fn prepare(db: &Connection, orders: &Orders) -> rusqlite::Result<()> {
    for name in DATABASES {
        db.pragma_update(Some(name), "journal_mode", &orders.journal)?;
        db.pragma_update(Some(name), "synchronous", &orders.sync)?;
        db.execute_batch(&TABLE.replace("joint(", &format!("{name}.joint(")))?;
    }
    Ok(())
}

/// Writes the transaction to all three databases. `more` is the rest of its work in the first one.
pub fn write(
    db: &mut Connection,
    writer: u32,
    number: u64,
    more: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    more(&transaction)?;
    for name in DATABASES {
        transaction.execute(
            &format!("INSERT OR REPLACE INTO {name}.joint VALUES(?, ?, ?)"),
            params![writer, number, payload(writer, number, 0)],
        )?;
    }
    transaction.commit()
}

/// The last joint transaction of a writer that a database has; 0 if it has none. An error says what is wrong with it.
pub fn head(db: &Connection, name: &str, writer: u32) -> Result<u64, String> {
    let table = format!("SELECT count(*) FROM {name}.sqlite_schema WHERE name = 'joint'");
    let words = |e: rusqlite::Error| format!("{name}: {e}");
    if db.query_row(&table, [], |row| row.get::<_, u32>(0)).map_err(words)? == 0 {
        return Ok(0);
    }
    let query = format!("SELECT number, payload FROM {name}.joint WHERE writer = ?");
    let found = db.query_row(&query, [writer], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)));
    match found {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(0),
        Err(e) => Err(words(e)),
        Ok((number, bytes)) if bytes == payload(writer, number, 0) => Ok(number),
        Ok((number, _)) => {
            Err(format!("{name}: transaction {number} of writer {writer} is not what was written"))
        }
    }
}

/// What is known of a writer.
#[derive(Debug)]
pub struct Said {
    /// Its last joint transaction in each database before the round.
    pub known: [u64; 3],
    /// Its last joint transaction that was acknowledged in the round; 0 if there is none.
    pub acknowledged: u64,
    /// Its last one that was begun.
    pub begun: u64,
}

impl Said {
    /// What is wrong with its heads in the three databases, if anything. `own` is its last transaction in the first one.
    pub fn weigh(&self, heads: [u64; 3], own: u64, promised: bool) -> Option<String> {
        let lawful = |(head, known): (&u64, u64)| {
            (known.max(self.acknowledged)..=last_joint(self.begun)).contains(head)
        };
        if heads[0] != last_joint(own) || !heads.iter().zip(self.known).all(lawful) {
            return Some(format!("{heads:?} are not lawful, {own} is the last of all, {self:?}"));
        }
        (promised && heads != [heads[0]; 3]).then(|| format!("{heads:?}: torn across databases"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(known: [u64; 3], acknowledged: u64, begun: u64) -> Said {
        Said { known, acknowledged, begun }
    }

    #[test]
    fn a_transaction_torn_across_databases_is_found_where_it_is_promised() {
        assert_eq!(said([8; 3], 16, 18).weigh([16, 16, 16], 17, true), None);
        assert_eq!(said([16; 3], 0, 24).weigh([24, 24, 24], 24, true), None);
        assert_eq!(said([16; 3], 0, 24).weigh([16, 16, 16], 23, true), None);
        assert!(said([16; 3], 0, 24).weigh([24, 16, 24], 24, true).is_some());
        assert_eq!(said([16; 3], 0, 24).weigh([24, 16, 24], 24, false), None);
        // A torn transaction stays torn in the next round.
        assert_eq!(said([24, 16, 24], 0, 26).weigh([24, 16, 24], 25, false), None);
    }

    #[test]
    fn a_lost_or_invented_joint_transaction_is_found() {
        assert!(said([8; 3], 16, 17).weigh([16, 8, 16], 17, false).is_some(), "lost in this round");
        assert!(said([16; 3], 0, 18).weigh([16, 8, 16], 18, false).is_some(), "lost later");
        assert!(said([8; 3], 16, 18).weigh([16, 16, 24], 17, false).is_some(), "invented");
        assert!(said([8; 3], 0, 17).weigh([8, 8, 8], 17, true).is_some(), "the first database has more");
    }
}
