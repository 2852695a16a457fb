/** Connects the page. This module comes first: the elements use the client of the page as soon as they are known. */
import { connect } from "../src/index.js";
import { takeToken } from "./route.js";
import { workerTransport } from "./worker-transport.js";

const token = takeToken();

export const client = connect(token ? { transport: workerTransport(token) } : {});
