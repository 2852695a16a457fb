export { connect, findClient } from "./client.js";
export { countdown, secondsUntil } from "./clock.js";
export { ErrorCodes, handleError, isMainstayError, MainstayError } from "./errors.js";
export { createQueue } from "./queue.js";
export { retry } from "./retry.js";
export { INITIAL_STATE } from "./store.js";
export { compareCursors } from "./streams.js";
export { tauriTransport } from "./transports/tauri.js";
export { websocketTransport } from "./transports/websocket.js";

/**
 * @typedef {import("./client.js").AgentItem} AgentItem
 * @typedef {import("./client.js").BridgeResponse} BridgeResponse
 * @typedef {import("./client.js").Client} Client
 * @typedef {import("./client.js").ConnectOptions} ConnectOptions
 * @typedef {import("./client.js").EventBatch} EventBatch
 * @typedef {import("./client.js").FileItem} FileItem
 * @typedef {import("./client.js").FrameItem} FrameItem
 * @typedef {import("./client.js").LogItem} LogItem
 * @typedef {import("./client.js").MessageOptions} MessageOptions
 * @typedef {import("./client.js").MessageReply} MessageReply
 * @typedef {import("./client.js").RequestOptions} RequestOptions
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./clock.js").Unsubscribe} Unsubscribe
 * @typedef {import("./session.js").SessionState} SessionState
 * @typedef {import("./session.js").Transport} Transport
 * @typedef {import("./store.js").Agent} Agent
 * @typedef {import("./store.js").State} State
 * @typedef {import("./store.js").Store} Store
 */
