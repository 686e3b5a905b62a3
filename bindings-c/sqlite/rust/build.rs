//! Compiles the VFS.
fn main() {}
