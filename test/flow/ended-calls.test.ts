import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type Governor, isHeadgateError } from '@headgate/core';
import { headgate } from '@headgate/express';
import Oldest from 'anthropic-sdk-oldest';
import express from 'express';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ask, isSettled, pause, rejection, startGoverned, until } from '../support/governed.ts';
import { listen } from '../support/listen.ts';
import { startMuteApi } from '../support/mute-api.ts';

type Run = () => Promise<unknown>;

/** Reads a stream to its end. */
async function read(stream: Promise<AsyncIterable<unknown>> | AsyncIterable<unknown>): Promise<void> {
  for await (const _ of await stream) void _;
}

const KINDS: Record<string, (claude: Anthropic) => Promise<unknown>> = {
  'create()': (claude) => claude.messages.create(ask()),
  'create() through beta': (claude) => claude.beta.messages.create(ask()),
  'create().withResponse()': (claude) => claude.messages.create(ask()).withResponse(),
  'countTokens()': (claude) => {
    const { model, messages } = ask();
    return claude.messages.countTokens({ model, messages });
  },
  'create({ stream: true })': (claude) => read(claude.messages.create({ ...ask(), stream: true })),
  'stream().finalMessage()': (claude) => claude.messages.stream(ask()).finalMessage(),
  'for await of stream()': (claude) => read(claude.messages.stream(ask())),
};

const ENDS: Record<string, { ended: (governor: Governor, run: Run) => Promise<unknown>; shape: object }> = {
  'its deadline passes': {
    ended: (governor, run) => governor.run({ deadlineMs: 100 }, run),
    shape: { name: 'AbortedError', code: 'aborted', reason: 'deadline', status: 504 },
  },
  'the signal of its scope is aborted': {
    ended: (governor, run) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 100);
      return governor.run({ signal: controller.signal }, run);
    },
    shape: { name: 'AbortedError', code: 'aborted', reason: 'aborted', status: 499 },
  },
  'the signal of its scope has a reason of the app': {
    ended: (governor, run) => governor.run({ signal: AbortSignal.timeout(100) }, run),
    shape: { name: 'AbortedError', code: 'aborted', reason: 'aborted', status: 499 },
  },
  'its client hangs up': {
    async ended(governor, run) {
      const app = express();
      app.use(headgate(governor, { caller: () => ({ user: 'ada' }) }));
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      app.get('/', () => void run().then(resolve, reject));
      const url = await listen(app);
      const client = new AbortController();
      fetch(url, { signal: client.signal }).catch(() => {});
      setTimeout(() => client.abort(), 100);
      return promise;
    },
    shape: { name: 'AbortedError', code: 'aborted', reason: 'aborted', status: 499 },
  },
  'its governor closes': {
    async ended(governor, run) {
      const running = rejection(governor.run({}, run));
      await pause(100);
      await governor.close({ drainMs: 0 });
      throw await running;
    },
    shape: { name: 'AbortedError', code: 'aborted', reason: 'closed', status: 503 },
  },
};

const SDKS = {
  latest: { SDK: Anthropic, kinds: Object.keys(KINDS) },
  // `stream()` of a second copy of the SDK wraps what is no error class of that copy: ours is the cause there.
  oldest: {
    SDK: Oldest as unknown as typeof Anthropic,
    kinds: Object.keys(KINDS).filter((kind) => !kind.includes('stream()')),
  },
};

describe('a call in flight rejects with the HeadgateError itself (JSON: APIConnectionError until 0.2)', () => {
  for (const [version, { SDK, kinds }] of Object.entries(SDKS)) {
    it(`with the ${version} SDK, before and after the headers, however it ends`, async () => {
      const api = await startMuteApi();
      const scenes = kinds.flatMap((kind) =>
        Object.entries(ENDS).flatMap(([end, { ended, shape }]) =>
          ['unanswered', 'begun'].map(async (path) => {
            const governor = createGovernor({ logger: { info() {}, warn() {}, error() {} } });
            onTestFinished(() => governor.close({ drainMs: 0 }));
            const claude = governor.govern(new SDK({ apiKey: 'k', baseURL: `${api.url}/${path}` }));
            const error = await rejection(ended(governor, async () => KINDS[kind]?.(claude)));
            const scene = `${kind}, ${path}, ${end}`;
            expect(error, scene).toMatchObject(shape);
            expect(isHeadgateError(error), scene).toBe(true);
            await until(() => isSettled(governor));
          }),
        ),
      );
      await Promise.all(scenes);
      await until(() => api.open.size === 0);
    });
  }

  it.each([
    ['its next attempt', 503],
    ["the end of its caller's pause", 429],
  ])('also one that waits 45 s for %s, as its governor closes (45 s later before)', async (_, status) => {
    const { api, governor, claude } = await startGoverned();
    api.inject({ kind: 'status', status, headers: { 'retry-after': '45' }, times: Number.POSITIVE_INFINITY });
    const running = rejection(governor.run({ user: 'ada' }, () => claude.messages.create(ask())));
    await until(() => api.received.length === 1);
    await pause(50);
    await governor.close({ drainMs: 0 });
    expect(await running).toMatchObject({ reason: 'closed', status: 503 });
  });

  it("the caller's own signal ends a call with the SDK's own error, as without Headgate", async () => {
    const api = await startMuteApi();
    const governor = createGovernor({ logger: { info() {}, warn() {}, error() {} } });
    onTestFinished(() => governor.close({ drainMs: 0 }));
    const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: `${api.url}/unanswered` }));
    const error = await rejection(claude.messages.create(ask(), { signal: AbortSignal.timeout(50) }));
    expect(error).toBeInstanceOf(Anthropic.APIUserAbortError);
    expect(isHeadgateError(error)).toBe(false);
  });
});
