/** Tests of the React hooks in Debian's Chromium, against a scripted runtime behind a real WebSocket. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { sampleConnection, sampleStatus } from "../../src/transports/samples.js";
import { agentReport, startBridge } from "./bridge-double.js";
import { bundle, launch, openPage } from "./react-harness.js";

let browser;
let code;
let bridge;
let opened;
let page;

before(async () => {
  [browser, code] = await Promise.all([
    launch(),
    bundle("tests/browser/react-page.jsx", { react18: process.env.REACT_18 === "1" }),
  ]);
});
after(() => browser?.close());
beforeEach(async () => {
  bridge = await startBridge();
  opened = await openPage(browser, code);
  page = opened.page;
  await page.evaluate((url) => {
    window.connectPage = () => mainstay.connect({ url });
  }, bridge.url);
});
afterEach(async () => {
  const { problems } = opened;
  await opened.close();
  await bridge.close();
  assert.deepEqual(
    problems.filter((text) => !/WebSocket connection/.test(text)),
    [],
  );
});

/** Opens the page's client and waits until it is live. */
async function goLive() {
  await page.evaluate(() => {
    window.client = connectPage();
    return until(() => client.store.getState().isLive);
  });
}

describe("connection", () => {
  test("req 1: many components under StrictMode open one session", async () => {
    await page.evaluate(async () => {
      const Status = () => h("p", null, hooks.useBackendConnection().state);
      const App = () =>
        h(React.Fragment, null, ...Array.from({ length: 20 }, (_, key) => h(Status, { key })));
      connectPage().release();
      window.roots = [mount(h(App), { strict: true }), mount(h(App), { strict: true })];
      await until(() => document.querySelectorAll("p").length === 40);
      await until(() => [...document.querySelectorAll("p")].every((p) => p.textContent === "connected"));
    });
    assert.equal(bridge.sessions, 1);
  });

  test("req 1: session closes after the last component", async () => {
    await page.evaluate(async () => {
      connectPage().release();
      const Status = () => h("p", null, hooks.useBackendConnection().state);
      for (let round = 0; round < 3; round++) {
        const { unmount, container } = mount(h(Status), { strict: true });
        await until(() => container.textContent === "connected");
        unmount();
      }
    });
    assert.equal(bridge.sessions, 1);
    await bridge.until(() => bridge.open.size === 0);
    assert.equal(bridge.sessions, 1);
  });

  test("req 1: mounted components go on with the next client after a close", async () => {
    await goLive();
    const texts = await page.evaluate(async () => {
      const App = () => {
        const { state, reconnect } = hooks.useBackendConnection();
        const { agents, isLive } = hooks.useAgents();
        window.reconnect = reconnect;
        return `${state} ${agents.length} ${isLive}`;
      };
      const { container } = mount(h(App), { strict: true });
      const seen = [];
      const shows = async (text) => {
        await until(() => container.textContent === text);
        seen.push(text);
      };
      await shows("connected 2 true");
      client.close();
      await shows("disconnected 2 false");
      const { ok, error } = await reconnect();
      seen.push(`${ok} ${error.reason}`);
      connectPage();
      await shows("connected 2 true");
      return seen;
    });
    assert.deepEqual(texts, ["connected 2 true", "disconnected 2 false", "false cancelled", "connected 2 true"]);
    await bridge.until(() => bridge.open.size === 1);
    assert.equal(bridge.sessions, 2);
  });

  test("inline options and changed callbacks do not reconnect", async () => {
    await goLive();
    const seen = await page.evaluate(async () => {
      let rerender;
      const calls = [];
      function App() {
        const [round, setRound] = React.useState(0);
        rerender = () => flushSync(() => setRound((last) => last + 1));
        hooks.useBackendConnection({ graceMs: 500, onChange: () => {} });
        hooks.useBackendMessages(["chat.*"], () => calls.push(round));
        hooks.useFileWatcher({ folders: ["/p"], globs: ["*.md"], onChanges: () => {} });
        hooks.useEvents({ kinds: ["agent_health"], onEvents: () => {} });
        return null;
      }
      mount(h(App));
      await until(() => rerender);
      for (let i = 0; i < 50; i++) rerender();
      window.calls = calls;
      return true;
    });
    assert.ok(seen);
    bridge.frame('{"type":"chat.line"}');
    await page.waitForFunction(() => calls.length === 1);
    assert.deepEqual(await page.evaluate(() => calls), [50]);
    const listens = bridge.commands.filter(({ action }) => action === "listen").map(({ type }) => type);
    // The first listens to all frames, while the part that chooses is loaded.
    assert.deepEqual(listens.sort(), ["connection", "connection", "files"]);
    assert.equal(bridge.sessions, 1);
  });

  test("req 7: banner shows after the grace alone, and goes at once", async () => {
    await goLive();
    await page.evaluate(() => {
      window.seen = [];
      const Banner = ({ graceMs }) => {
        const { isReconnecting, state } = hooks.useBackendConnection({ graceMs });
        seen.push([state, isReconnecting, performance.now()]);
        return isReconnecting && h("b", null, "lost");
      };
      const root = mount(h(Banner, { graceMs: 60_000 }));
      window.setGrace = (graceMs) => flushSync(() => root.render(h(Banner, { graceMs })));
      return until(() => seen.length);
    });
    const down = (state) => ({
      ...sampleConnection(),
      state,
      attempt: 1,
      next_attempt_in_ms: 60_000,
      next_attempt_at: new Date(Date.now() + 60_000).toISOString(),
    });
    // A blink is shown as a state, but not as an outage.
    bridge.change({ connection: down("reconnecting") });
    await page.waitForFunction(() => seen.at(-1)[0] === "reconnecting");
    bridge.change({ connection: sampleConnection() });
    await page.waitForFunction(() => seen.at(-1)[0] === "connected");
    assert.ok((await page.evaluate(() => seen)).every(([, isReconnecting]) => !isReconnecting));
    await page.evaluate(() => setGrace(300));
    bridge.change({ connection: down("reconnecting") });
    await page.waitForSelector("b");
    const all = await page.evaluate(() => seen);
    const lostAt = all.findLast(([state, isReconnecting]) => state === "reconnecting" && !isReconnecting)[2];
    const shownAt = all.find(([, isReconnecting]) => isReconnecting)[2];
    assert.ok(shownAt - lostAt >= 290, `${shownAt - lostAt} ms`);
    bridge.change({ connection: sampleConnection() });
    await page.waitForSelector("b", { state: "detached" });
  });

  test("req 8: countdown is exact, and renders itself alone", async () => {
    await goLive();
    await page.evaluate(() => {
      window.ticks = [];
      window.renders = 0;
      const Seconds = () => {
        const seconds = hooks.useCountdown(
          hooks.useBackendConnection((connection) => connection.nextAttemptAt),
        );
        React.useLayoutEffect(() => void ticks.push([seconds, Date.now()]));
        return seconds;
      };
      const App = () => {
        renders++;
        return h(Seconds);
      };
      mount(h(App));
      return until(() => renders);
    });
    // The attempt is due a while after the first reply, and its delay counts from each reply, as it does in the runtime.
    let at = 0;
    bridge.on("status", () => {
      at ||= Date.now() + 3_400;
      const next = { next_attempt_at: new Date(at).toISOString(), next_attempt_in_ms: at - Date.now() };
      return { ...bridge.status, connection: { ...sampleConnection(), state: "reconnecting", attempt: 2, ...next } };
    });
    bridge.event({ kind: "budget_reset" });
    await page.waitForFunction(() => ticks.at(-1)[0] === 0);
    const ticks = (await page.evaluate(() => window.ticks)).filter(([seconds]) => seconds !== null);
    assert.deepEqual(
      ticks.map(([seconds]) => seconds),
      [4, 3, 2, 1, 0],
    );
    for (const [seconds, now] of ticks.slice(1)) {
      assert.ok(Math.abs(at - seconds * 1000 - now) < 200, `${seconds} s at ${at - now} ms before`);
    }
    assert.equal(await page.evaluate(() => renders), 1);
  });

  test("req 8: countdowns share one timer, which ends with them", async () => {
    await goLive();
    const counts = await page.evaluate(async () => {
      const before = resources().timers;
      const at = Date.now() + 60_000;
      const Fixed = () => hooks.useCountdown(at);
      const { unmount, container } = mount(
        h("div", null, ...Array.from({ length: 100 }, (_, key) => h("i", { key }, h(Fixed)))),
      );
      await until(() => container.querySelectorAll("i").length === 100);
      await until(() => resources().timers > before);
      const during = resources().timers;
      unmount();
      await until(() => resources().timers <= before);
      return { before, during };
    });
    assert.equal(counts.during - counts.before, 1);
  });

  test("onChange comes after the commit, with both states and the reason", async () => {
    await goLive();
    await page.evaluate(() => {
      window.changes = [];
      window.isRendering = false;
      const App = () => {
        isRendering = true;
        const { state } = hooks.useBackendConnection({
          onChange: (prev, next, reason) =>
            changes.push({ prev, next, reason, shown: document.querySelector("p").textContent, isRendering }),
        });
        React.useLayoutEffect(() => {
          isRendering = false;
        });
        return h("p", null, state);
      };
      mount(h(App));
      return until(() => document.querySelector("p")?.textContent === "connected");
    });
    const error = {
      code: "NETWORK_ERROR",
      reason: "connection_refused",
      message: "m",
      retryable: true,
      attempts: 0,
    };
    bridge.status = {
      ...bridge.status,
      connection: { ...bridge.status.connection, state: "reconnecting", error },
    };
    bridge.event({
      kind: "connection_state",
      from: "connected",
      to: "reconnecting",
      attempt: 1,
      max: 5,
      next_attempt_at: null,
      next_attempt_in_ms: null,
      reason: "refused",
      code: error.code,
      error,
    });
    await page.waitForFunction(() => changes.length === 1);
    assert.deepEqual(await page.evaluate(() => changes), [
      {
        prev: "connected",
        next: "reconnecting",
        reason: "refused",
        shown: "reconnecting",
        isRendering: false,
      },
    ]);
  });

  test("lost session is never shown as connected", async () => {
    await goLive();
    await page.evaluate(() => {
      window.states = [];
      const App = () => {
        const { state, link } = hooks.useBackendConnection();
        states.push([state, link]);
        return null;
      };
      mount(h(App));
      return until(() => states.some(([state]) => state === "connected"));
    });
    bridge.handlers.set("subscribe", () => undefined);
    bridge.drop();
    await page.waitForFunction(() => states.at(-1)[0] === "reconnecting");
    assert.deepEqual((await page.evaluate(() => states)).at(-1), ["reconnecting", "runtime"]);
  });

  test("reconnect works in every state, and never rejects", async () => {
    await goLive();
    const results = await page.evaluate(async () => {
      let connection;
      const App = () => {
        connection = hooks.useBackendConnection();
        return null;
      };
      mount(h(App));
      await until(() => connection);
      window.reconnect = connection.reconnect;
      const { reconnect } = connection;
      const first = await reconnect();
      return { ok: first.ok, isSame: connection.reconnect === reconnect };
    });
    assert.deepEqual(results, { ok: true, isSame: true });
    bridge.on("connection", ({ action }) => {
      if (action === "reconnect")
        throw {
          code: "NETWORK_ERROR",
          reason: "connection_refused",
          message: "m",
          retryable: true,
          attempts: 1,
        };
      return null;
    });
    const failed = await page.evaluate(async () => {
      const { ok, error } = await reconnect();
      return { ok, reason: error.reason };
    });
    assert.deepEqual(failed, { ok: false, reason: "connection_refused" });
  });
});

