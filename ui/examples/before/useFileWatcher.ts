import { useCallback, useEffect, useRef, useState } from "react";

export interface FileChange {
  path: string;
  kind: "created" | "modified" | "removed" | "renamed";
  at: number;
}

export interface FileWatcherOptions {
  folders: string[];
  extensions?: string[];
  debounceMs?: number;
  onChanges?: (changes: FileChange[]) => void;
}

type Unlisten = () => void;

declare global {
  interface Window {
    __TAURI__: {
      event: {
        listen<T>(name: string, handler: (event: { payload: T }) => void): Promise<Unlisten>;
      };
      core: { invoke<T>(command: string, args?: Record<string, unknown>): Promise<T> };
    };
  }
}

export function useFileWatcher(options: FileWatcherOptions) {
  const { folders, extensions, debounceMs = 300, onChanges } = options;
  const [changes, setChanges] = useState<FileChange[]>([]);
  const [error, setError] = useState<string | null>(null);
  const pending = useRef<FileChange[]>([]);
  const timer = useRef<number | undefined>(undefined);
  const callback = useRef(onChanges);
  callback.current = onChanges;

  const flush = useCallback(() => {
    const batch = pending.current;
    pending.current = [];
    setChanges((old) => [...old, ...batch]);
    callback.current?.(batch);
  }, []);

  useEffect(() => {
    const { event, core } = window.__TAURI__;
    let unlisten: Unlisten | undefined;
    core.invoke("watch_folders", { folders }).catch((reason: unknown) => setError(String(reason)));
    event
      .listen<Omit<FileChange, "at">>("file-changed", ({ payload }) => {
        if (!folders.some((folder) => payload.path.startsWith(folder))) return;
        if (extensions && !extensions.some((extension) => payload.path.endsWith(extension))) return;
        pending.current.push({ ...payload, at: Date.now() });
        window.clearTimeout(timer.current);
        timer.current = window.setTimeout(flush, debounceMs);
      })
      .then((stop) => {
        unlisten = stop;
      })
      .catch((reason: unknown) => setError(String(reason)));
    return () => {
      window.clearTimeout(timer.current);
      unlisten?.();
    };
  }, [folders, extensions, debounceMs, flush]);

  const clear = useCallback(() => setChanges([]), []);

  return { changes, error, clear };
}
