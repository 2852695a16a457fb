/** The texts and the style of the elements that are loaded when they are first used. */
import { addText } from "./text.js";

addText({
  // Agents.
  agents: "Agents",
  noAgents: "There are no agents.",
  moreAgents: "{n} more agent|{n} more agents",
  healthy: "Healthy",
  degraded: "Degraded",
  failed: "Failed",
  restarting: "Restarting",
  starting: "Starting",
  stopped: "Stopped",
  givenUp: "Given up",
  unknown: "Unknown",
  "step-healthy": "Checked regularly",
  "step-degraded": "Answers, and reports trouble",
  "step-misses": "{n} check missed, restarts after {left} more|{n} checks missed, restarts after {left} more",
  "step-failed": "Restarts soon",
  "step-gave-up": "Given up, reset gives its restarts back",
  "step-restarting": "Restarts {when}",
  "step-starting": "Waits for its first good check",
  "step-stopped": "Runs again after a start",
  "step-unknown": "Checked again once the backend answers",
  "step-question": "Waits for an answer",
  restarts: "{n} restart|{n} restarts",
  budget: "{n} of {max} left",
  noLimit: "no limit",
  saved: "state saved {at}",
  crashed: "{id} has failed and restarts",
  gaveUp: "{id} is given up",
  restart: "Restart",
  start: "Start",
  stop: "Stop",
  reset: "Reset",
  actOn: "{action}: {id}",
  confirm: "{action} {id}?",
  confirmWork:
    "It works on {n} message, whose outcome may stay unknown.|" +
    "It works on {n} messages, whose outcome may stay unknown.",
  confirmIdle: "It takes no messages until it runs again.",
  keep: "Cancel",
  // A conversation.
  conversation: "Conversation with {id}",
  prompt: "Message to {id}",
  noTurns: "No message yet. What {id} answers comes here as it is written.",
  send: "Send",
  waiting: "Waits for {id}",
  answering: "Answers …",
  cancel: "Cancel",
  cancelled: "Cancelled",
  answered: "{id} has answered: {answer}",
  asks: "{id} asks",
  answer: "Answer",
  broken: "Broken off. {id} may have acted on it: look before you send it again.",
  edit: "Back to the prompt",
  lostUpdates: "{n} update is missing|{n} updates are missing",
  percent: "{n} %",
  // Requests.
  requests: "Requests",
  noRequests: "No requests are open.",
  counts: "{running} running, {waiting} waiting",
  "phase-running": "Running",
  "phase-waiting": "Waiting",
  "phase-backing_off": "Next attempt",
  held: "Held",
  probe: "Next try {when}",
  age: "{n} s",
  priority: "Priority",
  high: "High",
  normal: "Normal",
  low: "Low",
  // Events.
  events: "Events",
  kind: "Kind",
  allKinds: "All kinds",
  search: "Search",
  shown: "{n} event|{n} events",
  noEvents: "No events.",
  newest: "Newest",
  // The developer tools.
  devtools: "Developer tools",
  state: "State",
});

/** Their style, beside the shared one. */
export const more = `
.head,.line{padding:.7em .9em}.head,.line:not(:last-child){border-bottom:1px solid var(--l)}
.empty{padding:1.5em;text-align:center;color:var(--s)}
.tall{display:flex;flex-direction:column;height:var(--mainstay-height,26rem);overflow:hidden;
position:relative}
.fill{flex:1;min-height:0;overflow:auto;outline-offset:-2px}
.state{color:var(--c)}.text{unicode-bidi:plaintext}h2{font-size:1em;font-weight:600}
`;

export { messageOf, text } from "./text.js";
