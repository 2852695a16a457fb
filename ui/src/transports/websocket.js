import { ownError } from "../errors.js";

/** @typedef {import("../session.js").Transport} Transport */

/** The close code of a runtime with too many sessions. */
const BUSY = 1013;

/**
 * Asks why a socket was refused, which a browser does not tell. Other origins may not ask.
 * @param {URL} address
 */
async function isRefused(address) {
  const { location } = globalThis;
  const url = address.href.replace("ws", "http");
  if (location && new URL(url).origin !== location.origin) return false;
  return fetch(url).then(
    ({ status }) => status === 401 || status === 403,
    () => false,
  );
}

/**
 * Creates a transport over a WebSocket.
 * @param {{ url: string, token?: string, WebSocket?: typeof globalThis.WebSocket }} options
 * @returns {Transport}
 */
export function websocketTransport({ url, token, WebSocket: Socket = globalThis.WebSocket }) {
  return {
    open({ onOpen, onMessage, onClose }) {
      const address = new URL(url, globalThis.location?.href);
      address.protocol = address.protocol.replace("http", "ws");
      if (token) address.searchParams.set("token", token);
      const socket = new Socket(address);
      const forget = () => {
        socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
      };
      // A socket that fails has no code that says more. Some give no close event then.
      const fail = async () => {
        forget();
        const refused = !isOpen && (await isRefused(address));
        onClose(refused ? ownError("unauthenticated") : ownError("disconnected"));
      };
      let isOpen = false;
      socket.onopen = () => {
        isOpen = true;
        onOpen();
      };
      socket.onmessage = ({ data }) => onMessage(data);
      socket.onerror = fail;
      socket.onclose = ({ code, reason }) =>
        onClose(ownError(code === BUSY ? "unavailable" : "disconnected", reason || `close code ${code}`));
      return {
        send: (text) => socket.send(text),
        close: () => {
          forget();
          socket.close();
        },
      };
    },
  };
}
