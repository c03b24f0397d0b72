// matrix-js-sdk behind lines of JSON: {"id", "verb", "args"} in, {"id", "result"} or {"id", "error"} out.
// The SDK is unmodified; all that is here is calling it and reading what it shows to an application.

import readline from "node:readline";

// Standard output is the answers' channel; the SDK's log goes to standard error.
for (const level of ["log", "info", "debug", "trace"]) console[level] = (...words) => console.error(...words);

const sdk = await import("matrix-js-sdk");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
logger.setLevel?.("warn");

const WAIT_MS = 60_000;
let client;
const watchers = new Set();
const live = [];

const poke = () => watchers.forEach((watcher) => watcher());

/** Waits until `look` gives something, looking again whenever the SDK reports anything (or a second has gone). */
function until(what, look) {
    return new Promise((resolve, reject) => {
        const watcher = () => {
            const found = look();
            if (!found) return;
            end();
            resolve(found);
        };
        const end = () => {
            watchers.delete(watcher);
            clearTimeout(timer);
            clearInterval(again);
        };
        const again = setInterval(watcher, 1000);
        const timer = setTimeout(() => {
            end();
            reject(new Error(`waited ${WAIT_MS} ms for ${what}`));
        }, WAIT_MS);
        watchers.add(watcher);
        watcher();
    });
}

const room = (id) => {
    const found = client.getRoom(id);
    if (!found) throw new Error(`the SDK does not know room ${id}`);
    return found;
};
const find = (id, event) => client.getRoom(id)?.findEventById(event);

/** After a gap in /sync the SDK begins a new timeline; scrolling up fills it until it meets the old one. */
async function fillGap(roomId) {
    const timeline = () => room(roomId).getLiveTimeline();
    while (timeline().getPaginationToken(sdk.Direction.Backward)) {
        await client.scrollback(room(roomId), 100);
        poke();
    }
}

/** Sends, and should the connection fail (a restart) has the SDK send the very same event again. */
async function send(roomId, type, content) {
    const txn = client.makeTxnId();
    for (let attempt = 0; ; attempt++) {
        try {
            if (attempt === 0) return (await client.sendEvent(roomId, null, type, content, txn)).event_id;
            const pending = room(roomId).getPendingEvents().find((event) => event.getTxnId() === txn);
            return (await client.resendEvent(pending, room(roomId))).event_id;
        } catch (error) {
            if (error?.name !== "ConnectionError" || attempt === 60) throw error;
            await new Promise((later) => setTimeout(later, 250));
        }
    }
}

const message = (body, more = {}) => ({ msgtype: "m.text", body, ...more });

