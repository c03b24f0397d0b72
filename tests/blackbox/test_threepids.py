"""Mail addresses of accounts: validation, registration, password reset, login ("Adding Account Administrative Contact
Information", "Email-based (identity / homeserver)", POST /account/password)."""

import urllib.parse

import pytest

from harness.client import PASSWORD, V1, V3, Client, fresh, password_login
from harness.mailbox import Mailbox, link, part
from harness.wire import path

NEW = "another battery staple"


@pytest.fixture
def mailbox():
    running = Mailbox()
    yield running
    running.stop()


@pytest.fixture
def home(make_server, mailbox):
    return make_server(email__smtp=mailbox.url, email__from="Server <server@althing.test>")


def address(name="a"):
    return f"{fresh(name)}@example.org"


def ask(client, where, mail, secret="secret", attempt=1, **more):
    """requestToken"""
    body = {"client_secret": secret, "email": mail, "send_attempt": attempt, **more}
    return client.raw("POST", f"{V3}/{where}/email/requestToken", body, token=None)


def local(url):
    """Path and query of a link, which names the server as the world sees it."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.path}?{parts.query}"


def confirm(client, letter):
    """What a person does with a letter: look at the page, press the button."""
    page = client.raw("GET", local(link(letter)), token=None)
    assert page.status == 200, page
    query = urllib.parse.urlsplit(link(letter)).query
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return client.raw("POST", local(link(letter)).split("?")[0], data=query.encode(), headers=form, token=None)


def validated(client, mailbox, where, mail, secret="secret", **more):
    """A validation carried through: its credentials."""
    count = len(mailbox.letters) + 1
    answer = ask(client, where, mail, secret, **more)
    assert answer.status == 200, answer
    assert confirm(client, mailbox.wait(count)).status == 200
    return {"sid": answer.json["sid"], "client_secret": secret}


def by_password(client, session=None):
    identifier = {"type": "m.id.user", "user": client.user}
    auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    return {**auth, "session": session} if session else auth


def add(client, mailbox, mail):
    creds = validated(client, mailbox, "account/3pid", mail)
    target = f"{V3}/account/3pid/add"
    session = client.raw("POST", target, creds).json["session"]
    return client.raw("POST", target, {**creds, "auth": by_password(client, session)})


def threepids(client):
    return [t["address"] for t in client.get(f"{V3}/account/3pid")["threepids"]]


def test_an_address_is_added_listed_and_deleted(home, mailbox):
    alice, mail = Client.register(home), address("Alice")
    assert alice.get(f"{V3}/capabilities")["capabilities"]["m.3pid_changes"] == {"enabled": True}
    assert add(alice, mailbox, mail).status == 200
    (shown,) = alice.get(f"{V3}/account/3pid")["threepids"]
    assert (shown["medium"], shown["address"]) == ("email", mail.lower())
    assert shown["validated_at"] <= shown["added_at"]
    letter = mailbox.letters[0]
    assert letter["To"] == mail.lower()
    assert "server@althing.test" in letter["From"]
    assert letter["Auto-Submitted"] == "auto-generated"
    gone = alice.call("POST", f"{V3}/account/3pid/delete", {"medium": "email", "address": mail})
    assert gone == {"id_server_unbind_result": "no-support"}
    assert threepids(alice) == []


def test_the_old_way_of_adding_takes_a_validated_address(home, mailbox):
    """POST /account/3pid, deprecated"""
    alice, mail = Client.register(home), address()
    rest = {"id_server": "id.example.org", "id_access_token": "x"}
    unproven = {"sid": "x", "client_secret": "x", **rest}
    answer = alice.raw("POST", f"{V3}/account/3pid", {"three_pid_creds": unproven})
    assert (answer.status, answer.errcode) == (403, "M_THREEPID_AUTH_FAILED"), answer
    creds = validated(alice, mailbox, "account/3pid", mail)
    alice.call("POST", f"{V3}/account/3pid", {"three_pid_creds": {**creds, **rest}})
    assert threepids(alice) == [mail]


def test_an_address_belongs_to_one_account(home, mailbox):
    alice, bob, mail = Client.register(home), Client.register(home), address()
    assert add(alice, mailbox, mail).status == 200
    for where in ("account/3pid", "register"):
        answer = ask(bob, where, mail.upper())
        assert (answer.status, answer.errcode) == (400, "M_THREEPID_IN_USE"), answer
    # Both were on their way to it.
    other = address()
    slow = validated(bob, mailbox, "account/3pid", other, "bob")
    assert add(alice, mailbox, other).status == 200
    target = f"{V3}/account/3pid/add"
    session = bob.raw("POST", target, slow).json["session"]
    answer = bob.raw("POST", target, {**slow, "auth": by_password(bob, session)})
    assert (answer.status, answer.errcode) == (400, "M_THREEPID_IN_USE"), answer
    assert threepids(bob) == []


def test_the_same_attempt_sends_no_second_letter(home, mailbox):
    alice, mail = Client.register(home), address()
    first = ask(alice, "account/3pid", mail)
    again = ask(alice, "account/3pid", mail)
    assert first.json == again.json
    assert len(mailbox.letters) == 1
    later = ask(alice, "account/3pid", mail, attempt=2)
    assert later.json == first.json
    assert link(mailbox.wait(2)) != link(mailbox.letters[0])
    # Only the last letter counts.
    assert confirm(alice, mailbox.letters[0]).status == 400
    assert confirm(alice, mailbox.letters[1]).status == 200


def test_looking_at_the_link_validates_nothing_and_a_wrong_token_does_not_either(home, mailbox):
    alice, mail = Client.register(home), address()
    sid = ask(alice, "account/3pid", mail).json["sid"]
    place = local(link(mailbox.wait())).split("?")[0]
    page = alice.raw("GET", local(link(mailbox.letters[0])), token=None)
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    wrong = {"sid": sid, "client_secret": "secret", "token": "wrong"}
    assert alice.call("POST", place, wrong, token=None) == {"success": False}
    stranger = alice.raw("POST", place, {**wrong, "client_secret": "other"}, token=None)
    assert (stranger.status, stranger.errcode) == (400, "M_NO_VALID_SESSION")
    target = f"{V3}/account/3pid/add"
    creds = {"sid": sid, "client_secret": "secret"}
    session = alice.raw("POST", target, creds).json["session"]
    answer = alice.raw("POST", target, {**creds, "auth": by_password(alice, session)})
    assert (answer.status, answer.errcode) == (400, "M_SESSION_NOT_VALIDATED")
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(link(mailbox.letters[0])).query))
    assert alice.call("POST", place, query, token=None) == {"success": True}


def test_a_validation_serves_one_purpose_and_once(home, mailbox):
    alice, mail = Client.register(home), address()
    creds = validated(alice, mailbox, "register", mail)
    target = f"{V3}/account/3pid/add"
    session = alice.raw("POST", target, creds).json["session"]
    answer = alice.raw("POST", target, {**creds, "auth": by_password(alice, session)})
    assert (answer.status, answer.errcode) == (400, "M_NO_VALID_SESSION")
    good = validated(alice, mailbox, "account/3pid", mail, "again")
    for status in (200, 400):
        session = alice.raw("POST", target, good).json["session"]
        assert alice.raw("POST", target, {**good, "auth": by_password(alice, session)}).status == status


@pytest.mark.parametrize(
    ("where", "leads"),
    [
        ("https://matrix.althing.test/app/#/done", True),
        ("https://matrix.althing.test.evil.example/", False),
        ("https://evil.example/", False),
    ],
)
def test_a_browser_is_led_on_to_this_server_only(home, mailbox, where, leads):
    alice, mail = Client.register(home), address()
    ask(alice, "account/3pid", mail, next_link=where)
    answer = confirm(alice, mailbox.wait())
    assert answer.status == (302 if leads else 200)
    assert answer.headers.get("Location") == (where if leads else None)
    if not leads:
        assert where in answer.body.decode(), "a person may go there"


@pytest.mark.parametrize("where", ["javascript:alert(1)", "data:text/html,x", "//evil.example"])
def test_links_that_are_no_web_pages_are_refused(home, where):
    answer = ask(Client(home), "account/3pid", address(), next_link=where)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), answer


@pytest.mark.parametrize("bad", ["nobody", "a@b@c.org,d@e.org", "a b@example.org", "a@example.org\r\nBcc: x@y.z"])
def test_what_is_no_address_is_refused(home, mailbox, bad):
    answer = ask(Client(home), "account/3pid", bad)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), answer
    assert mailbox.letters == []


def test_phones_and_identity_servers_are_not_supported(home):
    alice = Client.register(home)
    body = {"client_secret": "s", "country": "IS", "phone_number": "5550123", "send_attempt": 1}
    for where in ("register", "account/password", "account/3pid"):
        answer = alice.raw("POST", f"{V3}/{where}/msisdn/requestToken", body)
        assert (answer.status, answer.errcode) == (403, "M_THREEPID_MEDIUM_NOT_SUPPORTED"), answer
    creds = {"client_secret": "s", "sid": "s", "id_server": "id.example.org", "id_access_token": "t"}
    assert alice.raw("POST", f"{V3}/account/3pid/bind", creds).errcode == "M_SERVER_NOT_TRUSTED"
    named = {"medium": "email", "address": "a@example.org"}
    assert alice.call("POST", f"{V3}/account/3pid/unbind", named) == {"id_server_unbind_result": "no-support"}


def test_without_mail_there_are_no_addresses(alice):
    assert alice.get(f"{V3}/capabilities")["capabilities"]["m.3pid_changes"] == {"enabled": False}
    answer = ask(alice, "account/3pid", address())
    assert (answer.status, answer.errcode) == (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"), answer
    assert threepids(alice) == []
    body = {"app_id": "m.email", "pushkey": "a@example.org", "kind": "email", "lang": "en", "data": {}}
    body |= {"app_display_name": "x", "device_display_name": "y"}
    assert alice.raw("POST", f"{V3}/pushers/set", body).errcode == "M_INVALID_PARAM"


def test_a_mail_server_that_is_away_is_a_fault_and_the_next_attempt_succeeds(home, mailbox):
    mailbox.reply = "451 come back later"
    mail = address()
    assert ask(Client(home), "account/3pid", mail).status == 500
    mailbox.reply = "550 no such user"
    refused = ask(Client(home), "account/3pid", address())
    assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
    mailbox.reply = None
    assert ask(Client(home), "account/3pid", mail, attempt=2).status == 200
    mailbox.wait()


# -- registration ------------------------------------------------------------------------------------------


def register(home, **more):
    body = {"username": fresh(), "password": PASSWORD, **more}
    return Client(home).raw("POST", f"{V3}/register", body)


def test_registering_with_an_address_adds_it(home, mailbox):
    mail = address()
    first = register(home)
    assert {"stages": ["m.login.registration_token"]} in first.json["flows"]
    assert {"stages": ["m.login.email.identity", "m.login.registration_token"]} in first.json["flows"]
    session = first.json["session"]
    creds = validated(Client(home), mailbox, "register", mail)
    proof = {"type": "m.login.email.identity", "session": session, "threepid_creds": creds}
    second = register(home, auth=proof)
    assert (second.status, second.json["completed"]) == (401, ["m.login.email.identity"]), second
    token = {"type": "m.login.registration_token", "session": session, "token": home.registration_token}
    third = register(home, auth=token)
    assert third.status == 200, third
    assert threepids(Client(home, third.json)) == [mail]
    # It was used up.
    session = register(home).json["session"]
    again = register(home, auth={**proof, "session": session})
    assert (again.status, again.errcode) == (401, "M_FORBIDDEN")


def test_an_address_can_be_required(make_server, mailbox):
    home = make_server(
        email__smtp=mailbox.url,
        email__from="server@althing.test",
        registration__mode="open",
        registration__require_email=True,
    )
    first = register(home)
    assert first.json["flows"] == [{"stages": ["m.login.email.identity"]}]
    dummy = register(home, auth={"type": "m.login.dummy", "session": first.json["session"]})
    assert dummy.status == 401
    unproven = ask(Client(home), "register", address(), "s1").json["sid"]
    proof = {"type": "m.login.email.identity", "session": first.json["session"]}
    early = register(home, auth={**proof, "threepid_creds": {"sid": unproven, "client_secret": "s1"}})
    assert early.status == 401
    creds = validated(Client(home), mailbox, "register", address(), "s2")
    assert register(home, auth={**proof, "threepid_creds": creds}).status == 200


# -- passwords -----------------------------------------------------------------------------------------------


def reset(home, creds, **more):
    target, body = f"{V3}/account/password", {"new_password": NEW, **more}
    first = Client(home).raw("POST", target, body)
    assert first.json["flows"] == [{"stages": ["m.login.email.identity"]}], first
    proof = {"type": "m.login.email.identity", "session": first.json["session"], "threepid_creds": creds}
    return Client(home).raw("POST", target, {**body, "auth": proof})


@pytest.mark.parametrize("logout", [True, False])
def test_a_forgotten_password_is_set_anew_by_mail(home, mailbox, logout):
    alice, mail = Client.register(home), address()
    assert add(alice, mailbox, mail).status == 200
    creds = validated(Client(home), mailbox, "account/password", mail, "reset")
    assert reset(home, creds, logout_devices=logout).status == 200
    login = Client(home).raw("POST", f"{V3}/login", password_login(alice.user, NEW))
    assert login.status == 200
    assert Client(home).raw("POST", f"{V3}/login", password_login(alice.user, PASSWORD)).status == 403
    assert alice.raw("GET", f"{V3}/account/whoami").status == (401 if logout else 200)
    assert reset(home, creds).status == 401, "it was used up"


def test_only_the_link_in_the_letter_resets_a_password(home, mailbox):
    alice, mallory, mail = Client.register(home), Client.register(home), address()
    assert add(alice, mailbox, mail).status == 200
    unknown = ask(mallory, "account/password", address())
    assert (unknown.status, unknown.errcode) == (400, "M_THREEPID_NOT_FOUND")
    sid = ask(mallory, "account/password", mail, "mine").json["sid"]
    assert reset(home, {"sid": sid, "client_secret": "mine"}).status == 401
    # What was validated to add an address is no proof for another purpose.
    creds = validated(mallory, mailbox, "account/3pid", address(), "added")
    assert reset(home, creds).status == 401
    assert Client(home).raw("POST", f"{V3}/login", password_login(alice.user, PASSWORD)).status == 200


def test_login_by_address(home, mailbox):
    alice, mail = Client.register(home), address()
    assert add(alice, mailbox, mail).status == 200
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": mail.upper()}
    body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    assert Client(home).call("POST", f"{V3}/login", body)["user_id"] == alice.user
    old = {"type": "m.login.password", "medium": "email", "address": mail, "password": PASSWORD}
    assert Client(home).call("POST", f"{V3}/login", old)["user_id"] == alice.user
    identifier["address"] = address()
    assert Client(home).raw("POST", f"{V3}/login", body).errcode == "M_FORBIDDEN"


def test_who_is_deactivated_gives_the_address_back(home, mailbox):
    alice, bob, mail = Client.register(home), Client.register(home), address()
    assert add(alice, mailbox, mail).status == 200
    target = f"{V3}/account/deactivate"
    session = alice.raw("POST", target, {}).json["session"]
    alice.call("POST", target, {"auth": by_password(alice, session)})
    assert add(bob, mailbox, mail).status == 200
    assert threepids(bob) == [mail]


# -- login tokens and pages ------------------------------------------------------------------------------------


def login_token(client):
    target = f"{V1}/login/get_token"
    session = client.raw("POST", target, {}).json["session"]
    return client.call("POST", target, {"auth": by_password(client, session)})


def test_a_login_token_logs_another_device_in_once(alice):
    flows = alice.get(f"{V3}/login")["flows"]
    assert {"type": "m.login.token", "get_login_token": True} in flows
    assert alice.get(f"{V3}/capabilities")["capabilities"]["m.get_login_token"] == {"enabled": True}
    given = login_token(alice)
    assert given["expires_in_ms"] <= 120_000
    body = {"type": "m.login.token", "token": given["login_token"]}
    other = alice.raw("POST", f"{V3}/login", body, token=None)
    assert (other.status, other.json["user_id"]) == (200, alice.user)
    assert other.json["device_id"] != alice.device
    again = alice.raw("POST", f"{V3}/login", body, token=None)
    assert (again.status, again.errcode) == (403, "M_FORBIDDEN")


def test_a_login_token_takes_consent_each_time(alice):
    target = f"{V1}/login/get_token"
    session = alice.raw("POST", target, {}).json["session"]
    auth = by_password(alice, session)
    assert alice.raw("POST", target, {"auth": auth}).status == 200
    assert alice.raw("POST", target, {"auth": {"session": session}}).status == 401
    wrong = {**auth, "password": "wrong"}
    session = alice.raw("POST", target, {}).json["session"]
    assert alice.raw("POST", target, {"auth": {**wrong, "session": session}}).status == 401


def test_a_page_takes_a_stage_for_a_client_that_cannot(server, nobody):
    body = {"username": fresh(), "password": PASSWORD}
    session = nobody.raw("POST", f"{V3}/register", body).json["session"]
    place = path(f"{V3}/auth", "m.login.registration_token", "fallback", "web")
    page = nobody.raw("GET", f"{place}?session={session}")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    wrong = urllib.parse.urlencode({"session": session, "token": "wrong"})
    assert nobody.raw("POST", place, data=wrong.encode(), headers=form).status == 401
    assert nobody.raw("POST", f"{V3}/register", {**body, "auth": {"session": session}}).status == 401
    right = urllib.parse.urlencode({"session": session, "token": server.registration_token})
    done = nobody.raw("POST", place, data=right.encode(), headers=form)
    assert done.status == 200
    assert b"onAuthDone" in done.body
    assert b"authDone" in done.body
    dummy = {"type": "m.login.dummy", "session": session}
    assert nobody.raw("POST", f"{V3}/register", {**body, "auth": dummy}).status == 200


def test_pages_show_what_is_asked_of_them_as_text(nobody):
    evil = urllib.parse.quote('"><script>alert(1)</script>')
    page = nobody.raw("GET", path(f"{V3}/auth", "m.login.dummy", "fallback", "web") + f"?session={evil}")
    assert page.status == 200
    assert b"<script>alert" not in page.body
    login = nobody.raw("GET", "/_matrix/static/client/login/")
    assert login.status == 200
    assert b"matrixLogin.onLogin" in login.body
    assert "sha256-" in login.headers["Content-Security-Policy"]


def test_letters_show_text_and_html(home, mailbox):
    ask(Client(home), "register", address())
    letter = mailbox.wait()
    assert link(letter) in part(letter)
    assert "<a href=" in part(letter, "html")
