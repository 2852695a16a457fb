/** Tests of the elements in a browser, under the strictest content-security policy. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { make, run, setUpElements } from "./elements-harness.js";

/** @typedef {import("playwright-core").Page} Page */

const setup = setUpElements("/tests/browser/elements.html");
const inGallery = setup.open;

/** Waits for the frame in which planned changes are shown. @param {Page} page */
const frames = (page) =>
  page.evaluate(
    () =>
      new Promise((done) => {
        requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)));
      }),
  );

const CONNECTION = `{ state: "connected", since: "2026-03-01T11:57:00Z", attempt: 1, max: 5, nextAttemptAt: null,
  next_step: "", last_error: null, error: null }`;
const OUTAGE = `{ ...${CONNECTION}, state: "reconnecting", attempt: 2, nextAttemptAt: Date.now() + 5000,
  error: { code: "NETWORK_ERROR", reason: "connection_refused", retryable: true, attempts: 0, message: "Not accepting." } }`;
const ERROR = `{ code: "TIMEOUT", reason: "timed_out", retryable: true, attempts: 3, message: "Too slow." }`;
const UNKNOWN = `{ code: "NETWORK_ERROR", reason: "outcome_unknown", retryable: false, attempts: 1,
  message: "It is not known whether the backend carried this out.", details: "connection_reset" }`;

/** Returns whether the banner is seen. @param {Page} page */
const bannerState = (page) => page.locator("mainstay-connection-status").getAttribute("data-state");

test("req 4: reconnect works in every state and shows its outcome", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "connection-status", `{ grace: "0" }`);
    const button = page.getByRole("button", { name: "Reconnect now" });
    for (const state of ["reconnecting", "failed", "disconnected"]) {
      await run(page, `fake.calls.length = 0; fake.set({ connection: { ...${OUTAGE}, state: "${state}" } })`);
      await button.click();
      assert.deepEqual(await run(page, "fake.calls.splice(0)"), [["reconnect"]], state);
    }
    await run(page, `fake.replies.reconnect = () => { throw ${ERROR}; }`);
    await button.focus();
    await button.click();
    await page.getByText("Still no connection. Too slow.").waitFor();
    assert.equal(await button.evaluate((node) => node.matches(":focus")), true);
    await run(
      page,
      `fake.set({ isLive: false, session: { state: "waiting", since: 0, attempt: 3,
      nextAttemptAt: Date.now() + 5000, error: null } })`,
    );
    await run(page, "fake.calls.length = 0");
    await button.click();
    assert.deepEqual(await run(page, "fake.calls"), [["retryNow"]]);
  });
});

test("req 4: the button is busy while it dials, keeps its focus, and dials once", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "connection-status", `{ grace: "0" }`);
    await run(
      page,
      `fake.replies.reconnect = () => new Promise((done) => { globalThis.dialled = done; });
      fake.set({ connection: ${OUTAGE} })`,
    );
    const button = page.locator("mainstay-connection-status button");
    await button.click();
    assert.equal(await button.getAttribute("aria-busy"), "true");
    assert.equal(await button.evaluate((node) => node.matches(":focus")), true);
    await page.keyboard.press("Enter");
    assert.equal((await run(page, `fake.calls.filter(([name]) => name === "reconnect")`)).length, 1);
    await run(page, `fake.set({ connection: ${CONNECTION} }); dialled()`);
    await page.getByText("Connected again").waitFor();
  });
});

test("req 7: the banner waits for its grace, and stays hidden at start and in short outages", async () => {
  await inGallery(
    "element=x",
    async (page) => {
      await run(
        page,
        `globalThis.start = { ...fake.client.store.getState() };
      fake.set({ session: { state: "connecting", since: 0, attempt: 1, nextAttemptAt: null, error: null }, isLive: false,
        status: null, connection: null })`,
      );
      await make(page, "connection-status");
      await page.clock.runFor(900);
      assert.equal(await bannerState(page), "ok");
      await run(page, "fake.set(start)");
      await page.clock.runFor(3000);
      assert.equal(await bannerState(page), "ok");
      await run(page, `fake.set({ connection: ${OUTAGE} })`);
      await page.clock.runFor(990);
      assert.equal(await bannerState(page), "ok");
      await run(page, `fake.set({ connection: ${CONNECTION} })`);
      await page.clock.runFor(3000);
      assert.equal(await bannerState(page), "ok");
      await run(page, `fake.set({ connection: ${OUTAGE} })`);
      await page.clock.runFor(1010);
      assert.equal(await bannerState(page), "reconnecting");
      await run(page, `fake.set({ connection: ${CONNECTION} })`);
      assert.equal(await bannerState(page), "back");
      await page.clock.runFor(1400);
      assert.equal(await bannerState(page), "back");
      await page.clock.runFor(200);
      assert.equal(await bannerState(page), "ok");
    },
    { isTimed: true },
  );
});

test("req 7: a page that stood still begins its grace again", async () => {
  await inGallery(
    "element=x",
    async (page) => {
      await make(page, "connection-status");
      await run(page, `fake.set({ connection: ${OUTAGE} })`);
      await page.clock.fastForward(3_600_000);
      assert.equal(await bannerState(page), "ok");
      await page.clock.runFor(1100);
      assert.equal(await bannerState(page), "reconnecting");
    },
    { isTimed: true },
  );
});

test("req 7: the banner shifts nothing, also inline", async () => {
  for (const attributes of [`{ grace: "0" }`, `{ grace: "0", placement: "inline" }`]) {
    await inGallery("element=x", async (page) => {
      await make(page, "connection-status", attributes);
      await run(
        page,
        `document.querySelector("main").append(Object.assign(document.createElement("p"), { id: "below", textContent: "below" }));
        globalThis.shifts = [];
        new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value))).observe({ type: "layout-shift" })`,
      );
      const top = () => page.locator("#below").evaluate((node) => node.getBoundingClientRect().top);
      await frames(page);
      const at = await top();
      for (const parts of [
        OUTAGE,
        `{ ...${OUTAGE}, state: "failed" }`,
        `{ ...${OUTAGE}, nextAttemptAt: null }`,
        CONNECTION,
      ]) {
        await run(page, `fake.set({ connection: ${parts} })`);
        await frames(page);
        assert.equal(await top(), at);
      }
      assert.deepEqual(await run(page, "shifts.filter((value) => value > 0.001)"), []);
    });
  }
});

