import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKS, ConfigError, loadConfig, understandConfig } from '@headgate/core';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

/** One mistake a file, one row a file: its check, where it is, and the rule that is told. */
const FOLDER = join(import.meta.dirname, 'configs');
const MISTAKES: [file: string, code: string, path: string, expected: string][] = [
  ['unknown-key.yaml', 'HG_UNKNOWN_KEY', 'quota', 'one of the documented keys'],
  ['unknown-key-inside.yaml', 'HG_UNKNOWN_KEY', 'quotas[0].request', 'one of the documented keys'],
  ['rate.yaml', 'HG_WRONG_VALUE', 'quotas[0].requests', 'an amount per window'],
  ['duration.yaml', 'HG_WRONG_VALUE', 'lanes.only.maxWait', 'a duration such as'],
  ['duration-number.yaml', 'HG_WRONG_VALUE', 'lanes.only.maxWait', 'a duration such as'],
  ['amount.yaml', 'HG_WRONG_VALUE', 'account[0].inputTokensPerMinute', 'a number such as'],
  ['negative.yaml', 'HG_WRONG_VALUE', 'account[0].requestsPerMinute', 'a number above 0'],
  ['burst.yaml', 'HG_WRONG_VALUE', 'quotas[0].burst', 'a share from 0 to 1'],
  ['choice.yaml', 'HG_WRONG_VALUE', 'quotas[0].onExceed', 'one of refuse, wait'],
  ['name.yaml', 'HG_WRONG_VALUE', 'quotas[0].name', 'a name of letters'],
  ['missing-name.yaml', 'HG_WRONG_VALUE', 'quotas[0].name', 'text'],
  ['not-a-list.yaml', 'HG_WRONG_VALUE', 'quotas', 'a list'],
  ['time-zone.yaml', 'HG_WRONG_VALUE', 'timeZone', 'an IANA time zone'],
  ['empty.yaml', 'HG_UNREADABLE', '', 'a mapping'],
  ['list.yaml', 'HG_UNREADABLE', '', 'a mapping'],
  ['no-yaml.yaml', 'HG_UNREADABLE', '', 'YAML or JSON'],
  ['no-lane.yaml', 'HG_NO_LANE', 'lanes', 'at least one lane'],
  ['default-lane.yaml', 'HG_UNKNOWN_LANE', 'defaultLane', 'one of interactive, background'],
  ['lane-of-rule.yaml', 'HG_NEVER_MATCHES', 'quotas[0].when.lane', 'one of interactive, background'],
  ['lane-pattern.yaml', 'HG_NEVER_MATCHES', 'caps[0].when.lane', 'one of interactive, background'],
  ['guarantees.yaml', 'HG_GUARANTEES_OVER_ONE', 'lanes', 'at most 1'],
  ['twice.yaml', 'HG_DUPLICATE_NAME', 'quotas[1].name', 'a name of its own'],
  ['model-twice.yaml', 'HG_DUPLICATE_MODEL', 'account[1].models', 'a model in one bucket only'],
  ['empty-quota.yaml', 'HG_EMPTY_QUOTA', 'quotas[0]', 'at least one of'],
  ['reserved.yaml', 'HG_RESERVED_NAME', 'accounts.default', 'under `account`'],
  ['route-to-itself.yaml', 'HG_ROUTE_TO_ITSELF', 'routes[0].model', 'another model'],
  ['fallback-to-itself.yaml', 'HG_ROUTE_TO_ITSELF', 'fallbacks.claude-haiku-4-5[0]', 'another model'],
];
const DOUBTS: [file: string, code: string, path: string][] = [
  ['warn-model.yaml', 'HG_UNKNOWN_MODEL', 'quotas[0].when.model'],
  ['warn-unpriced.yaml', 'HG_UNPRICED_MODEL', 'routes[0].model'],
  ['warn-cap-ceiling.yaml', 'HG_CAP_ABOVE_CEILING', 'caps[0].maxTokens'],
  ['warn-cap-thinking.yaml', 'HG_CAP_UNDER_THINKING', 'caps[0].maxTokens'],
  ['warn-quota-twice.yaml', 'HG_RULE_OVERSHADOWED', 'quotas[1].requests'],
  ['warn-route-twice.yaml', 'HG_RULE_OVERSHADOWED', 'routes[1]'],
];

