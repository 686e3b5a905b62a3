//! `pagestone export`: copies an object to a file.

use crate::access::Access;
use crate::args::Export;
use crate::failure::Failure;
use crate::fresh::Fresh;
use crate::place::{self, Place};
use crate::{output, progress, sqlite};
use indicatif::ProgressBar;
use pagestone::{Object, Store};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Number of bytes copied at once.
const CHUNK: usize = 1 << 20;

pub fn run(args: &Export) -> Result<u8, Failure> {
    let from = Place::parse(&args.place);
    let object = from.object.unwrap_or_else(|| sqlite::MAIN.into());
    let store = place::look(&from.region, args.opening)?;
    if args.file == Path::new("-") {
        let poured = pour(&store, &object);
        place::close(store)?;
        return poured.map(|()| 0);
    }
    let result =
        Access::of(&from.region).and_then(|access| export(&store, &object, &args.file, args.force, &access));
    place::close(store)?;
    let mut text = String::new();
    for (name, file, bytes) in result? {
        let name = output::name(name.as_bytes());
        text += &format!("{name} -> {} ({})\n", file.display(), output::size(bytes));
    }
    output::print_done(&text)?;
    Ok(0)
}

/// Copies an object, and a journal or WAL that belongs to it. Files get their names only after everything is copied.
fn export(
    store: &Store,
    object: &OsStr,
    file: &Path,
    force: bool,
    access: &Access,
) -> Result<Vec<(OsString, PathBuf, u64)>, Failure> {
    store.open(object.as_bytes())?;
    let file = &followed(file)?;
    let mut parts = Vec::new();
    for suffix in [sqlite::JOURNAL, sqlite::WAL] {
        let name = sqlite::with_suffix(object, suffix);
        let target = sqlite::beside(file, suffix);
        if store.exists(name.as_bytes())?.is_some_and(|len| len > 0) {
            parts.push((name, target));
        } else if target.exists() {
            return Err(Failure::Other(format!(
                "{} exists and would become a part of {}, to which it does not belong: remove it first",
                target.display(),
                file.display()
            )));
        }
    }
    parts.push((object.to_owned(), file.to_owned()));
    parts.iter().try_for_each(|(_, target)| refuse(target, store, force))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Opened first, because in a folder that cannot be read no name can be made durable.
    let names = Names { folder, open: File::open(folder).map_err(Failure::file(folder))? };
    let copy_one = |(name, file): (OsString, PathBuf)| {
        // The replaced file may have been readable for fewer accounts than the region.
        let access = match Access::of(&file) {
            Ok(replaced) => access.clone().narrowed(&replaced),
            Err(_) => access.clone(),
        };
        let (whole, bytes) = copy(&store.open(name.as_bytes())?, &file, folder, &access)?;
        Ok(Part { name, file, bytes, whole })
    };
    let parts = parts.into_iter().map(copy_one).collect::<Result<Vec<_>, Failure>>()?;
    place_all(parts, force, &names)
}

/// Refuses a name that exists and must not be replaced.
fn refuse(target: &Path, store: &Store, force: bool) -> Result<(), Failure> {
    let shown = target.display();
    if target.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(Failure::Other(format!("{shown} is not a plain file; for standard output use `-`")));
    }
    if place::leads_to(target, store) {
        return Err(Failure::Other(format!("{shown} is the region itself: choose another name")));
    }
    if !force && target.symlink_metadata().is_ok() { Err(exists(target)) } else { Ok(()) }
}

/// The file that would be replaced: the target of a link, because SQLite looks for journal and WAL beside the target.
fn followed(file: &Path) -> Result<PathBuf, Failure> {
    match file.metadata() {
        Ok(found) if file.is_symlink() && found.is_file() => file.canonicalize().map_err(Failure::file(file)),
        Err(e) if file.is_symlink() => {
            Err(Failure::Other(format!("{} is a link that leads nowhere: {e}", file.display())))
        }
        _ => Ok(file.to_owned()),
    }
}

/// A complete and durable copy that does not have its name yet.
struct Part {
    name: OsString,
    file: PathBuf,
    bytes: u64,
    whole: Fresh,
}

/// The folder of the copies' names.
struct Names<'a> {
    folder: &'a Path,
    open: File,
}

impl Names<'_> {
    fn sync(&self) -> Result<(), Failure> {
        match self.open.sync_all() {
            // Some file systems cannot sync folders.
            Err(e) if e.kind() != ErrorKind::InvalidInput => Err(Failure::File(self.folder.to_owned(), e)),
            _ => Ok(()),
        }
    }
}

/// Gives the copies their names, the main file last. There is no moment at which a journal or WAL is beside a
/// database to which it does not belong: if there is one, the main file that is replaced is removed first.
fn place_all(
    parts: Vec<Part>,
    force: bool,
    names: &Names<'_>,
) -> Result<Vec<(OsString, PathBuf, u64)>, Failure> {
    let replaced = parts.last().filter(|_| force && parts.len() > 1).map(|main| main.file.clone());
    let removed = match &replaced {
        Some(main) => remove_if_there(main).map_err(Failure::file(main))?,
        None => false,
    };
    let placed = place_in_turn(parts, force, names);
    match (placed, replaced) {
        (Err(e), Some(main)) if removed && main.symlink_metadata().is_err() => {
            Err(Failure::Other(format!("{e}; {}, which was to be replaced, is removed", main.display())))
        }
        (placed, _) => placed,
    }
}

