/**
 * An agent of JSON lines for tests. A message is streamed as numbered parts, one every 50 ms, until its question is answered. It
 * sends a last part then, and replies with the number of parts.
 */
import { createInterface } from "node:readline";

/** The parts that a message has at most, which are all kept by the runtime. */
const PARTS_MAX = 900;
/** @type {Map<string, { id: number, part: number, timer: NodeJS.Timeout }>} */
const streams = new Map();

/** @param {object} line */
function send(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

createInterface(process.stdin).on("line", (line) => {
  const { type, id, ask } = JSON.parse(line);
  if (type === "message") {
    const stream = { id, part: 0, timer: setInterval(() => next(), 50) };
    const next = () => {
      send({ type: "progress", id, text: ` ${++stream.part}` });
      if (stream.part === PARTS_MAX) clearInterval(stream.timer);
    };
    streams.set(`a${id}`, stream);
    send({ type: "ask", ask: `a${id}`, id, body: { question: "Finish?" } });
  }
  const stream = streams.get(ask);
  if (type === "answer" && stream) {
    clearInterval(stream.timer);
    send({ type: "progress", id: stream.id, text: " end" });
    send({ type: "reply", id: stream.id, body: { text: `${stream.part} parts` } });
  }
});
