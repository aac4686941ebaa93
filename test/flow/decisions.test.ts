import type { ConfigInput } from '@headgate/core';
import type { Fault } from '@headgate/testing';
import { expect, it } from 'vitest';
import { ask, type Governed, isSettled, rejection, startGoverned, until } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

/**
 * Every decision about attempts, as it stands on the spans and in the metrics. Of a span what was decided on it, in the
 * order in which the spans began; of the metrics the points that tell of the decision.
 */
const ALWAYS = Number.POSITIVE_INFINITY;
const DECIDED = [
  'headgate.decision',
  'headgate.reason',
  'headgate.rule',
  'headgate.outcome',
  'headgate.model.sent',
  'headgate.model.requested',
  'headgate.fallback.cause',
  'headgate.backoff.source',
  'headgate.retry.denied',
  'headgate.breaker.state',
  'headgate.error_code',
  'http.request.resend_count',
  'http.response.status_code',
  'error.type',
];
const TOLD = [
  'headgate.decisions',
  'headgate.attempts',
  'headgate.retries',
  'headgate.retries.denied',
  'headgate.fallbacks',
  'headgate.breaker.transitions',
];
const SONNET = 'claude-sonnet-4-6';
const HAIKU = 'claude-haiku-4-5';
const OPEN = { requestsPerMinute: 60_000 };
const CONFIG: ConfigInput = {
  account: [
    { name: 's', models: ['claude-sonnet-*'], ...OPEN },
    { name: 'h', models: ['claude-haiku-*'], ...OPEN },
  ],
  retries: { maxAttempts: 2, maxDelay: '10ms' },
};
const FALLBACK: ConfigInput = { ...CONFIG, fallbacks: { [SONNET]: [HAIKU] } };
const isSonnet = ({ body }: { body: unknown }) => (body as { model?: string }).model === SONNET;
const SLOW = { latency: { timeToFirstTokenMs: 10, tokensPerSecond: 100, flushMs: 10 }, output: () => 2_000 };

interface Scenario {
  readonly config?: ConfigInput;
  readonly api?: object;
  /** What comes before, of which nothing is looked at. */
  before?(governed: Governed): Promise<unknown>;
  readonly fault?: Fault;
  run?(governed: Governed): Promise<unknown>;
}

const stream = async ({ claude }: Governed, until: (events: number) => boolean) => {
  let events = 0;
  for await (const _ of await claude.messages.create({ ...ask('x', { max_tokens: 4_000 }), stream: true }))
    if (until(++events)) break;
};
const failing = async ({ claude, api }: Governed, times: number) => {
  const end = api.inject({ kind: 'status', status: 529, when: isSonnet, times: ALWAYS });
  for (let i = 0; i < times; i++) await claude.messages.create(ask()).catch(() => {});
  end();
};

