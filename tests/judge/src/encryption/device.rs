//! One device of one user: its login and its sync, and what it hears.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result};
use matrix_sdk::{
    Client,
    config::SyncSettings,
    encryption::{BackupDownloadStrategy, EncryptionSettings, verification::SasVerification},
    ruma::{
        OwnedEventId,
        events::room::{
            encrypted::OriginalSyncRoomEncryptedEvent, message::OriginalSyncRoomMessageEvent,
        },
    },
};
use matrix_sdk_ui::sync_service::{State, SyncService};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use crate::wait::{until, word};

const AGAIN: std::time::Duration = std::time::Duration::from_millis(250);

/// What came in live.
#[derive(Default)]
pub struct Heard {
    pub texts: HashMap<OwnedEventId, String>,
    pub failed: HashSet<OwnedEventId>,
}

/// A logged-in device; its stores are in memory, so it lives as long as the process.
pub struct Device {
    pub client: Client,
    pub heard: Arc<Mutex<Heard>>,
    pub verifications: Mutex<HashMap<String, SasVerification>>,
    syncing: Mutex<Option<JoinHandle<()>>>,
}

impl Device {
    pub async fn login(args: &Value) -> Result<(Self, Value)> {
        let client = Client::builder()
            .homeserver_url(word(args, "baseUrl")?)
            .with_encryption_settings(EncryptionSettings {
                auto_enable_cross_signing: false,
                backup_download_strategy: BackupDownloadStrategy::AfterDecryptionFailure,
                auto_enable_backups: false,
            })
            .build()
            .await?;
        let (user, password) = (word(args, "user")?, word(args, "password")?);
        let session = client.matrix_auth().login_username(user, password).send().await?;
        client.encryption().wait_for_e2ee_initialization_tasks().await;
        let told = json!({
            "user_id": session.user_id,
            "device_id": session.device_id,
            "access_token": session.access_token,
        });
        let device = Self {
            client,
            heard: Arc::default(),
            verifications: Mutex::default(),
            syncing: Mutex::default(),
        };
        Ok((device, told))
    }

    /// Begins to sync: as most clients do, or with `sliding` as Element X does.
    pub async fn start(&self, args: &Value) -> Result<Value> {
        self.listen();
        self.client.event_cache().subscribe()?;
        let client = self.client.clone();
        let task = if args.get("sliding").and_then(Value::as_bool).unwrap_or_default() {
            let service = SyncService::builder(client).with_offline_mode().build().await?;
            tokio::spawn(slide(service))
        } else {
            client.sync_once(SyncSettings::default()).await?;
            tokio::spawn(async move {
                loop {
                    // It ends with the first error, and goes on from where it was.
                    if let Err(error) = client.sync(SyncSettings::default()).await {
                        tracing::warn!("sync: {error}");
                    }
                    sleep(AGAIN).await;
                }
            })
        };
        self.syncing.lock().unwrap_or_else(|poison| poison.into_inner()).replace(task);
        Ok(true.into())
    }

    fn listen(&self) {
        let heard = self.heard.clone();
        self.client.add_event_handler(async move |event: OriginalSyncRoomMessageEvent| {
            let body = event.content.body().to_owned();
            heard
                .lock()
                .unwrap_or_else(|poison| poison.into_inner())
                .texts
                .insert(event.event_id, body);
        });
        let heard = self.heard.clone();
        self.client.add_event_handler(async move |event: OriginalSyncRoomEncryptedEvent| {
            heard.lock().unwrap_or_else(|poison| poison.into_inner()).failed.insert(event.event_id);
        });
    }

    pub async fn stop(&self) -> Result<Value> {
        if let Some(task) = self.syncing.lock().unwrap_or_else(|poison| poison.into_inner()).take()
        {
            task.abort();
        }
        Ok(true.into())
    }

    pub async fn logout(&self) -> Result<Value> {
        self.stop().await?;
        self.client.logout().await?;
        Ok(true.into())
    }

    pub async fn seen(&self) -> Result<Value> {
        let heard = self.heard.lock().unwrap_or_else(|poison| poison.into_inner());
        Ok(json!({ "decrypted": heard.texts.len(), "failedAtFirst": heard.failed.len() }))
    }

    /// A room as soon as this device knows of it.
    pub async fn room(&self, args: &Value) -> Result<matrix_sdk::Room> {
        let id = matrix_sdk::ruma::RoomId::parse(word(args, "roomId")?)?;
        until("the room", async || Ok(self.client.get_room(&id))).await.context(id)
    }
}

/// Keeps the service running, whatever befalls the server.
async fn slide(service: SyncService) {
    let mut states = service.state();
    service.start().await;
    while let Some(state) = states.next().await {
        if matches!(state, State::Error(_) | State::Terminated) {
            sleep(AGAIN).await;
            service.start().await;
        }
    }
}
