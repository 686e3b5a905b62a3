//! `pagestone check --repair`.

use crate::args::Check;
use crate::failure::{DEFECT, Failure};
use crate::{output, place};
use pagestone::store::{Finding, Repair, Repaired};
use serde_json::json;

/// Says what is going to be done, and then does it, unless only that was asked for.
pub fn run(args: &Check) -> Result<u8, Failure> {
    let region = &args.look.region;
    let options = place::repairing(region, args.look.opening)?;
    let planned = options.clone().read_only(true).repair(region)?;
    let nothing = planned.repairs.is_empty();
    if !args.look.json && !nothing {
        output::print(&plan(&planned.repairs))?;
    }
    if args.dry_run || nothing {
        let left = if nothing { &planned.left[..] } else { &[] };
        report(args, &planned, left, false)?;
        return Ok(if nothing && left.is_empty() { 0 } else { DEFECT });
    }
    let done = options.repair(region)?;
    report(args, &done, &done.left, true)?;
    Ok(if done.left.is_empty() { 0 } else { DEFECT })
}

fn plan(repairs: &[Repair]) -> String {
    let row = |r: &Repair| vec![r.what.to_owned(), format!("{:#x}", r.at), r.detail.clone()];
    output::columns(&["repair", "at", "what is done"], &[1], repairs.iter().map(row).collect())
}

fn report(args: &Check, repaired: &Repaired, left: &[Finding], done: bool) -> Result<(), Failure> {
    let region = args.look.region.display().to_string();
    if args.look.json {
        let repairs =
            repaired.repairs.iter().map(|r| json!({"what": r.what, "at": r.at, "detail": r.detail}));
        let left = left.iter().map(|f| json!({"name": f.name, "at": f.at, "detail": f.detail}));
        return output::print_json(&json!({
            "region": region,
            "repaired": done,
            "repairs": repairs.collect::<Vec<_>>(),
            "left": left.collect::<Vec<_>>(),
        }));
    }
    if !left.is_empty() {
        let row = |f: &Finding| vec![f.name.to_owned(), format!("{:#x}", f.at), f.detail.clone()];
        output::print(&output::columns(
            &["left as it is", "at", "detail"],
            &[1],
            left.iter().map(row).collect(),
        ))?;
    }
    let said = match (repaired.repairs.is_empty(), done) {
        (true, _) if left.is_empty() => "nothing to repair",
        (true, _) => "nothing that can be repaired",
        (false, true) => "repaired",
        (false, false) => "nothing was changed",
    };
    output::print(&format!("{region}: {said}\n"))
}
