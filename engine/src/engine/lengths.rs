//! Which lengths of an object can appear after a crash.

use crate::media::Moment;
use crate::media::log::record::Sequence;

/// What is known about the records that set the object's length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// The last such record. Until it is committed, an earlier length may appear after a crash.
    last: Sequence,
    /// The greatest length that may appear after a crash instead of the present one.
    greatest: u64,
}

impl Lengths {
    /// For an object that was just opened when the log was at `head`: until that is committed, any length may appear.
    pub(super) fn unknown(head: Sequence) -> Self {
        Self { last: head, greatest: u64::MAX }
    }

    /// For a new object: after a crash nothing of it appears.
    pub(super) fn none(head: Sequence) -> Self {
        Self { last: head, greatest: 0 }
    }

    /// The record that set the present length.
    pub(super) fn last(&self) -> Sequence {
        self.last
    }

    /// A record has set the length, which was `former`. `committed`: the record of the former length was committed
    /// before.
    pub(super) fn changed(&mut self, former: u64, moment: Moment, committed: bool) {
        if committed {
            self.greatest = former;
        } else if moment.noted >= self.last {
            // A commit mark that covers the former record is on its way: the former length may appear, or an earlier
            // one.
            self.greatest = self.greatest.max(former);
        }
        // Otherwise the former length cannot appear: the next mark covers both records.
        self.last = moment.sequence;
    }

    /// Only the present length, `len`, can appear after a crash.
    pub(super) fn committed(&mut self, len: u64) {
        self.greatest = len;
    }

    /// Whether no byte of the object from `len`, the present length, on can appear after a crash.
    pub(super) fn hide(&self, len: u64) -> bool {
        self.greatest <= len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(sequence: u64, noted: u64) -> Moment {
        Moment { sequence: Sequence(sequence), noted: Sequence(noted) }
    }

    #[test]
    fn a_length_is_shown_until_a_later_one_is_committed_and_from_when_it_was_noted() {
        let mut lengths = Lengths::unknown(Sequence(5));
        assert!(!lengths.hide(1 << 40));
        // 150 bytes were synced; cut to 120.
        lengths.changed(150, moment(6, 5), true);
        assert!(!lengths.hide(120) && lengths.hide(150));
        lengths.committed(120);
        // Grown to 130, cut to 125, both by records that no mark covers: 130 cannot appear.
        lengths.changed(120, moment(7, 6), true);
        lengths.changed(130, moment(8, 6), false);
        assert!(lengths.hide(125) && !lengths.hide(110), "a crash shows 120");
        // Cut to 110 after a leader noted 125 and before its mark was durable: either may appear.
        lengths.changed(125, moment(9, 8), false);
        assert!(lengths.hide(125) && !lengths.hide(124));
        // And after the mark.
        lengths.changed(110, moment(10, 9), true);
        assert!(lengths.hide(110));
    }
}