describe("frames", () => {
  test("req 9: ten thousand frames arrive in order", async () => {
    await goLive();
    await page.evaluate(() => {
      window.got = [];
      window.state = { rows: [], renders: 0, folded: 0, folds: 0 };
      const App = () => {
        state.renders++;
        const [rows, setRows] = React.useState([]);
        hooks.useBackendMessages(null, (frame) => {
          got.push(JSON.parse(frame.text).n);
          setRows((last) => (last.length < 100 ? [...last, frame] : last));
        });
        const folded = hooks.useMessageReducer(
          "n",
          (count, items) => {
            state.folds++;
            return count + items.length;
          },
          0,
        );
        state.folded = folded;
        state.rows = rows;
        return null;
      };
      mount(h(App));
      return until(() => state.renders);
    });
    await bridge.until(() =>
      bridge.commands.some(({ type, action }) => type === "connection" && action === "listen"),
    );
    for (let n = 0; n < 10_000; n++) bridge.frame(JSON.stringify({ type: "n", n }));
    await page.waitForFunction(() => state.folded === 10_000);
    const { got, state } = await page.evaluate(() => ({ got, state: { ...state, rows: state.rows.length } }));
    assert.deepEqual(
      got,
      Array.from({ length: 10_000 }, (_, n) => n),
    );
    assert.equal(state.rows, 100);
    assert.ok(state.folds < 1_000, `${state.folds} folds`);
    assert.ok(state.renders < 2_000, `${state.renders} renders`);
  });

  test("req 9: gaps and losses come in their place", async () => {
    await goLive();
    await page.evaluate(() => {
      window.items = [];
      const App = () => (hooks.useBackendMessages("a.*", (item) => items.push(item)), null);
      mount(h(App));
    });
    await bridge.until(() =>
      bridge.commands.some(({ action, types }) => action === "listen" && types?.[0] === "a.*"),
    );
    bridge.frame('{"type":"a.b"}');
    bridge.send({ frame: { gap: { after: 4, next: 9 } } });
    bridge.send({ frame: { lagged: 3 } });
    bridge.frame('{"type":"other"}');
    bridge.frame('{"type":"a.c"}');
    await page.waitForFunction(() => items.length === 4);
    assert.deepEqual(await page.evaluate(() => items), [
      { text: '{"type":"a.b"}' },
      { gap: { after: 4, next: 9 } },
      { lagged: 3 },
      { text: '{"type":"a.c"}' },
    ]);
  });

  test("fate of a message is known, and sending never rejects", async () => {
    await goLive();
    bridge.on("connection", ({ text }) => {
      if (text === "lost")
        throw {
          code: "NETWORK_ERROR",
          reason: "outcome_unknown",
          message: "m",
          retryable: false,
          attempts: 1,
        };
      if (text === '{"a":1}') return { outcome: "sent" };
      throw { code: "TIMEOUT", reason: "expired", message: "m", retryable: true, attempts: 0 };
    });
    const fates = await page.evaluate(async () => {
      let send;
      mount(h(() => ((send = hooks.useSend()), null)));
      await until(() => send);
      const all = await Promise.all([send({ a: 1 }), send("lost"), send("late")]);
      return all.map(({ outcome, error }) => [outcome, error?.reason ?? null]);
    });
    assert.deepEqual(fates, [
      ["sent", null],
      ["unknown", "outcome_unknown"],
      ["expired", "expired"],
    ]);
  });
});

