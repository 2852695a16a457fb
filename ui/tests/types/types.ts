/** Checked by `tsc` only: what compiles, and what must not. */
import { connect, ErrorCodes, handleError, isMainstayError, type MainstayError } from "../../src/index.js";
import { createMock } from "../../src/transports/mock.js";
import type { Code, EventKind, EventRecord, ServerMessage, StatusReport } from "../../protocol.js";

// Errors are a union by code.
export function titleOf(error: MainstayError): string {
  switch (error.code) {
    case ErrorCodes.NETWORK_ERROR:
      return error.reason === "outcome_unknown" ? "unknown" : "network";
    case ErrorCodes.TIMEOUT:
      // @ts-expect-error This reason has another code.
      return error.reason === "connection_refused" ? "never" : "late";
    case ErrorCodes.NOT_FOUND:
    case ErrorCodes.PERMISSION_DENIED:
    case ErrorCodes.INVALID_INPUT:
      return error.message;
    case ErrorCodes.SERVER_ERROR:
      return String(error.status);
    default:
      return error satisfies never;
  }
}

// @ts-expect-error There are six codes.
export const unknownCode: Code = "OTHER";

export function detailsOf(thrown: unknown): string | undefined {
  if (isMainstayError(thrown)) return thrown.details;
  const wait: number | undefined = handleError(thrown).retryAfterMs;
  return String(wait);
}

// Events are a union by kind.
export function lineOf(event: EventRecord): string {
  if (event.kind === "request_retry") return `${event.attempt} ${event.delay_ms} ${event.reason}`;
  if (event.kind === "agent_health") return `${event.from} ${event.to}`;
  // @ts-expect-error This kind has no such field.
  if (event.kind === "actor_ready") return event.delay_ms;
  return `${event.run}.${event.seq}`;
}

// @ts-expect-error There is no such kind.
export const unknownKind: EventKind = "request_vanished";

export function statusOf(message: ServerMessage): StatusReport | null {
  return "snapshot" in message ? message.snapshot.status : null;
}

export async function use() {
  const client = connect({ mock: createMock() });
  // @ts-expect-error An agent may be unknown.
  client.store.getState().agents.planner.status;
  // @ts-expect-error Before the first snapshot there is no status.
  client.store.getState().status.runtime;
  const cached = await client.cache.get("key");
  // @ts-expect-error A miss has no value.
  cached.value;
  const { messageId } = await client
    .agent("planner")
    .send({ text: "hello" }, { onUpdate: ({ kind }) => kind });
  const stop: () => void = client.agent("planner").listen((item) => {
    if ("update" in item) item.update.kind satisfies string;
    else if ("lagged" in item) item.lagged satisfies number;
  });
  client.onEvents(({ events, lagged }) => [events.length, lagged?.after], { kinds: ["gave_up"] });
  // @ts-expect-error There is no such kind.
  client.onEvents(() => {}, { kinds: ["gave_down"] });
  client.store.select(
    (state) => state.session.nextAttemptAt,
    (at) => at?.toFixed(),
  );
  const response: Response = await client.fetch("/x", { priority: "high", signal: AbortSignal.timeout(1) });
  // @ts-expect-error There is no such priority.
  await client.request("GET", "/x", { priority: "urgent" });
  await client.command({ type: "connection", action: "listen", types: ["chat.*"] });
  // @ts-expect-error There is no such action.
  await client.command({ type: "connection", action: "open" });
  (await client.command({ type: "hello" })).boot satisfies string;
  (await client.command({ type: "incidents", limit: 5 })).incidents[0].story satisfies string[];
  // @ts-expect-error The reply has no such member.
  (await client.command({ type: "tree" })).boot;
  return { messageId, stop, response };
}
