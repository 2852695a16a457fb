/**
 * An agent of JSON lines for tests. For a message with `steps: N` it sends N numbered parts of progress, and replies when a
 * message with `finish: true` comes; to that one it replies at once.
 */
import { createInterface } from "node:readline";

/** @type {number[]} */
const open = [];

/** @param {object} line */
function send(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

createInterface(process.stdin).on("line", (line) => {
  const { type, id, body } = JSON.parse(line);
  if (type !== "message") return;
  if (body.finish) {
    for (const waiting of open.splice(0)) {
      send({ type: "progress", id: waiting, text: " end" });
      send({ type: "reply", id: waiting, body: { text: "done" } });
    }
    send({ type: "reply", id, body: { text: "finished" } });
    return;
  }
  for (let step = 1; step <= (body.steps ?? 5); step++) send({ type: "progress", id, text: ` ${step}` });
  open.push(id);
});
