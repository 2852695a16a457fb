/**
 * Writes a picture of every element in every state, light and dark: `node screenshots.js FOLDER [PREFIX]`.
 */
import { mkdir } from "node:fs/promises";
import { launch, serve } from "./support.js";

const [folder = "screenshots", prefix = ""] = process.argv.slice(2);
const GALLERY = "/examples/gallery.html";

await mkdir(folder, { recursive: true });
const server = await serve();
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 820, height: 560 } });
page.on("pageerror", (error) => console.error(error));
page.on("console", (message) => message.type() === "error" && console.error(message.text()));
await page.goto(server.url + GALLERY);
const names = await page.$$eval("a", (links) => links.map((link) => link.getAttribute("href") ?? ""));
for (const name of names) {
  const [, element, state] = /element=(.*)&state=(.*)/.exec(name) ?? [];
  if (!`${element}-${state}`.startsWith(prefix)) continue;
  for (const scheme of ["light", "dark"]) {
    await page.goto(`${server.url}${GALLERY}${name}&scheme=${scheme}`);
    await page.waitForSelector("[data-ready]", { state: "attached" });
    await page.screenshot({ path: `${folder}/${element}-${state}-${scheme}.png`, animations: "disabled" });
  }
}
await browser.close();
await server.close();
