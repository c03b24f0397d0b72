"""Letters about unread messages (POST /pushers/set, kind `email`)."""

import urllib.parse

import pytest

from harness.client import PASSWORD, V3, Client
from harness.mailbox import Mailbox, link, part
from test_threepids import add, address

SET = f"{V3}/pushers/set"


@pytest.fixture
def mailbox():
    running = Mailbox()
    yield running
    running.stop()


@pytest.fixture
def home(make_server, mailbox):
    return make_server(email__smtp=mailbox.url, email__from="server@althing.test", email__delay="1s")


def pusher(mail):
    return {
        "app_id": "m.email",
        "pushkey": mail,
        "kind": "email",
        "app_display_name": "Mail",
        "device_display_name": mail,
        "lang": "en",
        "data": {},
    }


@pytest.fixture
def alice(home, mailbox):
    """Someone who wants letters. The letter that validated the address is not kept."""
    alice, mail = Client.register(home), address("alice")
    assert add(alice, mailbox, mail).status == 200
    alice.call("POST", SET, pusher(mail))
    mailbox.letters.clear()
    alice.mail = mail
    return alice


@pytest.fixture
def bob(home):
    return Client.register(home)


def test_letters_go_to_own_addresses_only(home, mailbox, alice, bob):
    for mail in (alice.mail, address()):
        assert bob.raw("POST", SET, pusher(mail)).errcode == "M_INVALID_PARAM"
    wrong = {**pusher(alice.mail), "app_id": "org.example"}
    assert alice.raw("POST", SET, wrong).errcode == "M_INVALID_PARAM"
    (shown,) = alice.get(f"{V3}/pushers")["pushers"]
    assert (shown["kind"], shown["pushkey"]) == ("email", alice.mail)


def test_one_letter_tells_of_all_that_is_unread_by_room(mailbox, alice, bob):
    first, second = alice.room_with(bob, name="Mission <b>"), alice.room_with(bob, name="Other")
    read = bob.text(second, "read at once")
    alice.receipt(second, read)
    bob.text(first, "hello & <i>goodbye</i>")
    bob.text(first, "are you there?")
    letter = mailbox.wait()
    assert letter["To"] == alice.mail
    assert letter["Subject"] == "Unread messages in Mission <b>"
    text, html = part(letter), part(letter, "html")
    assert "hello & <i>goodbye</i>" in text
    assert "are you there?" in text
    assert "hello &amp; &lt;i&gt;goodbye&lt;/i&gt;" in html
    assert "<i>" not in html
    assert "read at once" not in text
    assert bob.localpart in text


def test_what_is_read_in_time_makes_no_letter(mailbox, alice, bob):
    room = alice.room_with(bob)
    alice.receipt(room, bob.text(room, "soon read"))
    other = alice.room_with(bob, name="Other")
    bob.text(other, "unread")
    letter = mailbox.wait()
    assert "soon read" not in part(letter)
    assert "unread" in part(letter)


def test_a_letter_that_cannot_be_sent_is_sent_later(mailbox, alice, bob):
    room = alice.room_with(bob, name="Room")
    mailbox.reply = "451 come back later"
    bob.text(room, "patience")
    mailbox.wait_for(lambda: mailbox.asked >= 3, "another try")
    mailbox.reply = None
    assert "patience" in part(mailbox.wait())


def test_the_link_ends_the_letters_by_a_button_and_not_by_looking(mailbox, alice, bob):
    room = alice.room_with(bob, name="Room")
    bob.text(room, "hello")
    letter = mailbox.wait()
    url = urllib.parse.urlsplit(link(letter))
    assert letter["List-Unsubscribe"] == f"<{link(letter)}>"
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    place = f"{url.path}?{url.query}"
    assert bob.raw("GET", place, token=None).status == 200
    assert len(alice.get(f"{V3}/pushers")["pushers"]) == 1
    forged = place[:-4] + "AAAA"
    assert bob.raw("POST", forged, token=None).status == 403
    assert len(alice.get(f"{V3}/pushers")["pushers"]) == 1
    assert bob.raw("POST", place, token=None).status == 200
    assert alice.get(f"{V3}/pushers")["pushers"] == []


def test_an_address_that_is_taken_away_takes_its_letters_along(mailbox, alice):
    alice.call("POST", f"{V3}/account/3pid/delete", {"medium": "email", "address": alice.mail})
    assert alice.get(f"{V3}/pushers")["pushers"] == []


def test_letters_survive_a_restart(home, mailbox, alice, bob):
    room = alice.room_with(bob, name="Room")
    mailbox.reply = "451 come back later"
    bob.text(room, "still unread")
    mailbox.wait_for(lambda: mailbox.asked >= 1, "a try in vain")
    home.kill9()
    mailbox.reply = None
    home.start()
    assert "still unread" in part(mailbox.wait())
    assert alice.password == PASSWORD
