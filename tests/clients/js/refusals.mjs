// Errors: each as the class that the SDK has for it, with its code.

const LEGACY = "AWS.SimpleQueueService.";
const ACTIONS = [
  "SendMessage",
  "ReceiveMessage",
  "DeleteMessage",
  "ChangeMessageVisibility",
  "GetQueueAttributes",
  "GetQueueUrl",
  "ListDeadLetterSourceQueues",
  "PurgeQueue",
];

/** Entries with these ids. */
const entries = (ids, MessageBody = "gift") => ids.map((Id) => ({ Id, MessageBody }));

/** A batch that is refused as a whole, for a queue of its own. */
const refusedBatch = async (run, name, shape, Entries) => {
  const QueueUrl = await run.queue(name);
  await run.refused(shape, LEGACY + shape, "SendMessageBatch", { QueueUrl, Entries });
};

export const steps = {
  async queue_does_not_exist(run) {
    const QueueUrl = (await run.queue("here")).replace(run.name("here"), run.name("gone"));
    const refused = async (action, members) =>
      await run.refused("QueueDoesNotExist", `${LEGACY}NonExistentQueue`, action, { QueueUrl, ...members });
    await refused("SendMessage", { MessageBody: "gift" });
    await refused("ReceiveMessage");
    await refused("DeleteQueue");
  },

  async queue_deleted_recently(run) {
    await run.send("DeleteQueue", { QueueUrl: await run.queue("brief") });
    const shape = "QueueDeletedRecently";
    await run.refused(shape, LEGACY + shape, "CreateQueue", { QueueName: run.name("brief") });
  },

  async receipt_handle_is_invalid(run) {
    const handle = { QueueUrl: await run.queue("handles"), ReceiptHandle: "garbage" };
    const shape = "ReceiptHandleIsInvalid";
    await run.refused(shape, shape, "DeleteMessage", handle);
    await run.refused(shape, shape, "ChangeMessageVisibility", { ...handle, VisibilityTimeout: 0 });
  },

  async message_not_inflight(run) {
    const QueueUrl = await run.fifo("back");
    const grouped = { MessageGroupId: "group", MessageDeduplicationId: "one" };
    await run.send("SendMessage", { QueueUrl, MessageBody: "gift", ...grouped });
    const [{ ReceiptHandle }] = await run.receive(QueueUrl);
    const handle = { QueueUrl, ReceiptHandle };
    await run.send("ChangeMessageVisibility", { ...handle, VisibilityTimeout: 0 });
    const shape = "MessageNotInflight";
    await run.refused(shape, LEGACY + shape, "ChangeMessageVisibility", { ...handle, VisibilityTimeout: 60 });
    await run.refused(null, "InvalidParameterValue", "DeleteMessage", handle);
  },

  async empty_batch_request(run) {
    const asked = { QueueUrl: await run.queue("empty"), Entries: [] };
    for (const action of ["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"]) {
      await run.refused("EmptyBatchRequest", `${LEGACY}EmptyBatchRequest`, action, asked);
    }
  },

  async batch_entry_ids_not_distinct(run) {
    await refusedBatch(run, "twice", "BatchEntryIdsNotDistinct", entries(["same", "same"]));
  },

  async invalid_batch_entry_id(run) {
    await refusedBatch(run, "odd", "InvalidBatchEntryId", entries(["not an id"]));
  },

  async too_many_entries_in_batch_request(run) {
    const ids = Array.from({ length: 11 }, (_, number) => `${number}`);
    await refusedBatch(run, "many", "TooManyEntriesInBatchRequest", entries(ids));
  },

  async batch_request_too_long(run) {
    await refusedBatch(run, "long", "BatchRequestTooLong", entries(["a", "b"], "x".repeat(600_000)));
  },

  async invalid_attribute_name(run) {
    const QueueUrl = await run.queue("named");
    const shape = "InvalidAttributeName";
    await run.refused(shape, shape, "SetQueueAttributes", { QueueUrl, Attributes: { Colour: "red" } });
    await run.refused(shape, shape, "GetQueueAttributes", { QueueUrl, AttributeNames: ["Colour"] });
  },

  async invalid_attribute_value(run) {
    const asked = { QueueUrl: await run.queue("valued"), Attributes: { VisibilityTimeout: "43201" } };
    await run.refused("InvalidAttributeValue", "InvalidAttributeValue", "SetQueueAttributes", asked);
  },

  async invalid_message_contents(run) {
    const asked = { QueueUrl: await run.queue("contents"), MessageBody: "a\u0001b" };
    await run.refused("InvalidMessageContents", "InvalidMessageContents", "SendMessage", asked);
  },

  async invalid_parameter_value(run) {
    const QueueUrl = await run.queue("values");
    const code = "InvalidParameterValue";
    await run.refused(null, code, "ReceiveMessage", { QueueUrl, MaxNumberOfMessages: 11 });
    await run.refused(null, code, "ReceiveMessage", { QueueUrl, WaitTimeSeconds: 21 });
    await run.refused(null, code, "SendMessage", { QueueUrl, MessageBody: "x", DelaySeconds: 901 });
    await run.refused(null, "MissingParameter", "SendMessage", { QueueUrl, MessageBody: "" });
  },

  async unsupported_operation(run) {
    const tags = { DataType: "String", StringListValues: ["a", "b"] };
    const asked = { QueueUrl: await run.queue("lists"), MessageBody: "gift", MessageAttributes: { tags } };
    await run.refused("UnsupportedOperation", `${LEGACY}UnsupportedOperation`, "SendMessage", asked);
  },

  async over_limit(run) {
    const crowd = { Label: "all", AWSAccountIds: ["111122223333"], Actions: ACTIONS };
    await run.refused("OverLimit", "OverLimit", "AddPermission", { QueueUrl: await run.queue("crowded"), ...crowd }, 403);
  },
};
