//! How many pieces all views of the process may have. Each is a mapping, of which the kernel allows a process a fixed number.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::region::mappings_max;
use crate::sync::Global;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The kernel's default of `vm.max_map_count`.
const DEFAULT: usize = 65_530;
/// Views get this fraction of the mappings. The rest is for the program, and for taking pages from views: a page taken from
/// the middle of a piece leaves three mappings.
const SHARE: usize = 4;

struct Budget {
    limit: usize,
    used: AtomicUsize,
}

static BUDGET: Global<Budget> = Global::new(|| {
    let limit = mappings_max().unwrap_or(DEFAULT) / SHARE;
    Budget { limit, used: AtomicUsize::new(0) }
});

/// Takes room for pieces, all or none.
pub(super) fn take(pieces: usize) -> Result {
    let budget = BUDGET.get();
    // ORDERING: Relaxed: only the number counts.
    let used = budget.used.fetch_add(pieces, Ordering::Relaxed);
    if used + pieces <= budget.limit {
        return Ok(());
    }
    give_back(pieces);
    Err(Error::Scattered { pieces, left: budget.limit.saturating_sub(used), limit: budget.limit })
}

/// Counts pieces that came by a change that cannot be refused.
pub(super) fn add(pieces: usize) {
    // ORDERING: Relaxed: as above.
    BUDGET.get().used.fetch_add(pieces, Ordering::Relaxed);
}

/// Gives back room for pieces.
pub(super) fn give_back(pieces: usize) {
    // ORDERING: Relaxed: as above.
    BUDGET.get().used.fetch_sub(pieces, Ordering::Relaxed);
}
