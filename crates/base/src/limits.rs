//! Every bound of the house, each with its reason. A bound that only one file needs may live there;
//! those that several crates share, and those that the spec fixes, live here.

/// An event in federation format, as canonical JSON, with signatures (spec, "Size limits").
pub const EVENT_BYTES_MAX: usize = 65_536;
/// `sender`, `room_id`, `event_id`, `state_key` and `type`, in bytes (spec, "Size limits").
pub const ID_BYTES_MAX: usize = 255;
/// `prev_events` of one event (PDU schema).
pub const PREV_EVENTS_MAX: usize = 20;
/// `auth_events` of one event (PDU schema).
pub const AUTH_EVENTS_MAX: usize = 10;
/// Largest integer in canonical JSON, 2^53 − 1.
pub const INT_MAX: i64 = 9_007_199_254_740_991;
/// A whole profile (spec v1.16, `M_PROFILE_TOO_LARGE`).
pub const PROFILE_BYTES_MAX: usize = 65_536;
/// One key of a profile (spec v1.16, `M_KEY_TOO_LARGE`).
pub const PROFILE_KEY_BYTES_MAX: usize = 255;
/// JSON request bodies: the largest event plus room for what a client wraps around it; createRoom
/// bodies are larger than an event, so several of them.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// JSON request bodies of other servers: a transaction has 50 events of the largest size (3 MiB) and 100 EDUs, for which
/// the spec has no bound.
pub const PEER_BODY_BYTES_MAX: usize = 10 << 20;
/// How deep JSON from outside may nest: serde_json's own bound, so that no parser of ours recurses further.
pub const JSON_DEPTH_MAX: usize = 127;
/// A long-poll is cut after this, whatever the client asks: proxies drop idle connections anyway.
pub const LONG_POLL_MS_MAX: u64 = 120_000;
/// Events in one page of /messages, /relations, /search: bounds memory per request.
pub const PAGE_EVENTS_MAX: usize = 1_000;
/// Events of one room in one /sync answer.
pub const SYNC_TIMELINE_MAX: usize = 100;
