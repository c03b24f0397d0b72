//! matrix-rust-sdk with its cryptography, unmodified: any number of devices in one process, behind lines of JSON.
//!
//! `{"id", "device", "verb", "args"}` in, `{"id", "result"}` or `{"id", "error"}` out, each when it is done.
//! `tests/js/encryption.mjs` speaks the same verbs.
#![forbid(unsafe_code)]
// The futures of the SDK nest deeply.
#![recursion_limit = "256"]

mod device;
mod recovery;
mod rooms;
mod verification;
mod wait;

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    sync::Mutex,
};
use tracing_subscriber::EnvFilter;

use crate::device::Device;

type Devices = Arc<Mutex<HashMap<String, Arc<Device>>>>;

#[derive(Deserialize)]
struct Line {
    id: u64,
    device: String,
    verb: String,
    #[serde(default)]
    args: Value,
}

#[tokio::main]
async fn main() -> Result<()> {
    let filter =
        EnvFilter::try_from_env("ALTHING_TEST_SDK_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let devices = Devices::default();
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let line: Line = serde_json::from_str(&line)?;
        let devices = devices.clone();
        tokio::spawn(async move {
            let id = line.id;
            // A line that is longer than a pipe takes at once is still written by one thread at a time: `println!` locks.
            match obey(&devices, line).await {
                Ok(result) => println!("{}", json!({ "id": id, "result": result })),
                Err(error) => println!("{}", json!({ "id": id, "error": format!("{error:#}") })),
            }
        });
    }
    // Whatever still runs ends with the process.
    std::process::exit(0);
}

async fn obey(devices: &Devices, line: Line) -> Result<Value> {
    let args = &line.args;
    if line.verb == "login" {
        let (device, session) = Device::login(args).await?;
        devices.lock().await.insert(line.device, Arc::new(device));
        return Ok(session);
    }
    let device = devices
        .lock()
        .await
        .get(&line.device)
        .cloned()
        .with_context(|| format!("who is {}?", line.device))?;
    let device = &*device;
    match line.verb.as_str() {
        "start" => device.start(args).await,
        "stop" => device.stop().await,
        "logout" => device.logout().await,
        "seen" => device.seen().await,
        "crossSign" => recovery::cross_sign(device, args).await,
        "enableRecovery" => recovery::enable(device).await,
        "recover" => recovery::recover(device, args).await,
        "askVerification" => verification::ask(device, args).await,
        "acceptVerification" => verification::accept(device, args).await,
        "emoji" => verification::emoji(device, args).await,
        "confirm" => verification::confirm(device, args).await,
        "trust" => verification::trust(device, args).await,
        "direct" => rooms::direct(device, args).await,
        "createRoom" => rooms::create(device, args).await,
        "join" => rooms::join(device, args).await,
        "invite" => rooms::invite(device, args).await,
        "leave" => rooms::leave(device, args).await,
        "waitInvite" => rooms::wait_invite(device, args).await,
        "waitMembers" => rooms::wait_members(device, args).await,
        "text" => rooms::text(device, args).await,
        "attach" => rooms::attach(device, args).await,
        "fetch" => rooms::fetch(device, args).await,
        "waitText" => rooms::wait_text(device, args).await,
        "read" => rooms::read(device, args).await,
        "rotate" => rooms::rotate(device, args).await,
        other => bail!("what is {other}?"),
    }
}
