//! SQLite's own commits under the crash explorer: power cut and process death at every step, on every class.
//!
//! A database runs on a recorded region. The VFS opens each crash image again, so that the region is recovered first and
//! then SQLite's database. This tests what the VFS claims of the device. For each claim there is also a VFS that makes it
//! falsely (`Lie`), which must be noticed.

use crate::{openers, run, value};
use pagestone::persist::Recorder;
use pagestone::store::Store;
use pagestone::units::Durability::{self, CacheLine, Fdatasync, Volatile};
use pagestone_explorer::{Crash, Judge, Plan, Report, State, Trace, explore};
use pagestone_tests::crash::life::{HOME, rebooted, scaled};
use pagestone_tests::crash::run::{Rig, outcome};
use pagestone_tests::sqlite::{self, Lie};
use rusqlite::{Connection, OpenFlags};
use std::path::PathBuf;
use std::sync::Arc;

/// Transactions of a run.
const TRANSACTIONS: u64 = 6;
const MEDIA: [(Durability, usize); 4] = [(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Volatile, 64)];

type Opener = Arc<dyn Fn() -> pagestone::Result<Store> + Send + Sync>;

/// A database whose region is what `open` returns.
struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.db");
        // SQLite checks that its file is still there.
        std::fs::write(&path, "").expect("an empty file");
        Self { path, _directory: directory }
    }

    fn open(&self, lie: Lie, open: Opener) -> rusqlite::Result<Connection> {
        openers::set(&self.path, move || Some(open()));
        Connection::open_with_flags_and_vfs(&self.path, OpenFlags::default(), sqlite::lie(lie))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        openers::remove(&self.path);
    }
}

/// One way in which SQLite commits.
#[derive(Clone, Copy)]
struct Case {
    journal: &'static str,
    synchronous: &'static str,
    lie: Lie,
}

impl Case {
    /// The settings of a connection.
    fn settings(&self) -> String {
        format!("PRAGMA synchronous={}; PRAGMA journal_mode={}", self.synchronous, self.journal)
    }

    /// Records the transactions, and explores their crashes.
    fn explore(&self, class: Durability, cell: usize) -> Report {
        let rig = Rig::new(class);
        let recorder = Recorder::new();
        let base = self.prepared(&rig);
        let place = Place::new();
        let (image, hears) = (base.clone(), Arc::clone(&recorder));
        let open = move || rig.options(HOME).recorder(Arc::clone(&hears)).open_image(image.clone());
        let db = place.open(self.lie, Arc::new(open)).expect("the prepared database opens");
        run(&db, &self.settings());
        for number in 1..=TRANSACTIONS {
            run(&db, &transaction(number));
            recorder.mark(number);
        }
        let trace = Trace { base, events: recorder.take(), class };
        drop(db);
        let power = class != Durability::Volatile && self.synchronous != "OFF";
        // A false claim is searched for longer.
        let limit = match self.lie {
            Lie::Nothing | Lie::NoBatch => scaled(250),
            Lie::SafeAppend => 30_000,
            Lie::BatchInPlace | Lie::Sectors | Lie::NoSync => 4000,
        };
        let plan = Plan { power, limit, ..Plan::thorough(cell, 1) };
        let mut judge = DatabaseJudge { case: *self, rig, place: Place::new(), contents: contents() };
        explore(&trace, &plan, &mut judge)
    }

    /// The region with the tables in it, closed in order.
    fn prepared(&self, rig: &Rig) -> Vec<u8> {
        let base = rig.used().expect("a region");
        let (recorder, place, rig) = (Recorder::new(), Place::new(), *rig);
        let (image, hears) = (base.clone(), Arc::clone(&recorder));
        let open = move || rig.options(HOME).recorder(Arc::clone(&hears)).open_image(image.clone());
        let db = place.open(Lie::Nothing, Arc::new(open)).expect("a database");
        run(&db, "PRAGMA page_size=1024");
        run(&db, &self.settings());
        run(&db, TABLES);
        drop(db);
        outcome(&Trace { base, events: recorder.take(), class: rig.class })
    }
}

const TABLES: &str = "CREATE TABLE head(n); INSERT INTO head VALUES(0);
    CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX v ON t(v);
    INSERT INTO t VALUES(1, printf('%0700d', 1)), (2, printf('%0700d', 2)), (3, printf('%0700d', 3))";
const CONTENT: &str = "SELECT group_concat(id || v) FROM (SELECT id, v FROM t ORDER BY id)";

/// Changes pages that are there, takes new ones and frees some.
fn transaction(n: u64) -> String {
    format!(
        "BEGIN; UPDATE head SET n={n}; UPDATE t SET v=printf('%0700d', {n}*10+id) WHERE id%2={n}%2;
         INSERT INTO t SELECT {n}*10+id, printf('%0{}d', {n}) FROM t LIMIT 2;
         DELETE FROM t WHERE id={n}*10-9; COMMIT",
        300 + n * 150
    )
}

