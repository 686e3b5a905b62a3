//! `pagestone info`.

use crate::args::Look;
use crate::failure::Failure;
use crate::{output, place};
use pagestone::units::FRAME_SIZE;
use serde_json::json;

pub fn run(args: &Look) -> Result<u8, Failure> {
    let store = place::look(&args.region, args.opening)?;
    let info = store.info();
    let found = store.recovery();
    let objects = store.list()?;
    place::close(store)?;
    // The class of the medium: this opening is read-only, so the class of its syncs means nothing.
    let uuid: String = info.uuid.iter().map(|b| format!("{b:02x}")).collect();
    let bytes = info.frames * FRAME_SIZE as u64;
    let content: u64 = objects.iter().map(|o| o.len).sum();
    let log = u64::from(info.log_frames) * FRAME_SIZE as u64;
    if args.json {
        output::print_json(&json!({
            "region": args.region.display().to_string(),
            "medium": info.kind.to_string(),
            "durability": info.medium.to_string(),
            "caches_survive": info.caches_survive,
            "uuid": uuid,
            "generation": info.generation,
            "frame_bytes": FRAME_SIZE,
            "frames": info.frames,
            "bytes": bytes,
            "log_bytes": log,
            "objects": objects.len(),
            "object_bytes": content,
            "recovery": output::recovery_json(&found),
        }))?;
        return Ok(0);
    }
    output::print(&output::pairs(&[
        ("region", args.region.display().to_string()),
        ("medium", output::medium(&info)),
        ("durability", info.medium.to_string()),
        ("uuid", uuid),
        ("generation", output::count(info.generation)),
        (
            "size",
            format!("{} ({} frames of {FRAME_SIZE} B)", output::size(bytes), output::count(info.frames)),
        ),
        ("log", output::size(log)),
        ("last owner", output::recovery(&found)),
        ("objects", format!("{} ({})", output::count(objects.len() as u64), output::size(content))),
    ]))?;
    Ok(0)
}
