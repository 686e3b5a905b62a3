//! `pagestone ls`.

use crate::args::Look;
use crate::failure::Failure;
use crate::{output, place};
use serde_json::json;

pub fn run(args: &Look) -> Result<u8, Failure> {
    let store = place::look(&args.region, args.opening)?;
    let mut entries = store.list()?;
    place::close(store)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    if args.json {
        let list: Vec<_> = entries
            .iter()
            .map(|e| json!({"name": output::name(&e.name), "id": e.id, "bytes": e.len}))
            .collect();
        output::print_json(&json!(list))?;
    } else if !entries.is_empty() {
        let rows = entries
            .iter()
            .map(|e| vec![e.id.to_string(), e.len.to_string(), output::name(&e.name)])
            .collect();
        output::print(&output::columns(&["id", "bytes", "name"], &[0, 1], rows))?;
    }
    Ok(0)
}
