//! A user's identity (cross-signing), and its recovery: secret storage and the key backup.

use anyhow::{Context as _, Result};
use matrix_sdk::ruma::api::client::uiaa;
use serde_json::Value;

use crate::{device::Device, wait::word};

/// Makes the user's identity; the password only if the server asks for it.
pub async fn cross_sign(device: &Device, args: &Value) -> Result<Value> {
    let encryption = device.client.encryption();
    if let Err(error) = encryption.bootstrap_cross_signing(None).await {
        let asked = error.as_uiaa_response().with_context(|| format!("{error}"))?;
        let user = device.client.user_id().context("nobody")?;
        let mut password = uiaa::Password::new(
            uiaa::UserIdentifier::Matrix(uiaa::MatrixUserIdentifier::new(user.to_string())),
            word(args, "password")?.to_owned(),
        );
        password.session.clone_from(&asked.session);
        encryption.bootstrap_cross_signing(Some(uiaa::AuthData::Password(password))).await?;
    }
    let status = encryption.cross_signing_status().await;
    Ok(status.is_some_and(|status| status.is_complete()).into())
}

/// Sets up secret storage and backup, and waits until all keys are in it; gives the recovery key.
pub async fn enable(device: &Device) -> Result<Value> {
    let recovery = device.client.encryption().recovery();
    Ok(recovery.enable().wait_for_backups_to_upload().await?.into())
}

/// Gets secrets and backup by the recovery key, and with them this device is the user's.
pub async fn recover(device: &Device, args: &Value) -> Result<Value> {
    device.client.encryption().recovery().recover(word(args, "key")?).await?;
    Ok(Value::Null)
}
