import { connect, createQueue } from "mainstay-ui";

const client = connect();

/** A request: the runtime queues it, also while the backend is away. */
export const save = (text: string) =>
  client.request("POST", "/api/notes", { body: { text }, priority: "high" });

/** Work of the page's own. */
export const queue = createQueue({ concurrency: 4, limit: 100 });
export const load = (url: string) => queue.add((signal) => fetch(url, { signal }), { priority: "low" });
