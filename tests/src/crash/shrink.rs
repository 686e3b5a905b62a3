//! From a workload that fails to a small one that still does: operations are left out, first many at once, then one by
//! one. What then makes no sense any more (a write to an object that was not made) goes with them.

use super::script::{Op, Script};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A workload that fails, and how.
#[derive(Debug)]
pub struct Small {
    /// What is left of it.
    pub script: Script,
    /// The story of its failure.
    pub story: String,
    /// Runs that it took.
    pub runs: u32,
}

impl Small {
    /// The operations, one a line, then the story.
    #[must_use]
    pub fn tell(&self) -> String {
        let mut out = format!("shrunk to these operations, in {} runs:\n", self.runs);
        for (thread, part) in self.script.parts.iter().enumerate() {
            for op in &part.ops {
                let _ = writeln!(out, "    thread {thread}: {op:?}");
            }
        }
        out + &self.story
    }
}

/// Shrinks `script`, whose failure is `story`, as long as `fails` has something to tell and there is time.
pub fn shrink(
    script: &Script,
    story: String,
    time: Duration,
    mut fails: impl FnMut(&Script) -> Option<String>,
) -> Small {
    let end = Instant::now() + time;
    let mut ops = listed(script);
    let mut small = Small { script: script.clone(), story, runs: 0 };
    let mut size = ops.len().div_ceil(2);
    while size > 0 && Instant::now() < end {
        let mut at = 0;
        let mut shrunk = false;
        // From the end: what comes last is needed least often.
        while at < ops.len() && Instant::now() < end {
            let to = ops.len() - at;
            let from = to.saturating_sub(size);
            let mut fewer = ops.clone();
            fewer.drain(from..to);
            let candidate = script.with(&fewer);
            small.runs += 1;
            match fails(&candidate) {
                Some(story) => {
                    ops = listed(&candidate);
                    (small.script, small.story, shrunk) = (candidate, story, true);
                }
                None => at += size,
            }
        }
        if !shrunk || size > 1 {
            size /= 2;
        }
    }
    small
}

fn listed(script: &Script) -> Vec<(usize, Op)> {
    let part = |(thread, part): (usize, &super::script::Part)| {
        part.ops.iter().map(move |op| (thread, op.clone())).collect::<Vec<_>>()
    };
    script.parts.iter().enumerate().flat_map(part).collect()
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
        let ops: Vec<_> = listed(&small.script);
        assert!(ops.len() <= 4, "{}", small.tell());
        assert!(small.tell().contains("Punch") && small.tell().contains("punched, then renamed"));
    }
}
