//! Pages that follow from tables in the code. The program prints them; this puts them in their place. The catalogue of
//! keyspaces is written by the test that holds it against the golden bytes, and compared by it, too.

use super::{output, tree};

/// Write the pages, or only say which are out of date.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Write,
    Compare,
}

/// The page, and what `althing docs` calls it.
const PAGES: [(&str, &str); 2] =
    [("docs/configuration.md", "configuration"), ("docs/althing.example.toml", "example")];

pub(crate) fn run(mode: Mode) -> Result<(), String> {
    let mut stale = Vec::new();
    for (path, name) in PAGES {
        let run = ["run", "--quiet", "--package", "althing", "--", "docs", name];
        let page = output(env!("CARGO"), &run)?;
        let place = tree::root().join(path);
        if std::fs::read_to_string(&place).is_ok_and(|old| old == page) {
            continue;
        }
        match mode {
            Mode::Compare => stale.push(path),
            Mode::Write => {
                std::fs::write(&place, page).map_err(|e| format!("{path}: {e}"))?;
                eprintln!("wrote {path}");
            }
        }
    }
    if mode == Mode::Write {
        keyspaces()?;
    }
    match stale.is_empty() {
        true => Ok(()),
        false => Err(format!("out of date: {}; run `cargo xtask gen`", stale.join(", "))),
    }
}

/// Writes `docs/keyspaces.md`, and adds golden bytes for what is new.
fn keyspaces() -> Result<(), String> {
    let status = std::process::Command::new(env!("CARGO"))
        .args(["test", "--quiet", "--package", "store", "--lib", "golden"])
        .env("UPDATE", "1")
        .current_dir(tree::root())
        .status()
        .map_err(|e| format!("cargo cannot be started: {e}"))?;
    if status.success() { Ok(()) } else { Err("the golden test of the store failed".to_owned()) }
}
