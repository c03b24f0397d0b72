//! One row of every keyspace, or several where a value has several forms; every kind of log entry.

mod encryption;

use base::{Event, Room, Seq, UnixMs, User};

use super::{super::*, Sample, sample};
use crate::{
    log::Entry,
    state::{Node, NodeId, Root, Slot},
    value::Value,
};

const A: u64 = 0x0102_0304_0506_0708;
const B: u64 = 0x1112_1314_1516_1718;
const AT: UnixMs = UnixMs(1_700_000_000_123);

fn text(text: &str) -> String {
    text.to_owned()
}

fn node() -> NodeId {
    <NodeId as Value>::take(1, &[0xA1; 16]).unwrap()
}

fn root(byte: u8) -> Root {
    let mut payload = vec![1];
    payload.extend([byte; 16]);
    Root::take(1, &payload).unwrap()
}

/// Every row. Texts hold what keys must escape, numbers what is no palindrome.
pub(super) fn all() -> Vec<Sample> {
    [
        everything_else(),
        rooms(),
        events(),
        state(),
        memberships(),
        accounts(),
        tokens(),
        kept(),
        media(),
        authority(),
        pushers(),
        threepids(),
        appservices(),
        timed(),
        moderation(),
        federation(),
        destinations(),
        peers(),
        encryption::keys(),
        encryption::backups(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn everything_else() -> Vec<Sample> {
    vec![
        sample(&IDS, 1, (7,), A),
        sample(&CURSORS, 1, (text("search"),), Seq(A)),
        sample(&FACTS, 1, (text("a\0b"),), text("välue")),
    ]
}

fn authority() -> Vec<Sample> {
    let authority = Authority { auth: vec![Event(A), Event(B)], rank: 7, rejected: true };
    vec![
        sample(&AUTHORITIES, 1, (Event(A),), Authority::default()),
        sample(&AUTHORITIES, 2, (Event(B),), authority),
        sample(&CITATIONS, 1, (Event(A), Event(B)), Slot::of("m.room.member", "@a:x")),
    ]
}

fn rooms() -> Vec<Sample> {
    let (room, user) = (Room(A), User(B));
    let info = RoomInfo {
        id: text("!r:x"),
        version: text("12"),
        create: Event(3),
        federate: true,
        room_type: Some(text("m.space")),
        creators: vec![text("@a:x"), text("@b:x")],
    };
    let head = Head {
        extremities: vec![Event(5), Event(600)],
        depth: 70_000,
        state: root(0xB2),
        joined: 3,
        invited: 1,
    };
    let thread = Thread { count: 2, latest: Event(9), participants: vec![User(1), User(2)] };
    let receipt =
        Receipt { event: Event(9), event_id: text("$e"), order: Seq(10), at: AT, moved: Seq(300) };
    vec![
        sample(&ROOM_IDS, 1, (text("!r:x"),), room),
        sample(&ALIASES, 1, (text("#a:x"),), Alias { room, creator: user }),
        sample(&ROOMS, 1, (room,), info.clone()),
        sample(&ROOMS, 2, (room,), RoomInfo { room_type: None, federate: false, ..info }),
        sample(&HEADS, 1, (room,), head),
        sample(&HEADS, 2, (room,), Head::default()),
        sample(&THREADS, 1, (room, Event(3)), thread),
        sample(&RECEIPTS, 1, (room, user, text("$root"), 1), receipt.clone()),
        sample(&RECEIPTS, 2, (room, user, text(""), 0), receipt),
        sample(&ALIASES_OF, 1, (room, text("#a:x")), ()),
        sample(&PUBLISHED, 1, (room,), ()),
        sample(&ANNOTATIONS, 1, (Event(A), [0xC3; 16]), Event(B)),
        sample(&MEMBERS_IN_ORDER, 1, (room, 1, Event(B)), user),
    ]
}

fn events() -> Vec<Sample> {
    let row = EventRow {
        room: Room(A),
        sender: User(B),
        kind: text("m.room.member"),
        state_key: Some(text("@a:x")),
        sent_at: AT,
        depth: 12,
        before: root(0xB2),
        after: root(0xB3),
        relates: Some((Event(4), text("m.thread"))),
        replaces: Some(Event(5)),
        redacted_by: Some(Event(6)),
        joined: 1000,
        client: vec![1, 2, 3],
        rest: vec![4, 5],
    };
    let bare = EventRow {
        state_key: None,
        before: Root::default(),
        relates: None,
        replaces: None,
        redacted_by: None,
        ..row.clone()
    };
    let relation = Relation {
        child: Event(8),
        rel_type: text("m.annotation"),
        kind: text("m.reaction"),
        sender: User(B),
    };
    vec![
        sample(&EVENT_IDS, 1, (text("$e"),), Event(A)),
        sample(&EVENTS, 1, (Event(A),), row),
        sample(&EVENTS, 2, (Event(A),), bare),
        sample(&SENT, 1, (Event(A),), Sent { device: text("DEV"), txn_id: text("t1") }),
        sample(&ORDER, 1, (Event(A),), Seq(B)),
        sample(&ACTIVITY, 1, (Room(A), 1), Seq(B)),
        sample(&TIMELINE, 1, (Room(A), Seq(B)), Event(3)),
        sample(&BY_TIME, 1, (Room(A), AT, Event(B)), ()),
        sample(&RELATIONS, 1, (Event(A), Seq(B)), relation),
    ]
}

fn state() -> Vec<Sample> {
    let (a, b) = (Slot::of("m.room.member", "@a:x"), Slot::of("m.room.name", ""));
    let branch =
        Node::Branch { depth: 31, sample: a, children: vec![(4, node(), 2), (15, node(), 300)] };
    vec![
        sample(&STATE_NODES, 1, (node(),), Node::Leaf(vec![(a, Event(1)), (b, Event(300))])),
        sample(&STATE_NODES, 2, (node(),), branch),
    ]
}

fn memberships() -> Vec<Sample> {
    use Standing::*;
    let mut samples = Vec::new();
    for (n, standing) in [Join, Invite, Knock, Leave, Ban].into_iter().enumerate() {
        let member = Member { standing, event: Event(300) };
        samples.push(sample(&MEMBERS, n + 1, (Room(A), User(B)), member));
    }
    let membership = |standing, stripped: Option<&str>| Membership {
        standing,
        event: Event(300),
        sender: User(A),
        forgotten: standing == Leave,
        was_joined: standing != Invite,
        stripped: stripped.map(text),
    };
    samples.push(sample(&ROOMS_OF, 1, (User(A), Room(B)), membership(Invite, Some("[]"))));
    samples.push(sample(&ROOMS_OF, 2, (User(A), Room(B)), membership(Leave, None)));
    let unread = Unread {
        upto: Seq(B),
        rules: 7,
        read: Seq(A),
        read_main: Seq(B),
        read_threads: [(Event(A), Seq(B))].into(),
        main: (3, 1),
        threads: [(Event(A), (2, 0))].into(),
    };
    samples.push(sample(&UNREAD, 1, (User(A), Room(B)), unread));
    samples
}

fn accounts() -> Vec<Sample> {
    let account = Account {
        password: Some(text("$argon2id$v=19$x")),
        created: AT,
        admin: true,
        guest: false,
        deactivated: true,
        erased: false,
    };
    let none =
        Account { password: None, admin: false, guest: true, erased: true, ..account.clone() };
    let data = AccountData { content: text(r#"{"a":1}"#), changed: AT };
    let seen = Seen { at: AT, ip: text("192.0.2.1"), agent: text("A/1") };
    vec![
        sample(&USER_IDS, 1, (text("@a:x"),), User(A)),
        sample(&USERS, 1, (User(A),), text("@a:x")),
        sample(&ACCOUNTS, 1, (User(A),), account),
        sample(&ACCOUNTS, 2, (User(A),), none),
        sample(
            &DEVICES,
            1,
            (User(A), text("DEV")),
            Device { display_name: Some(text("phone")), created: AT },
        ),
        sample(&DEVICES, 2, (User(A), text("")), Device { display_name: None, created: AT }),
        sample(&SEEN, 1, (User(A), text("DEV")), seen),
        sample(&PROFILES, 1, (User(A), text("displayname")), text(r#""A""#)),
        sample(&ACCOUNT_DATA, 1, (User(A), Room(B), text("m.tag")), data.clone()),
        sample(&ACCOUNT_DATA, 2, (User(A), Room(0), text("m.direct")), data),
        sample(&FILTERS, 1, (User(A), B), text("{}")),
    ]
}

fn tokens() -> Vec<Sample> {
    let (user, device) = (User(A), text("DEV"));
    let token =
        Token { user, device: device.clone(), expires: Some(AT), made_from: Some([0xD4; 32]) };
    let forever = Token { expires: None, made_from: None, ..token.clone() };
    let refresh = RefreshToken {
        user,
        device: device.clone(),
        access: [0xD5; 32],
        made_from: Some([0xD6; 32]),
        next: Some([0xD7; 32]),
        spent: true,
    };
    let first = RefreshToken { made_from: None, next: None, spent: false, ..refresh.clone() };
    vec![
        sample(&TOKENS, 1, (B, [0xE1; 24]), token),
        sample(&TOKENS, 2, (B, [0xE1; 24]), forever),
        sample(&REFRESH_TOKENS, 1, ([0xE2; 32],), refresh),
        sample(&REFRESH_TOKENS, 2, ([0xE2; 32],), first),
        sample(&TOKENS_OF, 1, (user, device, [0xE3; 32]), vec![1]),
        sample(&OPENID_TOKENS, 1, ([0xE4; 32],), OpenId { user, expires: AT }),
        sample(&PEOPLE, 1, ("alice".to_owned(), user), ()),
        sample(&PEOPLE_WORDS, 1, (user,), "alice smith".to_owned()),
        sample(&OPENID_TOKENS_OF, 1, (user, AT, [0xE5; 32]), ()),
    ]
}

fn kept() -> Vec<Sample> {
    let session = UiaSession {
        created: AT,
        request: [0xF1; 16],
        completed: vec![text("m.login.dummy")],
        registration_token: Some(text("t")),
    };
    let tokens = RegistrationToken { uses_allowed: Some(300), used: 2, expires: Some(AT) };
    let endless = RegistrationToken { uses_allowed: None, used: 0, expires: None };
    vec![
        sample(&TXNS, 1, (User(A), [0xF2; 16]), Done::Event(Event(300))),
        sample(&TXNS, 2, (User(A), [0xF2; 16]), Done::Nothing),
        sample(&UIA, 1, (text("session"),), session),
        sample(&REGISTRATION_TOKENS, 1, (text("token"),), tokens),
        sample(&REGISTRATION_TOKENS, 2, (text("token"),), endless),
        sample(&NONCES, 1, (text("nonce"),), AT),
        sample(&EXPIRIES, 1, (AT, 3, text("session")), ()),
    ]
}

fn pushers() -> Vec<Sample> {
    let pusher = Pusher {
        app_id: text("org.x"),
        pushkey: text("key"),
        kind: text("http"),
        app_display_name: text("App"),
        device_display_name: text("Phone"),
        profile_tag: Some(text("tag")),
        lang: text("en"),
        data: text("{}"),
        url: Some(text("https://p/_matrix/push/v1/notify")),
        enabled: true,
        device: text("DEV"),
        set: AT,
    };
    let cursor =
        PushCursor { upto: Seq(A), badge: 300, failing: Some(AT), mailed: Some(UnixMs(70_000)) };
    vec![
        sample(&PUSHERS, 1, (User(A), [0xD1; 16]), pusher),
        sample(&PUSH_CURSORS, 1, (User(A), [0xD1; 16]), cursor),
        sample(&PUSHERS_BY_KEY, 1, ([0xD1; 16], User(A)), ()),
    ]
}

fn threepids() -> Vec<Sample> {
    let (medium, address) = (text("email"), text("a@x.org"));
    let validation = Validation {
        purpose: Purpose::Password,
        medium: medium.clone(),
        address: address.clone(),
        client_secret: [0xD2; 32],
        token: [0xD3; 32],
        attempt: 300,
        next_link: Some(text("https://x.org")),
        wrong: 2,
        expires: AT,
        validated: Some(UnixMs(70_000)),
    };
    let proven =
        UiaThreepid { sid: text("sid"), address: address.clone(), validated: UnixMs(70_000) };
    let row = Threepid { validated: AT, added: UnixMs(70_000) };
    vec![
        sample(&THREEPIDS, 1, (User(A), medium.clone(), address.clone()), row),
        sample(&THREEPID_OWNERS, 1, (medium, address), User(B)),
        sample(&VALIDATIONS, 1, (text("sid"),), validation),
        sample(&VALIDATIONS_OF, 1, ([0xD4; 16],), text("sid")),
        sample(&UIA_THREEPIDS, 1, (text("session"),), proven),
        sample(&LOGIN_TOKENS, 1, ([0xD5; 32],), LoginToken { user: User(A), expires: AT }),
    ]
}

fn media() -> Vec<Sample> {
    let (origin, id) = (text("x"), text("m"));
    let media = Media {
        blob: Some([0xA9; 32]),
        size: 70_000,
        content_type: Some(text("image/png")),
        filename: Some(text("a.png")),
        uploader: Some(User(A)),
        created: AT,
    };
    let reserved = Media {
        blob: None,
        size: 0,
        content_type: None,
        filename: None,
        uploader: None,
        created: AT,
    };
    let thumbnail = Thumbnail { blob: [0xAA; 32], size: 300, content_type: text("image/jpeg") };
    vec![
        sample(&MEDIA, 1, (origin.clone(), id.clone()), media),
        sample(&MEDIA, 2, (origin.clone(), id.clone()), reserved),
        sample(&THUMBNAILS, 1, (origin, id.clone(), text("32x32-crop")), thumbnail),
        sample(&BLOBS, 1, ([0xAB; 32],), A),
        sample(&PENDING_UPLOADS, 1, (User(A), id), AT),
    ]
}

fn timed() -> Vec<Sample> {
    let id = text("delay-1");
    let scheduled = Delayed {
        user: User(A),
        room: Room(B),
        kind: text("m.call.member"),
        state_key: Some(text("@a:x")),
        content: text("{}"),
        sticky_ms: Some(300_000),
        delay_ms: 10_000,
        since: AT,
        txn: Some([0xD1; 16]),
        finalised: None,
    };
    let with = |outcome, by_delay| {
        let finalised = Some(Finalised { at: UnixMs(300), outcome, by_delay });
        Delayed { state_key: None, sticky_ms: None, txn: None, finalised, ..scheduled.clone() }
    };
    let failed = Outcome::Failed { errcode: text("M_FORBIDDEN"), error: text("no") };
    let subscription = ThreadSubscription {
        subscribed: true,
        automatic: false,
        unsubscribed_at: Seq(300),
        changed: Seq(A),
    };
    let event_key = (Room(A), [0xD3; 16], id.clone());
    vec![
        sample(&INBOX, 1, (User(A), text("DEV"), Seq(B)), text(r#"{"type":"m.dummy"}"#)),
        sample(&DELAYED, 1, (id.clone(),), scheduled.clone()),
        sample(&DELAYED, 2, (id.clone(),), with(Outcome::Sent(Event(A)), true)),
        sample(&DELAYED, 3, (id.clone(),), with(Outcome::Cancelled, false)),
        sample(&DELAYED, 4, (id.clone(),), with(failed, true)),
        sample(&DELAYED_DUE, 1, (AT, id.clone()), ()),
        sample(&DELAYED_OF, 1, (User(A), 1, AT, id.clone()), ()),
        sample(&DELAYED_TXNS, 1, (User(A), [0xD2; 16]), id.clone()),
        sample(&DELAYED_STATE, 1, event_key, ()),
        sample(&SENT_DELAYED, 1, (Event(A),), id),
        sample(&STICKY, 1, (Room(A), Seq(B)), Sticky { event: Event(300), until: AT }),
        sample(&THREAD_SUBSCRIPTIONS, 1, (User(A), Room(B), Event(300)), subscription),
        sample(
            &THREAD_SUBSCRIPTION_CHANGES,
            1,
            (User(A), Seq(B)),
            ThreadOf { room: Room(A), root: Event(300) },
        ),
    ]
}

fn appservices() -> Vec<Sample> {
    let sending = Sending { number: 300, upto: Seq(B), events: vec![Event(A), Event(3)] };
    let queue =
        Queue { stream: B, next: 301, upto: Seq(A), sending: Some(sending), holder: A, until: AT };
    vec![sample(&APPSERVICE_QUEUES, 1, (text("irc"),), queue), sample(&GHOSTS, 1, (User(A),), ())]
}

fn moderation() -> Vec<Sample> {
    let report = Report {
        reporter: User(A),
        room: Some(Room(B)),
        event: Some(text("$e")),
        user: Some(User(300)),
        reason: text("spam"),
    };
    let of_user =
        Report { room: None, event: None, user: None, reason: text(""), ..report.clone() };
    let notice = Notice { to: Some(User(A)), reached: None, text: text("hello") };
    let to_all = Notice { to: None, reached: Some(User(B)), ..notice.clone() };
    vec![
        sample(&RESTRAINTS, 1, (User(A),), Restraint { suspended: true, locked: false }),
        sample(&RESTRAINTS, 2, (User(A),), Restraint { suspended: false, locked: true }),
        sample(&NOTICE_ROOMS, 1, (User(A),), Room(B)),
        sample(&NETWORK_ROOMS, 1, (text("irc"), Room(A)), ()),
        sample(&REPORTS, 1, (AT, A), report),
        sample(&REPORTS, 2, (AT, A), of_user),
        sample(&NOTICES, 1, (A,), notice),
        sample(&NOTICES, 2, (A,), to_all),
        sample(&NOTICE_SENDER, 1, (0,), User(A)),
    ]
}

fn federation() -> Vec<Sample> {
    let server = || text("b.example");
    let turn = Turn { before: root(0xB1), after: root(0xB2) };
    let partial = Partial { join: Event(B), via: server(), servers: [server()].into() };
    let judged = |why| Judged { why, rule: text("5: not joined") };
    let staged = Staged { at: AT, pdu: text("{}") };
    let transaction = Transaction {
        id: text("t"),
        events: vec![(text("$e"), Some(text("no"))), (text("$f"), None)],
    };
    let received = Received { transactions: vec![transaction] };
    vec![
        sample(&SERVERS, 1, (Room(A), server()), B),
        sample(&TURNS, 1, (Room(A), Seq(B)), turn),
        sample(&GAPS, 1, (Room(A), text("$e")), Event(B)),
        sample(&PARTIAL, 1, (Room(A),), partial),
        sample(&COMPLETED, 1, (Room(A),), Seq(B)),
        sample(&ENTERED, 1, (Room(A),), Event(B)),
        sample(&ASIDE, 1, (Room(A), Event(B)), Event(A)),
        sample(&UNFINISHED, 1, (Room(A),), Unfinished { from: Event(A), to: Event(B) }),
        sample(&JUDGED, 1, (Event(A),), judged(Why::AuthEvents)),
        sample(&JUDGED, 2, (Event(A),), judged(Why::Policy)),
        sample(&STAGED, 1, (Room(A), server(), B), staged),
        sample(&REDACTIONS_TO_COME, 1, (Room(A), text("$e")), Event(B)),
        sample(&RECEIVED, 1, (server(),), received),
    ]
}

fn destinations() -> Vec<Sample> {
    let server = || text("b.example");
    let parcel = Parcel {
        number: 6,
        at: AT,
        upto: Seq(B),
        events: vec![Event(A), Event(300)],
        edus: vec![text("{}")],
        messages: vec![Seq(A)],
    };
    let sending = Destination {
        stream: A,
        next: 7,
        upto: Seq(A),
        sending: Some(parcel),
        failures: 3,
        retry: AT,
    };
    let idle = Destination { sending: None, ..sending.clone() };
    vec![
        sample(&DESTINATIONS, 1, (server(),), sending),
        sample(&DESTINATIONS, 2, (server(),), idle),
        sample(&OUTBOX, 1, (server(), Seq(B)), text("{}")),
        sample(&DEVICE_CHANGES, 1, (User(A), Seq(B)), text("DEV")),
        sample(&SPOKEN_FOR, 1, (Event(A),), ()),
        sample(&HEARD, 1, (server(), B), Heard { ids: vec![text("m1")] }),
        sample(&DAYS, 1, (20_000,), Seq(A)),
    ]
}

fn peers() -> Vec<Sample> {
    let key = |expired| ServerKey { public: [0xC3; 32], valid_until: AT, expired };
    let published = PublishedKeys {
        object: text(r#"{"server_name":"b.example"}"#),
        read_at: AT,
        valid_until: UnixMs(AT.0 + 86_400_000),
    };
    let id = || (text("b.example"), text("ed25519:k_1"));
    vec![
        sample(&SERVER_KEYS, 1, id(), key(None)),
        sample(&SERVER_KEYS, 2, id(), key(Some(UnixMs(B)))),
        sample(&PUBLISHED_KEYS, 1, (text("b.example"),), published),
    ]
}

/// Every kind of log entry.
pub(super) fn entries() -> Vec<(&'static str, Entry)> {
    let (room, event, user) = (Room(A), Event(B), User(300));
    let member = Entry::Event { room, event, sender: user, target: Some(User(4)), state: true };
    let message = Entry::Event { room, event, sender: user, target: None, state: false };
    let kind = text("m.tag");
    vec![
        ("event", message),
        ("event.2", member),
        ("redacted", Entry::Redacted { room, event }),
        ("receipt", Entry::Receipt { room, user, private: true }),
        ("account_data", Entry::AccountData { user, room: Some(room), kind: kind.clone() }),
        ("account_data.2", Entry::AccountData { user, room: None, kind }),
        ("profile", Entry::Profile { user, key: text("displayname") }),
        ("devices", Entry::Devices { user }),
        ("to_device", Entry::ToDevice { user, device: text("DEV") }),
        ("account", Entry::Account { user }),
        ("pushers", Entry::Pushers { user }),
        ("thread_subscription", Entry::ThreadSubscription { user, room, root: event }),
        ("guests", Entry::Guests { room }),
        ("directory", Entry::Directory { room }),
        ("notice", Entry::Notice { notice: A }),
        ("gone", Entry::DevicesGone { user, after: [0xC7; 16] }),
        ("forgotten", Entry::Forgotten { user, room }),
        ("state", Entry::State { room, target: None }),
        ("state.2", Entry::State { room, target: Some(user) }),
        ("outbound", Entry::Outbound { server: text("b.example") }),
        ("signed", Entry::Signed { by: user, of: User(300) }),
        ("shelf_gone", Entry::ShelfGone { user, shelf: A }),
        ("beside", Entry::Beside { room, event: Event(B), server: text("b.example") }),
    ]
}

/// BLAKE3 of the dictionary.
pub(super) const DICTIONARY_1: &str =
    "3f81a9d87b004c8d89e078f9cfc57be228e035332f644b006cca0541b5e0f6a4";

/// Stored bodies of events and what they hold: one as it is, one compressed with dictionary 1.
pub(super) const BODIES: [(&str, &str); 2] = [("007b7d", "{}"), (PACKED, BODY)];

const PACKED: &str = "\
    0128b52ffd20d4950300640577652073686f756c64206d65657420746f6d6f72726f776162636465666768696a\
    6b6c6d6e6f707172737475767778797a3332323930302c223a2240616c6963653a6578616d706c652e6f72676d\
    657373616765227d08002507272326bbd16f0aa47b35b02719d8d336e8769da20d10";

const BODY: &str = r#"{"content":{"body":"we should meet tomorrow","msgtype":"m.text"},"event_id":"$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrs","origin_server_ts":1732290000000,"sender":"@alice:example.org","type":"m.room.message"}"#;

/// Of states of 1, 32, 33 and 100 entries.
pub(super) const ROOTS: [&str; 4] = [
    "42fd641fabeb39174d77154f5c73d569",
    "d409eace8b6e79845491814bb735c3e2",
    "70801124a77d5301df33c85a3cf947e5",
    "87f9ddc12d3f1002e87b3521bcb134fa",
];
