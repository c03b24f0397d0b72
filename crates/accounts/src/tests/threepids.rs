//! Addresses, validations, login tokens and pushers, as time goes by.

use store::schema::{LOGIN_TOKENS, PUSH_CURSORS, Purpose, VALIDATIONS, VALIDATIONS_OF};

use super::*;
use crate::{
    login_token,
    pusher::{self, Can, New as NewPusher, PUSHERS_MAX},
    threepid::{self, Begun, Request, Submitted},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn begin(house: &House, purpose: Purpose, secret: &str, attempt: u64) -> Reply<Begun> {
    let request = Request {
        purpose,
        address: "a@example.org".to_owned(),
        client_secret: secret.to_owned(),
        attempt,
        next_link: None,
    };
    house.write(move |tx| threepid::begin(tx, &request))
}

fn submit(house: &House, sid: &str, secret: &str, token: &str) -> Reply<Submitted> {
    let [sid, secret, token] = [sid, secret, token].map(str::to_owned);
    house.write(move |tx| threepid::submit(tx, &sid, &secret, &token))
}

fn code<T>(reply: Reply<T>) -> &'static str {
    match reply {
        Ok(_) => "",
        Err(Error::Refused(refusal)) => refusal.errcode,
        Err(fault) => panic!("{fault}"),
    }
}

#[test]
fn a_validation_ends_after_a_day_validated_or_not() {
    let house = House::new();
    let begun = begin(&house, Purpose::Add, "s", 1).unwrap();
    let token = begun.token.unwrap();
    house.wait(DAY_MS - 1);
    assert!(matches!(submit(&house, &begun.sid, "s", &token), Ok(Submitted::Good { .. })));
    let proven = |house: &House| house.read(|v| threepid::proven(v, &begun.sid, "s", Purpose::Add));
    assert_eq!(proven(&house).unwrap().address, "a@example.org");
    house.wait(1);
    assert_eq!(code(proven(&house)), "M_NO_VALID_SESSION");
    assert_eq!(code(submit(&house, &begun.sid, "s", &token)), "M_NO_VALID_SESSION");
    // It is swept by whoever comes next, who gets a new one.
    let next = begin(&house, Purpose::Add, "s", 1).unwrap();
    assert_ne!(next.sid, begun.sid);
    assert!(next.token.is_some());
    begin(&house, Purpose::Add, "other", 1).unwrap();
    let left = house.read(|v| v.everything(&VALIDATIONS, None, 10)).unwrap();
    assert!(left.iter().all(|((sid,), _)| *sid != begun.sid), "swept");
    let of = house.read(|v| v.everything(&VALIDATIONS_OF, None, 10)).unwrap();
    assert_eq!(of.len(), left.len());
}

#[test]
fn tokens_and_secrets_are_stored_as_hashes() {
    let house = House::new();
    let begun = begin(&house, Purpose::Add, "clientsecret", 1).unwrap();
    let rows = house.read(|v| v.everything(&VALIDATIONS, None, 10)).unwrap();
    let shown = format!("{rows:?}");
    assert!(!shown.contains("clientsecret") && !shown.contains(&begun.token.unwrap()));
}

#[test]
fn guessing_tokens_ends_the_validation() {
    let house = House::new();
    let begun = begin(&house, Purpose::Add, "s", 1).unwrap();
    for _ in 0..20 {
        assert_eq!(submit(&house, &begun.sid, "s", "guess").unwrap(), Submitted::Wrong);
    }
    let right = submit(&house, &begun.sid, "s", &begun.token.unwrap());
    assert_eq!(code(right), "M_NO_VALID_SESSION");
}

#[test]
fn counting_attempts_up_does_not_fill_a_mailbox() {
    let house = House::new();
    let letters =
        (1..100).filter(|n| begin(&house, Purpose::Add, "s", *n).is_ok_and(|b| b.token.is_some()));
    assert_eq!(letters.count(), 10);
    assert_eq!(code(begin(&house, Purpose::Add, "s", 100)), "M_LIMIT_EXCEEDED");
}

#[test]
fn a_login_token_ends_after_two_minutes_and_is_swept() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let token = house.write(move |tx| login_token::issue(tx, user)).unwrap();
    let redeem = |token: &str| {
        let token = token.to_owned();
        house.write(move |tx| login_token::redeem(tx, &token))
    };
    house.wait(119_999);
    assert_eq!(redeem(&token).unwrap(), user);
    assert_eq!(code(redeem(&token)), "M_FORBIDDEN");
    let late = house.write(move |tx| login_token::issue(tx, user)).unwrap();
    house.wait(120_000);
    assert_eq!(code(redeem(&late)), "M_FORBIDDEN");
    house.wait(1);
    house.write(move |tx| login_token::issue(tx, user)).unwrap();
    assert_eq!(house.read(|v| v.everything(&LOGIN_TOKENS, None, 10)).unwrap().len(), 1);
}

#[test]
fn a_token_of_someone_who_left_for_good_lets_nobody_in() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let token = house.write(move |tx| login_token::issue(tx, user)).unwrap();
    house.write(move |tx| account::deactivate(tx, user, false)).unwrap();
    assert_eq!(code(house.write(move |tx| login_token::redeem(tx, &token))), "M_FORBIDDEN");
}

fn set(house: &House, user: User, key: &str, enabled: bool) {
    let data = [("url".to_owned(), "https://p/_matrix/push/v1/notify".into())];
    let new = NewPusher {
        app_id: "app".to_owned(),
        pushkey: key.to_owned(),
        kind: pusher::HTTP.to_owned(),
        data: data.into_iter().collect(),
        enabled,
        ..NewPusher::default()
    };
    let can = Can { plain_http: false, mail: false };
    house.write(move |tx| pusher::set(tx, user, "D", new.clone(), false, can)).unwrap();
}

#[test]
fn an_app_that_makes_up_keys_ends_its_oldest_pusher() {
    let house = House::new();
    let (user, _) = house.register("alice");
    for n in 0..=PUSHERS_MAX {
        house.wait(1);
        set(&house, user, &format!("k{n}"), true);
    }
    let keys: Vec<_> = house.read(|v| pusher::list(v, user)).unwrap();
    assert_eq!(keys.len(), PUSHERS_MAX);
    assert!(keys.iter().all(|(_, pusher)| pusher.pushkey != "k0"));
}

#[test]
fn setting_the_same_pusher_again_writes_nothing_and_keeps_its_place() {
    let house = House::new();
    let (user, _) = house.register("alice");
    set(&house, user, "k", true);
    let cursor =
        |house: &House| house.read(|v| v.get(&PUSH_CURSORS, (user, pusher::name("app", "k"))));
    let (before, entries) = (cursor(&house).unwrap(), house.log().len());
    house.wait(1_000);
    set(&house, user, "k", true);
    assert_eq!(house.log().len(), entries);
    assert_eq!(cursor(&house).unwrap(), before);
    // Switched off and on, it begins where it is switched on.
    set(&house, user, "k", false);
    house.register("bob");
    set(&house, user, "k", true);
    assert!(cursor(&house).unwrap().unwrap().upto > before.unwrap().upto);
}
