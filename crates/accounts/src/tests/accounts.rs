use super::*;
use crate::{account_data, filter, openid, profile, push_rules};
use ruma::user_id;
use store::schema::{BACKUPS, Backup};

#[test]
fn user_names_follow_the_grammar_and_capitals_are_lowered() {
    let house = House::new();
    let available = |name: &str| house.read(|view| account::available(view, name));
    for good in ["alice", "a.b_c=d-e/f+g", "0", "x"] {
        assert_eq!(available(good).unwrap().localpart(), good);
    }
    assert_eq!(available("Alice").unwrap(), "@alice:example.org");
    let long = "a".repeat(255 - "@:example.org".len() + 1);
    for bad in ["", "al ice", "alice:x", "@alice", "älice", "a\0", "😀", "a'", long.as_str()] {
        assert_eq!(code(available(bad)), "M_INVALID_USERNAME", "{bad:?}");
    }
    available(&long[1..]).unwrap();
}

#[test]
fn a_name_is_given_once_and_stays_taken_after_deactivation() {
    let house = House::new();
    let (user, _) = house.register("alice");
    assert_eq!(code(house.read(|view| account::available(view, "ALICE"))), "M_USER_IN_USE");
    house.write(move |tx| account::deactivate(tx, user, true)).unwrap();
    assert_eq!(code(house.read(|view| account::available(view, "alice"))), "M_USER_IN_USE");
}

#[test]
fn whoever_asks_for_no_name_gets_one() {
    let house = House::new();
    for guest in [false, true] {
        let new = New { name: None, password: None, admin: false, guest, display_name: None };
        let (user, id) = house.write(move |tx| account::register(tx, &new)).unwrap();
        assert_eq!(id.localpart().starts_with("guest-"), guest);
        assert!(house.log().contains(&Entry::Account { user }));
        let token = house.log_in(user, None, false).tokens.access;
        assert_eq!(house.prove(&token).unwrap().guest, guest);
    }
}

#[test]
fn a_command_makes_accounts_that_can_log_in() {
    let house = House::new();
    let hasher = crate::Hasher::start(crate::Cost::CHEAP).unwrap();
    let id = crate::create(&house.store, &hasher, "Root", "secret", true).unwrap();
    assert_eq!(id, "@root:example.org");
    let found = house.read(|view| account::find(view, "root")).unwrap().unwrap();
    assert!(found.password.unwrap().starts_with("$argon2id$"));
    let token = house.log_in(found.user, None, false).tokens.access;
    assert!(house.prove(&token).unwrap().admin);
    let again = crate::create(&house.store, &hasher, "root", "secret", false);
    assert_eq!(code(again), "M_USER_IN_USE");
    assert_eq!(code(crate::create(&house.store, &hasher, "eve", "", false)), "M_WEAK_PASSWORD");
}

#[test]
fn accounts_are_found_by_name_or_id_and_only_here() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let find = |typed: &str| house.read(|view| account::find(view, typed)).unwrap();
    for typed in ["alice", "Alice", "@alice:example.org", "@ALICE:example.org"] {
        assert_eq!(find(typed).map(|found| found.user), Some(user), "{typed}");
    }
    for typed in ["bob", "@alice:elsewhere.org", "@alice", "alice:example.org", "", "@"] {
        assert!(find(typed).is_none(), "{typed}");
    }
}

#[test]
fn a_new_password_ends_all_other_devices_and_tokens() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let mine = house.log_in(user, Some("MINE"), true).tokens;
    let other = house.log_in(user, Some("OTHER"), true).tokens;
    let token = session::hash(&mine.access);
    let change = move |tx: &mut Tx| {
        account::set_password(tx, user, "new".into(), Some(("MINE", token)), true)
    };
    house.write(change).unwrap();
    house.prove(&mine.access).unwrap();
    assert_eq!(code(house.prove(&other.access)), "M_UNKNOWN_TOKEN");
    let gone = other.refresh.unwrap();
    assert_eq!(code(house.write(move |tx| session::refresh(tx, &gone))), "M_UNKNOWN_TOKEN");
    let devices = house.read(|view| device::list(view, user)).unwrap();
    assert_eq!(devices.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["MINE"]);
    let kept = mine.refresh.unwrap();
    house.write(move |tx| session::refresh(tx, &kept)).unwrap();
    assert_eq!(house.read(|view| account::password(view, user)).unwrap().unwrap(), "new");
}

