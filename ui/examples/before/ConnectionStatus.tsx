import { useEffect, useState } from "react";
import type { ConnectionState } from "./useBackendConnection.js";

export interface ConnectionStatusProps {
  state: ConnectionState;
  attempt: number;
  maxAttempts: number;
  nextAttemptAt: number | null;
  lastError: string | null;
  reconnect: () => void;
}

const LABELS: Record<ConnectionState, string> = {
  connecting: "Connecting …",
  connected: "Connected",
  reconnecting: "Connection lost",
  failed: "Connection failed",
};

const COLOURS: Record<ConnectionState, string> = {
  connecting: "#b58900",
  connected: "#2aa198",
  reconnecting: "#b58900",
  failed: "#dc322f",
};

function useSecondsUntil(at: number | null) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (at === null) return;
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, [at]);
  return at === null ? null : Math.ceil((at - now) / 1000);
}

export function ConnectionStatus(props: ConnectionStatusProps) {
  const { state, attempt, maxAttempts, nextAttemptAt, lastError, reconnect } = props;
  const seconds = useSecondsUntil(nextAttemptAt);
  const [isBack, setIsBack] = useState(false);

  useEffect(() => {
    if (state !== "connected") return;
    setIsBack(true);
    const timer = window.setTimeout(() => setIsBack(false), 1500);
    return () => window.clearTimeout(timer);
  }, [state]);

  if (state === "connected" && !isBack) return null;
  return (
    <div
      role="status"
      style={{ display: "flex", gap: 8, padding: 8, borderLeft: `4px solid ${COLOURS[state]}` }}
    >
      <strong>{LABELS[state]}</strong>
      {state === "reconnecting" && (
        <span>
          Attempt {attempt} of {maxAttempts}
          {seconds !== null && `, in ${seconds} s`}
        </span>
      )}
      {lastError && state !== "connected" && <span>{lastError}</span>}
      {state === "reconnecting" && <button onClick={reconnect}>Reconnect now</button>}
      {state === "failed" && <button onClick={() => window.location.reload()}>Reload</button>}
    </div>
  );
}
