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
#[derive(Args, Clone, Debug)]
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
    /// Registration tokens, besides the one of the configuration. Works while the server runs, and while it does not.
    #[command(subcommand)]
    Token(Token),
    /// What users have reported.
    #[command(subcommand)]
    Reports(Reports),
    /// Send a notice of the server to a user or to all. If the server does not run, it is sent when it does.
    Notice {
        /// A user id, or the part of it before the colon; with `--all`, the text.
        #[arg(value_name = "USER")]
        first: String,
        /// What it says.
        #[arg(value_name = "TEXT", required_unless_present = "all", conflicts_with = "all")]
        second: Option<String>,
        /// To everyone who has an account.
        #[arg(long)]
        all: bool,
    },
    /// Write a copy of everything that this server keeps to a new folder. Works while it runs.
    Backup {
        /// The folder; it must not exist.
        dir: PathBuf,
    },
    /// Prepare a store that was restored with the tools of the database or the file system, so that nothing happens twice.
    /// The server must not run. What `backup` wrote needs no such step.
    Restored,
    /// Tell why an event is in its room, or why it should not be. Works while the server runs, and while it does not.
    Explain {
        /// The event's id, `$…`.
        event: String,
    },
    /// The key by which other servers know this one.
    #[command(subcommand)]
    Key(Key),
    /// Find out why something does not work, and what helps. Works while the server runs, and while it does not.
    #[command(subcommand)]
    Doctor(Doctor),
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
    /// Let an account read, leave and log out, but not write.
    Suspend {
        /// A user id, or the part of it before the colon.
        name: String,
    },
    /// End a suspension.
    Unsuspend {
        /// A user id, or the part of it before the colon.
        name: String,
    },
    /// Let an account only log out.
    Lock {
        /// A user id, or the part of it before the colon.
        name: String,
    },
    /// End a lock.
    Unlock {
        /// A user id, or the part of it before the colon.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a registration token.
    Create {
        /// The token: 1 to 64 of A-Z, a-z, 0-9 and ._~-. Without one, one is made.
        token: Option<String>,
        /// How often it may be used; without, as often as wanted.
        #[arg(long, value_name = "N")]
        uses: Option<u64>,
        /// After how many days it ends; without, never.
        #[arg(long, value_name = "N")]
        days: Option<u64>,
    },
    /// List the registration tokens.
    List,
    /// End a registration token.
    Revoke {
        /// The token.
        token: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new signing key and retire the one used so far. The server must not run.
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Doctor {
    /// Find a server, connect to it, check its keys and have it check ours. With the name of this server: look at it from
    /// outside. Exit code 1 if something is wrong.
    Federation {
        /// The name of the server, the part behind the colon of its users' ids.
        server: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Reports {
    /// List the newest reports.
    List {
        /// Only those before this one, for the next page.
        #[arg(long, value_name = "REPORT")]
        before: Option<String>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
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
        for words in [["althing", "notice", "alice"], ["althing", "notice", "--all"]] {
            assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2);
        }
        assert_eq!(Cli::try_parse_from(["althing", "help"]).unwrap_err().exit_code(), 0);
    }
}