test("req 8: the countdown ticks on the runtime's time and never goes below now", async () => {
  await inGallery(
    "element=x",
    async (page) => {
      await make(page, "connection-status", `{ grace: "0" }`);
      await run(page, `fake.set({ connection: { ...${OUTAGE}, nextAttemptAt: Date.now() + 3500 } })`);
      const digits = page.locator("mainstay-connection-status .countdown");
      const status = page.locator("mainstay-connection-status [role=status]");
      const spoken = () =>
        status.evaluate((node) => {
          const copy = /** @type {Element} */ (node.cloneNode(true));
          for (const hidden of copy.querySelectorAll("[aria-hidden]")) hidden.remove();
          return copy.textContent;
        });
      const first = await spoken();
      for (const [ms, words] of /** @type {const} */ ([
        [0, "in 4 s"],
        [499, "in 4 s"],
        [2, "in 3 s"],
        [1000, "in 2 s"],
        [1000, "in 1 s"],
        [1000, "now"],
        [5000, "now"],
      ])) {
        await page.clock.runFor(ms);
        assert.equal(await digits.textContent(), `, ${words}`);
        assert.equal(await spoken(), first);
      }
      assert.equal(await digits.getAttribute("aria-hidden"), "true");
      assert.match(String(first), /Connection lost\s*Attempt 2 of 5\s*Not accepting\./);
    },
    { isTimed: true },
  );
});

test("req 8: a failed connection is an alert, others are polite", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "connection-status", `{ grace: "0" }`);
    const text = (/** @type {string} */ role) =>
      page.locator(`mainstay-connection-status [role=${role}]`).textContent();
    assert.equal(
      (await text("status")) + (await text("alert")),
      "",
      "both regions are there before they speak",
    );
    await run(page, `fake.set({ connection: ${OUTAGE} })`);
    assert.match(String(await text("status")), /Connection lost/);
    await run(
      page,
      `fake.set({ connection: { ...${OUTAGE}, state: "failed", attempt: 5, nextAttemptAt: null } })`,
    );
    assert.match(String(await text("alert")), /Connection failed.*No further attempt is planned/);
    assert.equal(await text("status"), "");
  });
});

test("req 9: an answer of 2,000 pieces is rendered once per frame and loses none", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "agent-conversation", `{ agent: "planner" }`);
    const renders = await run(
      page,
      `(async () => {
      const element = document.querySelector("mainstay-agent-conversation");
      let renders = 0;
      const view = element.view;
      element.view = () => (renders++, view.call(element));
      fake.update({ update: { kind: "sent", message_id: 1, body: { text: "Count" } } });
      for (let n = 0; n < 2000; n++) fake.update({ update: { kind: "message", message_id: 1,
        body: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: n + " " } } } });
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return renders;
    })()`,
    );
    assert.equal(renders, 1);
    const words = await page.locator("mainstay-agent-conversation .answer").textContent();
    assert.equal(words, Array.from({ length: 2000 }, (_, n) => `${n} `).join(""));
  });
});

test("req 9: appended text leaves a selection in the answer alone", async () => {
  await inGallery("element=agent-conversation&state=streaming", async (page) => {
    await frames(page);
    const picked = await run(
      page,
      `(async () => {
      const { shadowRoot } = document.querySelector("mainstay-agent-conversation");
      const node = [...shadowRoot.querySelectorAll(".answer")].at(-1).firstChild;
      getSelection().setBaseAndExtent(node, 2, node, 6);
      fake.update({ update: { kind: "message", message_id: 2,
        body: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: " a year." } } } });
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return [node.data.endsWith(" a year."), getSelection().toString()];
    })()`,
    );
    assert.deepEqual(picked, [true, "look"]);
  });
});

test("req 9: no event is lost at speed, and a gap is a row", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "events");
    await run(
      page,
      `(async () => {
      for (let batch = 0; batch < 20; batch++) {
        fake.emit({ events: journal(1000, batch * 1000 + 1), lagged: null });
        await new Promise(requestAnimationFrame);
      }
      fake.emit({ events: [], lagged: { after: "3.20000", before: "3.20050" } });
    })()`,
    );
    await frames(page);
    await page.getByText("20001 events").waitFor();
    assert.match(
      String(await page.getByRole("option").last().textContent()),
      /lagged.*after 3\.20000 and before 3\.20050/,
    );
    assert.ok((await page.getByRole("option").count()) < 60);
  });
});

test("events: new rows leave the row that is chosen, the focus and the place alone", async () => {
  await inGallery("element=events&state=some", async (page) => {
    await frames(page);
    const list = page.getByRole("listbox");
    await list.focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    const chosen = page.locator("[role=option][aria-selected]");
    await run(
      page,
      `globalThis.row = document.querySelector("mainstay-events").shadowRoot.querySelector("[aria-selected]")`,
    );
    const id = await chosen.getAttribute("id");
    assert.equal(await list.getAttribute("aria-activedescendant"), id);
    await run(page, "fake.emit({ events: journal(500, 401), lagged: null })");
    await frames(page);
    assert.equal(await chosen.getAttribute("id"), id);
    assert.equal(await run(page, "row.isConnected"), true);
    assert.equal(await list.evaluate((node) => node.matches(":focus")), true);
    assert.equal(await list.evaluate((node) => node.scrollTop), 0);
    await page.getByRole("button", { name: "Newest · 500" }).click();
    await frames(page);
    assert.match(String(await page.getByRole("option").last().getAttribute("id")), /e3\.900/);
  });
});

