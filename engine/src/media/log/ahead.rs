//! Moving the tail ahead of need.
//!
//! On media with a page cache, the tail moves after a sync of the whole file. That waits for all that is dirty, even
//! where it has nothing to do with the log. So the write-back of the file is started early: a part with each change, as
//! fast as the log fills. And the tail is moved before an append needs the room. Only threads that change the store do
//! any of this.
//!
//! The first pass over the file misses what becomes dirty behind it. A last pass, which begins when the tail is due,
//! writes that, so that the sync waits for little. Parts that turn out to be clean are passed in longer strides. If
//! little was stored since the last sync of the file, nothing is written early: it would be written twice, and the sync
//! is short.
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

/// The fewest bytes of the file whose write-back is started at a time, and then the most.
const STRIDE_MIN: u64 = 1 << 20;
const STRIDE_MAX: u64 = 4 << 20;
/// If a part took longer, it was not clean.
const CLEAN: Duration = Duration::from_micros(60);
/// Bytes that the sync of a tail may wait for.
const LITTLE: u64 = 1 << 20;
/// The most parts that a change starts, and the time after which it begins no further one.
const PARTS_A_CHANGE: u64 = 16;
const TIME_A_CHANGE: Duration = Duration::from_micros(500);

/// How far the write-back of the file was started since the last move of the tail.
pub(super) struct Ahead {
    tail_moves: u64,
    /// Whether this is the last pass, for which the tail waits, and not the first one.
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

    /// Sets the use of the log from which on there is something to do, after the tail has moved.
    pub(super) fn rearm(&self) {
        let due = if self.syncs_published_data() { self.ring.bytes() / 8 } else { u64::MAX };
        self.due.store(due, Ordering::Relaxed);
    }

    /// Does one change's share of the work for which the next move of the tail waits, and moves the tail if an append
    /// will soon need that. The caller holds no lock.
    ///
    /// # Durability
    /// If the tail moved, as [`checkpoint`](Self::checkpoint). Otherwise none.
    pub fn keep_ahead(&self) -> Result {
        if !self.is_due() {
            return Ok(());
        }
        if !self.syncs_published_data() {
            self.rearm();
            return Ok(());
        }
        // If another thread does the same, this one need not.
        let Some(mut ahead) = self.ahead.try_lock() else { return Ok(()) };
        let tail_moves = self.tail_moves.load(Ordering::Relaxed);
        if ahead.tail_moves != tail_moves {
            *ahead = Ahead::since(tail_moves);
        }
        let used = self.used.load(Ordering::Relaxed);
        let (len, sixteenth) = (self.region.len_bytes(), self.ring.bytes() / 16);
        if self.region.memory().stored_since_sync() <= LITTLE {
            // Shortly before the 12th, at which an append would have to move it.
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

    /// Does a change's share of it. Returns false if the file is busy for another thread.
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

    /// Starts the write-back of a part. Returns false if the file is busy for another thread.
    fn start_write_back(&self, offset: u64, len: u64) -> Result<bool> {
        let started = self.region.memory().start_write_back(offset, len);
        if let Err(error) = &started {
            self.fail(error);
        }
        started
    }
}
