import { fromBase64, toBase64 } from "./bytes.js";
import { handleError, MainstayError, ownError } from "./errors.js";
import { isRepeatable } from "./session.js";
import { isJson } from "./share.js";

/**
 * @typedef {import("../protocol.d.ts").RequestCommand} RequestCommand
 * @typedef {import("../protocol.d.ts").ResponseReply} ResponseReply
 * @typedef {import("./session.js").Push} Push
 * @typedef {import("./session.js").Session} Session
 */

const CHUNK_BYTES = 64 * 1024;
/** Larger blobs are streamed. */
const WHOLE_BYTES_MAX = 1024 * 1024;
const BUFFER_BYTES = 256 * 1024;
const BASE = "http://backend";
const TYPE = "content-type";

/** @param {unknown} body @returns {body is BodyInit} */
function isBytes(body) {
  return (
    ArrayBuffer.isView(body) ||
    [ArrayBuffer, Blob, FormData, URLSearchParams, ReadableStream].some((kind) => body instanceof kind)
  );
}

/** What would be valid. */
const VALID = {
  request: 'a request has a method and a path, as in request("GET", "/api/notes")',
  body: "a body is JSON, a Blob, FormData, URLSearchParams, a ReadableStream, an ArrayBuffer or a view of one",
  frame: "a frame is a text or a Uint8Array",
  entry: "an entry is JSON or a Uint8Array",
  selection: "entries are named by one of { key }, { prefix }, { glob } and { all: true }",
};

/**
 * Throws for arguments that are not valid.
 * @param {keyof typeof VALID} what
 * @param {string} [more]
 * @returns {never}
 */
export function refuse(what, more = "") {
  throw ownError("invalid_request", VALID[what] + more);
}

/**
 * Returns a value, or throws for one that JSON leaves out, or writes as `{}` whatever it has: a function, a promise, a map.
 * @param {unknown} value
 * @param {"body" | "entry"} what
 */
export function checkJson(value, what) {
  if (isJson(value)) return value;
  const isNamed = typeof value === "object" && value && !ArrayBuffer.isView(value);
  if (isNamed && ("toJSON" in value || Object.keys(value).length)) return value;
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  return refuse(what, `, and no ${kind}`);
}

/**
 * Returns the members of a request for its body: JSON as it is, bytes as base64.
 * @param {unknown} body
 * @param {Record<string, string>} [headers]
 */
export async function encodeBody(body, headers) {
  if (body !== undefined && !isBytes(body)) checkJson(body, "body");
  if (!isBytes(body)) return { body: /** @type {import("../protocol.d.ts").Json} */ (body), headers };
  const whole = new Response(body);
  const own = new Headers(headers);
  const type = own.get(TYPE) ?? whole.headers.get(TYPE);
  if (type) own.set(TYPE, type);
  return { base64: toBase64(new Uint8Array(await whole.arrayBuffer())), headers: Object.fromEntries(own) };
}

/**
 * Returns the members of the command that sends a frame.
 * @param {string | Uint8Array} frame
 */
export function encodeFrame(frame) {
  if (typeof frame === "string") return { text: frame };
  return frame instanceof Uint8Array ? { base64: toBase64(frame) } : refuse("frame");
}

/** @param {string | URL} input */
function toPath(input) {
  const { origin, pathname, search } = new URL(input, BASE);
  if (origin === BASE || origin === globalThis.location?.origin) return pathname + search;
  throw ownError("invalid_request", "a request goes to the backend: give its path");
}

/**
 * Sends a request as `fetch` does.
 * @param {Session} session
 * @param {string | URL | Request} input
 * @param {RequestInit} init
 * @param {{ wire: Partial<RequestCommand>, waitMs: number, onPush: (push: Push) => void }} options
 * @returns {Promise<Response>}
 */
