//! The header, read as a compiler would: what it declares, apart from what it explains.

use crate::build::source;
use std::collections::BTreeSet;

/// Where the header is.
pub const HEADER: &str = "bindings-c/include/pagestone.h";

/// A struct; one without fields is known by its name only.
pub struct Struct {
    /// Its name.
    pub name: String,
    /// Declarations of its fields, in order.
    pub fields: Vec<String>,
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it returns.
    pub result: String,
    /// Declarations of its parameters, in order.
    pub parameters: Vec<String>,
}

/// What a header declares.
#[derive(Default)]
pub struct Header {
    /// Names of macros that have a value.
    pub constants: Vec<String>,
    /// Structs.
    pub structs: Vec<Struct>,
    /// Functions.
    pub functions: Vec<Function>,
}

impl Header {
    /// The project's.
    pub fn of_project() -> Self {
        Self::of(&source(HEADER))
    }

    /// What this text declares. A declaration that cannot be parsed ends the test.
    pub fn of(text: &str) -> Self {
        let mut header = Self::default();
        for statement in statements(&plain(text, &mut header.constants)) {
            header.declare(&statement);
        }
        header
    }

    fn declare(&mut self, statement: &str) {
        if let Some(rest) = statement.strip_prefix("typedef struct ") {
            let (name, body) = match rest.split_once('{') {
                Some((name, body)) => (name.trim(), body.rsplit_once('}').expect("a closing brace").0),
                None => (rest.split(' ').next().expect("a name"), ""),
            };
            let fields =
                body.split(';').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect();
            self.structs.push(Struct { name: name.to_owned(), fields });
            return;
        }
        let inside = statement.strip_suffix(')').and_then(|s| s.split_once('('));
        let Some((before, parameters)) = inside else { panic!("no declaration: {statement}") };
        let (name, result) =
            (name_of(before), before.strip_suffix(name_of(before)).expect("its name").trim());
        let parameters = split_outside(parameters).into_iter().filter(|p| p != "void").collect();
        self.functions.push(Function { name: name.to_owned(), result: result.to_owned(), parameters });
    }

    /// Names of the functions.
    pub fn function_names(&self) -> BTreeSet<String> {
        self.functions.iter().map(|f| f.name.clone()).collect()
    }
}

/// The name that a declaration declares: the last word before an array's bracket.
pub fn name_of(declaration: &str) -> &str {
    let declaration = declaration.split('[').next().expect("something").trim_end();
    declaration.rsplit([' ', '*']).next().expect("a name")
}

/// The type that a declaration of a field or of a parameter has, without the name. A callback keeps its names.
pub fn type_of(declaration: &str) -> String {
    if declaration.contains('(') {
        return declaration.to_owned();
    }
    let array = declaration.find('[').map_or("", |at| &declaration[at..]);
    let before = declaration.split('[').next().expect("something").trim_end();
    format!("{}{array}", before.strip_suffix(name_of(declaration)).expect("its name").trim_end())
}

/// Text without comments and directives; macros that have a value go to `constants`.
fn plain(text: &str, constants: &mut Vec<String>) -> String {
    let (mut code, mut comment, mut only_cpp) = (String::new(), false, false);
    for line in text.lines().map(str::trim) {
        if comment || line.starts_with("/*") {
            comment = !line.ends_with("*/");
        } else if let Some(directive) = line.strip_prefix('#') {
            only_cpp = directive == "ifdef __cplusplus" || only_cpp && !directive.starts_with("endif");
            let mut words = directive.split(' ');
            if let (Some("define"), Some(name), Some(_)) = (words.next(), words.next(), words.next()) {
                constants.push(name.to_owned());
            }
        } else if !only_cpp {
            code.push_str(line.split("//").next().expect("something"));
            code.push(' ');
        }
    }
    code
}

/// Statements, each with single spaces.
fn statements(code: &str) -> Vec<String> {
    let (mut found, mut depth, mut statement) = (vec![], 0, String::new());
    for c in code.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ';' && depth == 0 {
            found.push(statement.split_whitespace().collect::<Vec<_>>().join(" "));
            statement.clear();
        } else {
            statement.push(c);
        }
    }
    assert!(statement.trim().is_empty(), "the header ends within a statement: {statement}");
    found
}

/// Parts between commas that stand outside all parentheses.
fn split_outside(list: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in list.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("never empty").push(c);
        }
    }
    parts.into_iter().map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
}

#[test]
fn the_header_is_read_whole() {
    let (text, header) = (source(HEADER), Header::of_project());
    let count = |start: &str| text.lines().filter(|l| l.starts_with(start)).count();
    assert_eq!(header.structs.len(), count("typedef struct "));
    // The guard has no value.
    assert_eq!(header.constants.len() + 1, count("#define "));
    let code = |l: &&str| l.ends_with(");") && !l.starts_with("//") && !l.starts_with(" *");
    assert_eq!(header.functions.len(), text.lines().filter(code).count());
    let list = header.functions.iter().find(|f| f.name == "pgs_list").expect("pgs_list");
    assert_eq!(list.parameters.len(), 5, "{:?}", list.parameters);
    assert_eq!(type_of("const struct pgs_options *options"), "const struct pgs_options *");
    assert_eq!(type_of("uint64_t reserved[4]"), "uint64_t[4]");
}
