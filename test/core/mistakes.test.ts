import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGovernor, type Governor, loadConfig, watchConfig } from '@headgate/core';
import { checkRoute } from '@headgate/core/http';
import { headgate as express } from '@headgate/express';
import { headgate as fastifyPlugin } from '@headgate/fastify';
import { headgate as koa } from '@headgate/koa';
import { startClaudeApi } from '@headgate/testing';
import Fastify from 'fastify';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { startGoverned, until } from '../support/governed.ts';

/** What is passed as a user without types passes it. */
const untyped = (value: unknown) => value as never;
const quiet = { info() {}, warn() {}, error() {} };
const governor = createGovernor({ logger: quiet });
afterAll(() => governor.close());

const FOLDER = mkdtempSync(join(tmpdir(), 'headgate-mistakes-'));
afterAll(() => rmSync(FOLDER, { recursive: true }));
function file(text: string): string {
  const path = join(mkdtempSync(join(FOLDER, 'file-')), 'headgate.yaml');
  writeFileSync(path, text);
  return path;
}

const MISTAKES: [what: string, make: () => unknown, message: RegExp][] = [
  [
    'a configuration that was not awaited (60 of 60 passed a quota of 51)',
    () => createGovernor({ config: untyped(loadConfig(file('quotas: []\n'))) }),
    /createGovernor: config: received a promise; await it first, as await loadConfig\(path\)/,
  ],
  [
    'an update that was not awaited',
    () => governor.update(untyped(Promise.resolve({}))),
    /update: config: received a promise/,
  ],
  [
    'a store that was not awaited',
    () => createGovernor({ store: untyped(Promise.resolve({})) }),
    /store: await/,
  ],
  ['confg', () => createGovernor(untyped({ confg: {} })), /unknown key "confg", did you mean "config"\?/],
  [
    'a configuration in the place of options',
    () => createGovernor(untyped({ quotas: [] })),
    /"quotas" belongs into the configuration, as createGovernor\(\{ config: \{ quotas: … \} \}\)/,
  ],
  ['a path for options', () => createGovernor(untyped('headgate.yaml')), /expected an object of options/],
  [
    'run(fn)',
    () =>
      governor.run(
        untyped(() => 1),
        untyped(undefined),
      ),
    /expected a caller and a function/,
  ],
  ['run(caller)', () => governor.run({ user: 'ada' }, untyped({})), /received object for the function/],
  [
    'deadline',
    () => governor.run(untyped({ user: 'ada', deadline: 100 }), () => 1),
    /caller: unknown key "deadline", did you mean "deadlineMs"\?/,
  ],
  ['usr', () => governor.run(untyped({ usr: 'ada' }), () => 1), /did you mean "user"\?/],
  ['max_tokens', () => governor.run(untyped({ max_tokens: 5 }), () => 1), /did you mean "maxTokens"\?/],
  ['userName', () => governor.run(untyped({ userName: 'ada' }), () => 1), /did you mean "user"\?/],
  [
    'route({ lan })',
    () => express.route(untyped({ lan: 'x' })),
    /headgate\.route\(\): unknown key "lan", did you mean "lane"/,
  ],
  ['route({ user })', () => koa.route(untyped({ user: 'ada' })), /unknown key "user"; there are: lane/],
  [
    'route("background")',
    () => checkRoute(untyped('background')),
    /expected an object of options, received string/,
  ],
  [
    'calller of Express',
    () => express(governor, untyped({ calller: () => ({}) })),
    /did you mean "caller"\?/,
  ],
  ['calller of Koa', () => koa(governor, untyped({ calller: () => ({}) })), /did you mean "caller"\?/],
  [
    'calller of Fastify',
    () => Fastify().register(fastifyPlugin, untyped({ governor, calller: () => ({}) })),
    /did you mean "caller"\?/,
  ],
  [
    'a caller that is no function',
    () => express(governor, untyped({ caller: { user: 'ada' } })),
    /expected caller to be a function, as \(req\) => \(\{ user: req\.user\.id \}\), received object/,
  ],
  [
    'startClaudeApi({ output: 400 })',
    () => startClaudeApi(untyped({ output: 400 })),
    /startClaudeApi: expected output to be a function, as \(request, random\) => 400, received 400/,
  ],
  ['startClaudeApi({ ouput })', () => startClaudeApi(untyped({ ouput: () => 4 })), /unknown key "ouput"/],
  [
    'a latency that is no option',
    () => startClaudeApi(untyped({ latency: { firstTokenMs: 5 } })),
    /latency: unknown key "firstTokenMs"; there are: timeToFirstTokenMs/,
  ],
  [
    'a model alone',
    () => startClaudeApi(untyped({ models: 'claude-opus-5' })),
    /expected models to be a list/,
  ],
];

