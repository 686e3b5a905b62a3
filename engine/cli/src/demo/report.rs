//! The report of the demo.

use super::identity::Identity;
use super::proof::Proof;
use super::{Life, Own, unicode};
use crate::failure::Failure;
use crate::output::{count, print, size};
use pagestone::Durability;
use pagestone::store::Finding;
use std::collections::BTreeMap;
use std::path::Path;

/// The contents of the report.
pub struct Results<'a> {
    pub region: &'a Path,
    pub durability: Durability,
    pub own: Option<&'a Own>,
    pub seed: u64,
    pub life: &'a Life,
    pub proof: &'a Proof,
    pub findings: &'a [Finding],
    pub identity: &'a Identity,
    pub holds: bool,
}

/// A heading and its lines.
struct Section(String);

impl Section {
    fn new(title: &str) -> Self {
        Self(format!("{title}\n"))
    }
    fn line(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        self.0 += &format!("  {name:<17} {}\n", value.as_ref());
        self
    }
    fn end(&self, text: &mut String) {
        text.push_str(&self.0);
        text.push('\n');
    }
}

/// Prints the results.
pub fn print_results(results: &Results<'_>) -> Result<(), Failure> {
    let mut text = String::new();
    what_happened(results).end(&mut text);
    what_is_proven(results).end(&mut text);
    three_ways(results.identity).end(&mut text);
    if let Some(words) = &results.life.ledger.stats {
        what_it_took(words).end(&mut text);
    }
    text +=
        if results.holds { "Proven: nothing acknowledged was lost.\n" } else { "NOT PROVEN: see above.\n" };
    print(&text)
}

fn what_happened(r: &Results<'_>) -> Section {
    let mut s = Section::new("SQLite on Pagestone");
    let ledger = &r.life.ledger;
    s.line("region", format!("{} (durability {})", r.region.display(), r.durability));
    match r.own {
        Some(own) => {
            s.line("data", format!("{} ({}), a copy", own.file.display(), size(own.bytes)));
        }
        None => {
            s.line("data", unicode::SOURCE);
            let (rows, n, t) = (count(ledger.rows), ledger.imports, r.life.import.as_secs_f64());
            s.line("import", format!("{rows} rows in {n} transactions, {t:.1} s"));
        }
    }
    let (acknowledged, answers) = (count(ledger.total_acknowledged()), count(ledger.answers));
    s.line(
        "work",
        format!("2 writers, 2 readers: {acknowledged} transactions acknowledged, {answers} queries answered"),
    );
    s.line(
        "SIGKILL",
        format!(
            "after {:.2} s of it, {} transactions open (seed {})",
            r.life.worked.as_secs_f64(),
            ledger.open(),
            r.seed
        ),
    );
    s.line("reopened", format!("in {:.1} ms, recovery included", r.proof.reopened_in.as_secs_f64() * 1e3));
    s
}

fn what_is_proven(r: &Results<'_>) -> Section {
    let p = r.proof;
    let mut s = Section::new("Proof");
    let of = |(found, expected): (u64, u64)| format!("{} of {} present", count(found), count(expected));
    s.line("integrity_check", &p.integrity);
    s.line("rows of data", of(p.rows));
    for table in &p.changed_tables {
        s.line("", format!("table {table} differs"));
    }
    s.line("acknowledged", of(p.acknowledged));
    s.line("torn", format!("{} transactions", p.torn + p.strange));
    s.line("unacknowledged", format!("{} whole, the others absent", p.unacknowledged));
    s.line("pagestone check", format!("{} findings", r.findings.len()));
    for f in r.findings {
        s.line("", format!("{} at {:#x}: {}", f.name, f.at, f.detail));
    }
    if let Some(own) = r.own {
        s.line("original", if own.untouched() { "untouched" } else { "CHANGED" });
    }
    s
}

fn three_ways(i: &Identity) -> Section {
    let mut s = Section::new("One page, three ways in, one descriptor");
    s.line(&format!("object db, page {}", i.index), format!("{} pin", i.pins[0]));
    s.line(&format!("pfn {}", i.pfn), format!("{} pins", i.pins[1]));
    s.line(&format!("{:#x}", i.address), format!("{} pins", i.pins[2]));
    s.line("all dropped", format!("{} pins", i.pins[3]));
    s
}

/// The engine's counters, as the worker last reported them.
fn what_it_took(words: &str) -> Section {
    let all: BTreeMap<_, u64> = words
        .split_whitespace()
        .filter_map(|w| w.split_once('='))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let n = |name: &str| all.get(name).copied().unwrap_or(0);
    let c = |name: &str| count(n(name));
    let mut s = Section::new("What it took, until just before the kill");
    s.line("descriptors", format!("memory for {} of {}", count(n("table_chunks") * 256), c("table_frames")));
    s.line("their DRAM", format!("{} ({} chunks of 256)", size(n("table_bytes")), c("table_chunks")));
    s.line("faults", format!("{} first touches", c("table_first_touches")));
    s.line("pins", format!("{} pages pinned at that moment", c("pinned_pages")));
    s.line("syncs", format!("{} asked for: {} fdatasync", c("syncs"), c("file_syncs")));
    s.line(
        "log",
        format!("{} records in {} commits, {}", c("log_records"), c("log_commits"), size(n("log_bytes"))),
    );
    s.line("log writes", format!("{}, each durable when it returned", c("write_throughs")));
    s.line("fences", c("fences"));
    s.line("lines", format!("{} flushed, {} stored past the cache", c("lines_flushed"), c("lines_streamed")));
    s
}