fn place_in_turn(
    parts: Vec<Part>,
    force: bool,
    names: &Names<'_>,
) -> Result<Vec<(OsString, PathBuf, u64)>, Failure> {
    let count = parts.len();
    let mut done: Vec<(OsString, PathBuf, u64)> = Vec::new();
    if count > 1 {
        names.sync()?;
    }
    for Part { name, file, bytes, whole } in parts {
        let mut placed = match whole.name(&file, force) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(exists(&file)),
            placed => placed.map_err(|e| Failure::File(file.clone(), e)),
        };
        if placed.is_ok() {
            done.push((name, file, bytes));
            placed = names.sync();
        }
        if let Err(e) = placed {
            // With the main file everything is there, though perhaps not durable. Without it the other files are
            // useless.
            for (_, companion, _) in done.iter().filter(|_| done.len() < count) {
                // Only the failure that caused the removal is reported.
                drop(std::fs::remove_file(companion));
            }
            return Err(match done.len() == count {
                true => e.too_late("but all of it is exported, though perhaps not durable"),
                false => e,
            });
        }
    }
    Ok(done)
}

/// Removes a file; `false` if there is none.
fn remove_if_there(file: &Path) -> std::io::Result<bool> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

fn exists(file: &Path) -> Failure {
    Failure::Other(format!("{} exists already: use --force to overwrite it", file.display()))
}

/// Writes the object's bytes to a new file in the folder and makes them durable. Only its owner has access before it
/// is complete.
fn copy(from: &Object, file: &Path, folder: &Path, access: &Access) -> Result<(Fresh, u64), Failure> {
    let to = Fresh::new(folder).map_err(Failure::file(folder))?;
    let len = from.len();
    let bar = progress::bytes("exporting", len);
    for range in from.mapped_ranges(0..len) {
        let range = range.map_err(Failure::Engine)?;
        each_chunk(from, range, &bar, |offset, chunk| match chunk.iter().any(|b| *b != 0) {
            true => to.file().write_all_at(chunk, offset),
            false => Ok(()),
        })
        .map_err(|e| e.into_failure(file))?;
    }
    bar.finish_and_clear();
    let made = to.file();
    made.set_len(len)
        .and_then(|()| access.give(made))
        .and_then(|()| made.sync_all())
        .map_err(Failure::file(file))?;
    Ok((to, len))
}

/// Writes the object's bytes to standard output. A reader that closed the pipe has read enough.
fn pour(store: &Store, object: &OsStr) -> Result<(), Failure> {
    output::refuse_closed()?;
    let from = store.open(object.as_bytes())?;
    for suffix in [sqlite::JOURNAL, sqlite::WAL] {
        let name = sqlite::with_suffix(object, suffix);
        if holds_something(store, &name, suffix)? {
            return Err(Failure::Other(format!(
                "{name:?} belongs to {object:?}, and standard output takes one file: export to files"
            )));
        }
    }
    let mut out = std::io::stdout().lock();
    let bar = progress::bytes("exporting", from.len());
    let poured = each_chunk(&from, 0..from.len(), &bar, |_, chunk| out.write_all(chunk));
    bar.finish_and_clear();
    // The bytes after the last newline are still in the buffer.
    match poured.and_then(|()| out.flush().map_err(Broken::Writing)) {
        Err(Broken::Writing(e)) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| e.into_failure(Path::new("standard output"))),
    }
}

/// Whether a database is incomplete without this object, its journal or WAL.
fn holds_something(store: &Store, name: &OsStr, suffix: &str) -> Result<bool, Failure> {
    if store.exists(name.as_bytes())?.is_none_or(|len| len == 0) {
        return Ok(false);
    }
    let mut head = [0; 8];
    let read = store.open(name.as_bytes())?.read_at(0, &mut head)?;
    Ok(suffix != sqlite::JOURNAL || sqlite::begins_a_journal(&head[..read]))
}

/// The reason why a copy ended early.
enum Broken {
    Reading(pagestone::Error),
    Writing(std::io::Error),
}

impl Broken {
    fn into_failure(self, file: &Path) -> Failure {
        match self {
            Self::Reading(e) => Failure::Engine(e),
            Self::Writing(e) => Failure::File(file.to_owned(), e),
        }
    }
}

/// Passes the object's bytes in `range` to `write`, piece by piece.
fn each_chunk(
    from: &Object,
    range: Range<u64>,
    bar: &ProgressBar,
    mut write: impl FnMut(u64, &[u8]) -> std::io::Result<()>,
) -> Result<(), Broken> {
    let rest = |offset| CHUNK.min(usize::try_from(range.end - offset).unwrap_or(CHUNK));
    let mut chunk = vec![0; rest(range.start)];
    let mut offset = range.start;
    while offset < range.end {
        bar.set_position(offset);
        let n = from.read_at(offset, &mut chunk[..rest(offset)]).map_err(Broken::Reading)?;
        if n == 0 {
            break;
        }
        write(offset, &chunk[..n]).map_err(Broken::Writing)?;
        offset += n as u64;
    }
    Ok(())
}
