/** Hooks for agents: their health, their actions and their conversations. */
import { useCallback, useEffect, useMemo, useState } from "react";

import { errorOf } from "../connection-view.js";
import { EMPTY_CONVERSATION, foldConversation, restartConversation } from "../conversation.js";
import { handleError } from "../errors.js";
import { useFold } from "./fold.js";
import { act, hold, isShallowEqual, useGiven, useLatest, useStore } from "./source.js";

/** @import { Client, MessageOptions, MessageReply } from "../client.js" */
/** @import { Conversation, ConversationItem, Question } from "../conversation.js" */
/** @import { MainstayError } from "../errors.js" */
/** @import { AgentStatus, AgentUpdate, Json, LogLine, OpenQuestion } from "../../protocol.d.ts" */
/** @import { Result } from "./source.js" */
/** @import { Agent, State } from "../store.js" */

/** @typedef {"restart" | "stop" | "start" | "reset"} AgentCommand */

/**
 * @typedef {object} AgentActions
 * @property {() => Promise<Result<unknown>>} restart
 * @property {() => Promise<Result<unknown>>} stop
 * @property {() => Promise<Result<unknown>>} start
 * @property {() => Promise<Result<unknown>>} reset gives its restarts back, and starts it if it was given up
 * @property {(body: Json, options?: MessageOptions) => Promise<Result<MessageReply>>} send
 * @property {(ask: string, body: Json) => Promise<Result<unknown>>} answer
 * @property {(messageId: number) => Promise<Result<unknown>>} cancel
 * @property {(method?: string) => Promise<Result<unknown>>} login
 * @property {(options?: {lines?: number, sinceMs?: number}) => Promise<Result<LogLine[]>>} logs
 */

/**
 * Returns the actions of an agent, and the one that runs now.
 *
 * @param {Client | null} given
 * @param {string} id
 * @returns {[AgentActions, AgentCommand | null]}
 */
function useAgentActions(given, id) {
  const [pending, setPending] = useState(/** @type {AgentCommand | null} */ (null));
  const latest = useLatest({ given, id });
  const [actions] = useState(() => {
    /** @type {<T>(use: (client: Client, id: string) => Promise<T>) => Promise<Result<T>>} */
    const run = (use) => act(latest.current.given, (client) => use(client, latest.current.id));
    const command = (/** @type {AgentCommand} */ name) => async () => {
      setPending(name);
      const result = await run(
        (client, agent) => /** @type {Promise<unknown>} */ (client.agent(agent)[name]()),
      );
      setPending((now) => (now === name ? null : now));
      return result;
    };
    /** @type {AgentActions} */
    const created = {
      restart: command("restart"),
      stop: command("stop"),
      start: command("start"),
      reset: command("reset"),
      send: (body, options) => run((client, agent) => client.agent(agent).send(body, options)),
      answer: (ask, body) => run((client, agent) => client.agent(agent).answer(ask, body)),
      cancel: (messageId) => run((client, agent) => client.agent(agent).cancel(messageId)),
      login: (method) => run((client, agent) => client.agent(agent).login(method)),
      logs: (options) => run((client, agent) => client.logs.read(agent, options)),
    };
    return created;
  });
  return [actions, pending];
}

/**
 * @typedef {AgentActions & {
 *   agent: Agent | undefined,
 *   isLive: boolean,
 *   pending: AgentCommand | null,
 * }} UseAgent
 */

/**
 * Returns an agent as the runtime reports it, with actions. `agent` is undefined while the id is unknown.
 *
 * @param {string} id
 * @param {{client?: Client}} [options]
 * @returns {UseAgent}
 */
export function useAgent(id, { client } = {}) {
  const agent = useStore((state) => state.agents[id], { client });
  const isLive = useStore(selectIsLive, { client });
  const [actions, pending] = useAgentActions(useGiven(client), id);
  return useMemo(() => ({ agent, isLive, pending, ...actions }), [agent, isLive, pending, actions]);
}

/** @param {State} state */
const selectIsLive = (state) => state.isLive;

/** @type {readonly Agent[]} */
const NO_AGENTS = [];

/**
 * Selects all agents, in the runtime's order.
 *
 * @param {State} state
 * @returns {readonly Agent[]}
 */
function selectAgents({ agents, status }) {
  if (!status) return NO_AGENTS;
  return status.agents.map(({ id }) => agents[id]).filter((agent) => agent !== undefined);
}

/**
 * Returns all agents in the runtime's order. The list is a new one only if an agent changed.
 *
 * @param {{client?: Client}} [options]
 * @returns {{agents: readonly Agent[], isLive: boolean}} `isLive` is false while the reports are old
 */
export function useAgents({ client } = {}) {
  const agents = useStore(selectAgents, { client, isEqual: isShallowEqual });
  const isLive = useStore(selectIsLive, { client });
  return useMemo(() => ({ agents, isLive }), [agents, isLive]);
}

/**
 * @typedef {object} AgentHealth
 * @property {AgentStatus} status
 * @property {Date} since
 * @property {string} nextStep
 * @property {number | null} restartAt the time of the next restart, on this page's clock
 * @property {number | null} restartsLeft null without a limit
 * @property {boolean} gaveUp
 * @property {MainstayError | null} lastError
 * @property {number | null} memory bytes of its process and that one's descendants
 * @property {{waiting: number, inFlight: number}} messages
 * @property {readonly OpenQuestion[]} questions
 * @property {Date | null} stateSavedAt the time of the state that a restart restores
 * @property {boolean} isLive false while this is old
 * @property {AgentCommand | null} pending the command that this hook has given and that has not ended
 */

