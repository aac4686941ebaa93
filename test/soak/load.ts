import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, type Governor, isHeadgateError } from '@headgate/core';

/** What the governor is set to; each reload changes a number that no call meets. */
export const configFor = (generation: number): ConfigInput => ({
  account: [
    {
      name: 'all',
      models: ['*'],
      requestsPerMinute: 600_000,
      inputTokensPerMinute: 600_000_000,
      outputTokensPerMinute: 60_000_000,
      burst: 1,
    },
  ],
  lanes: {
    interactive: { weight: 8, guarantee: 0.5, maxWait: '20s' },
    background: { weight: 1, guarantee: 0.05, maxWait: '10m' },
  },
  quotas: [
    { name: 'daily', requests: `${1_000_000 + (generation % 2)}/day` },
    { name: 'minutely', requests: '6000/minute', concurrency: 500, onExceed: 'wait' },
    { name: 'money', when: { tier: 'paid' }, usd: '1000/day' },
  ],
  timeouts: { streamIdle: '5s', total: '30s' },
  retries: { maxDelay: '500ms' },
  batch: { maxAge: '1s', poll: { first: '500ms', most: '2s' } },
});

export interface Traffic {
  readonly governor: Governor;
  readonly client: Anthropic;
  readonly random: () => number;
  readonly count: (what: string) => void;
  /** Told of a refusal that the API has not caused. */
  readonly uncaused: (message: string) => void;
  /** The API's 529s cap how many calls run: where it is slow as well, what waits too long for that is refused. */
  readonly isOverloaded: () => boolean;
}

const TIERS = ['free', 'paid', 'staff'];

/** One call: of a fresh user or a known one, with a junk model, a hang-up or a short deadline now and then. */
export async function oneCall(
  { governor, client, random, count, uncaused, isOverloaded }: Traffic,
  n: number,
): Promise<void> {
  const isFresh = n % 3 === 0;
  const user = isFresh ? `fresh-${n}` : `user-${Math.floor(random() * 300)}`;
  const kind = random();
  const model = kind < 0.03 ? `junk-${n}` : 'claude-sonnet-4-6';
  const leavesMs = kind >= 0.03 && kind < 0.08 ? random() * 80 : undefined;
  const deadlineMs = kind >= 0.08 && kind < 0.13 ? 10 + random() * 50 : undefined;
  const isStream = random() < 0.4;
  const controller = new AbortController();
  const timer = leavesMs === undefined ? undefined : setTimeout(() => controller.abort(), leavesMs);
  const params = {
    model,
    max_tokens: 100,
    messages: [{ role: 'user' as const, content: `hello ${n}` }],
  };
  const caller = {
    user,
    tier: TIERS[n % 3] ?? '',
    lane: n % 4 === 0 ? 'background' : 'interactive',
    route: `/route/${n % 5}`,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
  };
  try {
    await governor.run(caller, async () => {
      if (!isStream) return void (await client.messages.create(params, { signal: controller.signal }));
      const events = await client.messages.create({ ...params, stream: true }, { signal: controller.signal });
      for await (const _ of events) if (random() < 0.01) break;
    });
    count('ok');
  } catch (error) {
    const outcome = nameOf(error);
    const isOverload = isUncaused(outcome) && isOverloaded();
    count(isOverload ? `overloaded ${outcome}` : outcome);
    if (isUncaused(outcome) && !isOverload) uncaused(`${model}: ${(error as Error).message}`);
  } finally {
    clearTimeout(timer);
  }
}

/** Of a refusal its code and reason, of the API's own answer its status. */
export function nameOf(error: unknown): string {
  if (isHeadgateError(error)) return `${error.code}/${error.reason}`;
  const { status, name } = error as { status?: number; name?: string };
  return status === undefined ? (name ?? 'error') : `status ${status}`;
}

/** A governor that is made, used and closed. */
export async function briefGovernor(url: string, count: (what: string) => void): Promise<void> {
  const governor = createGovernor({ config: configFor(0), logger: { info() {}, warn() {}, error() {} } });
  const client = governor.govern(new Anthropic({ apiKey: 'k', baseURL: url, logLevel: 'off' }));
  const calls = Array.from({ length: 5 }, (_, n) =>
    governor
      .run({ user: `brief-${n}` }, () =>
        client.messages.create({
          model: 'claude-sonnet-4-6',
          max_tokens: 10,
          messages: [{ role: 'user', content: 'hi' }],
        }),
      )
      .then(
        () => count('brief ok'),
        (error) => count(`brief ${nameOf(error)}`),
      ),
  );
  await Promise.all(calls);
  await governor.close({ drainMs: 100 });
  count('governors closed');
}

/**
 * Refusals that the API has not caused, and that no caller asked for by a deadline or by leaving. `upstream` ones stand
 * for a model whose calls failed, or whose budget of retries is used up by failures.
 */
export const isUncaused = (outcome: string): boolean =>
  /^(brief |batch |batch submit )?(quota_exceeded|queue_full|queue_timeout|cap_refused|unpriced|unknown_caller)\/(?!deadline)/.test(
    outcome,
  );
