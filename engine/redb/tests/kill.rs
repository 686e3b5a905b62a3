//! A process that commits to redb on Pagestone is killed with SIGKILL at random moments, again and again: nothing that it
//! has acknowledged is lost, nothing is torn. `PAGESTONE_REDB_ROUNDS` says how often.

use pagestone::{Durability, Store};
use pagestone_kit::rounds::{Orders, Outcome, Said, acknowledge, begin, play, unborn};
use pagestone_redb::Backend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

const HEAD: TableDefinition<(), u64> = TableDefinition::new("head");
const ROWS: TableDefinition<(u64, u64), Vec<u8>> = TableDefinition::new("rows");
/// Transactions whose rows are kept: the others' pages are used again.
const KEPT: u64 = 40;

fn main() -> Outcome {
    play("PAGESTONE_REDB_ROUNDS", work, weigh)
}

fn rows(number: u64) -> u64 {
    1 + number * 7 % 5
}

fn payload(number: u64, row: u64) -> Vec<u8> {
    let len = (number * 131 + row * 977) % 6_000;
    (0..len).map(|n| (number + row + n) as u8).collect()
}

fn open(orders: &Orders) -> Outcome<(Store, Database)> {
    let mut options = Store::options().create(true);
    if orders.lines {
        options = options.assume(Durability::CacheLine);
    }
    let store = options.open(&orders.region)?;
    let database = Builder::new().create_with_backend(Backend::open(&store, "database")?)?;
    Ok((store, database))
}

fn head(database: &Database) -> Outcome<u64> {
    match database.begin_read()?.open_table(HEAD) {
        Ok(table) => Ok(table.get(())?.map_or(0, |head| head.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn work(orders: &Orders) -> Outcome {
    let (_store, database) = open(orders)?;
    for number in head(&database)? + 1.. {
        begin(number);
        let mut change = database.begin_write()?;
        change.set_two_phase_commit(orders.manner % 3 == 1);
        change.set_quick_repair(orders.manner % 3 == 2);
        {
            let mut table = change.open_table(ROWS)?;
            for row in 0..rows(number) {
                table.insert((number, row), payload(number, row))?;
            }
            if let Some(old) = number.checked_sub(KEPT) {
                table.retain_in((old, 0)..(old + 1, 0), |_, _| false)?;
            }
            change.open_table(HEAD)?.insert((), number)?;
        }
        change.commit()?;
        acknowledge(number);
    }
    Ok(())
}

fn weigh(orders: &Orders, said: &Said) -> Outcome<u64> {
    if unborn(&orders.region, said) {
        return Ok(0);
    }
    let (store, mut database) = open(orders)?;
    if !database.check_integrity()? {
        return Err("the database was not whole, and is repaired".into());
    }
    let head = head(&database)?;
    said.allows(head)?;
    let first = (head + 1).saturating_sub(KEPT).max(1);
    let expected = (first..=head).flat_map(|number| (0..rows(number)).map(move |row| (number, row)));
    if !found(&database)?.into_iter().eq(expected) {
        return Err(format!("the rows of {first} to {head} are not those that were written").into());
    }
    drop(database);
    match store.check()?.findings {
        findings if findings.is_empty() => Ok(head),
        findings => Err(format!("the region: {findings:?}").into()),
    }
}

/// The rows that are there, each with its own bytes.
fn found(database: &Database) -> Outcome<Vec<(u64, u64)>> {
    let table = match database.begin_read()?.open_table(ROWS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut found = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let (number, row) = key.value();
        if value.value() != payload(number, row) {
            return Err(format!("row {row} of {number} is not what was written").into());
        }
        found.push((number, row));
    }
    Ok(found)
}
