//! Verification by emoji, from device to device or in a room.

use anyhow::{Context as _, Result, bail, ensure};
use matrix_sdk::{
    encryption::verification::{
        SasVerification, Verification, VerificationRequest, VerificationRequestState,
    },
    ruma::{OwnedDeviceId, OwnedUserId, UserId},
};
use serde_json::{Value, json};

use crate::{
    device::Device,
    wait::{until, word},
};

/// Asks; with `roomId` in the direct room with the user, which is to be that one, else from device to device.
pub async fn ask(device: &Device, args: &Value) -> Result<Value> {
    let encryption = device.client.encryption();
    let (user, other) =
        (UserId::parse(word(args, "user")?)?, OwnedDeviceId::from(word(args, "device")?));
    let identity = encryption.request_user_identity(&user).await?;
    let request = if let Some(room) = args.get("roomId").and_then(Value::as_str) {
        let request = identity.context("the user has no identity")?.request_verification().await?;
        ensure!(request.room_id().is_some_and(|used| used == room), "another direct room");
        request
    } else {
        let known = until("the device", async || {
            let found = encryption.get_device(&user, &other).await?;
            if found.is_none() {
                encryption.request_user_identity(&user).await?;
            }
            Ok(found)
        });
        known.await?.request_verification().await?
    };
    Ok(request.flow_id().into())
}

async fn request(device: &Device, args: &Value) -> Result<VerificationRequest> {
    let (user, flow): (OwnedUserId, _) = (UserId::parse(word(args, "user")?)?, word(args, "flow")?);
    let encryption = device.client.encryption();
    until("the request", async || Ok(encryption.get_verification_request(&user, flow).await)).await
}

pub async fn accept(device: &Device, args: &Value) -> Result<Value> {
    request(device, args).await?.accept().await?;
    Ok(true.into())
}

/// Who asked begins when the other is ready; both get to the emoji.
pub async fn emoji(device: &Device, args: &Value) -> Result<Value> {
    let request = request(device, args).await?;
    let sas = if args.get("begins").and_then(Value::as_bool).unwrap_or_default() {
        until("both ready", async || Ok(request.is_ready().then_some(()))).await?;
        request.start_sas().await?.context("no emoji")?
    } else {
        let started = until("a start", async || match request.state() {
            VerificationRequestState::Transitioned { verification: Verification::SasV1(sas) } => {
                Ok(Some(sas))
            }
            VerificationRequestState::Cancelled(why) => bail!("cancelled: {}", why.reason()),
            _ => Ok(None),
        });
        let sas = started.await?;
        sas.accept().await?;
        sas
    };
    let shown = until("the emoji", async || {
        going(&sas)?;
        Ok(sas.emoji())
    });
    let names: Vec<&str> = shown.await?.iter().map(|emoji| emoji.description).collect();
    device
        .verifications
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .insert(word(args, "flow")?.to_owned(), sas);
    Ok(names.into())
}

pub async fn confirm(device: &Device, args: &Value) -> Result<Value> {
    let sas = device
        .verifications
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .remove(word(args, "flow")?)
        .context("no such verification")?;
    sas.confirm().await?;
    until("the end of the verification", async || {
        going(&sas)?;
        Ok(sas.is_done().then_some(()))
    })
    .await?;
    Ok(true.into())
}

fn going(sas: &SasVerification) -> Result<()> {
    match sas.cancel_info() {
        Some(why) => bail!("cancelled: {}", why.reason()),
        None => Ok(()),
    }
}

pub async fn trust(device: &Device, args: &Value) -> Result<Value> {
    let encryption = device.client.encryption();
    let (user, other) =
        (UserId::parse(word(args, "user")?)?, OwnedDeviceId::from(word(args, "device")?));
    let identity = encryption.get_user_identity(&user).await?;
    let known = encryption.get_device(&user, &other).await?;
    Ok(json!({
        "user": identity.is_some_and(|identity| identity.is_verified()),
        "device": known.is_some_and(|known| known.is_verified_with_cross_signing()),
    }))
}
