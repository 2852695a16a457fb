/** What events say of agents: how long their answers took, and their last states. Pure. */

/** @typedef {Record<string, unknown> & { kind: string, actor: string, mono_ms: number, run: number, at: string }} Event */

const KEPT = 120;

/**
 * Returns a quantile by the nearest rank; null of nothing.
 * @param {readonly number[]} values
 * @param {number} share
 */
export function quantile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
}

/** Collects the durations of answers, and states, from events in order. */
export class Durations {
  /** The milliseconds of each answer, by agent. @type {Map<string, number[]>} */ answers = new Map();
  /** The last states of each agent. @type {Map<string, { at: number, state: string }[]>} */ states = new Map();
  /** @type {Map<string, number>} */ #sent = new Map();

  /** @param {readonly Event[]} events */
  add(events) {
    for (const event of events) {
      const { kind, actor, mono_ms: at, run } = event;
      const id = actor.slice(actor.lastIndexOf("/") + 1);
      const key = `${run} ${actor} ${event.message_id}`;
      if (kind === "message_sent") this.#sent.set(key, at);
      else if (kind === "message_answered" || kind === "message_failed") {
        const sentAt = this.#sent.get(key);
        this.#sent.delete(key);
        if (kind === "message_answered" && sentAt != null) keep(this.answers, id, at - sentAt);
      } else if (kind === "agent_health") keep(this.states, id, { at: Date.parse(event.at), state: String(event.to) });
    }
  }
}

/**
 * @template T
 * @param {Map<string, T[]>} lists
 * @param {string} id
 * @param {T} value
 */
function keep(lists, id, value) {
  lists.set(id, [...(lists.get(id) ?? []), value].slice(-KEPT));
}
