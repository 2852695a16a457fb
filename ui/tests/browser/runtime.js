/**
 * The real binary for tests in a page: a runtime, its backend as a process of its own, and an agent that streams.
 * MAINSTAY_BIN is the path of the binary.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const BINARY = process.env.MAINSTAY_BIN;
const AGENT = fileURLToPath(new URL("streaming-agent.js", import.meta.url));

/** A process whose lines can be awaited. */
export class Program {
  /** @type {string[]} */ lines = [];
  /** @type {Set<() => void>} */ #listeners = new Set();

  /** @param {string[]} args */
  constructor(args, file = /** @type {string} */ (BINARY)) {
    // In this variable a program finds the secret of the runtime that started it, and none did.
    const { MAINSTAY_TOKEN: _token, ...env } = process.env;
    this.child = spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.exited = once(this.child, "exit");
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface(stream).on("line", (line) => {
        this.lines.push(line);
        this.#listeners.forEach((listener) => listener());
      });
    }
    this.child.on("exit", () => this.#listeners.forEach((listener) => listener()));
  }

  /**
   * Waits for a line with `part`.
   * @param {string} part
   * @returns {Promise<string>}
   */
  line(part) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.lines.find((line) => line.includes(part));
        const isOver = this.child.exitCode != null || this.child.signalCode != null;
        if (!found && !isOver) return;
        this.#listeners.delete(look);
        if (found) resolve(found);
        else reject(new Error(`no line with ${part}: ${this.lines.join("\n")}`));
      };
      this.#listeners.add(look);
      look();
    });
  }

  /** @param {NodeJS.Signals} [signal] */
  async end(signal = "SIGTERM") {
    this.child.kill(signal);
    await this.exited;
  }
}

/** Starts the backend on a port, 0 for any free one. @param {number} [port] */
export async function startBackend(port = 0) {
  const program = new Program(["demo-backend", "--port", String(port), "--agents", "planner"]);
  const line = await program.line("listening on ");
  const url = line.slice(line.indexOf("http://")).trim();
  return { program, url, port: Number(new URL(url).port) };
}

/** Starts the demo in a folder of its own. @param {string[]} args of `mainstay demo` */
export async function startDemo(...args) {
  const folder = await mkdtemp(join(tmpdir(), "mainstay-demo-"));
  const program = new Program(["demo", "--data-dir", folder, ...args]);
  await program.line("dashboard ");
  /** @type {{ port: number, token: string }} */
  const { port, token } = JSON.parse(await readFile(join(folder, "control.json"), "utf8"));
  return {
    folder,
    program,
    bridge: { url: `ws://127.0.0.1:${port}/bridge`, token },
    address: `http://127.0.0.1:${port}/#token=${token}`,
    async stop() {
      program.child.kill("SIGCONT");
      if (program.child.exitCode == null && program.child.signalCode == null) await program.end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A data folder with a configuration, and the runtime that uses it. */
export class Runtime {
  /** @type {Program | undefined} */ program;
  /** @type {{ port: number, token: string }} */ control = { port: 0, token: "" };

  /** @param {string} folder */
  constructor(folder) {
    this.folder = folder;
  }

  /**
   * Makes a folder for a runtime over this backend.
   * @param {string} backendUrl
   * @param {string} [more] further sections of its configuration
   */
  static async create(backendUrl, more = "") {
    const folder = await mkdtemp(join(tmpdir(), "mainstay-ui-"));
    const config = `
[backend]
url = "${backendUrl}"
[[agent]]
id = "planner"
[[agent]]
id = "streamer"
driver = "process"
command = [${JSON.stringify(process.execPath)}, ${JSON.stringify(AGENT)}]
${more}`;
    await writeFile(join(folder, "mainstay.toml"), config);
    return new Runtime(folder);
  }

  async start() {
    this.program = new Program(["run", "--config", join(this.folder, "mainstay.toml"), "--data-dir", join(this.folder, "data")]);
    await this.program.line("dashboard ");
    this.control = JSON.parse(await readFile(join(this.folder, "data", "control.json"), "utf8"));
  }

  /** Returns the page of all elements. */
  get page() {
    return `http://127.0.0.1:${this.control.port}/ui/examples/live.html#token=${this.control.token}`;
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal) {
    await this.program?.end(signal);
  }

  async remove() {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
