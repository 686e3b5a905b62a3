//! Output of results: plain lines for people, JSON for scripts. A reader that closed the pipe is not an error.

use crate::failure::Failure;
use comfy_table::{CellAlignment, Table, presets};
use pagestone::Durability;
use pagestone::store::{Ending, Info, Recovery};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes `text` to standard output. A reader that closed the pipe has read enough.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Failure::Other(format!("standard output: {e}"))),
    }
}

/// Fails if standard output was closed when the program began. The Rust runtime then opened `/dev/null` there, for
/// reading and writing, which would accept all output and lose it.
pub fn refuse_closed() -> Result<(), Failure> {
    let out = std::io::stdout();
    let null = std::fs::metadata("/dev/null").map(|null| null.rdev());
    let (Ok(null), Ok(is), Ok(how)) = (null, fstat(&out), fcntl_getfl(&out)) else { return Ok(()) };
    let is_device = FileType::from_raw_mode(is.st_mode) == FileType::CharacterDevice;
    if is_device && is.st_rdev == null && how & OFlags::ACCMODE == OFlags::RDWR {
        return Err(Failure::Other("standard output is closed: nothing can be written there".into()));
    }
    Ok(())
}

/// As [`print`], for the result of a change. If it cannot be printed, the error says that the change was made.
pub fn print_done(text: &str) -> Result<(), Failure> {
    print(text).map_err(|why| why.too_late(&format!("but it is done: {}", text.trim_end())))
}

/// Writes a JSON value and a newline.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// A table without borders; the columns in `right` are aligned to the right.
pub fn columns(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    let last = header.len() - 1;
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if i == last { 0 } else { 2 }));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    lines(&table.trim_fmt())
}

/// Names and values, one pair per line, with the values aligned.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// How the last owner left the region, and what the replay of its log did.
pub fn recovery(found: &Recovery) -> String {
    let Recovery { ending, why, replayed, dropped, .. } = found;
    match ending {
        Ending::Clean => format!("{ending}: {why}"),
        _ => format!("{ending}: {why} (replayed {}, dropped {})", count(*replayed), count(*dropped)),
    }
}

/// The same for scripts.
pub fn recovery_json(found: &Recovery) -> serde_json::Value {
    json!({
        "ending": found.ending.to_string(),
        "why": found.why.to_string(),
        "replayed": found.replayed,
        "dropped": found.dropped,
    })
}

fn lines(text: &str) -> String {
    text.lines().map(|l| format!("{}\n", l.trim_end())).collect()
}

/// A size for people: exact below 10 KiB, otherwise three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 10 << 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// The medium of a region, for people.
pub fn medium(info: &Info) -> String {
    match (info.medium, info.caches_survive) {
        (Durability::CacheLine, false) => format!("{} (cache lines are flushed and fenced)", info.kind),
        (Durability::CacheLine, true) => {
            format!("{} (the processor's caches survive: a fence is enough)", info.kind)
        }
        _ => info.kind.to_string(),
    }
}

/// A count for people, with thousands separated.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A moment, as a date and a time of day of UTC.
pub fn moment(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March end with the day that some of them lack; 719,468 days of them lie before 1970.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// An object's name for a terminal: control characters and stray bytes escaped.
pub fn name(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sizes_are_short_and_counts_are_exact() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(4096), "4096 B");
        assert_eq!(size(512 << 10), "512 KiB");
        assert_eq!(size(1 << 20), "1.00 MiB");
        assert_eq!(size(16 << 40), "16.0 TiB");
        assert_eq!(count(1), "1");
        assert_eq!(count(1234), "1,234");
        assert_eq!(count(123_456_789), "123,456,789");
    }

    #[test]
    fn moments_are_dates() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_796_083_199, "2026-11-30T23:59:59Z"),
        ] {
            assert_eq!(moment(UNIX_EPOCH + Duration::from_secs(seconds)), shown);
        }
        assert_eq!(moment(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(name(b"a\x1b[2Jb\xff"), "a\\u{1b}[2Jb\\xff");
    }
}
