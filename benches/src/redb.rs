//! redb on its own file backend and on a Pagestone object.
//!
//! Bursts of both alternate, so that other load on the machine affects both alike. Each number is the median of its
//! bursts, and each ratio is the median of the ratios of adjacent bursts. Before that, the counters show what one
//! commit costs on Pagestone: syncs beyond the one flush that a file needs would show there.

use crate::{Random, medians::median};
use pagestone::store::Store;
use pagestone::units::Durability;
use pagestone_redb::Backend;
use redb::{Builder, Database, ReadableDatabase, TableDefinition};
use std::path::Path;
use std::time::Instant;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("table");
/// Bursts of each kind.
pub const BURSTS: usize = 9;
/// Rows in the table when reading begins.
const ROWS: u64 = 200_000;
const VALUE: [u8; 150] = [7; 150];
/// Smaller than the table, so that reads reach the storage.
const SMALL_CACHE: usize = 4 << 20;

/// A database on either storage.
struct Side {
    database: Database,
    store: Option<Store>,
}

impl Side {
    fn file(folder: &Path, cache: usize) -> Outcome<Self> {
        let database = Builder::new().set_cache_size(cache).create(folder.join("plain.redb"))?;
        Ok(Self { database, store: None })
    }

    fn region(folder: &Path, cache: usize, class: Option<Durability>) -> Outcome<Self> {
        let mut options = Store::options().create(true);
        if let Some(class) = class {
            options = options.assume(class);
        }
        let store = options.open(folder.join("redb.pgs"))?;
        let backend = Backend::open(&store, "database")?;
        let database = Builder::new().set_cache_size(cache).create_with_backend(backend)?;
        Ok(Self { database, store: Some(store) })
    }

    /// Commits `count` transactions of `rows` rows with random keys.
    fn insert(&self, random: &mut Random, count: u64, rows: u64) -> Outcome {
        for _ in 0..count {
            let change = self.database.begin_write()?;
            {
                let mut table = change.open_table(TABLE)?;
                for _ in 0..rows {
                    table.insert(random.below(1 << 40), &VALUE[..])?;
                }
            }
            change.commit()?;
        }
        Ok(())
    }

    fn fill(&self) -> Outcome {
        let change = self.database.begin_write()?;
        {
            let mut table = change.open_table(TABLE)?;
            for key in 0..ROWS {
                table.insert(key, &VALUE[..])?;
            }
        }
        Ok(change.commit()?)
    }

    fn read(&self, random: &mut Random, count: u64) -> Outcome {
        let look = self.database.begin_read()?;
        let table = look.open_table(TABLE)?;
        let mut bytes = 0;
        for _ in 0..count {
            bytes += table.get(random.below(ROWS))?.map_or(0, |value| value.value().len() as u64);
        }
        if bytes == count * VALUE.len() as u64 { Ok(()) } else { Err("rows are missing".into()) }
    }

    fn scan(&self) -> Outcome {
        let look = self.database.begin_read()?;
        let table = look.open_table(TABLE)?;
        let mut rows = 0;
        for entry in table.range(0..ROWS)? {
            rows += u64::from(!entry?.1.value().is_empty());
        }
        if rows == ROWS { Ok(()) } else { Err("rows are missing".into()) }
    }
}

/// Microseconds of one unit of work.
pub struct Row {
    /// The work.
    pub what: String,
    /// On redb's file.
    pub file: f64,
    /// In a region.
    pub ours: f64,
    /// The file's time divided by ours: above 1, ours is faster.
    pub ratio: f64,
}

/// The results in one place.
pub struct Table {
    /// The region's class.
    pub class: String,
    /// The cost of commits in a region, by its own counters.
    pub cost: String,
    /// Kinds of work.
    pub rows: Vec<Row>,
}

/// Bursts on a plain file and in a region, and their ratios. Each does `units` units of work.
fn compare(
    what: &str,
    units: f64,
    sides: [&Side; 2],
    mut work: impl FnMut(&Side) -> Outcome,
) -> Outcome<Row> {
    let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for burst in 0..BURSTS {
        let mut pair = [0.0; 2];
        // The two alternate in going first.
        for n in [burst % 2, (burst + 1) % 2] {
            let begun = Instant::now();
            work(sides[n])?;
            pair[n] = begun.elapsed().as_secs_f64() * 1e6 / units;
            times[n].push(pair[n]);
        }
        ratios.push(pair[0] / pair[1]);
    }
    let [file, ours] = times.each_mut().map(|times| median(times));
    Ok(Row { what: what.to_owned(), file, ours, ratio: median(&mut ratios) })
}

/// Measures in a new folder inside `folder`. The region is treated as `class`, or as what it is.
///
/// # Errors
/// What redb or the store says.
pub fn measure(folder: &Path, class: Option<Durability>) -> Outcome<Table> {
    let folder = tempfile::tempdir_in(folder)?;
    let (file, ours) = (Side::file(folder.path(), 64 << 20)?, Side::region(folder.path(), 64 << 20, class)?);
    let durability = ours.store.as_ref().map(|store| store.info().durability);
    let (mut random, mut other) = (Random::new(1), Random::new(1));
    let mut both = |side: &Side, count, rows| {
        side.insert(if side.store.is_some() { &mut random } else { &mut other }, count, rows)
    };
    both(&file, 20, 10)?;
    both(&ours, 20, 10)?;
    let cost = cost_of_commits(&ours, |side| both(side, 50, 1))?;
    let mut table =
        Table { class: durability.map_or(String::new(), |d| d.to_string()), cost, rows: Vec::new() };
    for (rows, count) in [(1, 100), (10, 60), (100, 30), (5_000, 3)] {
        let what = format!("commit of {rows} rows");
        table.rows.push(compare(&what, count as f64, [&file, &ours], |side| both(side, count, rows))?);
    }
    drop((file, ours));
    reads(folder.path(), class, &mut table)?;
    Ok(table)
}

fn reads(folder: &Path, class: Option<Durability>, table: &mut Table) -> Outcome {
    for (name, cache) in
        [("read of a row, in redb's cache", 256 << 20), ("read of a row, mostly not cached", SMALL_CACHE)]
    {
        std::fs::remove_file(folder.join("plain.redb"))?;
        std::fs::remove_file(folder.join("redb.pgs"))?;
        let (file, ours) = (Side::file(folder, cache)?, Side::region(folder, cache, class)?);
        file.fill()?;
        ours.fill()?;
        let (sides, mut random) = ([&file, &ours], Random::new(3));
        table.rows.push(compare(name, 20_000.0, sides, |side| side.read(&mut random, 20_000))?);
        if cache == SMALL_CACHE {
            table.rows.push(compare("scan, per row, mostly not cached", ROWS as f64, sides, Side::scan)?);
        }
    }
    Ok(())
}

fn cost_of_commits(side: &Side, work: impl FnOnce(&Side) -> Outcome) -> Outcome<String> {
    let Some(store) = &side.store else { return Ok(String::new()) };
    let before = store.stats();
    work(side)?;
    let after = store.stats();
    Ok(format!(
        "50 commits of 1 row: {} syncs, {} file syncs, {} log writes, {} log records, {} fences",
        after.syncs - before.syncs,
        after.file_syncs - before.file_syncs,
        after.write_throughs - before.write_throughs,
        after.log_records - before.log_records,
        after.fences - before.fences,
    ))
}
