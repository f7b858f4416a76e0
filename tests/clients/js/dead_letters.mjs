// Dead letters: how messages get there, and the tasks that move them away again.

import { setTimeout as pause } from "node:timers/promises";

import { bodies, expect, expectTrue } from "./expecting.mjs";

const LONGEST_MS = 20_000;
const GONE = "ResourceNotFoundException";

/** A source and its dead letter queue, in which these messages have landed; their URLs. */
async function dead(run, name, ...texts) {
  const sick = await run.queue(`${name}-dlq`);
  const source = await run.queue(name, await run.redrive(sick, 1));
  for (const MessageBody of texts) {
    await run.send("SendMessage", { QueueUrl: source, MessageBody });
    expect(bodies(await run.receive(source, { VisibilityTimeout: 0 })), [MessageBody]);
    expect(await run.receive(source), []);
  }
  return [source, sick];
}

/** The newest move task of the queue, once it has that status. */
async function task(run, sick, status) {
  const deadline = Date.now() + LONGEST_MS;
  for (;;) {
    const { Results } = await run.send("ListMessageMoveTasks", { SourceArn: await run.arn(sick), MaxResults: 10 });
    if (Results[0].Status === status) return Results[0];
    expectTrue(Date.now() < deadline, `the task becomes ${status}; it is ${Results[0].Status}`);
    await pause(50);
  }
}

export const steps = {
  async dead_letter_after_max_receive_count(run) {
    const sick = await run.queue("lost-dlq");
    const source = await run.queue("lost", await run.redrive(sick, 2));
    const sent = await run.send("SendMessage", { QueueUrl: source, MessageBody: "gift" });
    for (const count of ["1", "2"]) {
      const [message] = await run.receive(source, { VisibilityTimeout: 0 });
      expect(message.Attributes.ApproximateReceiveCount, count);
    }
    expect(await run.receive(source), []);
    const [message] = await run.receive(sick, { WaitTimeSeconds: 20 });
    expect([message.MessageId, message.Body], [sent.MessageId, "gift"]);
    expect(message.Attributes.DeadLetterQueueSourceArn, await run.arn(source));
    expect(message.Attributes.ApproximateReceiveCount, "3");
  },

  async move_task_back_to_the_sources(run) {
    const [source, sick] = await dead(run, "back", "one", "two");
    const SourceArn = await run.arn(sick);
    const { TaskHandle } = await run.send("StartMessageMoveTask", { SourceArn });
    expectTrue(TaskHandle, "the task has a handle");
    const done = await task(run, sick, "COMPLETED");
    expect([done.SourceArn, done.TaskHandle], [SourceArn, undefined]);
    expect([done.ApproximateNumberOfMessagesMoved, done.ApproximateNumberOfMessagesToMove], [2, 2]);
    expectTrue(done.StartedTimestamp > 1.6e12, "the time of the start is in milliseconds");
    expect(bodies(await run.receive(source)).sort(), ["one", "two"]);
    expect(await run.receive(sick), []);
  },

  async move_task_to_a_destination(run) {
    const [, sick] = await dead(run, "away", "gift");
    const other = await run.queue("away-other");
    const DestinationArn = await run.arn(other);
    const asked = { SourceArn: await run.arn(sick), DestinationArn, MaxNumberOfMessagesPerSecond: 500 };
    await run.send("StartMessageMoveTask", asked);
    expect(bodies(await run.receive(other, { WaitTimeSeconds: 20 })), ["gift"]);
    const done = await task(run, sick, "COMPLETED");
    expect([done.DestinationArn, done.MaxNumberOfMessagesPerSecond], [DestinationArn, 500]);
  },

  async move_task_cancelled(run) {
    const [, sick] = await dead(run, "slow");
    const Entries = Array.from({ length: 10 }, (_, number) => ({ Id: `${number}`, MessageBody: "gift" }));
    await run.send("SendMessageBatch", { QueueUrl: sick, Entries });
    const asked = { SourceArn: await run.arn(sick), MaxNumberOfMessagesPerSecond: 1 };
    const DestinationArn = await run.arn(await run.queue("slow-other"));
    const { TaskHandle } = await run.send("StartMessageMoveTask", { ...asked, DestinationArn });
    expect((await task(run, sick, "RUNNING")).TaskHandle, TaskHandle);
    await run.refused(null, "InvalidParameterValue", "StartMessageMoveTask", asked);
    const { ApproximateNumberOfMessagesMoved: moved } = await run.send("CancelMessageMoveTask", { TaskHandle });
    const done = await task(run, sick, "CANCELLED");
    expect(done.TaskHandle, undefined);
    const all = done.ApproximateNumberOfMessagesMoved;
    expectTrue(moved <= all && all < 10, `of ${moved}, then ${all}, some were never moved`);
  },

  async move_task_refusals(run) {
    const [, sick] = await dead(run, "unmoved");
    const SourceArn = await run.arn(sick);
    const healthy = await run.arn(await run.queue("no-dlq"));
    const gone = `${healthy}-gone`;
    await run.refused(GONE, GONE, "StartMessageMoveTask", { SourceArn: gone }, 404);
    await run.refused(GONE, GONE, "StartMessageMoveTask", { SourceArn, DestinationArn: gone }, 404);
    await run.refused(null, "InvalidParameterValue", "StartMessageMoveTask", { SourceArn: healthy });
    await run.refused(GONE, GONE, "ListMessageMoveTasks", { SourceArn: gone }, 404);
    await run.refused(null, "InvalidParameterValue", "CancelMessageMoveTask", { TaskHandle: "garbage" });
  },
};
