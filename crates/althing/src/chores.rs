//! What commands do with the store, in the running server or in their own process: see [`Chore`].

use std::path::Path;

use accounts::{Cost, Hasher};
use base::Reply;
use protocol::appservice::Appservices;
use store::Store;

use crate::{
    backup,
    config::{Config, Engine},
    control::{self, Chore, Outcome, Password},
    data_dir::DataDir,
    explain,
    failure::Failure,
    moderation, open,
};

/// Has a chore done: by the running server if there is one, else here.
pub(crate) fn carry_out(config: &Config, chore: Chore) -> Result<String, Failure> {
    let data = DataDir::open(&config.top.data_dir.0)?;
    // A database serves several processes at once; the embedded store belongs to the one that has it open.
    let answer = match config.store.engine {
        Engine::Embedded => {
            let socket = data.control_socket();
            control::ask(&socket, &chore).map_err(|e| Failure::at(&socket, e))?
        }
        Engine::Postgres => None,
    };
    if let Some(outcome) = answer {
        return outcome.map_err(Failure::Runtime);
    }
    let store = open::store(config, &data, &Appservices::default())?;
    let hasher = Hasher::start(Cost::OWASP)?;
    let outcome = perform(&store, &data, &hasher, chore);
    store.close();
    outcome.map_err(Failure::Runtime)
}

/// Does a chore. Blocks.
pub(crate) fn perform(store: &Store, data: &DataDir, hasher: &Hasher, chore: Chore) -> Outcome {
    let outcome = match chore {
        Chore::CreateUser { name, password, admin } => {
            create_account(store, hasher, &name, &password, admin).map_err(Failure::from)
        }
        Chore::Explain { event } => explain::text(store, &event).map_err(Failure::from),
        Chore::Restrain { name, suspended, locked } => {
            moderation::restrain(store, &name, suspended, locked).map_err(Failure::from)
        }
        Chore::CreateToken { token, uses, days } => {
            moderation::create_token(store, token, uses, days).map_err(Failure::from)
        }
        Chore::ListTokens => moderation::list_tokens(store).map_err(Failure::from),
        Chore::RevokeToken { token } => {
            moderation::revoke_token(store, token).map_err(Failure::from)
        }
        Chore::ListReports { before, limit } => {
            moderation::list_reports(store, before.as_deref(), limit).map_err(Failure::from)
        }
        Chore::Notify { to, text } => moderation::notify(store, to, text).map_err(Failure::from),
        Chore::Backup { dir } => backup::write(store, data, &dir).map(|()| shown(&dir)),
    };
    outcome.map_err(|failure| match failure {
        Failure::Runtime(line) => line,
        Failure::Usage(lines) => lines.join("; "),
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Makes an account; gives its user id. The only place where this program does.
fn create_account(
    store: &Store,
    hasher: &Hasher,
    name: &str,
    password: &Password,
    admin: bool,
) -> Reply<String> {
    Ok(accounts::create(store, hasher, name, &password.0, admin)?.to_string())
}