describe("state", () => {
  test("req 10: component renders only if its selection changed", async () => {
    await goLive();
    await page.evaluate(() => {
      window.renders = { planner: 0, writer: 0, agents: 0, queue: 0, connected: 0 };
      const Agent = ({ id }) => (renders[id]++, hooks.useAgentHealth(id)?.status ?? "unknown");
      const Agents = () => (renders.agents++, hooks.useAgents().agents.length);
      const Queue = () => (renders.queue++, hooks.useQueue().waiting);
      const Dot = () => (
        renders.connected++,
        String(hooks.useBackendConnection((connection) => connection.isConnected))
      );
      mount(
        h("div", null, h(Agent, { id: "planner" }), h(Agent, { id: "writer" }), h(Agents), h(Queue), h(Dot)),
      );
      return until(() => renders.connected);
    });
    const before = await page.evaluate(() => ({ ...renders }));
    bridge.changeAgent("planner", { status: "degraded", misses: 1 });
    await page.waitForFunction(() => client.store.getState().agents.planner.status === "degraded");
    await page.waitForFunction((last) => renders.planner > last, before.planner);
    const after = await page.evaluate(() => ({ ...renders }));
    assert.deepEqual(
      Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - before[name]])),
      { planner: 1, writer: 0, agents: 1, queue: 0, connected: 0 },
    );
  });

  test("req 10: polls and events without a change render nothing", async () => {
    await goLive();
    await page.evaluate(() => {
      window.renders = 0;
      const App = () => {
        renders++;
        hooks.useBackendConnection();
        hooks.useAgents();
        hooks.useQueue();
        hooks.useAgent("planner");
        return null;
      };
      mount(h(App));
      return until(() => renders);
    });
    const before = await page.evaluate(() => renders);
    for (let i = 0; i < 20; i++) {
      const asked = bridge.commands.filter(({ type }) => type === "status").length;
      bridge.status = structuredClone(bridge.status);
      bridge.status.runtime.uptime_ms += 100;
      bridge.event({ kind: "budget_reset" });
      if (i % 10 === 9)
        await bridge.until(() => bridge.commands.filter(({ type }) => type === "status").length > asked);
    }
    await page.evaluate(
      () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
    );
    assert.equal((await page.evaluate(() => renders)) - before, 0);
  });

  test("req 10: server renders connecting, and hydration has no mismatch", async () => {
    await goLive();
    const text = await page.evaluate(async () => {
      const App = () => {
        const { state } = hooks.useBackendConnection();
        const agent = hooks.useAgentHealth("planner");
        return h(
          "p",
          null,
          `${state} ${agent?.status ?? "no agent"} ${hooks.useCountdown(null)} ${hooks.useAgents().agents.length}`,
        );
      };
      const container = document.createElement("div");
      container.innerHTML = "<p>connecting no agent null 0</p>";
      document.body.append(container);
      const errors = [];
      hydrateRoot(container, h(App), { onRecoverableError: (error) => errors.push(String(error)) });
      await until(() => container.textContent.startsWith("connected"));
      return [container.textContent, errors];
    });
    assert.deepEqual(text, ["connected healthy null 2", []]);
  });

  test("req 20: nothing is healthy before the first snapshot", async () => {
    bridge.on("subscribe", () => undefined);
    await page.evaluate(() => {
      window.seen = [];
      const App = () => {
        const { state, isConnected } = hooks.useBackendConnection();
        const { agent, isLive } = hooks.useAgent("planner");
        const health = hooks.useAgentHealth("no-such-agent");
        seen.push([state, isConnected, agent === undefined, isLive, health === undefined]);
        return null;
      };
      connectPage();
      mount(h(App));
      return until(() => seen.length);
    });
    await bridge.until(() => bridge.commands.length);
    assert.deepEqual(await page.evaluate(() => seen.at(-1)), ["connecting", false, true, false, true]);
  });

  test("given client comes before the one of the page", async () => {
    const other = await startBridge();
    other.status = sampleStatus({ agents: [] });
    const counts = await page.evaluate(async (url) => {
      connectPage();
      const own = mainstay.connect({ url, id: "other" });
      const Count = ({ client }) => h("i", null, hooks.useAgents({ client }).agents.length);
      const { container } = mount(
        h(
          "div",
          null,
          h(Count),
          h(Count, { client: own }),
          h(hooks.MainstayContext.Provider, { value: own }, h(Count)),
        ),
      );
      await until(() => container.textContent.startsWith("2"));
      await until(() => own.store.getState().isLive);
      const text = container.textContent;
      own.close();
      return text;
    }, other.url);
    assert.equal(counts, "200");
    await other.close();
  });
});

describe("mock", () => {
  test("req 20: faults of the mock reach the hooks, and pass", async () => {
    const seen = await page.evaluate(async () => {
      const mock = createMock({ agents: [{ id: "planner" }] });
      mainstay.connect({ mock });
      const found = [];
      const App = () => {
        const { state, link } = hooks.useBackendConnection();
        const planner = hooks.useAgentHealth("planner");
        const request = hooks.useRequest("/notes", { manual: true });
        Object.assign(window, { planner, request });
        found.push(`${state} ${link} ${planner?.status} ${planner?.isLive}`);
        return null;
      };
      mount(h(App), { strict: true });
      await until(() => found.at(-1) === "connected backend healthy true");
      mock.crash("planner", { restartInMs: 5_000 });
      await until(() => found.at(-1) === "connected backend restarting true");
      const restartIn = planner.restartAt - Date.now();
      mock.recover("planner");
      await until(() => found.at(-1) === "connected backend healthy true");
      mock.drop({ refuse: 1 });
      await until(() => found.at(-1) === "reconnecting runtime healthy false");
      await until(() => found.at(-1) === "connected backend healthy true");
      mock.respond503(1);
      const { ok, error } = await request.run();
      mock.restartRuntime();
      await until(() => found.at(-1).startsWith("reconnecting runtime"));
      await until(() => found.at(-1) === "connected backend healthy true");
      return {
        restartIn,
        ok,
        reason: error.reason,
        status: error.status,
        isHonest: found.every((text) => text.startsWith("connected") || !text.endsWith("healthy true")),
        sessions: mock.sessions,
      };
    });
    assert.ok(seen.restartIn > 4_000 && seen.restartIn <= 5_000, `${seen.restartIn} ms`);
    assert.deepEqual(
      { ...seen, restartIn: 0 },
      { restartIn: 0, ok: false, reason: "unavailable", status: 503, isHonest: true, sessions: 1 },
    );
  });

  test("req 7: start and reload show no banner", async () => {
    for (let round = 0; round < 2; round++) {
      await page.evaluate(async (url) => {
        mainstay.connect({ url });
        window.banners = 0;
        const Banner = () => {
          const { isReconnecting, isFailed, state } = hooks.useBackendConnection();
          if (isReconnecting || isFailed) banners++;
          return state;
        };
        const { container } = mount(h(Banner), { strict: true });
        await until(() => container.textContent === "connected");
      }, bridge.url);
      assert.equal(await page.evaluate(() => banners), 0);
      await page.reload();
    }
  });
});

