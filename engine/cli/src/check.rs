//! `pagestone check`.

use crate::args::Look;
use crate::failure::{DEFECT, Failure};
use crate::{output, place};
use pagestone::Error;
use serde_json::json;

pub fn run(args: &Look) -> Result<u8, Failure> {
    let findings = match find(args) {
        Err(Failure::Engine(e @ (Error::Corrupt { .. } | Error::Truncated { .. }))) => {
            // So damaged that it does not open: that is what was to be found out.
            vec![("cannot-open".to_owned(), 0, e.to_string())]
        }
        other => other?,
    };
    if args.json {
        let list: Vec<_> = findings
            .iter()
            .map(|(name, at, detail)| json!({"name": name, "at": at, "detail": detail}))
            .collect();
        output::print_json(&json!({"region": args.region.display().to_string(), "findings": list}))?;
    } else if findings.is_empty() {
        output::print(&format!("{}: no defect found\n", args.region.display()))?;
    } else {
        let rows = findings.iter().map(|(n, at, d)| vec![n.clone(), format!("{at:#x}"), d.clone()]).collect();
        output::print(&output::columns(&["finding", "at", "detail"], &[1], rows))?;
    }
    Ok(if findings.is_empty() { 0 } else { DEFECT })
}

fn find(args: &Look) -> Result<Vec<(String, u64, String)>, Failure> {
    let store = place::look(&args.region)?;
    let report = store.check();
    place::close(store)?;
    Ok(report?.findings.into_iter().map(|f| (f.name.to_owned(), f.at, f.detail)).collect())
}
