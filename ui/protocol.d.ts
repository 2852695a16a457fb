// The texts of the bridge, as docs/bridge.md explains them. Generated from the Rust types: after a change, run
// `UPDATE_EXPECT=1 cargo test -p mainstay --lib --features typescript typescript`.

/** An abandoned incarnation has ended after all. */
export type AbandonedEnded = Record<symbol, never>;

/**
 * The consequence of a killed incarnation that does not end, because its handler never reaches an await point.
 *
 * Nothing can end such a handler from outside. It is abandoned: its messages, its snapshots and its tasks no longer
 * count. Its remaining work goes on beside its successor, if it has one.
 */
export type AbandonedPolicy = "fail" | "replace";

/** A message that an agent has accepted. */
export type AcceptedMessage = {
  /** The id of the command that sent it. */
  id: number | null;
  /** The message's number. */
  message_id: MessageId;
};

/** A request that the queue has accepted. */
export type AcceptedRequest = {
  /** The id, as responses, errors, events and the list of requests have it. */
  request_id: RequestId;
};

/** An incarnation has ended. */
export type ActorExited = {
  /** The cause of the end. */
  cause: ExitCause;
  /** The actor's error or the panic's message, if there is one. */
  message: string | null;
  /** The place of a panic: `file:line:column`. */
  location: string | null;
  /** The backtrace of a panic, if backtraces are enabled (`RUST_BACKTRACE`). */
  backtrace?: string;
  /** True if a permanent child ended by itself while its supervisor stopped. */
  unexpected?: boolean;
  /** True if the incarnation was killed, did not end, and was abandoned. It may still be at work. */
  abandoned?: boolean;
  /** True if no restart can heal the error. */
  unrecoverable?: boolean;
};

/** The kind of an actor: supervisor or worker. */
export type ActorKind = "supervisor" | "worker";

/** The path of an actor in its supervision tree, such as `root/pool/worker-1`. Cheap to clone. */
export type ActorPath = string;

/** An incarnation is ready for its first message. */
export type ActorReady = {
  /** The time that the start took. */
  start_ms: number;
};

/** A restarted incarnation is ready. */
export type ActorRestarted = {
  /** The time from the exit to now. */
  downtime_ms: number;
  /** The state from which it began. */
  state: StateSource;
  /** The number of messages that waited for it. */
  backlog: number;
};

/** An incarnation has been spawned. */
export type ActorStarted = Record<symbol, never>;

/** The status of an actor, as its supervisor knows it. */
export type ActorStatus = "starting" | "running" | "stopping" | "restarting" | "stopped" | "failed";

/** A kind of call to the backend that the runtime makes for an agent by itself. */
export type AgentCall = "health_check" | "state_read" | "state_write" | "restart";

/**
 * The backend died over a call that the runtime makes for the agent by itself, so such calls pause. A restart of the
 * agent by a command makes them at once.
 */
export type AgentCallPaused = {
  /** The kind of the call. */
  call: AgentCall;
  /** The calls of this kind in a row over which the backend died. */
  deaths: number;
  /** True if such calls are quarantined: the pause is longer, and grows with each further death. */
  quarantined: boolean;
  /**
   * The time from the death, or from the backend's first return after it, to the next such call, in milliseconds. It is
   * 0 if the state is quarantined, so that it is not written again.
   */
  pause_ms: number;
};

/** An agent and its last events: the reply to `show`, and to the commands that change its state. */
export type AgentDetails = {
  /** The last events, at most five, oldest first. */
  events: Array<EventRecord>;
  /** The current problem for a person, if there is one. */
  last_error: string | null;
  /** The reason of the last restart, once it is resolved. */
  resolved_error: ResolvedError | null;
  /** The number of misses in a row that fails it while it is idle. */
  fail_after: number;
  /** The next step in plain words. */
  next_step: string;
  /** True while its process prints so much that its log leaves lines out. */
  noisy: boolean;
  /**
   * The last lines of its process, or of the one before it: at most 20. A longer traceback at the end has its first
   * lines before them. Empty in lists.
   */
  output?: Array<string>;
  /** True if these lines are of a process that has ended. */
  output_is_old?: boolean;
  /** The agent's id. */
  id: string;
  /** The name of its driver. */
  driver: string;
  /** The agent's status. */
  status: AgentStatus;
  /** The time since which it has that status. */
  since: WallTime;
  /** The checks missed in a row. */
  misses: number;
  /** The time of the last check's end. */
  last_check: WallTime | null;
  /** The current error. Boxed, since mostly there is none. */
  error: ErrorObject | null;
  /** The seconds since the agent's start, as it reports. */
  uptime_s: number | null;
  /** The number of its errors, as it reports. */
  error_count: number | null;
  /** The time at which the saved state was read, which a restart restores; `null` without one. */
  state_saved_at: WallTime | null;
  /** The agent's process here, if it has one. */
  process: ProcessUsage | null;
  /** True if a signal or a debugger kept that process stopped at the last check. */
  suspended?: boolean;
  /** The number of messages that wait for their delivery. */
  messages_waiting: number;
  /** The number of messages that it is working on. */
  messages_in_flight: number;
  /** The questions that wait for an answer, oldest first. While there is one, the agent never counts as stuck. */
  questions: Array<OpenQuestion>;
  /** True once it is given up: its restarts are used up, or none can help. It stays failed until a command. */
  gave_up: boolean;
  /** True if it was given up because no restart can help. A start tries again, once the cause is corrected. */
  unrecoverable?: boolean;
  /** The incarnation of its actor. */
  generation: number;
  /** The number of restarts. */
  restarts: number;
  /** Restarts that are left before it is given up; `null` where there is no limit. */
  budget_left: number | null;
  /** The whole budget; `null` if there is no limit. */
  budget: RestartBudget | null;
  /** The last restart within its budget; none if a command has restarted it since. */
  attempt?: RestartAttempt;
  /** The time of the next restart, if one is planned. */
  restart_at: WallTime | null;
};

/** An agent's status changed. */
export type AgentHealth = {
  /** The status before. */
  from: AgentStatus;
  /** The status after. */
  to: AgentStatus;
  /** The checks missed in a row. */
  misses: number;
  /** The problem. */
  error: ErrorObject | null;
};

/** The reply to `agent` `listen`. */
export type AgentListenReply = {
  /** The number after which the updates begin. Only open questions may have an earlier one. */
  seq: number;
};

/**
 * The agent is restarted, which uses no budget, because its program names the address or the secret of an earlier start of
 * the backend.
 */
export type AgentOutdated = Record<symbol, never>;

/** The agent asks a question, and works on the message no further until it has an answer. */
export type AgentQuestion = {
  /** The question's name. */
  ask: string;
  /** The message that it concerns. */
  message_id?: MessageId;
  /** The start of the question. */
  text: string;
};

/** A question of the agent was answered, withdrawn or cancelled. */
export type AgentQuestionSettled = {
  /** The question's name. */
  ask: string;
  /** The message that it concerns. */
  message_id?: MessageId;
  /** The question's end. */
  outcome: QuestionOutcome;
};

/**
 * The agent sent a reply that no message got: it could not be read, or no message waited for it. The first 16 are
 * recorded, and then each doubling of their number.
 */
export type AgentReplyLost = {
  /** The number of such replies, since the runtime started or the agent was added. */
  count: number;
  /** The reason for the last one, for a person. */
  message: string;
  /** The start of the last one. */
  text: string;
};

/** The agent's session could not be resumed, and a new one started. */
export type AgentSessionLost = {
  /** The id of the lost session. */
  id: string;
  /** The reason, for a person. */
  message: string;
};

/**
 * The agent ended each time its state was restored, so it starts without the state. The state store keeps a copy.
 */
export type AgentStateQuarantined = {
  /** The time at which the state was read. */
  read_at: string;
  /** The size of the state as JSON, in bytes. */
  bytes: number;
};

/** The status of an agent. */
export type AgentStatus = "starting" | "healthy" | "degraded" | "failed" | "restarting" | "stopped" | "unknown";

/** A running agent made no progress with its work, and is restarted. */
export type AgentStuck = {
  /** The time without progress, in milliseconds. */
  quiet_ms: number;
  /** The limit for that, in milliseconds. */
  progress_timeout_ms: number;
  /** The number of requests that it is working on. */
  in_flight: number;
};

/** An update that an agent sent unasked, or one about a message to it. */
export type AgentUpdate = {
  /** The update's number among those of the agent in this run of the runtime, from 1; 0 until it is published. */
  seq: number;
  /** The kind of the update. */
  kind: UpdateKind;
  /** The message that it concerns. */
  message_id?: MessageId;
  /** The name of the question. */
  ask?: string;
  /** The end of the question, if the update says that it is settled. */
  outcome?: QuestionOutcome;
  /** True if it repeats an earlier update, since a session is being resumed. */
  is_replay?: boolean;
  /** The content, as the agent wrote it. */
  body: Json;
};

/** The view of one agent: its own report, and what its supervisor knows. */
export type AgentView = {
  /** The current problem for a person, if there is one. */
  last_error: string | null;
  /** The reason of the last restart, once it is resolved. */
  resolved_error: ResolvedError | null;
  /** The number of misses in a row that fails it while it is idle. */
  fail_after: number;
  /** The next step in plain words. */
  next_step: string;
  /** True while its process prints so much that its log leaves lines out. */
  noisy: boolean;
  /**
   * The last lines of its process, or of the one before it: at most 20. A longer traceback at the end has its first
   * lines before them. Empty in lists.
   */
  output?: Array<string>;
  /** True if these lines are of a process that has ended. */
  output_is_old?: boolean;
  /** The agent's id. */
  id: string;
  /** The name of its driver. */
  driver: string;
  /** The agent's status. */
  status: AgentStatus;
  /** The time since which it has that status. */
  since: WallTime;
  /** The checks missed in a row. */
  misses: number;
  /** The time of the last check's end. */
  last_check: WallTime | null;
  /** The current error. Boxed, since mostly there is none. */
  error: ErrorObject | null;
  /** The seconds since the agent's start, as it reports. */
  uptime_s: number | null;
  /** The number of its errors, as it reports. */
  error_count: number | null;
  /** The time at which the saved state was read, which a restart restores; `null` without one. */
  state_saved_at: WallTime | null;
  /** The agent's process here, if it has one. */
  process: ProcessUsage | null;
  /** True if a signal or a debugger kept that process stopped at the last check. */
  suspended?: boolean;
  /** The number of messages that wait for their delivery. */
  messages_waiting: number;
  /** The number of messages that it is working on. */
  messages_in_flight: number;
  /** The questions that wait for an answer, oldest first. While there is one, the agent never counts as stuck. */
  questions: Array<OpenQuestion>;
  /** True once it is given up: its restarts are used up, or none can help. It stays failed until a command. */
  gave_up: boolean;
  /** True if it was given up because no restart can help. A start tries again, once the cause is corrected. */
  unrecoverable?: boolean;
  /** The incarnation of its actor. */
  generation: number;
  /** The number of restarts. */
  restarts: number;
  /** Restarts that are left before it is given up; `null` where there is no limit. */
  budget_left: number | null;
  /** The whole budget; `null` if there is no limit. */
  budget: RestartBudget | null;
  /** The last restart within its budget; none if a command has restarted it since. */
  attempt?: RestartAttempt;
  /** The time of the next restart, if one is planned. */
  restart_at: WallTime | null;
};

