//! Where values come from: the file, then the environment, then `-o`, each stronger than the one before.
//!
//! All of them become one flat map from dotted keys (`store.engine`, `listeners.0.bind`) to a value and
//! where it was given. Sections then *take* their options out of it; what is left over is unknown.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::{Table, Value as Toml};

use super::{
    section::{Section, Setting},
    value::{MASK, Value, literal},
};

/// Environment variables that begin with this are configuration.
const ENV_PREFIX: &str = "ALTHING__";

/// More listeners than this are a mistake; a bound for keys such as `listeners.4000000000.bind`.
const LISTENERS_MAX: usize = 64;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// In the configuration file.
    File(PathBuf),
    /// In an environment variable of this name.
    Env(String),
    /// On the command line.
    Argument,
    /// Nowhere; the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Env(name) => write!(f, "environment variable {name}"),
            Origin::Argument => f.write_str("option -o"),
            Origin::Default => f.write_str("configuration"),
        }
    }
}

/// A mistake in the configuration: one line for the person who made it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem(pub(crate) String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that was given, until sections take it.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Every option there is.
    sections: &'static [Section],
    given: BTreeMap<String, (Toml, Origin)>,
    base: PathBuf,
    /// What to blame for an option that is missing.
    blame: Origin,
    problems: Vec<Problem>,
}

impl Reader {
    /// Begins with a file, or with none. Relative paths are relative to `base`.
    pub(crate) fn new(
        sections: &'static [Section],
        file: Option<(PathBuf, Table)>,
        base: &Path,
    ) -> Self {
        let blame = file.as_ref().map_or(Origin::Default, |(path, _)| Origin::File(path.clone()));
        let (given, problems) = (BTreeMap::new(), Vec::new());
        let base = base.to_owned();
        let mut reader = Reader { sections, given, base, blame: blame.clone(), problems };
        for (key, value) in file.map(|(_, table)| table).unwrap_or_default() {
            reader.flatten(key, value, &blame);
        }
        reader
    }

    /// Adds the variables of the environment that are ours.
    pub(crate) fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                let key = key.to_ascii_lowercase().replace("__", ".");
                self.text(&key, &text, &Origin::Env(name));
            }
        }
    }

    /// Adds what `-o` says.
    pub(crate) fn arguments(&mut self, assignments: &[String]) {
        for assignment in assignments {
            match assignment.split_once('=') {
                Some((key, text)) => self.text(key.trim(), text.trim(), &Origin::Argument),
                None => {
                    self.problem(format!("option -o: {assignment}: expected section.key=value"))
                }
            }
        }
    }

    /// A value that came as text replaces what is there, and everything below it.
    fn text(&mut self, key: &str, text: &str, origin: &Origin) {
        let value = match self.find(key) {
            Some(option) => (option.from_text)(text),
            None => literal(text).unwrap_or_else(|| Toml::String(text.to_owned())),
        };
        let below = format!("{key}.");
        self.given.retain(|k, _| k != key && !k.starts_with(&below));
        self.flatten(key.to_owned(), value, origin);
    }

    /// Tables and lists of tables become dotted keys.
    fn flatten(&mut self, key: String, value: Toml, origin: &Origin) {
        match value {
            Toml::Table(table) => {
                for (inner, value) in table {
                    self.flatten(format!("{key}.{inner}"), value, origin);
                }
            }
            Toml::Array(items) if !items.is_empty() && items.iter().all(Toml::is_table) => {
                for (index, item) in items.into_iter().enumerate() {
                    self.flatten(format!("{key}.{index}"), item, origin);
                }
            }
            leaf => {
                self.given.insert(key, (leaf, origin.clone()));
            }
        }
    }

    /// Takes one option out: what was given, or the default. `None`: a problem was noted.
    pub(crate) fn take<T: Value>(
        &mut self,
        prefix: &str,
        key: &str,
        default: Option<&str>,
    ) -> Option<T> {
        let key = format!("{prefix}{key}");
        if let Some((value, origin)) = self.given.remove(&key) {
            let read = T::read(&value, &self.base);
            if read.is_none() {
                self.refuse(&origin, &key, &value, &T::expected());
            }
            return read;
        }
        let unset = match default {
            Some(text) => literal(text).and_then(|value| T::read(&value, &self.base)),
            None => T::unset(),
        };
        if unset.is_none() {
            let blame = self.blame.clone();
            self.problem(format!("{blame}: {key} is missing: expected {}", T::expected()));
        }
        unset
    }

    /// Gives a value to an option that has none yet.
    pub(crate) fn fallback(&mut self, key: &str, value: Toml) {
        self.given.entry(key.to_owned()).or_insert((value, Origin::Default));
    }

    /// How many listeners there are: one more than the largest number among the keys.
    pub(crate) fn count(&mut self, section: &str) -> usize {
        let prefix = format!("{section}.");
        let numbers =
            self.given.keys().filter_map(|key| key.strip_prefix(&prefix)?.split('.').next());
        let count = numbers
            .filter_map(|n| n.parse::<usize>().ok())
            .max()
            .map_or(0, |n| n.saturating_add(1));
        count.min(LISTENERS_MAX)
    }

    /// Notes a mistake.
    pub(crate) fn problem(&mut self, line: String) {
        self.problems.push(Problem(line.replace('\n', " ")));
    }

    /// What is left over is unknown; gives all mistakes.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        for (key, (value, origin)) in std::mem::take(&mut self.given) {
            let expected = self.instead_of(&key);
            self.refuse(&origin, &key, &value, &expected);
        }
        self.problems
    }

    /// Notes a value that is not what was expected: masked if secret.
    fn refuse(&mut self, origin: &Origin, key: &str, value: &Toml, expected: &str) {
        let shown = match self.find(key) {
            Some(setting) if setting.secret => MASK.to_owned(),
            // Perhaps a secret under a misspelt key.
            None if value.is_str() => MASK.to_owned(),
            _ => value.to_string().replace('\n', " "),
        };
        let line = format!("{origin}: {key} = {shown}: expected {expected}");
        self.problems.push(Problem(line));
    }

    /// The option behind a dotted key.
    fn find(&self, key: &str) -> Option<&'static Setting> {
        self.sections.iter().find_map(|section| {
            let rest = match section.key {
                "" => key,
                name => key.strip_prefix(name)?.strip_prefix('.')?,
            };
            let rest = match section.repeated {
                true => rest.split_once('.').filter(|(n, _)| n.parse::<usize>().is_ok())?.1,
                false => rest,
            };
            section.options.iter().find(|option| option.key == rest)
        })
    }

    /// What may stand where an unknown key stands.
    fn instead_of(&self, key: &str) -> String {
        if let Some(section) = self.sections.iter().find(|s| !s.key.is_empty() && s.key == key) {
            return match section.repeated {
                true => format!("one or more [[{key}]]"),
                false => format!("a section [{key}]"),
            };
        }
        let first = key.split('.').next().unwrap_or(key);
        let section = self.sections.iter().find(|s| s.key == first && key.contains('.'));
        let keys: Vec<&str> = match section {
            Some(section) => section.options.iter().map(|o| o.key).collect(),
            None => {
                let top = self.sections.iter().filter(|s| s.key.is_empty());
                let options = top.flat_map(|s| s.options).map(|o| o.key);
                options
                    .chain(self.sections.iter().map(|s| s.key).filter(|k| !k.is_empty()))
                    .collect()
            }
        };
        let place = section.map(|s| format!(" in [{}]", s.key)).unwrap_or_default();
        format!("a key that exists{place} ({})", keys.join(", "))
    }
}
