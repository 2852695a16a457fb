import { connect } from "mainstay-ui";
import { useCached } from "mainstay-ui/react";

const client = connect();
const load = async () => (await client.request("GET", "/api/notes")).body;

export function Notes() {
  const { data, error } = useCached("notes:all", load, { ttlMs: 60_000 });
  const forget = () => client.cache.invalidate({ prefix: "notes:" });
  return <button onClick={forget}>{error ? error.message : JSON.stringify(data ?? null)}</button>;
}
