"""A valid minimal request for every operation of the Client-Server API, by the operation's name in the specification."""

from __future__ import annotations

from collections.abc import Callable

from harness.client import PASSWORD, V3, Client, fresh
from harness.events import Key

from .scene import AS_TOKEN, Ask, Scene

# What is left to other work, by name: these answer 404 `M_UNRECOGNIZED` today.
OAUTH = {"redirectToSSO", "redirectToIdP"}
MISSING = OAUTH
# These are answered, by the refusal that the specification has for it: no identity server is trusted, no policy server is
# here, there is no OAuth 2.0.
REFUSED = {"bind3PID", "inviteBy3PID", "getWellknownPolicy", "getAuthMetadata"}

_asks: dict[str, Callable[[Scene], Ask]] = {}


def _(name: str) -> Callable[[Callable[[Scene], Ask]], Callable[[Scene], Ask]]:
    def keep(function: Callable[[Scene], Ask]) -> Callable[[Scene], Ask]:
        _asks[name] = function
        return function

    return keep


def ask(name: str, scene: Scene) -> Ask:
    """The request for an operation; a new one each time."""
    return _asks[name](scene)


def known() -> set[str]:
    return set(_asks)


def simple(**by_name: Callable[[Scene], Ask]) -> None:
    _asks.update(by_name)


def mine(s: Scene, who: Client | None = None, body: object = None, query: dict | None = None, **args: str) -> Ask:
    """A request of alice's, or of somebody else."""
    return Ask(token=(who or s.alice).token, args=args, query=query or {}, body=body)


def anyones(body: object = None, query: dict | None = None, status: int = 200, **args: str) -> Ask:
    return Ask(args=args, query=query or {}, body=body, status=status)


# -- what the server is ------------------------------------------------------------------------------------------

simple(
    getWellknown=lambda s: anyones(),
    getWellknownPolicy=lambda s: anyones(status=404),
    getWellknownSupport=lambda s: anyones(),
    getVersions=lambda s: anyones(),
    getCapabilities=lambda s: mine(s),
    # Without OAuth 2.0 the specification wants 404.
    getAuthMetadata=lambda s: anyones(status=404),
    getTurnServer=lambda s: mine(s),
)

# -- accounts ----------------------------------------------------------------------------------------------------

ADMINISTERED = {
    "getAdminLockUser": None, "setAdminLockUser": {"locked": True},
    "getAdminSuspendUser": None, "setAdminSuspendUser": {"suspended": True},
}  # fmt: skip
for _name, _body in ADMINISTERED.items():
    _asks[_name] = lambda s, body=_body: mine(s, s.admin, body, userId=s.user().user)

simple(
    getWhoIs=lambda s: mine(s, userId=s.alice.user),
    getLoginFlows=lambda s: anyones(),
    login=lambda s: anyones({"type": "m.login.password", "password": PASSWORD,
                             "identifier": {"type": "m.id.user", "user": s.alice.user}}),
    logout=lambda s: mine(s, s.user()),
    logout_all=lambda s: mine(s, s.user()),
    refresh=lambda s: anyones({"refresh_token": s.refresh_token()}),
    generateLoginToken=lambda s: mine(s, body={"auth": s.proof(s.alice)}),
    registrationTokenValidity=lambda s: anyones(query={"token": s.registration_token()}),
    register=lambda s: anyones({"username": fresh("cov"), "password": PASSWORD, "auth": {
        "type": "m.login.registration_token", "token": s.registration_token()}}),
    checkUsernameAvailability=lambda s: anyones(query={"username": fresh("cov")}),
    getTokenOwner=lambda s: mine(s),
    requestOpenIdToken=lambda s: mine(s, body={}, userId=s.alice.user),
)  # fmt: skip


@_("changePassword")
def change_password(s: Scene) -> Ask:
    user = s.user()
    return mine(s, user, {"new_password": "another long one", "auth": s.proof(user)})


@_("deactivateAccount")
def deactivate(s: Scene) -> Ask:
    user = s.user()
    return mine(s, user, {"auth": s.proof(user)})


simple(
    getAccount3PIDs=lambda s: mine(s),
    requestTokenTo3PIDEmail=lambda s: anyones(s.token_request(s.new_address())),
    requestTokenToRegisterEmail=lambda s: anyones(s.token_request(s.new_address())),
    requestTokenToResetPasswordEmail=lambda s: anyones(s.token_request(s.with_address()[1])),
)

