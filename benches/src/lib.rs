//! Benchmarks of Pagestone; each is a binary of this package.
