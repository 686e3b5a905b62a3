//! After the kill: compares what is in the region with what was acknowledged.

use crate::joint;
use crate::life::Ledger;
use crate::plan::Plan;
use crate::workload::{KEPT, WRITERS, connect, head, parts, payload, uri};
use pagestone::store::Store;
use pagestone::units::Durability;
use rusqlite::Connection;
use std::path::Path;

/// Findings about sectors that a kill may leave torn, above all in the last step of a format. Their other copies are
/// whole, and the recovery repairs them.
const TORN: [&str; 3] = ["superblock-copy", "log-header-copy", "lease"];

/// What is known to be in a region after a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Last transaction, by writer.
    pub heads: [u64; WRITERS as usize],
    /// Last joint transaction in each database, by writer.
    pub joint: [[u64; 3]; WRITERS as usize],
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Transactions acknowledged in this round.
    pub acknowledged: u64,
    /// Transactions begun and not acknowledged.
    pub open: u64,
    /// VACUUMs done.
    pub vacuums: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Batches committed, at least.
    pub batches: u64,
    /// Joint transactions acknowledged.
    pub joint: u64,
    /// Regions or databases that are not whole.
    pub integrity_failures: u64,
    /// Acknowledged transactions that are missing.
    pub lost: u64,
    /// Frames that nothing owns and that are not free.
    pub leaked: u64,
    /// All of it in words.
    pub findings: Vec<String>,
}

impl Verdict {
    /// Whether nothing was found.
    pub fn clean(&self) -> bool {
        self.findings.is_empty() && self.integrity_failures == 0 && self.lost == 0 && self.leaked == 0
    }
    /// Adds another round.
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.open += other.open;
        self.vacuums += other.vacuums;
        self.checkpoints += other.checkpoints;
        self.batches += other.batches;
        self.joint += other.joint;
        self.integrity_failures += other.integrity_failures;
        self.lost += other.lost;
        self.leaked += other.leaked;
        self.findings.extend(other.findings);
    }
    fn broken(&mut self, finding: impl Into<String>) {
        self.integrity_failures += 1;
        self.findings.push(finding.into());
    }
}

/// Examines the region before, during and after its recovery.
pub fn judge(plan: &Plan, region: &Path, ledger: &Ledger, known: &mut Known) -> Verdict {
    let Ledger { vacuums, checkpoints, batches, .. } = *ledger;
    let mut verdict = Verdict { vacuums, checkpoints, batches, ..Verdict::default() };
    for w in 0..WRITERS as usize {
        verdict.acknowledged += ledger.acknowledged[w] - known.heads[w];
        verdict.joint +=
            (known.heads[w] + 1..=ledger.acknowledged[w]).filter(|&n| joint::is_joint(n)).count() as u64;
        verdict.open += ledger.begun[w] - ledger.acknowledged[w];
    }
    if let Some(why) = &ledger.failed {
        verdict.broken(format!("the worker {why}"));
    }
    if !region.exists() {
        // The process was killed before it made the region. Anything acknowledged is lost.
        verdict.lost += ledger.acknowledged.iter().sum::<u64>();
        if verdict.lost > 0 {
            verdict.findings.push("the region is gone".into());
        }
        return verdict;
    }
    let other = &joint::companions(region)[0];
    check(plan, region, "before recovery", &TORN, &mut verdict);
    check(plan, other, "before recovery", &TORN, &mut verdict);
    if let Err(e) = open_and_weigh(plan, region, ledger, known, &mut verdict) {
        verdict.broken(format!("SQLite: {e}"));
    }
    check(plan, region, "after recovery", &[], &mut verdict);
    check(plan, other, "after recovery", &[], &mut verdict);
    verdict
}

/// Runs `pagestone check`, which changes nothing.
fn check(plan: &Plan, region: &Path, when: &str, allowed: &[&str], verdict: &mut Verdict) {
    if !region.exists() {
        // The other region is made after the first one.
        return;
    }
    let mut options = Store::options().read_only(true);
    if plan.medium == crate::plan::Medium::CacheLine {
        options = options.assume(Durability::CacheLine);
    }
    let findings = match options.open(region).and_then(|store| store.check()) {
        Ok(report) => report.findings,
        Err(pagestone::Error::NotARegion { .. }) if is_unformatted(region) => return,
        Err(e) => return verdict.broken(format!("check {when}: {e}")),
    };
    for f in findings.into_iter().filter(|f| !allowed.contains(&f.name)) {
        let words = format!("check {when}: {} at {:#x}: {}", f.name, f.at, f.detail);
        if f.name.contains("leak") {
            verdict.leaked += 1;
            verdict.findings.push(words);
        } else {
            verdict.broken(words);
        }
    }
}

/// Killed in mid-format: an all-zero head counts as never formatted.
fn is_unformatted(region: &Path) -> bool {
    std::fs::read(region).is_ok_and(|bytes| bytes.iter().take(4096).all(|b| *b == 0))
}

