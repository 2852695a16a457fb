/**
 * An agent of JSON lines for tests. For a message with `steps: N` it sends N numbered parts of progress and asks whether to
 * finish. After the answer it sends the last part, and replies.
 */
import { createInterface } from "node:readline";

/** @type {Map<string, number>} */
const asked = new Map();

/** @param {object} line */
function send(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

createInterface(process.stdin).on("line", (line) => {
  const { type, id, ask, body } = JSON.parse(line);
  if (type === "message") {
    for (let step = 1; step <= body.steps; step++) send({ type: "progress", id, text: ` ${step}` });
    asked.set(`a${id}`, id);
    send({ type: "ask", ask: `a${id}`, id, body: { question: "Finish?" } });
  }
  const waiting = asked.get(ask);
  if (type === "answer" && waiting != null) {
    send({ type: "progress", id: waiting, text: " end" });
    send({ type: "reply", id: waiting, body: { text: "done" } });
  }
});
