// Measures a p-queue with jobs that do nothing, once for each line on stdin: `equal JOBS` or `mixed JOBS SEED`. Prints
// the nanoseconds until the queue is idle. The argument is the package to measure.

import { createInterface } from "node:readline";

const CONCURRENCY = 5;
const { default: PQueue } = await import(process.argv[2]);

// The same numbers as in jobs.rs: mulberry32.
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

async function work() {}

async function round(way, jobs, seed) {
  // Made before the clock starts, as jobs.rs makes its requests.
  const next = random(seed);
  const priorities = [2, 1, 0].map((priority) => ({ priority }));
  const options = Array.from({ length: jobs }, () => (way === "mixed" ? priorities[next() % 3] : undefined));
  const queue = new PQueue({ concurrency: CONCURRENCY });
  let done = 0;
  const count = () => {
    done += 1;
  };
  const begun = process.hrtime.bigint();
  for (let job = 0; job < jobs; job += 1) {
    // The end of each job is observed, as that of each request.
    queue.add(work, options[job]).then(count);
  }
  const waiting = queue.size;
  await queue.onIdle();
  const took = process.hrtime.bigint() - begun;
  if (waiting !== jobs - CONCURRENCY) throw new Error(`${waiting} waited`);
  // The last callbacks run in later turns of the event loop.
  while (done < jobs) await new Promise((resolve) => setImmediate(resolve));
  return took;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [way, jobs, seed] = line.split(" ");
  console.log(String(await round(way, Number(jobs), Number(seed ?? 0))));
}
