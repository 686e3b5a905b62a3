//! What the size of the log is worth: appends without a sync, and SQLite's commits with a WAL, by frames of the log.
//!
//! ```text
//! logs [folder]
//! ```
//! All sizes take turns, so that other load on the machine affects them alike; each number is a median of ratios of neighbours.
#![forbid(unsafe_code)]

use pagestone::Store;
use pagestone_benches::{Machine, medians};
use rusqlite::{Connection, OpenFlags};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Frames of the log; the first is what the others are compared with.
const SIZES: [u32; 5] = [64, 128, 256, 512, 1024];
const ROUNDS: usize = 15;
const BURST: Duration = Duration::from_millis(250);
const PAGE: usize = 4096;

/// One measurement: how often a second.
type Measure = fn(&Path) -> Result<f64>;

fn main() -> Result {
    println!("{}", Machine::look());
    let place = std::env::args().nth(1).unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let kinds: [(&str, Measure); 4] = [
        ("appends of a page, no sync", |path| appends(path, PAGE)),
        ("appends of 100 bytes, no sync", |path| appends(path, 100)),
        ("small batches, 8 pages each", batches),
        ("SQLite WAL, commits of 10 rows, synchronous=NORMAL", commits),
    ];
    print!("{:<52}", "frames of the log");
    SIZES.iter().for_each(|size| print!(" {size:>8}"));
    println!("     a second, by the first");
    for (name, measure) in kinds {
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); SIZES.len()];
        for _ in 0..ROUNDS {
            for (size, rates) in SIZES.iter().zip(&mut rates) {
                let folder = tempfile::tempdir_in(&place)?;
                let path = folder.path().join("region");
                Store::options().create(true).log_frames(*size).open(&path)?.close()?;
                rates.push(measure(&path)?);
            }
        }
        print!("{name:<52}");
        let first = rates[0].clone();
        for of_size in &rates {
            let mut ratios: Vec<_> = of_size.iter().zip(&first).map(|(rate, first)| rate / first).collect();
            print!(" {:>8.2}", medians::median(&mut ratios));
        }
        println!("     {:.0}", medians::median(&mut first.clone()));
    }
    Ok(())
}

/// Repeats `one` for as long as a burst lasts.
fn burst(mut one: impl FnMut(u64) -> Result) -> Result<f64> {
    let (begun, mut n) = (Instant::now(), 0);
    while begun.elapsed() < BURST {
        for _ in 0..16 {
            one(n)?;
            n += 1;
        }
    }
    Ok(n as f64 / begun.elapsed().as_secs_f64())
}

fn appends(path: &Path, bytes: usize) -> Result<f64> {
    let store = Store::options().open(path)?;
    let (object, bytes) = (store.create("a")?, vec![7; bytes]);
    burst(|_| Ok(object.append(&bytes).map(drop)?))
}

fn batches(path: &Path) -> Result<f64> {
    let store = Store::options().open(path)?;
    let object = store.create("a")?;
    object.append(&vec![0; 512 * PAGE])?;
    store.sync()?;
    burst(|n| {
        let mut batch = store.batch();
        for page in 0..8 {
            batch.write_at(&object, (n * 67 + page * 31) % 512 * PAGE as u64, &n.to_le_bytes())?;
        }
        Ok(batch.commit()?)
    })
}

fn commits(path: &Path) -> Result<f64> {
    pagestone_sqlite::register()?;
    let name = format!("file:{}?vfs=pagestone", path.display());
    let db = Connection::open_with_flags(name, OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI)?;
    db.execute_batch(
        "PRAGMA journal_mode=wal; PRAGMA synchronous=NORMAL; CREATE TABLE t(n INTEGER PRIMARY KEY, x TEXT)",
    )?;
    let mut insert = db.prepare("INSERT INTO t(x) VALUES(hex(randomblob(100)))")?;
    burst(|_| {
        db.execute_batch("BEGIN")?;
        for _ in 0..10 {
            insert.execute([])?;
        }
        Ok(db.execute_batch("COMMIT")?)
    })
}
