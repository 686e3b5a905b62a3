//! The C ABI of Pagestone (`pgs_*`), over the public Rust API only.
//!
//! The header `bindings-c/include/pagestone.h` is made from these sources; there the functions are described.
//! What C promises there (pointers are valid, handles alive) is the safety contract of every `unsafe` function here.

#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one promise of the C caller covers all pointers of a call, and one comment tells it"
)]

mod boundary;
mod code;
mod handle;
mod latch;
mod list;
mod message;
mod object;
mod options;
mod pin;
mod stats;
mod store;
mod version;