/** Fetches media the way a web client does: the SDK's URL, the token in a header. */
async function fetchMedia(mxc, width, height) {
    const url = client.mxcUrlToHttp(mxc, width, height, width && "crop", false, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
    const bytes = Buffer.from(await answer.arrayBuffer());
    return { status: answer.status, type: answer.headers.get("content-type"), base64: bytes.toString("base64") };
}

const verbs = {
    async register({ baseUrl, username, password, token }) {
        const fresh = sdk.createClient({ baseUrl });
        let auth;
        for (;;) {
            try {
                return (await fresh.registerRequest({ username, password, auth, inhibit_login: true })).user_id;
            } catch (error) {
                const { session, flows, completed = [] } = error.data ?? {};
                const next = flows?.[0].stages.find((stage) => !completed.includes(stage));
                if (error.httpStatus !== 401 || !next || auth?.type === next) throw error;
                auth = { type: next, session, ...(next === "m.login.registration_token" && { token }) };
            }
        }
    },

    async login({ baseUrl, user, password }) {
        const fresh = sdk.createClient({ baseUrl });
        const identifier = { type: "m.id.user", user };
        const session = await fresh.loginRequest({ type: "m.login.password", identifier, password });
        client = sdk.createClient({
            baseUrl,
            accessToken: session.access_token,
            userId: session.user_id,
            deviceId: session.device_id,
            timelineSupport: true,
        });
        return session;
    },

    async start({ threads = false, limit = 20 }) {
        client.on(sdk.RoomEvent.Timeline, (event, where, toStart, removed, data) => {
            if (!toStart && !removed && data.liveEvent) live.push(event.getId());
            poke();
        });
        client.on(sdk.RoomEvent.TimelineReset, (inRoom, set) => {
            if (live.length && set === inRoom?.getUnfilteredTimelineSet()) {
                console.error("a gap in", inRoom.roomId);
                setImmediate(() => fillGap(inRoom.roomId).catch((error) => console.error("gap", error)));
            }
        });
        client.on(sdk.ClientEvent.Sync, (state, _, data) => console.error("sync", state, data?.error?.message ?? ""));
        client.on(sdk.RoomMemberEvent.Typing, poke);
        for (const name of [sdk.ClientEvent.Sync, sdk.ClientEvent.Room, sdk.RoomEvent.Receipt]) client.on(name, poke);
        for (const name of [sdk.RoomEvent.MyMembership, sdk.RoomEvent.Redaction]) client.on(name, poke);
        for (const name of [sdk.RoomEvent.UnreadNotifications, sdk.MatrixEventEvent.Replaced]) client.on(name, poke);
        const pendingEventOrdering = sdk.PendingEventOrdering.Detached;
        await client.startClient({ initialSyncLimit: limit, threadSupport: threads, pendingEventOrdering });
        await until("the first sync", () => client.isInitialSyncComplete());
        return true;
    },

    async stop() {
        client.stopClient();
        return true;
    },

    createRoom: async ({ invite, name }) =>
        (await client.createRoom({ preset: sdk.Preset.PrivateChat, visibility: sdk.Visibility.Private, invite, name }))
            .room_id,
    join: async ({ roomId }) => (await client.joinRoom(roomId)).roomId,
    text: ({ roomId, body, mention }) =>
        send(roomId, "m.room.message", message(body, mention ? { "m.mentions": { user_ids: [mention] } } : {})),
    reply: ({ roomId, event, body }) =>
        send(roomId, "m.room.message", message(body, { "m.relates_to": { "m.in_reply_to": { event_id: event } } })),
    edit: ({ roomId, event, body }) =>
        send(roomId, "m.room.message", {
            ...message(`* ${body}`),
            "m.new_content": message(body),
            "m.relates_to": { rel_type: "m.replace", event_id: event },
        }),
    react: ({ roomId, event, key }) =>
        send(roomId, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: event, key } }),
    thread: ({ roomId, root, body }) =>
        send(roomId, "m.room.message", message(body, { "m.relates_to": { rel_type: "m.thread", event_id: root } })),
    redact: async ({ roomId, event }) => (await client.redactEvent(roomId, event)).event_id,

    async image({ roomId, body, base64, thumbnailBase64 }) {
        const upload = async (text) =>
            (await client.uploadContent(Buffer.from(text, "base64"), { type: "image/png", name: body })).content_uri;
        const [url, thumbnail_url] = [await upload(base64), await upload(thumbnailBase64)];
        const info = { mimetype: "image/png", thumbnail_url, thumbnail_info: { mimetype: "image/png" } };
        return { event: await send(roomId, "m.room.message", { msgtype: "m.image", body, url, info }), url, thumbnail_url };
    },
    download: ({ url }) => fetchMedia(url),
    thumbnail: ({ url, width, height }) => fetchMedia(url, width, height),

    async receipt({ roomId, event }) {
        await client.sendReadReceipt(await until(`event ${event}`, () => find(roomId, event)));
        return true;
    },
    async typing({ roomId, on }) {
        await client.sendTyping(roomId, on, 30_000);
        return true;
    },

    waitEvent: async ({ roomId, event }) => Boolean(await until(`event ${event}`, () => find(roomId, event))),
    waitRedacted: ({ roomId, event }) => until(`redaction of ${event}`, () => find(roomId, event)?.isRedacted()),
    waitEdited: ({ roomId, event, body }) =>
        until(`edit of ${event}`, () => find(roomId, event)?.getContent().body === body),
    waitMembership: ({ roomId, membership }) =>
        until(`membership ${membership}`, () => client.getRoom(roomId)?.getMyMembership() === membership),
    waitRead: ({ roomId, user, event }) =>
        until(`${user} to read ${event}`, () => room(roomId).hasUserReadEvent(user, event)),
    waitTyping: ({ roomId, user, on }) =>
        until(`typing ${on} of ${user}`, () => room(roomId).getMember(user)?.typing === on),
    waitUnread: ({ roomId, total, highlight }) =>
        until(`unread ${total}/${highlight}`, () => {
            const counts = verbs.unread({ roomId });
            return counts.total === total && counts.highlight === highlight && counts;
        }).catch((error) => {
            throw new Error(`${error.message}, have ${JSON.stringify(verbs.unread({ roomId }))}`);
        }),
    unread: ({ roomId }) => ({
        total: room(roomId).getUnreadNotificationCount(sdk.NotificationCountType.Total),
        highlight: room(roomId).getUnreadNotificationCount(sdk.NotificationCountType.Highlight),
    }),

    /** Ids of the whole timeline, as an application shows it that scrolls up to the beginning. */
    async timeline({ roomId }) {
        const window = new sdk.TimelineWindow(client, room(roomId).getUnfilteredTimelineSet(), { windowLimit: 1e6 });
        await window.load();
        while (window.canPaginate(sdk.Direction.Backward)) await window.paginate(sdk.Direction.Backward, 100);
        return window.getEvents().map((event) => event.getId());
    },
    live: () => live,
    /** What the SDK aggregated for one event. */
    aggregated({ roomId, event }) {
        const found = find(roomId, event);
        const relations = room(roomId).relations;
        const reactions = relations.getChildEventsForEvent(event, "m.annotation", "m.reaction");
        return {
            body: found.getContent().body,
            redacted: found.isRedacted(),
            reactions: (reactions?.getRelations() ?? []).map((reaction) => reaction.getId()),
        };
    },
    /** With thread support: the thread of a root as the SDK built it. */
    async thread_of({ roomId, root }) {
        await room(roomId).createThreadsTimelineSets();
        await room(roomId).fetchRoomThreads();
        const thread = await until(`thread ${root}`, () => room(roomId).getThread(root)?.initialEventsFetched && room(roomId).getThread(root));
        return { length: thread.length, events: thread.events.map((event) => event.getId()) };
    },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, verb, args } = JSON.parse(line);
    Promise.resolve()
        .then(() => verbs[verb](args ?? {}))
        .then(
            (result) => ({ id, result: result ?? null }),
            (error) => ({ id, error: String(error?.stack ?? error), data: error?.data ?? null }),
        )
        .then((answer) => process.stdout.write(`${JSON.stringify(answer)}\n`));
}
process.exit(0);
