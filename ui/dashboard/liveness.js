/**
 * Whether the runtime answers, when it last did, and by how much its clock is ahead.
 *
 * An open socket proves nothing: a suspended process keeps it. So the page asks, and counts the time without an answer.
 *
 * @typedef {import("../src/client.js").Client} Client
 * @typedef {{ isLost: boolean, hasAnswered: boolean, lastSeenAt: number, skewMs: number, version: string }} Liveness
 */

const ASK_MS = 2000;
/** The runtime is lost after so long without an answer. */
const LOST_MS = 3500;
/** A timer that is later than this was asleep, and says nothing about the runtime. */
const ASLEEP_MS = 5000;

/**
 * Watches a runtime.
 * @param {Client} client
 * @param {() => void} onChange called when it is lost, found, or its clock is known
 */
export function watchLiveness(client, onChange) {
  /** @type {Liveness} */
  const state = { isLost: false, hasAnswered: false, lastSeenAt: Date.now(), skewMs: 0, version: "" };
  let pendingSince = 0;
  let lookedAt = Date.now();
  const demo = { isDemo: false };

  /** @param {Partial<Liveness>} change */
  const set = (change) => {
    Object.assign(state, change);
    onChange();
  };

  async function ask() {
    const sentAt = (pendingSince = Date.now());
    try {
      const hello = await client.hello();
      const now = Date.now();
      pendingSince = 0;
      demo.isDemo = "demo" in hello && hello.demo === true;
      const skewMs = now - sentAt < 1000 ? Date.parse(hello.now) - (sentAt + now) / 2 : state.skewMs;
      set({ isLost: false, hasAnswered: true, lastSeenAt: now, skewMs, version: hello.version });
    } catch {
      pendingSince = 0;
    }
  }

  function look() {
    const now = Date.now();
    const slept = now - lookedAt > ASLEEP_MS;
    lookedAt = now;
    if (slept) pendingSince = pendingSince && now;
    if (document.hidden) return;
    const { isLive } = client.store.getState();
    const quiet = now - Math.max(state.lastSeenAt, slept ? now : 0);
    if (!state.isLost && quiet > LOST_MS) set({ isLost: true });
    if (!pendingSince && isLive) void ask();
  }

  client.store.select(
    ({ isLive }) => isLive,
    (isLive) => {
      if (isLive) void ask();
      else pendingSince = 0;
    },
  );
  client.store.subscribe(() => {
    if (client.store.getState().isLive && !pendingSince) state.lastSeenAt = Date.now();
  });
  const timer = setInterval(look, ASK_MS / 2);
  if (client.store.getState().isLive) void ask();
  return { state, demo, stop: () => clearInterval(timer) };
}
