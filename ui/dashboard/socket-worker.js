/**
 * The socket to the runtime, in a thread of its own. The state of ten thousand agents is megabytes of text: it is decoded and
 * parsed here, and the page gets what is new, in parts.
 *
 * @typedef {import("./large-json.js").ListChange} ListChange
 * @typedef {{ type: "open", id: number, url: string, token: string } | { type: "send", id: number, text: string } |
 *   { type: "close", id: number }} ToWorker
 * @typedef {{ type: "open", id: number } | { type: "close", id: number, error?: import("../protocol.d.ts").ErrorObject } |
 *   { type: "message", id: number, message: string } | { type: "change", change: ListChange } |
 *   { type: "value", id: number, value: unknown, lists: Pick<ListChange, "path" | "place">[] }} FromWorker
 */
import { handleError } from "../src/errors.js";
import { websocketTransport } from "../src/transports/websocket.js";
import { createReader } from "./large-json.js";

/** A message from this size on is read here. */
const LARGE_CHARS = 65_536;
/** The elements of one part, which the page takes within a few milliseconds. */
const PART = 250;

/** @type {Map<number, import("../src/session.js").Link>} */
const links = new Map();
const read = createReader();
/** @param {FromWorker} message */
const post = (message) => postMessage(message);

/** Returns null for a text that cannot be read. @param {string} text */
function tryRead(text) {
  try {
    return read(text);
  } catch {
    return null;
  }
}

/**
 * @param {number} id
 * @param {string | object} message
 */
function receive(id, message) {
  const text = String(message);
  const parsed = text.length < LARGE_CHARS ? null : tryRead(text);
  // The session in the page fails over what is no JSON, as it does with a small one.
  if (!parsed) return post({ type: "message", id, message: text });
  const { value, lists } = parsed;
  for (const { changed, ...list } of lists)
    for (let at = 0; at === 0 || at < changed.length; at += PART)
      post({ type: "change", change: { ...list, changed: changed.slice(at, at + PART) } });
  post({ type: "value", id, value, lists: lists.map(({ path, place }) => ({ path, place })) });
}

/** @param {ToWorker & { type: "open" }} message */
function open({ id, url, token }) {
  /** @param {import("../src/errors.js").MainstayError} [error] */
  const onClose = (error) => {
    links.delete(id);
    post({ type: "close", id, error: error?.toJSON() });
  };
  try {
    const events = { onOpen: () => post({ type: "open", id }), onMessage: receive.bind(null, id), onClose };
    links.set(id, websocketTransport({ url, token }).open(events));
  } catch (error) {
    onClose(handleError(error));
  }
}

/** @param {MessageEvent<ToWorker>} event */
onmessage = ({ data }) => {
  if (data.type === "open") return open(data);
  const link = links.get(data.id);
  if (data.type === "send") return link?.send(data.text);
  link?.close();
  links.delete(data.id);
};
