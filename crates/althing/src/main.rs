//! Althing, a Matrix homeserver: the program. A guided tour:
//!
//! - [`cli`] says what can be asked for, [`config`] reads and checks what was decided (one table of options);
//! - [`serve`] is the server: it opens the [`data_dir`] and the store ([`open`]), starts the followers and the
//!   listeners, and waits for signals;
//! - [`doctor`] looks at another server as this one would, and [`key`] replaces the key by which others know this one;
//! - [`user`], [`moderation`], [`upkeep`] and [`explain`] are the other commands. They ask the running server over a private socket
//!   ([`control`]) or, where none runs, open the store themselves; both end in [`chores`].
//!
//! Nothing here knows Matrix: it wires the crates that do.
#![forbid(unsafe_code)]

mod backup;
mod chores;
mod cli;
mod config;
mod control;
mod data_dir;
mod doctor;
mod explain;
mod failure;
mod key;
mod logging;
mod moderation;
mod open;
mod outward;
mod registrations;
mod rim;
mod serve;
mod signals;
mod upkeep;
mod user;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command, Doctor, Key, Page, Reports, Token, User},
    config::Config,
    control::Chore,
    failure::Failure,
};

/// glibc keeps what password hashing took (19 MiB a time) in the arenas of its threads for good; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { command, given } = Cli::parse();
    let config = || Config::load(given.clone().sources()).map_err(Failure::mistakes);
    let result = match command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(given.sources()),
        Command::CheckConfig => config().and_then(|config| {
            registrations::load(&config)?;
            print!("{}", config.effective());
            Ok(())
        }),
        Command::User(User::Create { name, admin, password_stdin }) => {
            config().and_then(|config| user::create(&config, name, admin, password_stdin))
        }
        Command::User(User::Suspend { name }) => say(config, restraint(name, Some(true), None)),
        Command::User(User::Unsuspend { name }) => say(config, restraint(name, Some(false), None)),
        Command::User(User::Lock { name }) => say(config, restraint(name, None, Some(true))),
        Command::User(User::Unlock { name }) => say(config, restraint(name, None, Some(false))),
        Command::Token(Token::Create { token, uses, days }) => {
            say(config, Chore::CreateToken { token, uses, days })
        }
        Command::Token(Token::List) => say(config, Chore::ListTokens),
        Command::Token(Token::Revoke { token }) => say(config, Chore::RevokeToken { token }),
        Command::Reports(Reports::List { before, limit }) => {
            say(config, Chore::ListReports { before, limit })
        }
        Command::Notice { first, second, .. } => say(config, notice(first, second)),
        Command::Backup { dir } => config().and_then(|config| upkeep::backup(&config, &dir)),
        Command::Restored => config().and_then(|config| upkeep::restored(&config)),
        Command::Explain { event } => config().and_then(|config| explain::explain(&config, event)),
        Command::Key(Key::Rotate) => config().and_then(|config| key::rotate(&config)),
        Command::Doctor(Doctor::Federation { server }) => {
            config().and_then(|config| doctor::federation(&config, &server))
        }
        Command::Compact => config().and_then(|config| upkeep::compact(&config)),
        Command::Version => {
            println!("althing {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Command::Docs { page } => {
            print!("{}", page.render());
            Ok(())
        }
    };
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

/// Has a chore done and prints what came of it.
fn say(config: impl FnOnce() -> Result<Config, Failure>, chore: Chore) -> Result<(), Failure> {
    let answer = chores::carry_out(&config()?, chore)?;
    if !answer.is_empty() {
        println!("{answer}");
    }
    Ok(())
}

fn restraint(name: String, suspended: Option<bool>, locked: Option<bool>) -> Chore {
    Chore::Restrain { name, suspended, locked }
}

/// A user and a text, or a text for everyone.
fn notice(first: String, second: Option<String>) -> Chore {
    match second {
        Some(text) => Chore::Notify { to: Some(first), text },
        None => Chore::Notify { to: None, text: first },
    }
}

impl Page {
    fn render(self) -> String {
        match self {
            Page::Configuration => config::page(),
            Page::Example => config::example(),
        }
    }
}
