//! `althing key`: the key by which other servers know this one.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::appservice::Appservices;

use crate::{
    config::{Config, Engine},
    data_dir::DataDir,
    failure::Failure,
    open,
};

/// Makes a new signing key and retires the one used so far.
pub(crate) fn rotate(config: &Config) -> Result<(), Failure> {
    let data = DataDir::open(&config.top.data_dir.0)?;
    // A server that runs would go on signing with the key that is retired. Who has the embedded store open is the only
    // one; a database has no such proof.
    let held = match config.store.engine {
        Engine::Embedded => Some(open::store(config, &data, &Appservices::default())?),
        Engine::Postgres => None,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let rotated = data.rotate_signing_key(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    if let Some(store) = held {
        store.close();
    }
    let (old, new) = rotated?;
    println!("{old} is retired, {new} is used from the next start on");
    if config.store.engine == Engine::Postgres {
        println!(
            "processes that run still sign with {old}: restart all of them now, with this data_dir"
        );
    }
    Ok(())
}
