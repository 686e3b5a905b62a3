//! No damage to any frame of metadata goes unnoticed.

use super::judge::ask;
use super::world::{World, attach};
use crate::page::tables::Page;
use crate::page::view::View;
use crate::page::walk::Found;
use pagestone::media::rules::Rules;
use pagestone::media::{Ledger, format};
use pagestone::units::PageIndex;
use pagestone_kit::random::Random;
use std::sync::Arc;

const FRAME: usize = 4096;
/// In the short form, one bit is flipped in one of every so many words.
const WORDS: usize = 5;

/// Frames in use without pages and without the log: at rest, all of its records are passed.
fn metadata(world: &World) -> Vec<u64> {
    let page = Page::read();
    let view = View::new(&page, &world.new).unwrap();
    let found = Found::of(&view).unwrap();
    let log = page.frame("log").unwrap();
    let log = log..log + view.field("Superblock", view.superblock, "log frames").unwrap();
    let no_page = |frame: &u64| !log.contains(frame);
    found.metadata().into_iter().filter(no_page).collect()
}

/// Bytes without a meaning: the names in slots that are free, or whose object has lost its name.
fn dead(world: &World) -> Vec<std::ops::Range<usize>> {
    let page = Page::read();
    let view = View::new(&page, &world.new).unwrap();
    let found = Found::of(&view).unwrap();
    let name = page.row("Object records", "name").unwrap().offset;
    let of = |slot: &u64| (slot * 512 + name) as usize..(slot * 512 + 512) as usize;
    found.nameless().iter().map(of).collect()
}

#[test]
fn no_frame_of_metadata_that_reads_as_zeros_or_as_garbage_is_silent() {
    let world = World::new();
    let mut silent = Vec::new();
    for frame in metadata(&world) {
        for byte in [0, 0xff, 0x5a] {
            let mut image = world.new.clone();
            image[frame as usize * FRAME..(frame as usize + 1) * FRAME].fill(byte);
            if image == world.new {
                continue;
            }
            let said = ask(&image, &world.model);
            if !said.anything() || !said.wrong.is_empty() {
                silent.push(format!("frame {frame} of {byte:#x}: {said:?}"));
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// Size and mapped pages of an object. `None` if that is an error.
type Shown = Option<(u64, Vec<(PageIndex, u32)>)>;

fn shown(ledger: &Ledger, names: &[&String]) -> Vec<Shown> {
    let of = |name: &&String| {
        let slot = ledger.lookup(name.as_bytes()).ok()??;
        let record = ledger.record(slot).ok()?;
        let mapped = ledger.mapped(slot, PageIndex(0)..PageIndex(u64::MAX), usize::MAX).ok()?;
        Some((record.size, mapped.into_iter().map(|(page, frame)| (page, frame.0)).collect()))
    };
    names.iter().map(of).collect()
}

#[test]
fn no_flipped_bit_of_metadata_is_silent() {
    let world = World::new();
    let (frames, dead) = (metadata(&world), dead(&world));
    let region = attach(world.new.clone());
    let (log, _) = format::open(Arc::clone(&region), Rules::default()).unwrap();
    let ledger = Ledger::new(Arc::new(log)).unwrap();
    let names: Vec<_> = world.model.names.keys().collect();
    let whole = shown(&ledger, &names);
    let every = std::env::var_os("PAGESTONE_FORMAT").is_some_and(|how| how == "long");
    let (mut random, mut silent, mut flips) = (Random::new(9), Vec::new(), 0);
    let words = frames.iter().flat_map(|frame| (0..FRAME / 8).map(move |n| *frame as usize * FRAME + n * 8));
    let bits = words.flat_map(|at| (0..64).map(move |bit| (at, bit)));
    for (at, bit) in bits {
        if !every && !random.once_in(64 * WORDS as u64) {
            continue;
        }
        flips += 1;
        let memory = region.memory();
        let word = memory.load(at as u64).unwrap();
        memory.store(at as u64, word ^ 1 << bit).unwrap();
        let report = ledger.check();
        let said = report.map_or(true, |report| !report.is_clean() || !report.repairable.is_empty());
        let now = shown(&ledger, &names);
        let differs = whole.iter().zip(&now).any(|(whole, now)| now.is_some() && now != whole);
        memory.store(at as u64, word).unwrap();
        if !said && !dead.iter().any(|dead| dead.contains(&at)) || differs {
            silent.push(format!("bit {bit} of the word at {at:#x} (said: {said}, differs: {differs})"));
        }
    }
    assert!(ledger.check().unwrap().is_clean());
    println!("{flips} flips in {} frames", frames.len());
    assert!(silent.is_empty(), "{} of {flips}: {:#?}", silent.len(), &silent[..silent.len().min(40)]);
}
