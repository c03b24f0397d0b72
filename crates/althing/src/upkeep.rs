//! `althing backup`, `althing restored` and `althing compact`.

use std::path::Path;

use protocol::appservice::Appservices;

use crate::{
    chores,
    config::{Config, Engine},
    control::Chore,
    data_dir::DataDir,
    failure::Failure,
    open,
};

/// Writes a backup to a folder that does not exist yet.
pub(crate) fn backup(config: &Config, dir: &Path) -> Result<(), Failure> {
    // The running server has another current folder.
    let dir = std::path::absolute(dir).map_err(|e| Failure::at(dir, e))?;
    let written = chores::carry_out(config, Chore::Backup { dir })?;
    println!("backup written to {written}");
    Ok(())
}

/// Prepares a store that was restored by other means than a backup of this program.
pub(crate) fn restored(config: &Config) -> Result<(), Failure> {
    let data = DataDir::open(&config.top.data_dir.0)?;
    let store = open::store(config, &data, &Appservices::default())?;
    let settled = store::copied::settle(&store);
    store.close();
    settled?;
    println!("ready: one-time keys are dropped, and other servers will ask again for devices");
    Ok(())
}

/// Rewrites the embedded store without its free space.
pub(crate) fn compact(config: &Config) -> Result<(), Failure> {
    if config.store.engine == Engine::Postgres {
        let why = "compact is for the embedded store; PostgreSQL has VACUUM";
        return Err(Failure::Runtime(why.to_owned()));
    }
    let data = DataDir::open(&config.top.data_dir.0)?;
    let (before, after) = open::compact(&data)?;
    println!("compacted from {before} to {after} bytes");
    Ok(())
}
