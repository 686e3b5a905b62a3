//! The C ABI of Pagestone (`pgs_*`), over the public Rust API only.
//!
//! The header `bindings-c/include/pagestone.h` is made from these sources; there the functions are described.
//!
//! # Safety
//! Every `unsafe extern "C"` function relies on what the header demands of its caller: a pointer is NULL or valid for
//! what the function does with it until it returns, text ends in NUL, a handle came from the library and is not ended
//! before the call returns, a struct is as long as its `size` says, and who unpins or unlatches holds the pin or latch.

#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one promise of the C caller covers all pointers of a call, and one comment tells it"
)]

mod boundary;
mod check;
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
