//! The state word of a descriptor: layout, states, transitions.
//!
//! ```text
//!  63          36 35      26 25 24 23 22 21 20 19 18 17 16 15             0
//! +--------------+----------+-----+--+--+--+--+--+--+--+--+----------------+
//! |   version    |  shared  | REF |Wt|Ps|Wb|Di|Or|Ho|Li|Ex|      pins      |
//! +--------------+----------+-----+--+--+--+--+--+--+--+--+----------------+
//!  28 bits        10 bits     |    |  |  |  |  |  |  |  |   at most PINS_MAX; above it, room for blind adds
//!   bumped by     at most     |    |  |  |  |  |  |  |  +-- EXCLUSIVE  a writer holds the latch
//!   every exclu-  SHARED_MAX; |    |  |  |  |  |  |  +----- LIVE       populated
//!   sive release  above it,   |    |  |  |  |  |  +-------- HOLD       no new pin for now; the last put wakes
//!                 room for    |    |  |  |  |  +----------- ORPHAN     detached for good; the last put frees
//!                 blind adds  |    |  |  |  +-------------- DIRTY      stored to, not yet flushed
//!                             |    |  |  +----------------- WRITEBACK  on its way to the backing
//!                             |    |  +-------------------- POISONED   the medium failed under the frame
//!                             |    +----------------------- WAITERS    a thread sleeps, or a writer waits: the wait word says more
//!                             +---------------------------- REFERENCED two bits, for replacement
//! ```
//!
//! Pins are the lowest field, so that a pin is one `fetch_add(1)`. The flags are next, so that the low half of the
//! returned word decides whether the pin is admitted.
//!
//! ```text
//!                  first touch                        orphan (pins > 0)
//!   unpopulated ----------------> LIVE idle <-> pinned ---------------> LIVE ORPHAN pinned
//!   (LIVE clear)                   |  ^  pin, unpin                        | last put
//!        ^                    hold |  | unhold                             v
//!        |                         v  |                            LIVE ORPHAN CLAIM, no pin: the
//!        |                      LIVE HOLD: pins only fall          freeing is claimed, by one put only
//!        |                         |                                       |
//!        +--- reclaim, orphan, ----+                                       |
//!        |    retire_range, a move (0 pins)                                |
//!        +----------------------------- retire_orphan ---------------------+
//! ```
//!
//! Every transition is one read-modify-write: a pin that is about to be taken back may be in any word at any time,
//! and a plain store would lose it. LIVE changes only under the chunk's lock.
//!
//! A latch without a pin was forgotten. Its holder may still know the frame's number and release the latch later. So
//! a frame with such a latch is not freed, because the late release would drop a latch of the frame's next owner.
//! CLAIM is a value that no latches can produce: EXCLUSIVE, and more shared latches than are allowed.
//!
//! | transition | from | to | how | ordering | happens-before it creates |
//! |---|---|---|---|---|---|
//! | `add_pin` | any | pins + 1 | fetch_add | Acquire | what populated, released or orphaned the frame -> the pinner |
//! | `add_pin_again` | pinned | pins + 1 | fetch_add | Relaxed | none needed: the caller's pin has it |
//! | `drop_pin` | pins > 0 | pins - 1 | fetch_sub | Release | the holder's accesses -> what sees the frame idle |
//! | `populate` | LIVE clear | LIVE, version, 1 pin | swap, chunk lock | AcqRel | retirer -> populater -> every later pinner |
//! | `void` | LIVE clear | 0 | swap | Relaxed | none: nothing was admitted |
//! | `retire_if` | LIVE, 0 pins | 0 | compare-exchange, chunk lock | AcqRel | last holder -> next user of the frame |
//! | `claim_freeing` | LIVE ORPHAN, 0 pins, no latch | and CLAIM | compare-exchange | AcqRel | all holders -> freer |
//! | `set` HOLD, ORPHAN | LIVE | and the flag | fetch_or | AcqRel | map change -> refused pinners; holders -> setter |
//! | `set`, `clear` others | LIVE, pinned | flag | fetch_or, fetch_and | AcqRel | see their callers |
//! | `add_shared` | pinned, seen with room | shared + 1 | fetch_add | Acquire | the writers before -> the reader |
//! | `drop_shared` | shared > 0 | shared - 1 | fetch_sub | Release | the reader -> the next writer |
//! | `try_exclusive` | LIVE, shared = 0, EXCLUSIVE clear | EXCLUSIVE | compare-exchange | Acquire, release fence | readers, writers before -> the writer |
//! | `drop_exclusive` | EXCLUSIVE | clear, version + 1 | fetch_add | Release | the writer -> all latchers, validators |

