//! How a command fails: the exit code and one line for the person.

use std::{fmt::Display, path::Path, process::ExitCode};

use crate::config::Problem;

/// Why a command did not do what it was asked.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// Bad usage or configuration; one line for each mistake. Exit code 2.
    Usage(Vec<String>),
    /// Something went wrong at run time. Exit code 1.
    Runtime(String),
}

impl Failure {
    /// A bad configuration.
    pub(crate) fn mistakes(problems: Vec<Problem>) -> Failure {
        Failure::Usage(problems.iter().map(Problem::to_string).collect())
    }

    /// Something went wrong with a file.
    pub(crate) fn at(path: &Path, error: impl Display) -> Failure {
        Failure::Runtime(format!("{}: {error}", path.display()))
    }

    /// Tells the person, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::Usage(lines) => {
                lines.iter().for_each(|line| eprintln!("althing: {line}"));
                ExitCode::from(2)
            }
            Failure::Runtime(line) => {
                eprintln!("althing: {line}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<base::Error> for Failure {
    fn from(error: base::Error) -> Self {
        match error {
            base::Error::Refused(refusal) => Failure::Runtime(refusal.message),
            base::Error::Fault(fault) => Failure::Runtime(fault.to_string()),
        }
    }
}