test("events: filters by kind and text", async () => {
  await inGallery("element=events&state=some", async (page) => {
    await frames(page);
    await page.getByLabel("Kind").selectOption("request_failed");
    const kinds = await page.locator("mainstay-events .kind").allTextContents();
    assert.ok(kinds.length > 5 && kinds.every((kind) => kind === "request_failed"));
    await page.getByLabel("Kind").selectOption("");
    await page.getByLabel("Search").fill("NOTES/IMPORT");
    const words = await page.locator("mainstay-events .words").allTextContents();
    assert.ok(words.length > 5 && words.every((line) => line.includes("notes/import")));
    await page.getByLabel("Search").fill("nothing of the kind");
    await page.getByText("No events.").waitFor();
  });
});

test("events: keeps its limit and the place in the list when the oldest go", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "events", `{ max: "2000" }`);
    await run(page, "fake.emit({ events: journal(3000), lagged: null })");
    await frames(page);
    await page.getByRole("listbox").evaluate((node) => {
      node.scrollTop = 2000 * 28;
    });
    await frames(page);
    const top = () =>
      run(
        page,
        `(() => {
      const list = document.querySelector("mainstay-events").shadowRoot.querySelector(".list");
      const { top } = list.getBoundingClientRect();
      return [...list.querySelectorAll(".event")].map((row) => [row.id, Math.round(row.getBoundingClientRect().top - top)])
        .filter(([, y]) => y >= 0).sort((a, b) => a[1] - b[1])[0];
    })()`,
      );
    const first = await top();
    await run(page, "fake.emit({ events: journal(500, 3001), lagged: null })");
    await frames(page);
    assert.deepEqual(await top(), first);
    assert.equal(await run(page, `document.querySelector("mainstay-events").events.length`), 2000);
  });
});

test("req 15: retries of a request are visible with their next attempt", async () => {
  await inGallery("element=requests&state=open", async (page) => {
    await page.getByText("/api/notes/import").waitFor();
    const row = page.locator("mainstay-requests li", { hasText: "/api/notes/import" });
    await row.getByText(/Next attempt in [1-4] s, attempt 2, timed out/).waitFor();
    await row.getByLabel(/^Priority/).selectOption("high");
    await row.getByRole("button", { name: /^Cancel/ }).click();
    const calls = await run(page, `fake.calls.filter(([name]) => name !== "list")`);
    assert.deepEqual(calls, [
      ["setPriority", 18, "high"],
      ["cancelRequest", 18],
    ]);
    await row.locator("[aria-busy]").waitFor();
  });
});

test("req 15: held requests say why, and when the next try is", async () => {
  await inGallery("element=requests&state=held", async (page) => {
    await page.getByText("The backend cannot be reached, so requests wait.").waitFor();
    await page.getByText(/Next try in [1-5] s/).waitFor();
    assert.equal(await page.locator("mainstay-requests li", { hasText: "Held" }).count(), 2);
  });
});

test("parts: a page styles buttons and titles", async () => {
  await inGallery("element=agents&state=healthy", async (page) => {
    await run(
      page,
      `(() => { const sheet = new CSSStyleSheet();
      sheet.replaceSync("mainstay-agents::part(button) { color: rgb(1, 2, 3) } mainstay-agents { --mainstay-good: rgb(4, 5, 6) }");
      document.adoptedStyleSheets.push(sheet); })()`,
    );
    const color = (/** @type {string} */ selector) =>
      page
        .locator(`mainstay-agents ${selector}`)
        .first()
        .evaluate((node) => getComputedStyle(node).color);
    assert.equal(await color("button"), "rgb(1, 2, 3)");
    assert.equal(await color(".state"), "rgb(4, 5, 6)");
  });
});

test("req 16: an unknown outcome looks different and is not offered again", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "error-toast");
    await run(page, `toast(${UNKNOWN}, { retry() {} }); toast(${ERROR}, { retry() {} })`);
    const unknown = page.locator("mainstay-error-toast li.outcome_unknown");
    assert.equal(await unknown.getByText("Outcome unknown").count(), 1);
    assert.equal(await unknown.getByRole("button", { name: "Try again" }).count(), 0);
    assert.equal(await page.getByRole("button", { name: "Try again" }).count(), 1);
    const styles = await page
      .locator("mainstay-error-toast li")
      .evaluateAll((rows) => rows.map((row) => getComputedStyle(row).borderTopStyle));
    assert.deepEqual(styles, ["solid", "dashed"]);
  });
});

test("req 16: a broken-off message says so, and returns to the prompt only on request", async () => {
  await inGallery("element=agent-conversation&state=broken", async (page) => {
    await page.getByText("Broken off. planner may have acted on it").waitFor();
    await page.getByRole("button", { name: "Back to the prompt" }).click();
    const prompt = page.getByLabel("Message to planner");
    assert.equal(await prompt.inputValue(), "Clean up the old drafts, please.");
    assert.equal(await prompt.evaluate((node) => node.matches(":focus")), true);
    assert.deepEqual(await run(page, `fake.calls.filter(([name]) => name === "send")`), []);
  });
});

test("req 17: regions are mounted first, by severity, and the focus stays", async () => {
  await inGallery("element=x", async (page) => {
    await run(page, `document.querySelector("main").append(document.createElement("input"))`);
    await page.locator("input").focus();
    await run(
      page,
      `globalThis.seen = []; toast(${ERROR}); seen.push(
      document.querySelector("mainstay-error-toast").shadowRoot.querySelectorAll("[role=alert],[role=status]").length,
      document.querySelector("mainstay-error-toast").shadowRoot.querySelectorAll("li").length)`,
    );
    assert.deepEqual(await run(page, "seen"), [2, 0]);
    await page.getByRole("region", { name: "Notices" }).waitFor();
    const spoken = (/** @type {string} */ role) =>
      page.locator(`mainstay-error-toast .spoken[role=${role}]`).textContent();
    assert.equal(await spoken("alert"), "Error. Too slow.");
    await run(page, `toast({ ...${ERROR}, reason: "cancelled", message: "Ended." })`);
    assert.equal(await spoken("status"), "Note. Ended.");
    assert.equal(await page.locator("input").evaluate((node) => node.matches(":focus")), true);
    assert.equal(await page.getByRole("button", { name: "Close: Error" }).count(), 1);
  });
});

