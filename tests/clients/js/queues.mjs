// Queues: their lives, attributes, tags, permissions, and lists of them.

import { expect, expectTrue } from "./expecting.mjs";

const ACCOUNT = "111122223333";

const picked = (attributes, ...names) => Object.fromEntries(names.map((name) => [name, attributes[name]]));

export const steps = {
  async create_queue(run) {
    const asked = {
      QueueName: run.name("created"),
      Attributes: { VisibilityTimeout: "60", DelaySeconds: "0" },
      tags: { team: "giving" },
    };
    const { QueueUrl } = await run.send("CreateQueue", asked);
    expect(QueueUrl.split("/").at(-1), run.name("created"));
    expect((await run.send("CreateQueue", asked)).QueueUrl, QueueUrl);
    expect(await run.queue("created"), QueueUrl);
    expect((await run.send("ListQueueTags", { QueueUrl })).Tags, { team: "giving" });
  },

  async queue_name_exists(run) {
    await run.queue("taken", { VisibilityTimeout: "60" });
    const other = { QueueName: run.name("taken"), Attributes: { VisibilityTimeout: "61" } };
    await run.refused("QueueNameExists", "QueueAlreadyExists", "CreateQueue", other);
  },

  async get_queue_url(run) {
    const url = await run.queue("found");
    expect((await run.send("GetQueueUrl", { QueueName: run.name("found") })).QueueUrl, url);
  },

  async queue_attributes(run) {
    const url = await run.queue("attributes", { VisibilityTimeout: "60" });
    const changed = { DelaySeconds: "5", MessageRetentionPeriod: "3600" };
    await run.send("SetQueueAttributes", { QueueUrl: url, Attributes: changed });
    const every = await run.attributes(url);
    expect(picked(every, "VisibilityTimeout", "DelaySeconds", "MessageRetentionPeriod"), {
      VisibilityTimeout: "60",
      ...changed,
    });
    expect(every.ApproximateNumberOfMessages, "0");
    expectTrue(every.QueueArn.endsWith(`:${run.name("attributes")}`), "the ARN ends with the name");
    expect(await run.attributes(url, "DelaySeconds"), { DelaySeconds: "5" });
  },

  async list_queues_in_pages(run) {
    const urls = [];
    for (const number of [0, 1, 2]) urls.push(await run.queue(`page-${number}`));
    const pages = await run.pages("ListQueues", { QueueNamePrefix: run.name("page-") }, 2);
    expect(pages.map((page) => page.QueueUrls.length), [2, 1]);
    expect(pages.flatMap((page) => page.QueueUrls).sort(), urls.sort());
    expect((await run.send("ListQueues", { QueueNamePrefix: run.name("nothing-") })).QueueUrls, undefined);
  },

  async queue_tags(run) {
    const QueueUrl = await run.queue("tagged");
    await run.send("TagQueue", { QueueUrl, Tags: { team: "giving", tier: "Größe 1" } });
    await run.send("UntagQueue", { QueueUrl, TagKeys: ["team", "none"] });
    expect((await run.send("ListQueueTags", { QueueUrl })).Tags, { tier: "Größe 1" });
  },

  async permissions(run) {
    const QueueUrl = await run.queue("permitted");
    const asked = { QueueUrl, Label: "partner", AWSAccountIds: [ACCOUNT], Actions: ["SendMessage", "GetQueueUrl"] };
    await run.send("AddPermission", asked);
    const [statement] = JSON.parse((await run.attributes(QueueUrl, "Policy")).Policy).Statement;
    expect([statement.Sid, statement.Effect, statement.Resource], ["partner", "Allow", await run.arn(QueueUrl)]);
    expect(statement.Principal, { AWS: `arn:aws:iam::${ACCOUNT}:root` });
    expect(statement.Action, ["SQS:SendMessage", "SQS:GetQueueUrl"]);
    await run.refused(null, "InvalidParameterValue", "AddPermission", asked);
    await run.send("RemovePermission", { QueueUrl, Label: "partner" });
    expect(await run.attributes(QueueUrl, "Policy"), {});
    await run.refused(null, "InvalidParameterValue", "RemovePermission", { QueueUrl, Label: "partner" });
  },

  async list_dead_letter_source_queues_in_pages(run) {
    const sick = await run.queue("sick");
    const policy = await run.redrive(sick, 3);
    const sources = [];
    for (const number of [0, 1, 2]) sources.push(await run.queue(`source-${number}`, policy));
    const pages = await run.pages("ListDeadLetterSourceQueues", { QueueUrl: sick }, 2);
    expect(pages.map((page) => page.queueUrls.length), [2, 1]);
    expect(pages.flatMap((page) => page.queueUrls).sort(), sources.sort());
  },

  async purge_queue(run) {
    const QueueUrl = await run.queue("purged");
    await run.send("SendMessage", { QueueUrl, MessageBody: "in flight" });
    await run.receive(QueueUrl);
    await run.send("SendMessage", { QueueUrl, MessageBody: "ready" });
    await run.send("SendMessage", { QueueUrl, MessageBody: "later", DelaySeconds: 900 });
    await run.send("PurgeQueue", { QueueUrl });
    const counts = await run.attributes(QueueUrl);
    const numbers = ["", "NotVisible", "Delayed"].map((kind) => counts[`ApproximateNumberOfMessages${kind}`]);
    expect(numbers, ["0", "0", "0"]);
    const code = "AWS.SimpleQueueService.PurgeQueueInProgress";
    await run.refused("PurgeQueueInProgress", code, "PurgeQueue", { QueueUrl }, 403);
  },

  async delete_queue(run) {
    await run.send("DeleteQueue", { QueueUrl: await run.queue("deleted") });
    const code = "AWS.SimpleQueueService.NonExistentQueue";
    await run.refused("QueueDoesNotExist", code, "GetQueueUrl", { QueueName: run.name("deleted") });
  },
};