/** The answer of an agent to a message. */
export type AnswerReply = {
  /** The message's number. */
  message_id: MessageId;
  /** The answer, as the agent wrote it. */
  answer: Json;
};

/** A supervisor ends itself because its significant children have ended. */
export type AutoShutDown = {
  /** The significant child whose end ended the supervisor. */
  child: ActorPath;
};

/**
 * The rule by which a supervisor ends when its significant children have ended.
 *
 * An end counts if it calls for no restart: a transient child's normal exit, or any exit of a temporary child.
 * Stopping a child by command, or with its group, does not count.
 */
export type AutoShutdown = "never" | "any_significant" | "all_significant";

/** An action on the backend's own process. */
export type BackendAction = "show" | "start" | "stop" | "restart" | "reset";

/** The backend's process continues after a signal or a debugger had stopped it. */
export type BackendResumed = {
  /** The process's id. */
  pid: number;
};

/** The backend's process runs and is ready. */
export type BackendStarted = {
  /** The process's id. */
  pid: number;
  /** The time that the start took, in milliseconds. */
  ready_ms: number;
};

/** The backend's process runs, and is not ready yet. */
export type BackendStarting = {
  /** The process's id. */
  pid: number;
  /** The sign that it is ready. */
  awaits: string;
  /** The time that it has to become ready, in milliseconds. */
  ready_within_ms: number;
};

/** A signal or a debugger has stopped the backend's process, so that it does nothing. */
export type BackendSuspended = {
  /** The process's id. */
  pid: number;
  /** The time after which the backend is restarted if that lasts, in milliseconds. */
  restart_after_ms: number;
};

/** A command about a body that passes in parts. */
export type BodyCommand =
  | {
    "action": "ack";
    /** The id of the command that made the request. */
    request: number;
    /** The number of chunks. */
    chunks: number;
  }
  | {
    "action": "write";
    /** The id of the command that made the request. */
    request: number;
    /** The bytes. */
    base64: string;
  }
  | {
    "action": "end";
    /** The id of the command that made the request. */
    request: number;
  }
  | {
    "action": "abort";
    /** The id of the command that made the request. */
    request: number;
  };

/** The end of a streamed response that came whole. */
export type BodyEnd = {
  /** The bytes of the body. */
  bytes: number;
};

/** A command about one agent: `{"agent":ID,"action":…}`, with the members of the action beside them. */
export type BridgeAgentCommand = {
  /** The agent's id. */
  agent: string;
} & (
  | { "action": "show" }
  | { "action": "restart" }
  | {
    "action": "login";
    /** The id of the method. */
    method?: string | null;
  }
  | { "action": "stop" }
  | { "action": "start" }
  | { "action": "reset" }
  | {
    "action": "send";
    /** The message. */
    body: Json;
    /** Permits up to two more deliveries if the agent or the runtime ends before the answer. */
    may_repeat?: boolean;
    /** The longest wait for its delivery in milliseconds; a minute if absent. */
    wait_timeout_ms?: number | null;
    /**
     * The longest silence of the agent in milliseconds, 0 for no limit; 10 minutes if absent. The wait for a person's
     * answer does not count.
     */
    timeout_ms?: number | null;
    /** The longest time in all in milliseconds; no limit if absent or 0. */
    deadline_ms?: number | null;
    /** True if the message goes on when the session ends. Its outcome is then an update of the agent. */
    detached?: boolean;
  }
  | {
    "action": "cancel";
    /** The message's number. */
    message_id: MessageId;
  }
  | {
    "action": "answer";
    /** The question's name. */
    ask: string;
    /** The answer. */
    body: Json;
  }
  | {
    "action": "listen";
    /**
     * The number of the last update of this run that the client has. Those after it come first, as far as they are
     * kept: a client may come back without a gap. The command then replaces an earlier one.
     */
    after?: number | null;
  }
  | { "action": "unlisten" }
  | {
    "action": "add";
    /** The keys of an `[[agent]]` block. The id is the agent's, and need not be repeated. */
    config: { [name: string]: Json };
  }
  | { "action": "remove" }
);

/** A part of the protocol. */
export type BridgeCapability = "requests" | "streams" | "frames" | "agents" | "cache" | "files" | "logs" | "incidents" | "history";

/** A command, as it comes in beside its `id`. */
export type BridgeCommand =
  | { "type": "hello" }
  | { "type": "status" }
  | { "type": "tree" }
  | { "type": "ready" }
  | { "type": "agents" }
  | { "type": "agent" } & BridgeAgentCommand
  | {
    "type": "backend";
    /** The action. */
    action: BackendAction;
  }
  | { "type": "connection" } & ConnectionAction
  | {
    "type": "credentials";
    /** The action. */
    action: CredentialsAction;
  }
  | { "type": "cache" } & CacheAction
  | {
    "type": "files";
    /** The action. */
    action: ListenAction;
  }
  | { "type": "logs" } & LogsCommand
  | {
    "type": "incidents";
    /** The most incidents; 50 if absent, and at most 200. */
    limit?: number | null;
  }
  | { "type": "history" } & HistoryCommand
  | { "type": "request" } & RequestCommand
  | { "type": "body" } & BodyCommand
  | { "type": "requests" } & RequestsCommand
  | {
    "type": "cancel";
    /** The id of the command that made it. */
    request: number;
  }
  | {
    "type": "subscribe";
    /** The cursor of the last batch that the client has, `RUN.SEQ`. */
    after?: Cursor | null;
  };

/** The reply to some command. */
export type BridgeReply = Replies[keyof Replies];

/** A number of restarts that are granted within a sliding window. */
export type Budget = {
  /** The restarts that are granted within `window`; the next one is refused. */
  restarts_max: number;
  /** The time for which a restart counts. */
  window: Duration;
};

/** A command has reset a child's restart budget and history. */
export type BudgetReset = Record<symbol, never>;

/** The use of a budget. */
export type BudgetUse = {
  /** The restarts that count now, this one included. */
  used: number;
  /** The restarts that are granted. */
  max: number;
  /** The time within which restarts count. */
  window_ms: number;
};

/** An action on the cache. */
export type CacheAction =
  | { "action": "show" }
  | {
    "action": "invalidate";
    /** The scope. */
    by?: InvalidateBy | null;
    /** The key, the prefix or the glob. */
    pattern?: string | null;
  }
  | {
    "action": "get";
    /** The key. */
    key: string;
  }
  | {
    "action": "put";
    /** The key, which begins with a namespace of the client's own, as in `notes:today`. */
    key: string;
    /** The value, kept as it is written. */
    value?: Json | null;
    /** The bytes, in place of a value. */
    base64?: string | null;
    /** The time in milliseconds for which it is fresh; that of the configuration if absent. */
    ttl_ms?: number | null;
    /** The time in milliseconds after that for which it may still be served while it is loaded again. */
    stale_ms?: number | null;
  }
  | {
    "action": "file";
    /** The absolute path. */
    path: string;
  }
  | {
    "action": "search";
    /** The absolute path of the folder. */
    folder: string;
    /** The pattern for the paths of files from the folder on, as in `notes/*.md`. */
    query: string;
  };

/** The computer slept, and the entries have aged meanwhile. */
export type CacheAged = {
  /** The length of its sleep, in milliseconds. */
  slept_ms: number;
};

/** Entries were invalidated. A change in a folder is not recorded if it invalidated nothing. */
export type CacheInvalidated = {
  /** The source of the invalidation. */
  by: InvalidatedBy;
  /** The selected entries in words: a key, a prefix, a pattern, a path, or a count of them. */
  pattern: string;
  /** The number of invalidated entries. */
  entries: number;
};

/** The cache. */
export type CacheReport = {
  /** The folders of `cache.watch`. */
  folders: Array<WatchedFolder>;
  /** The stored values, stale ones included until a read meets them. */
  entries: number;
  /** The size of these values in bytes, keys included. */
  bytes: number;
  /** The most bytes that they may take. */
  bytes_max: number;
  /** The lookups that found a fresh value or a cached failure. */
  hits: number;
  /** The lookups that were answered with a stale value while a refresh ran. */
  stale_hits: number;
  /** The lookups that found nothing. */
  misses: number;
  /** The loads that began. */
  loads: number;
  /** The loads that failed. */
  load_failures: number;
  /** The loads whose value was not kept, since the key was invalidated or stored meanwhile. */
  loads_superseded: number;
  /** The values that were evicted, or did not fit. */
  evictions: number;
  /** The values that were invalidated. */
  invalidated: number;
  /** The age of the oldest value, in milliseconds. */
  oldest_ms: number | null;
};

/**
 * The reply to `get`: `{"hit":true,"value":…}`, or with `base64` for bytes that are not JSON; or `{"hit":false}`.
 */
export type CachedEntryReply = {
  /** True if something is kept under the key, and is fresh. */
  hit: boolean;
  /** The value, as it was written. */
  value?: Json;
  /** The bytes, if they are not JSON. */
  base64?: string;
};

/** The reply to each `cancel`. */
export type CancelReply = {
  /** False if there was nothing to cancel any more. */
  cancelled: boolean;
};

/** A checkpoint crashed several incarnations in a row, and was quarantined. */
export type CheckpointDiscarded = {
  /** The number of crashes in a row. */
  crashes: number;
};

/** The history of one child. It outlives the child's incarnations. */
export type ChildHistory = { recent_restarts: RestartWindow, attempts: number, checkpoint_crashes: number };

/** The policy of one child. */
export type ChildPolicy = {
  /** The exits after which the child is restarted. */
  restart: RestartType;
  /** The delay before each restart. */
  delay: Delay;
  /** The number of restarts that the child is granted; `null` grants any number. */
  budget: Budget | null;
  /** The time that a child must stay ready to earn its whole budget back. Being spawned is not enough. */
  stable_after: Duration;
  /** The consequence of a spent budget. */
  exhausted: OnBudgetExhausted;
  /** The way in which the child is stopped. */
  shutdown: Shutdown;
  /**
   * The number of crashes in a row from the same checkpoint, after which the checkpoint is quarantined and the
   * next start is fresh.
   */
  checkpoint_crashes_max: number;
  /**
   * The longest time for a handler or a start; `null` sets no limit. One that takes longer is stuck, and is killed
   * at most a quarter of this time later.
   */
  stuck_after: Duration | null;
  /** The time that a killed incarnation has to end before it is abandoned. */
  kill_timeout: Duration;
  /** The consequence of an abandoned incarnation. */
  abandoned: AbandonedPolicy;
  /** True if the child's end can end its supervisor; see `AutoShutdown`. */
  significant: boolean;
};

