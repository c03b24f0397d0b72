use store::schema::{REFRESH_TOKENS, TOKENS, TOKENS_OF};

use super::*;
use crate::session::{ACCESS_TOKEN_MS, Pair, Refreshed};

fn refresh(house: &House, token: &str) -> Reply<Refreshed> {
    let token = token.to_owned();
    house.write(move |tx| session::refresh(tx, &token))
}

fn pair(house: &House, token: &str) -> Pair {
    match refresh(house, token).unwrap() {
        Refreshed::Pair(pair) => pair,
        Refreshed::Reused => panic!("counted as used before"),
    }
}

fn refresh_of(pair: &Pair) -> &str {
    pair.refresh.as_deref().unwrap()
}

#[test]
fn a_token_proves_its_user_and_device_and_no_other_text_does() {
    let house = House::new();
    let (user, id) = house.register("alice");
    let logged_in = house.log_in(user, Some("PHONE"), false);
    assert_eq!(logged_in.tokens.expires_in_ms, None);
    let session = house.prove(&logged_in.tokens.access).unwrap();
    assert_eq!((session.user, session.id, session.device.as_str()), (user, id, "PHONE"));
    assert!(!session.admin && !session.guest && !session.confirm);
    for bad in ["", "x", &logged_in.tokens.access[1..]] {
        let no = refusal(house.prove(bad));
        assert_eq!((no.status, no.errcode), (401, "M_UNKNOWN_TOKEN"));
        assert!(!no.extra.contains_key("soft_logout"));
    }
}

#[test]
fn the_store_never_holds_a_token_in_clear() {
    let engine = Arc::new(kv::Memory::default());
    let house = House::new();
    let store = Store::open(engine.clone(), {
        let key = Arc::new(protocol::SigningKey::generate([1; 32], "a").unwrap());
        Options::new(OwnedServerName::try_from("example.org").unwrap(), key)
    });
    let house = House { store: store.unwrap(), ..house };
    let (user, _) = house.register("alice");
    let tokens = house.log_in(user, None, true).tokens;
    let openid = house.write(move |tx| crate::openid::issue(tx, user)).unwrap();
    let snapshot = kv::Engine::snapshot(&*engine).unwrap();
    let mut rows = 0;
    for tree in 0..kv::Tree::COUNT {
        let all = snapshot
            .scan(kv::Tree(tree), &[0], &[0xFF; 16], kv::Direction::Forward, 10_000)
            .unwrap();
        for (key, value) in all {
            rows += 1;
            for secret in [&tokens.access, refresh_of(&tokens), &openid] {
                let held =
                    |bytes: &[u8]| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                assert!(!held(&key) && !held(&value), "a token in tree {tree}");
            }
        }
    }
    assert!(rows > 8, "only {rows} rows were looked at");
}

#[test]
fn a_logout_is_seen_by_the_next_request_though_the_token_is_cached() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let one = house.log_in(user, None, false);
    let other = house.log_in(user, None, false);
    house.prove(&one.tokens.access).unwrap();
    house.prove(&other.tokens.access).unwrap();
    let device = one.device.clone();
    house.write(move |tx| device::delete(tx, user, &[device.as_str()])).unwrap();
    assert_eq!(code(house.prove(&one.tokens.access)), "M_UNKNOWN_TOKEN");
    house.prove(&other.tokens.access).unwrap();
}

#[test]
fn an_expired_token_is_a_soft_logout() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let tokens = house.log_in(user, None, true).tokens;
    assert_eq!(tokens.expires_in_ms, Some(ACCESS_TOKEN_MS));
    house.wait(ACCESS_TOKEN_MS - 1);
    house.prove(&tokens.access).unwrap();
    house.wait(1);
    let no = refusal(house.prove(&tokens.access));
    assert_eq!((no.status, no.errcode), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(no.extra.get("soft_logout"), Some(&true.into()));
    // Its refresh token still works.
    house.use_token(&pair(&house, refresh_of(&tokens)).access).unwrap();
}