fn open_and_weigh(
    plan: &Plan,
    region: &Path,
    ledger: &Ledger,
    known: &mut Known,
    verdict: &mut Verdict,
) -> rusqlite::Result<()> {
    let db = connect(&uri(region, &plan.parameters()))?;
    joint::attach(&db, region, &plan.parameters())?;
    for name in joint::DATABASES {
        let integrity: String = db.query_row(&format!("PRAGMA {name}.integrity_check"), [], |r| r.get(0))?;
        if integrity != "ok" {
            verdict.broken(format!("integrity_check of {name}: {integrity}"));
        }
    }
    let tables: u64 =
        db.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |r| r.get(0))?;
    if tables == 0 {
        // The process was killed before its first transaction.
        let lost = ledger.acknowledged.iter().sum::<u64>();
        if lost > 0 {
            verdict.lost += lost;
            verdict.findings.push("the tables are gone".into());
        }
        return Ok(());
    }
    for writer in 0..WRITERS {
        let before = *known;
        known.heads[writer as usize] = weigh(&db, writer, ledger, verdict)?;
        weigh_joint(plan, &db, (writer, ledger), (&before, known), verdict);
    }
    Ok(())
}

/// One writer's transactions over several databases.
fn weigh_joint(
    plan: &Plan,
    db: &Connection,
    (writer, ledger): (u32, &Ledger),
    (before, known): (&Known, &mut Known),
    verdict: &mut Verdict,
) {
    let w = writer as usize;
    let mut heads = [0; 3];
    for (name, head) in joint::DATABASES.into_iter().zip(&mut heads) {
        match joint::head(db, name, writer) {
            Ok(found) => *head = found,
            Err(why) => return verdict.broken(why),
        }
    }
    let said = joint::Said { known: before.joint[w], acknowledged: ledger.joint[w], begun: ledger.begun[w] };
    let promised = joint::is_promised(plan.journal, plan.sync);
    if let Some(why) = said.weigh(heads, known.heads[w], promised) {
        verdict.broken(format!("writer {writer}, main, other and plain: {why}"));
    }
    known.joint[w] = heads;
}

/// Examines one writer's rows: each transaction that should be there is there, whole, and no other is. Returns the
/// writer's head.
fn weigh(db: &Connection, writer: u32, ledger: &Ledger, verdict: &mut Verdict) -> rusqlite::Result<u64> {
    let w = writer as usize;
    let head = head(db, writer)?;
    if head < ledger.acknowledged[w] {
        verdict.lost += ledger.acknowledged[w] - head;
        verdict
            .findings
            .push(format!("writer {writer}: {head} is the last of {} acknowledged", ledger.acknowledged[w]));
    }
    if head > ledger.begun[w] {
        verdict.broken(format!("writer {writer}: {head} is there, {} was the last begun", ledger.begun[w]));
    }
    let mut expected = (head.saturating_sub(KEPT) + 1..=head)
        .flat_map(|number| (0..parts(writer, number)).map(move |part| (number, part)));
    let mut statement =
        db.prepare("SELECT number, part, payload FROM row WHERE writer = ? ORDER BY number, part")?;
    let mut rows = statement.query([writer])?;
    while let Some(row) = rows.next()? {
        let found: (u64, u64) = (row.get(0)?, row.get(1)?);
        let bytes: Vec<u8> = row.get(2)?;
        if Some(found) != expected.next() || bytes != payload(writer, found.0, found.1) {
            verdict.broken(format!("writer {writer}: row {found:?} is not what was written"));
            return Ok(head);
        }
    }
    if let Some(missing) = expected.next() {
        verdict.broken(format!("writer {writer}: row {missing:?} is missing"));
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::write_once;

    fn database(last: u64) -> Connection {
        let mut db = Connection::open_in_memory().expect("in memory");
        db.execute_batch(
            "CREATE TABLE head(writer INTEGER PRIMARY KEY, number INTEGER NOT NULL);
             CREATE TABLE row(writer INTEGER, number INTEGER, part INTEGER, payload BLOB, tag TEXT,
                              PRIMARY KEY(writer, number, part));",
        )
        .expect("create");
        for n in 1..=last {
            write_once(&mut db, 0, n).expect("write");
        }
        db
    }

    fn weighed(db: &Connection, acknowledged: u64, begun: u64) -> Verdict {
        let ledger = Ledger { begun: [begun, 0], acknowledged: [acknowledged, 0], ..Ledger::default() };
        let mut verdict = Verdict::default();
        weigh(db, 0, &ledger, &mut verdict).expect("weigh");
        verdict
    }

    #[test]
    fn what_is_whole_passes_with_the_open_one_there_or_not() {
        let db = database(KEPT + 20);
        assert!(weighed(&db, KEPT + 20, KEPT + 21).clean());
        assert!(weighed(&db, KEPT + 19, KEPT + 20).clean());
    }

    #[test]
    fn a_lost_transaction_is_counted() {
        assert_eq!(weighed(&database(10), 12, 13).lost, 2);
    }

    #[test]
    fn a_torn_or_invented_or_altered_transaction_is_found() {
        let db = database(30);
        db.execute("DELETE FROM row WHERE number = 30 AND part = 0", []).expect("delete");
        assert!(!weighed(&db, 29, 30).clean(), "torn");
        assert!(!weighed(&database(31), 29, 30).clean(), "invented");
        let db = database(30);
        db.execute("UPDATE row SET payload = x'00' WHERE number = 20 AND part = 0", []).expect("update");
        assert!(!weighed(&db, 30, 30).clean(), "altered");
    }
}
