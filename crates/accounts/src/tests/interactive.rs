use serde_json::json;
use store::schema::{REGISTRATION_TOKENS, RegistrationToken, UIA};

use super::*;
use crate::uia::{self, Ask, DUMMY, PASSWORD, Progress, REGISTRATION_TOKEN, Shown};

const ONE: &[&[&str]] = &[&[PASSWORD]];
const TWO: &[&[&str]] = &[&[DUMMY, PASSWORD]];
const TOKEN: &[&[&str]] = &[&[REGISTRATION_TOKEN]];

fn ask(parts: &[&str], flows: &'static [&'static [&'static str]]) -> Ask {
    Ask {
        request: uia::bind(parts),
        flows,
        registration_token: Some("letmein".into()),
        params: json!({}),
        address_for: crate::threepid::Purpose::Register,
    }
}

fn stage(name: &str) -> Shown {
    Shown::Stage(name.to_owned())
}

/// The question asked, or `None` if the request passed.
fn step(house: &House, ask: &Ask, session: Option<&str>, shown: Shown) -> Option<Refusal> {
    let (ask, session) = (ask.clone(), session.map(str::to_owned));
    let progress = house.write(move |tx| uia::step(tx, &ask, session.as_deref(), &shown));
    match progress.unwrap() {
        Progress::Passed(_) => None,
        Progress::Asked(question) => Some(*question),
    }
}

fn session(question: &Refusal) -> String {
    question.extra["session"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_answer_has_the_shape_of_the_spec_and_no_error_in_it() {
    let house = House::new();
    let question = step(&house, &ask(&["x"], TWO), None, Shown::Nothing).unwrap();
    assert_eq!((question.status, question.errcode), (401, ""));
    let flows = serde_json::json!([{ "stages": [DUMMY, PASSWORD] }]);
    assert_eq!(question.extra["flows"], flows);
    assert_eq!(question.extra["params"], serde_json::json!({}));
    assert!(!session(&question).is_empty());
    assert!(!question.extra.contains_key("completed"));
}

#[test]
fn a_request_passes_when_its_stages_were_passed_in_order() {
    let house = House::new();
    let ask = ask(&["x"], TWO);
    let id = session(&step(&house, &ask, None, Shown::Nothing).unwrap());
    let early = step(&house, &ask, Some(&id), stage(PASSWORD)).unwrap();
    assert_eq!(early.errcode, "M_FORBIDDEN");
    assert!(!early.extra.contains_key("completed"));
    let half = step(&house, &ask, Some(&id), stage(DUMMY)).unwrap();
    assert_eq!((half.errcode, session(&half)), ("", id.clone()));
    assert_eq!(half.extra["completed"], serde_json::json!([DUMMY]));
    // Once more changes nothing.
    let again = step(&house, &ask, Some(&id), stage(DUMMY)).unwrap();
    assert_eq!(again.extra["completed"], serde_json::json!([DUMMY]));
    assert!(step(&house, &ask, Some(&id), stage(PASSWORD)).is_none());
}

#[test]
fn one_stage_may_be_passed_without_a_session() {
    let house = House::new();
    assert!(step(&house, &ask(&["x"], ONE), None, stage(PASSWORD)).is_none());
}

#[test]
fn a_session_serves_one_request_once() {
    let house = House::new();
    let (mine, other) = (ask(&["delete", "A"], TWO), ask(&["delete", "B"], TWO));
    let id = session(&step(&house, &mine, None, stage(DUMMY)).unwrap());
    let question = step(&house, &other, Some(&id), stage(PASSWORD)).unwrap();
    assert_eq!(question.errcode, "M_FORBIDDEN");
    assert_ne!(session(&question), id);
    assert!(step(&house, &mine, Some(&id), stage(PASSWORD)).is_none());
    let question = step(&house, &mine, Some(&id), stage(PASSWORD)).unwrap();
    assert_ne!(session(&question), id);
}

#[test]
fn requests_are_told_apart_by_every_part() {
    let all = [
        uia::bind(["a", "b"]),
        uia::bind(["ab"]),
        uia::bind(["a", "b", ""]),
        uia::bind(["b", "a"]),
        uia::bind(["a"]),
    ];
    for (place, one) in all.iter().enumerate() {
        assert!(all[place + 1..].iter().all(|other| other != one), "{place}");
    }
}

#[test]
fn a_wrong_proof_keeps_the_session_and_says_why() {
    let house = House::new();
    let ask = ask(&["x"], ONE);
    let question = step(&house, &ask, None, Shown::Wrong("Invalid password.")).unwrap();
    assert_eq!((question.errcode, question.message.as_str()), ("M_FORBIDDEN", "Invalid password."));
    let id = session(&question);
    let question = step(&house, &ask, Some(&id), Shown::Wrong("Invalid password.")).unwrap();
    assert_eq!(session(&question), id);
    assert!(step(&house, &ask, Some(&id), stage(PASSWORD)).is_none());
}

#[test]
fn a_session_ends_after_an_hour() {
    let house = House::new();
    let ask = ask(&["x"], TWO);
    let id = session(&step(&house, &ask, None, stage(DUMMY)).unwrap());
    house.wait(60 * 60 * 1_000);
    let question = step(&house, &ask, Some(&id), stage(PASSWORD)).unwrap();
    assert_ne!(session(&question), id);
    house.wait(1);
    step(&house, &ask, None, Shown::Nothing).unwrap();
    let row = house.read(|view| view.get(&UIA, (id.clone(),))).unwrap();
    assert_eq!(row, None, "swept");
}

#[test]
fn registration_tokens_are_counted_when_the_request_passes() {
    let house = House::new();
    let ask = ask(&["register"], TOKEN);
    let token = |text: &str| Shown::Token(text.to_owned());
    let wrong = step(&house, &ask, None, token("wrong")).unwrap();
    assert_eq!(wrong.errcode, "M_FORBIDDEN");
    assert!(step(&house, &ask, Some(&session(&wrong)), token("letmein")).is_none());
    let put = |tx: &mut Tx| {
        let once = RegistrationToken { uses_allowed: Some(1), used: 0, expires: None };
        tx.put(&REGISTRATION_TOKENS, ("once".to_owned(),), &once);
        Ok(())
    };
    house.write(put).unwrap();
    assert!(step(&house, &ask, None, token("once")).is_none());
    assert_eq!(step(&house, &ask, None, token("once")).unwrap().errcode, "M_FORBIDDEN");
}

#[test]
fn the_auth_field_is_read_in_all_its_forms() {
    let read = |text: &str| serde_json::from_str::<uia::Auth>(text).unwrap();
    let new = read(
        r#"{"type":"m.login.password","session":"s","password":"p",
            "identifier":{"type":"m.id.user","user":"alice"}}"#,
    );
    assert_eq!(new.claimed(), Some("alice"));
    let old = read(r#"{"type":"m.login.password","user":"@alice:example.org","password":"p"}"#);
    assert_eq!(old.claimed(), Some("@alice:example.org"));
    let phone = read(r#"{"identifier":{"type":"m.id.phone","phone":"1","user":"alice"}}"#);
    assert_eq!(phone.claimed(), None);
    assert_eq!(read(r#"{"session":"s"}"#).stage, None);
}
