//! Layers, sizes, names and words of the tree.

use super::{layers, output, source, tree};

/// A file one can still oversee. Tests apart.
const FILE_LINES_MAX: usize = 600;
/// A function one can see whole.
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing: what is called so becomes a drawer for everything.
const NAMES: [&str; 11] = [
    "service",
    "services",
    "manager",
    "managers",
    "helper",
    "helpers",
    "util",
    "utils",
    "common",
    "misc",
    "miscellaneous",
];

/// What must not be written anywhere (put together, so that this file may stand in the tree).
const WORDS: [&str; 8] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// Only in Rust: `expect` says why, and ends when the reason does.
const ALLOW: [&str; 2] = [concat!("#[al", "low("), concat!("#![al", "low(")];

/// Files that are text of ours, by the end of their name.
const TEXT: [&str; 11] =
    [".rs", ".toml", ".md", ".sh", ".py", ".js", ".mjs", ".json", ".yml", ".yaml", ".run"];

/// The one crate that may hold unsafe code.
const UNSAFE: &str = "crates/kv-lmdb/";

pub(crate) fn run() -> Result<(), String> {
    let metadata = output(env!("CARGO"), &["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata = serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut problems = layers::problems(&metadata);
    for path in tree::files()? {
        problems.extend(name_problems(&path));
        // Programs without an ending are text too: those under tools and .ci.
        let program = path.starts_with("tools/") || path.starts_with(".ci/");
        if program || TEXT.iter().any(|end| path.ends_with(end)) {
            let Ok(text) = std::fs::read_to_string(tree::root().join(&path)) else { continue };
            problems.extend(word_problems(&path, &text));
            if path.ends_with(".rs") {
                problems.extend(source_problems(&path, &text));
            }
        }
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(format!("{}\ntidy: {count} to mend", problems.join("\n"))),
    }
}

fn forbidden(name: &str) -> bool {
    source::words(name).iter().any(|word| NAMES.contains(&word.as_str()))
}

fn name_problems(path: &str) -> Vec<String> {
    let says_nothing = path.split('/').any(forbidden);
    says_nothing.then(|| format!("{path}: a name that says nothing")).into_iter().collect()
}

fn word_problems(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let found = WORDS.iter().find(|word| line.contains(**word));
        let allow = ALLOW.iter().find(|word| path.ends_with(".rs") && line.contains(**word));
        for word in found.into_iter().chain(allow) {
            problems.push(format!("{path}:{}: {word}", number + 1));
        }
    }
    problems
}

fn source_problems(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    if root && !path.starts_with(UNSAFE) && !text.contains("#![forbid(unsafe_code)]") {
        problems.push(format!("{path}: must say #![forbid(unsafe_code)]"));
    }
    let blanked = source::blank(text);
    for (line, name) in source::declared(&blanked) {
        if forbidden(&name) {
            problems.push(format!("{path}:{line}: {name}: a name that says nothing"));
        }
    }
    let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs");
    if is_test {
        return problems;
    }
    let lines = source::lines_before_tests(text);
    if lines > FILE_LINES_MAX {
        problems.push(format!("{path}: {lines} lines; at most {FILE_LINES_MAX}"));
    }
    for function in source::functions(&blanked) {
        if function.line <= lines && function.lines > FUNCTION_LINES_MAX {
            let source::Function { name, line, lines } = function;
            problems.push(format!(
                "{path}:{line}: fn {name}: {lines} lines; at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_found_in_paths_and_declarations() {
        assert_eq!(name_problems(&format!("crates/rooms/src/{}.rs", NAMES[6])).len(), 1);
        assert!(name_problems("crates/rooms/src/commonplace.rs").is_empty());
        let text = format!("struct Room{};", "Manager");
        assert_eq!(source_problems("crates/rooms/src/a.rs", &text).len(), 1);
    }

    #[test]
    fn unfinished_work_and_places_of_one_machine_are_found_everywhere() {
        for word in WORDS {
            assert_eq!(word_problems("docs/a.md", &format!("see {word} there")).len(), 1, "{word}");
        }
        assert_eq!(word_problems("a.rs", ALLOW[0]).len(), 1);
        assert!(word_problems("a.md", ALLOW[0]).is_empty());
    }

    #[test]
    fn long_files_and_functions_are_found_but_not_in_tests() {
        let long = format!("fn f() {{\n{}}}\n", "a;\n".repeat(FUNCTION_LINES_MAX));
        assert_eq!(source_problems("a.rs", &long).len(), 1);
        assert!(source_problems("tests/a.rs", &long).is_empty());
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(source_problems("a.rs", &in_tests).is_empty());
        assert_eq!(source_problems("a.rs", &"//\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn only_one_crate_may_hold_unsafe_code() {
        assert_eq!(source_problems("crates/store/src/lib.rs", "").len(), 1);
        assert!(source_problems("crates/kv-lmdb/src/lib.rs", "").is_empty());
        assert!(source_problems("crates/store/src/view.rs", "").is_empty());
    }
}
