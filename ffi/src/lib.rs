//! The C ABI of Pagestone (`pgs_*`), over the public Rust API only.
//!
//! The header `bindings-c/include/pagestone.h` is generated from these sources and describes the functions.
//!
//! # Safety
//! Every `unsafe extern "C"` function relies on what the header demands of its caller: a pointer is NULL or valid for
//! its use until the function returns; text ends in NUL; no other call ends a handle before the call returns; a
//! struct is as long as its `size` says; a caller that unpins or unlatches has the pin or the latch.

#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one promise of the C caller covers all pointers of a call, and one comment states it"
)]
#![allow(clippy::missing_safety_doc, reason = "the contract of C callers is stated above, for all functions")]

mod batch;
mod boundary;
mod check;
mod code;
mod entries;
mod fork;
mod handle;
mod latch;
mod latches;
mod list;
mod message;
mod object;
mod options;
mod pin;
mod recovery;
mod stats;
mod store;
mod value;
mod version;
mod view;

// For the fuzzer, which calls the functions as a C program does.
pub use batch::*;
pub use check::{Finding, pgs_check};
pub use code::*;
pub use latch::*;
pub use list::{Entry, pgs_list};
pub use message::{pgs_code_name, pgs_message};
pub use object::*;
pub use options::*;
pub use pin::*;
pub use recovery::*;
pub use stats::*;
pub use store::*;
pub use version::pgs_version;
pub use view::*;