/** The kind of failure: six codes that a caller can switch on. */
export type Code = "NETWORK_ERROR" | "TIMEOUT" | "NOT_FOUND" | "PERMISSION_DENIED" | "INVALID_INPUT" | "SERVER_ERROR";

/** The text of a command. Its reply has the same id. */
export type CommandText = { id: number } & BridgeCommand;

/** An action on the WebSocket. */
export type ConnectionAction =
  | { "action": "show" }
  | { "action": "reconnect" }
  | { "action": "disconnect" }
  | {
    "action": "send";
    /** The text of a text frame. */
    text?: string | null;
    /** The bytes of a binary frame. */
    base64?: string | null;
    /** The longest wait for an open socket in milliseconds; a minute if absent. */
    wait_timeout_ms?: number | null;
  }
  | {
    "action": "listen";
    /**
     * Patterns for the `type` of frames, as in `chat.*`; without any, every frame is pushed. With some, binary
     * frames and those without a type are left out.
     */
    types?: Array<string>;
  }
  | { "action": "unlisten" };

/** The connection's state or its next attempt has changed. */
export type ConnectionChanged = {
  /** The state before. */
  from: ConnectionState;
  /** The state after. */
  to: ConnectionState;
  /** The current or next attempt. */
  attempt: number;
  /** The most attempts that may fail in a row. */
  max: number;
  /** The time of the next attempt: RFC 3339, in UTC. */
  next_attempt_at: string | null;
  /** The delay until then, in milliseconds. */
  next_attempt_in_ms: number | null;
  /** The reason. */
  reason: StatusReason;
  /** The error's code, if there was an error. */
  code: Code | null;
  /** The error, if there was one. */
  error: ConnectionError | null;
};

/**
 * A failed dial, or the end of a socket.
 *
 * In JSON it has the fields of an `Error`, `code`, `reason`, `retryable` and `retry_after_ms`, in place of its kind.
 */
export type ConnectionError = {
  message: string;
  details: string;
  status: number | null;
  close_code: number | null;
  retryable: boolean;
  retry_after_ms: number | null;
} & ErrorCause;

/** Frames were ignored. Frames of one reason are recorded together, at most once a second. */
export type ConnectionIgnored = {
  /** The reason. */
  reason: IgnoredReason;
  /** The number of frames. */
  frames: number;
  /** The total size in bytes. */
  bytes: number;
};

/** The WebSocket. */
export type ConnectionReport = {
  /** The state. */
  state: ConnectionState;
  /** Since when. */
  since: WallTime;
  /** The running or next attempt; if connected, the one that succeeded. */
  attempt: number;
  /** The most failures in a row. */
  max: number;
  /** The time of the next attempt, if one is planned. */
  next_attempt_at: WallTime | null;
  /** The time until then, in milliseconds. */
  next_attempt_in_ms: number | null;
  /** The next step in plain words. */
  next_step: string;
  /** The message of the last error, for a person. */
  last_error: string | null;
  /** The same as a whole error. */
  error: ErrorObject | null;
  /** The time of that error. */
  last_error_at: WallTime | null;
};

/** The connection's state. */
export type ConnectionState = "disabled" | "disconnected" | "connecting" | "connected" | "reconnecting" | "failed";

/**
 * Messages were not sent, or are not known to have been. Their senders got the outcome as well. Messages of one
 * outcome are recorded together, at most once a second.
 */
export type ConnectionUnsent = {
  /** The outcome. */
  outcome: SendFailure;
  /** The number of messages. */
  messages: number;
  /** The total size in bytes. */
  bytes: number;
  /** The size of the largest, in bytes. */
  largest_bytes: number;
  /** The number of messages whose sender no longer waited. */
  unawaited: number;
  /** The most messages that may wait, if that was the limit. */
  messages_max?: number;
  /** The most bytes that may wait or be in one message, if that was the limit. */
  bytes_max?: number;
};

/** An action on the backend's token. */
export type CredentialsAction = "reload";

/** The backend's token is another one from now on. The first one that is read from a source is recorded as well. */
export type CredentialsChanged = {
  /** The cause. */
  cause: TokenCause;
};

/**
 * The place of an event in the journal of one data folder: its run, and its number within the run.
 *
 * It reads `RUN.SEQ`, such as `3.17`, as text and in JSON. Later events have larger cursors. A cursor need not be an
 * event's: `START` is before every event, and `4.0` is before every event of run 4.
 */
export type Cursor = string;

/** A message was accepted, and not handled to the end. */
export type DeadLetter = {
  /** The reason. */
  reason: DeadLetterReason;
  /** The kind of the message. */
  label: string;
  /** The number of crashes on it, if it is poison. */
  crashes?: number;
};

/** The reason why a message was not handled. */
export type DeadLetterReason = "crashed" | "stopped" | "expired" | "poison";

/** A supervisor has decided what follows an exit. */
export type Decided = {
  /** The decision. */
  decision: DecisionKind;
  /** The delay before the restart. */
  delay_ms: number | null;
  /** The number of this restart since the child was last stable. */
  attempt: number | null;
  /** The state from which the next incarnation begins. */
  state: StateSource | null;
  /** The child's budget after this decision, if it has one. */
  budget: BudgetUse | null;
  /** The children that the decision concerns. */
  scope: Array<ActorPath>;
  /**
   * The inputs of the decision, with which a replay repeats it. A duration in it is an object, `secs` and `nanos`.
   */
  inputs: DecisionInputs;
};

/** The inputs of a decision, complete enough to repeat it. */
export type DecisionInputs = {
  /** The time since the runtime started. */
  now_ms: number;
  /** The random number that was drawn. */
  jitter: number;
  /** The number of other significant children that had not ended. */
  significant_others: number;
  /** The exit. */
  exit: Exit;
  /** The child's history before the exit. */
  history: ChildHistory;
  /** The history of all children together before the exit. */
  siblings: SupervisorHistory;
  /** The child's policy. */
  child: ChildPolicy;
  /** The supervisor's policy. */
  supervisor: SupervisorPolicy;
};

/** The kind of a decision; see `Decision`. */
export type DecisionKind = "restart" | "leave" | "give_up" | "escalate" | "shut_down";

/**
 * The delay before an attempt, as plain data.
 *
 * Restarts, reconnections and retries use it. The exponential form grows by `factor` with every attempt up to `max`.
 * With `jitter` on, the delay is spread evenly over the span from `min` to the grown value. That is "full jitter"
 * (Marc Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015). Its floor is `min`, so that a
 * configured minimum holds.
 */
export type Delay =
  | {
    "type": "fixed";
    /** The delay. */
    delay: Duration;
  }
  | {
    "type": "exponential";
    /** The delay before the first attempt, and the shortest delay. */
    min: Duration;
    /** The longest delay. */
    max: Duration;
    /** The factor by which each attempt multiplies the delay. Values below 1 count as 1. */
    factor: number;
    /** True if delays are spread at random over the span that the attempt has reached. */
    jitter: boolean;
  }
  | {
    "type": "first_at_once";
    /** The delay before the second attempt. */
    min: Duration;
    /** The longest delay. */
    max: Duration;
    /** The factor by which each further attempt multiplies the delay. Values below 1 count as 1. */
    factor: number;
  };

/** A span of time, as some events have it. */
export type Duration = { secs: number, nanos: number };

/** The reason of an error, and its code. Two reasons have the code of the error that they replace. */
export type ErrorCause =
  | {
    code: "NETWORK_ERROR";
    reason:
      | "connection_refused"
      | "host_not_found"
      | "proxy_unreachable"
      | "proxy_refused"
      | "tls_failed"
      | "connection_failed"
      | "connection_reset"
      | "connection_closed"
      | "disconnected"
      | "network_login_required";
  }
  | {
    code: "TIMEOUT";
    reason:
      | "connect_timed_out"
      | "timed_out"
      | "request_timeout"
      | "gateway_timed_out"
      | "expired"
      | "deadline_exceeded"
      | "cancelled"
      | "no_answer";
  }
  | { code: "NOT_FOUND", reason: "not_found" | "gone" | "agent_unknown" }
  | {
    code: "PERMISSION_DENIED";
    reason: "unauthenticated" | "forbidden" | "payment_required" | "proxy_unauthenticated";
  }
  | {
    code: "INVALID_INPUT";
    reason:
      | "invalid_request"
      | "body_unreadable"
      | "body_changed"
      | "not_saved"
      | "invalid_config"
      | "in_use"
      | "bad_request"
      | "method_not_allowed"
      | "conflict"
      | "precondition_failed"
      | "request_too_large"
      | "unsupported_media_type"
      | "unprocessable";
  }
  | {
    code: "SERVER_ERROR";
    reason:
      | "server_error"
      | "bad_gateway"
      | "unavailable"
      | "rate_limited"
      | "too_early"
      | "not_implemented"
      | "redirected"
      | "bad_response"
      | "unknown_encoding"
      | "not_websocket"
      | "response_too_large"
      | "queue_full"
      | "evicted"
      | "crashed"
      | "stopped"
      | "poisoned"
      | "quarantined"
      | "agent_failed"
      | "agent_unhealthy"
      | "data_unusable"
      | "internal";
  }
  | { code: Code, reason: "outcome_unknown" | "other" };

/**
 * Says why a call failed.
 *
 * `message` is for a person and never contains a URL, a token or a path. `details` is for a log and may say more,
 * though never a known secret. The defaults for a reason come from one table (see `Reason`).
 */
export type ErrorObject = {
  /** The HTTP status, if the backend answered with one. */
  status?: number;
  /** A text for a person: what happened and what to do. */
  message: string;
  /** More about the cause, for a log; at most about 1,000 characters once it is redacted, and 4,000 before. */
  details?: string;
  /** True if the same call may succeed when it is repeated, and repeating it is safe. */
  retryable: boolean;
  /** The time that the backend asked us to wait before the next try, in milliseconds; at most a day. */
  retry_after_ms?: number;
  /** The number of attempts that were made; 0 if nothing was ever sent. */
  attempts: number;
  /** The request that failed, if there is one. */
  request_id?: RequestId;
} & ErrorCause;

/** A supervisor ends itself, and its own parent decides. */
export type Escalated = {
  /** The reason, for a person. */
  message: string;
};