describe("life", () => {
  test("a thousand mounts under StrictMode leak nothing", async () => {
    await goLive();
    const counts = await page.evaluate(async () => {
      const All = ({ n }) => {
        hooks.useBackendConnection({ onChange: () => {} });
        hooks.useBackendMessages(["a"], () => {});
        hooks.useMessageReducer("b", (value) => value, 0);
        hooks.useSend();
        hooks.useCountdown(Date.now() + 60_000);
        hooks.useRequest(`/r/${n % 3}`);
        hooks.useQueue({ list: true });
        hooks.useCached("key:1", async () => 1);
        hooks.useAgents();
        hooks.useAgent("planner");
        hooks.useStore((state) => state.session);
        hooks.useIncidents({ limit: 5 });
        hooks.useAgentHealth("planner", { onCrash: () => {} });
        hooks.useAgentStream("planner");
        hooks.useFileWatcher({ folders: ["/p"] });
        hooks.useLogs("planner");
        hooks.useEvents({ kinds: ["agent_health"] });
        return n;
      };
      // Counts the subscriptions of the client that have not ended.
      let subscriptions = 0;
      const count = (object, name) => {
        const original = object[name].bind(object);
        object[name] = (...parts) => {
          const stop = original(...parts);
          subscriptions++;
          return () => {
            subscriptions--;
            stop();
          };
        };
      };
      count(client.store, "subscribe");
      for (const name of ["onEvents", "onFrames", "onFiles", "onLog"]) count(client, name);
      const agent = client.agent.bind(client);
      client.agent = (id) => {
        const found = { ...agent(id) };
        count(found, "listen");
        return found;
      };
      const { render, unmount } = mount(null, { strict: true });
      const settle = () =>
        until(() => resources().frames === 0).then(() => new Promise((resolve) => setTimeout(resolve, 50)));
      flushSync(() => render(h(All, { n: -1 })));
      flushSync(() => render(null));
      await settle();
      const before = resources();
      for (let n = 0; n < 1_000; n++) {
        flushSync(() => render(h(All, { n, key: n })));
        if (n % 100 === 0) await new Promise((resolve) => setTimeout(resolve));
      }
      flushSync(() => render(null));
      await settle();
      // A timer that ends by itself may have run before, so there may be fewer.
      await until(() => resources().timers <= before.timers);
      const after = resources();
      unmount();
      // The reply to this comes when the runtime has all commands before it.
      await client.command({ type: "agents" });
      return { before, after, subscriptions };
    });
    const { frames, listeners } = counts.before;
    assert.deepEqual({ ...counts.after, timers: 0 }, { timers: 0, frames, listeners });
    assert.equal(counts.subscriptions, 0);
    assert.equal(bridge.sessions, 1);
    const last = (type) =>
      bridge.commands.findLast((command) => command.type === type && /listen/.test(command.action))?.action;
    assert.deepEqual(["connection", "files", "logs", "agent"].map(last), Array(4).fill("unlisten"));
  });

  test("hot replacement of the module keeps the session", async () => {
    await goLive();
    // A second copy of the bundle is what a hot update of the library amounts to.
    await page.addScriptTag({ content: code });
    await page.evaluate(async () => {
      const { container } = mount(h(() => hooks.useBackendConnection().state));
      await until(() => container.textContent === "connected");
    });
    assert.equal(bridge.sessions, 1);
  });
});