test("req 17: F6 reaches the notices, Escape closes, and the focus returns", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "error-toast");
    await run(page, `document.querySelector("main").append(document.createElement("input"))`);
    await page.locator("input").focus();
    await run(page, `toast(${ERROR}, { title: "One" }); toast(${ERROR}, { title: "Two" })`);
    const active = () =>
      run(
        page,
        `document.activeElement.shadowRoot?.activeElement?.getAttribute("aria-label") ?? document.activeElement.localName`,
      );
    await page.keyboard.press("F6");
    assert.equal(await active(), "Close: Two");
    await page.keyboard.press("F6");
    assert.equal(await active(), "input");
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("mainstay-error-toast li").count(), 2, "Escape elsewhere closes nothing");
    await page.keyboard.press("F6");
    await page.keyboard.press("Escape");
    assert.equal(await active(), "Close: One");
    await page.keyboard.press("Escape");
    assert.equal(await active(), "input");
    assert.equal(await page.locator("mainstay-error-toast li").count(), 0);
  });
});

test("req 18: a notice lives 5 s, longer for long texts, and pauses while looked at", async () => {
  await inGallery(
    "element=x",
    async (page) => {
      await make(page, "error-toast");
      const count = () => page.locator("mainstay-error-toast li").count();
      await run(page, `toast(${ERROR})`);
      await page.clock.runFor(4990);
      assert.equal(await count(), 1);
      await page.clock.runFor(20);
      assert.equal(await count(), 0);
      await run(page, `toast({ ...${ERROR}, message: "x".repeat(200) })`);
      await page.clock.runFor(11_990);
      assert.equal(await count(), 1);
      await page.clock.runFor(20);
      assert.equal(await count(), 0);
      await run(page, `toast(${ERROR})`);
      await page.clock.runFor(3000);
      await page.locator("mainstay-error-toast li").hover();
      await page.clock.runFor(60_000);
      assert.equal(await count(), 1, "hovered");
      await page.mouse.move(5, 5);
      await page.keyboard.press("F6");
      await page.clock.runFor(60_000);
      assert.equal(await count(), 1, "focused");
      await page.keyboard.press("F6");
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { configurable: true, value: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
      await page.clock.runFor(60_000);
      assert.equal(await count(), 1, "hidden");
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { configurable: true, value: false });
        document.dispatchEvent(new Event("visibilitychange"));
      });
      await page.clock.runFor(1990);
      assert.equal(await count(), 1);
      await page.clock.runFor(20);
      assert.equal(await count(), 0);
    },
    { isTimed: true },
  );
});

test("req 18: a repeat folds into its notice after texts were replaced", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "error-toast");
    const rows = page.locator("mainstay-error-toast li");
    await run(page, `for (let n = 0; n < 2; n++) toast(${ERROR})`);
    await run(
      page,
      `import("/src/elements/text.js").then(({ setText }) => setText({ error: "Fehler", "reason.timed_out": "Zu langsam." }))`,
    );
    await run(page, `toast(${ERROR}); toast({ ...${ERROR}, message: "In other words." })`);
    assert.equal(await rows.count(), 1);
    assert.match(String(await rows.first().textContent()), /Fehler×4.*Zu langsam/);
    await run(page, `toast(${ERROR}, { title: "Search" })`);
    assert.equal(await rows.count(), 2);
  });
});

test("req 18: repeats fold with a count and begin their time again; three show and the rest wait", async () => {
  await inGallery(
    "element=x",
    async (page) => {
      await make(page, "error-toast");
      const rows = page.locator("mainstay-error-toast li");
      await run(page, `for (let n = 0; n < 4; n++) toast(${ERROR})`);
      await page.clock.runFor(4000);
      await run(page, `toast(${ERROR})`);
      assert.match(String(await rows.first().textContent()), /×5/);
      await page.clock.runFor(4990);
      assert.equal(await rows.count(), 1);
      await page.clock.runFor(20);
      assert.equal(await rows.count(), 0);
      await run(page, `for (let n = 1; n <= 5; n++) toast(${ERROR}, { title: "No " + n })`);
      assert.deepEqual(await page.locator("mainstay-error-toast .title").allTextContents(), [
        "No 5",
        "No 4",
        "No 3",
      ]);
      await page.getByText("2 more").waitFor();
      await page.clock.runFor(5010);
      assert.deepEqual(await page.locator("mainstay-error-toast .title").allTextContents(), ["No 2", "No 1"]);
      await page.clock.runFor(5010);
      assert.equal(await rows.count(), 0, "the time of those that waited begins when they show");
    },
    { isTimed: true },
  );
});

test("req 18: errors that need reading stay, also with opened details; removal is idempotent", async () => {
  await inGallery(
    "element=x",
    async (page) => {
      await make(page, "error-toast");
      const rows = page.locator("mainstay-error-toast li");
      await run(
        page,
        `toast(${UNKNOWN}); toast({ ...${ERROR}, code: "PERMISSION_DENIED", reason: "forbidden", retryable: false });
      toast(${ERROR}, { title: "Opened" })`,
      );
      await rows.first().locator("summary").click();
      await page.mouse.move(5, 5);
      await run(page, "document.querySelector('mainstay-error-toast').shadowRoot.activeElement?.blur()");
      await page.clock.runFor(600_000);
      assert.equal(await rows.count(), 3);
      await run(page, `globalThis.remove = toast(${ERROR}, { title: "Gone" }); remove(); remove()`);
      assert.equal(await rows.count(), 3);
    },
    { isTimed: true },
  );
});

test("req 18: removing a notice that waits, or one without focus, moves no focus", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "error-toast");
    await run(page, `document.querySelector("main").append(document.createElement("input"))`);
    await run(
      page,
      `globalThis.removals = [1, 2, 3, 4, 5].map((n) => toast(${ERROR}, { title: "No " + n }))`,
    );
    await page.locator("input").focus();
    await run(page, "removals[0](); removals[4]()");
    assert.equal(await page.locator("mainstay-error-toast li").count(), 3);
    assert.equal(await page.locator("input").evaluate((node) => node.matches(":focus")), true);
  });
});

