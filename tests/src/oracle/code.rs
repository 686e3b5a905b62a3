//! A case as Rust code: the calls that were made, in order, to be pasted into a regression test.

use super::step::{Case, Setup};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Collects calls, if they are wanted. Clones write to the same place.
#[derive(Clone, Debug, Default)]
pub struct Code(Option<Arc<Mutex<Text>>>);

#[derive(Debug, Default)]
struct Text {
    lines: Vec<String>,
    variables: u32,
}

impl Code {
    /// A place that collects calls.
    #[must_use]
    pub fn wanted() -> Self {
        Self(Some(Arc::default()))
    }

    /// A second place of the same kind, for another thread.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self(self.0.as_ref().map(|_| Arc::default()))
    }

    fn with(&self, change: impl FnOnce(&mut Text)) {
        if let Some(text) = &self.0 {
            change(&mut text.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The name of a new variable.
    #[must_use]
    pub fn variable(&self, kind: char) -> String {
        let mut name = String::new();
        self.with(|text| {
            text.variables += 1;
            name = format!("{kind}{}", text.variables);
        });
        name
    }

    /// Adds a line.
    pub fn line(&self, line: impl FnOnce() -> String) {
        self.with(|text| text.lines.push(line()));
    }

    /// Adds the answer of the call in the last line.
    pub fn answered(&self, rest: impl FnOnce() -> String) {
        self.with(|text| {
            if let Some(last) = text.lines.last_mut() {
                last.push_str(&rest());
            }
        });
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.with(|text| lines.clone_from(&text.lines));
        lines
    }
}

/// The calls as a test, with what the last of them should have shown. Then come the steps, which the harness can replay.
#[must_use]
pub fn test_of(case: &Case, lines: &[String], why: &str) -> String {
    let mut out = String::new();
    let calls = |out: &mut String, lines: &[String]| {
        for line in lines {
            let _ = writeln!(out, "    {line}");
        }
    };
    if case.threads() == 1 {
        out.push_str("#[test]\nfn found_by_the_oracle() {\n");
        let _ = writeln!(out, "    let mut ground = Ground::new({});", setup_of(case.setup()));
        calls(&mut out, lines);
        for line in why.lines() {
            // A difference is printed as the assertion that fails.
            let comment = if line.starts_with("assert") { "" } else { "// " };
            let _ = writeln!(out, "    {comment}{line}");
        }
        out.push_str("}\n\n");
    } else {
        out.push_str("// The calls of its threads, which ran at the same time:\n");
        for line in lines {
            let _ = writeln!(out, "//   {line}");
        }
        for line in why.lines() {
            let _ = writeln!(out, "// {line}");
        }
    }
    out.push_str("#[test]\nfn found_by_the_oracle_as_steps() {\n    use Op::*;\n    use Step::*;\n");
    let _ = writeln!(out, "    let case = {};", case_of(case));
    out.push_str("    replay(&case).unwrap();\n}\n");
    out
}

fn setup_of(setup: Setup) -> String {
    let Setup { medium, class, recorded, frames_max, broken } = setup;
    let broken = broken.map_or_else(|| "None".into(), |rule| format!("Some(Rule::{rule:?})"));
    format!(
        "Setup {{ medium: Medium::{medium:?}, class: Durability::{class:?}, recorded: {recorded}, \
         frames_max: {frames_max:?}, broken: {broken} }}"
    )
}

fn step_of(step: &super::step::Step) -> String {
    format!("{step:?}").replace("way: ", "way: Way::").replace("Batch([", "Batch(vec![")
}

fn case_of(case: &Case) -> String {
    let steps = |steps: &[super::step::Step]| {
        let steps: Vec<_> = steps.iter().map(step_of).collect();
        format!("vec![\n        {},\n    ]", steps.join(",\n        "))
    };
    let setup = setup_of(case.setup());
    match case {
        Case::Alone(_, all) => format!("Case::Alone({setup}, {})", steps(all)),
        Case::Together(_, rounds) => {
            let round = |round: &super::step::Round| {
                let parts: Vec<_> = round.parts.iter().map(|part| steps(part)).collect();
                format!("Round {{ parts: vec![{}], then: {:?} }}", parts.join(", "), round.then)
            };
            let rounds: Vec<_> = rounds.iter().map(round).collect();
            format!("Case::Together({setup}, vec![{}])", rounds.join(", "))
        }
    }
}
