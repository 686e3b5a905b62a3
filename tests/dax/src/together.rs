//! What a writer changes in batches: parts of several objects that change together, so that half a batch can be seen.

use crate::pattern::{PAGES, bytes, page, pages_name};
use pagestone::store::Store;

/// Every so many operations there is a batch, beginning with the first.
const EVERY: u64 = 3;
/// Bytes that each batch writes to one object, over those of the batch before.
const NARROW: usize = 1000;
/// Bytes by which each batch makes another object grow.
const STEP: usize = 100;
/// Bytes that every second batch writes to a third object: enough that they lie outside the log.
const WIDE: usize = 24_000;
/// Where they begin: in the middle of a line.
const WIDE_AT: u64 = 777;

/// Whether operation `n` has a batch.
pub fn has_batch(n: u64) -> bool {
    n % EVERY == 1
}

/// The last batch that is not after operation `n`.
fn last(n: u64) -> u64 {
    (n - 1) / EVERY * EVERY + 1
}

/// The last batch that wrote the wide part.
fn last_wide(n: u64) -> Option<u64> {
    let (every, first) = (2 * EVERY, EVERY + 1);
    n.checked_sub(first).map(|after| after / every * every + first)
}

fn narrow(writer: u64, n: u64) -> Vec<u8> {
    bytes(writer, n, 5, NARROW)
}

fn step(writer: u64, n: u64) -> Vec<u8> {
    bytes(writer, n, 6, STEP)
}

fn wide(writer: u64, n: u64) -> Vec<u8> {
    bytes(writer, n, 7, WIDE)
}

fn names(writer: u64) -> [String; 4] {
    [format!("narrow-{writer}"), format!("steps-{writer}"), format!("wide-{writer}"), pages_name(writer)]
}

/// Commits the batch of operation `n`, once more if it is there already.
pub fn commit(store: &Store, writer: u64, n: u64) -> pagestone::Result {
    let [to_narrow, to_steps, to_wide, to_pages] = names(writer).map(|name| store.open_or_create(name));
    let mut batch = store.batch();
    batch.write_at(&to_narrow?, 0, &narrow(writer, n))?;
    batch.write_at(&to_steps?, n / EVERY * STEP as u64, &step(writer, n))?;
    let to_wide = to_wide?;
    if last_wide(n) == Some(n) {
        batch.write_at(&to_wide, WIDE_AT, &wide(writer, n))?;
    }
    batch.write_at(&to_pages?, n % PAGES * 4096, &page(writer, n))?;
    batch.commit()
}

/// What is wrong after a cut. Each acknowledged batch must be there, and the one under way must be there whole or not at
/// all.
pub fn findings(store: &Store, writer: u64, acknowledged: u64) -> pagestone::Result<Option<String>> {
    let next = acknowledged + 1;
    let under_way = has_batch(next);
    // The page that the next batch overwrites. The judge looks at the other pages anyway.
    let overwritten = if under_way && next > PAGES { next - PAGES } else { acknowledged };
    let before = parts(store, writer, last(acknowledged), overwritten)?;
    if before.iter().all(|part| part.1) {
        return Ok(None);
    }
    let after = if under_way { parts(store, writer, next, next)? } else { before };
    if under_way && after.iter().all(|part| part.1) {
        return Ok(None);
    }
    let (old, new) = (last(acknowledged), if under_way { next } else { 0 });
    let said = before.iter().zip(after).map(|(before, after)| match (before.1, under_way && after.1) {
        (true, _) => format!("{} of {old}", before.0),
        (_, true) => format!("{} of {new}", before.0),
        _ => format!("{} of neither", before.0),
    });
    let said: Vec<_> = said.collect();
    Ok(Some(format!("batch {old} was acknowledged, {new} may be there whole: {}", said.join(", "))))
}

/// For each part, whether it is as batch `n` and the ones before it left it. The page is that of operation `of`.
fn parts(store: &Store, writer: u64, n: u64, of: u64) -> pagestone::Result<[(&'static str, bool); 4]> {
    let [in_narrow, in_steps, in_wide, in_pages] = names(writer).map(|name| {
        let object = store.open(name)?;
        let mut content = vec![0; object.len() as usize];
        object.read_at(0, &mut content)?;
        Ok::<_, pagestone::Error>(content)
    });
    let steps: Vec<u8> = (0..=n / EVERY).flat_map(|k| step(writer, k * EVERY + 1)).collect();
    let mut whole_wide = Vec::new();
    if let Some(n) = last_wide(n) {
        whole_wide.resize(WIDE_AT as usize, 0);
        whole_wide.extend(wide(writer, n));
    }
    let at = (of % PAGES * 4096) as usize;
    Ok([
        ("narrow", in_narrow? == narrow(writer, n)),
        ("steps", in_steps? == steps),
        ("wide", in_wide? == whole_wide),
        ("page", in_pages?.get(at..at + 4096) == Some(&page(writer, of))),
    ])
}
