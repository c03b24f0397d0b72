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


def test_messages_come_exactly_once_for_each_acknowledgement_through_kill_9(make_server):
    server = make_server()
    alice, bob = Client.register(server), Client.register(server)
    start = bob.sync()["next_batch"]
    for n in range(150):
        send(alice, "m.test", {bob.user: {bob.device: {"n": n}}})
    first = bob.sync(since=start)
    server.kill9()
    server.start()
    # Not acknowledged: told again, the same.
    again = bob.sync(since=start)
    assert numbers(again) == numbers(first) == list(range(100))
    rest = bob.sync(since=again["next_batch"])
    assert numbers(rest) == list(range(100, 150))
    server.kill9()
    server.start()
    # What was acknowledged never comes again, not even to a client that begins anew.
    assert numbers(bob.sync(since=None)) == list(range(100, 150))
    end = bob.sync(since=rest["next_batch"])
    assert numbers(end) == []
    server.kill9()
    server.start()
    assert numbers(bob.sync(since=None)) == []


def test_what_is_for_nobody_or_named_too_long_reaches_nobody(alice, bob):
    bob.sync()
    messages = {bob.user: {f"D{n}": {"n": n} for n in range(3)}}
    for n in range(10_001):
        messages[f"@u{n}:{alice.server_name}"] = {"*": {"n": n}}
    # Users who do not exist are passed over, however many.
    send(alice, "m.test", messages)
    kind = "m." + "x" * 300
    answer = alice.raw("PUT", path(f"{V3}/sendToDevice", kind, "1"), {"messages": {bob.user: {"*": {"n": 1}}}})
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), answer
    assert numbers(bob.sync()) == []
