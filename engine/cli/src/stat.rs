//! `pagestone stat`: the counters of a region, or the pages of one object.

use crate::args::Stat;
use crate::failure::Failure;
use crate::place::{self, Place};
use crate::{output, sqlite};
use pagestone::Store;
use pagestone::units::FRAME_SIZE;
use serde_json::{Map, json};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub fn run(args: &Stat) -> Result<u8, Failure> {
    let at = Place::parse(&args.place);
    let store = place::look(&at.region, args.opening)?;
    let result = match &at.object {
        Some(object) => of_object(&store, object, args.json),
        None => of_region(&store, args.json),
    };
    place::close(store)?;
    result.map(|()| 0)
}

fn of_region(store: &Store, as_json: bool) -> Result<(), Failure> {
    let stats = store.stats();
    if as_json {
        let all: Map<_, _> = stats.fields().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        return output::print_json(&json!(all));
    }
    let rows: Vec<_> =
        stats.fields().map(|(name, value)| vec![name.to_owned(), output::count(value)]).collect();
    output::print(&output::columns(&["counter", "value"], &[1], rows))
}

fn of_object(store: &Store, name: &OsStr, as_json: bool) -> Result<(), Failure> {
    let object = store.open(name.as_bytes())?;
    let len = object.len();
    let (pages, runs, created) = (object.mapped()?, object.runs()?, object.created()?);
    let shown = output::name(name.as_bytes());
    let role = if name == sqlite::MAIN { Some("main database of the SQLite VFS") } else { None };
    if as_json {
        return output::print_json(&json!({
            "name": shown, "id": object.id(), "bytes": len, "pages": len.div_ceil(FRAME_SIZE as u64),
            "mapped_pages": pages, "runs": runs, "created": output::moment(created),
        }));
    }
    let mut rows = vec![
        ("object", shown),
        ("id", object.id().to_string()),
        ("size", format!("{} ({} B)", output::size(len), output::count(len))),
        ("pages", output::count(len.div_ceil(FRAME_SIZE as u64))),
        ("mapped", format!("{} ({})", output::count(pages), output::size(pages * FRAME_SIZE as u64))),
        ("runs", output::count(runs)),
        ("created", output::moment(created)),
    ];
    if let Some(role) = role {
        rows.push(("role", role.into()));
    }
    output::print(&output::pairs(&rows))
}
