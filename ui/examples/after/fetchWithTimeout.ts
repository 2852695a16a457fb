import { connect } from "mainstay-ui";

const client = connect();

export async function fetchJson<T>(url: string, timeoutMs = 10_000): Promise<T> {
  const { body } = await client.request("GET", url, { timeoutMs, retries: 2 });
  return body as T;
}
