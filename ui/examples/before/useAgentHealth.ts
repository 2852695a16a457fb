import { useCallback, useEffect, useRef, useState } from "react";
import { fetchJson, fetchWithTimeout } from "./fetchWithTimeout.js";

export type AgentStatus = "healthy" | "degraded" | "failed" | "restarting";

export interface AgentHealth {
  status: AgentStatus;
  message?: string;
  lastCheck: number | null;
}

export interface AgentHealthOptions {
  baseUrl: string;
  intervalMs?: number;
  failAfter?: number;
  maxRestarts?: number;
  onStatusChange?: (status: AgentStatus, previous: AgentStatus) => void;
  onGaveUp?: () => void;
}

export function useAgentHealth(agentId: string, options: AgentHealthOptions) {
  const { baseUrl, intervalMs = 5000, failAfter = 3, maxRestarts = 3, onStatusChange, onGaveUp } = options;
  const [health, setHealth] = useState<AgentHealth>({ status: "healthy", lastCheck: null });
  const [restarts, setRestarts] = useState(0);
  const [hasGivenUp, setHasGivenUp] = useState(false);
  const status = useRef<AgentStatus>("healthy");
  const misses = useRef(0);
  const restartCount = useRef(0);
  const callbacks = useRef({ onStatusChange, onGaveUp });
  callbacks.current = { onStatusChange, onGaveUp };
  const address = `${baseUrl}/api/agents/${agentId}`;

  const update = useCallback((next: AgentStatus, message?: string) => {
    const previous = status.current;
    status.current = next;
    setHealth({ status: next, message, lastCheck: Date.now() });
    if (previous !== next) callbacks.current.onStatusChange?.(next, previous);
  }, []);

  const restart = useCallback(async () => {
    update("restarting");
    try {
      await fetchWithTimeout(`${address}/restart`, { method: "POST", timeoutMs: 30_000 });
      misses.current = 0;
      update("healthy");
    } catch (error) {
      update("failed", String(error));
    }
  }, [address, update]);

  const recover = useCallback(async () => {
    if (restartCount.current >= maxRestarts) {
      setHasGivenUp(true);
      callbacks.current.onGaveUp?.();
      return;
    }
    restartCount.current += 1;
    setRestarts(restartCount.current);
    await restart();
  }, [maxRestarts, restart]);

  const check = useCallback(async () => {
    if (status.current === "restarting") return;
    try {
      const report = await fetchJson<{ status: AgentStatus; message?: string }>(`${address}/health`, {
        timeoutMs: 3000,
        retries: 0,
      });
      misses.current = 0;
      update(report.status, report.message);
      if (report.status === "failed") await recover();
    } catch (error) {
      misses.current += 1;
      if (misses.current < failAfter) return;
      update("failed", String(error));
      await recover();
    }
  }, [address, failAfter, recover, update]);

  useEffect(() => {
    void check();
    const timer = window.setInterval(() => void check(), intervalMs);
    return () => window.clearInterval(timer);
  }, [check, intervalMs]);

  const reset = useCallback(async () => {
    restartCount.current = 0;
    setRestarts(0);
    setHasGivenUp(false);
    await restart();
  }, [restart]);

  return { ...health, restarts, hasGivenUp, restart, reset };
}