# The server sends no SMS, which the specification lets it say.
for _name in ("requestTokenTo3PIDMSISDN", "requestTokenToRegisterMSISDN", "requestTokenToResetPasswordMSISDN"):
    _asks[_name] = lambda s: anyones(
        {"client_secret": fresh("secret"), "country": "CH", "phone_number": "0791234567", "send_attempt": 1}, status=403)


@_("post3PIDs")
def old_add(s: Scene) -> Ask:
    user = s.user()
    proven = s.validated(user, s.new_address())
    return mine(s, user, {"three_pid_creds": {**proven, "id_server": "id.example.org", "id_access_token": "x"}})


@_("add3PID")
def add_address(s: Scene) -> Ask:
    user = s.user()
    return mine(s, user, {**s.validated(user, s.new_address()), "auth": s.proof(user)})


@_("delete3pidFromAccount")
def delete_address(s: Scene) -> Ask:
    user, address = s.with_address()
    return mine(s, user, {"medium": "email", "address": address})


@_("unbind3pidFromAccount")
def unbind_address(s: Scene) -> Ask:
    user, address = s.with_address()
    return mine(s, user, {"medium": "email", "address": address})


simple(
    getDevices=lambda s: mine(s),
    getDevice=lambda s: mine(s, deviceId=s.alice.device),
    updateDevice=lambda s: mine(s, body={"display_name": "phone"}, deviceId=s.alice.device),
)


@_("deleteDevice")
def delete_device(s: Scene) -> Ask:
    other = s.alice.login()
    return mine(s, body={"auth": s.proof(s.alice)}, deviceId=other.device)


@_("deleteDevices")
def delete_devices(s: Scene) -> Ask:
    other = s.alice.login()
    return mine(s, body={"devices": [other.device], "auth": s.proof(s.alice)})


simple(
    getUserProfile=lambda s: anyones(userId=s.alice.user),
    getProfileField=lambda s: anyones(userId=s.alice.user, keyName="displayname"),
    setProfileField=lambda s: mine(s, body={"displayname": "Alice"}, userId=s.alice.user, keyName="displayname"),
    deleteProfileField=lambda s: mine(s, userId=s.alice.user, keyName="org.example.x"),
    searchUserDirectory=lambda s: mine(s, body={"search_term": s.bob.localpart}),
    getMutualRooms=lambda s: mine(s, query={"user_id": s.bob.user}),
    reportUser=lambda s: mine(s, body={"reason": "spam"}, userId=s.bob.user),
)

for _scope, _more in {"": {}, "PerRoom": {"roomId": True}}.items():
    def _args(s: Scene, more: dict = _more) -> dict[str, str]:
        return {"userId": s.alice.user, "type": "org.example.x", **({"roomId": s.room} if more else {})}

    _asks[f"getAccountData{_scope}"] = lambda s, args=_args: mine(s, **args(s))
    _asks[f"setAccountData{_scope}"] = lambda s, args=_args: mine(s, body={"a": 1}, **args(s))

simple(
    getRoomTags=lambda s: mine(s, userId=s.alice.user, roomId=s.room),
    setRoomTag=lambda s: mine(s, body={"order": 0.1}, userId=s.alice.user, roomId=s.room, tag="u.work"),
    deleteRoomTag=lambda s: mine(s, userId=s.alice.user, roomId=s.room, tag="u.other"),
    defineFilter=lambda s: mine(s, body={"room": {"timeline": {"limit": 5}}}, userId=s.alice.user),
    getFilter=lambda s: mine(s, userId=s.alice.user, filterId=s.filter),
)

# -- rooms -------------------------------------------------------------------------------------------------------

