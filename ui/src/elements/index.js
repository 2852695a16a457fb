/** All elements. Importing this module defines them. */
export { Agents } from "./agents.js";
export { AgentConversation } from "./agent-conversation.js";
export { ConnectionStatus } from "./connection-status.js";
export { ErrorToast, toast } from "./error-toast.js";
export { Events } from "./events.js";
export { Requests } from "./requests.js";
export { setText } from "./text.js";
