// Encrypted attachments as the specification has them ("Extensions to m.room.message msgtypes"): AES-CTR with a key of
// 256 bits, and the SHA-256 of what is uploaded. The SDK leaves these to the application.

import { createHash, webcrypto } from "node:crypto";

const base64 = (bytes) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");
const algorithm = (counter) => ({ name: "AES-CTR", counter, length: 64 });
const digest = (data) => base64(createHash("sha256").update(data).digest());

/** What to upload, and what the event says of it (but for the URL). */
export async function encryptAttachment(plain) {
    const iv = new Uint8Array(16);
    webcrypto.getRandomValues(iv.subarray(0, 8));
    const key = await webcrypto.subtle.generateKey({ name: "AES-CTR", length: 256 }, true, ["encrypt", "decrypt"]);
    const data = Buffer.from(await webcrypto.subtle.encrypt(algorithm(iv), key, plain));
    const jwk = await webcrypto.subtle.exportKey("jwk", key);
    return { data, info: { v: "v2", key: jwk, iv: base64(iv), hashes: { sha256: digest(data) } } };
}

/** The file again; throws if it is not what the event says. */
export async function decryptAttachment(data, { key, iv, hashes }) {
    if (digest(data) !== hashes.sha256) throw new Error("the hash of the attachment is another");
    const imported = await webcrypto.subtle.importKey("jwk", key, { name: "AES-CTR" }, false, ["decrypt"]);
    return Buffer.from(await webcrypto.subtle.decrypt(algorithm(Buffer.from(iv, "base64")), imported, data));
}
