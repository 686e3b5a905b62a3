//! `pagestone check`.

use crate::args::{Check, Look};
use crate::failure::{DEFECT, Failure};
use crate::{import, output, place, repair};
use pagestone::store::{Ending, Recovery};
use pagestone::{Error, Store};
use serde_json::json;

/// Name, place and description.
type Finding = (String, u64, String);

/// The results.
#[derive(Default)]
struct Found {
    defects: Vec<Finding>,
    /// States that a crash may leave and the next change repairs.
    repairable: Vec<Finding>,
    /// How the last owner left the region, if it opens.
    recovery: Option<Recovery>,
}

pub fn run(args: &Check) -> Result<u8, Failure> {
    if args.repair { repair::run(args) } else { look(&args.look) }
}

fn look(args: &Look) -> Result<u8, Failure> {
    let found = match find(args) {
        Err(Failure::Engine(e @ (Error::Corrupt { .. } | Error::Truncated { .. }))) => {
            // It is so damaged that it does not open. For `check` this is a result, not a failure.
            Found { defects: vec![("cannot-open".to_owned(), 0, e.to_string())], ..Found::default() }
        }
        other => other?,
    };
    if args.json {
        let region = args.region.display().to_string();
        let (findings, repairable) = (list(&found.defects), list(&found.repairable));
        let recovery = found.recovery.as_ref().map(output::recovery_json);
        output::print_json(&json!({
            "region": region, "findings": findings, "repairable": repairable, "recovery": recovery,
        }))?;
    } else {
        if found.defects.is_empty() {
            output::print(&format!("{}: no defect found\n", args.region.display()))?;
        } else {
            output::print(&table("finding", &found.defects))?;
            output::print("`pagestone check --repair --dry-run` says what a repair would do\n")?;
        }
        if !found.repairable.is_empty() {
            output::print(&table("left by a crash", &found.repairable))?;
        }
        if let Some(recovery) = found.recovery.filter(|found| found.ending != Ending::Clean) {
            output::print(&format!("last owner: {}\n", output::recovery(&recovery)))?;
        }
    }
    Ok(if found.defects.is_empty() { 0 } else { DEFECT })
}

fn list(findings: &[Finding]) -> Vec<serde_json::Value> {
    findings.iter().map(|(name, at, detail)| json!({"name": name, "at": at, "detail": detail})).collect()
}

fn table(title: &str, findings: &[Finding]) -> String {
    let rows = findings.iter().map(|(n, at, d)| vec![n.clone(), format!("{at:#x}"), d.clone()]).collect();
    output::columns(&[title, "at", "detail"], &[1], rows)
}

fn find(args: &Look) -> Result<Found, Failure> {
    let store = place::look(&args.region, args.opening)?;
    let (report, recovery) = (store.check(), store.recovery());
    let unfinished = unfinished(&store);
    place::close(store)?;
    let report = report?;
    let plain = |findings: Vec<pagestone::store::Finding>| {
        findings.into_iter().map(|f| (f.name.to_owned(), f.at, f.detail)).collect()
    };
    let mut repairable: Vec<Finding> = plain(report.repairable);
    // If the names cannot be read, the check has already reported it.
    repairable.extend(unfinished.unwrap_or_default());
    Ok(Found { defects: plain(report.findings), repairable, recovery: Some(recovery) })
}

/// What a killed import has left.
fn unfinished(store: &Store) -> Result<Vec<Finding>, Failure> {
    let mut left = Vec::new();
    for name in import::unfinished_names() {
        if let Some(len) = store.exists(&name)? {
            let size = output::size(len);
            let detail = format!("{name} ({size}) of an import that was killed: the next import removes it");
            left.push(("unfinished-import".to_owned(), 0, detail));
        }
    }
    Ok(left)
}
