/** All elements, loaded at once. `index.js` loads the larger ones when they are first used. */
export { AgentConversation } from "./agent-conversation.js";
export { Agents } from "./agents.js";
export { ConnectionStatus } from "./connection-status.js";
export { Devtools } from "./devtools.js";
export { ErrorToast, toast } from "./error-toast.js";
export { Events } from "./events.js";
export { Incidents } from "./incidents.js";
export { Requests } from "./requests.js";
export { setText } from "./text.js";
export { Timeline } from "./timeline.js";
export { Tree } from "./tree.js";
