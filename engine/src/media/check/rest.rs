//! The rest of the frames at the head, behind their sectors, and the applied cursor.

use super::Report;
use crate::error::{Error, Result};
use crate::media::layout::{
    CURSOR_OFFSET, LEASE_OFFSET, LOG_HEADER_OFFSETS, SECTOR_SIZE, SUPERBLOCK_OFFSETS, WORD_SIZE,
};
use crate::media::lease::{Lease, State};
use crate::media::log::header::Header;
use crate::media::log::{Log, cursor};
use crate::media::sector::Found;
use crate::media::superblock::Superblock;
use crate::units::FRAME_SIZE;

/// Checks the bytes behind the sectors of the head, and the cursor. For a region at rest, checks the older copy of the
/// log's header too.
pub(super) fn check(log: &Log, superblock: Option<&Superblock>, report: &mut Report) -> Result {
    // A feature that this release does not know may use these bytes.
    if superblock.is_some_and(|superblock| superblock.features()[0] == 0) {
        let sectors = SUPERBLOCK_OFFSETS.into_iter().chain(LOG_HEADER_OFFSETS).chain([LEASE_OFFSET]);
        let starts = sectors.map(|sector| sector + SECTOR_SIZE as u64).chain([CURSOR_OFFSET + WORD_SIZE]);
        for start in starts {
            if let Some(at) = nonzero(log, start)? {
                report.find("head-rest", at, "not zero");
            }
        }
    }
    doubts(log)?.into_iter().for_each(|(name, at, detail)| report.remark(name, at, detail));
    Ok(())
}

type Doubt = (&'static str, u64, &'static str);

fn doubts(log: &Log) -> Result<Vec<Doubt>> {
    let memory = log.region().memory();
    let header = match Header::read(memory, log.frames()) {
        Err(Error::Corrupt { .. }) => return Ok(Vec::new()),
        header => header?,
    };
    let mut doubts = Vec::new();
    let salt = log.salt().drawn();
    // A format stores no cursor.
    let unwritten = memory.load(CURSOR_OFFSET)? == 0 && !Header::was_moved(memory)?;
    if !unwritten && cursor::read(memory, salt, header.tail, log.rules())?.is_none() {
        doubts.push(("cursor", CURSOR_OFFSET, "it is not of this life; the next change writes it"));
    }
    let lease = Lease::read(log.region())?;
    if lease == Found::Blank && Header::was_moved(memory)? {
        doubts.push((
            "lease",
            LEASE_OFFSET,
            "it is blank, though the region was changed; the next change writes it",
        ));
    }
    let at_rest = matches!(lease, Found::Whole(lease)
        if lease.state == State::Clean && lease.epoch == header.tail.link.epoch);
    if let (true, Some(at)) = (at_rest, header.older_tail_at(memory)?) {
        let why = "it has an older tail than the other copy, though the region was closed: a write was lost";
        doubts.push(("log-header-copy", at, why));
    }
    Ok(doubts)
}

/// The first word that is not zero, from this byte to the end of its frame.
fn nonzero(log: &Log, from: u64) -> Result<Option<u64>> {
    let mut words = vec![0; ((FRAME_SIZE as u64 - from % FRAME_SIZE as u64) / WORD_SIZE) as usize];
    log.region().memory().load_run(from, &mut words)?;
    let mut at = (from..).step_by(WORD_SIZE as usize).zip(words);
    Ok(at.find(|(_, word)| *word != 0).map(|(at, _)| at))
}
