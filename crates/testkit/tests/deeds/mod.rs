//! Random histories, and how many of them a test goes through.

use proptest::prelude::*;
use testkit::{Op, Sent};

/// Users of the world.
pub(crate) const USERS: usize = 4;
/// Its rooms.
pub(crate) const ROOMS: usize = 3;

/// How many cases, unless `SYNC_ORACLE_CASES` says (mutation tests want fewer, a night wants more).
pub(crate) fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("SYNC_ORACLE_CASES").ok().and_then(|n| n.parse().ok());
    let failure_persistence = None;
    ProptestConfig { failure_persistence, ..ProptestConfig::with_cases(asked.unwrap_or(default)) }
}

/// Up to `most` deeds.
pub(crate) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 1..most)
}

fn op() -> impl Strategy<Value = Op> {
    let (u, r, n) = (|| 0..USERS, || 0..ROOMS, || 0..12usize);
    let sent = prop_oneof![
        4 => Just(Sent::Text),
        1 => u().prop_map(Sent::Mention),
        1 => Just(Sent::MentionRoom),
        3 => n().prop_map(Sent::Thread),
        1 => n().prop_map(Sent::Reaction),
        1 => n().prop_map(Sent::Edit),
        1 => n().prop_map(Sent::Reference),
    ];
    let speaking = prop_oneof![
        10 => (u(), r(), sent).prop_map(|(a, b, c)| Op::Send(a, b, c)),
        2 => (u(), r(), n()).prop_map(|(a, b, c)| Op::Redact(a, b, c)),
        4 => (u(), r(), n(), any::<bool>(), any::<bool>())
            .prop_map(|(a, b, c, d, e)| Op::Read(a, b, c, d, e)),
    ];
    let moving = prop_oneof![
        12 => (u(), r()).prop_map(|(a, b)| Op::Join(a, b)),
        4 => (u(), r()).prop_map(|(a, b)| Op::Leave(a, b)),
        5 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Invite(a, b, c)),
        2 => (u(), u(), r()).prop_map(|(a, b, c)| Op::Kick(a, b, c)),
        2 => (u(), u(), r(), any::<bool>()).prop_map(|(a, b, c, d)| Op::Ban(a, b, c, d)),
        1 => (u(), r()).prop_map(|(a, b)| Op::Forget(a, b)),
    ];
    let setting = prop_oneof![
        2 => (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::Topic(a, b, c)),
        1 => (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::History(a, b, c)),
        2 => (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::Name(a, b, c)),
    ];
    let keeping = prop_oneof![
        (u(), proptest::option::of(r()), any::<u8>()).prop_map(|(a, b, c)| Op::Data(a, b, c)),
        (u(), r(), any::<u8>()).prop_map(|(a, b, c)| Op::Tag(a, b, c)),
        (u(), u()).prop_map(|(a, b)| Op::Whisper(a, b)),
    ];
    let syncing = prop_oneof![
        5 => u().prop_map(Op::Sync),
        1 => u().prop_map(Op::Lost),
        1 => (u(), 1u8..12).prop_map(|(a, b)| Op::Fresh(a, b)),
    ];
    prop_oneof![16 => speaking, 13 => moving, 5 => setting, 3 => keeping, 6 => syncing]
}
