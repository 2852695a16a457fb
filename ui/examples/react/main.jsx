import { createRoot } from "react-dom/client";
import "mainstay-ui/elements";
import { useAgentHealth, useAgents, useBackendConnection } from "mainstay-ui/react";

function Agent({ id }) {
  const agent = useAgentHealth(id);
  if (!agent) return null;
  return (
    <li>
      {id}: {agent.status} <button onClick={agent.restart}>Restart {id}</button>
    </li>
  );
}

function App() {
  const state = useBackendConnection((connection) => connection.state);
  const { agents, isLive } = useAgents();
  return (
    <>
      <mainstay-connection-status />
      <p>{state}</p>
      <ul aria-busy={!isLive}>{agents.map(({ id }) => <Agent key={id} id={id} />)}</ul>
    </>
  );
}

createRoot(document.getElementById("app")).render(<App />);
