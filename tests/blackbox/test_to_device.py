"""Messages from device to device: delivered in order, told again until acknowledged, gone with their device."""

from harness.client import V3, Client, fresh
from harness.wire import path


def send(client, kind, messages, txn=None):
    target = path(f"{V3}/sendToDevice", kind, txn or fresh("t"))
    assert client.call("PUT", target, {"messages": messages}) == {}


def received(answer):
    return answer["to_device"]["events"]


def numbers(answer):
    return [event["content"]["n"] for event in received(answer)]


def test_a_message_reaches_the_device_that_it_is_for(alice, bob):
    phone = bob.login()
    bob.sync(), phone.sync()
    send(alice, "m.test", {bob.user: {bob.device: {"n": 1}}})
    assert received(bob.sync()) == [{"type": "m.test", "sender": alice.user, "content": {"n": 1}}]
    assert received(phone.sync()) == []


def test_a_star_reaches_all_devices(alice, bob):
    phone = bob.login()
    send(alice, "m.test", {bob.user: {"*": {"n": 1}}})
    assert numbers(bob.sync()) == numbers(phone.sync()) == [1]


def test_a_waiting_sync_is_woken(alice, bob):
    bob.sync()
    send(alice, "m.test", {bob.user: {bob.device: {"n": 1}}})
    assert bob.sync_until(numbers) == [1]


def test_a_message_is_told_again_until_the_client_comes_back_behind_it(alice, bob):
    start = bob.sync()["next_batch"]
    send(alice, "m.test", {bob.user: {bob.device: {"n": 1}}})
    for _ in range(2):
        lost = bob.sync(since=start)
        assert numbers(lost) == [1]
    bob.sync(since=lost["next_batch"])
    assert numbers(bob.sync(since=start)) == []
    assert numbers(bob.sync(since=None)) == []


def test_a_first_sync_brings_what_waits(alice, bob):
    send(alice, "m.test", {bob.user: {bob.device: {"n": 1}}})
    assert numbers(bob.sync(since=None)) == [1]


def test_many_messages_come_in_portions_and_in_order(alice, bob):
    bob.sync()
    for n in range(230):
        send(alice, "m.test", {bob.user: {bob.device: {"n": n}}})
    got = []
    while True:
        answer = bob.sync()
        if not received(answer):
            break
        assert len(received(answer)) <= 100
        got += numbers(answer)
    assert got == list(range(230))


def test_a_repeated_request_sends_once(alice, bob):
    bob.sync()
    for n in (1, 2):
        send(alice, "m.test", {bob.user: {bob.device: {"n": n}}}, txn="same")
    send(alice, "m.other", {bob.user: {bob.device: {"n": 3}}}, txn="same")
    assert numbers(bob.sync()) == [1, 3]


def test_what_does_not_exist_is_passed_over(alice, bob):
    bob.sync()
    send(alice, "m.test", {
        bob.user: {"NOSUCH": {"n": 1}, bob.device: {"n": 2}},
        f"@nobody:{alice.server_name}": {"*": {"n": 3}},
        "@someone:elsewhere.example": {"*": {"n": 4}},
    })
    assert numbers(bob.sync()) == [2]


def test_a_message_that_is_no_object_is_refused(alice, bob):
    answer = alice.raw("PUT", path(f"{V3}/sendToDevice", "m.test", "1"), {"messages": {bob.user: {"*": 3}}})
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON")


def test_an_inbox_ends_with_its_device(alice, bob):
    phone = bob.login(device_id="PHONE")
    send(alice, "m.test", {bob.user: {"PHONE": {"n": 1}}})
    phone.call("POST", f"{V3}/logout")
    again = bob.login(device_id="PHONE")
    send(alice, "m.test", {bob.user: {"PHONE": {"n": 2}}})
    assert numbers(again.sync()) == [2]


def test_messages_outlive_a_restart(make_server):
    server = make_server()
    alice, bob = Client.register(server), Client.register(server)
    bob.sync()
    send(alice, "m.test", {bob.user: {bob.device: {"n": 1}}})
    server.restart()
    assert numbers(bob.sync()) == [1]
