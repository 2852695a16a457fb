import assert from "node:assert/strict";
import { test } from "node:test";

import { EMPTY_CONVERSATION, foldConversation, textOf } from "../../src/conversation.js";

const update = (kind, body, more = {}) => ({ update: { kind, body, ...more } });
const chunk = (text, id) =>
  update(
    "message",
    { sessionUpdate: "agent_message_chunk", content: { type: "text", text } },
    { message_id: id },
  );

test("turn has prompt, streamed text and answer", () => {
  const { turns } = foldConversation(EMPTY_CONVERSATION, [
    update("sent", { text: "hello" }, { message_id: 7 }),
    chunk("Good ", 7),
    chunk("day", 7),
    update("ended", { answer: { text: "Good day" } }, { message_id: 7 }),
  ]);
  assert.equal(turns.length, 1);
  const [{ prompt, text, answer, state }] = turns;
  assert.deepEqual(
    { prompt, text, answer, state },
    {
      prompt: { text: "hello" },
      text: "Good day",
      answer: { text: "Good day" },
      state: "answered",
    },
  );
});

test("thoughts and tool calls are progress and no text", () => {
  const body = { sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "hm" } };
  const { turns } = foldConversation(EMPTY_CONVERSATION, [update("message", body, { message_id: 1 })]);
  assert.equal(turns[0].text, "");
  assert.deepEqual(turns[0].progress, body);
});

test("broken message keeps its reason", () => {
  const error = {
    code: "NETWORK_ERROR",
    reason: "outcome_unknown",
    message: "m",
    retryable: false,
    attempts: 1,
  };
  const { turns } = foldConversation(EMPTY_CONVERSATION, [update("ended", { error }, { message_id: 1 })]);
  assert.equal(turns[0].state, "failed");
  assert.equal(turns[0].error?.reason, "outcome_unknown");
});

test("own message and its updates are one turn in either order", () => {
  const sending = { sending: "own1", body: "hi" };
  const accepted = { accepted: "own1", messageId: 3 };
  const updates = [update("sent", "hi", { message_id: 3 }), chunk("yes", 3)];
  for (const items of [
    [sending, accepted, ...updates],
    [sending, ...updates, accepted],
  ]) {
    const { turns } = foldConversation(EMPTY_CONVERSATION, items);
    assert.equal(turns.length, 1);
    assert.deepEqual(
      [turns[0].key, turns[0].messageId, turns[0].text, turns[0].state],
      ["own1", 3, "yes", "sent"],
    );
  }
});

/** Returns every order of a list. */
const orders = (list) =>
  list.length < 2
    ? [list]
    : list.flatMap((item, index) => orders(list.toSpliced(index, 1)).map((rest) => [item, ...rest]));

const broken = { code: "NETWORK_ERROR", reason: "disconnected", message: "m", retryable: true, attempts: 1 };
const OUTCOMES = [
  ["answered", { answer: "yes" }],
  ["failed", { error: broken }],
];

test("own message ends in its outcome in every order, with or without ended", () => {
  const sent = update("sent", "hi", { message_id: 3 });
  const accepted = { accepted: "own1", messageId: 3 };
  for (const [state, result] of OUTCOMES) {
    const settled = { settled: "own1", ...result };
    const ended = update("ended", result, { message_id: 3 });
    for (const last of [[settled], [ended], [settled, ended]]) {
      for (const items of orders([sent, accepted, ...last])) {
        const { turns } = foldConversation(EMPTY_CONVERSATION, [{ sending: "own1", body: "hi" }, ...items]);
        assert.deepEqual(
          turns.map(({ key, messageId, prompt, state }) => [key, messageId, prompt, state]),
          [["own1", 3, "hi", state]],
          JSON.stringify(items),
        );
      }
    }
  }
});

test("outcome that the runtime sent is not replaced by a lost session", () => {
  const { turns } = foldConversation(EMPTY_CONVERSATION, [
    { sending: "own1", body: "hi" },
    { accepted: "own1", messageId: 3 },
    update("ended", { answer: "yes" }, { message_id: 3 }),
    { settled: "own1", error: new Error("lost") },
  ]);
  assert.deepEqual([turns[0].state, turns[0].answer, turns[0].error], ["answered", "yes", null]);
});

test("acceptance of a turn that is kept no more changes no other", () => {
  const before = foldConversation(EMPTY_CONVERSATION, [update("sent", "hi", { message_id: 3 })]);
  const { turns } = foldConversation(before, [{ accepted: "own1", messageId: 3 }]);
  assert.deepEqual(turns, before.turns);
});

