//! redb's commits, cut off at every moment.

use pagestone::persist::Recorder;
use pagestone::{Durability, Store};
use pagestone_redb::Backend;
use pagestone_tests::crash::commits::{Outcome, cut_power, holds};
use redb::{Builder, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError};
use std::io;

const TABLE: TableDefinition<u64, Vec<u8>> = TableDefinition::new("table");
const COMMITS: u64 = 8;

fn value(number: u64) -> Vec<u8> {
    vec![number as u8; 900 * number as usize]
}

fn commit(backend: impl StorageBackend, recorder: &Recorder) -> Outcome {
    let database = Builder::new().create_with_backend(backend)?;
    // redb refuses what is left where it died while it made a database.
    recorder.mark(0);
    for number in 1..=COMMITS {
        let change = database.begin_write()?;
        change.open_table(TABLE)?.insert(number, value(number))?;
        change.commit()?;
        recorder.mark(number);
    }
    Ok(())
}

fn work(store: &Store, recorder: &Recorder) -> Outcome {
    commit(Backend::open(store, "database")?, recorder)
}

fn weigh(store: &Store) -> Outcome<u64> {
    let mut database = Builder::new().create_with_backend(Backend::open(store, "database")?)?;
    if !database.check_integrity()? {
        return Err("the database was not whole, and is repaired".into());
    }
    let table = match database.begin_read()?.open_table(TABLE) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(0),
        table => table?,
    };
    let mut last = 0;
    for entry in table.iter()? {
        let (key, bytes) = entry?;
        last += 1;
        if key.value() != last || bytes.value() != value(last) {
            return Err(format!("row {last} is not what was written").into());
        }
    }
    Ok(last)
}

#[test]
fn a_commit_of_redb_that_returned_survives_a_power_cut_on_a_file() {
    holds(Durability::Fdatasync, 1000, work, weigh);
}

#[test]
fn a_commit_of_redb_that_returned_survives_a_power_cut_on_cache_lines() {
    holds(Durability::CacheLine, 1000, work, weigh);
}

/// A storage whose sync does nothing.
#[derive(Debug)]
struct Lazy(Backend);

impl StorageBackend for Lazy {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[test]
fn a_sync_that_does_nothing_is_found_out() {
    let lazy = |store: &Store, recorder: &Recorder| commit(Lazy(Backend::open(store, "database")?), recorder);
    for class in [Durability::Fdatasync, Durability::CacheLine] {
        let found = cut_power(class, 300, lazy, weigh)
            .violation
            .unwrap_or_else(|| panic!("{class}: the explorer found nothing"));
        println!("{}", found.lines().next().unwrap_or_default());
    }
}
