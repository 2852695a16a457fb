/** The elements over the real client and the mock: outages, crashes, streams and speed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { make, run, setUpElements } from "./elements-harness.js";

/** @typedef {import("playwright-core").Page} Page */

/** Notes every state that the banner ever shows. */
function noteStates() {
  /** @type {(string | null)[]} */
  const shown = [];
  Object.assign(globalThis, { shown });
  new MutationObserver((records) => {
    for (const { target } of records) {
      if (target instanceof Element) shown.push(target.getAttribute("data-state"));
    }
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-state"] });
}

const setup = setUpElements("/examples/gallery.html", noteStates);
const inGallery = setup.open;

/** Waits until a condition holds in the page. @param {Page} page @param {string} condition */
const until = (page, condition) =>
  run(page, `(async () => { while (!(${condition})) await new Promise(requestAnimationFrame); })()`);
test("req 7: start, a short loss and navigation show no banner; a long one does, and heals", async () => {
  await inGallery("element=agents&state=healthy", async (page) => {
    await make(page, "connection-status");
    await run(page, "mock.drop()");
    await until(page, "mock.opened === 2 && client.store.getState().isLive");
    await run(page, "new Promise((done) => setTimeout(done, 1100))");
    assert.deepEqual(await run(page, "shown"), ["ok"]);
    await run(page, "mock.drop({ refuse: 1000 })");
    await page.getByText("No contact with the application").waitFor();
    await page.getByText("Last known state").first().waitFor();
    await page.getByRole("button", { name: "Reconnect now" }).click();
    await page.getByText("Still no connection.").waitFor();
    await run(page, "mock.drop({ refuse: 0 })");
    await page.getByRole("button", { name: "Reconnect now" }).click();
    await page.getByText("Connected again").waitFor();
    await page.getByText("Connected again").waitFor({ state: "detached" });
    assert.deepEqual(
      [...new Set(/** @type {string[]} */ (await run(page, "shown")))],
      ["ok", "reconnecting", "back"],
    );
  });
});

test("req 8: the countdown follows the runtime's next attempt, and reconnect reports its failure", async () => {
  await inGallery("element=connection-status&state=reconnecting", async (page) => {
    const words = page.locator("mainstay-connection-status .countdown");
    const at = Number(await run(page, "client.store.getState().connection.nextAttemptAt"));
    await until(
      page,
      `document.querySelector("mainstay-connection-status").shadowRoot
      .querySelector(".countdown")?.textContent === ", in 3 s"`,
    );
    const left = Number(await run(page, `${at} - Date.now()`));
    assert.ok(left > 1900 && left <= 3050, `${left} ms are left at "in 3 s"`);
    assert.equal(await words.count(), 1);
    await run(
      page,
      `mock.fail("connection.reconnect", { code: "NETWORK_ERROR", reason: "connection_refused", message: "Refused." })`,
    );
    await page.getByRole("button", { name: "Reconnect now" }).click();
    await page.getByText("Still no connection. Refused.").waitFor();
  });
});

test("req 4: reconnect ends without a runtime, with a closed client, and outside the page", async () => {
  const page = await setup.browser.newPage();
  await page.goto(`${setup.url}/tests/browser/elements-on-demand.html`);
  await run(
    page,
    `(async () => {
    await import("/src/elements/connection-status.js");
    const { connect } = await import("/src/client.js");
    const silent = { open: () => ({ send() {}, close() {} }) };
    globalThis.add = (client) => {
      const element = document.createElement("mainstay-connection-status");
      element.setAttribute("grace", "0");
      element.client = client;
      document.querySelector("main").replaceChildren(element);
      return element;
    };
    globalThis.clients = [connect({ id: "none" }), ...["a", "b"].map((id) => connect({ id, transport: silent }))];
    globalThis.element = add(clients[0]);
  })()`,
  );
  await page.getByRole("button", { name: "Reconnect now" }).click();
  await page.getByText("Still no connection. The configuration is not valid.").waitFor();
  assert.equal(await page.getByRole("button").getAttribute("aria-busy"), null);
  // The client ends while it dials.
  await run(page, `element = add(clients[1]); globalThis.asked = element.reconnect(); undefined`);
  await page.getByText("Connecting …").waitFor();
  const inTime = (/** @type {string} */ code) =>
    run(
      page,
      `(async () => {
        ${code};
        const late = new Promise((end) => setTimeout(end, 5000));
        return Promise.race([asked.then(() => "settled"), late]);
      })()`,
    );
  assert.equal(await inTime("clients[1].close()"), "settled");
  // The element leaves the page while it dials.
  assert.equal(
    await inTime("element = add(clients[2]); asked = element.reconnect(); element.remove()"),
    "settled",
  );
  await page.close();
});

test("req 20: the developer tools show the state, and each part of it on demand", async () => {
  await inGallery("element=devtools&state=state", async (page) => {
    const tools = page.getByRole("group", { name: "Developer tools" });
    const json = async () => JSON.parse((await tools.locator("pre").textContent()) ?? "");
    assert.equal((await json()).agents.planner.status, "healthy");
    await run(page, `mock.crash("planner")`);
    await tools.getByText('"status": "restarting"').waitFor();
    await page.getByText("session open, attempt 1").waitFor();
    await tools.getByRole("button", { name: "Agents" }).click();
    assert.equal(await tools.getByRole("button", { name: "Agents" }).getAttribute("aria-pressed"), "true");
    await tools.locator("mainstay-agents").getByText("Restarting").first().waitFor();
    assert.equal(await run(page, "mock.opened"), 1, "its elements share the client");
    await tools.getByRole("button", { name: "Events" }).click();
    await tools.locator("mainstay-events").getByText("agent_health").last().waitFor();
    assert.equal(await tools.locator("mainstay-agents").count(), 0);
    await run(page, "mock.drop({ refuse: Infinity })");
    await tools.getByText("session waiting").waitFor();
  });
});

test("req 20: a crash of an agent is shown with its restart, and its return", async () => {
  await inGallery("element=agents&state=healthy", async (page) => {
    await run(page, `mock.crash("planner", { restartInMs: 5000 })`);
    await page.getByText(/Restarts in [45] s/).waitFor();
    await page.getByText("the agent has exited with code 1").waitFor();
    await page.getByText("1 restart, 4 of 5 left").waitFor();
    await run(page, `mock.recover("planner")`);
    await page.getByText("the agent has exited with code 1").waitFor({ state: "detached" });
    assert.equal(await page.getByText("Healthy").count(), 2);
  });
});

test("req 9: a streamed answer survives a lost session without gap or double", async () => {
  await inGallery("element=agent-conversation&state=empty", async (page) => {
    await run(
      page,
      `mock.on("agent.send", async (command, { update }) => {
      globalThis.say = (text) => update({ kind: "message", body: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } } });
      say("one ");
      await new Promise((done) => { globalThis.finish = done; });
      return { text: "one two three " };
    })`,
    );
    await page.getByLabel("Message to planner").fill("Count to three");
    await page.keyboard.press("Enter");
    const answer = page.locator("mainstay-agent-conversation .answer");
    await answer.filter({ hasText: "one" }).waitFor();
    await run(page, `mock.drop(); say("two ")`);
    await until(page, "mock.opened === 2 && client.store.getState().isLive");
    await run(page, `say("three ")`);
    await answer.filter({ hasText: "three" }).waitFor();
    assert.equal(await answer.textContent(), "one two three ");
    await run(page, "finish()");
    await page.locator("mainstay-agent-conversation .answered").waitFor();
    assert.equal(await page.locator("mainstay-agent-conversation .prompt").count(), 1);
    assert.equal(await answer.textContent(), "one two three ");
  });
});

test("req 16: a message that the runtime's end broke off says so", async () => {
  await inGallery("element=agent-conversation&state=empty", async (page) => {
    await run(page, `mock.on("agent.send", () => new Promise(() => {}))`);
    await page.getByLabel("Message to planner").fill("Hello");
    await page.keyboard.press("Enter");
    await page.getByText("Answers …").waitFor();
    await run(page, "mock.restartRuntime()");
    await page.getByText("Broken off. planner may have acted on it").waitFor();
  });
});

/**
 * Returns the longest task of the page's main thread meanwhile, in milliseconds of that thread's own time. It
 * does not depend on what else the machine does.
 * @param {Page} page
 * @param {() => Promise<unknown>} body
 */
async function longestTask(page, body) {
  await setup.browser.startTracing(page, { categories: ["disabled-by-default-devtools.timeline"] });
  await body();
  const { traceEvents } = JSON.parse(String(await setup.browser.stopTracing()));
  /** @type {{name: string, tdur?: number, pid: number, tid: number, args: {name?: string}}[]} */
  const events = traceEvents;
  const mains = events.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const ids = new Set(mains.map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = events.filter(({ name, pid, tid }) => name === "RunTask" && ids.has(`${pid} ${tid}`));
  assert.ok(tasks.length > 100, `${tasks.length} tasks were traced`);
  return Math.max(...tasks.map(({ tdur = 0 }) => tdur)) / 1000;
}

test("req 9: 10,000 events a second reach the list, and no task takes 100 ms", async (t) => {
  await inGallery("element=events&state=empty", async (page) => {
    const longest = await longestTask(page, async () => {
      await run(
        page,
        `(async () => {
      for (let n = 0; n < 40; n++) {
        mock.pushEvents(Array.from({ length: 500 }, (_, index) => ({ kind: "request_done", actor: "root/queue",
          fields: { method: "GET", path: "/api/" + index, status: 200, ms: index, cached: false, attempts: 1 } })));
        await new Promise((done) => setTimeout(done, 50));
      }
    })()`,
      );
      await page.getByText("20000 events").waitFor();
    });
    t.diagnostic(`longest task ${longest.toFixed(1)} ms of the main thread`);
    assert.ok(longest > 0 && longest < 100, `${longest} ms`);
  });
});

test("elements: a module is loaded when its element is first in the page", async () => {
  const page = await setup.browser.newPage();
  /** @type {string[]} */
  const loaded = [];
  page.on("request", (request) =>
    loaded.push(/** @type {string} */ (new URL(request.url()).pathname.split("/").pop())),
  );
  await page.goto(`${setup.url}/tests/browser/elements-on-demand.html`);
  await run(page, `customElements.whenDefined("mainstay-connection-status").then(() => {})`);
  assert.ok(!loaded.includes("agents.js") && !loaded.includes("events.js"), loaded.join());
  await run(
    page,
    `(async () => {
    const { setText } = await import("/src/elements/index.js");
    const { connect } = await import("/src/client.js");
    const { createMock } = await import("/src/transports/mock.js");
    setText({ healthy: "Gesund" });
    globalThis.client = connect({ mock: createMock() });
    document.querySelector("main").innerHTML = "<div><mainstay-agents></mainstay-agents></div>";
  })()`,
  );
  await page.getByText("Gesund").waitFor();
  assert.ok(loaded.includes("agents.js") && !loaded.includes("events.js"), loaded.join());
  await page.close();
});
