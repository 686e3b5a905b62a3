//! What the structures promise, tested through the ledger.

mod basics;
mod bitmaps;
mod concurrent;
mod damage;
mod ends;
mod model;
mod moments;
mod naming;
mod rules;
mod space;

use super::format::{format, open};
use super::layout::LOG_FRAMES_SMALL;
use super::log::Log;
use super::rules::Rules;
use super::*;
use crate::error::{Error, Result};
use crate::region::{Identity, Region, RegionOptions, Source};
use crate::units::{Durability, FrameNo, PageIndex};
use std::sync::Arc;

/// A region in memory with these bytes, on the boot `boot`.
fn region(image: Vec<u8>, boot: u8, max_bytes: u64) -> Arc<Region> {
    let options = RegionOptions {
        assume: Some(Durability::Fdatasync),
        identity: Some(Identity::plain([boot; 16], 1, 2, 3)),
        max_bytes: Some(max_bytes),
        ..RegionOptions::default()
    };
    Region::attach(Source::Image(image), &options).unwrap()
}

fn ledger_of(region: Arc<Region>, rules: Rules) -> Result<Ledger> {
    Ledger::new(Arc::new(open(region, rules)?.0))
}

/// A fresh ledger that may grow to `max_bytes`, with a log of `log_frames` frames.
fn fresh_with(max_bytes: u64, log_frames: u32) -> Ledger {
    let region = region(Vec::new(), 1, max_bytes);
    format(&region, log_frames).unwrap();
    ledger_of(region, Rules::default()).unwrap()
}

fn fresh() -> Ledger {
    fresh_with(64 << 20, LOG_FRAMES_SMALL)
}

/// The bytes as they are now, which a process leaves when it dies.
fn image(log: &Log) -> Vec<u8> {
    let mut bytes = vec![0; log.region().len_bytes() as usize];
    log.region().memory().read(0, &mut bytes).unwrap();
    bytes
}

/// The ledger after its process died: everything that was only in memory is gone.
fn reopened(ledger: Ledger) -> Ledger {
    let max = ledger.log().region().window_bytes();
    ledger_of(region(image(ledger.log()), 1, max), Rules::default()).unwrap()
}

fn create(ledger: &Ledger, name: &[u8]) -> ObjectSlot {
    ledger.create_object(name, ObjectKind::PLAIN).unwrap()
}

/// Maps `pages` of the object to fresh frames.
fn fill(ledger: &Ledger, slot: ObjectSlot, pages: impl Iterator<Item = u64>) -> Vec<(PageIndex, FrameNo)> {
    let pages: Vec<_> = pages.map(PageIndex).collect();
    let frames = ledger.allocate(pages.len(), None).unwrap();
    let pairs: Vec<_> = pages.into_iter().zip(frames).collect();
    ledger.link(slot, &pairs, None).unwrap();
    pairs
}

/// Checks that the region has no defect.
fn assert_sound(ledger: &Ledger) -> check::Counts {
    let report = ledger.check().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    report.counts
}

fn all_free(pages: &[(PageIndex, FrameNo)]) -> Vec<Fate> {
    vec![Fate::Free; pages.len()]
}

/// Asks for the fate of each page by itself.
fn each(
    mut fate: impl FnMut(PageIndex, FrameNo) -> Fate,
) -> impl FnMut(&[(PageIndex, FrameNo)]) -> Vec<Fate> {
    move |pages| pages.iter().map(|&(page, frame)| fate(page, frame)).collect()
}

/// Runs a step to its end.
fn finish(mut step: impl FnMut() -> Result<bool>) {
    while !step().unwrap() {}
}