simple(
    createRoom=lambda s: mine(s, body={"name": "New"}),
    getJoinedRooms=lambda s: mine(s),
    upgradeRoom=lambda s: mine(s, body={"new_version": "12"}, roomId=s.new_room(room_version="11")),
    inviteUser=lambda s: mine(s, body={"user_id": s.user().user}, roomId=s.room),
    joinRoom=lambda s: mine(s, s.user(), {}, roomIdOrAlias=s.public),
    joinRoomById=lambda s: mine(s, s.user(), {}, roomId=s.public),
    setRoomAlias=lambda s: mine(s, body={"room_id": s.room}, roomAlias=f"#{fresh('cov')}:{s.alice.server_name}"),
    getRoomIdByAlias=lambda s: anyones(roomAlias=s.alias()),
    deleteRoomAlias=lambda s: mine(s, roomAlias=s.alias()),
    getLocalAliases=lambda s: mine(s, roomId=s.public),
    getRoomVisibilityOnDirectory=lambda s: anyones(roomId=s.public),
    setRoomVisibilityOnDirectory=lambda s: mine(s, body={"visibility": "public"}, roomId=s.public),
    getPublicRooms=lambda s: anyones(),
    queryPublicRooms=lambda s: mine(s, body={"filter": {"generic_search_term": "Open"}}),
    getSpaceHierarchy=lambda s: mine(s, roomId=s.space),
    getRoomSummary=lambda s: mine(s, roomIdOrAlias=s.public),
    reportRoom=lambda s: mine(s, body={"reason": "spam"}, roomId=s.room),
    reportEvent=lambda s: mine(s, body={"reason": "spam"}, roomId=s.room, eventId=s.event),
)


@_("knockRoom")
def knock(s: Scene) -> Ask:
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    return mine(s, s.user(), {}, roomIdOrAlias=s.alice.create_room(initial_state=[rule]))


@_("leaveRoom")
def leave(s: Scene) -> Ask:
    user = s.user()
    return mine(s, user, {}, roomId=s.new_room(user))


@_("forgetRoom")
def forget(s: Scene) -> Ask:
    user = s.user()
    room = s.new_room(user)
    user.leave(room)
    return mine(s, user, {}, roomId=room)


@_("kick")
def kick(s: Scene) -> Ask:
    user = s.user()
    return mine(s, body={"user_id": user.user}, roomId=s.new_room(user))


@_("ban")
def ban(s: Scene) -> Ask:
    return mine(s, body={"user_id": s.user().user}, roomId=s.new_room())


@_("unban")
def unban(s: Scene) -> Ask:
    user, room = s.user(), s.new_room()
    assert s.alice.member("ban", room, user).status == 200
    return mine(s, body={"user_id": user.user}, roomId=room)


# -- events ------------------------------------------------------------------------------------------------------

simple(
    sync=lambda s: mine(s),
    getEvents=lambda s: mine(s, query={"timeout": 0}),
    peekEvents=lambda s: mine(s, s.bob, query={"room_id": s.readable, "timeout": 0, "from": s.peek_token()}),
    initialSync=lambda s: mine(s, query={"limit": 2}),
    getOneEvent=lambda s: mine(s, eventId=s.event),
    roomInitialSync=lambda s: mine(s, roomId=s.room),
    sendMessage=lambda s: mine(s, body={"msgtype": "m.text", "body": "hi"}, roomId=s.room,
                               eventType="m.room.message", txnId=fresh("t")),
    setRoomStateWithKey=lambda s: mine(s, body={"topic": fresh("topic")}, roomId=s.room,
                                       eventType="m.room.topic", stateKey=""),
    redactEvent=lambda s: mine(s, body={}, roomId=s.room, eventId=s.alice.text(s.room, "oops"), txnId=fresh("t")),
    getOneRoomEvent=lambda s: mine(s, roomId=s.room, eventId=s.event),
    getRoomStateWithKey=lambda s: mine(s, roomId=s.room, eventType="m.room.name", stateKey=""),
    getRoomState=lambda s: mine(s, roomId=s.room),
    getMembersByRoom=lambda s: mine(s, roomId=s.room),
    getJoinedMembersByRoom=lambda s: mine(s, roomId=s.room),
    getRoomEvents=lambda s: mine(s, query={"dir": "b"}, roomId=s.room),
    getEventContext=lambda s: mine(s, roomId=s.room, eventId=s.event),
    getEventByTimestamp=lambda s: mine(s, query={"ts": 1, "dir": "f"}, roomId=s.room),
    getRelatingEvents=lambda s: mine(s, roomId=s.room, eventId=s.root),
    getRelatingEventsWithRelType=lambda s: mine(s, roomId=s.room, eventId=s.root, relType="m.thread"),
    getRelatingEventsWithRelTypeAndEventType=lambda s: mine(
        s, roomId=s.room, eventId=s.root, relType="m.thread", eventType="m.room.message"),
    getThreadRoots=lambda s: mine(s, roomId=s.room),
    search=lambda s: mine(s, body={"search_categories": {"room_events": {"search_term": "needle"}}}),
    postReceipt=lambda s: mine(s, body={}, roomId=s.room, receiptType="m.read", eventId=s.event),
    setReadMarker=lambda s: mine(s, body={"m.fully_read": s.event}, roomId=s.room),
    setTyping=lambda s: mine(s, body={"typing": True, "timeout": 1000}, roomId=s.room, userId=s.alice.user),
    getPresence=lambda s: mine(s, userId=s.bob.user),
    setPresence=lambda s: mine(s, body={"presence": "online"}, userId=s.alice.user),
    sendToDevice=lambda s: mine(s, body={"messages": {s.bob.user: {"*": {"a": 1}}}},
                                eventType="org.example.x", txnId=fresh("t")),
)  # fmt: skip

