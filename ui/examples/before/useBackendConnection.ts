import { useCallback, useEffect, useRef, useState } from "react";

export type ConnectionState = "connecting" | "connected" | "reconnecting" | "failed";

export interface ConnectionOptions {
  url: string;
  maxAttempts?: number;
  baseDelayMs?: number;
  maxDelayMs?: number;
  onMessage?: (message: unknown) => void;
}

export function useBackendConnection(options: ConnectionOptions) {
  const { url, maxAttempts = 5, baseDelayMs = 1000, maxDelayMs = 30_000, onMessage } = options;
  const [state, setState] = useState<ConnectionState>("connecting");
  const [attempt, setAttempt] = useState(0);
  const [nextAttemptAt, setNextAttemptAt] = useState<number | null>(null);
  const [lastMessage, setLastMessage] = useState<unknown>(null);
  const [lastError, setLastError] = useState<string | null>(null);
  const socket = useRef<WebSocket | null>(null);
  const timer = useRef<number | undefined>(undefined);
  const attempts = useRef(0);
  const callback = useRef(onMessage);
  callback.current = onMessage;

  const connect = useCallback(() => {
    window.clearTimeout(timer.current);
    setNextAttemptAt(null);
    const ws = new WebSocket(url);
    socket.current = ws;
    ws.onopen = () => {
      attempts.current = 0;
      setAttempt(0);
      setLastError(null);
      setState("connected");
    };
    ws.onmessage = (event) => {
      const message: unknown = JSON.parse(event.data);
      setLastMessage(message);
      callback.current?.(message);
    };
    ws.onerror = () => setLastError("The connection failed");
    ws.onclose = () => {
      if (socket.current !== ws) return;
      if (attempts.current >= maxAttempts) {
        setState("failed");
        return;
      }
      const delay = Math.min(maxDelayMs, baseDelayMs * 2 ** attempts.current);
      attempts.current += 1;
      setAttempt(attempts.current);
      setNextAttemptAt(Date.now() + delay);
      setState("reconnecting");
      timer.current = window.setTimeout(connect, delay);
    };
  }, [url, maxAttempts, baseDelayMs, maxDelayMs]);

  useEffect(() => {
    connect();
    return () => {
      window.clearTimeout(timer.current);
      const ws = socket.current;
      socket.current = null;
      ws?.close();
    };
  }, [connect]);

  const reconnect = useCallback(() => {
    attempts.current = 0;
    const old = socket.current;
    setState("connecting");
    connect();
    old?.close();
  }, [connect]);

  const send = useCallback((message: unknown) => {
    if (socket.current?.readyState === WebSocket.OPEN) socket.current.send(JSON.stringify(message));
  }, []);

  return { state, attempt, maxAttempts, nextAttemptAt, lastMessage, lastError, reconnect, send };
}
