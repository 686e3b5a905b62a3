//! Moving the tail ahead of need.
//!
//! On media with a page cache, the tail moves after a sync of the whole file. That waits for all that is dirty, even
//! where it has nothing to do with the log. So the write-back of the file is started early: a part with each change, as
//! fast as the log fills. And the tail is moved before an append needs the room. Only threads that change the store do
//! any of this.
//!
//! The first pass over the file misses what becomes dirty behind it. A last pass, which begins when the tail is due,
//! writes that, so that the sync waits for little. The last pass has few changes left among which its work is divided:
//! where much was stored behind the first pass, a second one comes between. Parts that turn out to be clean are passed
//! in longer strides. If little was stored since the last sync of the file, nothing is written early: it would be
//! written twice, and the sync is short.
//!
//! ```text
//! log used  0      1/8                7/16                 11/16       3/4      1
//!           |      | write-back started | of it all again, if |           |       |
//!                    of 0 to all of       much was stored     of all that  an append would have to move it
//!                    the file             meanwhile           is dirty now, then the tail
//! ```

use super::Log;
use crate::error::Result;
use crate::sync::atomic::Ordering;
use crate::sync::time::Instant;
use std::ops::Range;
use std::time::Duration;

/// The fewest bytes of the file whose write-back is started at a time, and then the most.
const STRIDE_MIN: u64 = 1 << 20;
const STRIDE_MAX: u64 = 4 << 20;
/// If a part took longer, it was not clean.
const CLEAN: Duration = Duration::from_micros(60);
/// Bytes that the sync of a tail may wait for.
const LITTLE: u64 = 1 << 20;
/// If no more bytes than these were stored since the first pass began, there is no second pass.
const MUCH: u64 = 32 << 20;
/// The most parts that a change starts, and the time after which it begins no further one.
const PARTS_A_CHANGE: u64 = 16;
const TIME_A_CHANGE: Duration = Duration::from_micros(500);

/// A pass over the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    Second,
    /// The tail waits for it.
    Last,
}

/// How far the write-back of the file was started since the last move of the tail.
pub(super) struct Ahead {
    tail_moves: u64,
    pass: Pass,
    /// The log's use between which this pass goes over the file, in bytes.
    span: Range<u64>,
    /// Bytes that were stored since the last sync when the pass began. A sync begins the count anew. That is noticed only
    /// where a change looks before as many bytes were stored again.
    stored: u64,
    started: u64,
    /// Whether the pass was at the file's end: it may have grown since.
    done: bool,
    stride: u64,
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            tail_moves: 0,
            pass: Pass::First,
            span: 0..0,
            stored: 0,
            started: 0,
            done: false,
            stride: STRIDE_MIN,
        }
    }
}

impl Ahead {
    /// Begins another pass, if the tail has moved, or the time of this one is over, or it is done and much was stored
    /// since it began. `stored` is the bytes of the file that were stored since its last sync.
    fn turn(&mut self, tail_moves: u64, used: u64, sixteenth: u64, stored: u64) {
        let begun = !self.span.is_empty() && self.tail_moves == tail_moves;
        let due = 11 * sixteenth;
        let (pass, span) = match self.pass {
            Pass::Last if begun => return,
            _ if used >= due => (Pass::Last, due..due + sixteenth),
            _ if !begun => (Pass::First, 2 * sixteenth..7 * sixteenth),
            Pass::First if self.done && stored - self.stored > MUCH => (Pass::Second, used..due),
            _ => return,
        };
        *self = Self { tail_moves, pass, span, stored, ..Self::default() };
    }

    /// The bytes of the file, of `len`, over which the pass is to have gone.
    fn wanted(&self, used: u64, len: u64) -> u64 {
        if self.pass == Pass::Last {
            return len;
        }
        let by_now = u128::from(used.saturating_sub(self.span.start)) * u128::from(len);
        u64::try_from(by_now / u128::from(self.span.end - self.span.start))
            .map_or(len, |by_now| by_now.min(len))
    }

    /// The use of the log from which on there is more to do.
    fn due(&self, used: u64, sixteenth: u64, len: u64) -> u64 {
        let span = u128::from(self.span.end - self.span.start);
        match self.pass {
            Pass::Last => used,
            // A second pass may become due.
            Pass::First if self.started >= len => (used + sixteenth).min(11 * sixteenth),
            Pass::Second if self.started >= len => 11 * sixteenth,
            _ => self.span.start + (u128::from(self.started) * span / u128::from(len)) as u64 + 1,
        }
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
        let used = self.used.load(Ordering::Relaxed);
        let (len, sixteenth) = (self.region.len_bytes(), self.ring.bytes() / 16);
        let stored = self.region.memory().stored_since_sync();
        ahead.stored = ahead.stored.min(stored);
        if stored <= LITTLE {
            // Shortly before the 12th, at which an append would have to move it.
            let latest = 12 * sixteenth - sixteenth / 4;
            if used >= latest {
                return self.checkpoint();
            }
            self.due.store((used + sixteenth).min(latest), Ordering::Relaxed);
            return Ok(());
        }
        ahead.turn(self.tail_moves.load(Ordering::Relaxed), used, sixteenth, stored);
        let wanted = ahead.wanted(used, len);
        if !self.start_write_back_up_to(&mut ahead, wanted, len)? {
            return Ok(());
        }
        if ahead.pass == Pass::Last && ahead.started >= len {
            return self.checkpoint();
        }
        self.due.store(ahead.due(used, sixteenth, len), Ordering::Relaxed);
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
            let part = ahead.stride.min(len - ahead.started);
            if !self.start_write_back(ahead.started, part)? {
                return Ok(false);
            }
            ahead.started += part;
            let now = Instant::now();
            let clean = now.saturating_duration_since(before) <= CLEAN;
            ahead.stride = if clean { (ahead.stride * 2).min(STRIDE_MAX) } else { STRIDE_MIN };
            before = now;
        }
        ahead.done |= ahead.started >= len;
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
