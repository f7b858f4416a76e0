// What the steps share: queues of their own, and answers that are either as expected or end the run.

import { isDeepStrictEqual, inspect } from "node:util";

import * as sdk from "@aws-sdk/client-sqs";

/** End the run if these differ. */
export function expect(got, wanted) {
  if (!isDeepStrictEqual(got, wanted)) {
    throw new Error(`got ${inspect(got, { depth: 9 })}, expected ${inspect(wanted, { depth: 9 })}`);
  }
}

/** End the run if this is not so. */
export function expectTrue(fact, what) {
  if (!fact) throw new Error(`it is not so that ${what}`);
}

/** What the messages say, in their order. */
export const bodies = (messages) => messages.map((message) => message.Body);

/** One run of the script: the SDK's client, and queues whose names start with the prefix. */
export class Run {
  #client;
  #urls = new Set();

  constructor(client, prefix) {
    this.#client = client;
    this.prefix = prefix;
    this.asked = new Set();
  }

  /** Make a call: `send("SendMessage", { QueueUrl })`. */
  async send(action, members) {
    this.asked.add(`${action}Command`);
    return await this.#client.send(new sdk[`${action}Command`](members));
  }

  /** All pages of a list that the SDK can page through. */
  async pages(action, members, pageSize) {
    this.asked.add(`${action}Command`);
    const pages = [];
    for await (const page of sdk[`paginate${action}`]({ client: this.#client, pageSize }, members)) pages.push(page);
    return pages;
  }

  name(queue) {
    return `${this.prefix}-${queue}`;
  }

  /** Create a queue; its URL. */
  async queue(queue, Attributes = {}) {
    const { QueueUrl } = await this.send("CreateQueue", { QueueName: this.name(queue), Attributes });
    this.#urls.add(QueueUrl);
    return QueueUrl;
  }

  /** Create a FIFO queue; its URL. */
  async fifo(queue, attributes = {}) {
    return await this.queue(`${queue}.fifo`, { FifoQueue: "true", ...attributes });
  }

  /** A queue's attributes; without names, all. */
  async attributes(QueueUrl, ...names) {
    const AttributeNames = names.length ? names : ["All"];
    return (await this.send("GetQueueAttributes", { QueueUrl, AttributeNames })).Attributes ?? {};
  }

  async arn(url) {
    return (await this.attributes(url, "QueueArn")).QueueArn;
  }

  /** The attributes of a queue with a redrive policy to the queue of that URL. */
  async redrive(deadLetters, maxReceiveCount) {
    const deadLetterTargetArn = await this.arn(deadLetters);
    return { RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount }) };
  }

  /** Up to ten messages with all their system attributes. */
  async receive(QueueUrl, members = {}) {
    const asked = { MaxNumberOfMessages: 10, MessageSystemAttributeNames: ["All"], WaitTimeSeconds: 0, ...members };
    return (await this.send("ReceiveMessage", { QueueUrl, ...asked })).Messages ?? [];
  }

  /** Make a call that must fail: with the SDK's own class for the shape (null: it has none), the code and the status. */
  async refused(shape, code, action, members, status = 400) {
    let answer;
    try {
      answer = await this.send(action, members);
    } catch (error) {
      expect(error.constructor.name, shape ?? "SQSServiceException");
      expectTrue(shape === null || error instanceof sdk[shape], `${error} is a ${shape}`);
      expect([error.Code, error.$metadata.httpStatusCode], [code, status]);
      expectTrue(error.message, "the error has a message");
      return;
    }
    throw new Error(`got ${inspect(answer)}, expected ${code}`);
  }

  /** Take away what was created, as far as it is still there. */
  async deleteQueues() {
    for (const QueueUrl of this.#urls) {
      try {
        await this.send("DeleteQueue", { QueueUrl });
      } catch (error) {
        if (!(error instanceof sdk.QueueDoesNotExist)) throw error;
      }
    }
  }
}
