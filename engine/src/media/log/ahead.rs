//! Moving the tail ahead of need.
//!
//! A tail moves behind a sync of the whole file, on media where a kernel has it: that waits for whatever is dirty, the
//! log's business or not. So the file's write-back is started early, a part with each change and as fast as the log fills,
//! and the tail is moved before an append needs the room. No thread but those that change the store does any of it.
//!
//! What became dirty behind the first pass over the file is met by the last one, which begins when the tail is due: the
//! sync then waits for little. Parts that turn out to be clean are passed in longer strides. Where little was stored since
//! the file was synced last, nothing is written early: it would be written twice, and the sync is short.
//!
//! ```text
//! log used  0      1/8                     9/16   11/16       3/4      1
//!           |      | write-back started ... |      |           |       |
//!                    of 0 to all of the file       of all that  an append would have to move it
//!                                                  is dirty now, then the tail
//! ```

use super::Log;
use crate::error::Result;
use crate::sync::atomic::Ordering;
use crate::sync::time::Instant;
use std::time::Duration;

/// Least and most bytes of the file of which the write-back is started at a time.
const STRIDE_MIN: u64 = 1 << 20;
const STRIDE_MAX: u64 = 4 << 20;
/// A part that took longer was not clean.
const CLEAN: Duration = Duration::from_micros(60);
/// Bytes that the sync of a tail may wait for.
const LITTLE: u64 = 1 << 20;
/// How many parts a change starts at most, and for how long it begins another one.
const PARTS_A_CHANGE: u64 = 16;
const TIME_A_CHANGE: Duration = Duration::from_micros(500);

/// How far the write-back of the file was started since the tail moved last.
pub(super) struct Ahead {
    tail_moves: u64,
    /// The pass that the tail waits for, and no more the first one.
    last: bool,
    started: u64,
    stride: u64,
}

impl Default for Ahead {
    fn default() -> Self {
        Self::since(0)
    }
}

impl Ahead {
    fn since(tail_moves: u64) -> Self {
        Self { tail_moves, last: false, started: 0, stride: STRIDE_MIN }
    }
}

impl Log {
    /// Whether [`keep_ahead`](Self::keep_ahead) has something to do.
    #[inline]
    pub fn is_due(&self) -> bool {
        // ORDERING: Relaxed, here and below: an old number is as good as if this call had come earlier.
        self.used.load(Ordering::Relaxed) >= self.due.load(Ordering::Relaxed)
    }

    /// From what use of the log on there is something to do, after the tail has moved.
    pub(super) fn rearm(&self) {
        let due = if self.syncs_published_data() { self.ring.bytes() / 8 } else { u64::MAX };
        self.due.store(due, Ordering::Relaxed);
    }

    /// Does a change's share of what the next move of the tail waits for, and moves it if an append will soon need that.
    /// The caller holds no lock.
    ///
    /// # Durability
    /// When the tail moved, as [`checkpoint`](Self::checkpoint); else none.
    pub fn keep_ahead(&self) -> Result {
        if !self.is_due() {
            return Ok(());
        }
        if !self.syncs_published_data() {
            self.rearm();
            return Ok(());
        }
        // Another thread that does the same does it for this one.
        let Some(mut ahead) = self.ahead.try_lock() else { return Ok(()) };
        let tail_moves = self.tail_moves.load(Ordering::Relaxed);
        if ahead.tail_moves != tail_moves {
            *ahead = Ahead::since(tail_moves);
        }
        let used = self.used.load(Ordering::Relaxed);
        let (len, sixteenth) = (self.region.len_bytes(), self.ring.bytes() / 16);
        if self.region.memory().stored_since_sync() <= LITTLE {
            // Shortly before the 12th, with which an append would have to.
            let latest = 12 * sixteenth - sixteenth / 4;
            if used >= latest {
                return self.checkpoint();
            }
            self.due.store((used + sixteenth).min(latest), Ordering::Relaxed);
            return Ok(());
        }
        if used >= 11 * sixteenth && !ahead.last {
            *ahead = Ahead { last: true, ..Ahead::since(tail_moves) };
        }
        let (first, span) = (2 * sixteenth, u128::from(7 * sixteenth));
        let by_now = u128::from(used.saturating_sub(first)) * u128::from(len) / span;
        let wanted = if ahead.last { len } else { u64::try_from(by_now).unwrap_or(len).min(len) };
        if !self.start_write_back_up_to(&mut ahead, wanted, len)? {
            return Ok(());
        }
        if ahead.last && ahead.started >= len {
            return self.checkpoint();
        }
        let next = match ahead.started {
            _ if ahead.last => used,
            all if all >= len => 11 * sixteenth,
            part => first + (u128::from(part) * span / u128::from(len)) as u64 + 1,
        };
        self.due.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// A change's share of it. False: the file is at work for another thread.
    fn start_write_back_up_to(&self, ahead: &mut Ahead, wanted: u64, len: u64) -> Result<bool> {
        let begun = Instant::now();
        let mut before = begun;
        for _ in 0..PARTS_A_CHANGE {
            if ahead.started >= wanted || before.saturating_duration_since(begun) > TIME_A_CHANGE {
                break;
            }
            if !self.start_write_back(ahead.started, ahead.stride.min(len - ahead.started))? {
                return Ok(false);
            }
            ahead.started += ahead.stride;
            let now = Instant::now();
            let clean = now.saturating_duration_since(before) <= CLEAN;
            ahead.stride = if clean { (ahead.stride * 2).min(STRIDE_MAX) } else { STRIDE_MIN };
            before = now;
        }
        Ok(true)
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
