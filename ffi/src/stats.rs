//! Facts and counters of a store.

use crate::boundary::{Growing, SizedOut};
use crate::handle;
use crate::options;
use crate::recovery;
use crate::store::Store;
use pagestone::Error;
use pagestone::stats::Stats;
use pagestone::units::FRAME_SIZE;
use std::ffi::c_int;

/// Facts about an open region.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StoreInfo {
    /// In: sizeof(pgs_store_info).
    pub size: usize,
    /// Device of the region's file, as in stat().
    pub device: u64,
    /// Inode of the region's file. Both are 0 for anonymous memory.
    pub inode: u64,
    /// Current size of the region in bytes.
    pub bytes: u64,
    /// Number of its first frame in this process.
    pub first_pfn: u64,
    /// The durability that a sync gives: PGS_DURABILITY_*.
    pub durability: u32,
    /// 1 if that was assumed by pgs_options, and not reported by the medium.
    pub assumed: u32,
    /// 1 if it is open read-only.
    pub read_only: u32,
    /// 1 after a failed commit: close the store and open it again.
    pub poisoned: u32,
    /// How the last owner ended, as this opening found: PGS_ENDING_*.
    pub ending: u32,
    /// The reason for that conclusion: PGS_WHY_*.
    pub why: u32,
    /// Number of operations in the log that were replayed.
    pub replayed: u64,
    /// Number of operations that were complete in the log but not replayed, because they were not committed.
    pub dropped: u64,
    /// 0.
    pub reserved: u64,
}

/// Gets facts about the store. Set `info->size` before the call. It works on a poisoned store. It returns
/// PGS_E_TRUNCATED once, if the file was cut since the last check; the store is poisoned from then on.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_info(store: *const Store, info: *mut StoreInfo) -> c_int {
    // SAFETY: as C promised: a live store, and a struct of the size it names.
    unsafe {
        handle::on(store, |store| {
            let out = SizedOut::new(info)?;
            if let Err(error @ Error::Truncated { .. }) = store.engine.check_length() {
                return Err(error.into());
            }
            let (of_store, found) = (store.engine.info(), store.engine.recovery());
            out.set(StoreInfo {
                size: size_of::<StoreInfo>(),
                device: if of_store.path.is_some() { of_store.file.device } else { 0 },
                inode: if of_store.path.is_some() { of_store.file.inode } else { 0 },
                bytes: of_store.frames * FRAME_SIZE as u64,
                first_pfn: of_store.pfns.start.get(),
                durability: options::number(of_store.durability),
                assumed: of_store.assumed.into(),
                read_only: of_store.read_only.into(),
                poisoned: store.engine.poisoned().is_some().into(),
                ending: recovery::ending(found.ending),
                why: recovery::why(found.why),
                replayed: found.replayed,
                dropped: found.dropped,
                reserved: 0,
            });
            Ok(())
        })
    }
}

/// Checks, by one system call, that the store's file is still as long as it was. A server calls this before
/// each piece of work, because an access to a page that was cut off ends the process (SIGBUS). It returns
/// PGS_E_TRUNCATED once, if the file was cut since the last check, and PGS_E_POISONED from then on and after
/// a failed commit.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_check_length(store: *const Store) -> c_int {
    // SAFETY: as C promised: a live store.
    unsafe { handle::on(store, |store| Ok(store.engine.check_length()?)) }
}

/// Counters of a store since it was opened, and of the table of descriptors, which all stores of the process
/// share.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counters {
    /// In: sizeof(pgs_counters).
    pub size: usize,
    /// Objects with handles.
    pub open_objects: u64,
    /// Frames with pins.
    pub pinned_pages: u64,
    /// Syncs, including those that found nothing to do.
    pub syncs: u64,
    /// Records appended to the log.
    pub log_records: u64,
    /// Bytes of these records.
    pub log_bytes: u64,
    /// Durable marks; each commits all records before it.
    pub log_commits: u64,
    /// Moves of the log's tail.
    pub log_tail_moves: u64,
    /// Records replayed when the store was opened.
    pub log_recovered: u64,
    /// Cache lines written back by a flush instruction.
    pub lines_flushed: u64,
    /// Cache lines written by non-temporal stores.
    pub lines_streamed: u64,
    /// Fences.
    pub fences: u64,
    /// fdatasync calls.
    pub file_syncs: u64,
    /// Ranges of the log that were written through (pwritev2 with RWF_DSYNC).
    pub write_throughs: u64,
    /// Process-wide: capacity of the table in descriptors.
    pub table_frames: u64,
    /// Process-wide: chunks of the table with memory.
    pub table_chunks: u64,
    /// Process-wide: bytes of that memory.
    pub table_bytes: u64,
    /// Process-wide: descriptors populated by a first touch.
    pub table_first_touches: u64,
    /// Process-wide: chunks whose memory was given back.
    pub table_reclaims: u64,
    /// Batches committed.
    pub batches: u64,
    /// Things that should be freed but cannot, because the medium is damaged there; pgs_check() names each.
    pub set_aside: u64,
    /// 0.
    pub reserved: [u64; 6],
}

/// Gets the counters. Set `counters->size` before the call. Each number is exact, but they are not of one
/// moment.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_stats(store: *const Store, counters: *mut Counters) -> c_int {
    // SAFETY: as C promised: a live store, and a struct of the size it names.
    unsafe {
        handle::on(store, |store| {
            SizedOut::new(counters)?.set(store.engine.stats().into());
            Ok(())
        })
    }
}

// SAFETY: repr(C), integers only, the layout asserted below leaves no padding.
unsafe impl Growing for StoreInfo {
    const FIRST: usize = 88;
    const NAME: &'static str = "pgs_store_info";
}
const _: () = assert!(size_of::<StoreInfo>() == 88);

// SAFETY: repr(C), words only.
unsafe impl Growing for Counters {
    const FIRST: usize = 216;
    const NAME: &'static str = "pgs_counters";
}
const _: () = assert!(size_of::<Counters>() == 216);

impl From<Stats> for Counters {
    fn from(stats: Stats) -> Self {
        Self {
            size: size_of::<Self>(),
            open_objects: stats.open_objects,
            pinned_pages: stats.pinned_pages,
            syncs: stats.syncs,
            log_records: stats.log_records,
            log_bytes: stats.log_bytes,
            log_commits: stats.log_commits,
            log_tail_moves: stats.log_tail_moves,
            log_recovered: stats.log_recovered,
            lines_flushed: stats.lines_flushed,
            lines_streamed: stats.lines_streamed,
            fences: stats.fences,
            file_syncs: stats.file_syncs,
            write_throughs: stats.write_throughs,
            table_frames: stats.table_frames,
            table_chunks: stats.table_chunks,
            table_bytes: stats.table_bytes,
            table_first_touches: stats.table_first_touches,
            table_reclaims: stats.table_reclaims,
            batches: stats.batches,
            set_aside: stats.set_aside,
            reserved: [0; 6],
        }
    }
}
