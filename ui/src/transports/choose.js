import { tauriTransport } from "./tauri.js";
import { websocketTransport } from "./websocket.js";

/** @typedef {import("../session.js").Transport} Transport */

/**
 * Chooses the transport: the given one, a WebSocket to `url`, Tauri, or a WebSocket to where the page came
 * from.
 * @param {import("../client.js").ConnectOptions} options
 * @returns {Transport | null}
 */
export function chooseTransport({ mock, transport, url, token, hideToken }) {
  const given = mock ?? transport;
  if (given) return given;
  if (url) return websocketTransport({ url, token });
  const page = /** @type {{ __TAURI_INTERNALS__?: import("./tauri.js").TauriInternals }} */ (globalThis);
  if (page.__TAURI_INTERNALS__) return tauriTransport(page.__TAURI_INTERNALS__);
  const { location } = globalThis;
  const found = token ?? new URLSearchParams(location?.hash.slice(1)).get("token");
  if (!found) return null;
  if (hideToken) history.replaceState(history.state, "", location.pathname + location.search);
  return websocketTransport({ url: "/bridge", token: found });
}
