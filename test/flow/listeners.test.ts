import { getEventListeners } from 'node:events';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ask, isSettled, until } from '../support/governed.ts';
import { instantFetch } from '../support/instant-fetch.ts';

/** Answers at once; keeps the signals of all attempts. */
function governedOnSignals(answer: typeof instantFetch = instantFetch) {
  const signals: AbortSignal[] = [];
  const governor = createGovernor({ logger: { info() {}, warn() {}, error() {} } });
  onTestFinished(() => governor.close({ drainMs: 0 }));
  const client = new Anthropic({
    apiKey: 'k',
    baseURL: 'http://api.invalid',
    logLevel: 'off',
    fetch: (url, init) => {
      if (init?.signal) signals.push(init.signal);
      return answer(url, init);
    },
  });
  return { governor, claude: governor.govern(client), signals };
}

/** Never answers, and rejects when it is aborted. */
const hangs: typeof instantFetch = (_url, init) =>
  new Promise((_, reject) => {
    init?.signal?.addEventListener('abort', () => reject(init.signal?.reason), { once: true });
  });
const fails: typeof instantFetch = async () => Response.json({ type: 'error' }, { status: 400 });

type Claude = ReturnType<typeof governedOnSignals>['claude'];
const KINDS: Record<
  string,
  { answer?: typeof instantFetch; call: (claude: Claude, controller: AbortController) => Promise<unknown> }
> = {
  'a JSON answer': { call: (claude, { signal }) => claude.messages.create(ask(), { signal }) },
  'a JSON answer that nobody reads': {
    call: (claude, { signal }) => claude.messages.create(ask(), { signal }).asResponse(),
  },
  'a stream read to its end': {
    async call(claude, { signal }) {
      for await (const _ of await claude.messages.create({ ...ask(), stream: true }, { signal })) void _;
    },
  },
  'a stream that is left': {
    async call(claude, { signal }) {
      for await (const _ of await claude.messages.create({ ...ask(), stream: true }, { signal })) break;
    },
  },
  'a stream that is aborted': {
    async call(claude, controller) {
      const { signal } = controller;
      for await (const _ of await claude.messages.create({ ...ask(), stream: true }, { signal }))
        controller.abort();
    },
  },
  'a call that is aborted before its headers': {
    answer: hangs,
    call(claude, controller) {
      setImmediate(() => controller.abort());
      return claude.messages.create(ask(), { signal: controller.signal });
    },
  },
  'a call that fails': {
    answer: fails,
    call: (claude, { signal }) => claude.messages.create(ask(), { signal }),
  },
};

describe('a call that has ended leaves no listener on any signal (until 0.2 the body left one on its attempt’s)', () => {
  for (const [kind, { answer, call }] of Object.entries(KINDS)) {
    it(`after ${kind}`, async () => {
      const { governor, claude, signals } = governedOnSignals(answer);
      const controllers = { scope: new AbortController(), own: new AbortController() };
      await governor
        .run({ user: 'ada', signal: controllers.scope.signal }, () => call(claude, controllers.own))
        .catch(() => {});
      await until(() => isSettled(governor));

      expect(signals).toHaveLength(1);
      for (const signal of [...signals, controllers.scope.signal])
        expect(getEventListeners(signal, 'abort')).toEqual([]);
    });
  }
});
