// matrix-js-sdk with its Rust cryptography, unmodified: any number of devices in one process, behind lines of JSON.
// {"id", "device", "verb", "args"} in, {"id", "result"} or {"id", "error"} out. tests/judge speaks the same verbs.

import readline from "node:readline";

// Standard output is the answers' channel; the SDK's log goes to standard error, its finer parts only if asked for.
const finely = process.env.ALTHING_TEST_SDK_LOG !== undefined;
for (const level of ["log", "info", "warn"]) console[level] = (...words) => console.error(...words);
for (const level of ["debug", "trace"]) console[level] = (...words) => finely && console.error(...words);

const sdk = await import("matrix-js-sdk");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
const { CryptoEvent, VerificationPhase, VerifierEvent, decodeRecoveryKey } = await import(
    "matrix-js-sdk/lib/crypto-api/index.js"
);
const { encryptAttachment, decryptAttachment } = await import("./attachments.mjs");
logger.setLevel?.(finely ? "debug" : "warn");

const WAIT_MS = Number(process.env.ALTHING_TEST_WAIT_MS ?? 90_000);
const AGAIN_MS = 250;
// So long what comes by sync is waited for, before the event itself is asked for.
const LIVE_MS = 2000;
const SAS = "m.sas.v1";

/** Without notes of what was being sent: the SDK reads them again whenever it makes an object for a room that it has
 *  one for, as on joining, and throws where nobody catches when there are two. Node ends the process for that. */
class Store extends sdk.MemoryStore {
    async getPendingEvents() {
        return [];
    }
}
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `look` gives something. */
async function until(what, look) {
    const end = Date.now() + WAIT_MS;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > end) throw new Error(`waited ${WAIT_MS} ms for ${what}`);
        await later(50);
    }
}

/** Does it again for as long as the server cannot be reached. */
async function insist(work) {
    const end = Date.now() + WAIT_MS;
    for (;;) {
        try {
            return await work();
        } catch (error) {
            const away = error?.name === "ConnectionError" || (error?.httpStatus ?? 0) >= 500;
            if (!away || Date.now() > end) throw error;
            await later(AGAIN_MS);
        }
    }
}

/** One device of one user. */
class Device {
    secrets = new Map();
    requests = new Map();
    verifications = new Map();
    failed = new Set();
    live = 0;