describe('a mistake in code is named where it is made', () => {
  it.each(MISTAKES)('%s', async (_what, make, message) => {
    const error = await (async () => make())().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(/^Headgate /);
    expect((error as Error).message).toMatch(message);
  });

  it('a fault of a kind that there is not, or with a field that its kind does not have', async () => {
    const api = await startClaudeApi();
    onTestFinished(() => api.close());
    expect(() => api.inject(untyped({ kind: 'timeout' }))).toThrow(
      /one of status, reset, .* received "timeout"/,
    );
    expect(() => api.inject(untyped({ kind: 'status', code: 500 }))).toThrow(
      /inject: status: unknown key "code"/,
    );
    expect(() => api.inject(untyped({ kind: 'status', status: '500' }))).toThrow(
      /expected status to be an HTTP status/,
    );
    expect(() => api.inject({ kind: 'status', status: 500, times: 2 })).not.toThrow();
  });

  it('a caller that is found by a function, with the first call', async () => {
    const { claude, governor: governed } = await startGoverned({});
    const call = governed.run(
      untyped(() => ({ usr: 'ada' })),
      () =>
        claude.messages.create({
          model: 'claude-haiku-4-5',
          max_tokens: 5,
          messages: [{ role: 'user', content: 'x' }],
        }),
    );
    const error: unknown = await call.catch((caught: unknown) => caught);
    expect(String((error as Error).cause ?? error)).toMatch(/unknown key "usr", did you mean "user"\?/);
  });

  it("what Fastify's register takes for itself is none", async () => {
    const app = Fastify();
    onTestFinished(() => app.close());
    await app.register(fastifyPlugin, {
      governor,
      caller: () => ({ user: 'ada' }),
      prefix: '/v1',
      logLevel: 'warn',
    });
    await app.ready();
  });
});

const KEYS: [text: string, meant: string][] = [
  ['account:\n  - { name: a, models: [x], requestPerMinute: 5 }\n', 'requestsPerMinute'],
  ['quotas:\n  - { name: q, when: { tenent: a }, requests: 5/minute }\n', 'tenant'],
  ['quota:\n  - { name: q, requests: 5/minute }\n', 'quotas'],
  ['lanes: { chat: { wieght: 4 } }\n', 'weight'],
  ['lanes: { chat: { max_wait: 4s } }\n', 'maxWait'],
  ['accounts: { other: [{ name: a, models: [x], inputTokens: 5 }] }\n', 'inputTokensPerMinute'],
  ['retry: { attempts: 3 }\n', 'retries'],
];

describe('an unknown key of a configuration names the nearest one', () => {
  it.each(KEYS)('%s', async (text, meant) => {
    await expect(loadConfig(file(text))).rejects.toThrow(`did you mean "${meant}"`);
  });

  it('and none where nothing is near', async () => {
    await expect(loadConfig(file('colour: green\n'))).rejects.toThrow(/colour: unknown key \(/);
  });
});

describe('a mistake of YAML is told with its line, its column and the line itself', () => {
  it.each([
    ['quotas:\n\t- name: q\n', /at line 2, column 1: "\\t- name: q"/],
    ['quotas: [\n  - x\n', /at line 2, column 3: " {2}- x"/],
    ['lanes: { chat: { weight: 4 }\nquotas: []\n', /at line 2, column 1: "quotas: \[\]"/],
  ])('%j', async (text, message) => {
    await expect(loadConfig(file(text))).rejects.toThrow(message);
  });
});

describe('watchConfig', () => {
  function watched(): { path: string; of: Governor; said: string[] } {
    const said: string[] = [];
    const say = (message: string) => void said.push(message);
    const path = file('lanes: { chat: { weight: 4 } }\n');
    const of = createGovernor({
      config: { lanes: { chat: { weight: 4 } } },
      logger: { info: say, warn: say, error: say },
    });
    watchConfig(path, of);
    onTestFinished(() => of.close());
    return { path, of, said };
  }

  it('forgets a mistake that was taken back', async () => {
    const { path, of, said } = watched();
    writeFileSync(path, 'lanes: { chat: { wieght: 4 } }\n');
    await until(() => of.snapshot().config.problem?.includes('weight') === true);
    writeFileSync(path, 'lanes: { chat: { weight: 4 } }\n');
    await until(() => of.snapshot().config.problem === undefined);
    expect(said.at(-1)).toBe('Headgate: the configuration is again the one that is in force');
  });

  it('says once what a reload has changed', async () => {
    const { path, of, said } = watched();
    writeFileSync(path, 'lanes: { chat: { weight: 6 } }\ncaps: [{ maxTokens: 5000 }]\n');
    await until(() => of.snapshot().config.generation === 2);
    expect(said.filter((line) => line.includes('taken over'))).toEqual([
      'Headgate: the configuration was taken over; changed: lanes.chat.weight, caps',
    ]);
  });
});