#[test]
fn the_old_pair_lives_until_the_new_access_token_is_used() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let first = house.log_in(user, Some("PHONE"), true).tokens;
    let second = pair(&house, refresh_of(&first));
    house.prove(&first.access).unwrap();
    let session = house.use_token(&second.access).unwrap();
    assert!(session.confirm);
    assert_eq!((session.user, session.device.as_str()), (user, "PHONE"));
    assert_eq!(code(house.prove(&first.access)), "M_UNKNOWN_TOKEN");
    assert!(!house.prove(&second.access).unwrap().confirm);
}

#[test]
fn the_old_pair_lives_until_the_new_refresh_token_is_used() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let first = house.log_in(user, None, true).tokens;
    let second = pair(&house, refresh_of(&first));
    let third = pair(&house, refresh_of(&second));
    assert_eq!(code(house.prove(&first.access)), "M_UNKNOWN_TOKEN");
    house.prove(&second.access).unwrap();
    house.use_token(&third.access).unwrap();
    assert_eq!(code(house.prove(&second.access)), "M_UNKNOWN_TOKEN");
}

#[test]
fn a_client_that_lost_the_answer_may_ask_again() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let first = house.log_in(user, None, true).tokens;
    let lost = pair(&house, refresh_of(&first));
    let second = pair(&house, refresh_of(&first));
    house.use_token(&second.access).unwrap();
    // The lost pair never reached anyone who may use it.
    assert_eq!(code(house.prove(&lost.access)), "M_UNKNOWN_TOKEN");
    assert_eq!(code(refresh(&house, refresh_of(&lost))), "M_UNKNOWN_TOKEN");
}

#[test]
fn a_refresh_token_that_comes_again_after_it_was_spent_ends_all_tokens_of_its_device() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let first = house.log_in(user, Some("PHONE"), true).tokens;
    let elsewhere = house.log_in(user, None, true).tokens;
    let second = pair(&house, refresh_of(&first));
    house.use_token(&second.access).unwrap();
    assert_eq!(refresh(&house, refresh_of(&first)).unwrap(), Refreshed::Reused);
    assert_eq!(code(house.prove(&second.access)), "M_UNKNOWN_TOKEN");
    assert_eq!(code(refresh(&house, refresh_of(&second))), "M_UNKNOWN_TOKEN");
    // The device itself, with its keys, and other devices stay.
    house.read(|view| device::get(view, user, "PHONE")).unwrap();
    house.prove(&elsewhere.access).unwrap();
    assert_eq!(refusal::<()>(Err(session::reused())).extra.get("soft_logout"), Some(&true.into()));
}

#[test]
fn rotation_leaves_a_bounded_number_of_rows() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let mut tokens = house.log_in(user, Some("PHONE"), true).tokens;
    for _ in 0..20 {
        tokens = pair(&house, refresh_of(&tokens));
        house.use_token(&tokens.access).unwrap();
    }
    let counts = house.read(|view| {
        let access = view.everything(&TOKENS, None, 100)?.len();
        let refresh = view.everything(&REFRESH_TOKENS, None, 100)?.len();
        Ok((access, refresh, view.everything(&TOKENS_OF, None, 100)?.len()))
    });
    // One access token, its refresh token, and the one spent before.
    assert_eq!(counts.unwrap(), (1, 2, 3));
}

#[test]
fn logging_in_with_a_device_again_ends_its_old_tokens() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let (other, _) = house.register("bob");
    let first = house.log_in(user, Some("PHONE"), true).tokens;
    let others = house.log_in(other, Some("PHONE"), false).tokens;
    let second = house.log_in(user, Some("PHONE"), false);
    assert_eq!(second.device, "PHONE");
    assert_eq!(code(house.prove(&first.access)), "M_UNKNOWN_TOKEN");
    assert_eq!(code(refresh(&house, refresh_of(&first))), "M_UNKNOWN_TOKEN");
    house.prove(&second.tokens.access).unwrap();
    house.prove(&others.access).unwrap();
}