test("req 18: try again is busy meanwhile; success closes, another failure takes its place", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "error-toast");
    await run(
      page,
      `toast(${ERROR}, { retry: () => new Promise((done, fail) => Object.assign(globalThis, { done, fail })) })`,
    );
    const button = page.getByRole("button", { name: "Try again" });
    await button.click();
    assert.equal(await button.getAttribute("aria-busy"), "true");
    await run(page, `fail({ ...${ERROR}, reason: "unavailable", message: "Down." })`);
    await page.locator("mainstay-error-toast p", { hasText: "Down." }).waitFor();
    assert.equal(await page.locator("mainstay-error-toast li").count(), 1);
    await button.click();
    await run(page, "done()");
    await page.locator("mainstay-error-toast li").waitFor({ state: "detached" });
  });
});

test("toast.promise follows a request, to its end or to its error with another try", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "error-toast");
    const words = { pending: "Saving …", done: "Saved." };
    await run(
      page,
      `globalThis.settle = [];
      const save = () => new Promise((resolve, reject) => settle.push({ resolve, reject }));
      globalThis.saved = toast.promise(save, ${JSON.stringify(words)});
      undefined;`,
    );
    const notices = page.locator("mainstay-error-toast li");
    await page.getByText("Saving …", { exact: true }).waitFor();
    assert.equal(await notices.getByRole("button", { name: "Copy" }).count(), 0);
    await run(page, `settle[0].reject(${ERROR})`);
    assert.equal(await run(page, "saved.then(({ ok, error }) => ok || error.reason)"), "timed_out");
    await page.getByText("Saving …", { exact: true }).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("Saving …", { exact: true }).waitFor();
    await run(page, "settle[1].resolve(7)");
    await page.getByText("Saved.", { exact: true }).waitFor();
    await page.getByText("Too slow.", { exact: true }).waitFor({ state: "detached" });
    assert.equal(await notices.count(), 1);
    const plain = await run(page, `toast.promise(Promise.resolve(8)).then(({ value }) => value)`);
    assert.deepEqual([plain, await notices.count()], [8, 1]);
    await run(page, `void toast.promise(Promise.reject(${ERROR}))`);
    await page.getByText("Too slow.", { exact: true }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Try again" }).count(), 0, "it cannot be called again");
  });
});

test("toast.promise: equal notices of requests that run go with the last of them", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "error-toast");
    await run(
      page,
      `globalThis.ends = [];
      globalThis.save = () => toast.promise(new Promise((resolve) => ends.push(resolve)), { pending: "Saving …" });
      globalThis.saves = [save(), save(), save()];
      undefined;`,
    );
    const notice = page.locator("mainstay-error-toast li");
    await notice.getByText("×3").waitFor();
    assert.equal(await notice.count(), 1);
    await run(page, "ends[0](); saves[0].then(() => {})");
    await notice.getByText("×2").waitFor();
    await run(page, "ends[2](); saves[2].then(() => {})");
    await notice.locator(".count").waitFor({ state: "detached" });
    assert.equal(await notice.getByText("Saving …", { exact: true }).count(), 1);
    await run(page, "ends[1]()");
    await notice.waitFor({ state: "detached" });
    // The time of a notice, and its close button, end it for all.
    await run(page, "globalThis.saves = [save(), save()]; undefined");
    await notice.getByRole("button", { name: "Close" }).click();
    await notice.waitFor({ state: "detached" });
    await run(page, "ends[3](); ends[4](); Promise.all(saves).then(() => {})");
    assert.equal(await notice.count(), 0);
  });
});

test("req 18: no notice of a lost connection while the banner shows it", async () => {
  await inGallery("element=connection-status&state=reconnecting", async (page) => {
    const lost = `{ ...${ERROR}, reason: "disconnected" }`;
    await run(page, `toast(${lost})`);
    assert.equal(await page.locator("mainstay-error-toast").count(), 0);
    await run(page, `toast(${lost}, { retry() {} })`);
    await page.locator("mainstay-error-toast li").waitFor();
  });
});

test("toast: the copy has the whole error", async () => {
  await inGallery("element=error-toast&state=unknown", async (page) => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByText("Copied").waitFor();
    const copied = JSON.parse(String(await page.evaluate(() => navigator.clipboard.readText())));
    assert.equal(copied.reason, "outcome_unknown");
    assert.match(copied.details, /connection_reset/);
  });
});

test("req 20: an unknown agent is nothing, and none is healthy before the first check", async () => {
  await inGallery("element=x", async (page) => {
    await run(
      page,
      "globalThis.start = { ...fake.client.store.getState() }; fake.set({ status: null, agents: {}, isLive: false })",
    );
    await make(page, "agents");
    await make(page, "agents", `{ agent: "missing" }`);
    await make(page, "agent-conversation", `{ agent: "missing" }`);
    const shown = () => page.locator("mainstay-agents").first().textContent();
    assert.equal(await page.getByText("Healthy").count(), 0);
    assert.equal(await page.locator("mainstay-agents *").count(), 0);
    await run(
      page,
      `fake.set({ ...start, agents: { planner: { ...start.agents.planner, status: "starting" } } })`,
    );
    await page.getByText("Starting").waitFor();
    assert.equal(await page.getByText("Healthy").count(), 0);
    assert.equal(await page.locator("mainstay-agents[agent] li").count(), 0);
    assert.equal(await page.locator("mainstay-agent-conversation textarea").count(), 0);
    assert.equal(await shown(), "");
  });
});

test("agents: without a session no action is busy, and none acts", async () => {
  await inGallery("element=agents&state=failing", async (page) => {
    await run(page, `fake.set({ isLive: false })`);
    const buttons = page.locator("mainstay-agents li button");
    assert.ok((await buttons.count()) > 1);
    assert.equal(await buttons.count(), await page.locator("mainstay-agents li [aria-disabled=true]").count());
    assert.equal(await page.locator("mainstay-agents [aria-busy]").count(), 0);
    await page.getByRole("button", { name: "Restart: coder" }).dispatchEvent("click");
    assert.deepEqual(await run(page, "fake.calls"), []);
  });
});

