/**
 * Serves the page of hooks on this computer, over a running runtime: `npm run examples -- --data-dir DIR`, or with
 * MAINSTAY_URL (`ws://127.0.0.1:PORT/bridge`) and MAINSTAY_TOKEN. The page has React itself, bundled in memory.
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:";
const USAGE = "npm run examples -- --data-dir DIR, or set MAINSTAY_URL (ws://127.0.0.1:PORT/bridge) and MAINSTAY_TOKEN";

/** Returns the address of the runtime's bridge, and the token. @returns {Promise<{ bridge: URL, token: string }>} */
async function findRuntime() {
  const { "data-dir": folder } = parseArgs({ options: { "data-dir": { type: "string" } } }).values;
  if (folder) {
    // npm runs this in the package's folder, and says where the person is.
    const file = resolve(process.env.INIT_CWD ?? "", folder, "control.json");
    const { port, token } = JSON.parse(await readFile(file, "utf8"));
    return { bridge: new URL(`ws://127.0.0.1:${port}/bridge`), token };
  }
  const { MAINSTAY_URL: url, MAINSTAY_TOKEN: token } = process.env;
  if (!url || !token) throw new Error("no runtime is named");
  return { bridge: new URL(url), token };
}

/** Returns the code of the page as one script. */
async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [join(FOLDER, "hooks.js")],
    bundle: true,
    format: "esm",
    target: "es2022",
    define: { "process.env.NODE_ENV": '"development"' },
    write: false,
  });
  return outputFiles[0].text;
}

/** @type {{ bridge: URL, token: string }} */
const { bridge, token } = await findRuntime().catch((error) => {
  console.error(`${error.message}: ${USAGE}`);
  process.exit(1);
});
/** @type {Record<string, [type: string, text: string]>} */
const files = {
  "/": ["text/html; charset=utf-8", await readFile(join(FOLDER, "hooks.html"), "utf8")],
  "/hooks.js": ["text/javascript; charset=utf-8", await bundle()],
  "/live.css": ["text/css; charset=utf-8", await readFile(join(FOLDER, "live.css"), "utf8")],
};

const server = createServer(({ url = "/" }, response) => {
  const [type, text] = files[url] ?? ["text/plain", "not found"];
  response.writeHead(files[url] ? 200 : 404, { "content-type": type, "content-security-policy": POLICY }).end(text);
});
// The runtime takes pages of its own origin alone, so the page's socket passes through here. Only this server's own
// name and origin are replaced: the runtime refuses every other page, and a wrong token.
server.on("upgrade", ({ url = "", rawHeaders }, page) => {
  const own = /** @type {import("node:net").AddressInfo} */ (server.address());
  const names = new Map([
    [`127.0.0.1:${own.port}`, bridge.host],
    [`http://127.0.0.1:${own.port}`, `http://${bridge.host}`],
  ]);
  const runtime = connect(Number(bridge.port), bridge.hostname, () => {
    const headers = rawHeaders.map((text, at) => (at % 2 ? `${names.get(text) ?? text}\r\n` : `${text}: `));
    runtime.write(`GET ${url} HTTP/1.1\r\n${headers.join("")}\r\n`);
    page.pipe(runtime).pipe(page);
  });
  for (const [one, other] of [[page, runtime], [runtime, page]]) {
    one.on("error", () => {});
    one.on("close", () => other.destroy());
  }
});
server.listen(0, "127.0.0.1", () => {
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  console.log(`http://127.0.0.1:${port}/#token=${token}`);
});