/** The fields of each kind of event. */
export type EventFields = {
  runtime_started: RuntimeStarted;
  runtime_stopping: RuntimeStopping;
  runtime_stopped: RuntimeStopped;
  run_interrupted: RunInterrupted;
  journal_degraded: JournalDegraded;
  actor_started: ActorStarted;
  actor_ready: ActorReady;
  actor_exited: ActorExited;
  abandoned_ended: AbandonedEnded;
  decision: Decided;
  actor_restarted: ActorRestarted;
  budget_reset: BudgetReset;
  start_ordered: StartOrdered;
  restart_cancelled: RestartCancelled;
  gave_up: GaveUp;
  escalated: Escalated;
  auto_shutdown: AutoShutDown;
  checkpoint_discarded: CheckpointDiscarded;
  dead_letter: DeadLetter;
  redelivered: Redelivered;
  state_loaded: StateLoaded;
  state_migrated: StateMigrated;
  state_refused: StateRefused;
  state_degraded: StateDegraded;
  backend_starting: BackendStarting;
  backend_started: BackendStarted;
  backend_suspended: BackendSuspended;
  backend_resumed: BackendResumed;
  process_exited: ProcessExited;
  output_noisy: OutputNoisy;
  output_quiet: OutputQuiet;
  logs_degraded: LogsDegraded;
  connection_state: ConnectionChanged;
  connection_gap: Gap;
  connection_unsent: ConnectionUnsent;
  connection_ignored: ConnectionIgnored;
  request_started: RequestStarted;
  request_joined: RequestJoined;
  request_retry: RequestRetry;
  request_done: RequestDone;
  request_failed: RequestFailed;
  request_timed_out: RequestTimedOut;
  queue_held: QueueHeld;
  queue_released: QueueReleased;
  queue_overflow: QueueOverflow;
  cache_invalidated: CacheInvalidated;
  cache_aged: CacheAged;
  watch_started: WatchStarted;
  watch_lost: WatchLost;
  watch_regained: WatchRegained;
  agent_health: AgentHealth;
  agent_stuck: AgentStuck;
  agent_state_quarantined: AgentStateQuarantined;
  agent_call_paused: AgentCallPaused;
  agent_session_lost: AgentSessionLost;
  agent_question: AgentQuestion;
  agent_question_settled: AgentQuestionSettled;
  agent_reply_lost: AgentReplyLost;
  message_sent: MessageSent;
  message_answered: MessageAnswered;
  message_failed: MessageFailed;
  message_redelivered: MessageRedelivered;
  agent_outdated: AgentOutdated;
  credentials_changed: CredentialsChanged;
  process_orphan: ProcessOrphaned;
  pid_file_damaged: PidFileDamaged;
  process_warning: ProcessWarning;
  woke_after: RuntimeStoodStill;
  login_env_failed: LoginEnvFailed;
};

/** A gap in the events. `before` in a later run than `after` leaves the number of missing events unknown. */
export type EventGap = {
  /** The last event before the gap. */
  after: Cursor;
  /** The first event that may follow. */
  before: Cursor;
};

/** An event as the journal holds it. */
export type EventHead = {
  /** The run that the event belongs to: 1, 2, 3 … per data folder. */
  run: number;
  /** The event's number within the run: 1, 2, 3 … */
  seq: number;
  /** The wall time, RFC 3339 in UTC. */
  at: string;
  /** The milliseconds since the run began. */
  mono_ms: number;
  /** The actor's path. */
  actor: string;
  /** The actor's incarnation, 0 if there is none. */
  generation: number;
};

/** The kind of an event. */
export type EventKind = keyof EventFields;

/** An event of one kind. */
export type EventOf<K extends EventKind> = EventHead & { kind: K } & EventFields[K];

/** An event: its kind says which fields it has. */
export type EventRecord = { [K in EventKind]: EventOf<K> }[EventKind];

/** An exit, as the policy sees it. */
export type Exit = {
  /** The cause of the end. */
  cause: ExitCause;
  /** The time when the incarnation became ready, if it ever did. */
  ready_since: Duration | null;
  /** True if it began from a checkpoint. */
  from_checkpoint: boolean;
  /** True if it handled at least one message to the end. */
  progressed: boolean;
  /**
   * True if it ended on a message that an earlier incarnation had crashed on. Such an exit says nothing new about
   * the checkpoint, so it does not count for or against it.
   */
  on_suspect?: boolean;
  /** True if it was killed, did not end, and was abandoned. */
  abandoned?: boolean;
  /** True if no restart can heal the error with which it ended. */
  unrecoverable?: boolean;
};

/** The cause of an incarnation's end. */
export type ExitCause = "normal" | "shutdown" | "error" | "panic" | "killed" | "stuck" | "start_failed";

/** The part of a fault of the storage that an event reports. */
export type FaultPhase = "once" | "begins" | "ends";

/** A change in a watched folder. */
export type FileChange = {
  /** The kind of the change. */
  kind: FileChangeKind;
  /** The watched folder, as configured. */
  root: string;
  /** The path, below the folder as configured; the folder itself for a rescan. */
  path: string;
  /** The path before, of something that was renamed. */
  from?: string;
};

/** The kind of a change. */
export type FileChangeKind = "created" | "modified" | "removed" | "renamed" | "rescan";

/** The reply to `file`: `{"text":…}`, or `{"base64":…}` if the file is not UTF-8. */
export type FileContents = { "text": string } | { "base64": string };

/** The worst of what is not well. A name is an agent's id, or `backend`. */
export type Finding =
  | { "type": "well" }
  | {
    "type": "stopping";
    /** Since when. */
    since: WallTime;
    /** The first names of those that were asked to end and have not. */
    names: Array<string>;
    /** The number of the others. */
    more: number;
  }
  | {
    "type": "storage";
    /** The file: `journal`, `state` or `logs`. */
    part: string;
    /** The reason. */
    message: string;
  }
  | {
    "type": "given_up";
    /** The first names. */
    names: Array<string>;
    /** The number of the others. */
    more: number;
  }
  | {
    "type": "suspended";
    /** The name. */
    name: string;
    /** Since when. */
    since: WallTime;
  }
  | {
    "type": "restarting";
    /** The name of the next one. */
    name: string;
    /** The time of the restart; none while it is under way. */
    at: WallTime | null;
    /** The number of this restart within its budget, and the whole budget; none without a limit. */
    attempt: RestartAttempt | null;
    /** The number of others that are being restarted. */
    more: number;
  }
  | {
    "type": "starting";
    /** The first names. */
    names: Array<string>;
    /** The number of the others. */
    more: number;
    /** The start of the first. */
    since: WallTime;
    /** The sign that the first waits for, as the rest of "it is ready when", if it is the backend. */
    awaits?: string | null;
    /** The last line that the first has printed, if it is the backend. */
    last_line?: string | null;
  }
  | {
    "type": "backend_away";
    /** Since when. */
    since: WallTime;
    /** The time of the next attempt to reach it, if one is planned. */
    next_probe_at: WallTime | null;
    /** True unless the configuration switches the connection off. */
    is_connection_enabled: boolean;
  }
  | {
    "type": "unconnected";
    /** Since when. */
    since: WallTime;
    /** The running or next attempt. */
    attempt: number;
    /** The most failures in a row. */
    max: number;
    /** The time of the next attempt, if one is planned. */
    next_attempt_at: WallTime | null;
    /** True if the quick attempts are used up. */
    has_failed: boolean;
  }
  | {
    "type": "no_websocket";
    /** Since when. */
    since: WallTime;
    /** The HTTP status of the answer. */
    status: number;
  }
  | {
    "type": "unwell";
    /** The first names. */
    names: Array<string>;
    /** The number of the others. */
    more: number;
  }
  | {
    "type": "unknown";
    /** The first names. */
    names: Array<string>;
    /** The number of the others. */
    more: number;
  }
  | {
    "type": "asks";
    /** The agent's id. */
    name: string;
    /** The question's id. */
    ask: string;
    /** The number of further questions. */
    more: number;
  }
  | {
    "type": "unwatched";
    /** The path as configured. */
    path: string;
  }
  | {
    "type": "stopped";
    /** The first names. */
    names: Array<string>;
    /** The number of the others. */
    more: number;
  }
  | {
    "type": "disconnected";
    /** Since when. */
    since: WallTime;
  };

/** The reply to `search`: `{"paths":[…],"is_partial":false}`. */
export type FoundFiles = {
  /** The absolute paths, in order, at most 10,000. */
  paths: Array<string>;
  /** True if the search ended at a limit, so that there may be more. */
  is_partial: boolean;
};

/** A frame of the backend, or a marker between frames. */
export type FrameItem = { "text": string } | { "base64": string } | { "gap": Gap } | { "lagged": number };

/** Events of the backend are missing, or may be missing. */
export type Gap = {
  /** The last number seen before the gap; `null` if the backend's frames have no numbers. */
  after: number | null;
  /** The first number seen after it; not above `after` if the backend restarted its count. */
  next: number | null;
};

/**
 * A child is given up: its restart budget is spent, or no restart can heal it. It stays failed until it is reset.
 */
export type GaveUp = {
  /** The number of restarts that were granted. */
  restarts: number;
  /** True if no restart can heal the last error. */
  unrecoverable?: boolean;
  /** The error of the last incarnation. */
  last_error: string | null;
  /** The next step, in words: what a person corrects first, or which actor is to be reset. */
  next_step: string;
};

/** The figures of one group. */
export type GroupStats = {
  /** The pattern of the paths, which names the group. */
  path: string;
  /** The number of waiting requests, those in a backoff included. */
  waiting: number;
  /** The number of attempts in flight. */
  running: number;
  /** The most attempts in flight. */
  max_concurrent: number;
};

/** The runtime that answers, and the parts of the protocol that it has. */
export type Hello = {
  /** The version of the protocol. */
  protocol: number;
  /** The version of the runtime. */
  version: string;
  /** The number of the run. */
  run: number;
  /** The random id of the run. */
  boot: string;
  /** The time now, by which a client knows how its clock differs. */
  now: WallTime;
  /** True if the backend is the embedded one of `mainstay demo`, which may be broken on purpose. */
  demo?: boolean;
  /** The parts of the protocol. */
  capabilities: Array<BridgeCapability>;
};

/** A command about the history of the tree: see `history`. */
export type HistoryCommand =
  | {
    "action": "at";
    /** The moment. */
    at: WallTime;
  }
  | {
    "action": "lanes";
    /** The beginning; the first event that is kept if absent. */
    from?: WallTime | null;
    /** The end; now if absent. */
    to?: WallTime | null;
  };

/** The states of the actors over a span of time. */
export type HistoryLanes = {
  /** The beginning: the later one of what was asked for and the first event that is kept; none without events. */
  from: WallTime | null;
  /** The end: the earlier one of what was asked for and the last event. */
  to: WallTime | null;
  /** The lanes, by the actors' paths, at most 200. Actors with marks come before others if there are more. */
  lanes: Array<Lane>;
  /** The number of further actors. */
  lanes_left_out: number;
  /** The runs of the runtime within the span. */
  runs: Array<RunSpan>;
};

/** The tree at one moment, and the verdict about it. */
export type HistoryMoment = {
  /** The moment. */
  at: WallTime;
  /** The last event before it, or at it; none if the journal begins later. */
  cursor: Cursor | null;
  /** The verdict; none if no runtime was running. */
  verdict: Verdict | null;
  /** The tree; none if no runtime was running. */
  tree: HistoryNode | null;
};

