//! Moving the tail ahead of need.
//!
//! A tail moves behind a sync of the whole file, on media where a kernel has it: that waits for whatever is dirty, the
//! log's business or not. So the file's write-back is started early, a part with each change and as fast as the log fills,
//! and the tail is moved before an append needs the room. No thread but those that change the store does any of it.
//!
//! ```text
//! log used  0      1/8                     9/16   11/16   3/4      1
//!           |      | write-back started ... |      |       |       |
//!                    of 0 to all of the file       tail    an append would have to move it
//! ```

use super::Log;
use crate::error::Result;
use crate::sync::atomic::Ordering;

/// Least and most bytes of the file of which the write-back is started at a time.
const GRAIN_MIN: u64 = 1 << 20;
const GRAIN_MAX: u64 = 8 << 20;
/// How many times a change does so at most.
const GRAINS_A_CHANGE: u64 = 16;

/// How far the write-back of the file was started since the tail moved last.
#[derive(Default)]
pub(super) struct Ahead {
    tail_moves: u64,
    started: u64,
}

impl Log {
    /// Does a change's share of what the next move of the tail waits for, and moves it if an append will soon need that.
    /// The caller holds no lock.
    ///
    /// # Durability
    /// When the tail moved, as [`checkpoint`](Self::checkpoint); else none.
    pub fn keep_ahead(&self) -> Result {
        // ORDERING: Relaxed, here and below: an old number is as good as if this call had come earlier.
        let used = self.used.load(Ordering::Relaxed);
        if used < self.due.load(Ordering::Relaxed) || !self.syncs_published_data() {
            return Ok(());
        }
        // Another thread that does the same does it for this one.
        let Some(mut ahead) = self.ahead.try_lock() else { return Ok(()) };
        let tail_moves = self.tail_moves.load(Ordering::Relaxed);
        if ahead.tail_moves != tail_moves {
            *ahead = Ahead { tail_moves, started: 0 };
        }
        let (len, sixteenth) = (self.region.len_bytes(), self.ring.bytes() / 16);
        let grain = (len / 1024).clamp(GRAIN_MIN, GRAIN_MAX);
        let (first, span) = (2 * sixteenth, u128::from(7 * sixteenth));
        let wanted = u128::from(used.saturating_sub(first)) * u128::from(len) / span;
        for _ in 0..GRAINS_A_CHANGE {
            if ahead.started >= len || u128::from(ahead.started) >= wanted {
                break;
            }
            if !self.start_write_back(ahead.started, grain.min(len - ahead.started))? {
                return Ok(());
            }
            ahead.started += grain;
        }
        if used >= 11 * sixteenth {
            return self.checkpoint();
        }
        let next = u128::from(ahead.started) * span / u128::from(len);
        let next = if ahead.started >= len { 11 * sixteenth } else { first + next as u64 + 1 };
        self.due.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// False: the file is at work for another thread.
    fn start_write_back(&self, offset: u64, len: u64) -> Result<bool> {
        let started = self.region.memory().start_write_back(offset, len);
        if let Err(error) = &started {
            self.fail(error);
        }
        started
    }
}
