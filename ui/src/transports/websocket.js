import { ownError } from "../errors.js";

/** @typedef {import("../session.js").Transport} Transport */

/** The close code of a runtime with too many sessions. */
const BUSY = 1013;

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
      address.hash = "";
      const socket = new Socket(address);
      socket.onopen = onOpen;
      socket.onmessage = ({ data }) => onMessage(data);
      socket.onclose = ({ code, reason }) =>
        onClose(ownError(code === BUSY ? "unavailable" : "disconnected", reason || `close code ${code}`));
      return {
        send: (text) => socket.send(text),
        close: () => {
          socket.onopen = socket.onmessage = socket.onclose = null;
          socket.close();
        },
      };
    },
  };
}