#[test]
fn the_last_use_of_a_device_is_written_down_now_and_then() {
    let house = House::new();
    let (user, _) = house.register("alice");
    house.log_in(user, Some("PHONE"), false);
    let note = |ip: &'static str| {
        house.write(move |tx| session::note(tx, user, "PHONE", ip, "agent")).unwrap();
        house.read(|view| device::get(view, user, "PHONE")).unwrap().seen.unwrap()
    };
    let first = note("::1");
    assert_eq!((first.ip.as_str(), first.agent.as_str()), ("::1", "agent"));
    assert!(!house.read(|view| session::wants_note(view, user, "PHONE")).unwrap());
    assert_eq!(note("::2"), first);
    house.wait(5 * 60 * 1_000);
    assert_eq!(note("::2").ip, "::2");
    house.write(move |tx| device::delete(tx, user, &["PHONE"])).unwrap();
    house.write(move |tx| session::note(tx, user, "PHONE", "::3", "agent")).unwrap();
    let gone = house.read(|view| view.get(&store::schema::SEEN, (user, "PHONE".to_owned())));
    assert_eq!(gone.unwrap(), None);
}

fn restrain(house: &House, user: User, restraint: store::schema::Restraint) {
    let put = move |tx: &mut Tx| {
        tx.put(&store::schema::RESTRAINTS, (user,), &restraint);
        Ok(())
    };
    house.write(put).unwrap();
}

#[test]
fn who_is_locked_keeps_their_sessions_but_makes_no_new_ones() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let pair = house.log_in(user, None, true).tokens;
    assert!(!house.prove(&pair.access).unwrap().restraint.locked);
    restrain(&house, user, store::schema::Restraint { suspended: false, locked: true });
    assert!(house.prove(&pair.access).unwrap().restraint.locked, "told at once");
    let locked = refusal(house.write(move |tx| device::log_in(tx, user, &Login::default())));
    assert_eq!((locked.status, locked.errcode), (401, "M_USER_LOCKED"));
    let refresh = pair.refresh.unwrap();
    let again = refresh.clone();
    assert_eq!(
        code(house.write(move |tx| session::refresh(tx, &again).map(drop))),
        "M_USER_LOCKED"
    );
    restrain(&house, user, store::schema::Restraint::default());
    house.write(move |tx| session::refresh(tx, &refresh).map(drop)).unwrap();
}

#[test]
fn transaction_ids_end_with_their_device() {
    use store::schema::{Done, SENT, Sent, TXNS};
    let house = House::new();
    let (user, _) = house.register("alice");
    for device in ["A", "B"] {
        house.log_in(user, Some(device), false);
    }
    let put = move |tx: &mut Tx| {
        for n in 0..10 {
            let device = if n % 2 == 0 { "A" } else { "B" }.to_owned();
            tx.put(&TXNS, (user, [n + 1; 16]), &Done::Event(base::Event(u64::from(n))));
            tx.put(&SENT, (base::Event(u64::from(n)),), &Sent { device, txn_id: n.to_string() });
        }
        tx.put(&TXNS, (user, [20; 16]), &Done::Nothing);
        Ok(())
    };
    house.write(put).unwrap();
    let left = || {
        let txns = house.read(|view| Ok(view.everything(&TXNS, None, 100)?.len())).unwrap();
        (txns, house.read(|view| Ok(view.everything(&SENT, None, 100)?.len())).unwrap())
    };
    let sweep_all = || {
        let (mut after, mut steps) = (Some([0; 16]), 0);
        while let Some(from) = after {
            after = house.write(move |tx| device::sweep(tx, user, from, 4)).unwrap();
            steps += 1;
        }
        steps
    };
    let gone = || {
        let of = |e: &&Entry| matches!(e, Entry::DevicesGone { .. });
        house.log().iter().filter(of).count()
    };
    sweep_all();
    assert_eq!((left(), gone()), ((11, 10), 0));
    house.write(move |tx| device::delete(tx, user, &["A"])).unwrap();
    assert_eq!(gone(), 1);
    assert_eq!(sweep_all(), 3);
    assert_eq!(left(), (6, 5));
    house.write(move |tx| device::delete_all(tx, user)).unwrap();
    sweep_all();
    assert_eq!(left(), (0, 0));
}
