//! The chores of the project: `cargo xtask tidy | gen [--check] | check`.
//!
//! What a machine can check, a machine checks, so that reviews are about the rest.
#![forbid(unsafe_code)]

mod generate;
mod layers;
mod source;
mod tidy;
mod tree;

use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask tidy            layers, sizes, names and words of the tree
       cargo xtask gen [--check]   write the generated pages, or only compare them
       cargo xtask check           format, clippy, tidy, gen --check, tests";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["gen"] => generate::run(generate::Mode::Write),
        ["gen", "--check"] => generate::run(generate::Mode::Compare),
        ["check"] => check(),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that must hold before a change is offered, the quickest first.
fn check() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    generate::run(generate::Mode::Compare)?;
    cargo(&["test", "--workspace", "--quiet"])
}

/// Runs cargo in the root of the tree, its output for the person to see.
fn cargo(arguments: &[&str]) -> Result<(), String> {
    eprintln!("cargo {}", arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(tree::root())
        .status()
        .map_err(|e| format!("cargo cannot be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

/// Runs a program in the root of the tree and gives what it prints.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let out = Command::new(program)
        .args(arguments)
        .current_dir(tree::root())
        .output()
        .map_err(|e| format!("{program} cannot be started: {e}"))?;
    if !out.status.success() {
        return Err(format!("{program} failed:\n{}", String::from_utf8_lossy(&out.stderr)));
    }
    String::from_utf8(out.stdout).map_err(|_| format!("{program} printed what is not text"))
}
