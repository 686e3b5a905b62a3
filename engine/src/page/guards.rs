//! Debug builds know which regions' guards a thread holds: who commits a batch may hold none of its region.

use super::pages::Pages;
use std::marker::PhantomData;

/// Models switch threads under one thread of the system, so they do without.
#[cfg(all(debug_assertions, not(any(pagestone_loom, pagestone_shuttle))))]
mod ledger {
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn add(pages: usize) {
        let _ = HELD.try_with(|held| held.borrow_mut().push(pages));
    }

    pub(super) fn remove(pages: usize) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|&p| p == pages) {
                held.swap_remove(at);
            }
        });
    }

    pub(super) fn holds(pages: usize) -> bool {
        HELD.try_with(|held| held.borrow().contains(&pages)).unwrap_or(false)
    }
}

#[cfg(not(all(debug_assertions, not(any(pagestone_loom, pagestone_shuttle)))))]
mod ledger {
    pub(super) fn add(_: usize) {}
    pub(super) fn remove(_: usize) {}
    pub(super) fn holds(_: usize) -> bool {
        false
    }
}

/// Part of each guard: it stays with its thread, as a mutex's does.
pub(super) type Held = PhantomData<std::sync::MutexGuard<'static, ()>>;

/// This thread was given a guard on a page of `pages`.
#[inline]
pub(super) fn given(pages: &Pages) -> Held {
    ledger::add(std::ptr::from_ref(pages).addr());
    PhantomData
}

/// It gave one back.
#[inline]
pub(super) fn returned(pages: &Pages) {
    ledger::remove(std::ptr::from_ref(pages).addr());
}

/// Whether this thread holds no guard on a page of `pages`, as far as this build knows.
pub(crate) fn holds_none(pages: &Pages) -> bool {
    !ledger::holds(std::ptr::from_ref(pages).addr())
}
