"""Keys of past messages for those who are invited (MSC4268): clients share them;
the server passes on a file and a message, and keeps in backups what says that a key may be shared."""

from __future__ import annotations

import os

from harness.client import V1, V3, fresh
from harness.wire import path


def test_who_is_invited_reads_the_bundle_before_they_join(alice, bob):
    room = alice.create_room(bob)
    bundle = os.urandom(300_000)
    server_name, media_id = alice.upload(bundle, "application/octet-stream").removeprefix("mxc://").split("/")
    phone = bob.login()
    # Encrypted, `m.room_key_bundle` is a message like others, one for each device.
    content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": "k", "ciphertext": {"c": {"type": 0, "body": "b"}}}
    by_device = {device.device: content for device in (bob, phone)}
    txn = fresh("bundle")
    alice.call("PUT", f"{V3}/sendToDevice/m.room.encrypted/{txn}", {"messages": {bob.user: by_device}})
    for device in (bob, phone):
        answer = device.sync()
        assert room in answer["rooms"]["invite"]
        expected = {"type": "m.room.encrypted", "sender": alice.user, "content": content}
        assert answer["to_device"]["events"] == [expected]
        file = device.raw("GET", path(f"{V1}/media/download", server_name, media_id))
        assert (file.status, file.body) == (200, bundle)
