//! Threads, callers and processes are things. Comments do not speak of them as of persons.

use crate::lexer::Line;
use crate::tree::Tree;

/// Words that nearly always replace the name of a thing.
const PERSONS: &[&str] = &["who", "whoever", "nobody", "somebody", "he", "him", "his"];
/// This many of them in a thousand lines of comments are allowed.
const IN_A_THOUSAND: usize = 12;
/// A project with fewer lines of comments counts as if it had this many.
const SAMPLE: usize = 1000;

/// Each of these words with its place, if there are too many.
pub fn problems(tree: &Tree) -> Vec<String> {
    let (mut lines, mut found) = (0, Vec::new());
    for source in &tree.sources {
        for (number, line) in source.numbered().filter(|(_, line)| !line.comment.trim().is_empty()) {
            lines += 1;
            found.extend(persons(line).map(|word| format!("{}:{number}: \"{word}\"", source.path)));
        }
    }
    let most = lines.max(SAMPLE) * IN_A_THOUSAND / 1000;
    if found.len() <= most { Vec::new() } else { found }
}

fn persons(line: &Line) -> impl Iterator<Item = String> + '_ {
    let words = line.comment.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '`');
    words.map(str::to_lowercase).filter(|word| PERSONS.contains(&word.as_str()))
}

#[test]
fn comments_that_speak_of_persons_are_found() {
    let of = |line: &str, times: usize| problems(&Tree::of("engine/src/x.rs", &line.repeat(times))).len();
    assert_eq!(of("// Nobody waits, whoever asks.\n", 6), 0);
    assert_eq!(of("// Nobody waits, whoever asks.\n", 7), 14);
    assert_eq!(of("f(); /* who */\n", 13), 13);
    assert_eq!(of("// No thread waits for `who`; she, here, the, whole.\n", 50), 0);
    assert_eq!(of("let who = \"nobody\";\n", 50), 0);
}
