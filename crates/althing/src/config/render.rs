//! What follows from the table for people: the effective configuration, the handbook's page, the example file.

use std::fmt::Write as _;

use super::{
    Config,
    section::{Section, Setting},
    table::SECTIONS,
};

impl Config {
    /// The effective configuration as TOML, secrets masked. What is not set is a comment.
    pub(crate) fn effective(&self) -> String {
        let mut out = String::new();
        for (section, options) in self.sections() {
            let repeated = SECTIONS.iter().any(|s| s.key == section && s.repeated);
            match (section, repeated) {
                ("", _) => {}
                (_, true) => line(&mut out, &format!("\n[[{section}]]")),
                (_, false) => line(&mut out, &format!("\n[{section}]")),
            }
            for (key, value) in options {
                match value {
                    Some(value) => line(&mut out, &format!("{key} = {value}")),
                    None => line(&mut out, &format!("# {key} is not set")),
                }
            }
        }
        out
    }
}

/// Adds a line. (Writing into a string cannot fail.)
fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

const PAGE_HEAD: &str = "\
# Configuration

<!-- Generated from the table of options by `cargo xtask gen`. Change crates/althing/src/config/table.rs instead. -->

Althing reads a TOML file (`--config FILE`), then the environment, then `-o section.key=value`; each is stronger
than the one before. The environment variable of an option is `ALTHING__`, the section and the key in capitals,
with two underscores between them: `store.engine` is `ALTHING__STORE__ENGINE`. Options of a listener have its number:
`listeners.0.bind`, `ALTHING__LISTENERS__0__BIND`. Lists are written as in TOML, or with commas between the items.

Unknown keys are errors. Relative paths are relative to the configuration file, or to the current folder if there is
none. `althing check-config` reads everything, names each mistake on a line of its own, and prints the effective
configuration with secrets masked; its exit code is 2 if there was a mistake.
A whole file to begin with: [althing.example.toml](althing.example.toml).
";

/// `docs/configuration.md`.
pub(crate) fn page() -> String {
    let mut out = PAGE_HEAD.to_owned();
    for section in SECTIONS {
        let title = match (section.key, section.repeated) {
            ("", _) => "Before all sections".to_owned(),
            (key, true) => format!("`[[{key}]]`, any number of times"),
            (key, false) => format!("`[{key}]`"),
        };
        let doc = section.doc.trim();
        let _ = write!(
            out,
            "\n## {title}\n{doc}\n\n| key | default | expected | meaning |\n|---|---|---|---|\n"
        );
        for setting in section.options {
            line(&mut out, &row(setting));
        }
    }
    out
}

fn row(setting: &Setting) -> String {
    let default = match setting.default {
        Some(text) => format!("`{text}`"),
        None if setting.key == "server_name" || setting.key == "bind" => "required".to_owned(),
        None => "not set".to_owned(),
    };
    let secret = if setting.secret { " Secret: never shown." } else { "" };
    let (key, doc) = (setting.key, setting.doc.trim());
    let expected = (setting.expected)().replace('|', "\\|");
    format!("| `{key}` | {default} | {expected} | {doc}{secret} |")
}

const EXAMPLE_HEAD: &str = "\
# An example configuration of Althing: every option there is. What begins with \"# \" and a key is off or has its default.
# Generated from the table of options by `cargo xtask gen`.
";

/// `docs/althing.example.toml`. Options that a server wants to set are set, the others are comments.
pub(crate) fn example() -> String {
    let mut out = EXAMPLE_HEAD.to_owned();
    for section in SECTIONS {
        example_section(&mut out, section);
    }
    out
}

/// What the example sets: a small server behind a reverse proxy.
const SET: [&str; 4] = ["server_name", "data_dir", "bind", "base_url"];

fn example_section(out: &mut String, section: &Section) {
    out.push('\n');
    if !section.key.is_empty() {
        line(out, &format!("# {}", section.doc.trim()));
        line(
            out,
            &if section.repeated {
                format!("[[{}]]", section.key)
            } else {
                format!("[{}]", section.key)
            },
        );
    }
    for setting in section.options {
        for sentence in setting.doc.trim().split(". ") {
            line(out, &format!("#   {}.", sentence.trim_end_matches('.')));
        }
        let value = setting.example.or(setting.default).unwrap_or("\"\"");
        let mark = if SET.contains(&setting.key) { "" } else { "# " };
        line(out, &format!("{mark}{} = {value}", setting.key));
    }
}