/**
 * @typedef {object} HealthOptions
 * @property {Client} [client]
 * @property {(error: MainstayError | null) => void} [onCrash]
 * @property {() => void} [onRestart] called when it is healthy again after a restart
 * @property {(error: MainstayError | null) => void} [onGaveUp]
 */

/**
 * Returns what became different between two states of an agent.
 *
 * @param {Agent | undefined} prev
 * @param {Agent | undefined} next
 * @returns {("onCrash" | "onRestart" | "onGaveUp")[]}
 */
export function agentChanges(prev, next) {
  if (!prev || !next) return [];
  const isDown = (/** @type {Agent} */ { status }) => status === "failed" || status === "restarting";
  /** @type {("onCrash" | "onRestart" | "onGaveUp")[]} */
  const changes = [];
  const isNewIncarnation = next.generation > prev.generation || next.restarts > prev.restarts;
  if (isDown(next) && !isDown(prev)) changes.push("onCrash");
  if (next.gave_up && !prev.gave_up) changes.push("onGaveUp");
  if (next.status === "healthy" && (isDown(prev) || prev.status === "starting" || isNewIncarnation)) {
    if (next.restarts > 0 && prev.status !== "healthy") changes.push("onRestart");
  }
  return changes;
}

/**
 * Calls the listeners of an agent's crashes and restarts.
 *
 * @param {Client | null} given
 * @param {string} id
 * @param {HealthOptions} options
 */
function useHealthListeners(given, id, options) {
  const latest = useLatest(options);
  const isWanted = Boolean(options.onCrash ?? options.onRestart ?? options.onGaveUp);
  useEffect(() => {
    if (!isWanted) return undefined;
    return hold(given, (client) => {
      let prev = client.store.getState().agents[id];
      return client.store.subscribe(() => {
        const next = client.store.getState().agents[id];
        const changes = agentChanges(prev, next);
        prev = next;
        const error = errorOf(next?.error);
        for (const change of changes) latest.current[change]?.(error);
      });
    });
  }, [given, id, isWanted, latest]);
}

/**
 * Returns an agent's health with actions, or undefined for an unknown id and before the first snapshot.
 *
 * @param {string} id
 * @param {HealthOptions} [options]
 * @returns {(AgentHealth & AgentActions) | undefined}
 */
export function useAgentHealth(id, options = {}) {
  const { agent, isLive, pending, ...actions } = useAgent(id, options);
  useHealthListeners(useGiven(options.client), id, options);
  const { restart } = actions;
  return useMemo(
    () => agent && { ...healthOf(agent), isLive, pending, ...actions },
    // The actions are made together, so one of them stands for all.
    [agent, isLive, pending, restart],
  );
}

/**
 * Returns the health in an agent's report.
 *
 * @param {Agent} agent
 */
function healthOf(agent) {
  return {
    status: agent.status,
    since: new Date(agent.since),
    nextStep: agent.next_step,
    restartAt: agent.restartAtMs,
    restartsLeft: agent.budget_left,
    gaveUp: agent.gave_up,
    lastError: errorOf(agent.error),
    memory: agent.process?.memory_bytes ?? null,
    messages: { waiting: agent.messages_waiting, inFlight: agent.messages_in_flight },
    questions: agent.questions,
    stateSavedAt: agent.state_saved_at ? new Date(agent.state_saved_at) : null,
  };
}

/**
 * @typedef {object} StreamOptions
 * @property {Client} [client]
 * @property {number} [limit] the most turns that are kept, 200 if absent
 * @property {(update: AgentUpdate) => void} [onUpdate] called for each update, in order
 */

/**
 * @typedef {Conversation & {
 *   questions: readonly Question[],
 *   send: (body: Json, options?: MessageOptions) => Promise<Result<MessageReply>>,
 *   answer: AgentActions["answer"],
 *   cancel: AgentActions["cancel"],
 * }} UseAgentStream
 */

let sendings = 0;

/**
 * Returns an agent's conversation: its turns with the text so far, and its open questions. It renders once
 * per frame, however fast the text comes, and holds what the runtime kept from before.
 *
 * @param {string} id
 * @param {StreamOptions} [options]
 * @returns {UseAgentStream}
 */
export function useAgentStream(id, options = {}) {
  const { client, limit } = options;
  const [{ answer, cancel, send: sendMessage }] = useAgentActions(useGiven(client), id);
  const latest = useLatest(options);
  const [conversation, fold] = useFold({
    client,
    key: id,
    initial: EMPTY_CONVERSATION,
    reduce: (value, /** @type {ConversationItem[]} */ items) => foldConversation(value, items, limit),
    restart: restartConversation,
    start: (used, push) =>
      used.agent(id).listen(
        (item) => {
          if ("error" in item) return;
          push(item);
          if ("update" in item) latest.current.onUpdate?.(item.update);
        },
        { after: 0 },
      ),
  });
  const send = useCallback(
    async (/** @type {Json} */ body, /** @type {MessageOptions} */ sendOptions = {}) => {
      const key = `own${++sendings}`;
      /** The turn may be known by its number alone, once its kept updates came again. @type {number | undefined} */
      let messageId;
      fold.push({ sending: key, body });
      const result = await sendMessage(body, {
        ...sendOptions,
        onAccepted: (accepted) => {
          messageId = accepted;
          fold.push({ accepted: key, messageId });
          sendOptions.onAccepted?.(messageId);
        },
      });
      const settled = { settled: key, messageId };
      fold.push(
        result.ok
          ? { ...settled, answer: result.value.answer }
          : { ...settled, error: handleError(result.error) },
      );
      return result;
    },
    [fold, sendMessage],
  );
  return useMemo(() => ({ ...conversation, send, answer, cancel }), [conversation, send, answer, cancel]);
}
