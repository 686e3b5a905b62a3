//! SQLite on Pagestone.
