//! Tests can open something else than a path leads to, or do something before it is opened.

use pagestone::store::Store;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Called when the path is opened. It returns a store; or nothing, and then the engine opens the path.
type Opener = Arc<dyn Fn() -> Option<pagestone::Result<Store>> + Send + Sync>;

fn openers() -> &'static Mutex<HashMap<PathBuf, Opener>> {
    static OPENERS: OnceLock<Mutex<HashMap<PathBuf, Opener>>> = OnceLock::new();
    OPENERS.get_or_init(|| {
        let look = |path: &Path| openers().lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        assert!(pagestone_ffi::open_by(Box::new(move |path| look(path).and_then(|open| open()))));
        Mutex::default()
    })
}

/// From now on `open` is called for this path.
pub fn set(path: &Path, open: impl Fn() -> Option<pagestone::Result<Store>> + Send + Sync + 'static) {
    openers().lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), Arc::new(open));
}

/// The engine opens this path again.
pub fn remove(path: &Path) {
    openers().lock().unwrap_or_else(PoisonError::into_inner).remove(path);
}
