//! Programs of calls to the C library, with every mistake that it promises to refuse: NULL, handles that have
//! ended or are of another kind, wrong sizes and lengths, addresses and frames of no store, calls in the wrong order,
//! use after a fork.
//!
//! Mistakes that the library cannot refuse are not made here: no handle is ended beside a call on it, and every buffer is
//! as long as the call is told.

#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "what a C program promises covers all that one comment stands above"
)]

mod call;
mod make;
mod pages;
mod world;
mod wrong;

use crate::{Many, decode};
use arbitrary::Arbitrary;
use call::Call;
use pagestone_ffi::{PGS_OK, pgs_check};
use std::fs;
use std::path::PathBuf;
use std::ptr;
use std::sync::LazyLock;
use world::World;

#[derive(Arbitrary, Debug)]
struct Input {
    calls: Many<Call>,
}

/// The folder for regions that have a file: one for each process, in memory where possible.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| pagestone_kit::disk::quick().keep());

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some(input) = decode::<Input>(bytes) else { return };
    let mut world = World::new(FOLDER.clone());
    for call in &input.calls.0 {
        world.make(call);
        world.compare_counts();
    }
    world.end();
    for name in ["one", "two"] {
        let path = FOLDER.join(name);
        if fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
            let path =
                std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL in it");
            // SAFETY: a string; no visitor.
            let status = unsafe { pgs_check(path.as_ptr(), None, ptr::null_mut(), ptr::null_mut()) };
            assert_eq!(status, PGS_OK, "a region that was closed has defects");
        }
        let _ = fs::remove_file(FOLDER.join(name));
    }
}