/** An actor at one moment. */
export type HistoryNode = {
  /** The path. */
  path: string;
  /** The last part of the path. */
  name: string;
  /** The state. */
  state: HistoryState;
  /** The event with which the state began. */
  since: WallTime;
  /** The incarnation. */
  generation: number;
  /** The restarts since the start of the run. */
  restarts: number;
  /** The last restart within its budget; none if a command has restarted it since. */
  attempt: RestartAttempt | null;
  /** The time of the restart that is due. */
  restart_at: WallTime | null;
  /** The end of the last incarnation, unless it was asked to end. */
  last_error: string | null;
  /** The children, by their names. */
  children: Array<HistoryNode>;
};

/** The state of an actor in the history. */
export type HistoryState = "starting" | "up" | "degraded" | "down" | "restarting" | "given_up" | "stopped";

/** The reason why a frame was ignored. */
export type IgnoredReason = "seen_before";

/** An event of an incident. */
export type IncidentEvent = {
  /** The event's cursor. */
  cursor: Cursor;
  /** The time, RFC 3339 in UTC. */
  at: string;
  /** The actor's path. */
  actor: string;
  /** The kind of event. */
  kind: string;
  /** The event as one sentence. */
  summary: string;
  /** True if it is a warning or an error. */
  is_trouble?: boolean;
};

/** A message to an agent. */
export type IncidentMessage = {
  /** The path of the agent's actor. */
  actor: string;
  /** The message's number. */
  message_id: number;
};

/** An incident, and its story. */
export type IncidentStory = {
  /** The incident in about ten lines of plain English. */
  story: Array<string>;
  /** The cursor of its first event, which is its name. */
  id: Cursor;
  /** The first event and the end, as one sentence. */
  title: string;
  /** The actor of the first event. */
  actor: string;
  /** The time of the first event, RFC 3339 in UTC. */
  started_at: string;
  /** The time of the event with which it ended; none while it lasts. */
  ended_at: string | null;
  /** The time from its start to its end, or to its last event, in milliseconds. */
  lasted_ms: number;
  /** True if the run ended before it did. */
  is_cut?: boolean;
  /** The policy behind the last decision, in words. */
  policy?: string | null;
  /** The next step in plain words, while it lasts. */
  next_step?: string | null;
  /** The actors of its events, in the order in which they came, at most 32. */
  actors: Array<string>;
  /** The ids of the requests that its events name, at most 100. */
  requests?: Array<number>;
  /** The messages that its events name, at most 100. */
  messages?: Array<IncidentMessage>;
  /** The numbers of what its events report. */
  totals: IncidentTotals;
  /** The last lines that the program printed, if it ended. */
  output?: Array<string>;
  /** The events: the first 100 and the last 100. */
  events: Array<IncidentEvent>;
  /** The number of events between those. */
  events_left_out?: number;
};

/** The numbers of what the events of an incident report. */
export type IncidentTotals = {
  /** The ends of incarnations. */
  exits: number;
  /** The decisions of supervisors. */
  decisions: number;
  /** The restarts that were carried out. */
  restarts: number;
  /** The requests that waited for the backend, at most at one time. */
  requests_held: number;
  /** The requests that were sent again. */
  requests_retried: number;
  /** The requests that failed, or were refused by a full queue. */
  requests_failed: number;
  /** The messages that were delivered again. */
  messages_redelivered: number;
  /** The messages to agents that failed. */
  messages_failed: number;
  /** The requests and messages whose outcome is unknown. They count as failed as well. */
  outcomes_unknown: number;
  /** The messages to actors that were not handled to the end. */
  dead_letters: number;
};

/** The reply to `incidents`. */
export type IncidentsReply = {
  /** The incidents, newest first. */
  incidents: Array<IncidentStory>;
};

/** The scope of an invalidation. */
export type InvalidateBy = "key" | "prefix" | "glob" | "all";

/** The reply to `cache` `invalidate`. */
export type InvalidateReply = {
  /** The number of dropped entries. */
  entries: number;
};

/** The source of an invalidation. */
export type InvalidatedBy = "key" | "prefix" | "glob" | "predicate" | "all" | "files" | "write" | "backend" | "gap";

/** Lines were lost, or the disk refuses or takes lines again. The journal itself records it. */
export type JournalDegraded = {
  /** The fault, or its end, for a person. */
  message: string;
  /** The part of the fault that this reports. */
  phase: FaultPhase;
  /** The number of the first event of this run that is missing on disk, if any is. */
  lost_from: number | null;
  /** The number of the last event of this run that is missing on disk, if any is. */
  lost_to: number | null;
};

/**
 * A value of JSON as it was written: numbers of any size and form, repeated members, and their order pass on unchanged.
 *
 * It is valid JSON by construction. Cheap to clone. Equal values have the same text.
 */
export type Json = null | boolean | number | string | Array<Json> | { [name: string]: Json };

/** A place where items are missing, because the client was too slow. */
export type LagMarker = {
  /** The number of items that are missing. */
  lagged: number;
};

/** The states of one actor. */
export type Lane = {
  /** The actor's path. */
  actor: string;
  /** The states, in order, at most the last 500. */
  spans: Array<LaneSpan>;
  /** The exits and decisions, in order, at most the last 100. */
  marks: Array<LaneMark>;
};

/** An exit or a decision. */
export type LaneMark = {
  /** The time. */
  at: WallTime;
  /** The event. */
  cursor: Cursor;
  /** The kind of event. */
  kind: string;
  /** The event as one sentence. */
  summary: string;
};

/** A time in which an actor had one state. */
export type LaneSpan = {
  /** The beginning. */
  from: WallTime;
  /** The end; none for the state of now. */
  to: WallTime | null;
  /** The state. */
  state: HistoryState;
};

/** The durations of the requests of each priority. */
export type LatencyByPriority = {
  /** With priority high. */
  high: LatencyFigures;
  /** With priority normal. */
  normal: LatencyFigures;
  /** With priority low. */
  low: LatencyFigures;
};

/**
 * Durations, each from the acceptance of a request to its response or error. A streamed response counts when it begins.
 *
 * A request that was cancelled, refused by a full queue or ended by the runtime's stop does not count.
 */
export type LatencyFigures = {
  /** The number of requests since the runtime's start. */
  count: number;
  /** The number of these that ended with an error. */
  failed: number;
  /** The sum of their durations, in milliseconds. */
  total_ms: number;
  /** The median of the requests in the spans, in milliseconds, at most 3 % off; none before the first one. */
  p50_ms: number | null;
  /** The duration that 95 % of them did not exceed. */
  p95_ms: number | null;
};

/** The durations of the requests that ended within a span of 10 s. */
export type LatencySpan = {
  /** The beginning. */
  from: WallTime;
  /** The number of requests. */
  count: number;
  /** The number of these that ended with an error. */
  failed: number;
  /** The median, in milliseconds, at most 3 % off. */
  p50_ms: number;
  /** The duration that 95 % of them did not exceed. */
  p95_ms: number;
};

/** An action on a stream. */
export type ListenAction = "listen" | "unlisten";

/** The reply to `logs` `ids`. */
export type LogIdsReply = {
  /** The ids of all logs, in order: `backend`, and those of agents, also of former ones. */
  ids: Array<string>;
};

/** A line of a log. */
export type LogLine = {
  /** The time at which the runtime read it. */
  at: WallTime;
  /** The source. */
  stream: LogStream;
  /** The text, without secrets. Control characters are escaped, and a long line is cut at an ellipsis. */
  text: string;
};

/** The reply to `logs` `read`. */
export type LogReply = {
  /** The lines, in order. */
  lines: Array<LogLine>;
};

/** The source of a line. */
export type LogStream = "out" | "err" | "note";

/** The login shell's `PATH` is not known, so programs are searched in the runtime's own. */
export type LoginEnvFailed = {
  /** The reason, for a person. */
  message: string;
};

/** A command about the log of the backend, `backend`, or of an agent, which has the agent's id. */
export type LogsCommand =
  | { "action": "ids" }
  | {
    "action": "read";
    /** The log. */
    log: string;
    /** The number of last lines, at most 10,000; 100 if absent. */
    lines?: number | null;
    /** The highest age of a line, in milliseconds; no limit if absent. */
    since_ms?: number | null;
  }
  | {
    "action": "listen";
    /** The log. */
    log: string;
    /** As for `read`. */
    lines?: number | null;
    /** As for `read`. */
    since_ms?: number | null;
  }
  | {
    "action": "unlisten";
    /** The log. */
    log: string;
  };

/** Logs are not being written, or are written again. */
export type LogsDegraded = {
  /** The fault, or its end, for a person. */
  message: string;
  /** The part of the fault that this reports. */
  phase: FaultPhase;
};

/** The agent answered a message. */
export type MessageAnswered = {
  /** The message's id. */
  message_id: MessageId;
};

/** A message ended with an error: the agent did not answer it, or answered with an error. */
export type MessageFailed = {
  /** The message's id. */
  message_id: MessageId;
  /** The number of deliveries. */
  attempts: number;
  /** The error's code. */
  code: Code;
  /** The reason; `outcome_unknown` if the agent may have acted on it. */
  reason: Reason;
};

/** Identifies a message to one agent. Ids count up over all runs of the runtime. */
export type MessageId = number;

/**
 * A message is delivered again: the last delivery broke, and its sender allowed repeats; or the token was rejected.
 */
export type MessageRedelivered = {
  /** The message's id. */
  message_id: MessageId;
  /** The number of deliveries before this one. */
  attempts: number;
  /** The most deliveries. */
  attempts_max: number;
  /** The reason; `outcome_unknown` if the agent may have acted on it, `unauthenticated` if there is a new token. */
  reason: Reason;
};

/** A message was delivered to the agent. */
export type MessageSent = {
  /** The message's id. */
  message_id: MessageId;
  /** The number of this attempt. */
  attempt: number;
};

/** The consequence of a spent budget. */
export type OnBudgetExhausted = "give_up" | "escalate";

/** A question of an agent that waits for an answer. */
export type OpenQuestion = {
  /** The question's name. */
  ask: string;
  /** The message that it concerns. */
  message_id?: MessageId;
  /** The time since which it is open. */
  since: WallTime;
  /** The question as the agent wrote it; of one of more than 64 KiB, a text with its start. */
  body: Json;
};

/** The outage for which requests are held. */
export type OutageReport = {
  /** Since when. */
  since: WallTime;
  /** The reason. */
  reason: Reason;
  /** The same for a person. */
  message: string;
  /**
   * True while the backend that the runtime starts is not ready. Nothing is sent then, and `message` says what comes
   * next.
   */
  waits_for_backend: boolean;
  /** The number of failed probes. */
  failures: number;
  /**
   * The time of the next probe; none if the next request to come is one at once, or waits
   * for the backend.
   */
  next_probe_at: WallTime | null;
  /** The time until then, in milliseconds. */
  next_probe_in_ms: number | null;
};

