/** Lets TypeScript know the elements in JSX of React: `import type {} from "mainstay-ui/jsx"` in one file. */
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { Client } from "mainstay-ui";

type Base = DetailedHTMLProps<HTMLAttributes<HTMLElement>, HTMLElement> & { client?: Client };

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "mainstay-connection-status": Base & { grace?: number; linger?: number; placement?: "inline" };
      "mainstay-error-toast": Base & { duration?: number; max?: number };
      "mainstay-agents": Base & { agent?: string; limit?: number; readonly?: boolean };
      "mainstay-agent-conversation": Base & { agent?: string };
      "mainstay-requests": Base;
      "mainstay-devtools": Base;
      "mainstay-events": Base & { actor?: string; history?: number; max?: number };
      "mainstay-incidents": Base & { actor?: string; limit?: number; open?: string; share?: string };
      "mainstay-timeline": Base;
      "mainstay-tree": Base & { current?: string };
    }
  }
}
