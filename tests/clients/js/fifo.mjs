// FIFO queues: order, groups that are locked, deduplication, sequence numbers.

import { createHash } from "node:crypto";

import { bodies, expect, expectTrue } from "./expecting.mjs";

const send = async (run, QueueUrl, MessageBody, MessageGroupId, MessageDeduplicationId) =>
  await run.send("SendMessage", { QueueUrl, MessageBody, MessageGroupId, MessageDeduplicationId });

export const steps = {
  async fifo_queue(run) {
    const high = { DeduplicationScope: "messageGroup", FifoThroughputLimit: "perMessageGroupId" };
    const kept = await run.attributes(await run.fifo("kept", { ContentBasedDeduplication: "true", ...high }));
    const { DeduplicationScope, FifoThroughputLimit } = kept;
    expect({ DeduplicationScope, FifoThroughputLimit }, high);
    expect([kept.FifoQueue, kept.ContentBasedDeduplication], ["true", "true"]);
    const plain = await run.attributes(await run.fifo("plain"));
    expect([plain.ContentBasedDeduplication, plain.DeduplicationScope], ["false", "queue"]);
    const nameless = { QueueName: run.name("nameless"), Attributes: { FifoQueue: "true" } };
    await run.refused(null, "InvalidParameterValue", "CreateQueue", nameless);
  },

  async fifo_order_and_sequence_numbers(run) {
    const url = await run.fifo("order");
    const numbers = [];
    for (const body of ["a1", "b1", "a2", "a3"]) {
      numbers.push((await send(run, url, body, body[0], `id-${body}`)).SequenceNumber);
    }
    expect(numbers.map((number) => number.length), [20, 20, 20, 20]);
    expect([...numbers].sort(), numbers);
    const received = await run.receive(url);
    expect(bodies(received).filter((body) => body[0] === "a"), ["a1", "a2", "a3"]);
    expect(bodies(received).sort(), ["a1", "a2", "a3", "b1"]);
    const { MessageGroupId, MessageDeduplicationId, SequenceNumber } = received[0].Attributes;
    expect([MessageGroupId, MessageDeduplicationId, SequenceNumber], ["a", "id-a1", numbers[0]]);
  },

  async fifo_group_is_locked(run) {
    const QueueUrl = await run.fifo("locked");
    for (const body of ["a1", "a2", "b1"]) await send(run, QueueUrl, body, body[0], body);
    const [first] = await run.receive(QueueUrl, { MaxNumberOfMessages: 1 });
    expect(first.Body, "a1");
    expect(bodies(await run.receive(QueueUrl)), ["b1"]);
    expect(await run.receive(QueueUrl), []);
    const { ReceiptHandle } = first;
    await run.send("ChangeMessageVisibility", { QueueUrl, ReceiptHandle, VisibilityTimeout: 0 });
    const [again] = await run.receive(QueueUrl, { MaxNumberOfMessages: 1 });
    expect(again.Body, "a1");
    await run.send("DeleteMessage", { QueueUrl, ReceiptHandle: again.ReceiptHandle });
    expect(bodies(await run.receive(QueueUrl)), ["a2"]);
  },

  async fifo_deduplication_id(run) {
    const QueueUrl = await run.fifo("once");
    const first = await send(run, QueueUrl, "first", "group", "same");
    const second = await send(run, QueueUrl, "second", "group", "same");
    expect(second.MessageId, first.MessageId);
    const [{ Body, ReceiptHandle }] = await run.receive(QueueUrl);
    expect(Body, "first");
    await run.send("DeleteMessage", { QueueUrl, ReceiptHandle });
    await send(run, QueueUrl, "third", "group", "same");
    expect(await run.receive(QueueUrl), []);
  },

  async fifo_content_based_deduplication(run) {
    const url = await run.fifo("content", { ContentBasedDeduplication: "true" });
    const first = await send(run, url, "same", "group");
    const second = await send(run, url, "same", "group");
    expect(second.MessageId, first.MessageId);
    await send(run, url, "same", "group", "another-id");
    const received = await run.receive(url);
    expect(bodies(received), ["same", "same"]);
    const told = received.map((message) => message.Attributes.MessageDeduplicationId);
    expect(told, [createHash("sha256").update("same").digest("hex"), "another-id"]);
  },

  async fifo_batch(run) {
    const QueueUrl = await run.fifo("batch", { ContentBasedDeduplication: "true" });
    const texts = Array.from({ length: 10 }, (_, number) => `text ${number}`);
    const Entries = texts.map((text, n) => ({ Id: `${n}`, MessageBody: text, MessageGroupId: "group" }));
    const { Successful: sent } = await run.send("SendMessageBatch", { QueueUrl, Entries });
    const numbers = sent.map((entry) => entry.SequenceNumber);
    expect(numbers, [...new Set(numbers)].sort());
    const received = await run.receive(QueueUrl);
    expect(bodies(received), texts);
    const done = received.map(({ ReceiptHandle }, n) => ({ Id: `${n}`, ReceiptHandle }));
    expect((await run.send("DeleteMessageBatch", { QueueUrl, Entries: done })).Successful.length, 10);
  },

  async fifo_receive_attempt(run) {
    const url = await run.fifo("attempt");
    await send(run, url, "gift", "group", "one");
    const [first] = await run.receive(url, { ReceiveRequestAttemptId: "attempt" });
    const [again] = await run.receive(url, { ReceiveRequestAttemptId: "attempt" });
    expect([again?.Body, again?.ReceiptHandle], ["gift", first.ReceiptHandle]);
    expect(await run.receive(url, { ReceiveRequestAttemptId: "another" }), []);
  },

  async fifo_dead_letters(run) {
    const sick = await run.fifo("ill-dlq");
    const source = await run.fifo("ill", await run.redrive(sick, 1));
    for (const body of ["one", "two"]) await send(run, source, body, "group", body);
    expect(bodies(await run.receive(source, { MaxNumberOfMessages: 1, VisibilityTimeout: 0 })), ["one"]);
    expect(bodies(await run.receive(source)), ["two"]);
    const [message] = await run.receive(sick);
    expect([message.Body, message.Attributes.MessageGroupId], ["one", "group"]);
    expectTrue(message.Attributes.SequenceNumber, "it has a sequence number");
  },

  async fifo_refusals(run) {
    const message = { QueueUrl: await run.fifo("strict"), MessageBody: "x" };
    const MessageDeduplicationId = "a";
    const refused = async (code, members) => await run.refused(null, code, "SendMessage", { ...message, ...members });
    await refused("MissingParameter", { MessageDeduplicationId });
    await refused("InvalidParameterValue", { MessageGroupId: "group" });
    await refused("InvalidParameterValue", { MessageGroupId: "a group", MessageDeduplicationId });
    await refused("InvalidParameterValue", { MessageGroupId: "group", MessageDeduplicationId, DelaySeconds: 1 });
  },
};