describe("requests", () => {
  const response = (body, more = {}) => ({
    status: 200,
    headers: {},
    body,
    ms: 1,
    cached: false,
    attempts: 1,
    request_id: 17,
    ...more,
  });

  test("components with the same path share one request, also under StrictMode", async () => {
    await goLive();
    bridge.on("request", () => response({ a: 1 }));
    const text = await page.evaluate(async () => {
      const Notes = () => JSON.stringify(hooks.useRequest("/notes").data ?? null);
      const { container } = mount(h("div", null, h(Notes), "|", h(Notes)), { strict: true });
      await until(() => container.textContent.includes("a"));
      return container.textContent;
    });
    assert.equal(text, '{"a":1}|{"a":1}');
    assert.equal(bridge.commands.filter(({ type }) => type === "request").length, 1);
  });

  test("req 12: unmount cancels the request, and its slot is free", async () => {
    await goLive();
    bridge.on("request", (_, push) => void push);
    await page.evaluate(() => {
      window.root = mount(h(() => hooks.useRequest("/slow").state));
      return until(() => root.container.textContent === "pending");
    });
    await bridge.until(() => bridge.commands.some(({ type }) => type === "request"));
    const { id } = bridge.commands.find(({ type }) => type === "request");
    await page.evaluate(() => root.unmount());
    await bridge.until(() =>
      bridge.commands.some(({ type, request }) => type === "cancel" && request === id),
    );
  });

  test("req 15: retries are seen, and a remount keeps them", async () => {
    await goLive();
    let finish;
    bridge.on("request", ({ id }, push) => {
      push({ request: id, accepted: { request_id: 17 } });
      return new Promise((resolve) => (finish = () => resolve(response("done", { attempts: 2 }))));
    });
    await page.evaluate(() => {
      window.views = [];
      const Notes = () => {
        const { state, retry, response, requestId } = hooks.useRequest("/notes", { keepMs: 5_000 });
        views.push({
          state,
          requestId,
          retry: retry && [retry.attempt, retry.reason],
          attempts: response?.attempts ?? null,
        });
        return h("p", null, state);
      };
      window.Notes = Notes;
      window.root = mount(h(Notes));
      return until(() => views.at(-1)?.requestId === 17);
    });
    bridge.event({
      kind: "request_retry",
      request_id: 17,
      method: "GET",
      path: "/notes",
      attempt: 2,
      delay_ms: 250,
      reason: "unavailable",
    });
    await page.waitForFunction(() => views.at(-1).retry);
    await page.evaluate(async () => {
      flushSync(() => root.render(null));
      views.length = 0;
      flushSync(() => root.render(h(Notes)));
    });
    assert.deepEqual(await page.evaluate(() => views.at(-1)), {
      state: "pending",
      requestId: 17,
      retry: [2, "unavailable"],
      attempts: null,
    });
    finish();
    await page.waitForFunction(() => views.at(-1).state === "done");
    assert.deepEqual(await page.evaluate(() => views.at(-1)), {
      state: "done",
      requestId: 17,
      retry: null,
      attempts: 2,
    });
    assert.equal(bridge.commands.filter(({ type }) => type === "request").length, 1);
  });

  test("request without a component keeps the page's client for its time", async () => {
    bridge.on("request", () => undefined);
    const releases = await page.evaluate(async (url) => {
      /** The delays of the client's timers. A second is the end of an unused session. */
      const timers = new Map();
      const clock = {
        now: () => Date.now(),
        setTimeout: (task, ms) => {
          const timer = setTimeout(task, ms);
          timers.set(timer, ms);
          return timer;
        },
        clearTimeout: (timer) => (timers.delete(timer), clearTimeout(timer)),
      };
      const releases = () => [...timers.values()].filter((ms) => ms === 1_000).length;
      const client = mainstay.connect({ url, clock });
      await until(() => client.store.getState().isLive);
      client.release();
      await until(() => releases() === 1);
      const Notes = ({ keepMs }) => hooks.useRequest("/notes", { keepMs }).state;
      const root = mount(h(Notes, { keepMs: 60_000 }));
      await until(() => root.container.textContent === "pending");
      const seen = [releases()];
      flushSync(() => root.render(null));
      seen.push(releases());
      flushSync(() => root.render(h(Notes, { keepMs: 0 })));
      seen.push(releases());
      flushSync(() => root.render(null));
      await until(() => releases() === 1);
      return seen;
    }, bridge.url);
    assert.deepEqual(releases, [0, 0, 0]);
    assert.equal(bridge.commands.filter(({ type }) => type === "request").length, 1);
  });

  test("request that broke off is sent again in the next session", async () => {
    await goLive();
    let count = 0;
    bridge.on("request", () => (++count === 1 ? undefined : response("again")));
    await page.evaluate(() => {
      window.root = mount(
        h(() => {
          const { state, data } = hooks.useRequest("/notes");
          return `${state} ${data}`;
        }),
      );
    });
    await bridge.until(() => count === 1);
    bridge.drop();
    await page.waitForFunction(() => root.container.textContent === "done again");
    assert.equal(count, 2);
  });

  test("write waits for run, shows its error, and never rejects", async () => {
    await goLive();
    bridge.on("request", () => {
      throw {
        code: "INVALID_INPUT",
        reason: "unprocessable",
        status: 422,
        message: "m",
        retryable: false,
        attempts: 1,
      };
    });
    const seen = await page.evaluate(async () => {
      let save;
      const { container } = mount(
        h(
          () => (
            (save = hooks.useRequest("/notes", { method: "POST" })),
            `${save.state} ${save.error?.status}`
          ),
        ),
      );
      await until(() => container.textContent === "idle undefined");
      const { ok, error } = await save.run({ body: { text: "hi" } });
      await until(() => container.textContent === "failed 422");
      return [ok, error.reason];
    });
    assert.deepEqual(seen, [false, "unprocessable"]);
    const { method, body } = bridge.commands.find(({ type }) => type === "request");
    assert.deepEqual({ method, body }, { method: "POST", body: { text: "hi" } });
  });

  test("run before the effects waits for them", async () => {
    await goLive();
    bridge.on("request", () => response("saved"));
    const seen = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const App = () => {
            const save = hooks.useRequest("/notes", { method: "POST" });
            React.useLayoutEffect(
              () => void save.run().then(({ ok, value }) => resolve([ok, value?.body])),
              [],
            );
            return null;
          };
          mount(h(App));
        }),
    );
    assert.deepEqual(seen, [true, "saved"]);
  });

  test("queue shows figures, outage and requests", async () => {
    await goLive();
    bridge.on("requests", ({ action }) =>
      action === "show"
        ? [
            {
              request_id: 5,
              method: "GET",
              path: "/a",
              priority: "low",
              phase: "waiting",
              attempts: 0,
              age_ms: 1,
            },
          ]
        : { cancelled: true },
    );
    // The runtime's clock is hours away from the page's: the delay counts.
    const at = "2026-03-01T12:00:10.000Z";
    const held = {
      since: "2026-03-01T12:00:00Z",
      reason: "disconnected",
      message: "away",
      waits_for_backend: false,
      failures: 2,
      next_probe_at: at,
      next_probe_in_ms: 60_000,
    };
    const [from, to] = [Date.now() - 5_000, Date.now() + 30_000].map((now) => now + 60_000);
    bridge.change({ queue: { ...bridge.status.queue, waiting: 3, held } });
    const seen = await page.evaluate(async () => {
      let queue;
      mount(h(() => ((queue = hooks.useQueue({ list: true })), null)));
      await until(() => queue?.waiting === 3 && queue.requests.length);
      const result = await queue.cancel(5);
      return [queue.held.message, queue.nextTrialAt, queue.requests[0].request_id, result];
    });
    const [nextTrialAt] = seen.splice(1, 1);
    assert.deepEqual(seen, ["away", 5, { ok: true, value: true }]);
    assert.ok(nextTrialAt >= from && nextTrialAt <= to, `${nextTrialAt} is not in ${from} to ${to}`);
  });

  test("incidents and requests are read one reading at a time", async () => {
    await goLive();
    const counts = { incidents: [0, 0], requests: [0, 0] };
    const held = [];
    const count = (kind, reply) => () => {
      const seen = counts[kind];
      seen[0]++;
      seen[1] = Math.max(seen[1], seen[0]);
      return new Promise((resolve) => held.push(() => (seen[0]--, resolve(reply))));
    };
    bridge.on("incidents", count("incidents", { incidents: [] }));
    bridge.on("requests", count("requests", []));
    await page.evaluate(() => {
      window.versions = new Set();
      mount(h(() => (hooks.useIncidents(), hooks.useQueue({ list: true }), versions.add(hooks.useStore(({ status }) => status.runtime.seq)), null)));
    });
    for (let round = 1; round <= 4; round++) {
      bridge.change({
        runtime: { ...bridge.status.runtime, seq: bridge.status.runtime.seq + 1 },
        queue: { ...bridge.status.queue, waiting: round },
      });
      await page.waitForFunction((size) => versions.size === size, round + 1);
    }
    await bridge.until(() => held.length === 2);
    for (const end of held.splice(0)) end();
    // What changed meanwhile is read once, however often it changed.
    await bridge.until(() => held.length === 2);
    for (const end of held.splice(0)) end();
    await page.evaluate(() => client.hello());
    assert.deepEqual(counts, { incidents: [0, 1], requests: [0, 1] });
    assert.equal(bridge.commands.filter(({ type }) => type === "incidents").length, 2);
  });

  test("incidents that cannot be listed say so, and are not called live", async () => {
    await goLive();
    let fails = true;
    bridge.on("incidents", () => {
      if (fails) throw { code: "SERVER_ERROR", reason: "internal", message: "m", retryable: false, attempts: 0 };
      return { incidents: [] };
    });
    await page.evaluate(() => {
      window.seen = [];
      mount(
        h(() => {
          const { incidents, isLive, error } = hooks.useIncidents();
          seen.push(`${incidents.length} ${isLive} ${error?.reason ?? null}`);
          return null;
        }),
      );
      return until(() => seen.at(-1) === "0 false internal");
    });
    assert.equal((await page.evaluate(() => seen))[0], "0 false null");
    fails = false;
    const { runtime } = bridge.status;
    bridge.change({ runtime: { ...runtime, seq: runtime.seq + 1 } });
    await page.waitForFunction(() => seen.at(-1) === "0 true null");
    await page.evaluate(() => {
      seen.length = 0;
      client.close();
    });
    await page.waitForFunction(() => seen.includes("0 false null"));
  });

  test("loads that failed without an address begin again with it", async () => {
    bridge.on("request", () => response("here"));
    bridge.on("cache", ({ action }) => (action === "get" ? { hit: true, value: "kept" } : null));
    await page.evaluate(async () => {
      const App = () => {
        const { state, data } = hooks.useRequest("/notes");
        const cached = hooks.useCached("k", async () => null);
        return `${state} ${data ?? null} ${cached.error?.reason ?? null} ${cached.data ?? null}`;
      };
      window.root = mount(h(App), { strict: true });
      await until(() => root.container.textContent === "failed null invalid_config null");
      connectPage();
      await until(() => root.container.textContent === "done here null kept");
    });
  });

  test("cached value that broke off with the session is read in the next one", async () => {
    await goLive();
    let count = 0;
    bridge.on("cache", () => (++count === 1 ? undefined : { hit: true, value: "kept" }));
    await page.evaluate(() => {
      window.root = mount(h(() => JSON.stringify(hooks.useCached("k", async () => "loaded").data) ?? ""));
    });
    await bridge.until(() => count === 1);
    bridge.drop();
    await page.waitForFunction(() => root.container.textContent === '"kept"');
    assert.equal(count, 2);
  });

  test("load whose outcome is unknown is not repeated in the next session", async () => {
    await goLive();
    bridge.on("cache", () => ({ hit: false }));
    bridge.on("request", () => undefined);
    await page.evaluate(() => {
      const load = () => client.request("POST", "/search");
      window.root = mount(h(() => hooks.useCached("k", load).error?.reason ?? ""));
    });
    const posts = () => bridge.commands.filter(({ type }) => type === "request").length;
    await bridge.until(() => posts() === 1);
    bridge.drop();
    await page.waitForFunction(() => root.container.textContent === "outcome_unknown");
    await page.evaluate(() => until(() => client.store.getState().isLive));
    await page.evaluate(() => client.hello());
    assert.equal(posts(), 1);
  });

  test("request that failed is not kept for the next component", async () => {
    await goLive();
    let count = 0;
    bridge.on("request", () => {
      if (++count > 1) return response("better");
      throw { code: "NOT_FOUND", reason: "not_found", status: 404, message: "m", retryable: false, attempts: 1 };
    });
    await page.evaluate(async () => {
      const Notes = () => {
        const { state, data } = hooks.useRequest("/notes", { keepMs: 60_000 });
        return `${state} ${data ?? null}`;
      };
      window.root = mount(h(Notes));
      await until(() => root.container.textContent === "failed null");
      flushSync(() => root.render(null));
      root.render(h(Notes));
      await until(() => root.container.textContent === "done better");
    });
  });

  test("incidents are listed again after new events", async () => {
    await goLive();
    const incident = (id, title) => ({ id, title, story: [title] });
    let incidents = [incident("1.1", "planner: panicked")];
    bridge.on("incidents", ({ limit }) => ({ incidents: incidents.slice(0, limit) }));
    const titles = (count) =>
      page.evaluate(async (wanted) => {
        window.shown ??= mount(h(() => hooks.useIncidents({ limit: 2 }).incidents.map(({ title }) => `${title};`).join("")));
        await until(() => shown.container.textContent.split(";").length === wanted + 1);
        return shown.container.textContent;
      }, count);
    assert.equal(await titles(1), "planner: panicked;");
    incidents = [incident("1.9", "coder: failed"), ...incidents, incident("0.1", "beyond the limit")];
    const { runtime } = bridge.status;
    bridge.change({ runtime: { ...runtime, seq: runtime.seq + 1 } });
    assert.equal(await titles(2), "coder: failed;planner: panicked;");
  });

  test("cached value loads once and follows invalidations", async () => {
    await goLive();
    let stored = null;
    bridge.on("cache", ({ action, value }) => {
      if (action === "get") return stored ? { hit: true, value: stored.value } : { hit: false };
      if (action === "put") stored = { value };
      return null;
    });
    await page.evaluate(() => {
      window.loads = 0;
      const load = async () => (++loads === 1 ? null : { n: loads });
      const Value = () => {
        const { data, hasData } = hooks.useCached("k:1", load, { ttlMs: 1_000 });
        return `${JSON.stringify(data)} ${hasData};`;
      };
      window.root = mount(h("div", null, h(Value), h(Value)), { strict: true });
      return until(() => root.container.textContent === "null true;null true;");
    });
    assert.equal(await page.evaluate(() => loads), 1);
    assert.equal(bridge.commands.find(({ action }) => action === "put").ttl_ms, 1_000);
    stored = null;
    bridge.event({ kind: "cache_invalidated", by: "key", pattern: "other", entries: 1 });
    bridge.event({ kind: "cache_invalidated", by: "prefix", pattern: "k:", entries: 1 });
    await page.waitForFunction(() => root.container.textContent === '{"n":2} true;{"n":2} true;');
    assert.equal(await page.evaluate(() => loads), 2);
  });

  test("load that an invalidation overtook is neither shown nor stored", async () => {
    await goLive();
    let stored = null;
    bridge.on("cache", ({ action, value }) => {
      if (action === "get") return stored ? { hit: true, value: stored.value } : { hit: false };
      if (action === "put") stored = { value };
      return null;
    });
    await page.evaluate(() => {
      window.loads = [];
      window.seen = [];
      const load = ({ signal }) => new Promise((end) => loads.push({ end, signal }));
      window.root = mount(
        h(() => {
          const { data } = hooks.useCached("k:1", load);
          seen.push(data ?? null);
          return JSON.stringify(data) ?? "";
        }),
      );
      return until(() => loads.length === 1);
    });
    bridge.event({ kind: "cache_invalidated", by: "key", pattern: "k:1", entries: 0 });
    await page.waitForFunction(() => loads.length === 2);
    await page.evaluate(async () => {
      loads[1].end("new");
      await until(() => root.container.textContent === '"new"');
      loads[0].end("old");
    });
    await bridge.until(() => stored?.value === "new");
    // A further load ends after all that the old one could do.
    bridge.event({ kind: "cache_invalidated", by: "all", pattern: "everything", entries: 1 });
    stored = null;
    await page.waitForFunction(() => loads.length === 3);
    await page.evaluate(() => {
      loads[2].end("newer");
      return until(() => root.container.textContent === '"newer"');
    });
    const { seen, aborted } = await page.evaluate(() => ({
      seen: [...new Set(window.seen)],
      aborted: loads.map(({ signal }) => signal.aborted),
    }));
    assert.deepEqual(seen, [null, "new", "newer"]);
    assert.deepEqual(aborted, [true, false, false]);
    await bridge.until(() => stored?.value === "newer");
    const puts = bridge.commands.filter(({ action }) => action === "put").map(({ value }) => value);
    assert.deepEqual(puts, ["new", "newer"]);
  });

  test("loaded value is shown although it cannot be stored, with the error", async () => {
    await goLive();
    bridge.on("cache", ({ action }) => {
      if (action === "get") return { hit: false };
      throw { code: "INVALID_INPUT", reason: "request_too_large", message: "Too large." };
    });
    const seen = await page.evaluate(async () => {
      let view;
      mount(h(() => ((view = hooks.useCached("k:1", async () => "big")), null)));
      await until(() => view?.error);
      return [view.data, view.hasData, view.isLoading, view.error.reason];
    });
    assert.deepEqual(seen, ["big", true, false, "request_too_large"]);
  });
});

