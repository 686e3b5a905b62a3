//! What a store is, and what it has done.

use crate::boundary::{Growing, SizedOut};
use crate::handle;
use crate::options;
use crate::recovery;
use crate::store::Store;
use pagestone::Error;
use pagestone::stats::Stats;
use pagestone::units::FRAME_SIZE;
use std::ffi::c_int;

/// What an open region is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StoreInfo {
    /// In: sizeof(pgs_store_info).
    pub size: usize,
    /// Device of the region's file, as stat() says.
    pub device: u64,
    /// Inode of the region's file; both are 0 for anonymous memory.
    pub inode: u64,
    /// Bytes of the region now.
    pub bytes: u64,
    /// Number of its first frame in this process.
    pub first_pfn: u64,
    /// What syncs rely on: PGS_DURABILITY_*.
    pub durability: u32,
    /// 1 if that is an assumption of pgs_options and not what the medium says.
    pub assumed: u32,
    /// 1 if it is open read-only.
    pub read_only: u32,
    /// 1 after a failed commit: it must be closed and opened again.
    pub poisoned: u32,
    /// How the last owner's life ended, as this opening found it: PGS_ENDING_*.
    pub ending: u32,
    /// What that was told by: PGS_WHY_*.
    pub why: u32,
    /// Operations of the log that were replayed.
    pub replayed: u64,
    /// Operations that were found whole in the log and not replayed: nothing had made them durable.
    pub dropped: u64,
    /// 0.
    pub reserved: u64,
}

/// What the store is. Set `info->size` before the call. Works on a poisoned store. PGS_E_TRUNCATED, once: the
/// file has been cut since the last look, and the store is poisoned from now on.
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

/// Whether the store's file is still as long as it was: what a server asks before each piece of work, since a touch of a
/// page that has been cut off ends the process (SIGBUS). One system call. PGS_E_TRUNCATED, once: it has been cut since
/// the last look; PGS_E_POISONED from then on, and after a failed commit.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_check_length(store: *const Store) -> c_int {
    // SAFETY: as C promised: a live store.
    unsafe { handle::on(store, |store| Ok(store.engine.check_length()?)) }
}

/// What a store has done since it was opened, and the table of descriptors that all stores of the process
/// share.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counters {
    /// In: sizeof(pgs_counters).
    pub size: usize,
    /// Objects that have handles.
    pub open_objects: u64,
    /// Frames that have pins.
    pub pinned_pages: u64,
    /// Syncs that looked for something to do.
    pub syncs: u64,
    /// Records appended to the log.
    pub log_records: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Marks made durable: each commits all records before it.
    pub log_commits: u64,
    /// Moves of the log's tail.
    pub log_tail_moves: u64,
    /// Records replayed when the store was opened.
    pub log_recovered: u64,
    /// Cache lines written back by a flush instruction.
    pub lines_flushed: u64,
    /// Cache lines written past the cache.
    pub lines_streamed: u64,
    /// Fences.
    pub fences: u64,
    /// fdatasync calls.
    pub file_syncs: u64,
    /// Ranges of the log written through (pwritev2 with RWF_DSYNC).
    pub write_throughs: u64,
    /// Process-wide: descriptors that fit the table.
    pub table_frames: u64,
    /// Process-wide: chunks of the table that have memory.
    pub table_chunks: u64,
    /// Process-wide: bytes of that memory.
    pub table_bytes: u64,
    /// Process-wide: descriptors made by a first touch.
    pub table_first_touches: u64,
    /// Process-wide: chunks whose memory was given back.
    pub table_reclaims: u64,
    /// Batches committed.
    pub batches: u64,
    /// What is to be freed and cannot be, since the medium is damaged there; pgs_check() names each.
    pub set_aside: u64,
    /// 0.
    pub reserved: [u64; 6],
}

/// Counts. Set `counters->size` before the call. Each number is right, all together are no instant.
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
