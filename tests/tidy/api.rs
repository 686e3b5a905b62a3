//! The public interface of the crate `pagestone`, read from its sources and compared with a snapshot. The compiler's own
//! list needs nightly Rust. This one has names, signatures, fields, derives and implementations as they are written.

use crate::tree::Tree;
use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

const ROOT: &str = "engine/src/";
const SNAPSHOT: &str = "tests/tidy/public-api";

/// A declaration: its attributes, its head, and its body.
#[derive(Debug)]
struct Item {
    attributes: String,
    head: String,
    body: String,
}

impl Item {
    /// Whether users of the crate see it.
    fn is_public(&self) -> bool {
        self.head.starts_with("pub ") && !self.is_hidden()
    }

    fn is_hidden(&self) -> bool {
        ["doc(hidden)", "cfg(test)", "cfg(pagestone_"].iter().any(|a| self.attributes.contains(a))
    }

    /// `struct`, `fn` and so on, and the name behind it.
    fn kind_and_name(&self) -> Option<(&str, &str)> {
        let mut words =
            self.head.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
        let kind = words.find(|w| !matches!(*w, "pub" | "unsafe" | "async" | "extern"))?;
        let (kind, name) = (kind, words.next()?);
        Some(if kind == "const" && name == "fn" { ("fn", words.next()?) } else { (kind, name) })
    }
}

/// The items of a text without comments, in order.
fn items(code: &str) -> Vec<Item> {
    let (mut found, mut rest) = (Vec::new(), code.trim_start());
    while !rest.is_empty() {
        let (attributes, after) = attributes(rest);
        let ends_itself = |head: &str| {
            let head = head.trim_start_matches("pub ");
            ["use ", "type ", "static "].iter().any(|w| head.starts_with(w))
                || head.starts_with("const ")
                    && !head.starts_with("const fn")
                    && !head.starts_with("const unsafe")
        };
        let whole = ends_itself(after);
        let stop = outside(after, |c| c == ';' || c == '{' && !whole).unwrap_or(after.len());
        let head = normal(&after[..stop]);
        let (body, next) = match after[stop..].starts_with('{') {
            true => {
                let end = stop + closing(&after[stop..]);
                (&after[stop + 1..end], &after[(end + 1).min(after.len())..])
            }
            false => ("", after.get(stop + 1..).unwrap_or("")),
        };
        found.push(Item { attributes, head, body: body.to_owned() });
        rest = next.trim_start();
    }
    found
}

/// Attributes at the start, and what follows them.
fn attributes(code: &str) -> (String, &str) {
    let (mut found, mut rest) = (String::new(), code);
    while rest.starts_with("#[") || rest.starts_with("#![") {
        let open = rest.find('[').expect("a bracket");
        let end = open + closing(&rest[open..]) + 1;
        found.push_str(&normal(&rest[..end]));
        rest = rest[end..].trim_start();
    }
    (found, rest)
}

/// Where the bracket at the beginning of the text is closed.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len() - 1
}

