//! The project's files, as the rules see them.

use crate::lexer::{Line, lex};
use std::fs;
use std::path::Path;

/// Folders and files that are built or left behind, which the rules ignore.
const IGNORED: &[&str] = &["target", ".git", "work", "Cargo.lock", ".github", "artifacts", "corpus"];

/// One text file.
pub struct Source {
    /// Path from the project's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Code apart from comments; empty unless it is Rust.
    pub lines: Vec<Line>,
}

impl Source {
    /// A file with this text.
    pub fn new(path: &str, text: &str) -> Self {
        let lines = if path.ends_with(".rs") { lex(text) } else { vec![] };
        Self { path: path.into(), text: text.into(), lines }
    }

    /// The module of the engine that the file belongs to.
    pub fn engine_module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("engine/src/")?;
        Some(inside.split(['/', '.']).next().unwrap_or(inside))
    }

    /// Each line with its number from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// Lines before the file's unit tests.
    pub fn numbered_before_tests(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.numbered().take_while(|(_, line)| !line.code.trim().starts_with("#[cfg(test)]"))
    }

    /// Whether one of the comments from `above` lines before line `number` to `below` lines after it has `word`.
    pub fn has_comment_near(&self, number: usize, above: usize, below: usize, word: &str) -> bool {
        let first = number.saturating_sub(1 + above);
        let last = (number + below).min(self.lines.len());
        self.lines[first..last].iter().any(|line| line.comment.contains(word))
    }
}

/// All files.
pub struct Tree {
    /// Text files.
    pub sources: Vec<Source>,
    /// Names in the root folder.
    pub top_level: Vec<String>,
}

impl Tree {
    /// This project.
    pub fn of_project() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the project");
        let mut tree = Self { sources: vec![], top_level: vec![] };
        tree.walk(root, "");
        tree.sources.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    /// A made-up project of one file, for self-tests.
    pub fn of(path: &str, text: &str) -> Self {
        Self { sources: vec![Source::new(path, text)], top_level: vec![] }
    }

    /// The file with this path.
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|s| s.path == path)
    }

    fn walk(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).expect("a folder of the project").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            if prefix.is_empty() {
                self.top_level.push(name.clone());
            }
            if IGNORED.contains(&name.as_str()) {
                continue;
            }
            if entry.path().is_dir() {
                self.walk(&entry.path(), &path);
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                self.sources.push(Source::new(&path, &text));
            }
        }
    }
}