export async function bridgeFetch(session, input, init, { wire, waitMs, onPush }) {
  const request = input instanceof Request ? input : /** @type {Partial<Request>} */ ({ url: String(input) });
  const { signal = request.signal } = init;
  signal?.throwIfAborted();
  const path = toPath(/** @type {string} */ (request.url));
  const headers = Object.fromEntries(new Headers(init.headers ?? request.headers));
  let given = init.body ?? request.body ?? undefined;
  if (typeof given === "string") {
    headers[TYPE] ??= "text/plain;charset=UTF-8";
    given = new TextEncoder().encode(given);
  } else if (given instanceof Blob && given.size > WHOLE_BYTES_MAX) {
    if (given.type) headers[TYPE] ??= given.type;
    given = given.stream();
  }
  const stream = given instanceof ReadableStream ? given : null;
  const content = stream ? { stream_body: true, headers } : await encodeBody(given, headers);
  const method = (init.method ?? request.method ?? "GET").toUpperCase();
  /** @type {{ type: "request" } & RequestCommand} */
  const command = { type: "request", method, path, stream: true, ...wire, ...content };
  const body = responseBody(session, signal, isRepeatable(command));
  try {
    /** @type {ResponseReply} */
    const {
      status,
      headers,
      request_id: requestId,
      attempts,
      cached,
    } = await session.ask(command, {
      signal: signal ?? undefined,
      waitMs,
      isStream: true,
      onPush: (push) => (body.take(push), onPush(push)),
      onSent: (id) => {
        body.id = id;
        if (stream) upload(session, id, stream, body.ended.signal);
      },
    });
    const isEmpty = [204, 205, 304].includes(status);
    if (isEmpty) session.route(body.id);
    const response = new Response(isEmpty ? null : body.open(), { status, headers });
    Object.defineProperty(response, "url", { value: path });
    return Object.assign(response, { requestId, attempts, cached });
  } catch (thrown) {
    body.ended.abort();
    stream?.cancel(thrown).catch(() => {});
    signal?.throwIfAborted();
    const error = handleError(thrown);
    const { status = 0 } = error;
    if (status < 400) throw error;
    return new Response(JSON.stringify(error), { status, headers: { [TYPE]: "application/problem+json" } });
  }
}

/**
 * Makes the body of a streamed response. The runtime sends further chunks when these are read.
 * @param {Session} session
 * @param {AbortSignal | null | undefined} signal
 * @param {boolean} isRepeatable
 */
function responseBody(session, signal, isRepeatable) {
  /** @type {ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>} */
  let controller;
  /** @type {Push[] | null} */
  let early = [];
  let unacknowledged = 0;
  let bytes = 0;
  let isOver = false;

  /** @param {boolean} [isCancelled] */
  const end = (isCancelled) => {
    if (isOver) return;
    isOver = true;
    signal?.removeEventListener("abort", abort);
    session.route(body.id);
    if (!isCancelled) return;
    body.ended.abort();
    session.tell({ type: "cancel", request: body.id });
  };
  const abort = () => {
    end(true);
    controller.error(signal?.reason);
  };
  const body = {
    id: 0,
    /** Aborts when the request has failed, so that its upload ends. */
    ended: new AbortController(),
    /** @param {Push} push */
    take(push) {
      const { chunk, end: last, error, lost } = push;
      if (isOver || (chunk == null && !last && !error && !lost)) return;
      if (early) early.push(push);
      else if (chunk != null) {
        const part = fromBase64(chunk);
        bytes += part.length;
        unacknowledged++;
        controller.enqueue(part);
      } else {
        end();
        if (last?.bytes === bytes) return controller.close();
        const broken = ownError(lost ? "outcome_unknown" : "internal", "the body is not whole", lost);
        controller.error(error ? new MainstayError(error) : lost && isRepeatable ? lost : broken);
      }
    },
    open() {
      /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */
      const stream = new ReadableStream(
        {
          start: (given) => void (controller = given),
          pull() {
            const chunks = unacknowledged;
            unacknowledged = 0;
            if (chunks && !isOver) session.tell({ type: "body", action: "ack", request: body.id, chunks });
          },
          cancel: () => end(true),
        },
        { highWaterMark: BUFFER_BYTES, size: (part) => part.length },
      );
      signal?.addEventListener("abort", abort);
      const pushes = early ?? [];
      early = null;
      pushes.forEach(body.take);
      return stream;
    },
  };
  return body;
}

/**
 * Sends a stream as the body of a request, each chunk once the one before was taken.
 * @param {Session} session
 * @param {number} request
 * @param {ReadableStream<Uint8Array>} stream
 * @param {AbortSignal} signal
 */
async function upload(session, request, stream, signal) {
  const type = "body";
  const reader = stream.getReader();
  const stop = () => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener("abort", stop);
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      for (let at = 0; at < part.value.length; at += CHUNK_BYTES) {
        const base64 = toBase64(part.value.subarray(at, at + CHUNK_BYTES));
        await session.ask({ type, action: "write", request, base64 }, { signal });
      }
    }
    if (!signal.aborted) session.tell({ type, action: "end", request });
  } catch {
    if (!signal.aborted) session.tell({ type, action: "abort", request });
    stop();
  }
}
