/** A page of every hook over a running runtime. `serve.js` bundles it with React. */
import { createElement as h, useState } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "../src/index.js";
import {
  useAgent,
  useAgentHealth,
  useAgents,
  useAgentStream,
  useBackendConnection,
  useBackendMessages,
  useCached,
  useCountdown,
  useEvents,
  useFileWatcher,
  useIncidents,
  useLogs,
  useMessageReducer,
  useQueue,
  useRequest,
  useSend,
  useStore,
} from "../src/react.js";

const client = connect();

/** @type {(label: string, onClick: () => unknown) => import("react").ReactNode} */
const button = (label, onClick) => h("button", { key: label, onClick }, label);
/** @type {(...rows: unknown[]) => import("react").ReactNode} */
const list = (...rows) => h("ul", null, ...rows.map((row, key) => h("li", { key }, String(row))));

/** Each hook by its name: a component that shows what it returns. */
const EXAMPLES = {
  useBackendConnection() {
    const { state, attempt, max, lastError, reconnect, disconnect } = useBackendConnection();
    return h(
      "p",
      null,
      `${state}, attempt ${attempt} of ${max ?? "any"} ${lastError?.message ?? ""} `,
      button("Reconnect", reconnect),
      button("Disconnect", disconnect),
    );
  },
  useCountdown() {
    const at = useBackendConnection((connection) => connection.nextAttemptAt);
    const seconds = useCountdown(at);
    return h("p", null, seconds === null ? "No attempt is planned." : `The next attempt is in ${seconds} s.`);
  },
  useBackendMessages() {
    const [last, setLast] = useState("none yet");
    useBackendMessages(null, (item) => setLast("text" in item ? item.text : JSON.stringify(item)));
    return h("p", null, `The last frame: ${last}`);
  },
  useMessageReducer() {
    const count = useMessageReducer(null, (all, items) => all + items.length, 0);
    return h("p", null, `${count} frames`);
  },
  useSend() {
    const send = useSend();
    const [fate, setFate] = useState("nothing sent yet");
    const act = async () => {
      const { outcome, error } = await send({ type: "ping" });
      setFate(error?.message ?? outcome);
    };
    return h("p", null, `${fate} `, button("Send a frame", act));
  },
  useRequest() {
    const { data, error, isLoading, run } = useRequest("/api/search?q=tides");
    const words = isLoading ? "Loading" : (error?.message ?? JSON.stringify(data));
    return h("p", null, `${words} `, button("Load again", () => run()));
  },
  useQueue() {
    const { waiting, running, held } = useQueue();
    const send = () => Promise.allSettled(Array.from({ length: 10 }, () => client.request("GET", "/api/search?q=tides")));
    return h("p", null, `${held?.message ?? `${running} running, ${waiting} waiting`} `, button("Send ten requests", send));
  },
  useCached() {
    const load = async () => (await client.request("GET", "/api/search?q=tides")).body;
    const { data, hasData, error, invalidate } = useCached("live:tides", load, { ttlMs: 60_000 });
    const words = error?.message ?? (hasData ? JSON.stringify(data) : "Loading");
    return h("p", null, `${words} `, button("Invalidate", invalidate));
  },
  useAgents() {
    const { agents, isLive } = useAgents();
    return list(...agents.map(({ id, status }) => `${id}: ${isLive ? status : "not known now"}`));
  },
  useAgent() {
    const { agent } = useAgent("planner");
    return h("p", null, agent ? `The planner uses the driver ${agent.driver}.` : "There is no planner.");
  },
  useAgentHealth() {
    const planner = useAgentHealth("planner");
    if (!planner) return h("p", null, "There is no planner.");
    const { status, nextStep, restartsLeft, restart } = planner;
    return h("p", null, `${status}, ${nextStep}, ${restartsLeft ?? "any"} restarts left `, button("Restart", restart));
  },
  useAgentStream() {
    const { turns, send } = useAgentStream("planner");
    const rows = turns.slice(-5).map(({ prompt, answer, state }) => `${JSON.stringify({ prompt, answer })} ${state}`);
    return h("div", null, list(...rows), button("Say hello", () => send({ text: "hello" }, { detached: true })));
  },
  useFileWatcher() {
    const folders = useStore((state) => state.cache?.folders) ?? [];
    const { changes, error } = useFileWatcher({ folders: folders.map(({ path }) => path) });
    if (!folders.length) return h("p", null, "This runtime watches no folder: cache.watch names none.");
    return list(error?.message ?? `${changes.length} changes`, ...changes.slice(-5).map(({ kind, path }) => `${kind} ${path}`));
  },
  useLogs() {
    const { lines, error } = useLogs("backend", { lines: 5, limit: 5 });
    return h("pre", { tabIndex: 0 }, error?.message ?? lines.map(({ text }) => text).join("\n"));
  },
  useIncidents() {
    const { incidents } = useIncidents({ limit: 3 });
    return incidents.length ? list(...incidents.map(({ title }) => title)) : h("p", null, "There was no incident.");
  },
  useEvents() {
    const { events } = useEvents({ limit: 5, after: "0.0" });
    return list(...events.map(({ kind, actor }) => `${kind} of ${actor}`));
  },
  useStore() {
    const run = useStore((state) => state.status?.runtime.run);
    return h("p", null, `This is run ${run ?? "(not known yet)"}.`);
  },
};

/** @type {HTMLElement} */ (document.querySelector("main")).append(
  ...Object.entries(EXAMPLES).map(([name, component]) => {
    const section = document.createElement("section");
    const title = document.createElement("h2");
    const body = document.createElement("div");
    section.id = name;
    title.append(name);
    section.append(title, body);
    createRoot(body).render(h(component));
    return section;
  }),
);