    async login({ baseUrl, user, password }) {
        const fresh = sdk.createClient({ baseUrl });
        const identifier = { type: "m.id.user", user };
        this.session = await fresh.loginRequest({ type: "m.login.password", identifier, password });
        this.client = sdk.createClient({
            baseUrl,
            accessToken: this.session.access_token,
            userId: this.session.user_id,
            deviceId: this.session.device_id,
            timelineSupport: true,
            store: new Store(),
            verificationMethods: [SAS],
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) => {
                    const id = Object.keys(keys).find((key) => this.secrets.has(key)) ?? Object.keys(keys)[0];
                    return [id, this.secrets.get(id) ?? this.recoveryKey];
                },
                cacheSecretStorageKey: (id, _about, key) => this.secrets.set(id, key),
            },
        });
        return this.session;
    }

    get crypto() {
        return this.client.getCrypto();
    }

    async start() {
        await insist(() => this.client.initRustCrypto({ useIndexedDB: false }));
        this.client.on(CryptoEvent.VerificationRequestReceived, (request) =>
            this.requests.set(request.transactionId, request),
        );
        this.client.on(sdk.MatrixEventEvent.Decrypted, (event, error) => {
            if (error) this.failed.add(event.getId());
            else this.live++;
        });
        const pendingEventOrdering = sdk.PendingEventOrdering.Detached;
        await this.client.startClient({ initialSyncLimit: 20, pendingEventOrdering });
        await until("the first sync", () => this.client.isInitialSyncComplete());
        return true;
    }

    async stop() {
        this.client.stopClient();
        return true;
    }

    async logout() {
        await this.client.logout(true);
        return true;
    }

    // -- cross-signing and recovery ------------------------------------------------------------------

    #password(password) {
        const identifier = { type: "m.id.user", user: this.session.user_id };
        return async (request) => {
            try {
                return await request(null);
            } catch (error) {
                const session = error.data?.session;
                if (error.httpStatus !== 401 || !session) throw error;
                return await request({ type: "m.login.password", identifier, password, session });
            }
        };
    }

    async crossSign({ password }) {
        await this.crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: this.#password(password) });
        return this.crypto.isCrossSigningReady();
    }

    async enableRecovery() {
        const key = await this.crypto.createRecoveryKeyFromPassphrase();
        await this.crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => key,
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
        await this.crypto.checkKeyBackupAndEnable();
        return key.encodedPrivateKey;
    }

    async recover({ key }) {
        this.recoveryKey = decodeRecoveryKey(key);
        await until("the own identity", () => this.crypto.userHasCrossSigningKeys(this.session.user_id, true));
        await this.crypto.bootstrapCrossSigning({});
        await this.crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        await this.crypto.checkKeyBackupAndEnable();
        return (await this.crypto.restoreKeyBackup()).imported;
    }

    // -- verification --------------------------------------------------------------------------------

    async askVerification({ user, device, roomId }) {
        const known = async () => (await this.crypto.getUserDeviceInfo([user], true)).get(user)?.get(device);
        await until(`the device ${device}`, known);
        const request = roomId
            ? await this.crypto.requestVerificationDM(user, roomId)
            : await this.crypto.requestDeviceVerification(user, device);
        this.requests.set(request.transactionId, request);
        return request.transactionId;
    }

    async acceptVerification({ flow }) {
        const request = await until(`the request ${flow}`, () => this.requests.get(flow));
        await request.accept();
        return true;
    }

    /** Who asked begins when the other is ready; both get to the emoji. */
    async emoji({ flow, begins }) {
        const request = this.requests.get(flow);
        const at = (phase) => {
            if (request.phase === VerificationPhase.Cancelled) throw new Error(`cancelled: ${request.cancellationCode}`);
            return request.phase === phase;
        };
        await until("both ready", () => at(VerificationPhase.Ready) || request.verifier);
        const verifier = begins
            ? await request.startVerification(SAS)
            : await until("a start", () => at(VerificationPhase.Started) && request.verifier);
        const shown = new Promise((resolve) => verifier.on(VerifierEvent.ShowSas, resolve));
        const done = verifier.verify();
        done.catch(() => undefined);
        const sas = verifier.getShowSasCallbacks() ?? (await Promise.race([shown, done.then(() => shown)]));
        this.verifications.set(flow, { sas, done, request });
        return sas.sas.emoji.map(([, name]) => name);
    }

    async confirm({ flow }) {
        const { sas, done, request } = this.verifications.get(flow);
        await sas.confirm();
        await done;
        await until("the end of the verification", () => request.phase === VerificationPhase.Done);
        return true;
    }

    async trust({ user, device }) {
        const [who, what] = [
            await this.crypto.getUserVerificationStatus(user),
            await this.crypto.getDeviceVerificationStatus(user, device),
        ];
        return { user: who.isCrossSigningVerified(), device: Boolean(what?.crossSigningVerified) };
    }

    // -- rooms ---------------------------------------------------------------------------------------

    async direct({ user }) {
        const content = { algorithm: "m.megolm.v1.aes-sha2" };
        const initial_state = [{ type: "m.room.encryption", state_key: "", content }];
        const preset = sdk.Preset.TrustedPrivateChat;
        return (await this.client.createRoom({ preset, is_direct: true, invite: [user], initial_state })).room_id;
    }

    async createRoom({ invite, visibility = "shared" }) {
        const initial_state = [
            { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
            { type: "m.room.history_visibility", state_key: "", content: { history_visibility: visibility } },
        ];
        const preset = sdk.Preset.PrivateChat;
        return (await this.client.createRoom({ preset, invite, initial_state })).room_id;
    }

    async join({ roomId, via }) {
        await insist(() => this.client.joinRoom(roomId, { viaServers: via }));
        return true;
    }

    async invite({ roomId, user }) {
        await insist(() => this.client.invite(roomId, user));
        return true;
    }

    async leave({ roomId }) {
        await insist(() => this.client.leave(roomId));
        return true;
    }

    async waitInvite({ roomId }) {
        return until(`an invite to ${roomId}`, () => this.client.getRoom(roomId)?.getMyMembership() === "invite");
    }

    /** Until the SDK knows the room for encrypted, and its members for exactly these. */
    async waitMembers({ roomId, users }) {
        const wanted = [...users].sort().join();
        let seen = "no such room";
        return until(`members ${wanted}`, async () => {
            const room = this.client.getRoom(roomId);
            if (!room) return false;
            await insist(() => room.loadMembersIfNeeded());
            seen = room.getJoinedMembers().map((member) => member.userId).sort().join();
            const encrypted = await this.crypto.isEncryptionEnabledInRoom(roomId);
            if (!encrypted) seen += ", not encrypted";
            return encrypted && seen === wanted;
        }).catch((error) => {
            throw new Error(`${error.message}; there are ${seen} (${this.client.getRoom(roomId)?.getMyMembership()})`);
        });
    }

    /** Sends until the server has it: the same transaction, however often. */
    async #send(roomId, content) {
        const room = this.client.getRoom(roomId);
        const txn = this.client.makeTxnId();
        let first = true;
        return insist(async () => {
            if (first) {
                first = false;
                return (await this.client.sendEvent(roomId, null, "m.room.message", content, txn)).event_id;
            }
            const pending = room.getPendingEvents().find((event) => event.getTxnId() === txn);
            return (await this.client.resendEvent(pending, room)).event_id;
        });
    }

    async text({ roomId, body }) {
        return this.#send(roomId, { msgtype: "m.text", body });
    }

    async attach({ roomId, name, base64 }) {
        const { data, info } = await encryptAttachment(Buffer.from(base64, "base64"));
        const type = "application/octet-stream";
        const { content_uri } = await insist(() => this.client.uploadContent(data, { type, name, includeFilename: false }));
        return this.#send(roomId, { msgtype: "m.file", body: name, file: { ...info, url: content_uri } });
    }

    async fetch({ roomId, event }) {
        const found = await until(`event ${event}`, () => {
            const known = this.client.getRoom(roomId)?.findEventById(event);
            return known?.getContent().file && known;
        });
        const { file } = found.getContent();
        const url = this.client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
        const answer = await fetch(url, { headers: { Authorization: `Bearer ${this.client.getAccessToken()}` } });
        if (!answer.ok) throw new Error(`${answer.status} for ${url}`);
        const data = Buffer.from(await answer.arrayBuffer());
        return (await decryptAttachment(data, file)).toString("base64");
    }

    /** Until an event is there and readable; gives its text. What a gap in /sync hides is asked for. */
    async waitText({ roomId, event }) {
        const began = Date.now();
        let why = "it is not there";
        const look = async () => {
            let found = this.client.getRoom(roomId)?.findEventById(event);
            if (!found && Date.now() - began > LIVE_MS) {
                const raw = await this.client.fetchRoomEvent(roomId, event).catch(() => undefined);
                found = raw && new sdk.MatrixEvent(raw);
                if (found) await this.client.decryptEventIfNeeded(found);
            }
            if (found?.isDecryptionFailure()) why = found.decryptionFailureReason;
            return !found?.isDecryptionFailure() && found?.getClearContent()?.body;
        };
        return until(`the text of ${event}`, look).catch((error) => {
            throw new Error(`${error.message}: ${why}`);
        });
    }

    /** The whole room as it is shown to who scrolls up: encrypted events only, with their text or why there is none. */
    async read({ roomId }) {
        const set = this.client.getRoom(roomId).getUnfilteredTimelineSet();
        const window = new sdk.TimelineWindow(this.client, set, { windowLimit: 1e6 });
        await insist(() => window.load());
        while (window.canPaginate(sdk.Direction.Backward)) {
            await insist(() => window.paginate(sdk.Direction.Backward, 100));
        }
        const read = {};
        for (const event of window.getEvents()) {
            if (event.getWireType() !== "m.room.encrypted") continue;
            await this.client.decryptEventIfNeeded(event);
            const utd = event.isDecryptionFailure() ? String(event.decryptionFailureReason) : null;
            // The SDK shows an apology in place of what it cannot decrypt.
            const body = (utd === null && event.getContent().body) || null;
            read[event.getId()] = { sender: event.getSender(), body, utd };
        }
        return read;
    }

    /** Throws away the key that is in use, as an application does from time to time. */
    async rotate({ roomId }) {
        await this.crypto.forceDiscardSession(roomId);
        return true;
    }

    async seen() {
        return { decrypted: this.live, failedAtFirst: this.failed.size };
    }
}

const devices = new Map();
const answer = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);

for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, device, verb, args } = JSON.parse(line);
    if (!devices.has(device)) devices.set(device, new Device());
    Promise.resolve()
        .then(() => devices.get(device)[verb](args ?? {}))
        .then(
            (result) => answer({ id, result: result ?? null }),
            (error) => answer({ id, error: String(error?.stack ?? error), data: error?.data ?? null }),
        );
}
process.exit(0);
