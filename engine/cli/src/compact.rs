//! `pagestone compact`.

use crate::args::Look;
use crate::failure::Failure;
use crate::{output, place};
use serde_json::json;

pub fn run(args: &Look) -> Result<u8, Failure> {
    let store = place::change(&args.region, args.opening)?;
    let bytes = store.compact()?;
    place::close(store)?;
    let region = args.region.display().to_string();
    if args.json {
        output::print_json(&json!({"region": region, "returned_bytes": bytes}))?;
    } else {
        output::print(&format!("{region}: {} given back\n", output::size(bytes)))?;
    }
    Ok(0)
}