describe('a configuration file with a mistake is refused, and its message says', () => {
  it.each(MISTAKES)('%s: %s', async (file, code, path, expected) => {
    const path_ = join(FOLDER, file);
    const error = await loadConfig(path_).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ConfigError);
    const { problems, message } = error as ConfigError;
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({ code, path });
    expect(problems[0]?.expected).toContain(expected);
    for (const part of [file, path, expected, problems[0]?.received ?? '', code])
      expect(message).toContain(part);
  });
});

describe('a configuration file with a doubt is taken, and the doubt is told', () => {
  it.each(DOUBTS)('%s: %s', async (file, code, path) => {
    const { warnings } = understandConfig(parse(readFileSync(join(FOLDER, file), 'utf8')));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({ code, path });
  });
});

it('every file is in a table, and every check of a configuration has a file', () => {
  const listed = [...MISTAKES, ...DOUBTS].map(([file]) => file);
  expect(readdirSync(FOLDER).sort()).toEqual([...listed].sort());
  const runTime = [
    'HG_MODEL_GONE',
    'HG_MODEL_DEPRECATED',
    'HG_MEMORY_ONLY',
    'HG_STORE_EVICTS',
    'HG_STORE_OLD',
    'HG_STORE_READ_ONLY',
    'HG_STORE_BACKLOG',
    'HG_STORE_FILE',
    'HG_STORE_OCCUPIED',
    'HG_QUOTA_KEYS',
    'HG_USAGE_BOUNDED',
    'HG_CLUSTER_MEMORY',
    'HG_COPY_LACKS',
    'HG_SDK_RETRIES',
    'HG_GOVERNOR_PER_REQUEST',
    'HG_NO_CALLER',
    'HG_NO_SCOPE',
    'HG_SCOPE_CHANGED',
    'HG_SCOPE_OVER',
    'HG_USER_DIFFERS',
    'HG_OTEL_API',
    'HG_PRICES_OLD',
    'HG_PRICE_FILE',
    'HG_COUNT_TOKENS',
    'HG_RETRY_AFTER',
    'HG_JOURNAL',
    'HG_BUDGET_SOFT',
    'HG_BATCH_DIRECT',
    'HG_RECORDING',
  ];
  const codes = new Set([...MISTAKES, ...DOUBTS].map(([, code]) => code));
  expect(
    Object.keys(CHECKS)
      .filter((code) => !codes.has(code))
      .sort(),
  ).toEqual(runTime.sort());
});

it('the configuration of the design is taken as it is', () => {
  const { warnings } = understandConfig({
    account: [
      {
        name: 'sonnet-4',
        models: ['claude-sonnet-4-5*', 'claude-sonnet-4-6*'],
        requestsPerMinute: 1000,
        inputTokensPerMinute: 2_000_000,
        outputTokensPerMinute: 400_000,
        burst: 0.1,
        concurrency: 100,
        outputCharging: 'realtime',
      },
    ],
    accounts: {},
    lanes: {
      interactive: { weight: 8, guarantee: 0.5, reserve: 0, maxWait: '20s' },
      background: { weight: 1, guarantee: 0.05, reserve: 0.15, maxWait: '10m' },
    },
    defaultLane: 'interactive',
    quotas: [
      {
        name: 'free-per-user',
        when: { tier: 'free' },
        per: 'user',
        requests: '30/minute',
        inputTokens: '40k/minute',
        outputTokens: '10k/minute',
        usd: '1.00/day',
        concurrency: 2,
        burst: 1,
        onExceed: 'refuse',
        shadow: false,
      },
    ],
    caps: [{ when: { tier: 'free' }, maxTokens: 512, onExceed: 'clamp' }],
    routes: [
      { when: { lane: 'background', model: 'claude-opus-*' }, model: 'claude-haiku-4-5', if: 'pressure' },
    ],
    fallbacks: { 'claude-opus-4-7': ['claude-sonnet-4-6'] },
    retries: { maxAttempts: 4, budget: 0.1, maxDelay: '30s' },
    timeouts: { total: '10m', streamIdle: '60s' },
    hangUp: 'abort',
    unknownCaller: 'allow',
    caching: 'off',
    prices: {},
    shadow: false,
    telemetry: { user: 'hash', content: false, semconv: 'latest', spans: 'auto' },
  });
  expect(warnings.map(({ code }) => code)).toEqual(['HG_CAP_UNDER_THINKING']);
});