/** A program prints more than its log takes, so that lines are left out from now on. The program counts as noisy. */
export type OutputNoisy = {
  /** The lines in a second that the log takes of each stream for any time. */
  lines_per_second: number;
  /** The bytes in a second that it takes of each. */
  bytes_per_second: number;
};

/** A noisy program prints less again, or has ended. */
export type OutputQuiet = {
  /** The lines that its log has left out. */
  dropped_lines: number;
  /** The size of these lines, in bytes. */
  dropped_bytes: number;
  /** The time from the first to the last of them, in milliseconds. */
  noisy_ms: number;
};

/** The policy for a new item when the queue is full. */
export type Overflow = "reject" | "drop-oldest" | "drop-lowest";

/** The state of the backend that the runtime owns. */
export type OwnedBackendReport = {
  /** The status: `starting` until it is ready, then `running`. */
  status: ActorStatus;
  /** Since when. */
  since: WallTime;
  /** The process, while there is one. */
  pid: number | null;
  /** The address; `null` if each start is given one, and none runs. */
  url: string | null;
  /** The sign that it waits for, while it is starting, as the rest of "it is ready when". */
  awaits: string | null;
  /** The last line that the process has printed, while it is starting. */
  last_line: string | null;
  /** The time since which a signal or a debugger keeps the process stopped, while one does. */
  suspended_since?: WallTime | null;
  /** True while the process prints so much that its log leaves lines out. */
  noisy: boolean;
  /**
   * The last lines of the process, or of the one before it: at most 20. A longer traceback at the end has its first
   * lines before them. Empty in the status of the whole runtime.
   */
  output?: Array<string>;
  /** True if these lines are from before the present start. */
  output_is_old?: boolean;
  /** The current problem, if there is one. */
  last_error: string | null;
  /** The reason of the last restart, once it is resolved. */
  resolved_error: ResolvedError | null;
  /** The next step in plain words. */
  next_step: string;
  /** True once it is given up: its restarts are used up, or none can help. It stays failed until a command. */
  gave_up: boolean;
  /** True if it was given up because no restart can help. A start tries again, once the cause is corrected. */
  unrecoverable?: boolean;
  /** The incarnation of its actor. */
  generation: number;
  /** The number of restarts. */
  restarts: number;
  /** Restarts that are left before it is given up; `null` where there is no limit. */
  budget_left: number | null;
  /** The whole budget; `null` if there is no limit. */
  budget: RestartBudget | null;
  /** The last restart within its budget; none if a command has restarted it since. */
  attempt?: RestartAttempt;
  /** The time of the next restart, if one is planned. */
  restart_at: WallTime | null;
};

/** The phase of a request that has not ended. */
export type PendingPhase = "waiting" | "backing_off" | "running";

/** A request that has not ended, as a list shows it. */
export type PendingRequest = {
  /** The id of the caller that has waited longest. */
  request_id: RequestId;
  /** The method. */
  method: string;
  /** The path without the query, cut at 200 characters. */
  path: string;
  /** The priority. */
  priority: Priority;
  /** The phase. */
  phase: PendingPhase;
  /** The number of attempts made, the present one included. */
  attempts: number;
  /** The time since its arrival, in milliseconds. */
  age_ms: number;
};

/** The file with the process ids of an earlier run could not be read in full. A copy of it is kept. */
export type PidFileDamaged = {
  /** The number of damaged lines. */
  damaged_lines: number;
};

/** The reply to `requests` `prioritize`. */
export type PrioritizeReply = {
  /** False if the request does not wait. */
  prioritized: boolean;
};

/** The lane of the queue in which a request waits. */
export type Priority = "high" | "normal" | "low";

/** A process of the backend or of an agent has exited. */
export type ProcessExited = {
  /** The process's id. */
  pid: number;
  /** The exit code, if the process exited by itself. */
  code: number | null;
  /** The number of the signal that ended it, if any. */
  signal: number | null;
  /** True if the runtime had asked it to end. */
  was_requested: boolean;
  /**
   * The last lines that it has printed, at most 20: a longer traceback at the end has its first lines before them.
   */
  output: Array<string>;
};

/** An orphan of an earlier run, a process or its descendant, was ended. */
export type ProcessOrphaned = {
  /** The name of the process. */
  name: string;
  /** The id of the process, as recorded. */
  pid: number;
  /** The number of its processes that were found. */
  processes: number;
  /** The ids of those that could not be ended. */
  survivors: Array<number>;
};

/** Describes an agent's process. */
export type ProcessUsage = {
  /** The process id. */
  pid: number;
  /** The memory of the process and its descendants at the last measurement, in bytes. */
  memory_bytes: number | null;
};

/** The protection against processes that outlive the runtime is incomplete. */
export type ProcessWarning =
  | {
    "warning": "watchdog_lost";
    /** The reason, for a person, as far as it is known. */
    message: string;
  }
  | {
    "warning": "watchdog_unavailable";
    /** The reason, for a person. */
    message: string;
  }
  | {
    "warning": "pid_file_failed";
    /** The reason, for a person. */
    message: string;
  };

/** The end of a question. */
export type QuestionOutcome = "answered" | "withdrawn" | "cancelled";

/**
 * The backend cannot be reached, so requests wait without using up retries. Written again after each probe that
 * fails.
 */
export type QueueHeld = {
  /** The cause: `disconnected` if only the connection has reported it so far. */
  reason: Reason;
  /** The number of failed probes. */
  failures: number;
  /** The delay before the next probe, in milliseconds; null if there is none before the backend runs. */
  next_probe_in_ms: number | null;
  /** The number of waiting requests. */
  waiting: number;
  /** The state of the backend that the runtime starts, and its next step, if that is the cause. */
  backend?: string;
  /**
   * True if nothing is wrong: that backend is starting, and has not failed before. The event is information then.
   */
  is_orderly_start?: boolean;
};

/** The queue was full, and this request was rejected or evicted. */
export type QueueOverflow = {
  /** `queue_full`: the request was rejected; `evicted`: another request took its position. */
  reason: Reason;
  /** The request's priority. */
  priority: Priority;
  /** The overflow policy that was applied. */
  overflow: Overflow;
  /** The most requests that may wait. */
  queue_max: number;
  /** The attempt that `request_retry` announced and that was not made, if there is one. */
  dropped_attempt?: number;
  /** The request's id. */
  request_id: RequestId;
  /** The request's method. */
  method: string;
  /** The request's path without the query, cut at 200 characters. */
  path: string;
};

/** The backend can be reached again, so requests run in their order. */
export type QueueReleased = {
  /** The last cause of the outage. */
  reason: Reason;
  /** The number of failed probes. */
  failures: number;
  /** The length of the outage in milliseconds. */
  held_ms: number;
  /** The number of requests that waited for its end, also those that were sent as probes. */
  waiting: number;
};

/** The requests. */
export type QueueReport = {
  /** The durations of requests. */
  latency: RequestLatency;
  /** The outage for which all requests wait, while the backend cannot be reached. */
  held: OutageReport | null;
  /** The number of waiting requests, those in a backoff included. */
  waiting: number;
  /** The number of requests in a backoff. */
  backing_off: number;
  /** The number of attempts in flight. */
  running: number;
  /** The number of those that leave their permits to requests of other paths, since one path is slow. */
  slow: number;
  /** The most attempts in flight, without those. */
  max_concurrent: number;
  /** The number of waiting requests by priority. */
  by_priority: WaitingByPriority;
  /** The groups with a limit of their own. */
  groups: Array<GroupStats>;
};

/** The reply to `ready`. */
export type ReadyReply = {
  /** True once everything has started. */
  is_ready: boolean;
  /** The part that is missing, in plain words. */
  pending?: string;
};

/** The cause of a failure, finer than its code. New ones may be added. */
export type Reason =
  | "connection_refused"
  | "host_not_found"
  | "proxy_unreachable"
  | "proxy_refused"
  | "connect_timed_out"
  | "tls_failed"
  | "connection_failed"
  | "connection_reset"
  | "connection_closed"
  | "disconnected"
  | "network_login_required"
  | "timed_out"
  | "request_timeout"
  | "gateway_timed_out"
  | "expired"
  | "deadline_exceeded"
  | "cancelled"
  | "not_found"
  | "gone"
  | "agent_unknown"
  | "unauthenticated"
  | "forbidden"
  | "payment_required"
  | "proxy_unauthenticated"
  | "invalid_request"
  | "body_unreadable"
  | "body_changed"
  | "not_saved"
  | "invalid_config"
  | "in_use"
  | "bad_request"
  | "method_not_allowed"
  | "conflict"
  | "precondition_failed"
  | "request_too_large"
  | "unsupported_media_type"
  | "unprocessable"
  | "server_error"
  | "bad_gateway"
  | "unavailable"
  | "rate_limited"
  | "too_early"
  | "not_implemented"
  | "redirected"
  | "bad_response"
  | "unknown_encoding"
  | "not_websocket"
  | "response_too_large"
  | "outcome_unknown"
  | "queue_full"
  | "evicted"
  | "crashed"
  | "no_answer"
  | "stopped"
  | "poisoned"
  | "quarantined"
  | "agent_failed"
  | "agent_unhealthy"
  | "data_unusable"
  | "internal"
  | "other";

/** The connection after a dial, and the dial's effect. */
export type ReconnectReply = {
  /** The effect of the dial. */
  reconnected: Reconnected;
  /** The state. */
  state: ConnectionState;
  /** Since when. */
  since: WallTime;
  /** The running or next attempt; if connected, the one that succeeded. */
  attempt: number;
  /** The most failures in a row. */
  max: number;
  /** The time of the next attempt, if one is planned. */
  next_attempt_at: WallTime | null;
  /** The time until then, in milliseconds. */
  next_attempt_in_ms: number | null;
  /** The next step in plain words. */
  next_step: string;
  /** The message of the last error, for a person. */
  last_error: string | null;
  /** The same as a whole error. */
  error: ErrorObject | null;
  /** The time of that error. */
  last_error_at: WallTime | null;
};

/** The effect of `Connection::reconnect`. */
export type Reconnected = "opened" | "replaced";

/** A message that an earlier incarnation did not handle to the end is redelivered, as its type asks for. */
export type Redelivered = {
  /** The kind of the message. */
  label: string;
  /** The number of crashes on it so far; 0 if its handler was only killed by command. */
  crashes: number;
  /** The number of crashes that make it poison. */
  crashes_max: number;
};

/** The reply to `credentials` `reload`. */
export type ReloadReply = {
  /** True if the token is another one. */
  changed: boolean;
};

