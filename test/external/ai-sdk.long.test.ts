import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startClaudeApi } from '@headgate/testing';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type Packed, pack, run } from './packed.ts';

const PACKAGES = [
  'ai@6.0.326',
  '@ai-sdk/anthropic@3.0.140',
  '@anthropic-ai/sdk@1.14.0',
  '@opentelemetry/api@1.9.1',
];

let packed: Packed;
let app: string;
beforeAll(async () => {
  packed = await pack(['core', 'testing']);
  app = await packed.install(['core'], PACKAGES);
}, 900_000);
afterAll(async () => {
  await packed?.remove();
  if (app !== undefined) await rm(app, { recursive: true });
});

const SCRIPT = `
import { createAnthropic } from '@ai-sdk/anthropic';
import { createGovernor, isHeadgateError } from '@headgate/core';
import { APICallError, generateText, jsonSchema, streamText, tool } from 'ai';

const governor = createGovernor({
  config: { quotas: [{ name: 'few', when: { user: 'few' }, requests: '1/day' }], retries: { maxAttempts: 2 } },
  logger: { info() {}, warn() {}, error() {} },
});
const anthropic = createAnthropic({ apiKey: 'k', baseURL: process.env.API_URL + '/v1', fetch: governor.fetch() });
const model = anthropic('claude-sonnet-4-6');
const as = (user, fn) => governor.run({ user }, fn);
const ask = (more) => generateText({ model, prompt: 'hello', maxOutputTokens: 60, ...more });
const said = {};

said.json = (await as('ada', () => ask())).usage.outputTokens > 0;
said.stream = await as('ada', async () => {
  let text = '';
  for await (const part of streamText({ model, prompt: 'hello', maxOutputTokens: 60 }).textStream) text += part;
  return text.length > 0;
});
const time = tool({ inputSchema: jsonSchema({ type: 'object', properties: {} }), execute: async () => 'noon' });
said.tools = (await as('ada', () => ask({ tools: { time } }))).finishReason;
await as('eve', async () => {
  for await (const _ of streamText({ model, prompt: 'hello', maxOutputTokens: 60 }).textStream) break;
});
const controller = new AbortController();
const aborted = as('eve', () => ask({ prompt: 'long', abortSignal: controller.signal }));
setTimeout(() => controller.abort(), 20);
said.abort = (await aborted.catch((error) => error)).name;
await as('few', () => ask());
const refusal = await as('few', () => ask()).catch((error) => error);
said.refusal = [isHeadgateError(refusal), refusal.code];
const busy = await as('ben', () => ask({ prompt: 'FAIL' })).catch((error) => error);
said.failure = [APICallError.isInstance(busy), busy.statusCode, busy.isRetryable];
said.calls = Object.fromEntries((await governor.usage({ by: 'user' })).rows.map(({ key, calls }) => [key, calls]));
await governor.close();
said.inFlight = governor.snapshot().inFlight;
console.log(JSON.stringify(said));
process.exit(0);
`;

it('the AI SDK is governed through its fetch: JSON, stream, tools, break, abort; nothing is multiplied', async () => {
  const api = await startClaudeApi({
    latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 },
    output: ({ messages }) => (JSON.stringify(messages).includes('long') ? 600 : 40),
  });
  onTestFinished(() => api.close());
  const isFailing = ({ body }: { body: unknown }) => JSON.stringify(body).includes('FAIL');
  api.inject({ kind: 'status', status: 529, times: Number.POSITIVE_INFINITY, when: isFailing });
  await writeFile(join(app, 'app.mjs'), SCRIPT);
  const { stdout } = await run(process.execPath, ['app.mjs'], {
    cwd: app,
    timeout: 120_000,
    env: { ...process.env, API_URL: api.url },
  });
  expect(JSON.parse(stdout)).toMatchObject({
    json: true,
    stream: true,
    tools: expect.any(String),
    abort: 'AbortError',
    refusal: [true, 'quota_exceeded'],
    failure: [true, 529, false],
    calls: { ada: 3, few: 1 },
    inFlight: 0,
  });
  // Without Headgate's word the AI SDK would make three rounds of two.
  expect(api.received.filter(isFailing)).toHaveLength(2);
}, 200_000);
