/** Makes a page with the elements in a state of the gallery, on a client whose state a test sets at once. */
import { journal as makeEvents, STATES } from "../../examples/gallery-states.js";
import * as elements from "../../src/elements/all.js";
import { agent, connection, createFake, live, queue } from "./fake-client.js";

const query = new URLSearchParams(location.search);
const [name, state] = [query.get("element") ?? "", query.get("state") ?? ""];
const parts = STATES[name]?.[state] ?? {};
const fake = createFake(live());

/**
 * @param {number} count
 * @param {number} [first]
 */
const journal = (count, first = 1) =>
  makeEvents(count).map(({ fields, ...event }, index) => ({
    run: 3,
    seq: first + index,
    at: Date.parse("2026-03-01T12:00:00Z") + (first + index) * 700,
    ...event,
    ...fields,
  }));

if (parts.connection) {
  const delay = parts.connection.next_attempt_in_ms;
  fake.set({
    connection: connection({
      ...parts.connection,
      nextAttemptAt: delay == null ? null : Date.now() + Number(delay),
    }),
  });
}
if (parts.queue) {
  const delay = parts.queue.held?.next_probe_in_ms;
  fake.set({ queue: queue({ ...parts.queue, nextProbeAt: delay == null ? null : Date.now() + delay }) });
}
if (parts.agents) {
  fake.set({
    agents: Object.fromEntries(
      parts.agents.map(({ id, restart_at: at, ...members }) => [
        id,
        agent(id, { ...members, restartAtMs: at ? Date.parse(at) : null }),
      ]),
    ),
  });
}
fake.replies.list = () => parts.list ?? [];
Object.assign(globalThis, { fake, journal, toast: elements.toast, setText: elements.setText });
document.documentElement.dir = query.get("dir") ?? "ltr";
if (name && name !== "x") {
  const element = document.createElement(`mainstay-${name}`);
  if (name === "agent-conversation") element.setAttribute("agent", "planner");
  for (const [key, value] of Object.entries(parts.attributes ?? {})) element.setAttribute(key, value);
  Object.assign(element, { client: fake.client });
  document.querySelector("main")?.append(element);
}
for (const update of parts.updates ?? []) fake.update({ update });
for (const [error, options] of parts.toasts ?? []) elements.toast(error, { duration: 600_000, ...options });
if (parts.retry)
  fake.emit({
    events: [{ kind: "request_retry", request_id: 18, delay_ms: parts.retry, reason: "timed_out" }],
  });
if (parts.events) fake.emit({ events: journal(parts.events), lagged: null });
document.documentElement.dataset.ready = "";