const SCENARIOS: Record<string, Scenario> = {
  'a 429, waited for in the queue': {
    fault: {
      kind: 'status',
      status: 429,
      headers: { 'retry-after-ms': '400', 'anthropic-ratelimit-requests-remaining': '0' },
    },
  },
  'a 429 that the headers contradict, waited for alone': {
    fault: { kind: 'status', status: 429, headers: { 'retry-after-ms': '400' } },
  },
  'a 429 for growth': {
    fault: {
      kind: 'status',
      status: 429,
      errorCode: 'ramp_limit_exceeded',
      headers: { 'retry-after-ms': '400' },
    },
  },
  'an overload, retried after a backoff': { fault: { kind: 'status', status: 529 } },
  'an overload that tells when to come back': {
    fault: { kind: 'status', status: 529, headers: { 'retry-after-ms': '1' } },
  },
  'as many attempts as there may be': { fault: { kind: 'status', status: 500, times: ALWAYS } },
  'an error that is final': { fault: { kind: 'status', status: 400 } },
  'a retry-after beyond the deadline': {
    fault: { kind: 'status', status: 529, headers: { 'retry-after': '3600' } },
  },
  'a retry budget that is used up': {
    config: { ...CONFIG, retries: { maxAttempts: 2, maxDelay: '10ms', budget: 0 } },
    before: async ({ claude, api, governor }) => {
      // Some are saved up; not half of all calls, or the breaker would come first.
      let asked = 0;
      api.inject({ kind: 'status', status: 500, times: ALWAYS, when: () => asked++ % 3 === 0 });
      while (governor.snapshot().retryBudget > 0.5) await claude.messages.create(ask()).catch(() => {});
      api.reset();
    },
    fault: { kind: 'status', status: 500 },
  },
  'a limit of money that is met': {
    fault: { kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached' },
  },
  'a limit of money that is known': {
    before: async ({ claude, api }) => {
      api.inject({ kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached' });
      await rejection(claude.messages.create(ask()));
    },
  },
  'a limit of money that is known, with a fallback': {
    config: FALLBACK,
    before: async ({ claude, api }) => {
      api.inject({ kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached' });
      await rejection(claude.messages.create(ask()));
    },
  },
  'another model, for an overload': {
    config: { ...FALLBACK, retries: { maxAttempts: 1 } },
    fault: { kind: 'status', status: 529, when: isSonnet },
  },
  'another model, for one that is not there': {
    config: FALLBACK,
    fault: { kind: 'status', status: 404, when: isSonnet },
  },
  'another model, for one that is known not to be there': {
    config: FALLBACK,
    before: async ({ claude, api }) => {
      api.inject({ kind: 'status', status: 404, message: `model: ${ask().model}`, when: isSonnet });
      await claude.messages.create(ask());
    },
  },
  'a breaker that opens': {
    config: { ...CONFIG, retries: { maxAttempts: 1 } },
    before: (governed) => failing(governed, 19),
    fault: { kind: 'status', status: 529 },
  },
  'a breaker that is open': {
    config: { ...CONFIG, retries: { maxAttempts: 1 } },
    before: (governed) => failing(governed, 20),
  },
  'another model, for a breaker that is open': {
    config: { ...FALLBACK, retries: { maxAttempts: 1 } },
    before: (governed) => failing(governed, 20),
  },
  'a breaker that lets one call see': {
    config: { ...CONFIG, retries: { maxAttempts: 1 } },
    before: async (governed) => {
      await failing(governed, 20);
      await until(() => governed.governor.snapshot().breakers[0]?.state === 'half_open');
    },
  },
  'a deadline that passes while headers are awaited': {
    fault: { kind: 'stall', at: 'before-headers', ms: 2_000 },
    run: ({ claude, governor }) => governor.run({ deadlineMs: 50 }, () => claude.messages.create(ask())),
  },
  'a deadline that passes in mid-stream': {
    api: SLOW,
    run: (governed) => governed.governor.run({ deadlineMs: 100 }, () => stream(governed, () => false)),
  },
  'a caller that leaves while headers are awaited': {
    fault: { kind: 'stall', at: 'before-headers', ms: 2_000 },
    run: ({ claude, api }) => {
      const controller = new AbortController();
      void until(() => api.received.length === 1).then(() => controller.abort());
      return claude.messages.create(ask(), { signal: controller.signal });
    },
  },
  'a caller that leaves in mid-stream': {
    api: SLOW,
    run: (governed) => stream(governed, (events) => events > 3),
  },
  'a stream that nobody reads': {
    api: SLOW,
    config: { ...CONFIG, timeouts: { streamIdle: '50ms' } },
    run: async ({ claude, governor }) => {
      await claude.messages.create({ ...ask('x', { max_tokens: 4_000 }), stream: true }).asResponse();
      await until(() => isSettled(governor));
    },
  },
  'a governor that is closed': {
    fault: { kind: 'stall', at: 'before-headers', ms: 2_000 },
    run: async ({ claude, governor, api }) => {
      const call = rejection(claude.messages.create(ask()));
      await until(() => api.received.length === 1);
      await governor.close({ drainMs: 10 });
      await call;
    },
  },
  'a connection that breaks': { fault: { kind: 'reset', at: 'before-headers' } },
  'an error in mid-stream': {
    fault: { kind: 'stream-error', type: 'overloaded_error', afterEvents: 3 },
    run: (governed) => stream(governed, () => false),
  },
};

it.each(Object.entries(SCENARIOS))('%s', async (_, { config = CONFIG, api = {}, before, fault, run }) => {
  const telemetry = startTelemetry({ register: true });
  const governed = await startGoverned({
    config,
    api: { limits: [{ name: 'all', models: ['*'], requestsPerMinute: 60_000 }], ...api },
    governor: { meterProvider: telemetry.meterProvider, random: () => 0.5 },
  });
  const points = async () => {
    await telemetry.collect();
    return new Map(
      TOLD.flatMap((name) =>
        telemetry.metrics.points(name).map(({ attributes, value }) => {
          const { 'headgate.lane': _lane, ...told } = attributes;
          const text = Object.entries(told)
            .map(([key, each]) => `${key.replace('headgate.', '')}=${each}`)
            .sort();
          return [`${name.replace('headgate.', '')} ${text.join(' ')}`, Number(value)] as const;
        }),
      ),
    );
  };
  await before?.(governed);
  await until(() => isSettled(governed.governor));
  const earlier = await points();
  telemetry.spans.clear();
  if (fault !== undefined) governed.api.inject(fault);
  await (run?.(governed) ?? governed.claude.messages.create(ask())).catch(() => {});
  await until(() => isSettled(governed.governor));

  const spans = telemetry.spans.spans
    .filter(({ name }) => name.startsWith('headgate.'))
    .sort((a, b) => a.order - b.order)
    .map(({ name, attributes, status }) => {
      const told = DECIDED.filter((key) => attributes[key] !== undefined).map(
        (key) => `${key.replace('headgate.', '')}=${attributes[key]}`,
      );
      return `${name.replace('headgate.', '')}${status === 'error' ? ' (error)' : ''} ${told.join(' ')}`;
    });
  const metrics = [...(await points())]
    .map(([name, value]) => [name, value - (earlier.get(name) ?? 0)] as const)
    .filter(([, value]) => value !== 0)
    .map(([name, value]) => `${name}: ${value}`)
    .sort();
  expect({ spans, metrics }).toMatchSnapshot();
});
