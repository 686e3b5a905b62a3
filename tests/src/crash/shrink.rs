//! Makes a failing workload small: operations are left out, together with those that make no sense without them.

use super::script::{Op, Script};
use pagestone_workload::shrink::{self, Small};
use std::fmt::Write;
use std::time::Duration;

/// Shrinks `script`, whose failure is `story`, while it still fails and there is time. Returns the operations that are
/// left, each with its thread.
pub fn shrink(
    script: &Script,
    story: String,
    time: Duration,
    mut fails: impl FnMut(&Script) -> Option<String>,
) -> Small<(usize, Op)> {
    shrink::shrink(script.listed(), story, time, |ops| {
        let script = script.with(ops);
        fails(&script).map(|story| (script.listed(), story))
    })
}

/// The operations, one a line, then the story.
#[must_use]
pub fn tell(small: &Small<(usize, Op)>) -> String {
    let mut out = format!("shrunk to these operations, in {} runs:\n", small.runs);
    for (thread, op) in &small.list {
        let _ = writeln!(out, "    thread {thread}: {op:?}");
    }
    out + &small.story
}

#[cfg(test)]
mod tests {
    use super::super::script::Shape;
    use super::*;

    /// An imaginary bug: an object that was punched and then renamed.
    #[test]
    fn what_a_failure_does_not_need_goes() {
        let shape = Shape { threads: 2, ops: 60, objects: 4, pages: 6, sync_every: 6, batch_every: 0 };
        let fails = |script: &Script| {
            let bad = script.parts.iter().any(|part| {
                let punch = part.ops.iter().position(|op| matches!(op, Op::Punch(..)));
                let rename = part.ops.iter().rposition(|op| matches!(op, Op::Rename(..)));
                punch.is_some_and(|p| rename.is_some_and(|r| p < r))
            });
            bad.then(|| "punched, then renamed".to_owned())
        };
        let script = (1..).map(|seed| Script::random(shape, seed)).find(|s| fails(s).is_some()).unwrap();
        let small = shrink(&script, String::new(), Duration::from_secs(20), fails);
        let told = tell(&small);
        assert!(small.list.len() <= 5, "{told}");
        assert!(told.contains("Punch") && told.contains("punched, then renamed"));
    }
}
