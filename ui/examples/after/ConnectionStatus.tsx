import "mainstay-ui/elements";
import type {} from "mainstay-ui/jsx";

export const ConnectionStatus = () => <mainstay-connection-status />;
