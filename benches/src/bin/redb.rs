//! `make bench-redb`: redb on its own file backend and on a Pagestone object, in one run.
//!
//! Bursts of both alternate, so that a noisy neighbour hits both alike; each number is the median of its bursts, each
//! ratio the median of the ratios of bursts that ran next to each other. Before, the system calls' worth of one commit is
//! counted on our side: what a sync costs beyond the one flush that a file needs shows there.

use pagestone::store::Store;
use pagestone::units::Durability;
use pagestone_benches::{Machine, Rng, medians::median};
use pagestone_redb::Backend;
use redb::{Builder, Database, ReadableDatabase, TableDefinition};
use std::path::{Path, PathBuf};
use std::time::Instant;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("table");
/// Bursts of each kind.
const BURSTS: usize = 9;
/// Rows in the table when reading begins.
const ROWS: u64 = 200_000;
const VALUE: [u8; 150] = [7; 150];
/// Less than the table: reads reach the storage.
const SMALL_CACHE: usize = 4 << 20;

fn main() -> Outcome {
    println!("{}", Machine::look());
    let given = std::env::args().nth(1).map(PathBuf::from);
    let disk = given.unwrap_or_else(std::env::temp_dir);
    measure("a file", &disk, None)?;
    measure(
        "a file on tmpfs, the region taken for cache lines",
        Path::new("/dev/shm"),
        Some(Durability::CacheLine),
    )
}

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

    /// Commits `count` times `rows` rows with random keys.
    fn insert(&self, rng: &mut Rng, count: u64, rows: u64) -> Outcome {
        for _ in 0..count {
            let change = self.database.begin_write()?;
            {
                let mut table = change.open_table(TABLE)?;
                for _ in 0..rows {
                    table.insert(rng.below(1 << 40), &VALUE[..])?;
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

    fn read(&self, rng: &mut Rng, count: u64) -> Outcome {
        let look = self.database.begin_read()?;
        let table = look.open_table(TABLE)?;
        let mut bytes = 0;
        for _ in 0..count {
            bytes += table.get(rng.below(ROWS))?.map_or(0, |value| value.value().len() as u64);
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

/// Times in microseconds per unit of work: of bursts of a plain file, of ours, and of the two beside each other.
fn compare(what: &str, units: f64, sides: [&Side; 2], mut work: impl FnMut(&Side) -> Outcome) -> Outcome {
    let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for burst in 0..BURSTS {
        let mut pair = [0.0; 2];
        // The two take turns in going first.
        for n in [burst % 2, (burst + 1) % 2] {
            let begun = Instant::now();
            work(sides[n])?;
            pair[n] = begun.elapsed().as_secs_f64() * 1e6 / units;
            times[n].push(pair[n]);
        }
        ratios.push(pair[0] / pair[1]);
    }
    let [file, ours] = times.each_mut().map(|times| median(times));
    println!("  {what:<44} {file:>9.1} us {ours:>9.1} us {:>7.2}", median(&mut ratios));
    Ok(())
}

fn measure(medium: &str, folder: &Path, class: Option<Durability>) -> Outcome {
    let folder = tempfile::tempdir_in(folder)?;
    let (file, ours) = (Side::file(folder.path(), 64 << 20)?, Side::region(folder.path(), 64 << 20, class)?);
    let durability = ours.store.as_ref().map(|store| store.info().durability);
    println!();
    println!(
        "on {medium} ({}), medians of {BURSTS} bursts",
        durability.map_or(String::new(), |d| d.to_string())
    );
    println!("  {:<44} {:>12} {:>12} {:>7}", "time of one", "redb's file", "Pagestone", "ratio");
    let (mut rng, mut other) = (Rng::new(1), Rng::new(1));
    let mut both = |side: &Side, count, rows| {
        side.insert(if side.store.is_some() { &mut rng } else { &mut other }, count, rows)
    };
    both(&file, 20, 10)?;
    both(&ours, 20, 10)?;
    cost_of_commits(&ours, |side| both(side, 50, 1))?;
    for (rows, count) in [(1, 100), (10, 60), (100, 30), (5_000, 3)] {
        let what = format!("commit of {rows} rows");
        compare(&what, count as f64, [&file, &ours], |side| both(side, count, rows))?;
    }
    drop((file, ours));
    reads(folder.path(), class)
}

fn reads(folder: &Path, class: Option<Durability>) -> Outcome {
    for (name, cache) in
        [("read of a row, in redb's cache", 256 << 20), ("read of a row, mostly not cached", SMALL_CACHE)]
    {
        std::fs::remove_file(folder.join("plain.redb"))?;
        std::fs::remove_file(folder.join("redb.pgs"))?;
        let (file, ours) = (Side::file(folder, cache)?, Side::region(folder, cache, class)?);
        file.fill()?;
        ours.fill()?;
        let mut rng = Rng::new(3);
        compare(name, 20_000.0, [&file, &ours], |side| side.read(&mut rng, 20_000))?;
        if cache == SMALL_CACHE {
            compare("scan, per row, mostly not cached", ROWS as f64, [&file, &ours], Side::scan)?;
        }
    }
    Ok(())
}

/// What commits cost on our side, as the region's own counters tell.
fn cost_of_commits(side: &Side, work: impl FnOnce(&Side) -> Outcome) -> Outcome {
    let Some(store) = &side.store else { return Ok(()) };
    let before = store.stats();
    work(side)?;
    let after = store.stats();
    println!(
        "  50 commits of 1 row: {} syncs, {} file syncs, {} log writes, {} log records, {} fences",
        after.syncs - before.syncs,
        after.file_syncs - before.file_syncs,
        after.write_throughs - before.write_throughs,
        after.records - before.records,
        after.fences - before.fences,
    );
    Ok(())
}
