/**
 * Writes pictures of the dashboard in each state, at three widths, light and dark:
 * `node dashboard-screenshots.js FOLDER [PREFIX]`.
 */
import { mkdir } from "node:fs/promises";
import { launch, serveDashboard } from "./support.js";

const [folder = "screenshots", prefix = ""] = process.argv.slice(2);
const SIZES = /** @type {const} */ ([[390, 844], [1280, 900], [1920, 1080]]);
/** What is done in each state before the picture. @type {Record<string, { query?: string, hash?: string, then?: (page: import("playwright-core").Page) => Promise<unknown> }>} */
const STATES = {
  calm: { query: "&demo" },
  crash: {},
  away: {},
  given_up: { then: (page) => page.locator("mainstay-incidents .top").first().click() },
  lost: { then: (page) => page.locator(":root[data-lost]").waitFor({ state: "attached" }) },
  question: {},
  actor: { query: "&from=calm", hash: "#actor=root/agents/planner" },
  past: {
    then: async (page) => {
      await page.locator("mainstay-timeline").getByRole("button", { name: "Previous mark" }).click();
      await page.locator(":root[data-past]").waitFor({ state: "attached" });
    },
  },
};

await mkdir(folder, { recursive: true });
const server = await serveDashboard();
const browser = await launch();
for (const [width, height] of SIZES) {
  const page = await browser.newPage({ viewport: { width, height }, reducedMotion: "reduce" });
  page.on("pageerror", (error) => console.error(error));
  page.on("console", (message) => message.type() === "error" && console.error(message.text()));
  for (const [state, { query = "", hash = "", then }] of Object.entries(STATES)) {
    for (const scheme of ["light", "dark"]) {
      const name = `${state}-${width}-${scheme}`;
      if (!name.startsWith(prefix)) continue;
      await page.goto("about:blank");
      await page.goto(`${server.url}/?state=${state}&scheme=${scheme}${query}${hash}`);
      await page.locator("mainstay-timeline .lane").first().waitFor();
      await page.locator("mainstay-incidents .incident").first().waitFor();
      await then?.(page);
      await page.waitForTimeout(300);
      // What sticks to the edges of the window is at the edges of a whole page.
      await page.evaluate("scrollTo(0, 0)");
      if (!process.env.FOLD) await page.setViewportSize({ width, height: await page.evaluate("document.body.scrollHeight") });
      await page.screenshot({ path: `${folder}/${name}.png`, animations: "disabled" });
      await page.setViewportSize({ width, height });
    }
  }
  await page.close();
}
await browser.close();
await server.close();
