// Batches: up to ten at a time, each entry with an outcome of its own.

import { bodies, expect } from "./expecting.mjs";
import { ATTRIBUTES, ATTRIBUTES_MD5, md5, plain } from "./messages.mjs";

const ids = (entries) => entries.map((entry) => entry.Id);

/** Send two, receive them; entries that name them. */
async function received(run, QueueUrl) {
  const Entries = ["one", "two"].map((text) => ({ Id: text, MessageBody: text }));
  await run.send("SendMessageBatch", { QueueUrl, Entries });
  return (await run.receive(QueueUrl)).map(({ Body, ReceiptHandle }) => ({ Id: Body, ReceiptHandle }));
}

export const steps = {
  async send_message_batch(run) {
    const QueueUrl = await run.queue("batch-sent");
    const Entries = Array.from({ length: 9 }, (_, number) => ({ Id: `id-${number}`, MessageBody: `gift ${number}` }));
    Entries.push({ Id: "last", MessageBody: "with attributes", MessageAttributes: ATTRIBUTES });
    const { Successful, Failed } = await run.send("SendMessageBatch", { QueueUrl, Entries });
    expect([ids(Successful), Failed], [ids(Entries), undefined]);
    expect(Successful.map((entry) => entry.MD5OfMessageBody), Entries.map((entry) => md5(entry.MessageBody)));
    expect(Successful.at(-1).MD5OfMessageAttributes, ATTRIBUTES_MD5);
    const messages = await run.receive(QueueUrl, { MessageAttributeNames: ["All"] });
    expect(bodies(messages).sort(), Entries.map((entry) => entry.MessageBody).sort());
    const attributed = messages.filter((message) => message.MessageAttributes);
    expect(attributed.map((message) => plain(message.MessageAttributes)), [ATTRIBUTES]);
  },

  async send_message_batch_with_a_failed_entry(run) {
    const QueueUrl = await run.queue("batch-partly", { MaximumMessageSize: "1024" });
    const Entries = [{ Id: "good", MessageBody: "gift" }, { Id: "long", MessageBody: "x".repeat(1025) }];
    const { Successful, Failed } = await run.send("SendMessageBatch", { QueueUrl, Entries });
    expect(ids(Successful), ["good"]);
    expect(Failed.map((entry) => [entry.Id, entry.Code, entry.SenderFault]), [["long", "InvalidParameterValue", true]]);
    expect(bodies(await run.receive(QueueUrl)), ["gift"]);
  },

  async change_message_visibility_batch(run) {
    const QueueUrl = await run.queue("batch-hidden");
    const good = (await received(run, QueueUrl)).map((entry) => ({ ...entry, VisibilityTimeout: 0 }));
    const Entries = [...good, { Id: "bad", ReceiptHandle: "garbage", VisibilityTimeout: 0 }];
    const { Successful, Failed } = await run.send("ChangeMessageVisibilityBatch", { QueueUrl, Entries });
    expect(ids(Successful), ids(good));
    expect(Failed.map((entry) => [entry.Id, entry.Code]), [["bad", "ReceiptHandleIsInvalid"]]);
    expect(bodies(await run.receive(QueueUrl)).sort(), ["one", "two"]);
  },

  async delete_message_batch(run) {
    const QueueUrl = await run.queue("batch-done");
    const good = await received(run, QueueUrl);
    const Entries = [...good, { Id: "bad", ReceiptHandle: "garbage" }];
    const { Successful, Failed } = await run.send("DeleteMessageBatch", { QueueUrl, Entries });
    expect(ids(Successful), ids(good));
    expect(Failed.map((entry) => [entry.Id, entry.Code]), [["bad", "ReceiptHandleIsInvalid"]]);
    expect((await run.attributes(QueueUrl)).ApproximateNumberOfMessagesNotVisible, "0");
  },
};