/// The place of the first character outside all brackets for which `wanted` is true.
fn outside(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        if depth == 0 && wanted(c) {
            return Some(at);
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The text on one line, as if there were room.
fn normal(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace("( ", "(").replace(", )", ")").replace(" )", ")")
}

/// A public name: its path as users write it, and the module of the engine that defines it.
struct Name {
    path: String,
    name: String,
    module: String,
}

/// Each file of the engine with its items.
fn sources(tree: &Tree) -> Vec<(String, Vec<Item>)> {
    let engine = tree.sources.iter().filter(|s| s.path.starts_with(ROOT) && s.path.ends_with(".rs"));
    engine
        .map(|s| {
            let code: Vec<&str> = s.lines.iter().map(|l| l.code.as_str()).collect();
            (s.path.clone(), items(&code.join("\n")))
        })
        .collect()
}

/// What the documented modules declare or re-export.
fn names(sources: &[(String, Vec<Item>)]) -> Vec<Name> {
    let of = |path: String| sources.iter().find(|(p, _)| *p == path).map(|(_, items)| items);
    let mut names = Vec::new();
    let root = of(format!("{ROOT}lib.rs")).expect("the crate's root");
    for item in root.iter().filter(|i| i.is_public()) {
        if let Some(from) = item.head.strip_prefix("pub use ") {
            let module = from.split("::").next().expect("a module");
            for name in listed(from) {
                names.push(Name { path: name.to_owned(), name: name.to_owned(), module: module.to_owned() });
            }
        }
        let Some(("mod", module)) = item.kind_and_name() else { continue };
        let file = of(format!("{ROOT}{module}.rs")).or_else(|| of(format!("{ROOT}{module}/mod.rs")));
        for item in file.into_iter().flatten().filter(|i| i.is_public()) {
            let Some((kind, name)) = item.kind_and_name() else { continue };
            if kind != "use" {
                let (path, name) = (format!("{module}::{name}"), name.to_owned());
                names.push(Name { path, name, module: module.to_owned() });
                continue;
            }
            let from = item.head.trim_start_matches("pub use ");
            let home =
                from.strip_prefix("crate::").map_or(module, |p| p.split("::").next().expect("a module"));
            for name in listed(from) {
                let (path, name) = (format!("{module}::{name}"), name.to_owned());
                names.push(Name { path, name, module: home.to_owned() });
            }
        }
    }
    names
}

/// The last names in a `use`.
fn listed(from: &str) -> impl Iterator<Item = &str> {
    let list = from.rsplit("::").next().expect("a name");
    let list = from.split_once('{').map_or(list, |(_, list)| list.trim_end_matches('}'));
    list.split(',').map(str::trim).filter(|n| !n.is_empty())
}

/// The interface: a line for each item whose change may break a program.
pub fn of(tree: &Tree) -> BTreeSet<String> {
    let sources = sources(tree);
    let mut lines = BTreeSet::new();
    for name in names(&sources) {
        if name.path == name.name {
            lines.insert(format!("{}: of {}", name.name, name.module));
            continue;
        }
        let inside = [format!("{ROOT}{}.rs", name.module), format!("{ROOT}{}/", name.module)];
        let home = sources.iter().filter(|(p, _)| *p == inside[0] || p.starts_with(&inside[1]));
        let before = lines.len();
        for item in home.flat_map(|(_, items)| items).filter(|i| !i.is_hidden()) {
            if item.head.starts_with("impl") || item.head.starts_with("unsafe impl") {
                implementation(&mut lines, &name, item);
            } else if item.head.starts_with("pub ")
                && item.kind_and_name().is_some_and(|(_, n)| n == name.name)
            {
                declaration(&mut lines, &name, item);
            }
        }
        assert!(lines.len() > before, "{}: its declaration was not found", name.path);
    }
    lines
}

fn declaration(lines: &mut BTreeSet<String>, name: &Name, item: &Item) {
    let path = &name.path;
    let derives = item.attributes.split("#[derive(").nth(1).and_then(|a| a.split(")]").next());
    let open = if item.attributes.contains("non_exhaustive") { ", non_exhaustive" } else { "" };
    let derives = derives.map(|d| format!(", derives {d}")).unwrap_or_default();
    let (kind, _) = item.kind_and_name().expect("a kind");
    // The value of a constant does not matter for what compiles.
    let head = if kind == "const" { item.head.split(" = ").next().expect("a name") } else { &item.head };
    lines.insert(format!("{path}: {head}{derives}{open}"));
    if kind == "trait" {
        lines.extend(items(&item.body).iter().map(|i| format!("{path}: {}", i.head)));
    } else if kind == "struct" || kind == "enum" {
        let mut rest = item.body.as_str();
        while !rest.trim().is_empty() {
            let end = outside(rest, |c| c == ',').unwrap_or(rest.len());
            let (_, field) = attributes(rest[..end].trim_start());
            if kind == "enum" || field.starts_with("pub ") {
                let fields = field.split('{').map(without_attributes).collect::<Vec<_>>();
                lines.insert(format!("{path}: {}", normal(&fields.join("{"))));
            }
            rest = rest.get(end + 1..).unwrap_or("");
        }
    }
}

/// Text without the attributes in it.
fn without_attributes(text: &str) -> String {
    let (mut clean, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("#[") {
        clean.push_str(&rest[..at]);
        rest = &rest[at + 1 + closing(&rest[at + 1..]) + 1..];
    }
    clean + rest
}

fn implementation(lines: &mut BTreeSet<String>, name: &Name, item: &Item) {
    let head = item.head.split(" where ").next().expect("something");
    let (of_trait, target) = match head.rsplit_once(" for ") {
        Some((_, target)) => (true, target),
        None => (false, head.rsplit(' ').next().expect("a type")),
    };
    let target = target.trim_start_matches('&').split('<').next().expect("a type");
    if target.rsplit("::").next() != Some(&name.name) {
        return;
    }
    if of_trait {
        lines.insert(format!("{}: {}", name.path, item.head));
        return;
    }
    let public = items(&item.body).into_iter().filter(Item::is_public);
    lines.extend(public.map(|i| format!("{}: {}", name.path, i.head.split(" = ").next().expect("a name"))));
}

/// Items that are public and hidden in another way than by the feature `internals`: the snapshot would not show them.
pub fn hidden(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for source in tree.sources.iter().filter(|s| s.path.starts_with(ROOT)) {
        let mut before = "";
        for (at, line) in source.text.lines().map(str::trim).enumerate() {
            if line == "#[doc(hidden)]" && !(before.starts_with("#[cfg(") && before.contains("\"internals\""))
            {
                problems.push(format!("{}:{}: hidden, and not `internals`", source.path, at + 1));
            }
            before = line;
        }
    }
    problems
}

/// The differences from the snapshot.
pub fn problems(tree: &Tree) -> Vec<String> {
    let now = of(tree);
    let snapshot = tree.source(SNAPSHOT).map(|s| s.text.as_str()).unwrap_or_default();
    if env::var_os("PAGESTONE_BLESS").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SNAPSHOT);
        let text: String = now.iter().map(|l| format!("{l}\n")).collect();
        fs::write(file, text).expect("the snapshot can be written");
        return vec![];
    }
    let then: BTreeSet<String> = snapshot.lines().map(str::to_owned).collect();
    let mut problems: Vec<String> =
        then.difference(&now).map(|l| format!("gone from the API: {l}")).collect();
    problems.extend(now.difference(&then).map(|l| format!("new in the API: {l}")));
    if !problems.is_empty() {
        problems.push("if that is meant: `make api`, and a line in CHANGELOG.md".to_owned());
    }
    problems
}

#[test]
fn a_change_of_the_interface_is_found() {
    let lib = "pub mod a;\n#[doc(hidden)]\npub mod b;\nmod c;\npub use a::{A, D};\n";
    let a = "mod d;\npub use d::{D};\n/// Doc.\n#[derive(Clone)]\npub struct A {\n    pub x: u32,\n    y: u32,\n}\n\
             impl A {\n    pub fn f(\n        &self,\n        n: [u8; 2],\n    ) -> u32 { if n { 1 } else { 2 } }\n    fn g(&self) {}\n}\n\
             impl Drop for A { fn drop(&mut self) {} }\npub(crate) fn h() {}\n";
    let d = "#[non_exhaustive]\npub enum D {\n    /// One.\n    One,\n    Two { #[x] at: u64 },\n}\n";
    let tree = |a: &str, d: &str| Tree {
        sources: [
            ("lib.rs", lib),
            ("a/mod.rs", a),
            ("a/d.rs", d),
            ("b.rs", "pub struct B;"),
            ("c.rs", "pub fn c() {}"),
        ]
        .map(|(path, text)| crate::tree::Source::new(&format!("{ROOT}{path}"), text))
        .into(),
        top_level: vec![],
    };
    let expected = [
        "A: of a",
        "D: of a",
        "a::A: impl Drop for A",
        "a::A: pub fn f(&self, n: [u8; 2]) -> u32",
        "a::A: pub struct A, derives Clone",
        "a::A: pub x: u32",
        "a::D: One",
        "a::D: Two { at: u64 }",
        "a::D: pub enum D, non_exhaustive",
    ];
    assert_eq!(of(&tree(a, d)).into_iter().collect::<Vec<_>>(), expected);
    assert!(of(&tree(&a.replace("u8; 2", "u8; 3"), d)).contains("a::A: pub fn f(&self, n: [u8; 3]) -> u32"));
    assert_eq!(of(&tree(a, &d.replace("    One,\n", ""))).len(), expected.len() - 1);
}

#[test]
fn what_is_hidden_otherwise_than_by_the_feature_is_found() {
    let of = |text: &str| hidden(&Tree::of("engine/src/x.rs", text)).len();
    assert_eq!(of("    #[doc(hidden)]\n    pub fn f() {}\n"), 1);
    assert_eq!(of("#[cfg(any(test, feature = \"internals\"))]\n#[doc(hidden)]\npub fn f() {}\n"), 0);
}
