//! The oracles are not blind: each kind of deed that histories are made of can happen in this world.

use testkit::{Op, Sent, World};

#[test]
fn every_deed_can_be_done() {
    let mut world = World::new(4);
    let deeds = [
        Op::Join(1, 0),
        Op::Invite(1, 2, 1),
        Op::Leave(2, 1),
        Op::Invite(1, 2, 1),
        Op::Join(2, 1),
        Op::Kick(1, 2, 1),
        Op::Ban(1, 2, 1, false),
        Op::Forget(2, 1),
        Op::Ban(1, 2, 1, true),
        Op::Name(1, 0, 1),
        Op::Topic(0, 0, 1),
        Op::Send(1, 0, Sent::Text),
        Op::Read(0, 0, 0, false, true),
        Op::Read(0, 0, 0, true, false),
        Op::Send(0, 0, Sent::Thread(0)),
        Op::Send(0, 0, Sent::Mention(1)),
        Op::Send(0, 0, Sent::MentionRoom),
        Op::Send(0, 0, Sent::Edit(0)),
        Op::Send(0, 0, Sent::Reaction(1)),
        Op::Send(0, 0, Sent::Reference(2)),
        Op::Redact(0, 0, 1),
        Op::History(0, 0, 3),
        Op::Data(0, None, 1),
        Op::Data(0, Some(0), 1),
        Op::Tag(0, 0, 1),
        Op::Tag(0, 0, 3),
        Op::Encrypt(0, 0),
        Op::Direct(0, 0, true),
        Op::Type(0, 0, true),
    ];
    for deed in deeds {
        assert!(world.perform(&deed), "{deed:?}");
    }
}

#[test]
fn what_the_rules_forbid_does_not_happen() {
    let mut world = World::new(4);
    for deed in [Op::Join(0, 1), Op::Send(3, 0, Sent::Text), Op::Invite(3, 2, 1), Op::Forget(0, 0)]
    {
        assert!(!world.perform(&deed), "{deed:?}");
    }
}
