/**
 * An adapter for TanStack Query 5: the runtime sends, queues and retries; TanStack Query keeps what a page
 * shows.
 *
 * It imports nothing of TanStack Query, so it works with every framework's package.
 */
import { hold, pageClient } from "./client.js";
import { isBackendAvailable } from "./connection-view.js";

/** @import { Client, RequestOptions } from "./client.js" */

/**
 * @typedef {Omit<RequestOptions, "signal">} SentOptions
 *
 * @typedef {object} FetchContext The members of a query function's context that are used.
 * @property {readonly unknown[]} queryKey the path, and optionally an object of query parameters
 * @property {AbortSignal} [signal]
 * @property {Record<string, unknown>} [meta] `meta.mainstay` holds options of the request
 *
 * @typedef {{method?: string, path: string} & SentOptions} MutationVariables
 *
 * @typedef {object} OnlineManager The members of TanStack Query's `onlineManager` that are used.
 * @property {(setup: (setOnline: (isOnline: boolean) => void) => (() => void) | undefined) => void}
 *   setEventListener
 */

/**
 * Runs an action on a client, or on the page's client.
 *
 * @template T
 * @param {Client | undefined} given
 * @param {(client: Client) => Promise<T>} run
 * @returns {Promise<T>}
 */
async function withClient(given, run) {
  const client = given ?? pageClient();
  const release = given ? null : client.hold();
  try {
    return await run(client);
  } finally {
    release?.();
  }
}

/**
 * Returns the path of a query key, with its parameters. Parameters without a value are left out.
 *
 * @param {readonly unknown[]} queryKey
 * @returns {string}
 */
export function pathOf([path, parameters]) {
  if (typeof path !== "string")
    throw new TypeError("The first part of a query key is the path of the request.");
  if (parameters === null || typeof parameters !== "object") return path;
  const known = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  const query = new URLSearchParams(known.map(([name, value]) => [name, String(value)])).toString();
  return query ? `${path}${path.includes("?") ? "&" : "?"}${query}` : path;
}

/**
 * Creates a query function: `useQuery({queryKey: ["/api/notes", {tag: "new"}]})` needs no other. An aborted
 * query is cancelled in the runtime and at the backend.
 *
 * @param {{client?: Client} & SentOptions} [options] options of every request
 * @returns {(context: FetchContext) => Promise<unknown>}
 */
export function mainstayFetcher({ client, ...options } = {}) {
  return async ({ queryKey, signal, meta }) => {
    const own = /** @type {SentOptions | undefined} */ (meta?.mainstay);
    const path = pathOf(queryKey);
    const response = await withClient(client, (used) =>
      used.request("GET", path, { ...options, ...own, signal }),
    );
    // A query must not be undefined.
    return response.body ?? null;
  };
}

/**
 * Creates a mutation function. Its variables are `{method, path, body, …}`, POST without a method.
 *
 * @param {{client?: Client} & SentOptions} [options]
 * @returns {(variables: MutationVariables) => Promise<unknown>}
 */
export function mainstayMutator({ client, ...options } = {}) {
  return async ({ method = "POST", path, ...own }) => {
    const response = await withClient(client, (used) => used.request(method, path, { ...options, ...own }));
    return response.body ?? null;
  };
}

/**
 * Returns the default options of a `QueryClient`. Queries never pause for the browser's idea of the network,
 * since the backend may be on this computer. They are not retried, since the runtime has made its retries.
 *
 * @param {{client?: Client} & SentOptions} [options]
 */
export function mainstayDefaults(options = {}) {
  return {
    queries: {
      queryFn: mainstayFetcher(options),
      networkMode: /** @type {const} */ ("always"),
      retry: /** @type {const} */ (false),
      refetchOnReconnect: true,
    },
    mutations: {
      networkMode: /** @type {const} */ ("always"),
      retry: /** @type {const} */ (false),
    },
  };
}

/**
 * Binds TanStack Query's `onlineManager` to the backend's availability, in place of `navigator.onLine`. Stale
 * queries are fetched again once the backend is back. After the end it counts as online, so that no query waits.
 *
 * @param {OnlineManager} onlineManager
 * @param {{client?: Client}} [options]
 * @returns {() => void} ends it
 */
export function bindOnlineManager(onlineManager, { client } = {}) {
  let isOnline = true;
  let isBound = true;
  /** @type {((isOnline: boolean) => void) | null} */
  let tell = null;
  const set = (/** @type {boolean} */ isAvailable) => {
    isOnline = isAvailable;
    tell?.(isOnline);
  };
  const end = hold(client, ({ store }) => {
    set(isBackendAvailable(store.getState()));
    return store.select(isBackendAvailable, set);
  });
  // The manager calls this again for each first subscriber, also after the end.
  onlineManager.setEventListener((setOnline) => {
    if (!isBound) return undefined;
    tell = setOnline;
    tell(isOnline);
    return () => (tell = null);
  });
  return () => {
    if (!isBound) return;
    isBound = false;
    end();
    set(true);
  };
}
