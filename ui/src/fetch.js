import { fromBase64, toBase64 } from "./bytes.js";
import { handleError, MainstayError, ownError } from "./errors.js";
import { isRepeatable } from "./session.js";

/**
 * @typedef {import("../protocol.d.ts").RequestCommand} RequestCommand
 * @typedef {import("../protocol.d.ts").ResponseReport} ResponseReport
 * @typedef {import("./session.js").Push} Push
 * @typedef {import("./session.js").Session} Session
 */

const CHUNK_BYTES = 64 * 1024;
/** Larger blobs are streamed. */
const WHOLE_BYTES_MAX = 1024 * 1024;
const BUFFER_BYTES = 256 * 1024;
const BASE = "http://backend";

/** @param {unknown} body @returns {body is BodyInit} */
function isBytes(body) {
  return (
    body instanceof ArrayBuffer || ArrayBuffer.isView(body) || body instanceof Blob || body instanceof FormData ||
    body instanceof URLSearchParams || body instanceof ReadableStream
  );
}

/**
 * Returns the members of a request for its body: JSON as it is, bytes as base64.
 * @param {unknown} body
 * @param {Record<string, string>} [headers]
 */
export async function encodeBody(body, headers) {
  if (!isBytes(body)) return { body, headers };
  const whole = new Response(body);
  const own = new Headers(headers);
  const type = whole.headers.get("content-type");
  if (type && !own.has("content-type")) own.set("content-type", type);
  return { base64: toBase64(new Uint8Array(await whole.arrayBuffer())), headers: Object.fromEntries(own) };
}

/** @param {string | URL} input */
function toPath(input) {
  const url = new URL(input, BASE);
  if (url.origin !== BASE && url.origin !== globalThis.location?.origin) {
    throw ownError("invalid_request", "a request goes to the backend: give its path");
  }
  return url.pathname + url.search;
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
  const request = input instanceof Request ? input : null;
  const signal = init.signal ?? request?.signal;
  signal?.throwIfAborted();
  const path = toPath(request ? request.url : /** @type {string | URL} */ (input));
  const headers = Object.fromEntries(new Headers(init.headers ?? request?.headers));
  const given = init.body ?? request?.body;
  const type = typeof given === "string" ? "text/plain;charset=UTF-8" : given instanceof Blob && given.type;
  if (type) headers["content-type"] ??= type;
  const isLarge = given instanceof Blob && given.size > WHOLE_BYTES_MAX;
  const stream = given instanceof ReadableStream ? given : isLarge ? given.stream() : null;
  const bytes = typeof given === "string" ? new TextEncoder().encode(given) : (given ?? undefined);
  const content = stream ? { stream_body: true, headers } : await encodeBody(bytes, headers);
  signal?.throwIfAborted();
  const method = (init.method ?? request?.method ?? "GET").toUpperCase();
  /** @type {{ type: "request" } & RequestCommand} */
  const command = { type: "request", method, path, stream: true, ...wire, ...content };
  const body = new BodyReader(session, signal, isRepeatable(command));
  try {
    const reply = await session.command(command, {
      signal,
      waitMs,
      isStream: true,
      onPush: (push) => (body.take(push), onPush(push)),
      onSent: (id) => {
        body.id = id;
        if (stream) upload(session, id, stream, body.ended.signal);
      },
    });
    return toResponse(/** @type {ResponseReport} */ (reply), body, path);
  } catch (thrown) {
    body.ended.abort();
    if (stream && !stream.locked) stream.cancel(thrown).catch(() => {});
    signal?.throwIfAborted();
    const error = handleError(thrown);
    if (!error.status || error.status < 400) throw error;
    const problem = { "content-type": "application/problem+json" };
    return new Response(JSON.stringify(error), { status: error.status, headers: problem });
  }
}

/**
 * @param {ResponseReport} head
 * @param {BodyReader} body
 * @param {string} path
 */
