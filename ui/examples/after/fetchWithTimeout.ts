import { connect } from "mainstay-ui";

export async function fetchJson<T>(url: string, timeoutMs = 10_000): Promise<T> {
  const { body } = await connect().request("GET", url, { timeoutMs, retries: 2 });
  return body as T;
}
