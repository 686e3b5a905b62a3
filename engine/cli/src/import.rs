//! `pagestone import`: copies a file into an object.

use crate::access::Access;
use crate::args::{Import, Opening};
use crate::failure::Failure;
use crate::moment::{self, Moment};
use crate::place::{self, Place};
use crate::sqlite::{self, Database};
use crate::{output, progress};
use pagestone::Store;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Number of bytes copied at once. A run of this size that is all zero stays a hole.
const CHUNK: usize = 1 << 20;
/// The prefix of an unfinished object's name, followed by a number: an incomplete copy never has its final name. No
/// other object may have such a name, because the next import removes what a killed import has left.
const UNFINISHED: &str = ".pagestone-import-";
/// The maximum number of files of one import: a database, its journal and its WAL.
const SOURCES_MAX: usize = 3;

pub fn run(args: &Import) -> Result<u8, Failure> {
    let imported_to = Place::parse(&args.place);
    let allowed = Allowed { replacing: args.replace, beside: args.force };
    let imported = import(&args.file, &imported_to, allowed, args.opening)?;
    let mut text = String::new();
    for part in &imported {
        let (file, region) = (part.file.display(), imported_to.region.display());
        let object = output::name(part.object.as_bytes());
        text += &format!("{file} -> {region}:{object} ({})\n", output::size(part.bytes));
    }
    output::print_done(&text)?;
    Ok(0)
}

/// Permissions that are not given by default.
#[derive(Clone, Copy, Default)]
pub struct Allowed {
    /// To replace an object.
    pub replacing: bool,
    /// To put a journal or WAL beside an existing object, to which it may not belong.
    pub beside: bool,
}

/// A file that became an object.
pub struct Imported {
    /// The source.
    pub file: PathBuf,
    /// The name of the object.
    pub object: OsString,
    /// Its size.
    pub bytes: u64,
}

/// Copies `file`, and the files that belong to it if it is a database. Either everything is imported or, with an
/// error, nothing.
pub fn import(file: &Path, to: &Place, allowed: Allowed, how: Opening) -> Result<Vec<Imported>, Failure> {
    if !file.metadata().map_err(Failure::file(file))?.is_file() {
        return Err(Failure::Other(format!("{}: only plain files can be imported", file.display())));
    }
    sqlite::refuse_link(file)?;
    let plain = Moment::of([file.to_owned()])?;
    let database = if sqlite::is_database(file)? { Some(Database::open(file)?) } else { None };
    let moment = database.as_ref().map_or(&plain, |database| &database.moment);
    let sources = sources(file, to, database.as_ref())?;
    let access = access(&sources)?;
    let (store, made) = place::change_or_create(&to.region, how, UNFINISHED.as_bytes())?;
    let result = refuse_itself(&store, &sources)
        .and_then(|()| remove_unfinished(&store))
        .and_then(|()| vacate(&store, &sources, allowed))
        .and_then(|()| copy_all(&store, &sources, moment));
    if result.is_err()
        && let Some(made) = &made
    {
        // A region that was created for this import would be an incomplete result.
        made.remove(&to.region, &store);
    }
    let closed = place::close(store);
    let imported = result?;
    let shown = to.region.display();
    let done = format!("but all of it is in {shown}");
    closed.map_err(|why| why.too_late(&done))?;
    let Some(made) = made else { return Ok(imported) };
    if !made.is_at(&to.region) {
        return Err(Failure::Other(format!(
            "{shown} is no longer the region that was made there: it was renamed, or removed with all its contents"
        )));
    }
    made.give(&to.region, &access).map_err(|why| why.too_late(&done))?;
    Ok(imported)
}

/// A region that is copied into itself would grow as fast as it is read.
fn refuse_itself(store: &Store, sources: &[(PathBuf, OsString)]) -> Result<(), Failure> {
    match sources.iter().find(|(file, _)| place::leads_to(file, store)) {
        None => Ok(()),
        Some((file, _)) => Err(Failure::Other(format!(
            "{} is the region itself, which would grow without end: import it into another one",
            file.display()
        ))),
    }
}

/// The names of an import's objects until all of them are complete.
pub fn unfinished_names() -> [String; SOURCES_MAX] {
    std::array::from_fn(|n| format!("{UNFINISHED}{n}"))
}

/// Removes what a killed import has left. This process holds the region's claim, so that import no longer runs.
fn remove_unfinished(store: &Store) -> Result<(), Failure> {
    for name in unfinished_names() {
        if store.exists(&name)?.is_some() {
            store.unlink(&name)?;
        }
    }
    Ok(())
}

/// The rights that all the sources grant.
fn access(sources: &[(PathBuf, OsString)]) -> Result<Access, Failure> {
    let (others, main) = sources.split_at(sources.len() - 1);
    others
        .iter()
        .try_fold(Access::of(&main[0].0)?, |access, (file, _)| Ok(access.narrowed(&Access::of(file)?)))
}

/// The files and the objects that they become. The main file is last, because the others are useless without it.
fn sources(
    file: &Path,
    to: &Place,
    database: Option<&Database>,
) -> Result<Vec<(PathBuf, OsString)>, Failure> {
    let Some(database) = database else {
        let name = match &to.object {
            Some(name) => name.clone(),
            None => file.file_name().unwrap_or_default().to_str().map(OsString::from).ok_or_else(|| {
                let file = file.display();
                Failure::Other(format!("{file}: its name is not UTF-8: name the object, as REGION:OBJECT"))
            })?,
        };
        return Ok(vec![(file.to_owned(), name)]);
    };
    let name = to.object.clone().unwrap_or_else(|| sqlite::MAIN.into());
    let mut all = Vec::new();
    for (path, suffix) in [(&database.journal, sqlite::JOURNAL), (&database.wal, sqlite::WAL)] {
        if let Some(path) = path {
            all.push((path.clone(), sqlite::with_suffix(&name, suffix)));
        }
    }
    all.push((database.main.clone(), name));
    Ok(all)
}

