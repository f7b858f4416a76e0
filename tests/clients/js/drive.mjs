// Drives every family of SQS's actions with the AWS SDK for JavaScript: `node drive.mjs`.
//
// The endpoint, region and keys are the SDK's own: AWS_ENDPOINT_URL_SQS and its fellows. Says `ok <step>` after each
// step, and ends at the first wrong answer.

import * as sdk from "@aws-sdk/client-sqs";

import { steps as batches } from "./batches.mjs";
import { steps as deadLetters } from "./dead_letters.mjs";
import { Run, expect } from "./expecting.mjs";
import { steps as fifo } from "./fifo.mjs";
import { steps as messages } from "./messages.mjs";
import { steps as queues } from "./queues.mjs";
import { steps as refusals } from "./refusals.mjs";

// One attempt: an error is an answer, not a reason to ask again.
const client = new sdk.SQSClient({ maxAttempts: 1 });
const run = new Run(client, "js");
try {
  for (const [name, step] of Object.entries({ ...queues, ...messages, ...batches, ...deadLetters, ...fifo, ...refusals })) {
    await step(run);
    console.log(`ok ${name}`);
  }
  const known = Object.keys(sdk).filter((name) => name.endsWith("Command") && name !== "$Command");
  expect([...run.asked].sort(), known.sort());
  console.log("ok every_action");
} finally {
  await run.deleteQueues();
  client.destroy();
}
