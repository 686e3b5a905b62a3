//! `pagestone compact`.

use crate::args::Look;
use crate::failure::Failure;
use crate::{output, place};
use serde_json::json;

pub fn run(args: &Look) -> Result<u8, Failure> {
    let store = place::change(&args.region, args.opening)?;
    let bytes = store.compact()?;
    let region = args.region.display().to_string();
    let given = format!("{region}: {} given back", output::size(bytes));
    place::close(store).map_err(|why| why.too_late(&given))?;
    let text = match args.json {
        true => format!("{:#}", json!({"region": region, "returned_bytes": bytes})),
        false => given,
    };
    output::print_done(&format!("{text}\n"))?;
    Ok(0)
}
