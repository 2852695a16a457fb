/** An application in TypeScript, for the types that the package ships. */
import type {} from "mainstay-ui/jsx";

import { connect, handleError, isMainstayError } from "mainstay-ui";
import { toast } from "mainstay-ui/elements";
import { createMock } from "mainstay-ui/mock";
import {
  useAgentHealth,
  useAgentStream,
  useBackendConnection,
  useCached,
  useFileWatcher,
  useRequest,
  useStore,
} from "mainstay-ui/react";
import { mainstayDefaults } from "mainstay-ui/tanstack";

type Code = "NETWORK_ERROR" | "TIMEOUT" | "NOT_FOUND" | "PERMISSION_DENIED" | "INVALID_INPUT" | "SERVER_ERROR";
type Kind = "created" | "modified" | "removed" | "renamed" | "rescan";

connect({ mock: createMock() });
export const defaults = mainstayDefaults();

export function codeOf(thrown: unknown): Code {
  return isMainstayError(thrown) ? thrown.code : handleError(thrown).code;
}

export function App() {
  const connection = useBackendConnection({
    onChange: (prev, next, reason) => {
      const words: string = `${prev} ${next}`;
      const cause: string | null = reason;
      console.log(words, cause);
    },
  });
  const isUp: boolean = useBackendConnection((all) => all.isConnected);
  const waiting: number | undefined = useStore((state) => state.queue?.waiting);
  const health = useAgentHealth("planner", { onCrash: (error) => void toast(error) });
  const cached = useCached("key", async () => ({ count: 1 }));
  const count: number | undefined = cached.data?.count;
  const { data } = useRequest("/notes");
  const { changes } = useFileWatcher({ folders: ["/projects"] });
  const kinds: Kind[] = changes.map(({ kind }) => kind);
  const { turns } = useAgentStream("planner");
  // @ts-expect-error there is no such member
  void connection.nonsense;
  // @ts-expect-error an agent may be unknown
  void health.status;
  return (
    <>
      <mainstay-connection-status grace={500} />
      <p>
        {String(isUp)} {waiting} {count} {JSON.stringify(data)} {kinds.length} {turns[0]?.state}
      </p>
    </>
  );
}
