//! Just enough of Rust's surface to see where code, comments and texts begin and end, how long
//! functions are and what things are called.

/// The source with comments, texts and characters blanked out; lines stay where they are.
pub(crate) fn blank(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skip = token(rest, out.chars().next_back());
        let Some((skipped, after)) = rest.split_at_checked(skip) else { break };
        if skip == 0 {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        } else {
            out.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    out
}

/// The length in bytes of the comment, text or character that begins here; 0 if none does.
fn token(rest: &str, before: Option<char>) -> usize {
    let word_before = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment(rest)
    } else if rest.starts_with('"') {
        text(rest)
    } else if !word_before && (rest.starts_with('r') || rest.starts_with("br")) {
        raw_text(rest)
    } else if rest.starts_with('\'') {
        character(rest)
    } else {
        0
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(tail) = rest.get(at..).filter(|t| !t.is_empty()) {
        if tail.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if tail.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_text(rest: &str) -> usize {
    let after = rest.trim_start_matches('b').trim_start_matches('r');
    let hashes = after.len() - after.trim_start_matches('#').len();
    let start = rest.len() - after.len() + hashes;
    let Some(body) = rest.get(start..).and_then(|b| b.strip_prefix('"')) else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map_or(rest.len(), |at| start + 1 + at + end.len())
}

/// A character, but not a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let _escaped = chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// How many lines come before the tests that stand at the end of the file.
pub(crate) fn lines_before_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        matches!(pair, ["#[cfg(test)]", next] if next.starts_with("mod ") && next.ends_with('{'))
    });
    tests.unwrap_or(lines.len())
}

/// A function: its name, the line it begins at (from 1) and how many it has.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// All functions with a body in blanked source.
pub(crate) fn functions(blanked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("fn ") {
        let (head, tail) = blanked.split_at(at);
        let name: String =
            tail.chars().skip(3).take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() || head.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        if let Some(lines) = lines_of_body(tail) {
            let line = head.matches('\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Lines up to the brace that closes the body; `None` if there is no body.
fn lines_of_body(tail: &str) -> Option<usize> {
    let (mut depth, mut round, mut lines) = (0_usize, 0_usize, 1);
    for c in tail.chars() {
        match c {
            '\n' => lines += 1,
            '(' | '[' if depth == 0 => round += 1,
            ')' | ']' if depth == 0 => round = round.checked_sub(1)?,
            ';' if depth == 0 && round == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(lines);
                }
            }
            _ => {}
        }
    }
    None
}

/// What is declared: names of modules, types, traits, with the line (from 1).
pub(crate) fn declared(blanked: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in blanked.lines().enumerate() {
        let words: Vec<&str> = line
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|w| !w.is_empty())
            .collect();
        for pair in words.windows(2) {
            if let ["mod" | "struct" | "enum" | "trait" | "type" | "union", name] = pair {
                found.push((number + 1, (*name).to_owned()));
            }
        }
    }
    found
}

/// The words of a name in lower case: `FooBar`, `foo_bar` and `foo-bar` are `foo` and `bar`.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c.is_uppercase() || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_code_is_blanked() {
        let source = "a /* { /* */ } */ b // }\nc \"}\\\"}\" d r#\"}\"}\"# e '}' f '\\'' g 'x: &'y h br\"}\" i";
        let seen: Vec<String> = blank(source).split_whitespace().map(str::to_owned).collect();
        assert_eq!(seen, ["a", "b", "c", "d", "e", "f", "g", "'x:", "&'y", "h", "i"]);
        assert_eq!(blank(source).lines().count(), 2);
    }

    #[test]
    fn functions_are_as_long_as_from_fn_to_the_closing_brace() {
        let source =
            "trait T {\n fn without(a: [u8; 4]);\n fn with() {\n  if a { \"}\"; }\n }\n}\n";
        let with = Function { name: "with".to_owned(), line: 3, lines: 3 };
        assert_eq!(functions(&blank(source)), [with]);
    }

    #[test]
    fn tests_at_the_end_are_not_counted_and_tests_elsewhere_are() {
        assert_eq!(lines_before_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    }

    #[test]
    fn names_are_split_into_words() {
        assert_eq!(words("RoomKeeper"), ["room", "keeper"]);
        assert_eq!(words("room_keeper-x.rs"), ["room", "keeper", "x", "rs"]);
    }

    #[test]
    fn declarations_are_seen_and_uses_are_not() {
        let source = "pub(crate) struct A;\nuse b::C;\nmod d { enum E {} }\n";
        let names: Vec<_> = declared(source).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["A", "d", "E"]);
    }
}
