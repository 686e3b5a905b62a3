//! After a power cut: what was acknowledged is there and right, and the region has no defect.

use crate::pattern::{self, KEPT, Ledger, PAGES, RECORD_HEAD, ROTATION, WRITERS};
use crate::together;
use pagestone::Error;
use pagestone::store::{Object, Store};
use pagestone::units::Durability;
use std::path::Path;

/// The beginning of the line with the verdict, for the host.
pub const VERDICT: &str = "@@verdict";

/// Printed before each opening. The host waits for it where a cut is to hit the recovery.
pub const JUDGING: &str = "@@judging";

/// The content of a writer's journal.
pub struct Journal {
    /// The operations of its records: of the first one, and of the first that is not whole.
    operations: std::ops::Range<u64>,
    /// Where each record ends.
    ends: Vec<u64>,
}

impl Journal {
    /// Where the record of operation `n` ends; the beginning if it is not there.
    pub fn end_of(&self, n: u64) -> u64 {
        if self.operations.contains(&n) { self.ends[(n - self.operations.start) as usize] } else { 0 }
    }
}

/// Reads whole and right records up to the first that is not.
pub fn journal(object: &Object, writer: u64) -> pagestone::Result<Journal> {
    let mut content = vec![0; object.len() as usize];
    object.read_at(0, &mut content)?;
    let mut found = Journal { operations: 0..0, ends: Vec::new() };
    let mut at = 0;
    while let Some(head) = content.get(at..at + RECORD_HEAD) {
        let n = word(&head[8..16]);
        let expected = pattern::record(writer, n);
        let follows = found.ends.is_empty() || n == found.operations.end;
        if !follows || content.get(at..at + expected.len()) != Some(&expected) {
            break;
        }
        if found.ends.is_empty() {
            found.operations.start = n;
        }
        found.operations.end = n + 1;
        at += expected.len();
        found.ends.push(at as u64);
    }
    Ok(found)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Prints the verdict; `false` if anything is lost or broken.
pub fn judge(region: &Path, class: Durability) -> Result<bool, String> {
    let ledger = Ledger::open().map_err(|error| format!("the ledger: {error}"))?;
    let mut findings = Vec::new();
    println!("{JUDGING}");
    // First read-only, then after the recovery of an opening that may write.
    inspect(region, None, &ledger, &mut findings)?;
    println!("{JUDGING}");
    let acknowledged = inspect(region, Some(class), &ledger, &mut findings)?;
    println!("{VERDICT} acknowledged={acknowledged} findings={}", findings.len());
    findings.iter().for_each(|finding| println!("@@finding {finding}"));
    Ok(findings.is_empty())
}

/// Opens the region, to write if there is a class to require.
fn inspect(
    region: &Path,
    class: Option<Durability>,
    ledger: &Ledger,
    findings: &mut Vec<String>,
) -> Result<u64, String> {
    let read_only = class.is_none();
    let mut options = Store::options().read_only(read_only);
    if let Some(class) = class {
        options = options.require(class);
    }
    let store = match options.open(region) {
        Ok(store) => store,
        Err(error) => {
            findings.push(format!("it does not open (read-only: {read_only}): {error}"));
            return Ok(0);
        }
    };
    let report = store.check().map_err(|error| format!("check: {error}"))?;
    for f in report.findings {
        findings.push(format!("check (read-only: {read_only}): {} at {:#x}: {}", f.name, f.at, f.detail));
    }
    println!("recovered {} records (read-only: {read_only})", store.stats().log_recovered);
    let mut all = 0;
    for writer in 0..WRITERS {
        let acknowledged = ledger.acknowledged(writer).map_err(|error| format!("the ledger: {error}"))?;
        all += acknowledged;
        if acknowledged > 0
            && let Err(error) = weigh(&store, writer, acknowledged, findings)
        {
            findings.push(format!("writer {writer}, {acknowledged} acknowledged: {error}"));
        }
    }
    store.close().map_err(|error| format!("closing: {error}"))?;
    Ok(all)
}

/// Compares one writer's objects with what was acknowledged to it.
fn weigh(store: &Store, writer: u64, acknowledged: u64, findings: &mut Vec<String>) -> pagestone::Result {
    let mut find =
        |what: String| findings.push(format!("writer {writer}, {acknowledged} acknowledged: {what}"));
    let found = journal(&store.open(pattern::journal_name(writer))?, writer)?.operations;
    let rotated = acknowledged / ROTATION * ROTATION;
    let replaced = found.start == acknowledged + 1 && found.start % ROTATION == 0;
    if found.end <= acknowledged {
        find(format!("the journal ends with {}", found.end.wrapping_sub(1)));
    } else if found.start > rotated.max(1) && !replaced {
        find(format!("the journal begins with {}, not with {}", found.start, rotated.max(1)));
    } else if found.end > acknowledged + 2 {
        find(format!("operation {} was never begun", found.end - 1));
    }
    let pages = store.open(pattern::pages_name(writer))?;
    for n in (acknowledged.saturating_sub(PAGES - 1)).max(1)..=acknowledged {
        let mut bytes = vec![0; 4096];
        pages.read_at(n % PAGES * 4096, &mut bytes)?;
        // The operation that was under way may have overwritten one page.
        if n + PAGES != acknowledged + 1 && bytes != pattern::page(writer, n) {
            find(format!("page {} is not what operation {n} stored", n % PAGES));
        }
    }
    together::findings(store, writer, acknowledged)?.into_iter().for_each(&mut find);
    for n in (acknowledged.saturating_sub(KEPT - 1)).max(1)..=acknowledged {
        let expected = pattern::file(writer, n);
        let object = match store.open(pattern::file_name(writer, n)) {
            // The operation that was under way may have unlinked the oldest.
            Err(Error::NotFound { .. }) if n + KEPT == acknowledged + 1 => continue,
            opened => opened?,
        };
        let mut bytes = vec![0; expected.len() + 1];
        let len = object.read_at(0, &mut bytes)?;
        if bytes[..len] != expected {
            find(format!("file {n} is not what was stored ({len} bytes of {})", expected.len()));
        }
    }
    let prefix = pattern::file_name(writer, 0);
    for entry in store.list()? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let number = name.strip_prefix(prefix.trim_end_matches('0')).and_then(|n| n.parse::<u64>().ok());
        if number.is_some_and(|n| n + KEPT <= acknowledged || n > acknowledged + 1) {
            find(format!("{name} should not be there"));
        }
    }
    Ok(())
}
