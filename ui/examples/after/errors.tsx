import { connect, ErrorCodes, handleError, retry } from "mainstay-ui";
import { toast } from "mainstay-ui/elements";

const client = connect();
const load = () => retry((signal) => client.request("GET", "/api/report", { signal }), { retries: 3 });

export async function show(): Promise<unknown> {
  try {
    return (await load()).body;
  } catch (thrown) {
    const error = handleError(thrown);
    if (error.code !== ErrorCodes.NOT_FOUND) toast(error, { retry: show });
    return null;
  }
}
