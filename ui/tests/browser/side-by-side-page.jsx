/** The page of the tests of examples/before and examples/after: that of the hooks, with both of them. */
import { mount } from "./react-page.jsx";

import * as beforeAgent from "../../examples/before/useAgentHealth.js";
import * as beforeConnection from "../../examples/before/useBackendConnection.js";
import * as beforeFiles from "../../examples/before/useFileWatcher.js";
import * as beforeStatus from "../../examples/before/ConnectionStatus.js";
import * as afterAgent from "../../examples/after/useAgentHealth.js";
import * as afterCache from "../../examples/after/cache.js";
import * as afterConnection from "../../examples/after/useBackendConnection.js";
import * as afterErrors from "../../examples/after/errors.js";
import * as afterFetch from "../../examples/after/fetchWithTimeout.js";
import * as afterFiles from "../../examples/after/useFileWatcher.js";
import * as afterQueue from "../../examples/after/requestQueue.js";
import * as afterStatus from "../../examples/after/ConnectionStatus.js";

Object.assign(window, {
  mount,
  before: { ...beforeAgent, ...beforeConnection, ...beforeFiles, ...beforeStatus },
  after: {
    ...afterAgent,
    ...afterCache,
    ...afterConnection,
    ...afterErrors,
    ...afterFetch,
    ...afterFiles,
    ...afterQueue,
    ...afterStatus,
  },
});
