import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type ClaudeApi, startClaudeApi } from '@headgate/testing';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { RECIPES, REPORT } from './other-libraries.ts';
import { type Packed, pack, ROOT, run } from './packed.ts';

const PAGE = join(ROOT, 'packages/core/docs/with-other-libraries.md');
/** Exactly those that the page names. */
const PACKAGES = [
  '@anthropic-ai/sdk@1.14.0',
  '@anthropic-ai/bedrock-sdk@1.1.3',
  '@anthropic-ai/foundry-sdk@1.1.1',
  '@anthropic-ai/vertex-sdk@1.1.3',
  '@langchain/anthropic@1.5.11',
  '@langchain/core@1.4.0',
  '@llamaindex/anthropic@0.3.27',
  '@llamaindex/core@0.6.23',
  '@llamaindex/env@0.1.31',
  '@opentelemetry/api@1.9.1',
  '@opentelemetry/context-async-hooks@2.12.0',
  '@opentelemetry/sdk-metrics@2.12.0',
  '@opentelemetry/sdk-trace-base@2.12.0',
  '@posthog/ai@8.13.1',
  '@sentry/node@11.12.0',
  'braintrust@3.35.0',
  'langsmith@0.12.0',
  'p-retry@9.0.0',
  'posthog-node@5.70.0',
];

let packed: Packed;
let app: string;
beforeAll(async () => {
  packed = await pack(['core', 'testing']);
  // @posthog/ai asks for an older SDK, and runs with this one.
  app = await packed.install(['core', 'testing'], [...PACKAGES, '--legacy-peer-deps']);
  await writeFile(join(app, 'report.mjs'), REPORT);
  const google = { type: 'authorized_user', client_id: 'c', client_secret: 's', refresh_token: 'r' };
  await writeFile(join(app, 'google.json'), JSON.stringify(google));
}, 900_000);
afterAll(async () => {
  await packed?.remove();
  if (app !== undefined) await rm(app, { recursive: true });
});