#[test]
fn a_new_password_leaves_devices_that_it_is_told_to_leave() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let other = house.log_in(user, None, false).tokens;
    house.write(move |tx| account::set_password(tx, user, "new".into(), None, false)).unwrap();
    house.prove(&other.access).unwrap();
}

/// A backup of keys.
fn backup(tx: &mut Tx, user: base::User) -> Reply<()> {
    let (algorithm, auth_data) = ("x".to_owned(), "{}".to_owned());
    tx.put(&BACKUPS, (user, 1), &Backup { algorithm, auth_data, shelf: 1, count: 0, etag: 0 });
    Ok(())
}

#[test]
fn deactivation_ends_everything_but_the_profile() {
    let house = House::new();
    let (user, id) = house.register("alice");
    let token = house.log_in(user, None, true).tokens.access;
    let openid = house.write(move |tx| openid::issue(tx, user)).unwrap();
    house.prove(&token).unwrap();
    house.write(move |tx| backup(tx, user)).unwrap();
    house.write(move |tx| account::deactivate(tx, user, false)).unwrap();
    assert_eq!(house.read(|view| view.get(&BACKUPS, (user, 1))).unwrap(), None);
    assert_eq!(code(house.prove(&token)), "M_UNKNOWN_TOKEN");
    assert!(house.read(|view| device::list(view, user)).unwrap().is_empty());
    assert_eq!(house.read(|view| account::password(view, user)).unwrap(), None);
    assert!(house.read(|view| account::find(view, "alice")).unwrap().unwrap().deactivated);
    assert_eq!(house.read(|view| openid::holder(view, &openid)).unwrap(), None);
    assert_eq!(house.read(|view| profile::get(view, &id)).unwrap(), r#"{"displayname":"alice"}"#);
    let told = house.log().iter().filter(|e| **e == Entry::Account { user }).count();
    assert_eq!(told, 2);
}

#[test]
fn erasure_takes_profile_account_data_filters_and_push_rules() {
    let house = House::new();
    let (user, id) = house.register("alice");
    let (other, _) = house.register("bob");
    let put = move |tx: &mut Tx| {
        for user in [user, other] {
            account_data::set(tx, user, account_data::GLOBAL, "m.direct", r#"{"a":1}"#)?;
            account_data::set(tx, user, base::Room(9), "x", r#"{"a":1}"#)?;
        }
        let rule = cake();
        push_rules::set_rule(tx, user, user_id!("@alice:example.org"), rule, None, None)?;
        filter::put(tx, user, "{}")
    };
    let filter_id = house.write(put).unwrap();
    house.write(move |tx| account::deactivate(tx, user, true)).unwrap();
    assert_eq!(house.read(|view| profile::get(view, &id)).unwrap(), "{}");
    for (place, kind) in [(0, "m.direct"), (9, "x"), (0, "m.push_rules")] {
        let data = house.read(|view| account_data::get(view, user, base::Room(place), kind));
        assert_eq!(data.unwrap(), None, "{kind}");
    }
    assert_eq!(code(house.read(|view| filter::get(view, user, &filter_id))), "M_NOT_FOUND");
    let data = house.read(|view| account_data::get(view, other, base::Room(9), "x")).unwrap();
    assert_eq!(data.as_deref(), Some(r#"{"a":1}"#));
}

fn cake() -> ruma::push::NewPushRule {
    ruma::push::NewPushRule::Content(ruma::push::NewPatternedPushRule::new(
        "cake".into(),
        "cake".into(),
        vec![],
    ))
}

#[test]
fn devices_are_listed_named_and_deleted_with_their_tokens() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let (other, _) = house.register("bob");
    let login =
        Login { device: Some("B".into()), display_name: Some("Phone".into()), refreshable: false };
    let tokens = house.write(move |tx| device::log_in(tx, user, &login)).unwrap().tokens;
    let generated = house.log_in(user, None, false).device;
    assert!(generated.len() == 10 && generated.chars().all(|c| c.is_ascii_alphanumeric()));
    let listed = house.read(|view| device::list(view, user)).unwrap();
    assert_eq!(listed.len(), 2);
    house.write(move |tx| device::rename(tx, user, "B", Some("Fax"))).unwrap();
    house.write(move |tx| device::rename(tx, user, "B", None)).unwrap();
    let device = house.read(|view| device::get(view, user, "B")).unwrap();
    assert_eq!(device.display_name.as_deref(), Some("Fax"));
    for id in ["C", "", "\0"] {
        assert_eq!(code(house.read(|view| device::get(view, user, id))), "M_NOT_FOUND");
        assert_eq!(
            code(house.write(move |tx| device::rename(tx, user, id, Some("x")))),
            "M_NOT_FOUND"
        );
    }
    // Not somebody else's.
    house.write(move |tx| device::delete(tx, other, &["B"])).unwrap();
    house.prove(&tokens.access).unwrap();
    house.write(move |tx| device::delete(tx, user, &["B", "C"])).unwrap();
    assert_eq!(code(house.prove(&tokens.access)), "M_UNKNOWN_TOKEN");
    assert_eq!(code(house.read(|view| device::get(view, user, "B"))), "M_NOT_FOUND");
    let told = house.log().iter().filter(|e| **e == Entry::Devices { user }).count();
    assert_eq!(told, 4, "two logins, one name, one deletion");
}

#[test]
fn a_known_device_keeps_its_name_when_it_logs_in_again() {
    let house = House::new();
    let (user, _) = house.register("alice");
    for name in ["Phone", "Fax"] {
        let login =
            Login { device: Some("B".into()), display_name: Some(name.into()), refreshable: false };
        house.write(move |tx| device::log_in(tx, user, &login)).unwrap();
    }
    let device = house.read(|view| device::get(view, user, "B")).unwrap();
    assert_eq!(device.display_name.as_deref(), Some("Phone"));
}

#[test]
fn impossible_device_ids_and_names_are_refused() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let long = "x".repeat(256);
    let cases = [(Some(long.clone()), None), (Some("a\0b".to_owned()), None), (None, Some(long))];
    for (device, display_name) in cases {
        let login = Login { device, display_name, refreshable: false };
        let reply = house.write(move |tx| device::log_in(tx, user, &login));
        assert_eq!(code(reply), "M_INVALID_PARAM");
    }
}

#[test]
fn the_device_that_was_unused_for_longest_makes_room() {
    let house = House::new();
    let (user, _) = house.register("alice");
    let fill = move |tx: &mut Tx| {
        for n in 0..1_000 {
            let login = Login { device: Some(format!("D{n}")), ..Login::default() };
            device::log_in(tx, user, &login)?;
        }
        Ok(())
    };
    house.write(fill).unwrap();
    house.wait(1);
    let touch = move |tx: &mut Tx| {
        for n in 0..1_000 {
            if n != 500 {
                session::note(tx, user, &format!("D{n}"), "::1", "")?;
            }
        }
        Ok(())
    };
    house.write(touch).unwrap();
    house.log_in(user, Some("NEW"), false);
    assert_eq!(code(house.read(|view| device::get(view, user, "D500"))), "M_NOT_FOUND");
    assert_eq!(house.read(|view| device::list(view, user)).unwrap().len(), 1_000);
    house.read(|view| device::get(view, user, "NEW")).unwrap();
}

#[test]
fn openid_tokens_name_their_user_until_they_end() {
    let house = House::new();
    let (user, id) = house.register("alice");
    let token = house.write(move |tx| openid::issue(tx, user)).unwrap();
    let holder = |token: &str| house.read(|view| openid::holder(view, token)).unwrap();
    assert_eq!(holder(&token), Some(id));
    assert_eq!(holder("x"), None);
    assert_eq!(code(house.prove(&token)), "M_UNKNOWN_TOKEN");
    house.wait(openid::OPENID_TOKEN_MS);
    assert_eq!(holder(&token), None);
    // The next one sweeps it.
    house.write(move |tx| openid::issue(tx, user)).unwrap();
    let rows =
        house.read(|view| Ok(view.everything(&store::schema::OPENID_TOKENS, None, 10)?.len()));
    assert_eq!(rows.unwrap(), 1);
}