/** The reply to each command, by the command's type and action. */
export type Replies = {
  "hello": Hello;
  "status": StatusReport;
  "tree": TreeNode;
  "ready": ReadyReply;
  "agents": Array<AgentView>;
  "agent show": AgentDetails;
  "agent restart": AgentDetails;
  "agent login": AgentDetails;
  "agent stop": AgentDetails;
  "agent start": AgentDetails;
  "agent reset": AgentDetails;
  "agent send": AnswerReply;
  "agent cancel": CancelReply;
  "agent answer": null;
  "agent listen": AgentListenReply;
  "agent unlisten": null;
  "agent add": AgentDetails;
  "agent remove": null;
  "backend show": OwnedBackendReport;
  "backend start": OwnedBackendReport;
  "backend stop": OwnedBackendReport;
  "backend restart": OwnedBackendReport;
  "backend reset": OwnedBackendReport;
  "connection show": ConnectionReport;
  "connection reconnect": ReconnectReply;
  "connection disconnect": ConnectionReport;
  "connection send": SendReply;
  "connection listen": null;
  "connection unlisten": null;
  "credentials reload": ReloadReply;
  "cache show": CacheReport;
  "cache invalidate": InvalidateReply;
  "cache get": CachedEntryReply;
  "cache put": null;
  "cache file": FileContents;
  "cache search": FoundFiles;
  "body ack": null;
  "body write": null;
  "body end": null;
  "body abort": null;
  "files listen": null;
  "files unlisten": null;
  "logs ids": LogIdsReply;
  "logs read": LogReply;
  "logs listen": null;
  "logs unlisten": null;
  "request": ResponseReply;
  "requests show": Array<PendingRequest>;
  "requests cancel": CancelReply;
  "requests prioritize": PrioritizeReply;
  "cancel": CancelReply;
  "incidents": IncidentsReply;
  "history at": HistoryMoment;
  "history lanes": HistoryLanes;
  "subscribe": null;
};

/** The reply to a command. */
export type ReplyOf<C extends BridgeCommand> = C extends { type: infer T extends string, action: infer A extends string }
  ? Replies[`${T} ${A}` & keyof Replies]
  : Replies[C["type"] & keyof Replies];

/** A request through the queue. */
export type RequestCommand = {
  /** The method, in capitals. */
  method: string;
  /** The path, with its query. */
  path: string;
  /** The body: JSON. */
  body?: Json | null;
  /** The body: any bytes, as base64. The headers say what they are. */
  base64?: string | null;
  /** True if the body comes by `body` commands. */
  stream_body?: boolean;
  /** True if the response's body goes to the client in chunks, after a reply without it. */
  stream?: boolean;
  /** True if the progress is pushed, at most every 50 ms. */
  progress?: boolean;
  /** The headers. */
  headers?: { [key in string]: string };
  /** The priority in the queue. */
  priority?: Priority;
  /** The longest time in milliseconds that one attempt may make no progress. */
  timeout_ms?: number | null;
  /** The longest wait in milliseconds, in the queue and for the backend. */
  wait_timeout_ms?: number | null;
  /** The longest time in milliseconds in all; 0 for no limit. */
  deadline_ms?: number | null;
  /** The number of retries. */
  retries?: number | null;
  /** Follows 301, 302 and 303 after a write, mostly with a GET. */
  follow_redirected_writes?: boolean;
  /** Permits to share the response of an equal GET that is in flight. */
  shared?: boolean;
  /** The highest age in milliseconds of a cached response; the cache is not used if absent. */
  cache_ms?: number | null;
  /** The idempotency key. */
  idempotency_key?: string | null;
};

/** A request has succeeded and its body was read to the end. Written only to a verbose journal. */
export type RequestDone = {
  /** The HTTP status. */
  status: number;
  /** The time from acceptance to response, in milliseconds. */
  ms: number;
  /** True if the response came from the cache. */
  cached: boolean;
  /** The number of attempts made. */
  attempts: number;
  /** The size of the response body in bytes. */
  bytes: number;
  /** The request's id. */
  request_id: RequestId;
  /** The request's method. */
  method: string;
  /** The request's path without the query, cut at 200 characters. */
  path: string;
};

/** A request has failed, or was cancelled. */
export type RequestFailed = {
  /** The kind of failure. */
  code: Code;
  /** The reason. */
  reason: Reason;
  /** The HTTP status, if there was one. */
  status: number | null;
  /** The time from acceptance to end, in milliseconds. */
  ms: number;
  /** The number of attempts made. */
  attempts: number;
  /** The attempt that `request_retry` announced and that was not made, if there is one. */
  dropped_attempt?: number;
  /** The request's id. */
  request_id: RequestId;
  /** The request's method. */
  method: string;
  /** The request's path without the query, cut at 200 characters. */
  path: string;
};

/** Identifies a request within one runtime. Ids grow with time, so their order is the order of arrival. */
export type RequestId = number;

/** A caller shares a request that another caller has made. Written only to a verbose journal. */
export type RequestJoined = {
  /** The id of the shared request. */
  with: RequestId;
  /** The request's id. */
  request_id: RequestId;
  /** The request's method. */
  method: string;
  /** The request's path without the query, cut at 200 characters. */
  path: string;
};

/** The durations of requests. */
export type RequestLatency = {
  /** The durations of all requests. */
  all: LatencyFigures;
  /** The durations of the requests of each priority. */
  by_priority: LatencyByPriority;
  /** The durations by time, oldest first: at most 30 spans of 10 s, without those in which no request ended. */
  spans: Array<LatencySpan>;
};

/** The progress of the current attempt of a request. */
export type RequestProgress = {
  /** The number of the attempt, from 1; 0 before the first. */
  attempt: number;
  /** The bytes of the request's body that the connection took. */
  sent: number;
  /** The length of that body, if it is known. */
  sent_total?: number;
  /** The bytes of the response's body that came. */
  received: number;
  /** The length of that body, if it is known. */
  received_total?: number;
};

/**
 * An attempt has failed and another is planned. If it is not made, the request's last event has `dropped_attempt`.
 */
export type RequestRetry = {
  /** The number of the next attempt. */
  attempt: number;
  /** The delay before the next attempt, in milliseconds. */
  delay_ms: number;
  /** The reason of the failure. */
  reason: Reason;
  /** The request's id. */
  request_id: RequestId;
  /** The request's method. */
  method: string;
  /** The request's path without the query, cut at 200 characters. */
  path: string;
};

/** An attempt has started. Written only to a verbose journal. */
export type RequestStarted = {
  /** The number of the attempt; the first is 1. */
  attempt: number;
  /** The time since the request was accepted, in milliseconds. */
  waited_ms: number;
  /** The number of attempts at another, slow path that left their permits to this one. */
  slow: number;
  /** The request's id. */
  request_id: RequestId;
  /** The request's method. */
  method: string;
  /** The request's path without the query, cut at 200 characters. */
  path: string;
};

/** A request has timed out, in the queue or at the backend: its code is `TIMEOUT`. */
export type RequestTimedOut = RequestFailed;

/** A command about requests that have not ended. */
export type RequestsCommand =
  | { "action": "show" }
  | {
    "action": "cancel";
    /** The request's id, as responses, errors, events and the list have it. */
    request_id: RequestId;
  }
  | {
    "action": "prioritize";
    /** The request's id. */
    request_id: RequestId;
    /** The new priority. */
    priority: Priority;
  };

/** A problem of an agent that is resolved. */
export type ResolvedError = {
  /** The time at which it ended the agent. */
  at: WallTime;
  /** The problem, as a text for a log. */
  message: string;
};

/** A response as `mainstay request --json` prints it. */
export type ResponseReply = {
  /** The HTTP status. */
  status: number;
  /** The headers. */
  headers: { [key in string]: string };
  /** The body as JSON if it is JSON, else as a string. */
  body?: Json;
  /** The body, if it is neither JSON nor UTF-8. */
  base64?: string;
  /** The time from acceptance to the last byte, in milliseconds. */
  ms: number;
  /** True if it came from the cache. */
  cached: boolean;
  /** The number of attempts. */
  attempts: number;
  /** The number of the request. */
  request_id: RequestId;
};

/** The reply to a request whose response's body comes in chunks. */
export type ResponseStart = {
  /** The HTTP status. */
  status: number;
  /** The headers. */
  headers: { [key in string]: string };
  /** Always false: such a response does not come from the cache. */
  cached: boolean;
  /** The number of attempts. */
  attempts: number;
  /** The request's id. */
  request_id: RequestId;
};

/** A restart, counted within its budget. */
export type RestartAttempt = {
  /** The number of this restart: 1, 2, 3 … */
  number: number;
  /** The most restarts. */
  max: number;
};

/** The whole restart budget of an agent or of the backend. */
export type RestartBudget = {
  /** The most restarts within the window. */
  max: number;
  /** The time within which restarts count, in milliseconds. */
  window_ms: number;
  /** The time after which a child that stayed up has its whole budget again, in milliseconds. */
  stable_after_ms: number;
};

/** A planned restart is cancelled, and the child stays stopped. */
export type RestartCancelled = {
  /** The origin of the cancellation. */
  by: RestartCanceller;
};

/** The origin of a cancelled restart. */
export type RestartCanceller = "command" | "supervisor";

/** The exits after which a child is restarted. */
export type RestartType = "permanent" | "transient" | "temporary";

/** Restarts granted within a sliding window. It never holds more than the budget grants. */
export type RestartWindow = { at: Array<Duration> };

/**
 * The previous run ended without notice: the journal has no `runtime_stopped` of it. The process was killed, the power
 * failed, or the disk refused the last events. The journal itself records it, once, as the first event of the next run.
 */
export type RunInterrupted = {
  /** The last event of that run on disk. */
  last_event: Cursor;
};

/** A run of the runtime. */
export type RunSpan = {
  /** The number of the run. */
  run: number;
  /** The first event. */
  from: WallTime;
  /** The last event, if the run has ended. */
  to: WallTime | null;
};

/** The runtime itself. */
export type RuntimeReport = {
  /** The number of this run: 1, 2, 3 … per data folder. */
  run: number;
  /** The random id of this run. It differs in every run of every data folder. */
  boot: string;
  /** The process. */
  pid: number;
  /** The time since the start, in milliseconds. */
  uptime_ms: number;
  /** The time since which it is being stopped. */
  stopping_since?: WallTime | null;
  /** The number of the newest event within the run. `RUN.SEQ` is its cursor. */
  seq: number;
};

/** The runtime has started, and its tree starts next. */
export type RuntimeStarted = {
  /** The id of the process. */
  pid: number;
  /** The version of the runtime. */
  version: string;
  /** The random id of the run. A client that remembers it notices when a data folder is another one. */
  boot: string;
};

/** The runtime stood still, and runs again. Deadlines that passed meanwhile are judged now. */
export type RuntimeStoodStill = {
  /** The time for which it stood still, in milliseconds, to within two seconds. */
  stood_still_ms: number;
};

/** The tree has stopped. This is the last event of a run. */
export type RuntimeStopped = {
  /** The cause of the root's end. */
  cause: ExitCause;
  /** The root's error, unless it ended in order. */
  message: string | null;
};

/** The runtime has been asked to stop. */
export type RuntimeStopping = Record<symbol, never>;

/** The reason why a message was not sent, or is not known to have been. */
export type SendFailure = "expired" | "queue_full" | "too_large" | "dropped" | "disabled" | "unknown";

