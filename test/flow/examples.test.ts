import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Anthropic from '@anthropic-ai/sdk';
import { describe, expect, it } from 'vitest';
import { addressOf, startExample } from '../support/example.ts';
import { rejection, until } from '../support/governed.ts';

const run = promisify(execFile);
const WEB = ['express', 'koa', 'fastify'];
const question = {
  model: 'claude-haiku-4-5',
  max_tokens: 100,
  messages: [{ role: 'user', content: 'Hi' }],
} as const;

it('each example is under 100 lines', async () => {
  for (const name of [...WEB, 'worker']) {
    const text = await readFile(join(import.meta.dirname, `../../examples/${name}/src/main.ts`), 'utf8');
    expect(text.split('\n').length, name).toBeLessThan(100);
  }
});

for (const name of WEB) {
  describe(`the example for ${name}`, () => {
    it('serves its page, streams a chat, answers JSON and works in the background', async () => {
      const example = await startExample(name);
      const url = await addressOf(example);
      expect(await (await fetch(url)).text()).toContain('<title>Chat</title>');

      const post = (path: string) =>
        fetch(`${url}${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ question: 'Why is the sky blue?' }),
        });
      const chat = await post('/chat');
      expect(chat.headers.get('content-type')).toContain('text/event-stream');
      expect(await chat.text()).toMatch(/^event: message_start\n[\s\S]*event: message_stop\ndata: .*\n\n$/);
      const answer = await post('/ask');
      expect([answer.status, ((await answer.json()) as { type: string }).type]).toEqual([200, 'message']);
      const job = await post('/jobs');
      expect([job.status, await job.json()]).toEqual([202, { accepted: true }]);
      await until(() => example.lines.some((line) => line.startsWith('job done')));
      expect(example.api.ledger.count({ outcome: 'admitted' })).toBe(3);

      example.process.kill('SIGTERM');
      const [code] = await once(example.process, 'exit');
      expect(code).toBe(0);
    });

    it('is a Claude API to the SDK and to curl, whose refusals are the SDK’s own errors', async () => {
      const example = await startExample(name);
      const url = await addressOf(example);
      const client = new Anthropic({ apiKey: 'none', authToken: null, baseURL: url, maxRetries: 0 });
      expect(
        (await client.messages.create({ ...question, messages: [...question.messages] })).usage.output_tokens,
      ).toBe(40);
      const stream = client.messages.stream({ ...question, messages: [...question.messages] });
      expect((await stream.finalMessage()).stop_reason).toBe('end_turn');
      const invalid = await rejection(client.messages.create({ ...question, messages: [] }));
      expect(invalid).toBeInstanceOf(Anthropic.BadRequestError);

      // The example gives a visitor twenty calls a minute.
      const ask = { ...question, messages: [...question.messages] };
      let refused: unknown;
      for (let call = 0; call < 30 && refused === undefined; call++) {
        refused = await client.messages.create(ask).then(
          () => undefined,
          (error: unknown) => error,
        );
      }
      const ofStream = await rejection(client.messages.create({ ...ask, stream: true }));
      const ofHelper = await rejection(client.messages.stream(ask).finalMessage());
      for (const error of [refused, ofStream, ofHelper]) {
        expect(error).toBeInstanceOf(Anthropic.RateLimitError);
        const { status, headers, type, errorCode } = error as InstanceType<typeof Anthropic.RateLimitError>;
        expect([status, type, errorCode]).toEqual([429, 'rate_limit_error', 'headgate_quota_exceeded']);
        expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
        expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
      }

      const { stdout } = await run('curl', [
        ...['-s', '-i', '-X', 'POST', `${url}/v1/messages`],
        ...['-H', 'content-type: application/json', '-d', JSON.stringify(question)],
      ]);
      expect(stdout).toMatch(/^HTTP\/1\.1 429 /);
      expect(stdout).toMatch(/^retry-after: \d+\r$/im);
      expect(JSON.parse(stdout.split('\r\n\r\n')[1] ?? '')).toMatchObject({
        type: 'error',
        error: { type: 'rate_limit_error', details: { error_code: 'headgate_quota_exceeded' } },
      });
    });
  });
}

it('the example of a worker does all of its jobs, urgent ones too', async () => {
  const { api, process: worker, lines } = await startExample('worker');
  worker.stdin?.end([...Array.from({ length: 40 }, (_, job) => `job ${job}`), '!now', ''].join('\n'));
  const [code] = await once(worker, 'exit');
  expect([code, lines.at(-1)]).toEqual([0, '41 done, 0 refused, 0 failed, 1640 tokens']);
  expect(lines).toContain('answered: !now');
  expect(api.ledger.count({ outcome: 'admitted' })).toBe(41);
});
