//! A progress bar, if there is a terminal and enough work.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Below this many bytes the work ends before a bar is noticed.
const WORTH_SHOWING: u64 = 32 << 20;

/// A bar for `bytes` bytes on standard error, hidden if that is not a terminal or the work is short.
pub fn bytes(what: &str, bytes: u64) -> ProgressBar {
    if bytes < WORTH_SHOWING || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_message(what.to_owned()).with_style(style)
}