/** The outcome of a message. */
export type SendOutcome = "sent" | SendFailure;

/** The reply to `connection` `send`. */
export type SendReply = {
  /** The outcome. */
  outcome: SendOutcome;
};

/** A text that goes to the client. The members of each variant distinguish it from the others. */
export type ServerMessage =
  | {
    /** The command's id; `null` if the text had none. */
    id: number | null;
    /** The result. */
    ok: BridgeReply;
  }
  | {
    /** The command's id; `null` if the text had none. */
    id: number | null;
    /** The reason. */
    error: ErrorObject;
  }
  | {
    /** The state. */
    snapshot: StateSnapshot;
    /** The newest event that the state includes. */
    cursor: Cursor;
  }
  | {
    /** The events, in order. */
    events: Array<EventRecord>;
    /** The last of them. */
    cursor: Cursor | null;
  }
  | {
    /** The gap. */
    lagged: EventGap;
    /** The place after the gap. */
    cursor: Cursor;
  }
  | {
    /** The agent's id. */
    agent: string;
    /** The message. */
    accepted: AcceptedMessage;
  }
  | {
    /** The agent's id. */
    agent: string;
    /** The update. */
    update: AgentUpdate;
  }
  | {
    /** The agent's id. */
    agent: string;
    /** The number of updates that are missing. */
    lagged: number;
  }
  | {
    /** The id of the command that made the request. */
    request: number;
    /** The request. */
    accepted: AcceptedRequest;
  }
  | {
    /** The id of the command that made the request. */
    request: number;
    /** The progress. */
    progress: RequestProgress;
  }
  | {
    /** The id of the command that made the request. */
    request: number;
    /** The bytes, as base64. */
    chunk: string;
  }
  | {
    /** The id of the command that made the request. */
    request: number;
    /** The end. */
    end: BodyEnd;
  }
  | {
    /** The id of the command that made the request. */
    request: number;
    /** The reason. */
    error: ErrorObject;
  }
  | {
    /** The frame. */
    frame: FrameItem;
  }
  | {
    /** The change. */
    file: FileChange;
  }
  | {
    /** The marker. */
    file: LagMarker;
  }
  | {
    /** The log's id. */
    log: string;
    /** The lines, in order. */
    lines: Array<LogLine>;
  }
  | {
    /** The log's id. */
    log: string;
    /** The number of files that were deleted before their lines came to the client. */
    lagged: number;
  }
  | {
    /** The log's id. */
    log: string;
    /** Always `true`. */
    ended: true;
  }
  | {
    /** The agent's id. */
    agent: string;
    /** Always `true`. */
    ended: true;
  };

/** The way in which a child is stopped. */
export type Shutdown = { "graceful": Duration } | "unlimited" | "kill";

/** A command that starts a child. */
export type StartOrder = "start" | "restart";

/**
 * A command starts a child at once, whatever was decided about it. If its group is being restarted, the group's delay
 * ends too.
 */
export type StartOrdered = {
  /** The command. */
  order: StartOrder;
};

/**
 * States are not being saved, or are saved again. The store records it, under an actor's path if it concerns one actor.
 */
export type StateDegraded = {
  /** The fault, or its end, for a person. */
  message: string;
  /** The part of the fault that this reports. */
  phase: FaultPhase;
};

/** An actor begins from a stored checkpoint. An agent's own state is only a part of it, if the agent has one. */
export type StateLoaded = {
  /** The version of its schema, as it was stored. */
  version: number;
  /** The size of the encoded state, in bytes. */
  bytes: number;
};

/** A stored state of an older version was migrated to the current version. */
export type StateMigrated = {
  /** The stored version. */
  from: number;
  /** The version that the actor knows. */
  to: number;
};

/** A stored state cannot be used. It is quarantined, and the actor starts fresh. */
export type StateRefused = {
  /** The stored version, if that much can be read. */
  version: number | null;
  /** The version that the actor knows. */
  expected: number;
  /** The reason, for a person. */
  message: string;
};

/** The state of the runtime. */
export type StateSnapshot = {
  /** Everything in one view. */
  status: StatusReport;
  /** The supervision tree. */
  tree: TreeNode;
};

/** The state from which the next incarnation starts. */
export type StateSource = "checkpoint" | "fresh";

/** The reason of the connection's state. */
export type StatusReason =
  | "started"
  | "requested"
  | "retry_due"
  | "probe_due"
  | "backend_seen"
  | "backend_started"
  | "credentials_changed"
  | "network_changed"
  | "system_resumed"
  | "opened"
  | "retries_exhausted"
  | "actor_ended"
  | Reason;

/** The state of a runtime in one view. */
export type StatusReport = {
  /** The state in one sentence, with the command that helps. */
  verdict: Verdict;
  /** The runtime itself. */
  runtime: RuntimeReport;
  /** The backend's own process, if the runtime starts it. */
  backend?: OwnedBackendReport;
  /** The WebSocket. */
  connection: ConnectionReport;
  /** The requests. */
  queue: QueueReport;
  /** The cache. */
  cache: CacheReport;
  /** The agents, in the order in which they were added. */
  agents: Array<AgentView>;
  /** The files that the runtime keeps. */
  storage: StorageReport;
};

/** The order in which a supervisor that ends stops its children. */
export type StopOrder = "reverse" | "together";

/** The files that the runtime keeps. Each is `ok`, or says why what is written to it is not safe. */
export type StorageReport = {
  /** The journal. */
  journal: StorageState;
  /** The states of the actors. */
  state: StorageState;
  /** The logs of programs. */
  logs: StorageState;
};

/** The state of a file: `ok`, or the reason why it is degraded. */
export type StorageState = string;

/** The children that the exit of one child concerns. */
export type Strategy = "one_for_one" | "one_for_all" | "rest_for_one";

/** The history of all children of a supervisor together. */
export type SupervisorHistory = { recent_restarts: RestartWindow };

/** The policy of a supervisor. */
export type SupervisorPolicy = {
  /** The children that the exit of one child concerns. */
  strategy: Strategy;
  /**
   * The number of restarts that all children together are granted before the supervisor ends; `null` sets no
   * limit. The restart of a group counts once, and each attempt to start counts.
   */
  intensity: Budget | null;
  /** The rule by which the supervisor ends when its significant children have ended. */
  auto_shutdown: AutoShutdown;
  /**
   * True if its children are all added while it runs, in an order without meaning. They are then stopped all at
   * once, and the strategy is one-for-one.
   */
  dynamic: boolean;
  /** The order in which its children stop when it ends. */
  stop_order: StopOrder;
};

/** The cause of a new token. */
export type TokenCause = "used" | "rejected" | "reloaded";

/** An actor and its descendants. */
export type TreeNode = {
  /** The path. */
  path: string;
  /** The kind: supervisor or worker. */
  kind: ActorKind;
  /** The number of messages that wait in its mailbox. */
  mailbox: number;
  /** True while the process that it manages is suspended. A program that shows the tree sets it. */
  suspended?: boolean;
  /** The children, in their order. */
  children: Array<TreeNode>;
  /** The status. */
  status: ActorStatus;
  /** The time of the last change of status. */
  since: WallTime;
  /** The present or last incarnation; 0 before the first. */
  generation: number;
  /** Restarts since the actor was added or reset. */
  restarts: number;
  /** The time at which the next incarnation is due, while the actor is restarting. */
  restart_at: WallTime | null;
  /** Restarts since it was last stable, added or reset. */
  attempts: number;
  /**
   * Restarts that are left in the budget; `null` where the budget has no limit. A failed actor has none left,
   * whatever its budget would grant by now.
   */
  budget_left: number | null;
  /** The error of the last incarnation, if it did not end in order. */
  last_error: string | null;
  /** The time of that error. */
  last_error_at: WallTime | null;
  /**
   * The next step for a person, where no restart can heal that error. A program that shows the tree may add its own.
   */
  next_step: string | null;
  /** Incarnations that were abandoned and still have not ended. */
  abandoned: number;
};

/** The kind of an update. */
export type UpdateKind = "message" | "progress" | "ask" | "settled" | "session" | "sent" | "ended";

/** The state of the runtime in one sentence. */
export type Verdict = {
  /** The level. */
  level: VerdictLevel;
  /** The sentence. Times of day are in the local time zone. */
  text: string;
  /** The finding of which the sentence tells. */
  finding: Finding;
  /** The requests that wait because of it. */
  requests_waiting: number;
  /** The command that helps, if one does. */
  action: VerdictAction | null;
};

/** A command that helps. */
export type VerdictAction =
  | { "type": "reconnect" }
  | { "type": "start_backend" }
  | { "type": "reset_backend" }
  | { "type": "restart_backend" }
  | {
    "type": "restart_agent";
    /** The agent's id. */
    id: string;
  }
  | {
    "type": "start_agent";
    /** The agent's id. */
    id: string;
  }
  | {
    "type": "reset_agent";
    /** The agent's id. */
    id: string;
  }
  | {
    "type": "answer_agent";
    /** The agent's id. */
    id: string;
    /** The question's id. */
    ask: string;
  };

/** The level of a verdict. */
export type VerdictLevel = "ok" | "notice" | "warning" | "error";

/** The number of waiting requests, by their priority at arrival. */
export type WaitingByPriority = {
  /** With priority high: a person waits for the result. */
  high: number;
  /** With priority normal. */
  normal: number;
  /** With priority low: background work. */
  low: number;
};

/** A wall time in UTC. Its text is RFC 3339 with milliseconds. */
export type WallTime = string;

/** Says why a folder is not watched. Meanwhile nothing that is read in it is cached. */
export type WatchErrorKind =
  | "missing"
  | "not_a_folder"
  | "not_allowed"
  | "moved"
  | "too_many_folders"
  | "too_many_watchers"
  | "overflow"
  | "ended"
  | "failed";

/** A root cannot be watched. Its entries are dropped, and nothing is cached until it is watched again. */
export type WatchLost = {
  /** The folder, as configured. */
  root: string;
  /** The reason. */
  reason: WatchErrorKind;
  /** More about the cause. */
  details: string | null;
  /** The remedy, for a person. */
  next_step: string;
  /** The time until the next attempt, in milliseconds; each delay is longer than the last, up to a cap. */
  next_attempt_ms: number;
};

/** A root is watched again. Entries that remained of it were dropped once more before this event. */
export type WatchRegained = {
  /** The folder, as configured. */
  root: string;
  /** The time for which it was not watched, in milliseconds. */
  lost_ms: number;
  /** The number of attempts. */
  attempts: number;
};

/** A root is watched for the first time. From now on files read in it are cached. */
export type WatchStarted = {
  /** The folder, as configured. */
  root: string;
};

/** A folder of `cache.watch`. */
export type WatchedFolder = {
  /** The path as configured. */
  path: string;
  /** True while it is watched, and its files and searches are kept; else the journal has the reason. */
  is_watched: boolean;
};
