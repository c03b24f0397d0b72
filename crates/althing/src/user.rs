//! `althing user create`.

use std::io::BufRead as _;

use crate::{
    chores,
    config::Config,
    control::{Chore, Password},
    data_dir::random_name,
    failure::Failure,
};

/// 20 characters of 5 bits: nobody guesses it, and it can be read out over a telephone.
const PASSWORD_CHARACTERS: usize = 20;

/// Makes an account. The password is the first line of standard input, or a fresh one that is printed.
pub(crate) fn create(
    config: &Config,
    name: String,
    admin: bool,
    from_stdin: bool,
) -> Result<(), Failure> {
    let password = if from_stdin { read_password()? } else { random_name(PASSWORD_CHARACTERS) };
    let chore = Chore::CreateUser { name, password: Password(password.clone()), admin };
    let made = chores::carry_out(config, chore)?;
    println!("created {made}");
    if !from_stdin {
        println!("password {password}");
    }
    Ok(())
}

fn read_password() -> Result<String, Failure> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|e| Failure::Runtime(format!("standard input: {e}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    match password.is_empty() {
        true => Err(Failure::Usage(vec!["standard input: expected a password".to_owned()])),
        false => Ok(password.to_owned()),
    }
}