test("req 17: a crash and a giving up are announced once, and a healthy agent is not", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "agents");
    const region = page.locator("mainstay-agents [role=status]");
    const set = (/** @type {string} */ members) =>
      run(
        page,
        `(() => {
          const { agents } = fake.client.store.getState();
          fake.set({ agents: { ...agents, planner: { ...agents.planner, ${members} } } });
        })()`,
      );
    await region.waitFor({ state: "attached" });
    assert.equal(await region.textContent(), "");
    assert.equal(await region.getAttribute("aria-atomic"), "false");
    await run(
      page,
      `globalThis.said = [];
      new MutationObserver((records) => said.push(...records.flatMap(({ addedNodes }) => [...addedNodes].map((node) => node.textContent))))
        .observe(document.querySelector("mainstay-agents").shadowRoot.querySelector("[role=status]"), { childList: true, subtree: true, characterData: true })`,
    );
    await set(`status: "failed", last_error: "it exited"`);
    await set(`status: "restarting", restartAtMs: Date.now() + 3000`);
    await set(`status: "restarting", misses: 1`);
    await set(`status: "healthy", last_error: null`);
    await set(`status: "restarting"`);
    await set(`status: "failed", gave_up: true, last_error: "it exited"`);
    assert.deepEqual(await run(page, "said"), ["planner has failed and restarts", "planner is given up"]);
    assert.equal(await region.textContent(), "planner is given up");
  });
});

test("agents: say when the state was saved", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "agents");
    const saved = await run(
      page,
      `new Date("2026-03-01T11:57:00.000Z").toLocaleString([], { dateStyle: "short", timeStyle: "medium" })`,
    );
    await page.getByText(`state saved ${saved}`).first().waitFor();
    await run(
      page,
      `(() => {
        const { agents } = fake.client.store.getState();
        const entries = Object.entries(agents).map(([id, agent]) => [id, { ...agent, state_saved_at: null }]);
        fake.set({ agents: Object.fromEntries(entries) });
      })()`,
    );
    await page.getByText("state saved").first().waitFor({ state: "detached" });
  });
});

test("elements go on with an address that comes later, and with the next client after a close", async () => {
  const page = await setup.browser.newPage();
  await page.goto(`${setup.url}/tests/browser/elements-on-demand.html`);
  await run(page, `(async () => document.body.append(document.createElement("mainstay-agents")))()`);
  const connect = (id) =>
    run(
      page,
      `(async () => {
      await customElements.whenDefined("mainstay-agents");
      const { connect } = await import("/src/client.js");
      const { createMock } = await import("/src/transports/mock.js");
      globalThis.client = connect({ mock: createMock({ agents: [{ id: "${id}" }] }) });
    })()`,
    );
  await connect("first");
  await page.getByText("first", { exact: true }).waitFor();
  await run(page, "client.close()");
  await connect("second");
  await page.getByText("second", { exact: true }).waitFor();
  assert.equal(await page.getByText("first", { exact: true }).count(), 0);
  await page.close();
});

test("elements whose module could not be loaded come with another try", async () => {
  const page = await setup.browser.newPage();
  const refused = new Set();
  await page.route(/src\/elements\/agents\.js$/, (route) => {
    const url = route.request().url();
    if (refused.has(url)) return route.continue();
    refused.add(url);
    return route.abort();
  });
  await page.goto(`${setup.url}/tests/browser/elements-on-demand.html`);
  await run(page, `(async () => document.body.append(document.createElement("mainstay-agents")))()`);
  await page.getByRole("button", { name: "Try again" }).click();
  await run(page, `customElements.whenDefined("mainstay-agents").then(() => {})`);
  await page.getByRole("button", { name: "Try again" }).waitFor({ state: "detached" });
  assert.equal(refused.size, 1);
  await page.close();
});

test("client loads a part again that could not be loaded, and then gives the command", async () => {
  const page = await setup.browser.newPage();
  let refusals = 0;
  await page.route("**/src/cache.js", (route) => (++refusals > 1 ? route.continue() : route.abort()));
  await page.goto(`${setup.url}/tests/browser/elements-on-demand.html`);
  const reply = await run(
    page,
    `(async () => {
    const { connect } = await import("/src/client.js");
    const open = (events) => {
      queueMicrotask(events.onOpen);
      const answer = ({ id, type }) => events.onMessage({ id, ok: type === "cache" ? { hit: false } : {} });
      return { send: (text) => queueMicrotask(() => answer(JSON.parse(text))), close() {} };
    };
    return connect({ transport: { open } }).cache.get("k");
  })()`,
  );
  assert.deepEqual(reply, { hit: false });
  assert.equal(refusals, 2);
  await page.close();
});

test("elements outside a page hold no client", async () => {
  const page = await setup.browser.newPage();
  await page.goto(`${setup.url}/tests/browser/elements-on-demand.html`);
  const closed = await run(
    page,
    `(async () => {
    await import("/src/elements/agents.js");
    const { connect } = await import("/src/client.js");
    const client = connect({ transport: { open: () => ({ send() {}, close() {} }) } });
    const element = document.createElement("mainstay-agents");
    const isSame = element.client === client && element.state === client.store.getState();
    document.body.append(element);
    element.remove();
    const isStill = element.client === client;
    client.release();
    const end = performance.now() + 5000;
    while (!client.closed && performance.now() < end) await new Promise(requestAnimationFrame);
    return [isSame, isStill, client.closed];
  })()`,
  );
  assert.deepEqual(closed, [true, true, true]);
  await page.close();
});

