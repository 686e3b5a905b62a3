//! How the last owner of a region ended.

use pagestone::store::{Ending, Why};
use std::ffi::{CStr, c_char};

/// pgs_store_info.ending: the last owner closed the region, or there was none.
pub const PGS_ENDING_CLEAN: u32 = 0;
/// The process of the last owner died, and everything that it had changed is there.
pub const PGS_ENDING_PROCESS_DEATH: u32 = 1;
/// The power failed, or that cannot be excluded: everything that was synced is there.
pub const PGS_ENDING_POWER_LOSS: u32 = 2;

/// pgs_store_info.why: the region is new or was closed.
pub const PGS_WHY_CLOSED: u32 = 0;
/// It is the same file, and its file system has been mounted all the time.
pub const PGS_WHY_KEPT: u32 = 1;
/// The machine was rebooted since, or this boot cannot be identified (no /proc).
pub const PGS_WHY_OTHER_BOOT: u32 = 2;
/// It is not the file that the owner had, but a copy or a snapshot.
pub const PGS_WHY_OTHER_FILE: u32 = 3;
/// The file system was unmounted since, or that cannot be excluded.
pub const PGS_WHY_OTHER_MOUNTING: u32 = 4;
/// A flush of the owner had failed.
pub const PGS_WHY_FAILED_FLUSH: u32 = 5;
/// Not everything that the owner had stored could be written to the medium after its death.
pub const PGS_WHY_FAILED_WRITEBACK: u32 = 6;
/// The record of how the owner ended is damaged.
pub const PGS_WHY_UNREADABLE: u32 = 7;
/// PGS_ASSUME_POWER_LOSS was given.
pub const PGS_WHY_ASSUMED: u32 = 8;

/// A PGS_WHY_* constant in words, in English. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn pgs_why_text(why: u32) -> *const c_char {
    text(why).as_ptr()
}

fn text(why: u32) -> &'static CStr {
    match why {
        PGS_WHY_CLOSED => c"it was closed in order, or is new",
        PGS_WHY_KEPT => c"it is the same file, and its file system has been mounted ever since",
        PGS_WHY_OTHER_BOOT => c"the machine was booted since, or this boot cannot be told",
        PGS_WHY_OTHER_FILE => c"it is another file than the one that its owner had",
        PGS_WHY_OTHER_MOUNTING => c"its file system was unmounted since, or that cannot be ruled out",
        PGS_WHY_FAILED_FLUSH => c"a flush of its owner had failed",
        PGS_WHY_FAILED_WRITEBACK => c"what its owner had stored could not all be written to the medium",
        PGS_WHY_UNREADABLE => c"what says how its owner left is damaged",
        PGS_WHY_ASSUMED => c"the caller said so",
        _ => c"unknown",
    }
}

/// The PGS_ENDING_* of an ending. An ending that this library does not know counts as a loss of power.
pub(crate) fn ending(ending: Ending) -> u32 {
    match ending {
        Ending::Clean => PGS_ENDING_CLEAN,
        Ending::ProcessDeath => PGS_ENDING_PROCESS_DEATH,
        _ => PGS_ENDING_POWER_LOSS,
    }
}

/// The PGS_WHY_* of a reason.
pub(crate) fn why(why: Why) -> u32 {
    match why {
        Why::Closed => PGS_WHY_CLOSED,
        Why::Kept => PGS_WHY_KEPT,
        Why::OtherBoot => PGS_WHY_OTHER_BOOT,
        Why::OtherFile => PGS_WHY_OTHER_FILE,
        Why::OtherMounting => PGS_WHY_OTHER_MOUNTING,
        Why::FailedFlush => PGS_WHY_FAILED_FLUSH,
        Why::FailedWriteback => PGS_WHY_FAILED_WRITEBACK,
        Why::Assumed => PGS_WHY_ASSUMED,
        _ => PGS_WHY_UNREADABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_in_c_are_those_of_the_engine() {
        for reason in [
            Why::Closed,
            Why::Kept,
            Why::OtherBoot,
            Why::OtherFile,
            Why::OtherMounting,
            Why::FailedFlush,
            Why::FailedWriteback,
            Why::Unreadable,
            Why::Assumed,
        ] {
            assert_eq!(text(why(reason)).to_str(), Ok(reason.to_string().as_str()));
        }
    }
}
