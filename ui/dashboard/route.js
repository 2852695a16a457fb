/**
 * What the page's address says after `#`: `actor=PATH`, `incident=CURSOR`, `agent=ID`. A token is taken out of it, and kept
 * for this tab alone, so that an address can be shared and a reload still connects.
 */

const TOKEN = "mainstay-token";
/** @type {Set<() => void>} */
const listeners = new Set();

/** Returns the members of the address. */
export const readRoute = () => new URLSearchParams(location.hash.slice(1));

/** Returns a hash whose paths are legible. @param {URLSearchParams} route */
const hashOf = (route) => {
  const words = route.toString().replaceAll("%2F", "/");
  return words ? `#${words}` : location.pathname + location.search;
};

/** Returns the token of the address or of this tab, and takes it out of the address. */
export function takeToken() {
  const route = readRoute();
  const token = route.get("token");
  if (!token) return sessionStorage.getItem(TOKEN) ?? undefined;
  sessionStorage.setItem(TOKEN, token);
  route.delete("token");
  history.replaceState(history.state, "", hashOf(route));
  return token;
}

/**
 * Changes members of the address, and tells the listeners.
 * @param {Record<string, string | null>} members
 */
export function go(members) {
  const route = readRoute();
  for (const [name, value] of Object.entries(members)) {
    if (value == null) route.delete(name);
    else route.set(name, value);
  }
  history.pushState(history.state, "", hashOf(route));
  for (const listener of listeners) listener();
}

/** Returns the address of an incident, with its id to be put in for `{id}`. */
export const incidentLink = () => `${location.origin}${location.pathname}#incident={id}`;

/** Calls the listener now, and whenever the address changes. @param {() => void} listener */
export function onRoute(listener) {
  const first = listeners.size === 0;
  listeners.add(listener);
  if (first) {
    const tell = () => {
      if (readRoute().has("token")) return location.reload();
      for (const each of listeners) each();
    };
    globalThis.addEventListener("popstate", tell);
  }
  listener();
}