test("agents: actions ask first where they end work, and show what failed", async () => {
  await inGallery("element=agents&state=failing", async (page) => {
    await page.getByRole("button", { name: "Restart: coder" }).click();
    assert.deepEqual(await run(page, "fake.calls.splice(0)"), [["restart", "coder"]]);
    await page.getByRole("button", { name: "Restart: planner" }).click();
    const dialog = page.getByRole("dialog", { name: "Restart planner?" });
    await dialog.getByText("It works on 1 message").waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    assert.deepEqual(await run(page, "fake.calls"), []);
    await run(page, `fake.replies.stop = () => { throw ${ERROR}; }`);
    await page.getByRole("button", { name: "Stop: planner" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
    await page.locator("mainstay-error-toast li", { hasText: "Stop: planner" }).waitFor();
    assert.deepEqual(await run(page, "fake.calls"), [["stop", "planner"]]);
  });
});

test("agents: rows stay the same nodes, and the focus stays in them", async () => {
  await inGallery("element=agents&state=healthy", async (page) => {
    const button = page.getByRole("button", { name: "Stop: coder" });
    await button.focus();
    await run(
      page,
      `globalThis.row = document.querySelector("mainstay-agents").shadowRoot.querySelectorAll("li")[1];
      (() => { const { agents } = fake.client.store.getState();
        fake.set({ agents: { first: { ...agents.planner, id: "first" }, planner: agents.planner,
          coder: { ...agents.coder, status: "degraded", misses: 1 } } }); })()`,
    );
    await page.getByText("1 check missed, restarts after 2 more").waitFor();
    assert.equal(
      await run(
        page,
        `row === document.querySelector("mainstay-agents").shadowRoot.querySelectorAll("li")[2]`,
      ),
      true,
    );
    assert.equal(await button.evaluate((node) => node.matches(":focus")), true);
  });
});

/** Changes the agents of a page, in frames of its own. @param {Page} page @param {string} code of a function of the agents by id */
const changeAgents = async (page, code) => {
  await run(page, `fake.set({ agents: (${code})(structuredClone(fake.client.store.getState().agents)) })`);
  await frames(page);
};
/** Returns the ids of the rows that are drawn, in their order. @param {Page} page @returns {Promise<string[]>} */
const rowsOf = (page) => page.locator("mainstay-agents .agent .name").allTextContents();
const FAIL = `(agents) => { Object.assign(agents["agent-9"], { status: "failed", gave_up: true }); return agents; }`;

test("agents: a long list keeps its order while it is looked at", async () => {
  await inGallery("element=agents&state=long", async (page) => {
    const list = page.locator("mainstay-agents .scroll");
    const urgent = ["agent-40", "agent-130", "agent-220"];
    assert.deepEqual((await rowsOf(page)).slice(0, 4), [...urgent, "agent-0"]);
    await list.hover({ position: { x: 20, y: 20 } });
    await changeAgents(page, FAIL);
    assert.equal(await page.locator("mainstay-agents .agent .state", { hasText: "Given up" }).count(), 4);
    assert.deepEqual((await rowsOf(page)).slice(0, 4), [...urgent, "agent-0"]);
    await page.mouse.move(1, 1);
    await frames(page);
    assert.deepEqual((await rowsOf(page)).slice(0, 4), ["agent-9", ...urgent]);
    await page.getByRole("button", { name: "Stop: agent-1", exact: true }).focus();
    await changeAgents(page, `(agents) => { agents["agent-300"] = { ...agents["agent-9"], id: "agent-300" }; delete agents["agent-0"]; return agents; }`);
    assert.deepEqual((await rowsOf(page)).slice(0, 5), ["agent-9", ...urgent, "agent-1"]);
    assert.equal(await page.getByRole("button", { name: "Stop: agent-1", exact: true }).evaluate((node) => node.matches(":focus")), true);
    await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement?.shadowRoot?.activeElement).blur());
    await frames(page);
    assert.deepEqual((await rowsOf(page)).slice(0, 5), ["agent-9", ...urgent, "agent-300"]);
  });
});

test("agents: a long list keeps the focus out of sight", async () => {
  await inGallery("element=agents&state=long", async (page) => {
    const list = page.locator("mainstay-agents .scroll");
    const button = page.getByRole("button", { name: "Stop: agent-1", exact: true });
    await button.focus();
    for (const top of [9000, 0, 9000]) {
      await list.evaluate((node, way) => (node.scrollTop = way), top);
      await frames(page);
      assert.equal(await button.evaluate((node) => node.matches(":focus")), true, String(top));
    }
    assert.ok((await rowsOf(page)).length < 40);
    // The button of a command that is done is another one.
    await changeAgents(page, `(agents) => { agents["agent-1"].status = "stopped"; return agents; }`);
    assert.equal(await page.getByRole("button", { name: "Start: agent-1", exact: true }).evaluate((node) => node.matches(":focus")), true);
    await changeAgents(page, `(agents) => { delete agents["agent-1"]; return agents; }`);
    assert.equal(await list.evaluate((node) => node.matches(":focus")), true);
  });
});

test("agents: a list that is short for a while, or shorter, shows its rows", async () => {
  await inGallery("element=agents&state=long", async (page) => {
    const list = page.locator("mainstay-agents .scroll");
    const scroll = async () => {
      await list.evaluate((node) => (node.scrollTop = 15_000));
      await frames(page);
    };
    /** Returns whether the rows in sight are drawn. */
    const isFilled = () =>
      list.evaluate((node) => {
        const { top, bottom } = node.getBoundingClientRect();
        const at = [...node.querySelectorAll(".agent")].map((row) => row.getBoundingClientRect());
        return at.some((row) => row.top <= top) && at.some((row) => row.bottom >= bottom - 1);
      });
    await run(page, "globalThis.many = fake.client.store.getState().agents");
    const few = (/** @type {number} */ count) => changeAgents(page, `(agents) => Object.fromEntries(Object.entries(agents).slice(0, ${count}))`);
    await scroll();
    assert.ok(await isFilled());
    await few(50);
    assert.equal(await list.count(), 0);
    await changeAgents(page, "() => many");
    assert.ok(await isFilled(), "long again");
    await scroll();
    await run(page, `fake.set({ agents: Object.fromEntries(Object.entries(many).slice(0, 120)) })`);
    assert.ok(await isFilled(), "shorter, in the same frame");
    await changeAgents(page, "() => many");
    await scroll();
    await run(page, `(() => { const element = document.querySelector("mainstay-agents"); element.remove(); document.querySelector("main").append(element); })()`);
    await frames(page);
    assert.ok(await isFilled(), "in the page again");
  });
});