/** Takes whatever a library sends home. */
async function startSink(): Promise<{ url: string; said(): string }> {
  const chunks: string[] = [];
  const server = createServer(async (request, response) => {
    const body: Buffer[] = [];
    for await (const chunk of request) body.push(chunk as Buffer);
    const whole = Buffer.concat(body);
    const isZipped = whole[0] === 0x1f && whole[1] === 0x8b;
    chunks.push(`${request.method} ${request.url} ${isZipped ? gunzipSync(whole) : whole}`);
    response.setHeader('content-type', 'application/json').end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, said: () => chunks.join('\n') };
}

/** Lets a script tell the API to fail from now on. */
async function startControl(api: ClaudeApi): Promise<string> {
  const server = createServer((_, response) => {
    api.reset();
    api.inject({ kind: 'status', status: 529, times: Number.POSITIVE_INFINITY });
    response.end('ok');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const sampleOf = async (heading: string) => {
  const page = await readFile(PAGE, 'utf8');
  const section = page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  return /```js\n([\s\S]*?)```/.exec(section ?? '')?.[1] ?? '';
};

/** Runs the page's sample with what follows it. */
async function follow(heading: string, flags: string[] = []) {
  const recipe = RECIPES.find((each) => each.heading === heading);
  const sample = await sampleOf(heading);
  expect(sample).toContain('createGovernor');
  const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
  onTestFinished(() => api.close());
  const sink = await startSink();
  const file = `${heading.replace(/\W+/g, '-')}.mjs`;
  await writeFile(
    join(app, file),
    `${sample}\n${recipe?.after}\nawait governor.close();\nprocess.exit(0);\n`,
  );
  const { stdout } = await run(process.execPath, [...flags, file], {
    cwd: app,
    timeout: 120_000,
    maxBuffer: 64_000_000,
    env: {
      ...process.env,
      ANTHROPIC_API_KEY: 'k',
      ANTHROPIC_BASE_URL: api.url,
      CONTROL_URL: await startControl(api),
      LANGSMITH_ENDPOINT: sink.url,
      POSTHOG_HOST: sink.url,
      SENTRY_SINK: sink.url.replace('http://', 'http://key@').concat('/1'),
      ANTHROPIC_BEDROCK_BASE_URL: api.url,
      ANTHROPIC_FOUNDRY_BASE_URL: api.url,
      ...recipe?.env,
    },
  });
  const told = stdout.split('\n').flatMap((line) => {
    const at = line.indexOf('@@');
    return at === -1 ? [] : [JSON.parse(line.slice(at + 2)) as [string, unknown]];
  });
  return { told, said: Object.fromEntries(told), api, sink };
}

const NOT_GOVERNED = {
  isTypeError: true,
  message: expect.stringMatching(/^Headgate .*govern first, then wrap/),
};
const BOTH = {
  create: 'message',
  stream: 'message_stop',
  booked: [2, expect.toSatisfy((tokens) => tokens > 0)],
};

describe('a sample of the page on other libraries does what the page says', () => {
  it('LangSmith', async () => {
    const { said, sink } = await follow('LangSmith');
    expect(said).toMatchObject({ ...BOTH, 'booked by wrapSDK': [1, expect.any(Number)] });
    const refused = Object.keys(said).filter((what) => / then /.test(what));
    expect(refused).toHaveLength(6);
    for (const what of refused) expect(said[what], what).toMatchObject(NOT_GOVERNED);
    expect(sink.said()).toContain('ChatAnthropic');
    expect(sink.said()).not.toContain('withOptions');
  });

  it('Braintrust', async () => {
    const { said } = await follow('Braintrust');
    expect(said).toMatchObject({ ...BOTH, traced: 2 });
    for (const what of ['wrap, then govern', 'wrap, then with', 'wrap of a governed one, then with']) {
      expect(said[what], what).toMatchObject(NOT_GOVERNED);
    }
  });

  it('PostHog', async () => {
    const { said, sink } = await follow('PostHog');
    expect(said).toMatchObject({ ...BOTH, with: 'message', 'booked by with': [1, expect.any(Number)] });
    expect(said.govern).toMatchObject({
      isTypeError: true,
      message: expect.stringMatching(/"phClient".*middleware: \[governor\.middleware\]/),
    });
    expect(said.warned).toContain('HG_COPY_LACKS');
    expect(sink.said().match(/\$ai_generation/g)).toHaveLength(2);
  });

  it('Sentry, by hand', async () => {
    const { said, sink } = await follow('Sentry');
    expect(said).toMatchObject({ ...BOTH, with: 'message' });
    expect(said['instrument, then govern']).toMatchObject({
      isTypeError: true,
      message: expect.stringMatching(/"messages\.create".*govern first, then wrap/),
    });
    expect(said.warned).toContain('HG_COPY_LACKS');
    expect(sink.said().match(/"sentry\.op":\{"value":"gen_ai\.chat"/g)).toHaveLength(2);
  });

  it('LangChain', async () => {
    const { said, api } = await follow('LangChain');
    expect(said).toMatchObject({
      invoke: true,
      stream: true,
      booked: BOTH.booked,
      // Was: seven calls of each, over a minute and more.
      'refused by invoke': ['quota_exceeded', 1],
      'refused by stream': ['quota_exceeded', 1],
      'given up': '529',
    });
    expect(api.received).toHaveLength(4);
  });

  it('LlamaIndex', async () => {
    const { said } = await follow('LlamaIndex');
    expect(said).toMatchObject({ chat: 'assistant', stream: true, booked: BOTH.booked });
    for (const what of ['its own client', 'its own client, with']) {
      expect(said[what]).toMatchObject({
        isTypeError: true,
        message: expect.stringMatching(/Anthropic\/JS 0\.58\.0\) has no `middleware` option.*0\.101/),
      });
    }
  });

  it('p-retry', async () => {
    const { said, api } = await follow('p-retry');
    expect(said).toEqual({ answered: 'message', refused: ['quota_exceeded', 2], 'given up': ['529', 3] });
    expect(api.received).toHaveLength(4);
  });

  it('Bedrock, Vertex, Foundry: with the SDK’s spans, and without', async () => {
    const { told } = await follow('Bedrock, Vertex, Foundry');
    const providers = { bedrock: 'aws.bedrock', vertex: 'gcp.vertex_ai', foundry: 'anthropic' };
    for (const [name, provider] of Object.entries(providers)) {
      const of = (what: string) =>
        told.filter(([said]) => said === `${name} ${what}`).map(([, value]) => value);
      expect(of('answered')).toEqual(['message', 'message']);
      expect(of('booked')).toEqual([
        [1, 7],
        [2, 14],
      ]);
      expect(of('spans')).toEqual([
        [[`com.anthropic.sdk.typescript.${name}`, provider, 7]],
        [['@headgate/core', provider, 7]],
      ]);
    }
  });
});
