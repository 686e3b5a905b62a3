//! The C ABI of Pagestone (`pgs_*`), over the public Rust API only.
