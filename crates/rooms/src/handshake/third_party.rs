//! An invite by mail address becomes one of a user (`PUT /exchange_third_party_invite`; spec: Server-Server API,
//! "Third-party invites").

use base::{Error, Reply, Room};
use protocol::Pdu;
use ruma::{ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Tx, user};

use crate::{New, prepare};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Who invited.
    pub sender: ruma::OwnedUserId,
    /// Who is invited.
    pub invitee: ruma::OwnedUserId,
    /// The content of the invite.
    pub content: Box<RawValue>,
}

/// Is it an invite in exchange for one by mail address, of a user of this server, for one of the server that asks?
///
/// # Errors
/// 400 `M_INVALID_PARAM`; 403 `M_FORBIDDEN` for users of other servers.
pub fn check(exchange: &Exchange, server: &ServerName, origin: &ServerName) -> Reply<()> {
    #[derive(Deserialize)]
    struct Signed {
        mxid: ruma::OwnedUserId,
        #[serde(rename = "token")]
        _token: String,
    }
    #[derive(Deserialize)]
    struct ThirdParty {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Content {
        membership: String,
        third_party_invite: ThirdParty,
    }
    let form = |_| Error::invalid_param("not an invite in exchange for one by mail address");
    let content: Content = serde_json::from_str(exchange.content.get()).map_err(form)?;
    let invitee: &UserId = &exchange.invitee;
    if content.membership != "invite" || content.third_party_invite.signed.mxid != *invitee {
        return Err(Error::invalid_param("the signature is for somebody else"));
    }
    if exchange.sender.server_name() != server {
        return Err(Error::forbidden("The invite was not sent by a user of this server."));
    }
    if invitee.server_name() != origin {
        return Err(Error::forbidden("A server asks for its own users only."));
    }
    Ok(())
}

/// The invite, hashed, signed and allowed by the rules: they ask for the signature by a key of the first invite.
///
/// # Errors
/// 403 `M_FORBIDDEN` with the rule that forbids it.
pub fn issue(tx: &mut Tx, room: Room, exchange: &Exchange) -> Reply<Pdu> {
    let unknown = || Error::forbidden("There is no such user here.");
    let new = New {
        sender: user::find(tx, &exchange.sender)?.ok_or_else(unknown)?,
        kind: "m.room.member".to_owned(),
        state_key: Some(exchange.invitee.to_string()),
        content: exchange.content.clone(),
        redacts: None,
    };
    prepare(tx, room, new)
}