/// What the table holds after each transaction.
fn contents() -> Vec<String> {
    let db = Connection::open_in_memory().expect("a database");
    run(&db, TABLES);
    let mut all = vec![value(&db, CONTENT)];
    all.extend((1..=TRANSACTIONS).map(|n| {
        run(&db, &transaction(n));
        value::<String>(&db, CONTENT)
    }));
    all
}

struct DatabaseJudge {
    case: Case,
    rig: Rig,
    place: Place,
    contents: Vec<String>,
}

impl DatabaseJudge {
    fn look(&self, state: &State<'_>) -> rusqlite::Result<Result<(), String>> {
        let (rig, image) = (self.rig, state.image.to_vec());
        let identity = if state.crash == Crash::Power { rebooted(HOME) } else { HOME };
        let open = Arc::new(move || rig.options(identity).open_image(image.clone()));
        let db = self.place.open(self.case.lie, open)?;
        let head: u64 = db.query_row("SELECT n FROM head", [], |row| row.get(0))?;
        // The death of a process loses nothing that returned, whatever `synchronous` says.
        let durable = self.case.synchronous == "FULL" || state.crash == Crash::Death;
        if durable && head < state.marks as u64 || head > state.marks as u64 + 1 {
            return Ok(Err(format!("{head} is the last transaction, {} were acknowledged", state.marks)));
        }
        let content: String = db.query_row(CONTENT, [], |row| row.get(0))?;
        if content != self.contents[head as usize] {
            return Ok(Err(format!("transaction {head} is not what was written")));
        }
        let integrity: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        Ok(if integrity == "ok" { Ok(()) } else { Err(integrity) })
    }
}

impl Judge for DatabaseJudge {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        self.look(state).unwrap_or_else(|e| Err(format!("SQLite: {e}")))
    }
    fn label(&self, label: u64) -> String {
        format!("transaction {label} is acknowledged")
    }
}

/// Asserts that no crash breaks it, on any class.
fn holds(case: Case) {
    let Case { journal, synchronous, lie } = case;
    for (class, cell) in MEDIA {
        let report = case.explore(class, cell);
        println!("{journal:8} {synchronous:6} {lie:?} {class:10} {cell:3}: {report}");
        if let Some(story) = report.violation {
            panic!("{journal} {synchronous} {lie:?} {class}, cells of {cell}: {story}");
        }
        assert!(report.distinct > 5, "only {} states", report.distinct);
    }
}

/// Asserts that some crash breaks it on each of these media.
fn fails(case: Case, media: &[(Durability, usize)]) {
    let Case { journal, synchronous, lie } = case;
    for &(class, cell) in media {
        let report = case.explore(class, cell);
        println!("{journal:8} {synchronous:6} {lie:?} {class:10} {cell:3}: {report}");
        let story = report
            .violation
            .unwrap_or_else(|| panic!("{journal} {lie:?} {class} {cell}: the explorer found nothing"));
        println!("    {}", story.lines().next().unwrap_or_default());
    }
}

#[test]
fn batch_atomic_is_true() {
    for synchronous in ["NORMAL", "FULL"] {
        holds(Case { journal: "DELETE", synchronous, lie: Lie::Nothing });
    }
}

/// Where batches are offered but not used, SQLite keeps its journal in memory: a death during a commit would tear the
/// database.
#[test]
fn without_syncs_a_death_loses_and_tears_nothing() {
    for journal in ["DELETE", "PERSIST", "WAL"] {
        holds(Case { journal, synchronous: "OFF", lie: Lie::Nothing });
    }
}

#[test]
fn a_batch_that_is_not_atomic_is_noticed() {
    fails(Case { journal: "DELETE", synchronous: "FULL", lie: Lie::BatchInPlace }, &MEDIA);
}

/// With this claim SQLite does not journal the other pages of a page's sector, and does not pad the WAL to sectors.
#[test]
fn powersafe_overwrite_is_true() {
    for journal in ["DELETE", "PERSIST", "TRUNCATE", "WAL"] {
        holds(Case { journal, synchronous: "FULL", lie: Lie::NoBatch });
    }
}

#[test]
fn a_write_that_harms_its_neighbours_is_noticed() {
    for journal in ["DELETE", "WAL"] {
        fails(Case { journal, synchronous: "FULL", lie: Lie::Sectors }, &MEDIA);
    }
}

/// The reason why `SAFE_APPEND` is not claimed. With it SQLite trusts a journal that it has not synced, except for
/// checksums over one byte in 200. Where a journal grows, its bytes are there before its length is. But a journal that
/// stays is written over.
#[test]
fn a_journal_that_is_written_over_is_no_safe_append() {
    let media = [(CacheLine, 8), (Fdatasync, 512)];
    fails(Case { journal: "PERSIST", synchronous: "FULL", lie: Lie::SafeAppend }, &media);
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    for journal in ["DELETE", "WAL"] {
        fails(Case { journal, synchronous: "FULL", lie: Lie::NoSync }, &MEDIA[..3]);
    }
}
