// matrix-js-sdk's SlidingSync, unmodified, as a client that a test drives: `node sliding.mjs URL` with
// {"userId", "accessToken", "deviceId"} as its first line of input. It tells, as one JSON object a line, how many rooms
// there are and what it shows, newest first; on a line `more` it asks for a page more, on `open ROOM` for one room.

import readline from "node:readline";

const PAGE = 20;
for (const level of ["log", "info", "debug", "trace"]) console[level] = (...words) => console.error(...words);

const sdk = await import("matrix-js-sdk");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
const { SlidingSync, SlidingSyncEvent, SlidingSyncState } = await import("matrix-js-sdk/lib/sliding-sync.js");
logger.setLevel?.("warn");

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const session = JSON.parse((await lines.next()).value);
const baseUrl = process.argv[2];
const client = sdk.createClient({ baseUrl, ...session });

const required_state = [["m.room.create", ""], ["m.room.name", ""], ["m.room.member", sdk.MSC3575_STATE_KEY_ME ?? "$ME"]];
const details = { timeline_limit: 1, required_state };
let end = PAGE - 1;
const lists = new Map([["all", { ranges: [[0, end]], ...details }]]);
const sliding = new SlidingSync(baseUrl, lists, { timeline_limit: 20, required_state: [["*", "*"]] }, client, 5000);

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
let known;

function shown() {
    const stay = ["join", "invite"];
    const rooms = client.getRooms().filter((room) => stay.includes(room.getMyMembership()));
    rooms.sort((a, b) => (b.getBumpStamp() ?? 0) - (a.getBumpStamp() ?? 0));
    const first = Object.fromEntries(rooms.slice(0, PAGE).map((room) => [room.roomId, {
        name: room.name,
        notifications: room.getUnreadNotificationCount(sdk.NotificationCountType.Total),
        highlights: room.getUnreadNotificationCount(sdk.NotificationCountType.Highlight),
        members: room.getJoinedMemberCount(),
    }]));
    tell({ shown: rooms.map((room) => room.roomId), first });
}

sliding.on(SlidingSyncEvent.Lifecycle, (at, _answer, error) => {
    if (error) tell({ error: String(error) });
    if (at !== SlidingSyncState.Complete) return;
    const count = sliding.getListData("all").joinedCount;
    if (known !== count) tell({ rooms: (known = count) });
    shown();
});

await client.startClient({ slidingSync: sliding, threadSupport: true });
for await (const line of lines) {
    if (line === "more") sliding.setListRanges("all", [[0, (end += PAGE)]]);
    else if (line.startsWith("open ")) sliding.modifyRoomSubscriptions(new Set([line.slice(5)]));
}
client.stopClient();
process.exit(0);