use std::fmt;

/// Maximum number of pins of one frame; small in a model, so that it is reached.
pub const PINS_MAX: u32 = if cfg!(pagestone_loom) { 7 } else { 0x7fff };
/// Maximum number of shared latches of one frame; as above.
pub const SHARED_MAX: u32 = if cfg!(pagestone_loom) { 2 } else { 0x1ff };

/// A run of bits in the word.
#[derive(Clone, Copy)]
pub(super) struct Field {
    shift: u32,
    bits: u32,
}

impl Field {
    const fn first(bits: u32) -> Self {
        Self { shift: 0, bits }
    }
    const fn next(self, bits: u32) -> Self {
        Self { shift: self.shift + self.bits, bits }
    }
    /// The value 1 of the field, in place.
    pub(super) const fn one(self) -> u64 {
        1 << self.shift
    }
    /// All of the field's bits, in place.
    pub(super) const fn mask(self) -> u64 {
        (u64::MAX >> (64 - self.bits)) << self.shift
    }
    pub(super) const fn of(self, word: u64) -> u64 {
        (word & self.mask()) >> self.shift
    }
    /// `value`, cut to the field's width, in place.
    pub(super) const fn pack(self, value: u64) -> u64 {
        (value << self.shift) & self.mask()
    }
}

pub(super) const PINS: Field = Field::first(16);
const EXCLUSIVE_FIELD: Field = PINS.next(1);
const LIVE_FIELD: Field = EXCLUSIVE_FIELD.next(1);
const HOLD_FIELD: Field = LIVE_FIELD.next(1);
const ORPHAN_FIELD: Field = HOLD_FIELD.next(1);
const DIRTY_FIELD: Field = ORPHAN_FIELD.next(1);
const WRITEBACK_FIELD: Field = DIRTY_FIELD.next(1);
const POISONED_FIELD: Field = WRITEBACK_FIELD.next(1);
const WAITERS_FIELD: Field = POISONED_FIELD.next(1);
pub(super) const REFERENCED: Field = WAITERS_FIELD.next(2);
pub(super) const SHARED: Field = REFERENCED.next(10);
pub(super) const VERSION: Field = SHARED.next(28);

pub(super) const EXCLUSIVE: u64 = EXCLUSIVE_FIELD.one();
pub(super) const LIVE: u64 = LIVE_FIELD.one();
pub(super) const HOLD: u64 = HOLD_FIELD.one();
pub(super) const ORPHAN: u64 = ORPHAN_FIELD.one();
pub(super) const DIRTY: u64 = DIRTY_FIELD.one();
pub(super) const WRITEBACK: u64 = WRITEBACK_FIELD.one();
pub(super) const POISONED: u64 = POISONED_FIELD.one();
pub(super) const WAITERS: u64 = WAITERS_FIELD.one();

/// The mark of a frame whose freeing is claimed. Its bit of SHARED has as much room below as above, so a latch that
/// is released or added in vain by a thread without a pin does not hide it.
pub(super) const CLAIM: u64 = EXCLUSIVE | SHARED.pack(0x300);
const CLAIMED: u64 = EXCLUSIVE | SHARED.pack(0x200);
/// The bits that an optimistic reader compares: not pins, shared latches or marks, which other threads may change
/// meanwhile.
pub(super) const READER_BITS: u64 = VERSION.mask() | LIVE | ORPHAN | POISONED | EXCLUSIVE;
/// Set in a word with more pins than are allowed.
const PINS_OVER: u64 = PINS_MAX as u64 + 1;
/// Maximum number of pins of one frame, including those that a call of the store makes for itself and drops before it
/// returns: a page that users have pinned [`PINS_MAX`] times can still be read and written. The rest of the field is
/// room for blind additions.
pub(super) const SHORT_PINS_MAX: u32 = PINS_MAX + PINS_MAX.div_ceil(2);