test("lost updates and a removed agent leave no message without an outcome", () => {
  for (const marker of [{ lagged: 2 }, { ended: true }]) {
    const { turns } = foldConversation(EMPTY_CONVERSATION, [
      update("sent", "a", { message_id: 1 }),
      update("ended", { answer: 1 }, { message_id: 1 }),
      update("sent", "b", { message_id: 2 }),
      { sending: "own1", body: "c" },
      { accepted: "own1", messageId: 3 },
      update("sent", "c", { message_id: 3 }),
      marker,
      { settled: "own1", answer: 3 },
    ]);
    assert.deepEqual(
      turns.map(({ prompt, state, error }) => [prompt, state, error?.reason]),
      [
        ["a", "answered", undefined],
        ["b", "failed", "outcome_unknown"],
        ["c", "answered", undefined],
      ],
    );
  }
});

test("message of which more comes after lost updates is at work again", () => {
  const items = [update("sent", "a", { message_id: 1 }), { lagged: 2 }, chunk("more", 1)];
  const { turns } = foldConversation(EMPTY_CONVERSATION, items);
  assert.deepEqual([turns[0].state, turns[0].error, turns[0].text], ["sent", null, "more"]);
});

test("turns of two runs have keys of their own", () => {
  const first = foldConversation(EMPTY_CONVERSATION, [chunk("a", 2), chunk("b", 1), { restarted: true }], 1);
  const { turns } = foldConversation(first, [chunk("c", 1)], 2);
  assert.equal(new Set(turns.map(({ key }) => key)).size, 2);
});

test("own message that was never accepted fails with its error", () => {
  const items = [
    { sending: "own1", body: "hi" },
    { settled: "own1", error: new Error("no") },
  ];
  assert.equal(foldConversation(EMPTY_CONVERSATION, items).turns[0].state, "failed");
});

test("questions open, repeat and settle", () => {
  const asked = [
    update("ask", "May I?", { ask: "a1" }),
    update("ask", "And?", { ask: "a2" }),
    update("ask", "May I?", { ask: "a1" }),
  ];
  const open = foldConversation(EMPTY_CONVERSATION, asked);
  assert.deepEqual(
    open.questions.map(({ ask }) => ask),
    ["a2", "a1"],
  );
  const settled = foldConversation(open, [update("settled", null, { ask: "a1" })]);
  assert.deepEqual(
    settled.questions.map(({ ask }) => ask),
    ["a2"],
  );
});

test("unchanged turns keep their identity", () => {
  const before = foldConversation(EMPTY_CONVERSATION, [chunk("a", 1), chunk("b", 2)]);
  const after = foldConversation(before, [chunk("c", 2)]);
  assert.equal(after.turns[0], before.turns[0]);
  assert.notEqual(after.turns[1], before.turns[1]);
  assert.equal(before.turns[1].text, "b");
});

test("loss, end and limit are kept", () => {
  const many = Array.from({ length: 10 }, (_, index) => chunk("x", index + 1));
  const { turns, lagged, hasEnded } = foldConversation(
    EMPTY_CONVERSATION,
    [...many, { lagged: 4 }, { ended: true }],
    3,
  );
  assert.deepEqual([turns.map(({ messageId }) => messageId), lagged, hasEnded], [[8, 9, 10], 4, true]);
});

test("updates without a message share the turn at the end", () => {
  const { turns } = foldConversation(EMPTY_CONVERSATION, [
    update("message", { text: "a" }, { seq: 1 }),
    update("message", { text: "b" }, { seq: 2 }),
    chunk("c", 1),
    update("message", { text: "d" }, { seq: 4 }),
  ]);
  assert.deepEqual(
    turns.map(({ text }) => text),
    ["ab", "c", "d"],
  );
});

test("restart of the runtime breaks off what it worked on", () => {
  const before = [
    update("sent", "a", { message_id: 1 }),
    update("ended", { answer: 1 }, { message_id: 1 }),
    update("sent", "b", { message_id: 2 }),
  ];
  const after = [{ restarted: true }, update("sent", "c", { message_id: 1 })];
  const { turns } = foldConversation(EMPTY_CONVERSATION, [...before, ...after]);
  assert.deepEqual(
    turns.map(({ prompt, state, error }) => [prompt, state, error?.reason]),
    [
      ["a", "answered", undefined],
      ["b", "failed", "outcome_unknown"],
      ["c", "sent", undefined],
    ],
  );
  assert.equal(new Set(turns.map(({ key }) => key)).size, 3);
});

test("text is found in every form", () => {
  assert.deepEqual(
    [textOf("a"), textOf({ text: "b" }), textOf({ content: { text: "c" } }), textOf([1]), textOf(null)],
    ["a", "b", "c", "", ""],
  );
});
