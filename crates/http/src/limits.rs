//! Rate limits (spec: "Rate limiting"): a token bucket for each user, device or address and group of endpoints.
//!
//! A bucket is one number: the time at which it will be full again. Its memory is bounded: buckets that are full are
//! forgotten when room is needed, and under a flood of new names the oldest go with them.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    time::Instant,
};

use base::{Error, Reply, User};
use parking_lot::Mutex;

use crate::guests::endpoint;

/// Endpoints that share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// Sending events. Per user.
    Message,
    /// Logging in: attempts per address; failures per address and per account.
    Login,
    /// Accounts made. Per address.
    Registration,
    /// Asking whether a name or a registration token is good. Per address.
    Guess,
    /// Asking for letters. Per address.
    Letter,
    /// Making a place where two devices meet. Per address.
    Rendezvous,
    /// What asks an account's password again. Per user: a stolen token is no way to find the password out.
    Password,
    /// Joining and knocking. Per user.
    Join,
    /// Inviting. Per user.
    Invite,
    /// Per user.
    CreateRoom,
    /// Reserving and uploading media, and looking at links. Per user.
    Media,
    /// Device keys. Per user.
    Keys,
    /// Per user.
    Presence,
    /// Per user.
    Report,
    /// Everything else, per device; without a token, per address.
    Other,
}

/// What a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Count {
    Calls(Group),
    LoginFailures,
    Unproven,
    UnprovenPeers,
    RoomInvites,
}

/// How many at once, and how many milliseconds until one more.
struct Rate {
    burst: u64,
    every_ms: u64,
}

const fn rate(burst: u64, every_ms: u64) -> Rate {
    Rate { burst, every_ms }
}

impl Count {
    /// The values that are usual among homeservers; those without precedent bound what one client can cost.
    const fn rate(self) -> Rate {
        match self {
            // 0.2/s
            Count::Calls(Group::Message) => rate(10, 5_000),
            // Each attempt is an argon2 hash: one core does about fifty a second.
            Count::Calls(Group::Login) => rate(20, 1_000),
            // 0.003/s
            Count::LoginFailures => rate(5, 333_333),
            // 0.17/s
            Count::Calls(Group::Registration) => rate(3, 5_882),
            // 0.1/s
            Count::Calls(Group::Guess) => rate(5, 10_000),
            // Somebody who does not find a letter asks again; nobody else's mailbox is to be filled.
            Count::Calls(Group::Letter) => rate(5, 60_000),
            // One for each device that signs in; what is done there counts as other calls do.
            Count::Calls(Group::Rendezvous) => rate(10, 5_000),
            // A change takes two calls; nobody makes many.
            Count::Calls(Group::Password) => rate(10, 10_000),
            // 0.1/s
            Count::Calls(Group::Join) => rate(10, 10_000),
            // 0.3/s, for who invites and for the room
            Count::Calls(Group::Invite) | Count::RoomInvites => rate(10, 3_333),
            // 0.016/s
            Count::Calls(Group::CreateRoom) => rate(10, 62_500),
            // 10/s
            Count::Calls(Group::Media) => rate(50, 100),
            // 20/s
            Count::Calls(Group::Keys) => rate(100, 50),
            // 0.1/s, with room for a client that flaps
            Count::Calls(Group::Presence) => rate(10, 10_000),
            // 1/s
            Count::Calls(Group::Report) => rate(5, 1_000),
            // 50/s: a client that starts up asks for a few hundred things.
            Count::Calls(Group::Other) => rate(500, 20),
            // Many people share one address.
            Count::Unproven => rate(200, 50),
            // Each may make this server look for a key elsewhere.
            Count::UnprovenPeers => rate(100, 200),
        }
    }
}

/// Shards, so that threads rarely wait for each other.
const SHARDS: usize = 16;
/// Buckets in a shard: 16 × 8192 × 24 bytes ≈ 3 MiB in all.
const BUCKETS_MAX: usize = 8_192;

/// All buckets.
pub(crate) struct Limits {
    on: bool,
    began: Instant,
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, u64>>; SHARDS],
}

