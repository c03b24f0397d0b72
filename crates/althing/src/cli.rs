//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Sources;

/// A Matrix homeserver.
#[derive(Debug, Parser)]
#[command(name = "althing", version, about, disable_help_subcommand = false)]
pub(crate) struct Cli {
    /// What to do; without a word, `serve`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) given: Given,
}

/// Where the configuration comes from; the same for every command.
#[derive(Args, Debug)]
pub(crate) struct Given {
    /// The configuration file. Without one: the embedded default, for trying things out.
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Sets an option, stronger than file and environment. May be given several times.
    #[arg(short = 'o', value_name = "SECTION.KEY=VALUE", global = true)]
    option: Vec<String>,
}

impl Given {
    /// With the environment of this process.
    pub(crate) fn sources(self) -> Sources {
        // A variable that is not text cannot be one of ours.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Sources {
            file: self.config,
            assignments: self.option,
            environment: std::env::vars_os().filter_map(text).collect(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server.
    Serve,
    /// Check the configuration and print the effective one, secrets masked.
    CheckConfig,
    /// Accounts. Works while the server runs, and while it does not.
    #[command(subcommand)]
    User(User),
    /// Write a copy of everything that this server keeps to a new folder. Works while it runs.
    Backup {
        /// The folder; it must not exist.
        dir: PathBuf,
    },
    /// Tell why an event is in its room, or why it should not be. Works while the server runs, and while it does not.
    Explain {
        /// The event's id, `$…`.
        event: String,
    },
    /// Rewrite the embedded store without its free space. The server must not run.
    Compact,
    /// Print the version.
    Version,
    /// Print a generated page of the handbook.
    #[command(hide = true)]
    Docs {
        /// Which one.
        page: Page,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Make an account.
    Create {
        /// The part of the user id before the colon.
        name: String,
        /// May it administer the server?
        #[arg(long)]
        admin: bool,
        /// Read the password from the first line of standard input. Otherwise one is made and printed.
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Page {
    /// `docs/configuration.md`
    Configuration,
    /// `docs/althing.example.toml`
    Example,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_may_be_given_before_or_behind_the_command() {
        for words in [
            ["althing", "--config", "a", "serve", "-o", "b=c"],
            ["althing", "-o", "b=c", "serve", "--config", "a"],
        ] {
            let sources = Cli::try_parse_from(words).unwrap().given.sources();
            assert_eq!(sources.file, Some(PathBuf::from("a")));
            assert_eq!(sources.assignments, ["b=c"]);
        }
    }

    #[test]
    fn bad_usage_ends_with_code_2() {
        assert_eq!(Cli::try_parse_from(["althing", "fly"]).unwrap_err().exit_code(), 2);
        assert_eq!(Cli::try_parse_from(["althing", "user", "create"]).unwrap_err().exit_code(), 2);
        assert_eq!(Cli::try_parse_from(["althing", "help"]).unwrap_err().exit_code(), 0);
    }
}
