//! Opening what the configuration names: the engine, and the store on it. Only this file knows engines by name.

use std::sync::Arc;

use protocol::{
    SigningKey,
    appservice::Appservices,
    encryption::{Required, Requirement},
};
use ruma::ServerName;
use store::{Store, copied};

use crate::{
    config::{Config, Durability, Engine, RequiredIn},
    data_dir::DataDir,
    failure::Failure,
};

/// Where reading costs a trip over the network, threads mostly wait: so many more of them.
const TRIPS_PER_CORE: usize = 3;

/// The store of this server. Of an embedded one, only one process at a time can have it. `services`: those whose users may be
/// exempt from what is required of encryption; none where nobody speaks.
pub(crate) fn store(
    config: &Config,
    data: &DataDir,
    services: &Appservices,
) -> Result<Store, Failure> {
    let engine = engine(config, data)?;
    let key = Arc::new(data.signing_key()?);
    let mut options = store::Options::new(config.top.server_name.clone(), key);
    options.cache_bytes = config.store.cache.0;
    options.encryption = Arc::new(requirement(config, services));
    if config.store.engine == Engine::Postgres {
        options.threads *= TRIPS_PER_CORE;
    }
    let store = Store::open(engine, options)?;
    if copied::is_marked(&store)? {
        copied::settle(&store)?;
        tracing::info!("this store was restored from a backup: one-time keys are dropped");
    }
    Ok(store)
}

/// Marks the store of a backup as one, so that it knows when it is put in the place of the original.
pub(crate) fn mark_copy(name: &ServerName, copy: &DataDir) -> Result<(), Failure> {
    let options = kv_lmdb::Options::default();
    let engine =
        kv_lmdb::Lmdb::open(&copy.store(), options).map_err(|e| Failure::Runtime(e.to_string()))?;
    // Nothing is signed.
    let key = Arc::new(SigningKey::generate([0; 32], "none")?);
    let store = Store::open(Arc::new(engine), store::Options::new(name.to_owned(), key))?;
    let marked = copied::mark(&store);
    store.close();
    Ok(marked?)
}

/// What is required of encryption.
fn requirement(config: &Config, services: &Appservices) -> Requirement {
    let asked = &config.encryption;
    Requirement {
        rooms: match asked.require {
            RequiredIn::Off => Required::Off,
            RequiredIn::Private => Required::Private,
            RequiredIn::All => Required::All,
        },
        refuse_plaintext: asked.refuse_plaintext,
        exempt: if asked.exempt_appservices { services.clone() } else { Appservices::default() },
    }
}

fn engine(config: &Config, data: &DataDir) -> Result<Arc<dyn kv::Engine>, Failure> {
    let relaxed = config.store.durability == Durability::Relaxed;
    let fault = |e: kv::KvError| Failure::Runtime(e.to_string());
    Ok(match config.store.engine {
        Engine::Embedded => {
            let durability =
                if relaxed { kv_lmdb::Durability::Relaxed } else { kv_lmdb::Durability::Sync };
            let options = kv_lmdb::Options { durability, ..kv_lmdb::Options::default() };
            Arc::new(kv_lmdb::Lmdb::open(&data.store(), options).map_err(fault)?)
        }
        Engine::Postgres => {
            // The configuration was checked: there is an address.
            let url = config.store.url.as_ref().map_or("", |url| &url.0);
            let mut options = kv_postgres::Options { relaxed, ..kv_postgres::Options::default() };
            // A thread holds one connection at most; some more are for the committer and commands.
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            options.connections = options.connections.max(2 * cores * TRIPS_PER_CORE + 4);
            Arc::new(kv_postgres::Postgres::open(url, options).map_err(fault)?)
        }
    })
}

/// Rewrites the embedded store, which nobody may have open, without its free space: bytes before and after.
pub(crate) fn compact(data: &DataDir) -> Result<(u64, u64), Failure> {
    let done = kv_lmdb::Lmdb::compact(&data.store());
    let done = done.map_err(|e| Failure::Runtime(e.to_string()))?;
    Ok((done.before_bytes, done.after_bytes))
}
