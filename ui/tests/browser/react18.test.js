/** Runs the tests of the hooks with React 18, if `tests/browser/react18` is installed. */
import { existsSync } from "node:fs";
import { test } from "node:test";

const isInstalled = existsSync(new URL("./react18/node_modules/react", import.meta.url));
process.env.REACT_18 = "1";
if (isInstalled) await import("./react.test.js");
else test("hooks with React 18", { skip: "run npm install in tests/browser/react18" }, () => {});