/// Makes sure that the names are free or may be replaced.
fn vacate(store: &Store, sources: &[(PathBuf, OsString)], allowed: Allowed) -> Result<(), Failure> {
    let Some((_, main)) = sources.last() else { return Ok(()) };
    if main.as_bytes().starts_with(UNFINISHED.as_bytes()) {
        return Err(Failure::Other(format!(
            "{main:?} is a name that unfinished imports use: choose another name"
        )));
    }
    // A journal or WAL beside a database to which it does not belong would destroy the database, and several renames
    // are not one transaction. So only objects that stand alone can be replaced.
    for suffix in [sqlite::JOURNAL, sqlite::WAL] {
        let name = sqlite::with_suffix(main, suffix);
        if store.exists(name.as_bytes())?.is_some_and(|len| len > 0) {
            return Err(Failure::Other(format!(
                "the region has {name:?}, which belongs to its {main:?}: remove both first with pagestone rm"
            )));
        }
    }
    if !allowed.beside {
        refuse_beside(store, main)?;
    }
    for (_, name) in sources {
        if store.exists(name.as_bytes())?.is_some() && (!allowed.replacing || sources.len() > 1) {
            return Err(Failure::Other(format!(
                "the region already has an object named {name:?}: remove it with pagestone rm, or{}",
                if sources.len() > 1 { " choose another name" } else { " use --replace" }
            )));
        }
    }
    Ok(())
}

/// Refuses a name that would make the object the journal or WAL of an existing object: SQLite would use it.
fn refuse_beside(store: &Store, name: &OsStr) -> Result<(), Failure> {
    for suffix in [sqlite::JOURNAL, sqlite::WAL] {
        let Some(database) = name.as_bytes().strip_suffix(suffix.as_bytes()) else { continue };
        if store.exists(database)?.is_some() {
            let database = OsStr::from_bytes(database);
            return Err(Failure::Other(format!(
                "{name:?} is the name of the journal or WAL of {database:?}, which exists and could be destroyed by a foreign \
                 one: choose another name, or use --force if it belongs to it"
            )));
        }
    }
    Ok(())
}

/// Copies each file under an unfinished name, makes it durable, and only then gives it its final name.
fn copy_all(
    store: &Store,
    sources: &[(PathBuf, OsString)],
    moment: &Moment,
) -> Result<Vec<Imported>, Failure> {
    let mut imported = Vec::new();
    let unfinished = unfinished_names();
    let mut result = Ok(());
    for ((file, object), name) in sources.iter().zip(&unfinished) {
        match copy(store, file, name) {
            Ok(bytes) => imported.push(Imported { file: file.clone(), object: object.clone(), bytes }),
            Err(e) => {
                result = Err(e);
                break;
            }
        }
    }
    result = result.and_then(|()| moment.lasts()).and_then(|()| {
        store.sync()?;
        for ((_, object), name) in sources.iter().zip(&unfinished) {
            store.rename(name, object.as_bytes())?;
        }
        store.sync().map_err(Failure::from)
    });
    if let Err(e) = result {
        for name in &unfinished {
            // A missing object cannot be removed, and only the first failure is reported.
            drop(store.unlink(name));
        }
        return Err(e);
    }
    Ok(imported)
}

/// Copies one file into a new object and returns its length. If the file grows, the new part is not copied. Holes are
/// not read.
fn copy(store: &Store, file: &Path, object: &str) -> Result<u64, Failure> {
    let mut from = sqlite::open(file).map_err(Failure::file(file))?;
    let len = from.metadata().map_err(Failure::file(file))?.len();
    let to = store.create(object)?;
    let bar = progress::bytes("importing", len);
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut offset = 0;
    while let Some(data) =
        data_from(&from, offset).map_err(Failure::file(file))?.filter(|data| data.start < len)
    {
        offset = from.seek(std::io::SeekFrom::Start(data.start)).map_err(Failure::file(file))?;
        let end = data.end.min(len);
        while offset < end {
            chunk.clear();
            let wanted = (end - offset).min(CHUNK as u64);
            from.by_ref().take(wanted).read_to_end(&mut chunk).map_err(Failure::file(file))?;
            if chunk.is_empty() {
                return Err(moment::changed(file));
            }
            if chunk.iter().any(|b| *b != 0) {
                to.write_at(offset, &chunk)?;
            }
            offset += chunk.len() as u64;
            bar.set_position(offset);
        }
    }
    if to.len() < len {
        to.set_len(len)?;
    }
    bar.finish_and_clear();
    let now = from.metadata().map_err(Failure::file(file))?.len();
    if now == len { Ok(len) } else { Err(moment::changed(file)) }
}

/// The first run of bytes from `offset` on that is not a hole, as the file system reports it.
fn data_from(file: &File, offset: u64) -> Result<Option<Range<u64>>, std::io::Error> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // The file system does not report holes.
        Err(Errno::INVAL) => return Ok(Some(offset..u64::MAX)),
        Err(e) => return Err(e.into()),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some(start..end)),
        // The file was cut meanwhile.
        Err(Errno::NXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
