/**
 * React hooks over the client and its store. They work with React 18 and 19.
 *
 * Each hook takes an optional `client`. Without one it uses the nearest `MainstayContext`, and else the page's
 * client.
 * Actions of hooks never reject: they resolve to `{ok: true, value}` or `{ok: false, error}`.
 */
export { MainstayContext, useStore } from "./react/source.js";
export {
  useBackendConnection,
  useBackendMessages,
  useCountdown,
  useMessageReducer,
  useSend,
} from "./react/connection.js";
export { useCached, useQueue, useRequest } from "./react/requests.js";
export { useAgent, useAgentHealth, useAgents, useAgentStream } from "./react/agents.js";
export { useEvents, useFileWatcher, useIncidents, useLogs } from "./react/streams.js";