test("elements render only when what they show changes", async () => {
  await inGallery("element=agents&state=healthy", async (page) => {
    const renders = await run(
      page,
      `(() => {
      const element = document.querySelector("mainstay-agents");
      let renders = 0;
      const view = element.view;
      element.view = () => (renders++, view.call(element));
      const { queue, agents } = fake.client.store.getState();
      for (let n = 0; n < 100; n++) fake.set({ queue: { ...queue, running: n } });
      const quiet = renders;
      fake.set({ agents: { ...agents } });
      return [quiet, renders];
    })()`,
    );
    assert.deepEqual(renders, [0, 1]);
  });
});

test("elements leave no listener behind", async () => {
  await inGallery("element=x", async (page) => {
    for (const tag of [
      "connection-status",
      "agents",
      "agent-conversation",
      "requests",
      "events",
      "error-toast",
    ]) {
      await make(page, tag, `{ agent: "planner" }`);
    }
    const counts = await run(
      page,
      `(() => {
      const elements = [...document.querySelectorAll("main > *")].slice(1);
      const before = fake.listeners.size + fake.events.size + fake.updates.size;
      for (let n = 0; n < 100; n++) for (const element of elements) { element.remove(); document.querySelector("main").append(element); }
      const during = fake.listeners.size + fake.events.size + fake.updates.size;
      for (const element of elements) element.remove();
      return [before === during, fake.listeners.size + fake.events.size + fake.updates.size];
    })()`,
    );
    assert.deepEqual(counts, [true, 0]);
  });
});

test("conversation: sends with Enter, cancels, and answers a question", async () => {
  await inGallery("element=x", async (page) => {
    await make(page, "agent-conversation", `{ agent: "planner" }`);
    await run(page, "fake.replies.send = () => new Promise(() => {})");
    const prompt = page.getByLabel("Message to planner");
    await prompt.fill("Hello");
    await page.keyboard.press("Enter");
    await page.getByText("Waits for planner").waitFor();
    assert.equal(await prompt.inputValue(), "");
    await run(page, `fake.update({ update: { kind: "sent", message_id: 1, body: { text: "Hello" } } })`);
    await page.getByText("Answers …").waitFor();
    assert.equal(await page.locator("mainstay-agent-conversation .prompt").count(), 1);
    await run(
      page,
      `fake.update({ update: { kind: "ask", message_id: 1, ask: "a1", body: { question: "Which one?", options: ["red", "blue"] } } })`,
    );
    await page.getByRole("group", { name: "Which one?" }).getByRole("button", { name: "blue" }).click();
    await run(page, `fake.update({ update: { kind: "settled", ask: "a1", body: null } })`);
    await page.getByText("Which one?", { exact: true }).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Cancel" }).click();
    assert.deepEqual(await run(page, "fake.calls"), [
      ["send", "planner", { text: "Hello" }],
      ["answer", "planner", "a1", "blue"],
      ["cancel", "planner", 1],
    ]);
    await run(
      page,
      `fake.update({ update: { kind: "ended", message_id: 1, body: { error: { ...${ERROR}, reason: "cancelled" } } } })`,
    );
    await page.getByText("Cancelled").waitFor();
  });
});

test("conversation: what a runtime that ended was at is broken off", async () => {
  await inGallery("element=agent-conversation&state=streaming", async (page) => {
    await run(
      page,
      `fake.update({ restarted: true });
      fake.update({ update: { kind: "sent", message_id: 1, body: { text: "New run" } } })`,
    );
    await page.getByText("Broken off. planner may have acted on it").waitFor();
    assert.deepEqual(await page.locator("mainstay-agent-conversation .prompt").allTextContents(), [
      "Which notes mention the harbour?",
      "Clean up the old drafts, please.",
      "New run",
    ]);
  });
});

test("every text comes from one table", async () => {
  await inGallery("element=connection-status&state=failed", async (page) => {
    await run(
      page,
      `setText({ reconnect: "Jetzt verbinden", "link-failed": "Verbindung gescheitert", "reason.connection_refused": "Niemand nimmt an." })`,
    );
    await page.getByRole("button", { name: "Jetzt verbinden" }).waitFor();
    await page.getByText("Verbindung gescheitert").waitFor();
    await page.getByText("Niemand nimmt an.").waitFor();
  });
});

test("right to left: the mark is at the right, the button at the left", async () => {
  await inGallery("element=connection-status&state=failed&dir=rtl", async (page) => {
    const x = (/** @type {string} */ part) =>
      page.locator(`mainstay-connection-status ${part}`).evaluate((node) => node.getBoundingClientRect().x);
    assert.ok((await x(".mark")) > (await x("button")));
  });
  await inGallery("element=error-toast&state=retry&dir=rtl", async (page) => {
    const { x } = /** @type {{x: number}} */ (await page.locator("mainstay-error-toast li").boundingBox());
    assert.ok(x < 100);
  });
});

test("reduced motion: nothing is animated", async () => {
  await inGallery(
    "element=agent-conversation&state=streaming",
    async (page) => {
      await frames(page);
      assert.equal(await run(page, "document.getAnimations().length"), 0);
    },
    { media: { reducedMotion: "reduce" } },
  );
});

test("a property that is set before the class is known counts", async () => {
  await inGallery("element=x", async (page) => {
    const count = await run(
      page,
      `(() => {
      class Late extends customElements.get("mainstay-agents") {}
      const element = document.createElement("mainstay-late");
      element.client = fake.client;
      document.body.append(element);
      customElements.define("mainstay-late", Late);
      return element.shadowRoot.querySelectorAll("li").length;
    })()`,
    );
    assert.equal(count, 2);
  });
});
