import { useAgentHealth } from "mainstay-ui/react";

export function Planner({ onGaveUp }: { onGaveUp: () => void }) {
  const agent = useAgentHealth("planner", { onGaveUp });
  if (!agent) return <p>The planner is not known.</p>;
  return (
    <p>
      {agent.status}, {agent.restartsLeft} restarts left
      <button onClick={agent.gaveUp ? agent.reset : agent.restart}>Restart</button>
    </p>
  );
}
