//! Rooms and what is said in them.

use std::{collections::BTreeSet, time::Duration, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use matrix_sdk::{
    Room, RoomMemberships, RoomState,
    attachment::AttachmentConfig,
    deserialized_responses::{TimelineEvent, TimelineEventKind},
    media::{MediaFormat, MediaRequestParameters},
    room::MessagesOptions,
    ruma::{
        EventId, OwnedUserId, RoomId, ServerName, TransactionId, UserId,
        api::client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        events::{
            AnySyncTimelineEvent, InitialStateEvent,
            room::{
                MediaSource,
                encryption::RoomEncryptionEventContent,
                history_visibility::{HistoryVisibility, RoomHistoryVisibilityEventContent},
                message::{MessageType, RoomMessageEventContent},
            },
        },
        serde::{Base64, base64::Standard},
        uint,
    },
};
use mime::APPLICATION_OCTET_STREAM;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{
    device::Device,
    wait::{WAIT, insist, until, word},
};

/// How long the members that the SDK keeps are believed, if they are not those that are waited for.
const MEMBERS_AGAIN: Duration = Duration::from_secs(20);
/// So long what comes by sync is waited for, before the event itself is asked for.
const LIVE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(100);

/// An encrypted room with one other user; the SDK finds it again when it wants to verify them.
pub async fn direct(device: &Device, args: &Value) -> Result<Value> {
    let user = UserId::parse(word(args, "user")?)?;
    let room = device.client.create_dm(&user).await?;
    let found = until("the direct room", async || Ok(device.client.get_dm_room(&user)));
    ensure!(found.await?.room_id() == room.room_id(), "another direct room");
    Ok(room.room_id().as_str().into())
}

/// A private, encrypted room.
pub async fn create(device: &Device, args: &Value) -> Result<Value> {
    let mut request = CreateRoom::new();
    for user in args.get("invite").and_then(Value::as_array).into_iter().flatten() {
        request.invite.push(UserId::parse(user.as_str().context("a user")?)?);
    }
    let visibility =
        HistoryVisibility::from(args.get("visibility").and_then(Value::as_str).unwrap_or("shared"));
    request.preset = Some(RoomPreset::PrivateChat);
    request.initial_state = vec![
        InitialStateEvent::with_empty_state_key(
            RoomEncryptionEventContent::with_recommended_defaults(),
        )
        .to_raw_any(),
        InitialStateEvent::with_empty_state_key(RoomHistoryVisibilityEventContent::new(visibility))
            .to_raw_any(),
    ];
    Ok(device.client.create_room(request).await?.room_id().as_str().into())
}

pub async fn join(device: &Device, args: &Value) -> Result<Value> {
    let room = RoomId::parse(word(args, "roomId")?)?;
    let via: Vec<_> = args
        .get("via")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(ServerName::parse)
        .collect::<Result<_, _>>()?;
    // An invite that is accepted brings the history that came with it.
    match device.client.get_room(&room) {
        Some(known) if known.state() == RoomState::Invited => {
            insist(async || known.join().await).await?
        }
        _ => {
            let address = (&*room).into();
            insist(async || device.client.join_room_by_id_or_alias(address, &via).await).await?;
        }
    }
    Ok(true.into())
}

pub async fn invite(device: &Device, args: &Value) -> Result<Value> {
    let (room, user) = (device.room(args).await?, UserId::parse(word(args, "user")?)?);
    insist(async || room.invite_user_by_id(&user).await).await?;
    Ok(true.into())
}

pub async fn leave(device: &Device, args: &Value) -> Result<Value> {
    let room = device.room(args).await?;
    insist(async || room.leave().await).await?;
    Ok(true.into())
}

pub async fn wait_invite(device: &Device, args: &Value) -> Result<Value> {
    let room = device.room(args).await?;
    until("an invite", async || Ok((room.state() == RoomState::Invited).then_some(true.into())))
        .await
}

/// Until the SDK knows the room for encrypted, and its members for exactly these.
pub async fn wait_members(device: &Device, args: &Value) -> Result<Value> {
    let users = args.get("users").and_then(Value::as_array).context("no users")?;
    let wanted: BTreeSet<OwnedUserId> =
        users.iter().filter_map(Value::as_str).map(UserId::parse).collect::<Result<_, _>>()?;
    let room = device.room(args).await?;
    let there = async || -> Result<BTreeSet<OwnedUserId>> {
        let members = room.members(RoomMemberships::JOIN).await?;
        Ok(members.iter().map(|member| member.user_id().to_owned()).collect())
    };
    let what = format!("the members {wanted:?}");
    let begun = Instant::now();
    let seen = until(&what, async || {
        // An answer to `/members` that is overtaken by a sync is kept in spite of it (matrix-rust-sdk, issue 1205): ask once more.
        if begun.elapsed() > MEMBERS_AGAIN {
            room.mark_members_missing();
        }
        let ready = room.state() == RoomState::Joined
            && room.latest_encryption_state().await?.is_encrypted();
        Ok((ready && there().await? == wanted).then_some(true.into()))
    });
    match seen.await {
        Ok(seen) => Ok(seen),
        Err(error) => bail!("{error}; there are {:?} ({:?})", there().await?, room.state()),
    }
}

/// Sends until the server has it: the same transaction, however often.
pub async fn text(device: &Device, args: &Value) -> Result<Value> {
    let (room, body) = (device.room(args).await?, word(args, "body")?);
    let transaction = TransactionId::new();
    let sent = insist(async || {
        room.send(RoomMessageEventContent::text_plain(body))
            .with_transaction_id(transaction.clone())
            .await
    });
    Ok(sent.await?.response.event_id.as_str().into())
}

pub async fn attach(device: &Device, args: &Value) -> Result<Value> {
    let (room, name) = (device.room(args).await?, word(args, "name")?);
    let data = Base64::<Standard>::parse(word(args, "base64")?)?.into_inner();
    let transaction = TransactionId::new();
    let sent = insist(async || {
        let config = AttachmentConfig::new().txn_id(transaction.clone());
        room.send_attachment(name, &APPLICATION_OCTET_STREAM, data.clone(), config).await
    });
    Ok(sent.await?.event_id.as_str().into())
}

pub async fn fetch(device: &Device, args: &Value) -> Result<Value> {
    let (room, id) = (device.room(args).await?, EventId::parse(word(args, "event")?)?);
    let file = until("the attachment", async || {
        // It may not have come yet.
        let Ok(event) = room.event(&id, None).await else { return Ok(None) };
        Ok(message(&event)?.and_then(|content| match content.msgtype {
            MessageType::File(file) => Some(file),
            _ => None,
        }))
    })
    .await?;
    if !matches!(file.source, MediaSource::Encrypted(_)) {
        bail!("the attachment is not encrypted");
    }
    let request = MediaRequestParameters { source: file.source, format: MediaFormat::File };
    let data =
        insist(async || device.client.media().get_media_content(&request, false).await).await?;
    Ok(Base64::<Standard>::new(data).encode().into())
}

/// Until an event is there and readable; gives its text.
pub async fn wait_text(device: &Device, args: &Value) -> Result<Value> {
    let (room, id) = (device.room(args).await?, EventId::parse(word(args, "event")?)?);
    let began = Instant::now();
    let mut last = String::from("it did not come");
    while began.elapsed() < WAIT {
        let live = device
            .heard
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
            .texts
            .get(&id)
            .cloned();
        if let Some(body) = live {
            return Ok(body.into());
        }
        if began.elapsed() > LIVE {
            match room.event(&id, None).await {
                Ok(event) => match message(&event)? {
                    Some(content) => return Ok(content.body().into()),
                    None => last = format!("{:?}", why(&event)),
                },
                Err(error) => last = error.to_string(),
            }
        }
        sleep(AGAIN).await;
    }
    bail!("waited {WAIT:?} for the text of {id}: {last}")
}

/// The whole room as it is shown to who scrolls up: encrypted events only, with their text or why there is none.
pub async fn read(device: &Device, args: &Value) -> Result<Value> {
    let room = device.room(args).await?;
    let mut read = Map::new();
    let mut from = None;
    loop {
        let page = insist(async || page(&room, from.clone()).await).await?;
        for event in &page.chunk {
            if matches!(event.kind, TimelineEventKind::PlainText { .. }) {
                continue;
            }
            let id = event.event_id().context("an event without id")?;
            let body = message(event)?.map(|content| content.body().to_owned());
            let sender: Option<OwnedUserId> = event.raw().get_field("sender")?;
            read.insert(
                id.to_string(),
                json!({ "sender": sender, "body": body, "utd": why(event) }),
            );
        }
        match page.end {
            Some(end) => from = Some(end),
            None => return Ok(read.into()),
        }
    }
}

async fn page(room: &Room, from: Option<String>) -> matrix_sdk::Result<matrix_sdk::room::Messages> {
    let mut options = MessagesOptions::backward().from(from.as_deref());
    options.limit = uint!(100);
    room.messages(options).await
}

/// Why an event cannot be decrypted, if it cannot.
fn why(event: &TimelineEvent) -> Option<String> {
    match &event.kind {
        TimelineEventKind::UnableToDecrypt { utd_info, .. } => {
            Some(format!("{:?}", utd_info.reason))
        }
        _ => None,
    }
}

/// The message that an event is, if it is one and readable.
fn message(event: &TimelineEvent) -> Result<Option<RoomMessageEventContent>> {
    use matrix_sdk::ruma::events::{
        AnySyncMessageLikeEvent::RoomMessage, SyncMessageLikeEvent::Original,
    };
    Ok(match event.raw().deserialize()? {
        AnySyncTimelineEvent::MessageLike(RoomMessage(Original(message))) => Some(message.content),
        _ => None,
    })
}

/// Throws away the key that is in use, as an application does from time to time.
pub async fn rotate(device: &Device, args: &Value) -> Result<Value> {
    device.room(args).await?.discard_room_key().await?;
    Ok(true.into())
}
