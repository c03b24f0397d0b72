//! Samples of what end-to-end encryption keeps.

use base::{Room, User};

use super::{
    super::{super::*, Sample, sample},
    A, AT, B, text,
};

/// Keys of devices and users.
pub(super) fn keys() -> Vec<Sample> {
    let (id, json) = (|| text("AAAAHg"), || text(r#"{"key":"k"}"#));
    let (device, algorithm) = (|| text("DEV"), || text("signed_curve25519"));
    let fallback = FallbackKey { id: id(), json: json(), used: true };
    let one_time = OneTimeKey { id: id(), json: json() };
    let dehydrated = Dehydrated { device: device(), data: text(r#"{"algorithm":"a"}"#) };
    let list = RemoteList {
        version: Some(A),
        asked: 300,
        known: true,
        current: false,
        master: Some(text("{}")),
        self_signing: None,
    };
    vec![
        sample(&DEHYDRATED, 1, (User(A),), dehydrated),
        sample(&CLAIMED_KEYS, 1, (User(A), device(), B), ()),
        sample(&REMOTE_LISTS, 1, (User(A),), list),
        sample(&REMOTE_LISTS, 2, (User(B),), RemoteList::default()),
        sample(&REMOTE_DEVICES, 1, (User(A), device()), text("{}")),
        sample(&STALE_LISTS, 1, (text("b.example"), User(A)), Stale { failures: 3, retry: AT }),
        sample(&ABANDONED, 1, (Room(A),), ()),
        sample(&DEVICE_KEYS, 1, (User(A), device()), text("{}")),
        sample(&ONE_TIME_KEYS, 1, (User(A), device(), algorithm(), B), one_time),
        sample(&FALLBACK_KEYS, 1, (User(A), device(), algorithm()), fallback),
        sample(&CROSS_SIGNING_KEYS, 1, (User(A), 2), text("{}")),
        sample(&SIGNATURES, 1, (User(A), User(B), text("pub"), text("ed25519:usk")), text("sig")),
    ]
}

/// Backups of keys of rooms.
pub(super) fn backups() -> Vec<Sample> {
    let backup = Backup {
        algorithm: text("m.megolm_backup.v1.curve25519-aes-sha2"),
        auth_data: text(r#"{"public_key":"k"}"#),
        shelf: A,
        count: 300,
        etag: 7,
    };
    let key = BackedUpKey {
        is_verified: true,
        first_message_index: 300,
        forwarded_count: 2,
        json: text(r#"{"session_data":{}}"#),
    };
    vec![
        sample(&BACKUPS, 1, (User(A), B), backup),
        sample(&BACKUPS_MADE, 1, (User(A),), B),
        sample(&BACKED_UP_KEYS, 1, (User(A), B, text("!r:b.example"), text("sess")), key),
    ]
}
