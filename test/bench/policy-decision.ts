import type { ConfigInput } from '@headgate/core';
import { systemClock } from '@headgate/core';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import type { Call } from '../../packages/core/src/request/read.ts';
import { taking } from '../support/estimates.ts';

/**
 * Time of one policy decision, with its quotas asked, taken and settled: a hundred rules, a hundred thousand users in
 * memory. `node --conditions=source --expose-gc test/bench/policy-decision.ts`
 */
const RULES = 100;
const USERS = 100_000;
const CALLS = 200_000;

const config: ConfigInput = {
  quotas: Array.from({ length: RULES }, (_, i) => ({
    name: `rule-${i}`,
    // One in ten matches a given call: by tier, by route pattern, by model pattern.
    when:
      i % 3 === 0
        ? { tier: `tier-${i % 10}` }
        : i % 3 === 1
          ? { route: `/api/${i % 10}/*` }
          : { model: [`claude-${i % 10}-*`, 'nothing-*'] },
    requests: i % 2 === 0 ? '1000k/minute' : '1000k/day',
    ...(i % 5 === 0 ? { usd: '1000/month', concurrency: 1_000 } : {}),
  })),
  caps: Array.from({ length: 10 }, (_, i) => ({ when: { tier: `tier-${i}` }, maxTokens: 4_096 })),
};
const parsed = parseConfig(config);
const policy = compilePolicy(parsed);
const quotas = new Quotas(parsed.quotas, parsed.timeZone, systemClock);
const amounts = { requests: 1 as const, inputTokens: 100, outputTokens: 100, usd: 0.001 };
const call: Call = {
  kind: 'messages',
  model: 'claude-sonnet-4-6',
  maxTokens: 1_024,
  isStreaming: false,
  body: {},
  bytes: 100,
  isReplayable: true,
};

function decide(user: number): number {
  const { scopes, ticket } = (() => {
    const plan = policy.plan(call, {
      user: `user-${user}`,
      tier: `tier-${user % 10}`,
      route: `/api/${user % 10}/chat`,
      signals: [],
    });
    return { scopes: plan.quotas.length, ticket: quotas.ticket(plan.quotas, taking(amounts)) };
  })();
  if (ticket.arrive() === undefined && ticket.ready() === undefined) {
    ticket.commit();
    ticket.settle(true, () => amounts);
  }
  return scopes;
}

const before = process.memoryUsage().heapUsed;
for (let user = 0; user < USERS; user++) decide(user);
globalThis.gc?.();
const perUser = (process.memoryUsage().heapUsed - before) / USERS;

const times = new Float64Array(CALLS);
let matched = 0;
for (let i = 0; i < CALLS; i++) {
  const user = (i * 7_919) % USERS;
  const from = performance.now();
  matched += decide(user);
  times[i] = performance.now() - from;
}
times.sort();
const at = (share: number) => ((times[Math.floor(share * CALLS)] ?? 0) * 1_000).toFixed(1);
console.log(
  `policy decision with ${RULES} rules (${(matched / CALLS).toFixed(1)} apply) and ${USERS.toLocaleString('en-US')} live users: median ${at(0.5)} µs, p99 ${at(0.99)} µs; ${perUser.toFixed(0)} bytes a user`,
);
