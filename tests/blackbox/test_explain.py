"""`althing explain` tells why an event is in its room, on every engine, whether the server runs or not."""

import subprocess

import pytest

from harness.client import Client
from harness.server import binary


@pytest.fixture
def home(make_server):
    server = make_server()
    if not hasattr(server, "config_path"):
        pytest.skip("needs the server's own configuration")
    return server


def explain(home, event):
    words = [str(binary()), "explain", event, "--config", str(home.config_path)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def sections(text):
    """The answers by question."""
    head, *rest = text.split("\n\n")
    found = {block.split("\n")[0]: block.split("\n")[1].strip() for block in rest}
    return head, found


NOW = "would the room's state now allow it?"
BEFORE = "does the state before it allow it?"


def test_an_event_is_explained_whether_the_server_runs_or_not(home):
    alice, bob = Client.register(home), Client.register(home)
    room = alice.room_with(bob)
    event = bob.text(room, "hello")
    alice.member("ban", room, bob)

    running = explain(home, event)
    assert running.returncode == 0, running.stderr
    head, answers = sections(running.stdout)
    assert f"event     {event}" in head and f"sender    {bob.user}" in head
    assert f"room      {room} (version " in head and "verdict   accepted" in head
    assert len(answers) == 4 and answers[BEFORE].startswith("accepted by rule 11: ")
    # It was right then, and is not now: the sender is banned.
    assert answers[NOW].startswith("rejected by rule 6: ")
    membership = alice.full_state(room)["m.room.member", bob.user]["event_id"]
    assert f"m.room.member {bob.user} = ban  {membership} by {alice.user}" in running.stdout

    assert home.terminate() == 0
    stopped = explain(home, event)
    assert (stopped.returncode, stopped.stdout) == (0, running.stdout), stopped.stderr


def test_an_unknown_event_is_told_to_be_unknown(home):
    for event in ["$nothing", "nothing"]:
        answer = explain(home, event)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr.startswith("althing: ")