impl Limits {
    pub(crate) fn new(on: bool) -> Limits {
        Limits {
            on,
            began: Instant::now(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Before the caller is known: only what counts by address. `account`: whom a login names.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`.
    pub(crate) fn admit_address(
        &self,
        group: Group,
        ip: IpAddr,
        proven: bool,
        account: Option<&str>,
    ) -> Reply<()> {
        let ip = network(ip);
        match group {
            Group::Login => {
                self.check(Count::LoginFailures, ip, false)?;
                if let Some(account) = account {
                    self.check(Count::LoginFailures, account, false)?;
                }
                self.check(Count::Calls(Group::Login), ip, true)
            }
            Group::Registration => self.check(Count::Calls(Group::Registration), ip, false),
            Group::Guess | Group::Letter | Group::Rendezvous => {
                self.check(Count::Calls(group), ip, true)
            }
            _ if !proven => self.check(Count::Unproven, ip, true),
            _ => Ok(()),
        }
    }

    /// Before it is proven which server calls: from where many came that no server had signed, none is looked at.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`.
    pub(crate) fn admit_peer(&self, ip: IpAddr) -> Reply<()> {
        self.check(Count::UnprovenPeers, network(ip), false)
    }

    /// A request that no server had signed.
    pub(crate) fn learn_peer(&self, ip: IpAddr) {
        // It is refused already.
        let _ = self.check(Count::UnprovenPeers, network(ip), true);
    }

    /// When the caller is known.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`.
    pub(crate) fn admit_user(
        &self,
        group: Group,
        user: User,
        device: &str,
        room: Option<&str>,
    ) -> Reply<()> {
        match group {
            Group::Login
            | Group::Registration
            | Group::Guess
            | Group::Letter
            | Group::Rendezvous => Ok(()),
            Group::Other => self.check(Count::Calls(group), (user, device), true),
            Group::Invite => {
                if let Some(room) = room {
                    self.check(Count::RoomInvites, room, true)?;
                }
                self.check(Count::Calls(group), user, true)
            }
            _ => self.check(Count::Calls(group), user, true),
        }
    }

    /// What only the outcome tells: a login that failed, an account that was made.
    pub(crate) fn learn(&self, group: Group, status: u16, ip: IpAddr, account: Option<&str>) {
        let ip = network(ip);
        // What is over the limit already is refused next time.
        let _ = match (group, status) {
            (Group::Login, 403) => {
                let by_account = account.map(|a| self.check(Count::LoginFailures, a, true));
                self.check(Count::LoginFailures, ip, true).and(by_account.unwrap_or(Ok(())))
            }
            (Group::Registration, 200) => self.check(Count::Calls(Group::Registration), ip, true),
            _ => Ok(()),
        };
    }

    fn check(&self, count: Count, who: impl Hash, take: bool) -> Reply<()> {
        if !self.on {
            return Ok(());
        }
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.check_at(count, who, take, now_ms) {
            None => Ok(()),
            Some(wait_ms) => {
                let mut no = Error::refusal(429, "M_LIMIT_EXCEEDED", "too many requests");
                no.retry_after_ms = Some(wait_ms);
                Err(no.into())
            }
        }
    }

    /// `Some`: refused, for so many milliseconds.
    fn check_at(&self, count: Count, who: impl Hash, take: bool, now_ms: u64) -> Option<u64> {
        let Rate { burst, every_ms } = count.rate();
        let key = self.hasher.hash_one((count, who));
        let shard = self.shards.get(usize::try_from(key % SHARDS as u64).unwrap_or(0))?;
        let mut buckets = shard.lock();
        let full_at = buckets.get(&key).copied().unwrap_or(0).max(now_ms);
        let lacking_ms = full_at - now_ms;
        let allowed_ms = every_ms * (burst - 1);
        if lacking_ms > allowed_ms {
            return Some(lacking_ms - allowed_ms);
        }
        if take {
            if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
                make_room(&mut buckets, now_ms);
            }
            buckets.insert(key, full_at + every_ms);
        }
        None
    }
}

/// Forgets the full buckets, and if most are not, those that are full soonest.
fn make_room(buckets: &mut HashMap<u64, u64>, now_ms: u64) {
    buckets.retain(|_, full_at| *full_at > now_ms);
    if buckets.len() > BUCKETS_MAX / 2 {
        let mut times: Vec<u64> = buckets.values().copied().collect();
        let (_, median, _) = times.select_nth_unstable(buckets.len() / 2);
        let median = *median;
        buckets.retain(|_, full_at| *full_at > median);
    }
}

/// One household has a whole IPv6 /64.
pub(crate) fn network(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64,
    }
}

/// The group of an endpoint. `path` has its arguments as `{}`.
pub(crate) fn group(method: &str, path: &str) -> Group {
    let media = path.starts_with("/_matrix/media/") || path.contains("/media/");
    if media && method != "GET" {
        return Group::Media;
    }
    if method == "POST" && path.ends_with("/rendezvous") {
        return Group::Rendezvous;
    }
    match (method, endpoint(path).unwrap_or_default()) {
        (
            "PUT",
            "rooms/{}/send/{}/{}"
            | "rooms/{}/state/{}/{}"
            | "rooms/{}/redact/{}/{}"
            | "rooms/{}/delayed_event/{}/{}",
        ) => Group::Message,
        ("POST", "login" | "refresh") => Group::Login,
        ("POST", "register") => Group::Registration,
        ("GET", "register/available" | "register/m.login.registration_token/validity") => {
            Group::Guess
        }
        (
            "POST",
            "register/email/requestToken"
            | "account/password/email/requestToken"
            | "account/3pid/email/requestToken",
        ) => Group::Letter,
        ("POST", "auth/{}/fallback/web") => Group::Guess,
        (
            "POST",
            "login/get_token" | "account/3pid/add" | "account/password" | "account/deactivate"
            | "delete_devices",
        )
        | ("DELETE", "devices/{}") => Group::Password,
        ("POST", "join/{}" | "rooms/{}/join" | "knock/{}") => Group::Join,
        ("POST", "rooms/{}/invite") => Group::Invite,
        ("POST", "createRoom" | "rooms/{}/upgrade") => Group::CreateRoom,
        ("POST", "keys/upload" | "keys/query" | "keys/claim") => Group::Keys,
        ("PUT", "presence/{}/status") => Group::Presence,
        ("POST", "rooms/{}/report" | "rooms/{}/report/{}" | "users/{}/report") => Group::Report,
        _ => Group::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: Count = Count::Calls(Group::Message);

    #[test]
    fn a_burst_passes_and_then_one_per_interval() {
        let limits = Limits::new(true);
        for _ in 0..10 {
            assert_eq!(limits.check_at(MESSAGES, User(1), true, 1_000), None);
        }
        assert_eq!(limits.check_at(MESSAGES, User(1), true, 1_000), Some(5_000));
        assert_eq!(limits.check_at(MESSAGES, User(2), true, 1_000), None, "another user");
        assert_eq!(limits.check_at(MESSAGES, User(1), true, 5_999), Some(1));
        assert_eq!(limits.check_at(MESSAGES, User(1), true, 6_000), None);
        assert_eq!(limits.check_at(MESSAGES, User(1), true, 6_000), Some(5_000));
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let limits = Limits::new(true);
        let send = || limits.admit_user(Group::Message, User(1), "D", None);
        for _ in 0..10 {
            send().unwrap();
        }
        let Err(Error::Refused(no)) = send() else { panic!() };
        assert_eq!((no.status, no.errcode), (429, "M_LIMIT_EXCEEDED"));
        assert!(no.retry_after_ms.unwrap() > 0);
    }

    #[test]
    fn switched_off_nothing_is_refused() {
        let limits = Limits::new(false);
        for _ in 0..1_000 {
            limits.admit_user(Group::Message, User(1), "D", None).unwrap();
        }
    }

    #[test]
    fn failed_logins_count_for_the_account_from_any_address() {
        let limits = Limits::new(true);
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        for n in 0..5 {
            limits.admit_address(Group::Login, ip(n), false, Some("alice")).unwrap();
            limits.learn(Group::Login, 403, ip(n), Some("alice"));
        }
        assert!(limits.admit_address(Group::Login, ip(9), false, Some("alice")).is_err());
        assert!(limits.admit_address(Group::Login, ip(9), false, Some("bob")).is_ok());
    }

    #[test]
    fn successful_logins_do_not_lock_an_address_out() {
        let limits = Limits::new(true);
        let ip = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..10 {
            limits.admit_address(Group::Login, ip, false, Some("alice")).unwrap();
            limits.learn(Group::Login, 200, ip, Some("alice"));
        }
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let ip = |text: &str| network(text.parse().unwrap());
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }

    #[test]
    fn memory_stays_bounded_under_a_flood_of_names() {
        let limits = Limits::new(true);
        for user in 0..400_000 {
            limits.check_at(MESSAGES, User(user), true, 1_000);
        }
        for shard in &limits.shards {
            assert!(shard.lock().len() <= BUCKETS_MAX);
        }
    }

    #[test]
    fn endpoints_fall_into_their_groups() {
        let of = |method, path: &str| group(method, &format!("/_matrix/client/v3/{path}"));
        assert_eq!(of("PUT", "rooms/{}/send/{}/{}"), Group::Message);
        assert_eq!(of("GET", "login"), Group::Other);
        assert_eq!(of("POST", "login"), Group::Login);
        assert_eq!(of("DELETE", "devices/{}"), Group::Password);
        assert_eq!(of("GET", "devices/{}"), Group::Other);
        assert_eq!(of("POST", "account/password"), Group::Password);
        assert_eq!(group("POST", "/_matrix/media/v3/upload"), Group::Media);
        let meet = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous";
        assert_eq!(group("POST", meet), Group::Rendezvous);
        assert_eq!(group("PUT", &format!("{meet}/{{}}")), Group::Other);
        assert_eq!(group("GET", "/_matrix/client/v1/media/download/{}/{}"), Group::Other);
    }
}
