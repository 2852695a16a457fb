/**
 * A transport whose socket is in a worker, so that large messages leave the page smooth. Where no worker can run, the socket is
 * in the page.
 */
import { MainstayError, ownError } from "../src/errors.js";
import { websocketTransport } from "../src/transports/websocket.js";
import { createWriter } from "./large-json.js";

/**
 * @param {string} token
 * @returns {import("../src/session.js").Transport}
 */
export function workerTransport(token) {
  const url = new URL("/bridge", location.href).href;
  const inPage = websocketTransport({ url, token });
  const writer = createWriter();
  /** @type {Map<number, import("../src/session.js").LinkEvents>} */
  const links = new Map();
  let lastId = 0;
  const worker = startWorker();
  let isBroken = !worker;
  /** @param {import("./socket-worker.js").ToWorker} message */
  const post = (message) => worker?.postMessage(message);

  /** Ends the links of a worker that is of no use. The session opens its next one in the page. @param {string} details */
  const giveUp = (details) => {
    if (isBroken) return;
    isBroken = true;
    worker?.terminate();
    const ended = [...links.values()];
    links.clear();
    for (const { onClose } of ended) onClose(ownError("disconnected", details));
  };
  /** @param {MessageEvent<import("./socket-worker.js").FromWorker>} event */
  const receive = ({ data }) => {
    // Also what belongs to an old link: the worker remembers it, and sends it no more.
    if (data.type === "change") return writer.change(data.change);
    const link = links.get(data.id);
    if (data.type === "open") link?.onOpen();
    else if (data.type === "message") link?.onMessage(data.message);
    else if (data.type === "value") link?.onMessage(/** @type {object} */ (writer.complete(data.value, data.lists)));
    else {
      links.delete(data.id);
      link?.onClose(data.error && new MainstayError(data.error));
    }
  };
  if (worker) {
    worker.onmessage = receive;
    // A script that cannot be loaded has no message.
    worker.onerror = ({ message }) => giveUp(`the worker of the socket failed: ${message ?? "it did not start"}`);
    worker.onmessageerror = () => giveUp("a message of the worker cannot be read");
  }
  return {
    open(events) {
      if (isBroken) return inPage.open(events);
      const id = ++lastId;
      links.set(id, events);
      post({ type: "open", id, url, token });
      return {
        send: (text) => post({ type: "send", id, text }),
        close: () => {
          links.delete(id);
          if (!isBroken) post({ type: "close", id });
        },
      };
    },
  };
}

/** Returns null where the page may have no worker. */
function startWorker() {
  try {
    return new Worker(new URL("./socket-worker.js", import.meta.url), { type: "module" });
  } catch {
    return null;
  }
}
