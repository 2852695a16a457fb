import { useFileWatcher } from "mainstay-ui/react";

const options = { folders: ["/projects/demo"], globs: ["*.md"], debounceMs: 300 };

export function Changes() {
  const { changes, error, clear } = useFileWatcher(options);
  const words = changes.map(({ kind, path }) => `${kind} ${path}`).join();
  return <button onClick={clear}>{error?.message ?? words}</button>;
}