function toResponse({ status, headers, request_id: requestId, attempts, cached }, body, path) {
  const isEmpty = status === 204 || status === 205 || status === 304;
  const response = new Response(isEmpty ? null : body.open(), { status, headers });
  Object.defineProperty(response, "url", { value: path });
  return Object.assign(response, { requestId, attempts, cached });
}

/** The body of a streamed response. The runtime sends further chunks when these are read. */
class BodyReader {
  id = 0;
  /** Aborts when the request has failed, so that its upload ends. */
  ended = new AbortController();
  #unacknowledged = 0;
  #bytes = 0;
  #isOver = false;
  /** @type {Push[] | null} */ #early = [];
  /** @type {ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>} */ #controller = /** @type {never} */ (null);
  #session;
  #signal;
  #isRepeatable;

  /**
   * @param {Session} session
   * @param {AbortSignal | undefined} signal
   * @param {boolean} isRepeatable
   */
  constructor(session, signal, isRepeatable) {
    this.#session = session;
    this.#signal = signal;
    this.#isRepeatable = isRepeatable;
  }

  /** @returns {ReadableStream<Uint8Array<ArrayBuffer>>} */
  open() {
    /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */
    const stream = new ReadableStream(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#acknowledge(),
        cancel: () => this.#end(true),
      },
      { highWaterMark: BUFFER_BYTES, size: (bytes) => bytes.length },
    );
    this.#signal?.addEventListener("abort", this.#onAbort);
    const early = this.#early ?? [];
    this.#early = null;
    for (const push of early) this.take(push);
    return stream;
  }

  /** @param {Push} push */
  take(push) {
    const { chunk, end, error, lost } = push;
    if (this.#isOver || (chunk == null && !end && !error && !lost)) return;
    if (this.#early) return void this.#early.push(push);
    if (chunk != null) {
      const bytes = fromBase64(chunk);
      this.#bytes += bytes.length;
      this.#unacknowledged++;
      this.#controller.enqueue(bytes);
    } else if (end && end.bytes === this.#bytes) {
      this.#end(false);
      this.#controller.close();
    } else {
      this.#end(false);
      this.#controller.error(this.#failure(error, lost));
    }
  }

  /**
   * @param {Push["error"]} error
   * @param {MainstayError | undefined} lost
   */
  #failure(error, lost) {
    if (error) return new MainstayError(error);
    if (lost) return this.#isRepeatable ? lost : ownError("outcome_unknown", "the session broke", { cause: lost });
    return ownError("internal", "the length of the body is wrong");
  }

  #onAbort = () => {
    this.#end(true);
    this.#controller.error(this.#signal?.reason);
  };

  #acknowledge() {
    const chunks = this.#unacknowledged;
    if (!chunks || this.#isOver) return;
    this.#unacknowledged = 0;
    this.#session.tell({ type: "body", action: "ack", request: this.id, chunks });
  }

  /** @param {boolean} isCancelled */
  #end(isCancelled) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#session.route(this.id);
    if (!isCancelled) return;
    this.ended.abort();
    this.#session.tell({ type: "cancel", request: this.id });
  }
}

/**
 * Sends a stream as the body of a request, each chunk once the one before was taken.
 * @param {Session} session
 * @param {number} request
 * @param {ReadableStream<Uint8Array>} stream
 * @param {AbortSignal} signal
 */
async function upload(session, request, stream, signal) {
  const reader = stream.getReader();
  const stop = () => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener("abort", stop);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      for (let at = 0; at < value.length; at += CHUNK_BYTES) {
        const base64 = toBase64(value.subarray(at, at + CHUNK_BYTES));
        await session.command({ type: "body", action: "write", request, base64 }, { signal });
      }
    }
    if (!signal.aborted) session.tell({ type: "body", action: "end", request });
  } catch (error) {
    if (!signal.aborted) session.tell({ type: "body", action: "abort", request });
    reader.cancel(error).catch(() => {});
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
