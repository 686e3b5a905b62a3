//! Durable writes of 4 KiB. Each returns when the bytes survive a power loss, as far as the medium can.

use crate::pmem2;
use crate::readers::PAGE;
use memmap2::MmapMut;
use pagestone::store::{Object, Store};
use pagestone::units::Durability;
use pagestone_benches::{Random, medians::median};
use rustix::io::ReadWriteFlags;
use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Bursts of each kind.
pub const BURSTS: usize = 11;
/// The number of pages; each write overwrites one.
const PAGES: u64 = 16384;

/// Overwrites a page durably.
type Write = dyn Fn(u64, &[u8]) -> Outcome;

/// One row.
pub struct Contender {
    /// The name.
    pub name: &'static str,
    /// Microseconds of a write, burst by burst.
    pub bursts: Vec<f64>,
    write: Box<Write>,
}

impl Contender {
    fn new(name: &'static str, write: impl Fn(u64, &[u8]) -> Outcome + 'static) -> Self {
        Self { name, bursts: Vec::new(), write: Box::new(write) }
    }

    /// The median.
    pub fn median(&self) -> f64 {
        median(&mut self.bursts.clone())
    }

    /// The median ratio to another contender's adjacent bursts.
    pub fn beside(&self, other: &Self) -> f64 {
        let pairs = self.bursts.iter().zip(&other.bursts);
        median(&mut pairs.map(|(own, other)| own / other).collect::<Vec<_>>())
    }
}

/// On a disk.
///
/// # Errors
/// Errors of the store, the file or the mapping.
pub fn on_disk(folder: &Path) -> Outcome<Vec<Contender>> {
    let mut contenders = ours(&Store::options().create(true).open(folder.join("durable.pgs"))?)?;
    let file = file(folder, "fdatasync")?;
    contenders.push(Contender::new("pwrite + fdatasync", move |page, bytes| {
        file.write_all_at(bytes, page * PAGE as u64)?;
        Ok(file.sync_data()?)
    }));
    let file = self::file(folder, "dsync")?;
    contenders.push(Contender::new("pwritev2 with RWF_DSYNC", move |page, bytes| {
        let (at, dsync) = (page * PAGE as u64, ReadWriteFlags::DSYNC);
        let written = rustix::io::pwritev2(&file, &[IoSlice::new(bytes)], at, dsync)?;
        if written == bytes.len() { Ok(()) } else { Err("a short write".into()) }
    }));
    let file = self::file(folder, "mapped")?;
    // SAFETY: a file of this run, which nothing else writes or cuts.
    let map = std::cell::RefCell::new(unsafe { MmapMut::map_mut(&file) }?);
    contenders.push(Contender::new("mmap + msync", move |page, bytes| {
        let mut map = map.borrow_mut();
        let at = page as usize * PAGE;
        map[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(map.flush_range(at, bytes.len())?)
    }));
    measure(&mut contenders, 40)?;
    Ok(contenders)
}

/// In memory that stands in for persistent memory. Also why libpmem2 is missing, if it is.
///
/// # Errors
/// As [`on_disk`].
pub fn in_memory(folder: &Path) -> Outcome<(Vec<Contender>, Option<String>)> {
    let options = Store::options().create(true).assume(Durability::CacheLine);
    let mut contenders = ours(&options.open(folder.join("durable.pgs"))?)?;
    let file = file(folder, "pmem2")?;
    let missing = match pmem2::Map::of(&file, (PAGES * PAGE as u64) as usize) {
        Ok(map) => {
            contenders.push(Contender::new("libpmem2, pmem2_memcpy", move |page, bytes| {
                map.write(page as usize * PAGE, bytes);
                Ok(())
            }));
            None
        }
        Err(why) => Some(why),
    };
    measure(&mut contenders, 20_000)?;
    Ok((contenders, missing))
}

fn ours(store: &Store) -> Outcome<Vec<Contender>> {
    let object = |name: &str| -> Outcome<Object> {
        let object = store.create(name)?;
        object.write_at(0, &vec![1; (PAGES * PAGE as u64) as usize])?;
        object.sync()?;
        Ok(object)
    };
    let (in_place, atomic, store) = (object("in place")?, object("by batch")?, store.clone());
    Ok(vec![
        Contender::new("Pagestone, write_at + sync", move |page, bytes| {
            in_place.write_at(page * PAGE as u64, bytes)?;
            Ok(in_place.sync()?)
        }),
        Contender::new("Pagestone, a batch (atomic)", move |page, bytes| {
            let mut batch = store.batch();
            batch.write_at(&atomic, page * PAGE as u64, bytes)?;
            Ok(batch.commit()?)
        }),
    ])
}

/// A file of `PAGES` written pages.
fn file(folder: &Path, name: &str) -> Outcome<File> {
    let mut file = File::options().read(true).write(true).create_new(true).open(folder.join(name))?;
    file.write_all(&vec![1; (PAGES * PAGE as u64) as usize])?;
    file.sync_all()?;
    Ok(file)
}

/// Runs bursts of `writes` writes of all contenders in turn.
fn measure(contenders: &mut [Contender], writes: u32) -> Outcome {
    let mut random = Random::new(4);
    let mut bytes = [0; PAGE];
    for burst in 0..=BURSTS {
        for contender in contenders.iter_mut() {
            let pages: Vec<u64> = (0..writes).map(|_| random.below(PAGES)).collect();
            bytes.fill(burst as u8);
            let begun = Instant::now();
            for page in pages {
                (contender.write)(page, &bytes)?;
            }
            let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(writes);
            // The first burst warms up.
            if burst > 0 {
                contender.bursts.push(each);
            }
        }
    }
    Ok(())
}
