//! Copies of a page's bytes.
//!
//! A copy takes the shared latch if it is free at once. If it is refused, because a writer waits or the number of
//! readers is at its maximum, it copies without a latch, word by word, and keeps the copy if no writer came in
//! between. A copy without a latch loads words that a writer may be storing, which is formally a race. A copy that
//! raced is thrown away.

use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::frame::Manner;
use crate::sync::hint;
use crate::units::FRAME_SIZE;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Number of tries without a latch before a copy waits for one. None under tools that would report the race.
const ATTEMPTS: usize = if cfg!(any(miri, pagestone_tsan)) { 0 } else { 16 };
const WORD: usize = 8;

impl PageRef {
    /// Copies the page without a latch. `false`: a writer interfered, and `into` has no useful contents.
    ///
    /// # Errors
    /// `PoisonedFrame`.
    pub fn read_optimistic(&self, into: &mut [u8; FRAME_SIZE]) -> Result<bool> {
        self.readable()?;
        if self.copy_without_latch(0, into) {
            return Ok(true);
        }
        self.pages().region().ensure_own()?;
        Ok(false)
    }

    /// Copies bytes of the page from `at` on. It waits only for a writer that holds the page.
    pub(crate) fn load(&self, at: usize, into: &mut [u8]) -> Result {
        self.readable()?;
        if at.saturating_add(into.len()) > FRAME_SIZE {
            return Err(Error::internal(format!("{} bytes from byte {at} of a page", into.len())));
        }
        if !self.pinned().try_latch_shared(Manner::GivesWay) {
            return self.load_refused(at, into);
        }
        self.load_latched(at, into);
        Ok(())
    }

    #[cold]
    fn load_refused(&self, at: usize, into: &mut [u8]) -> Result {
        for _ in 0..ATTEMPTS {
            if self.copy_without_latch(at, into) {
                return Ok(());
            }
            hint::spin_loop();
        }
        self.wait_for_a_turn_to_read()?;
        self.load_latched(at, into);
        Ok(())
    }

    /// The caller has taken the shared latch, which this call releases.
    fn load_latched(&self, at: usize, into: &mut [u8]) {
        let bytes = self.bytes().as_ptr();
        // SAFETY: the frame is pinned and mapped; the shared latch keeps writers out until it is released below.
        let page = unsafe { std::slice::from_raw_parts(bytes, FRAME_SIZE) };
        into.copy_from_slice(&page[at..at + into.len()]);
        self.pinned().release_shared();
    }

    /// Copies bytes of the page from `at` on, which the caller has checked to be in the page. False: a writer
    /// interfered.
    #[inline(never)]
    fn copy_without_latch(&self, at: usize, into: &mut [u8]) -> bool {
        let version = self.pinned().version();
        if !version.stable() {
            // A writer holds the page; or this is a forked child, where the page is not mapped and must not be
            // accessed.
            return false;
        }
        let words = self.bytes().cast::<AtomicU64>().as_ptr();
        let word = |n: usize| {
            // SAFETY: a frame is 512 aligned words, of which this is one, and it is pinned. A writer may store to it
            // meanwhile; then the version differs and the copy is discarded.
            let word = unsafe { &*words.wrapping_add(n) };
            // ORDERING: Relaxed: the fence below orders the copy before the second look at the version.
            u64::from_le(word.load(Ordering::Relaxed)).to_le_bytes()
        };
        let head = (at.next_multiple_of(WORD) - at).min(into.len());
        let (head, rest) = into.split_at_mut(head);
        if !head.is_empty() {
            head.copy_from_slice(&word(at / WORD)[at % WORD..][..head.len()]);
        }
        for (piece, n) in rest.chunks_mut(WORD).zip((at + head.len()) / WORD..) {
            piece.copy_from_slice(&word(n)[..piece.len()]);
        }
        // ORDERING: Acquire fence: a copied word that a writer stored makes its version visible to `unchanged`.
        fence(Ordering::Acquire);
        self.pinned().validate(version)
    }
}
