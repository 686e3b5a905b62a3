//! First touch: how a frame gets its descriptor without a lock on the hit path, by **void increments**.
//!
//! A pin is a blind `fetch_add(1)`. The table's memory is always mapped, so an addition to a word that was never
//! touched, or whose page was just given back, is harmless. Only a *lost* count would be harmful.
//!
//! ```text
//!   pinner A              pinner B             chunk lock     the word
//!   ------------------    -----------------    ----------     -----------------------------
//!   fetch_add -> 0                                            1     void: LIVE was not set
//!                         fetch_add -> 1                      2     void as well
//!   lock                                       A
//!   look: not LIVE
//!   swap(LIVE|v|1)                                            LIVE, version v, 1 pin: the swap wiped both voids
//!   unlock                                     -              A is pinned
//!                         lock                 B
//!                         look: LIVE
//!                         fetch_add                           LIVE, v, 2 pins
//!                         unlock               -              B is pinned
//!
//!   unpin, unpin                                              LIVE, v, 0 pins: idle
//!
//!                         reclaim: lock        R
//!                         CAS(idle -> 0)                      0     exactly the idle word, or not at all
//!   fetch_add -> 0                                            1     void
//!   lock ... waits        punch the page                      0     what the punch destroyed was void
//!                         unlock               -
//!   lock                                       A
//!   look: not LIVE, swap ...                                  LIVE, v', 1 pin
//! ```
//!
//! The rule: an increment counts if and only if the word that it returned was LIVE. An increment that does not count
//! **never** counts and is never subtracted. It is wiped by the swap of the thread that populates (or refuses to), or
//! by the punch. LIVE changes only under the chunk's lock, so it cannot change between the pinner's second look and
//! its second `fetch_add`.
//!
//! There are three ways to break it, which the models must find. To populate by *adding* LIVE keeps the void
//! increments, and the frame never becomes idle. To retire by *storing* zero loses a pin that came after the look. To
//! *punch after unlocking* destroys a populated word.

use super::chunk::chunk_of;
use super::descriptor::Descriptor;
use super::outcome::PinOutcome;
use super::table::FrameTable;
use crate::sync::mutant;
use crate::units::Pfn;

impl FrameTable {
    /// Pins a frame that was not LIVE when the pinner's increment reached it.
    pub(super) fn first_touch(&self, pfn: Pfn, descriptor: &Descriptor) -> PinOutcome {
        if self.is_of_the_parent(pfn) {
            // Without a lock, which a thread that the fork did not copy may have held. Frames of the parent are never
            // populated here, so nothing depends on the word.
            descriptor.void();
            return PinOutcome::Forked;
        }
        let chunk = chunk_of(self.index(pfn));
        let mut stripe = self.chunks.lock(chunk);
        // First of all, because the increment alone gave the chunk memory, which must be accounted for.
        let new_chunk = self.chunks.enter(&mut stripe, chunk);
        let outcome = if descriptor.look().live() && !mutant("populate_without_second_look") {
            self.admit(pfn, descriptor, descriptor.add_pin())
        } else if self.is_closed(pfn) {
            descriptor.void();
            PinOutcome::Held
        } else {
            descriptor.populate(self.versions.next());
            stripe.first_touches += 1;
            PinOutcome::Populated
        };
        drop(stripe);
        if new_chunk && self.over_budget() > 0 {
            self.trim();
        }
        outcome
    }
}