# -- keys --------------------------------------------------------------------------------------------------------

BACKUP = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "k"}}
BACKED_UP = {"first_message_index": 1, "forwarded_count": 0, "is_verified": True, "session_data": {"mac": "m"}}


def backup(s: Scene) -> tuple[Client, str]:
    """A user with a backup, in which there is one key."""
    user = s.user()
    version = user.call("POST", f"{V3}/room_keys/version", BACKUP)["version"]
    user.call("PUT", f"{V3}/room_keys/keys/!r:x.org/s", BACKED_UP, query={"version": version})
    return user, version


def of_keys(s: Scene, body: object = None, **args: str) -> Ask:
    user, version = backup(s)
    return mine(s, user, body, {"version": version}, **args)


def of_backup(s: Scene, body: object = None) -> Ask:
    user, version = backup(s)
    return mine(s, user, body, version=version)


for _verb in ("put", "get", "delete"):
    _put = _verb == "put"
    _asks |= {
        f"{_verb}RoomKeysVersion": lambda s, put=_put: of_backup(s, BACKUP if put else None),
        f"{_verb}RoomKeys": lambda s, put=_put: of_keys(
            s, {"rooms": {"!r:x.org": {"sessions": {"t": BACKED_UP}}}} if put else None),
        f"{_verb}RoomKeysByRoomId": lambda s, put=_put: of_keys(
            s, {"sessions": {"t": BACKED_UP}} if put else None, roomId="!r:x.org"),
        f"{_verb}RoomKeyBySessionId": lambda s, put=_put: of_keys(
            s, BACKED_UP if put else None, roomId="!r:x.org", sessionId="s"),
    }  # fmt: skip

simple(
    postRoomKeysVersion=lambda s: mine(s, s.user(), BACKUP),
    getRoomKeysVersionCurrent=lambda s: mine(s, backup(s)[0]),
)


@_("uploadKeys")
def upload_keys(s: Scene) -> Ask:
    user = s.user()
    keys = Key(user.device).sign({
        "user_id": user.user, "device_id": user.device, "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{user.device}": Key().public},
    }, user.user)  # fmt: skip
    one_time = {"signed_curve25519:a": {"key": "a" * 43, "signatures": {}}}
    return mine(s, user, body={"device_keys": keys, "one_time_keys": one_time})


def owner_of_keys(s: Scene) -> Client:
    upload = upload_keys(s)
    owner = Client(s.server, {"access_token": upload.token, **upload.body["device_keys"]})
    owner.call("POST", "/_matrix/client/v3/keys/upload", upload.body)
    return owner


def master_key(user: Client) -> dict:
    public = Key().public
    return {"user_id": user.user, "usage": ["master"], "keys": {f"ed25519:{public}": public}}


@_("uploadCrossSigningKeys")
def upload_cross_signing_keys(s: Scene) -> Ask:
    user = s.user()
    return mine(s, user, body={"master_key": master_key(user)})


@_("claimKeys")
def claim_keys(s: Scene) -> Ask:
    owner = owner_of_keys(s)
    return mine(s, body={"one_time_keys": {owner.user: {owner.device: "signed_curve25519"}}})