describe("agents", () => {
  test("health has all fields, and actions show that they run", async () => {
    await goLive();
    let finish;
    bridge.on("agent", ({ action }) =>
      action === "restart" ? new Promise((resolve) => (finish = () => resolve(null))) : null,
    );
    await page.evaluate(() => {
      window.healths = [];
      mount(
        h(() => {
          const health = hooks.useAgentHealth("planner");
          healths.push(health);
          return health?.pending ?? "none";
        }),
      );
      return until(() => healths.at(-1)?.status === "healthy");
    });
    const fields = await page.evaluate(() => Object.keys(healths.at(-1)));
    for (const name of [
      "status",
      "since",
      "nextStep",
      "restartAt",
      "restartsLeft",
      "gaveUp",
      "lastError",
      "memory",
      "messages",
      "logs",
      "restart",
      "stop",
      "start",
      "reset",
      "send",
    ]) {
      assert.ok(fields.includes(name), name);
    }
    await page.evaluate(
      () =>
        void healths
          .at(-1)
          .restart()
          .then((result) => (window.result = result)),
    );
    await page.waitForFunction(() => healths.at(-1).pending === "restart");
    await bridge.until(() => finish);
    finish();
    await page.waitForFunction(() => window.result && healths.at(-1).pending === null);
    assert.deepEqual(await page.evaluate(() => result), { ok: true, value: null });
  });

  test("crash, giving up and return are called once each", async () => {
    await goLive();
    await page.evaluate(() => {
      window.calls = [];
      mount(
        h(() => {
          hooks.useAgentHealth("planner", {
            onCrash: (error) => calls.push(["crash", error?.reason ?? null]),
            onRestart: () => calls.push(["restart"]),
            onGaveUp: () => calls.push(["gave up"]),
          });
          return null;
        }),
        { strict: true },
      );
      return until(() => client.store.getState().agents.planner);
    });
    const steps = [
      [
        {
          status: "restarting",
          error: { code: "SERVER_ERROR", reason: "crashed", message: "m", retryable: false, attempts: 0 },
        },
        1,
      ],
      [{ status: "starting", generation: 2, restarts: 1, error: null }, 1],
      [{ status: "healthy" }, 2],
      [{ status: "failed" }, 3],
      [{ status: "failed", gave_up: true }, 4],
    ];
    for (const [patch, count] of steps) {
      bridge.changeAgent("planner", patch);
      await page.waitForFunction(
        ([status, gaveUp]) => {
          const { planner } = client.store.getState().agents;
          return planner.status === status && planner.gave_up === gaveUp;
        },
        [patch.status, patch.gave_up ?? false],
      );
      await page.waitForFunction((n) => calls.length >= n, count);
    }
    assert.deepEqual(await page.evaluate(() => calls), [
      ["crash", "crashed"],
      ["restart"],
      ["crash", null],
      ["gave up"],
    ]);
  });

  test("stream of tokens renders once per frame, and loses none", async () => {
    await goLive();
    await page.evaluate(() => {
      window.renders = 0;
      mount(
        h(() => {
          renders++;
          window.stream = hooks.useAgentStream("planner");
          return stream.turns[0]?.text.length ?? 0;
        }),
        { strict: true },
      );
    });
    await bridge.until(() =>
      bridge.commands.some(
        ({ type, action, after }) => type === "agent" && action === "listen" && after === 0,
      ),
    );
    let seq = 0;
    const update = (kind, body) =>
      bridge.send({ agent: "planner", update: { kind, seq: ++seq, message_id: 7, body } });
    update("sent", { text: "count" });
    for (let n = 0; n < 5_000; n++)
      update("message", { sessionUpdate: "agent_message_chunk", content: { type: "text", text: `${n},` } });
    bridge.send({ agent: "planner", lagged: 2 });
    bridge.send({ agent: "planner", update: { kind: "ask", seq: ++seq, ask: "a1", body: "May I?" } });
    update("ended", { answer: "done" });
    await page.waitForFunction(() => stream.turns[0]?.state === "answered");
    const { text, lagged, questions, renders } = await page.evaluate(() => ({
      text: stream.turns[0].text,
      lagged: stream.lagged,
      questions: stream.questions,
      renders,
    }));
    assert.equal(text, Array.from({ length: 5_000 }, (_, n) => `${n},`).join(""));
    assert.deepEqual([lagged, questions], [2, [{ ask: "a1", body: "May I?" }]]);
    assert.ok(renders < 500, `${renders} renders`);
  });

  test("own message is shown at once, and is one turn with its updates", async () => {
    await goLive();
    bridge.on("agent", ({ id, action }, push) => {
      if (action !== "send") return null;
      push({ agent: "planner", accepted: { id, message_id: 3 } });
      push({ agent: "planner", update: { kind: "sent", seq: 1, message_id: 3, body: "hi" } });
      push({ agent: "planner", update: { kind: "message", seq: 2, message_id: 3, body: { text: "hello" } } });
      push({ agent: "planner", update: { kind: "ended", seq: 3, message_id: 3, body: { answer: "hello" } } });
      return { message_id: 3, answer: "hello" };
    });
    const turns = await page.evaluate(async () => {
      mount(h(() => ((window.stream = hooks.useAgentStream("planner")), null)));
      await until(() => window.stream);
      const { ok } = await stream.send("hi");
      await until(() => stream.turns[0]?.state === "answered" && stream.turns[0].text);
      return [ok, stream.turns.length, stream.turns[0].messageId, stream.turns[0].text];
    });
    assert.deepEqual(turns, [true, 1, 3, "hello"]);
  });

  // A test that skips itself would run no hook afterwards.
  test("own message that fails while its page part is hidden and shown ends", { skip: process.env.REACT_18 === "1" && "React 18 hides nothing" }, async () => {
    await goLive();
    let fail;
    bridge.on("agent", ({ id, action }, push) => {
      if (action !== "send") return null;
      push({ agent: "planner", update: { kind: "sent", seq: 1, message_id: 3, body: "hi" } });
      push({ agent: "planner", accepted: { id, message_id: 3 } });
      return new Promise((_, reject) => (fail = reject));
    });
    await page.evaluate(async () => {
      const Stream = () => ((window.stream = hooks.useAgentStream("planner")), null);
      const view = (mode) => h(React.Activity, { mode }, h(Stream));
      const { render } = mount(view("visible"));
      await until(() => window.stream);
      window.sent = stream.send("hi");
      await until(() => stream.turns[0]?.messageId === 3);
      flushSync(() => render(view("hidden")));
      flushSync(() => render(view("visible")));
      // Its kept updates came again.
      await until(() => stream.turns[0]?.key === "m3");
    });
    fail({ code: "NETWORK_ERROR", reason: "outcome_unknown", message: "m", retryable: false, attempts: 1 });
    const [ok, states] = await page.evaluate(async () => {
      const { ok } = await window.sent;
      await until(() => stream.turns[0].state !== "sent");
      return [ok, stream.turns.map(({ state }) => state)];
    });
    assert.deepEqual([ok, states], [false, ["failed"]]);
  });
});

