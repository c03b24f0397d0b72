use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use store::schema::{NONCES, REGISTRATION_TOKENS, RegistrationToken};

use super::*;
use crate::registration::{self, Vouched};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn mac(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

#[test]
fn the_shared_secret_signs_every_field() {
    let house = House::new();
    let nonce = house.write(registration::nonce).unwrap();
    let check =
        |vouched: &Vouched<'_>| house.read(|v| registration::check_vouched(v, "s3cret", vouched));
    let good = mac("s3cret", &format!("{nonce}\0alice\0pw\0admin"));
    let vouched = Vouched {
        nonce: &nonce,
        username: "alice",
        password: "pw",
        admin: true,
        user_type: None,
        mac: &good,
    };
    check(&vouched).unwrap();
    let typed = mac("s3cret", &format!("{nonce}\0alice\0pw\0admin\0bot"));
    check(&Vouched { user_type: Some("bot"), mac: &typed, ..vouched.clone() }).unwrap();
    let wrong = [
        Vouched { username: "alicf", ..vouched.clone() },
        Vouched { password: "pv", ..vouched.clone() },
        Vouched { admin: false, ..vouched.clone() },
        Vouched { user_type: Some("bot"), ..vouched.clone() },
        Vouched { mac: "", ..vouched.clone() },
        Vouched { mac: "zz", ..vouched.clone() },
        Vouched { mac: &good[2..], ..vouched.clone() },
    ];
    for wrong in wrong {
        assert_eq!(code(check(&wrong)), "M_FORBIDDEN", "{wrong:?}");
    }
    let other = mac("secret", &format!("{nonce}\0alice\0pw\0admin"));
    assert_eq!(code(check(&Vouched { mac: &other, ..vouched })), "M_FORBIDDEN");
}

#[test]
fn a_nonce_is_good_once_and_for_a_minute() {
    let house = House::new();
    let use_up = |nonce: &str| {
        let nonce = nonce.to_owned();
        house.write(move |tx| registration::use_nonce(tx, &nonce))
    };
    let nonce = house.write(registration::nonce).unwrap();
    use_up(&nonce).unwrap();
    assert_eq!(refusal(use_up(&nonce)).status, 400);
    let late = house.write(registration::nonce).unwrap();
    house.wait(60 * 1_000);
    assert_eq!(refusal(use_up(&late)).status, 400);
    assert_eq!(refusal(use_up("made up")).status, 400);
}

#[test]
fn what_is_over_is_swept() {
    let house = House::new();
    for _ in 0..20 {
        house.write(registration::nonce).unwrap();
        house.wait(60 * 1_000 + 1);
    }
    let left = house.read(|view| Ok(view.everything(&NONCES, None, 100)?.len())).unwrap();
    assert_eq!(left, 1);
}

#[test]
fn registration_tokens_are_the_configured_one_or_a_stored_one_with_uses_left() {
    let house = House::new();
    let valid = |token: &str, configured: Option<&str>| {
        house.read(|view| registration::token_is_valid(view, token, configured)).unwrap()
    };
    assert!(valid("abc", Some("abc")));
    assert!(!valid("abd", Some("abc")) && !valid("", Some("abc")) && !valid("abc", None));
    let end = Some(UnixMs(house.clock.load(Ordering::Relaxed) + 10));
    let put = move |tx: &mut Tx| {
        let once = RegistrationToken { uses_allowed: Some(1), used: 0, expires: None };
        tx.put(&REGISTRATION_TOKENS, ("once".to_owned(),), &once);
        let soon = RegistrationToken { uses_allowed: None, used: 5, expires: end };
        tx.put(&REGISTRATION_TOKENS, ("soon".to_owned(),), &soon);
        Ok(())
    };
    house.write(put).unwrap();
    assert!(valid("once", None) && valid("soon", None));
    let use_once = || house.write(|tx| registration::use_token(tx, "once", None)).unwrap();
    assert!(use_once() && !use_once());
    assert!(!valid("once", None));
    house.wait(10);
    assert!(!valid("soon", None));
}

#[test]
fn administrators_make_list_and_revoke_registration_tokens() {
    let house = House::new();
    let make = |token: Option<&'static str>, uses| {
        house.write(move |tx| registration::create_token(tx, token, uses, None))
    };
    let made = make(None, Some(2)).unwrap();
    assert_eq!(make(Some("zz-own"), None).unwrap(), "zz-own");
    for bad in ["zz-own", "", "white space", "tööt"] {
        assert_eq!(code(make(Some(bad), None)), "M_INVALID_PARAM", "{bad}");
    }
    let valid =
        |token: &str| house.read(|view| registration::token_is_valid(view, token, None)).unwrap();
    assert!(valid(&made) && valid("zz-own"));
    let list = |after: Option<&str>| {
        let tokens = house.read(|view| registration::tokens(view, after, 10)).unwrap();
        tokens.into_iter().map(|issued| (issued.token, issued.row.uses_allowed)).collect::<Vec<_>>()
    };
    assert_eq!(list(None), [(made.clone(), Some(2)), ("zz-own".to_owned(), None)]);
    assert_eq!(list(Some(&made)), [("zz-own".to_owned(), None)]);
    house.write(|tx| registration::revoke_token(tx, "zz-own")).unwrap();
    assert!(!valid("zz-own"));
    assert_eq!(code(house.write(|tx| registration::revoke_token(tx, "zz-own"))), "M_NOT_FOUND");
}