simple(
    queryKeys=lambda s: mine(s, body={"device_keys": {owner_of_keys(s).user: []}}),
    getKeysChanges=lambda s: mine(s, query={"from": s.peek_token(), "to": s.peek_token()}),
    uploadCrossSigningSignatures=lambda s: mine(s, body={s.alice.user: {"UNKNOWN": {"user_id": s.alice.user}}}),
)

# -- push --------------------------------------------------------------------------------------------------------

simple(
    getPushRules=lambda s: mine(s),
    getPushRulesGlobal=lambda s: mine(s),
    getPushRule=lambda s: mine(s, kind="content", ruleId="kept"),
    setPushRule=lambda s: mine(s, body={"actions": ["notify"], "pattern": "x"}, kind="content", ruleId=fresh("rule")),
    deletePushRule=lambda s: mine(s, kind="content", ruleId=s.rule(fresh("rule"))),
    getPushRuleActions=lambda s: mine(s, kind="content", ruleId="kept"),
    setPushRuleActions=lambda s: mine(s, body={"actions": ["notify"]}, kind="content", ruleId="kept"),
    isPushRuleEnabled=lambda s: mine(s, kind="content", ruleId="kept"),
    setPushRuleEnabled=lambda s: mine(s, body={"enabled": True}, kind="content", ruleId="kept"),
    getPushers=lambda s: mine(s),
    postPusher=lambda s: mine(s, body={
        "kind": "http", "app_id": "org.example", "pushkey": fresh("key"), "app_display_name": "App", "lang": "en",
        "device_display_name": "Phone", "data": {"url": f"{s.world.url}/_matrix/push/v1/notify"}}),
    getNotifications=lambda s: mine(s, s.bob),
)  # fmt: skip

# -- media -------------------------------------------------------------------------------------------------------

simple(
    getConfigAuthed=lambda s: mine(s),
    getConfig=lambda s: mine(s),
    getContentAuthed=lambda s: mine(s, **s.media()),
    getContentOverrideNameAuthed=lambda s: mine(s, fileName="pixel.png", **s.media()),
    getContentThumbnailAuthed=lambda s: mine(s, query={"width": 32, "height": 32}, **s.media()),
    getUrlPreviewAuthed=lambda s: mine(s, query={"url": f"{s.world.url}/page"}),
    getUrlPreview=lambda s: mine(s, query={"url": f"{s.world.url}/page"}),
    createContent=lambda s: mine(s),
    uploadContent=lambda s: Ask(token=s.alice.token, data=b"bytes"),
    uploadContentToMXC=lambda s: Ask(token=s.alice.token, data=b"bytes", args=s.reserved()),
)

# Frozen: all our media are younger than the freeze, so nothing is served without a token.
for _name in ("getContent", "getContentOverrideName", "getContentThumbnail"):
    _asks[_name] = lambda s: Ask(
        args={"fileName": "pixel.png", **s.media()}, query={"width": 32, "height": 32}, status=404)

# -- application services ----------------------------------------------------------------------------------------

simple(
    pingAppservice=lambda s: Ask(token=AS_TOKEN, body={"transaction_id": "t"}, args={"appserviceId": "coverage"}),
    updateAppserviceRoomDirectoryVisibility=lambda s: Ask(
        token=AS_TOKEN, body={"visibility": "public"}, args={"networkId": "cov", "roomId": s.public}),
    getProtocols=lambda s: mine(s),
    getProtocolMetadata=lambda s: mine(s, protocol="cov"),
    queryUserByProtocol=lambda s: mine(s, query={"nick": "nick"}, protocol="cov"),
    queryLocationByProtocol=lambda s: mine(s, query={"channel": "#chan"}, protocol="cov"),
    queryUserByID=lambda s: mine(s, query={"userid": "@_cov_nick:althing.test"}),
    queryLocationByAlias=lambda s: mine(s, query={"alias": "#_cov_chan:althing.test"}),
)

# -- identity servers --------------------------------------------------------------------------------------------

# Another server has to be there to bind at; with none, the refusal is what can be seen.
simple(
    bind3PID=lambda s: Ask(token=s.alice.token, status=400, body={
        "sid": "x", "client_secret": "x", "id_server": "id.invalid", "id_access_token": "x"}),
    inviteBy3PID=lambda s: Ask(token=s.alice.token, status=403, args={"roomId": s.room}, body={
        "medium": "email", "address": "a@example.org", "id_server": "id.invalid", "id_access_token": "x"}),
)  # fmt: skip
