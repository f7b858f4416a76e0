// Single messages: sent, received, hidden, delayed, deleted. The SDK itself compares the digests of bodies.

import { createHash } from "node:crypto";

import { bodies, expect, expectTrue } from "./expecting.mjs";

// The same as in the other scripts; python/messages.py works the digest out.
export const ATTRIBUTES = {
  kind: { DataType: "String", StringValue: "Spende für Öl" },
  amount: { DataType: "Number.cents", StringValue: "2500" },
  seal: { DataType: "Binary", BinaryValue: new Uint8Array([0x00, 0xff, 0x10]) },
};
export const ATTRIBUTES_MD5 = "43d2e4abbf3f8b3076e32501727b30ff";
const TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793";

export const md5 = (text) => createHash("md5").update(text).digest("hex");

/** Attributes as the SDK gives them, with plain bytes. */
export const plain = (attributes) =>
  Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [
      name,
      value.BinaryValue ? { ...value, BinaryValue: Uint8Array.from(value.BinaryValue) } : { ...value },
    ]),
  );

export const steps = {
  async send_and_receive(run) {
    const QueueUrl = await run.queue("simple");
    const MessageBody = 'Grüße, "Welt" <&>\r\n\t🎁';
    const sent = await run.send("SendMessage", { QueueUrl, MessageBody });
    expect([sent.MD5OfMessageBody, sent.SequenceNumber], [md5(MessageBody), undefined]);
    const [message] = await run.receive(QueueUrl);
    expect([message.MessageId, message.Body, message.MD5OfBody], [sent.MessageId, MessageBody, md5(MessageBody)]);
    const { ApproximateReceiveCount, SentTimestamp, SenderId } = message.Attributes;
    expect(ApproximateReceiveCount, "1");
    expectTrue(Number(SentTimestamp) > 1.6e12, "the time of sending is in milliseconds");
    expectTrue(SenderId, "the sender is named");
    expect(message.MessageAttributes, undefined);
    const counts = await run.attributes(QueueUrl);
    expect([counts.ApproximateNumberOfMessages, counts.ApproximateNumberOfMessagesNotVisible], ["0", "1"]);
  },

  async message_attributes(run) {
    const QueueUrl = await run.queue("attributed");
    const sent = await run.send("SendMessage", { QueueUrl, MessageBody: "gift", MessageAttributes: ATTRIBUTES });
    expect(sent.MD5OfMessageAttributes, ATTRIBUTES_MD5);
    const [message] = await run.receive(QueueUrl, { MessageAttributeNames: ["All"], VisibilityTimeout: 0 });
    expect([plain(message.MessageAttributes), message.MD5OfMessageAttributes], [ATTRIBUTES, ATTRIBUTES_MD5]);
    const [some] = await run.receive(QueueUrl, { MessageAttributeNames: ["seal", "none"] });
    expect(plain(some.MessageAttributes), { seal: ATTRIBUTES.seal });
  },

  async message_system_attributes(run) {
    const QueueUrl = await run.queue("traced");
    const MessageSystemAttributes = { AWSTraceHeader: { DataType: "String", StringValue: TRACE } };
    const sent = await run.send("SendMessage", { QueueUrl, MessageBody: "gift", MessageSystemAttributes });
    expectTrue(sent.MD5OfMessageSystemAttributes, "they have a digest");
    expect(sent.MD5OfMessageAttributes, undefined);
    const [message] = await run.receive(QueueUrl, { MessageSystemAttributeNames: ["AWSTraceHeader"] });
    expect(message.Attributes, { AWSTraceHeader: TRACE });
  },

  async message_group_on_a_standard_queue(run) {
    const QueueUrl = await run.queue("fair");
    await run.send("SendMessage", { QueueUrl, MessageBody: "gift", MessageGroupId: "tenant-1" });
    const [message] = await run.receive(QueueUrl);
    expect(message.Attributes.MessageGroupId, "tenant-1");
  },

  async long_poll(run) {
    const QueueUrl = await run.queue("polled");
    expect(await run.receive(QueueUrl), []);
    await run.send("SendMessage", { QueueUrl, MessageBody: "again" });
    expect(bodies(await run.receive(QueueUrl, { VisibilityTimeout: 1 })), ["again"]);
    expect(await run.receive(QueueUrl), []);
    const [message] = await run.receive(QueueUrl, { WaitTimeSeconds: 20 });
    expect(message.Attributes.ApproximateReceiveCount, "2");
  },

  async delay_seconds(run) {
    const QueueUrl = await run.queue("delayed", { DelaySeconds: "900" });
    await run.send("SendMessage", { QueueUrl, MessageBody: "much later" });
    await run.send("SendMessage", { QueueUrl, MessageBody: "soon", DelaySeconds: 1 });
    expect((await run.attributes(QueueUrl)).ApproximateNumberOfMessagesDelayed, "2");
    expect(await run.receive(QueueUrl), []);
    expect(bodies(await run.receive(QueueUrl, { WaitTimeSeconds: 20 })), ["soon"]);
  },

  async change_message_visibility(run) {
    const QueueUrl = await run.queue("hidden");
    await run.send("SendMessage", { QueueUrl, MessageBody: "gift" });
    const [{ ReceiptHandle }] = await run.receive(QueueUrl);
    await run.send("ChangeMessageVisibility", { QueueUrl, ReceiptHandle, VisibilityTimeout: 600 });
    expect(await run.receive(QueueUrl), []);
    await run.send("ChangeMessageVisibility", { QueueUrl, ReceiptHandle, VisibilityTimeout: 0 });
    const [message] = await run.receive(QueueUrl);
    expect(message.Attributes.ApproximateReceiveCount, "2");
    const handle = { QueueUrl, ReceiptHandle: message.ReceiptHandle };
    await run.send("DeleteMessage", handle);
    const late = { ...handle, VisibilityTimeout: 1 };
    await run.refused(null, "InvalidParameterValue", "ChangeMessageVisibility", late);
  },

  async delete_message(run) {
    const QueueUrl = await run.queue("done");
    await run.send("SendMessage", { QueueUrl, MessageBody: "gift" });
    const [{ ReceiptHandle }] = await run.receive(QueueUrl, { VisibilityTimeout: 0 });
    await run.send("DeleteMessage", { QueueUrl, ReceiptHandle });
    await run.send("DeleteMessage", { QueueUrl, ReceiptHandle });
    expect(await run.receive(QueueUrl), []);
  },
};
