//! `pagestone export`: an object becomes a file.

use crate::args::Export;
use crate::failure::Failure;
use crate::place::{self, Place};
use crate::{output, progress, sqlite};
use pagestone::store::{Object, Store};
use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

pub fn run(args: &Export) -> Result<u8, Failure> {
    let from = Place::parse(&args.place);
    let object = from.object.unwrap_or_else(|| sqlite::MAIN.into());
    let store = place::look(&from.region, args.opening)?;
    let result = export(&store, &object, &args.file, args.force);
    place::close(store)?;
    let mut text = String::new();
    for (name, file, bytes) in result? {
        text += &format!("{name} -> {} ({})\n", file.display(), output::size(bytes));
    }
    output::print(&text)?;
    Ok(0)
}

/// Copies an object, and a journal or WAL that belongs to it. The main file comes last.
fn export(
    store: &Store,
    object: &str,
    file: &Path,
    force: bool,
) -> Result<Vec<(String, PathBuf, u64)>, Failure> {
    store.open(object)?;
    let mut parts = Vec::new();
    for suffix in [sqlite::JOURNAL, sqlite::WAL] {
        let name = format!("{object}{suffix}");
        let target = sqlite::beside(file, suffix);
        if store.exists(&name)?.is_some_and(|len| len > 0) {
            parts.push((name, target));
        } else if target.exists() {
            return Err(Failure::Other(format!(
                "{} lies where {} would go, and belongs to another database: remove it first",
                target.display(),
                file.display()
            )));
        }
    }
    parts.push((object.to_owned(), file.to_owned()));
    if let Some((_, there)) = parts.iter().find(|(_, f)| !force && f.symlink_metadata().is_ok()) {
        return Err(Failure::Other(format!(
            "{} exists already: use --force to overwrite it",
            there.display()
        )));
    }
    parts.into_iter().map(|(name, f)| copy(&store.open(&name)?, &f).map(|n| (name, f, n))).collect()
}

/// Writes the object's bytes under a temporary name, makes them durable, and renames.
fn copy(from: &Object, file: &Path) -> Result<u64, Failure> {
    let directory = match file.parent() {
        Some(d) if !d.as_os_str().is_empty() => d,
        _ => Path::new("."),
    };
    // The umask applies, as to any new file.
    let mut to = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(Failure::file(directory))?;
    let len = from.len();
    let bar = progress::bytes("exporting", len);
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    while offset < len {
        let n = from.read_at(offset, &mut chunk)?;
        if n == 0 {
            break;
        }
        if chunk[..n].iter().any(|b| *b != 0) {
            to.as_file().write_all_at(&chunk[..n], offset).map_err(Failure::file(file))?;
        }
        offset += n as u64;
        bar.inc(n as u64);
    }
    bar.finish_and_clear();
    let made = to.as_file_mut();
    made.set_len(len).and_then(|()| made.sync_all()).map_err(Failure::file(file))?;
    to.persist(file).map_err(|e| Failure::File(file.to_owned(), e.error))?;
    Ok(len)
}