const _: () = assert!(VERSION.shift + VERSION.bits == 64);
const _: () = assert!(PINS_OVER.is_power_of_two() && PINS_OVER & PINS.mask() == PINS_OVER);
const _: () = assert!(SHORT_PINS_MAX as u64 + (PINS_MAX as u64) / 2 <= PINS.of(PINS.mask()));
const _: () = assert!(SHARED_MAX as u64 * 2 < SHARED.of(SHARED.mask()));
const _: () = assert!(CLAIMED & CLAIM == CLAIMED && (SHARED_MAX as u64) < SHARED.of(CLAIMED));
// The hit path tests its flags in the low half.
const _: () = assert!((REFERENCED.mask() | WAITERS | POISONED | LIVE) >> 32 == 0);

/// A frame's state at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Snapshot(pub(super) u64);

impl Snapshot {
    /// Whether a pin that made this word is admitted, with nothing left to do.
    #[inline(always)]
    pub(super) const fn admits_at_once(self) -> bool {
        const TEST: u64 = LIVE | HOLD | ORPHAN | POISONED | PINS_OVER | REFERENCED.mask();
        const WANT: u64 = LIVE | REFERENCED.mask();
        self.0 as u32 & TEST as u32 == WANT as u32
    }
    /// Whether dropping a pin from this word needs nothing else, even if it was the last one.
    #[inline(always)]
    pub(super) const fn drops_at_once(self) -> bool {
        self.0 as u32 & (LIVE | HOLD | ORPHAN) as u32 == LIVE as u32
    }
    /// Whether a put that found this word had no pin to drop, because a fork wiped the page of the table. Then the
    /// word is zero, or what other such puts made of it. No populated frame has all its flags set and so many
    /// readers.
    pub(super) const fn strayed(self) -> bool {
        const ALL: u64 = !(PINS.mask() | VERSION.mask());
        !self.live() || self.0 & ALL == ALL
    }
    /// Whether a shared latch may be counted in this word: no writer holds the frame, and there is room. Whether a
    /// waiting writer allows it is in the wait word. In a forked child the word is wiped, and no latch is allowed.
    #[inline(always)]
    pub(super) const fn has_room_to_share(self) -> bool {
        self.0 & (EXCLUSIVE | LIVE) == LIVE && SHARED.of(self.0) < SHARED_MAX as u64
    }
    /// Whether a shared latch that made this word counts.
    #[inline(always)]
    pub(super) const fn is_shared(self) -> bool {
        self.0 & EXCLUSIVE == 0 && SHARED.of(self.0) <= SHARED_MAX as u64
    }
    /// Whether any latch is taken.
    pub(super) const fn latched(self) -> bool {
        self.0 & (EXCLUSIVE | SHARED.mask()) != 0
    }
    /// Whether the freeing of this orphan, which has no pin that counts, was claimed.
    #[must_use]
    pub const fn claimed(self) -> bool {
        self.has(ORPHAN) && self.0 & CLAIMED == CLAIMED
    }
    /// Whether a thread will access the frame again: a holder of a pin, or the one that frees it. A latch without a
    /// pin was forgotten.
    #[must_use]
    pub const fn in_use(self) -> bool {
        self.pins() != 0 || self.claimed()
    }
    /// Whether the frame has state only because it was touched once, so that retiring it loses nothing.
    pub(super) const fn is_reclaimable(self) -> bool {
        self.0 & !(VERSION.mask() | REFERENCED.mask() | WAITERS) == LIVE
    }
    pub(super) const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
    /// The number in [`version`](Self::version). It grows, and wraps after 28 bits.
    #[must_use]
    pub const fn version_number(self) -> u64 {
        VERSION.of(self.0)
    }

