//! The findings that are known, each with its reason. Any other is a defect.

use super::Finding;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};

/// The runs in which a finding is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Any run.
    Always,
    /// Runs of several threads.
    Threads,
    /// Runs that begin with a recovery.
    Recovery,
    /// Runs with batches.
    Batches,
}

/// The kind of a run.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// On which medium.
    pub class: Durability,
    /// How many threads ran.
    pub threads: usize,
    /// Whether it began with a recovery.
    pub recovery: bool,
    /// Whether there were batches.
    pub batches: bool,
}

/// A kind of finding that has a reason.
#[derive(Debug)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// On which medium.
    pub class: Durability,
    /// The kind of structure that it is about.
    pub place: &'static str,
    /// The runs in which it is right.
    pub when: When,
    /// Why it is right.
    pub reason: &'static str,
}

/// A store that another thread's `fdatasync` makes durable before its own write-through.
const fn taken_along(place: &'static str) -> Known {
    Known {
        name: "redundant-flush",
        class: Fdatasync,
        place,
        when: When::Threads,
        reason: "Another thread's fdatasync began after the store and ended before the write-through: it took the bytes \
                 along. To learn that costs more than writing one page again.",
    }
}

/// All of them.
pub const KNOWN: &[Known] = &[
    Known {
        name: "redundant-flush",
        class: CacheLine,
        place: "frame",
        when: When::Batches,
        reason: "A page that a batch wrote is stored to again, in place. Its sync first moves the tail (LOG rule 6), which \
                 flushes all homes, this line among them; then it flushes the lines whose bits it took. Only both know.",
    },
    Known {
        name: "wasted-flush",
        class: CacheLine,
        place: "frame",
        when: When::Batches,
        reason: "The homes of a batch are flushed when the tail moves, even if their frame was freed since.",
    },
    Known {
        name: "redundant-flush",
        class: CacheLine,
        place: "log",
        when: When::Threads,
        reason: "A record that was appended while the leader flushed begins in the line in which the leader's mark \
                 ends, and was flushed with it. The leader of its own commit flushes from the end of that mark, and cannot know.",
    },
    Known {
        name: "redundant-flush",
        class: CacheLine,
        place: "frame",
        when: When::Threads,
        reason: "A store after a sync has taken the dirty bits and before it flushes the line is flushed with the line. Its \
                 own bit is set afterwards, so the next sync flushes the line again.",
    },
    Known {
        name: "redundant-flush",
        class: Fdatasync,
        place: "frame",
        when: When::Batches,
        reason: "Another thread's fdatasync came between the stores of a large batch's payload and its write-through, and \
                 made the payload durable. To find that out costs more than to write it again.",
    },
    taken_along("log"),
    taken_along("log header copy"),
    taken_along("superblock copy"),
    taken_along("lease"),
    Known {
        name: "redundant-flush",
        class: Fdatasync,
        place: "log",
        when: When::Recovery,
        reason: "Recovery syncs the file and then writes the log through all the same: fdatasync skips a page that is clean \
                 because its write-back failed in the process that died; a write does not.",
    },
    Known {
        name: "idle-fence",
        class: Fdatasync,
        place: "nowhere",
        when: When::Always,
        reason: "fdatasync syncs the whole file: the sync of one object makes another's pages durable, whose bits still say \
                 dirty. The next sync of that object has nothing left to do, which the kernel finds at once.",
    },
    Known {
        name: "unflushed-at-close",
        class: CacheLine,
        place: "cursor",
        when: When::Always,
        reason: "The applied cursor is for process deaths alone, which need no flush (LOG rule 10).",
    },
];

/// The findings that no known reason explains.
#[must_use]
pub fn unexplained(found: Vec<Finding>, kind: Kind) -> Vec<Finding> {
    found.into_iter().filter(|finding| explanation(finding, kind).is_none()).collect()
}

/// The reason for a finding of such a run, if it is known.
#[must_use]
pub fn explanation(finding: &Finding, kind: Kind) -> Option<&'static Known> {
    KNOWN.iter().find(|known| {
        let when = match known.when {
            When::Always => true,
            When::Threads => kind.threads > 1,
            When::Recovery => kind.recovery,
            When::Batches => kind.batches,
        };
        when && known.name == finding.name && known.class == kind.class && known.place == finding.place
    })
}
