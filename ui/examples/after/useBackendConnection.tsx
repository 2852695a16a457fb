import { useBackendConnection, useBackendMessages, useSend } from "mainstay-ui/react";

export function Chat({ onMessage }: { onMessage: (text: string) => void }) {
  const { state, attempt, max, nextAttemptAt, lastError, reconnect } = useBackendConnection();
  const send = useSend();
  useBackendMessages(null, (item) => "text" in item && onMessage(item.text));
  return (
    <p title={lastError?.message}>
      {state}, attempt {attempt} of {max}, next at {nextAttemptAt ?? "no time"}
      <button onClick={reconnect}>Reconnect</button>
      <button onClick={() => send({ type: "chat", text: "hello" })}>Say hello</button>
    </p>
  );
}