    /// Whether the frame is populated.
    #[must_use]
    pub const fn live(self) -> bool {
        self.has(LIVE)
    }
    /// Number of pins, including those that are about to be taken back.
    #[must_use]
    pub const fn pins(self) -> u32 {
        PINS.of(self.0) as u32
    }
    /// Whether there are more pins than [`PINS_MAX`].
    pub(super) const fn saturated(self) -> bool {
        self.pins() > PINS_MAX
    }
    /// Number of shared latches.
    #[must_use]
    pub const fn shared(self) -> u32 {
        SHARED.of(self.0) as u32
    }
    /// Whether a writer holds the latch.
    #[must_use]
    pub const fn exclusive(self) -> bool {
        self.has(EXCLUSIVE)
    }
    /// Whether new pins are refused at the moment.
    #[must_use]
    pub const fn held(self) -> bool {
        self.has(HOLD)
    }
    /// Whether the frame was detached from its object for good.
    #[must_use]
    pub const fn orphan(self) -> bool {
        self.has(ORPHAN)
    }
    /// Whether there are stored lines that no sync has taken.
    #[must_use]
    pub const fn dirty(self) -> bool {
        self.has(DIRTY)
    }
    /// Whether the frame is being written back.
    #[must_use]
    pub const fn writeback(self) -> bool {
        self.has(WRITEBACK)
    }
    /// Whether the medium failed under the frame.
    #[must_use]
    pub const fn poisoned(self) -> bool {
        self.has(POISONED)
    }
    /// Whether a thread may sleep until the state changes, or a writer waits for the latch.
    #[must_use]
    pub const fn waiters(self) -> bool {
        self.has(WAITERS)
    }
    /// How recently the frame was pinned, for a replacement policy: 3 is recently, 0 is long ago or only once.
    #[must_use]
    pub const fn referenced(self) -> u32 {
        REFERENCED.of(self.0) as u32
    }
    /// Changes with every release of the exclusive latch.
    #[must_use]
    pub const fn version(self) -> Version {
        Version(self.0 & READER_BITS)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pins, {} shared, version {}", self.pins(), self.shared(), self.version_number())?;
        let flags = [
            (LIVE, "LIVE"),
            (EXCLUSIVE, "EXCLUSIVE"),
            (HOLD, "HOLD"),
            (ORPHAN, "ORPHAN"),
            (DIRTY, "DIRTY"),
            (WRITEBACK, "WRITEBACK"),
            (POISONED, "POISONED"),
            (WAITERS, "WAITERS"),
        ];
        flags.iter().filter(|(bit, _)| self.has(*bit)).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

/// What an optimistic reader remembers. If it is equal before and after, nothing was stored in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version(u64);

impl Version {
    /// Whether a reader that starts now can succeed: the frame is populated and no writer holds it.
    pub(crate) const fn stable(self) -> bool {
        self.0 & (LIVE | EXCLUSIVE | POISONED) == LIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIELDS: [Field; 12] = [
        PINS,
        EXCLUSIVE_FIELD,
        LIVE_FIELD,
        HOLD_FIELD,
        ORPHAN_FIELD,
        DIRTY_FIELD,
        WRITEBACK_FIELD,
        POISONED_FIELD,
        WAITERS_FIELD,
        REFERENCED,
        SHARED,
        VERSION,
    ];

    #[test]
    fn fields_cover_the_word_once() {
        assert_eq!(FIELDS.iter().map(|field| field.mask().count_ones()).sum::<u32>(), 64);
        assert_eq!(FIELDS.iter().fold(0, |all, field| all | field.mask()), u64::MAX);
    }

    type Read<T> = fn(Snapshot) -> T;

    #[test]
    fn each_flag_and_each_number_is_read_from_its_own_bits() {
        let flags: [(Field, Read<bool>); 8] = [
            (EXCLUSIVE_FIELD, Snapshot::exclusive),
            (LIVE_FIELD, Snapshot::live),
            (HOLD_FIELD, Snapshot::held),
            (ORPHAN_FIELD, Snapshot::orphan),
            (DIRTY_FIELD, Snapshot::dirty),
            (WRITEBACK_FIELD, Snapshot::writeback),
            (POISONED_FIELD, Snapshot::poisoned),
            (WAITERS_FIELD, Snapshot::waiters),
        ];
        let numbers: [(Field, Read<u64>); 4] = [
            (PINS, |state| state.pins().into()),
            (REFERENCED, |state| state.referenced().into()),
            (SHARED, |state| state.shared().into()),
            (VERSION, Snapshot::version_number),
        ];
        for field in FIELDS {
            let alone = Snapshot(field.mask());
            for (own, read) in flags {
                assert_eq!(read(alone), own.shift == field.shift, "bit {} in {alone:?}", own.shift);
            }
            for (own, read) in numbers {
                let most = field.mask() >> field.shift;
                assert_eq!(read(alone), if own.shift == field.shift { most } else { 0 }, "{alone:?}");
            }
        }
    }

    #[test]
    fn a_frame_is_saturated_above_the_most_pins_and_not_at_them() {
        assert!(!Snapshot(LIVE | u64::from(PINS_MAX)).saturated());
        assert!(Snapshot(LIVE | PINS_OVER).saturated());
        assert!(Snapshot(LIVE | PINS.mask()).saturated());
    }

    proptest! {
        #[test]
        fn a_field_holds_what_was_packed_and_disturbs_no_other(word: u64, value: u64, at in 0..FIELDS.len()) {
            let field = FIELDS[at];
            let packed = word & !field.mask() | field.pack(value);
            prop_assert_eq!(field.of(packed), value & (field.mask() >> field.shift));
            for other in FIELDS.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, other)| other) {
                prop_assert_eq!(other.of(packed), other.of(word));
            }
        }

        #[test]
        fn every_word_is_the_sum_of_its_fields(word: u64) {
            prop_assert_eq!(FIELDS.iter().fold(0, |all, field| all | field.pack(field.of(word))), word);
        }

        #[test]
        fn dropping_the_exclusive_latch_changes_that_bit_and_the_version_only(word: u64) {
            let held = word | EXCLUSIVE;
            let dropped = held.wrapping_add(VERSION.one().wrapping_sub(EXCLUSIVE));
            let version = (VERSION.of(held) + 1) & (VERSION.mask() >> VERSION.shift);
            prop_assert_eq!(dropped, held & !EXCLUSIVE & !VERSION.mask() | VERSION.pack(version));
        }

        #[test]
        fn the_hit_path_admits_exactly_live_unrefused_counted_and_referenced_words(word: u64) {
            // A random word is hardly ever admitted: look at its neighbours that nearly are.
            for word in [word, word & !(HOLD | ORPHAN | POISONED) | LIVE | REFERENCED.mask()] {
                for cleared in [0, LIVE, 1 << 15, REFERENCED.one()] {
                    let state = Snapshot(word & !cleared);
                    let admitted = state.live()
                        && !(state.held() || state.orphan() || state.poisoned() || state.saturated())
                        && state.referenced() == 3;
                    prop_assert_eq!(state.admits_at_once(), admitted, "{:?}", state);
                }
            }
        }

        #[test]
        fn a_put_is_done_at_once_unless_the_frame_is_held_or_being_freed(word: u64) {
            for word in [word, word & !(HOLD | ORPHAN) | LIVE] {
                let state = Snapshot(word);
                prop_assert_eq!(state.drops_at_once(), state.live() && !state.held() && !state.orphan(), "{:?}", state);
            }
        }

        #[test]
        fn a_frame_is_reclaimable_when_it_was_only_touched(word: u64) {
            let touched = Snapshot(word & (VERSION.mask() | REFERENCED.mask() | WAITERS) | LIVE);
            prop_assert!(touched.is_reclaimable(), "{touched:?}");
            prop_assert!(!Snapshot(touched.0 & !LIVE).is_reclaimable());
            for kept in [PINS.one(), EXCLUSIVE, HOLD, ORPHAN, DIRTY, WRITEBACK, POISONED, SHARED.one()] {
                prop_assert!(!Snapshot(touched.0 | kept).is_reclaimable(), "{touched:?} and {kept:#x}");
            }
        }

        #[test]
        fn a_reader_compares_what_a_writer_changes_and_no_more(word: u64) {
            let then = Snapshot(word).version();
            for field in [PINS, HOLD_FIELD, DIRTY_FIELD, WRITEBACK_FIELD, WAITERS_FIELD, REFERENCED, SHARED] {
                prop_assert_eq!(Snapshot(word ^ field.mask()).version(), then);
            }
            for bits in [VERSION.one(), LIVE, ORPHAN, POISONED, EXCLUSIVE] {
                prop_assert_ne!(Snapshot(word ^ bits).version(), then);
            }
            let readable = word & !(EXCLUSIVE | POISONED) | LIVE;
            prop_assert!(Snapshot(readable).version().stable());
            for spoilt in [LIVE, EXCLUSIVE, POISONED] {
                prop_assert!(!Snapshot(readable ^ spoilt).version().stable());
            }
        }
    }
}