describe("streams", () => {
  test("writes of a save are one change, a loss is a rescan", async () => {
    bridge.status = sampleStatus({
      cache: { ...sampleStatus().cache, folders: [{ path: "/p", is_watched: true }] },
    });
    await goLive();
    await page.evaluate(() => {
      window.batches = [];
      mount(
        h(() => {
          window.watcher = hooks.useFileWatcher({
            folders: ["/p/docs"],
            globs: ["*.md"],
            debounceMs: 30,
            onChanges: (batch) => batches.push(batch),
          });
          return null;
        }),
        { strict: true },
      );
    });
    await bridge.until(() =>
      bridge.commands.some(({ type, action }) => type === "files" && action === "listen"),
    );
    const change = (kind, path) => bridge.send({ file: { kind, root: "/p", path: `/p/${path}` } });
    for (let i = 0; i < 3; i++) change("modified", "docs/a.md");
    change("modified", "docs/a.txt");
    change("modified", "src/b.md");
    await page.waitForFunction(() => watcher.changes.length);
    bridge.send({ file: { lagged: 9 } });
    await page.waitForFunction(() => watcher.changes.length === 2);
    const { changes, error, count } = await page.evaluate(() => ({
      changes: watcher.changes,
      error: watcher.error,
      count: batches.length,
    }));
    assert.deepEqual(
      changes.map(({ kind, path }) => [kind, path]),
      [
        ["modified", "/p/docs/a.md"],
        ["rescan", "/p/docs"],
      ],
    );
    assert.deepEqual([error, count], [null, 2]);
    await page.evaluate(() => watcher.clear());
    await page.waitForFunction(() => watcher.changes.length === 0);
  });

  test("loss without folders of interest is a rescan of each watched folder", async () => {
    const folders = ["/p", "/q"].map((path) => ({ path, is_watched: true }));
    bridge.status = sampleStatus({ cache: { ...sampleStatus().cache, folders } });
    await goLive();
    await page.evaluate(() => {
      mount(h(() => ((window.watcher = hooks.useFileWatcher({ debounceMs: 0 })), null)));
    });
    await bridge.until(() =>
      bridge.commands.some(({ type, action }) => type === "files" && action === "listen"),
    );
    bridge.send({ file: { lagged: 9 } });
    await page.waitForFunction(() => watcher.changes.length);
    const changes = await page.evaluate(() =>
      watcher.changes.map(({ kind, root, path }) => [kind, root, path]),
    );
    assert.deepEqual(changes, [
      ["rescan", "/p", "/p"],
      ["rescan", "/q", "/q"],
    ]);
  });

  test("unwatched folder is an error, and a signal ends it", async () => {
    await goLive();
    await page.evaluate(() => {
      window.controller = new AbortController();
      mount(
        h(
          () => (
            (window.watcher = hooks.useFileWatcher({ folders: ["/q"], signal: controller.signal })),
            null
          ),
        ),
      );
      return until(() => window.watcher?.error);
    });
    assert.equal(await page.evaluate(() => watcher.error.reason), "not_found");
    await page.evaluate(() => controller.abort());
    await bridge.until(() =>
      bridge.commands.some(({ type, action }) => type === "files" && action === "unlisten"),
    );
  });

  test("log shows earlier lines once, follows, and keeps its limit", async () => {
    await goLive();
    const line = (n) => ({ at: `2026-03-01T12:00:0${n}Z`, stream: "out", text: `line ${n}` });
    bridge.on("logs", ({ action }) => (action === "read" ? { lines: [line(1), line(2)] } : null));
    await page.evaluate(() => {
      mount(
        h(() => ((window.log = hooks.useLogs("planner", { lines: 2, limit: 3 })), null)),
        { strict: true },
      );
      return until(() => window.log?.lines.length === 2);
    });
    bridge.send({ log: "planner", lines: [line(3), line(4)] });
    bridge.send({ log: "planner", ended: true });
    await page.waitForFunction(() => log.hasEnded && log.lines.length === 3);
    assert.deepEqual(await page.evaluate(() => log.lines.map(({ text }) => text)), [
      "line 2",
      "line 3",
      "line 4",
    ]);
  });

  test("events after a cursor are shown once, also after another subscription", async () => {
    const shown = await page.evaluate(async () => {
      const mock = createMock();
      const client = mainstay.connect({ mock });
      for (const to of ["degraded", "healthy"]) mock.setAgent("planner", { status: to });
      const Events = ({ given }) => {
        const { events } = hooks.useEvents({ client: given, kinds: ["agent_health"], after: "0.0" });
        return events.map(({ to }) => `${to};`).join("");
      };
      const root = mount(h(Events));
      await until(() => root.container.textContent === "degraded;healthy;");
      // The same client, given in another way, is another subscription.
      root.render(h(Events, { given: client }));
      await until(() => mock.commands.filter(({ type }) => type === "subscribe").length >= 2);
      mock.setAgent("planner", { status: "failed" });
      await until(() => root.container.textContent.endsWith("failed;"));
      return root.container.textContent;
    });
    assert.equal(shown, "degraded;healthy;failed;");
  });

  test("events of the wanted kinds come in order, with gaps", async () => {
    await goLive();
    await page.evaluate(() => {
      mount(
        h(() => ((window.view = hooks.useEvents({ kinds: ["agent_health"], limit: 2 })), null)),
        { strict: true },
      );
      return until(() => window.view);
    });
    for (const to of ["degraded", "failed", "restarting"])
      bridge.event({ kind: "agent_health", from: "healthy", to, misses: 0, error: null });
    bridge.event({ kind: "budget_reset" });
    bridge.send({ lagged: { after: "1.5", before: "1.9" }, cursor: "1.9" });
    await page.waitForFunction(() => view.events.length === 2 && view.lagged);
    assert.deepEqual(await page.evaluate(() => [view.events.map(({ to }) => to), view.lagged]), [
      ["failed", "restarting"],
      { after: "1.5", before: "1.9" },
    ]);
  });
});
