//! Rust source, with code and comments apart, and the contents of strings blanked.

/// One line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Line {
    /// Code, with strings emptied.
    pub code: String,
    /// The text of its comments.
    pub comment: String,
}

/// What the current character is part of.
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

/// Splits a file.
pub fn lex(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        let rest = &chars[at..];
        if c == '\n' {
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("there is always a line");
        let (next, width) = step(state, rest, chars[..at].last().copied(), line);
        state = next;
        at += width;
    }
    lines
}

/// Takes one token's worth of characters.
fn step(state: State, rest: &[char], before: Option<char>, line: &mut Line) -> (State, usize) {
    let starts = |s: &str| s.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c));
    let c = rest[0];
    match state {
        State::Code if starts("//") => (State::LineComment, 2),
        State::Code if starts("/*") => (State::BlockComment(1), 2),
        State::Code if c == '"' => {
            line.code.push_str("\"\"");
            (State::Text, 1)
        }
        State::Code => match raw_string(rest, before) {
            Some(hashes) => {
                line.code.push_str("\"\"");
                (State::RawText(hashes), 2 + hashes)
            }
            None => {
                let width = character(rest);
                line.code.push(if width == 1 { c } else { ' ' });
                (State::Code, width)
            }
        },
        State::LineComment => {
            line.comment.push(c);
            (State::LineComment, 1)
        }
        State::BlockComment(depth) if starts("*/") => {
            (if depth == 1 { State::Code } else { State::BlockComment(depth - 1) }, 2)
        }
        State::BlockComment(depth) if starts("/*") => (State::BlockComment(depth + 1), 2),
        State::BlockComment(depth) => {
            line.comment.push(c);
            (State::BlockComment(depth), 1)
        }
        // An escaped line end must still end the line.
        State::Text if c == '\\' => (State::Text, if rest.get(1) == Some(&'\n') { 1 } else { 2 }),
        State::Text => (if c == '"' { State::Code } else { State::Text }, 1),
        State::RawText(hashes)
            if c == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes =>
        {
            (State::Code, 1 + hashes)
        }
        State::RawText(hashes) => (State::RawText(hashes), 1),
    }
}

/// The number of `#` if a raw string starts here.
fn raw_string(rest: &[char], before: Option<char>) -> Option<usize> {
    if rest[0] != 'r' || before.is_some_and(|c| c.is_alphanumeric() && c != 'b' && c != 'c' || c == '_') {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

/// How many characters a character literal takes; 1 for anything else, a lifetime too.
fn character(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', ..] => rest[2..].iter().skip(1).position(|c| *c == '\'').map_or(1, |n| n + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

#[test]
fn code_and_comments_are_told_apart() {
    let lines =
        lex("let a = \"// no\"; // yes\nlet b = '\"'; /* x\ny */ let c = r#\"unsafe\"#;\nfn f<'a>() {}");
    let code: Vec<_> = lines.iter().map(|l| l.code.trim()).collect();
    assert_eq!(code, ["let a = \"\";", "let b =  ;", "let c = \"\";", "fn f<'a>() {}"]);
    let comments: Vec<_> = lines.iter().map(|l| l.comment.trim()).collect();
    assert_eq!(comments, ["yes", "x", "y", ""]);
}

#[test]
fn an_escaped_quote_does_not_end_a_string_or_a_character() {
    assert_eq!(lex(r#"a("\"", '\'', '\n', '\u{1b}') // z"#)[0].comment, " z");
    assert_eq!(lex("\"a \\\n b\"; // c")[1].comment, " c");
}
