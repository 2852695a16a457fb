import { createContext, useCallback, useContext, useEffect, useMemo, useState, type ReactNode } from "react";

export const ErrorCodes = {
  NETWORK_ERROR: "NETWORK_ERROR",
  TIMEOUT: "TIMEOUT",
  INVALID_INPUT: "INVALID_INPUT",
  PERMISSION_DENIED: "PERMISSION_DENIED",
  NOT_FOUND: "NOT_FOUND",
  SERVER_ERROR: "SERVER_ERROR",
} as const;

export type ErrorCode = keyof typeof ErrorCodes;

const MESSAGES: Record<ErrorCode, string> = {
  NETWORK_ERROR: "There is no connection. Check the network.",
  TIMEOUT: "The server took too long.",
  INVALID_INPUT: "The input is not valid.",
  PERMISSION_DENIED: "You may not do this.",
  NOT_FOUND: "This does not exist.",
  SERVER_ERROR: "Something went wrong. Try again.",
};

export class AppError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string = MESSAGES[code],
    readonly details?: unknown,
  ) {
    super(message);
    this.name = "AppError";
  }
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return "PERMISSION_DENIED";
  if (status === 404) return "NOT_FOUND";
  if (status === 408 || status === 504) return "TIMEOUT";
  return status < 500 ? "INVALID_INPUT" : "SERVER_ERROR";
}

export function handleError(error: any): AppError {
  if (error instanceof AppError) return error;
  if (error.name === "TimeoutError" || error.name === "AbortError") return new AppError("TIMEOUT");
  if (error instanceof TypeError) return new AppError("NETWORK_ERROR", undefined, error.message);
  if (typeof error.status === "number") return new AppError(codeOfStatus(error.status));
  return new AppError("SERVER_ERROR", undefined, String(error));
}

export interface RetryOptions {
  retries?: number;
  delayMs?: number;
}

export async function retry<T>(run: () => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { retries = 3, delayMs = 500 } = options;
  for (let count = 0; ; count++) {
    try {
      return await run();
    } catch (error) {
      if (count >= retries) throw handleError(error);
      await new Promise((resolve) => setTimeout(resolve, delayMs * 2 ** count));
    }
  }
}

interface Toast {
  id: number;
  error: AppError;
  onRetry?: () => void;
}

type ShowError = (error: unknown, options?: { onRetry?: () => void }) => void;

const ToastContext = createContext<ShowError>(() => {});

export const useErrorToast = () => useContext(ToastContext);

let nextId = 1;

interface ProviderProps {
  children: ReactNode;
  durationMs?: number;
}

export function ErrorToastProvider({ children, durationMs = 5000 }: ProviderProps) {
  const [toasts, setToasts] = useState<Toast[]>([]);
  const dismiss = useCallback((id: number) => setToasts((old) => old.filter((toast) => toast.id !== id)), []);
  const show = useCallback<ShowError>(
    (error, { onRetry } = {}) => {
      const toast = { id: nextId++, error: handleError(error), onRetry };
      setToasts((old) => [...old, toast]);
      window.setTimeout(() => dismiss(toast.id), durationMs);
    },
    [dismiss, durationMs],
  );
  const list = useMemo(
    () =>
      toasts.map(({ id, error, onRetry }) => (
        <ErrorToast key={id} error={error} onRetry={onRetry} onClose={() => dismiss(id)} />
      )),
    [toasts, dismiss],
  );
  return (
    <ToastContext.Provider value={show}>
      {children}
      {toasts.length > 0 && <div style={{ position: "fixed", right: 16, bottom: 16 }}>{list}</div>}
    </ToastContext.Provider>
  );
}

interface ErrorToastProps {
  error: AppError;
  onRetry?: () => void;
  onClose: () => void;
}

export function ErrorToast({ error, onRetry, onClose }: ErrorToastProps) {
  useEffect(() => console.error(error), [error]);
  const retryAndClose = () => {
    onRetry?.();
    onClose();
  };
  return (
    <div role="alert" style={{ padding: 12, margin: 8, background: "#fdecea", borderRadius: 6 }}>
      <strong>{error.message}</strong>
      {onRetry && <button onClick={retryAndClose}>Try again</button>}
      <button onClick={onClose}>×</button>
    </div>
  );
}
