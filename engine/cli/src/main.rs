//! The `pagestone` command line.
fn main() {}
