import * as z from 'zod';
import { amount, duration, rate } from './units.ts';

/**
 * The one definition of the configuration: validation, the TypeScript types and the published JSON
 * Schema all come from here, and so does the options table of the README. Every object is strict: a key
 * that is not known is a problem, since a limit that is silently off is worse than no limit.
 */

const name = z
  .string()
  .min(1, { error: 'a name' })
  .max(64, { error: 'a name of at most 64 characters' })
  .regex(/^[\w.:-]+$/, { error: 'a name of letters, digits, and . _ : -' });

const globs = z.union([
  z.string().min(1),
  z.array(z.string().min(1)).min(1, { error: 'at least one pattern' }),
]);
const share = z.number().min(0, { error: 'a share from 0 to 1' }).max(1, { error: 'a share from 0 to 1' });
const count = z.int({ error: 'a whole number' }).positive({ error: 'a whole number above 0' });

const bucket = z.strictObject({
  name: name.describe('Name of the upstream bucket, as it appears in spans, metrics and errors'),
  models: z
    .array(z.string().min(1))
    .min(1, { error: 'at least one model id or pattern' })
    .describe('Model ids that share this bucket; `*` matches any run of characters'),
  requestsPerMinute: amount.optional().describe('Left out: learned from response headers'),
  inputTokensPerMinute: amount.optional().describe('Left out: learned from response headers'),
  outputTokensPerMinute: amount.optional().describe('Left out: learned from response headers'),
  burst: share
    .refine((value) => value > 0, { error: 'a share above 0 and at most 1' })
    .optional()
    .describe(
      'Depth of the bucket, as a share of one minute: what may go at once. Left out: learned, from a sixtieth up',
    ),
  concurrency: count.optional().describe('Calls in flight at once, per process'),
  outputCharging: z
    .enum(['realtime', 'reserve-max'])
    .default('realtime')
    .describe('Whether the provider charges output as it is produced, or `max_tokens` in advance'),
});

const lane = z.strictObject({
  weight: z
    .number()
    .positive({ error: 'a weight above 0' })
    .default(1)
    .describe('Share of what is left when every guarantee is met'),
  guarantee: share
    .default(0)
    .describe('Share of the bucket, and of the calls at once, that this lane gets whenever it asks'),
  reserve: share
    .refine((value) => value < 1, { error: 'a share from 0 and below 1' })
    .default(0)
    .describe(
      'Share of the bucket, and of the calls at once, that this lane may not draw on: it is left for lanes of a smaller reserve',
    ),
  maxWait: duration.prefault('20s').describe('The longest wait in the queue, from arrival'),
  maxQueued: count.default(10_000).describe('Calls that may wait in this lane, per bucket and process'),
  maxQueuedPerUser: count.default(1_000).describe('Calls of one user that may wait in this lane'),
  via: z
    .enum(['direct', 'batch'])
    .default('direct')
    .describe(
      '`batch`: calls of this lane go through the batch lane, at half the price, and wait for its results',
    ),
});

const when = z
  .strictObject({
    user: globs.optional(),
    tenant: globs.optional(),
    tier: globs.optional(),
    lane: globs.optional(),
    route: globs.optional(),
    model: globs.optional(),
  })
  .default({})
  .describe('Matchers; every one that is given must match, and a list matches when one of it does');

const quota = z.strictObject({
  name: name.describe('Name of the rule, as it appears in spans, metrics, errors and headers'),
  when,
  per: z
    .enum(['user', 'tenant', 'route', 'model', 'account', 'all'])
    .default('user')
    .describe('Who has one each'),
  requests: rate.optional().describe('So many per window, as `30/minute`'),
  inputTokens: rate.optional().describe('As `40k/minute`; cache reads do not count'),
  outputTokens: rate.optional().describe('As `10k/minute`'),
  usd: rate.optional().describe('As `1.50/day`: refused by the estimate, settled by the truth'),
  concurrency: count.optional().describe('Calls in flight at once'),
  burst: share
    .refine((value) => value > 0, { error: 'a share above 0 and at most 1' })
    .default(1)
    .describe("Share of the window's quota that may go at once (windows of an hour and less)"),
  onExceed: z
    .enum(['refuse', 'wait'])
    .default('refuse')
    .describe("`wait` parks the call up to its lane's maxWait"),
  shadow: z.boolean().default(false).describe('Decide and record, never refuse'),
});

const budget = z.strictObject({
  name: name.describe('Name of the budget; a quota may not have the same'),
  when,
  per: z.enum(['user', 'tenant', 'account', 'all']).default('all').describe('Who has one each'),
  usd: rate.describe('As `200/month`'),
  soft: share.default(0.8).describe('Share from which on it is warned of, and the measures below are taken'),
  downgradeTo: z
    .string()
    .min(1)
    .optional()
    .describe(
      'From the soft share on, the model that is asked instead, where it suits and the caller allows it',
    ),
  refuseFirst: globs
    .optional()
    .describe('Lanes whose calls are refused from the soft share on, so that the rest is for the others'),
  hard: z.boolean().default(true).describe('Whether calls are refused when it is used up'),
});

const cap = z.strictObject({
  when,
  maxTokens: count.describe('Ceiling on `max_tokens`'),
  onExceed: z.enum(['clamp', 'refuse']).default('clamp').describe('Lower it, or refuse the call'),
});

const route = z.strictObject({
  when,
  model: z.string().min(1).describe('The model that is asked instead'),
  if: z
    .enum(['always', 'pressure'])
    .default('always')
    .describe('`pressure`: only while the wait for the model asked for would be long'),
});

const caching = z.strictObject({
  when,
  mode: z.enum(['off', 'auto']).default('auto').describe('Whether prefixes of these calls are marked'),
});

const day = z
  .string()
  .refine((text) => /^\d{4}-\d{2}-\d{2}$/.test(text) && isDay(text), { error: 'a day such as 2026-11-09' });
const usd = z.number().min(0, { error: 'a price of at least 0' });
const priceFields = {
  input: usd.describe('USD per million input tokens'),
  output: usd.describe('USD per million output tokens'),
  cacheWrite5m: usd.optional().describe('Left out: 1.25 times the input price'),
  cacheWrite1h: usd.optional().describe('Left out: twice the input price'),
  cacheRead: usd.optional().describe('Left out: a tenth of the input price'),
};
const steps = z
  .array(
    z.strictObject({
      above: count.describe(
        'The step holds for prompts of more input tokens than this, cached ones included',
      ),
      ...priceFields,
    }),
  )
  .default([])
  .describe('Other prices for long prompts, the smallest first');
const price = z.strictObject({
  ...priceFields,
  since: day
    .optional()
    .describe(
      'First day of the price, as `2026-11-09`, UTC; left out: always. Until then the next known price holds',
    ),
  source: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .describe('Where the price was read, for `headgate prices`'),
  steps,
  batch: share.default(0.5).describe('Share of the price that a batch pays'),
  fast: z
    .strictObject({ ...priceFields, steps })
    .optional()
    .describe('Prices in fast mode; left out: not known'),
});

type PriceInput = z.input<typeof price>;
/** The file's name stands beside the models, so the type of a model's price cannot be told from its key. */
export interface PricesInput {
  file?: string | undefined;
  [model: string]: PriceInput | string | undefined;
}
interface Prices {
  readonly file?: string | undefined;
  readonly [model: string]: PriceConfig | string | undefined;
}
const prices = z
  .object({
    file: z
      .string()
      .min(1, { error: 'a path' })
      .optional()
      .describe(
        'A JSON or YAML file of prices by model, of the same shape; read again when it changes, and the old prices stay where it is broken. In a configuration file the path is relative to that file',
      ),
  })
  .catchall(price) as unknown as z.ZodType<Prices, PricesInput>;

/** A price file: prices by model. */
export const priceFileSchema = z.record(z.string().min(1), price);

export const configSchema = z.strictObject({
  account: z
    .array(bucket)
    .default([])
    .describe("The default account's limits, one entry per upstream bucket; left out, they are learned"),
  accounts: z.record(name, z.array(bucket)).default({}).describe('Further accounts by name, same shape'),
  lanes: z
    .record(name, lane)
    .prefault({
      interactive: { weight: 8, guarantee: 0.5, reserve: 0, maxWait: '20s' },
      background: { weight: 1, guarantee: 0.05, reserve: 0.15, maxWait: '10m' },
    })
    .describe('Priority classes, most urgent first'),
  defaultLane: name.optional().describe('Lane of a call that names none; left out, the first lane'),
  quotas: z
    .array(quota)
    .default([])
    .describe("Every rule that matches applies, with the account's limits, all or nothing"),
  budgets: z
    .array(budget)
    .default([])
    .describe('Money over a window, with measures before it ends and a forecast of when it will'),
  caps: z.array(cap).default([]).describe('Ceilings on `max_tokens`; the lowest that matches holds'),
  routes: z
    .array(route)
    .default([])
    .describe('Other models where they fit; the first rule that matches counts'),
  fallbacks: z
    .record(z.string().min(1), z.array(z.string().min(1)).min(1, { error: 'at least one model' }))
    .default({})
    .describe('Models to ask, in this order, when one is overloaded or failing; by model id or pattern'),
  retries: z
    .strictObject({
      maxAttempts: count.default(4).describe('Attempts of one call, the first included'),
      budget: share.default(0.1).describe('Retries as a share of first attempts, over all calls'),
      maxDelay: duration.prefault('30s').describe('Bound of our own backoff; never shortens a `retry-after`'),
    })
    .prefault({}),
  countTokens: z
    .strictObject({
      above: amount.describe(
        'Prompts estimated above so many tokens are counted by the API first: a request more, in a bucket of its own',
      ),
    })
    .optional()
    .describe('Whether the API is asked how large a prompt is; left out, it is estimated'),
  timeouts: z
    .strictObject({
      total: duration.prefault('10m').describe('A call from arrival to the end of its stream'),
      streamIdle: duration
        .prefault('60s')
        .describe('A response that nobody reads, or that stalls, is ended after this'),
    })
    .prefault({}),
  hangUp: z
    .enum(['abort', 'drain'])
    .default('abort')
    .describe(
      'What becomes of an answer whose reader leaves: `drain` reads it to its end, for half a minute at most, to learn what it took',
    ),
  unknownCaller: z
    .enum(['allow', 'refuse'])
    .default('allow')
    .describe('A call outside every caller scope: governed as `anonymous`, or refused'),
  prices: prices
    .default({})
    .describe(
      'Prices that hold in place of the built-in ones, by model id (alone or with a date such as `-20261101` behind it) or by pattern with `*`',
    ),
  unpriced: z
    .enum(['dearest', 'refuse', 'free'])
    .default('dearest')
    .describe(
      'What counts for a model without a price where a quota or budget in USD applies: the highest price known for its provider; or the call is refused; or it counts as free. Said once by name in the log',
    ),
  shadow: z.boolean().default(false).describe('The whole policy decides and records, and never refuses'),
  maxKeys: count
    .default(200_000)
    .describe(
      'Users, tenants, routes or models that each quota keeps in memory, at most. Past it those that have used least are forgotten, in their favour; with a store only those of the last minutes are in memory',
    ),
  timeZone: z
    .string()
    .refine(isTimeZone, {
      error: 'an IANA time zone such as UTC or Europe/Berlin',
    })
    .default('UTC')
    .describe('Time zone of day and month quotas'),
  caching: z
    .union([z.enum(['off', 'auto']), caching, z.array(caching)])
    .default('off')
    .describe(
      '`auto`: a long system prompt with its tools, seen again within five minutes, is marked for the cache, where the caller has marked nothing; also as rules `{ when, mode }`, of which the first that matches counts',
    ),
  batch: z
    .strictObject({
      journal: z
        .string()
        .min(1, { error: 'a path' })
        .optional()
        .describe('File that keeps the work of the batch lane; left out, it ends with the process'),
      maxAge: duration.prefault('1m').describe('A request waits this long for others to go with'),
      maxRequests: count
        .max(100_000, { error: 'at most 100000, the most that one batch may have' })
        .default(10_000)
        .describe('Requests that make a batch full'),
      maxBytes: count
        .max(256 * 2 ** 20, { error: 'at most 268435456, the most that one batch may have' })
        .default(32 * 2 ** 20)
        .describe('Bytes of requests that make a batch full'),
      maxProcessing: count.default(100_000).describe('Requests in batches that have not ended, at most'),
      maxPending: count.default(200_000).describe('Requests without a result, at most; more are refused'),
      maxAttempts: count.default(3).describe('Batches that a request goes in, where an error may pass'),
      requestsPerMinute: amount
        .optional()
        .describe('Limit of the batch endpoints; left out, it is learned from response headers'),
      poll: z
        .strictObject({
          first: duration.prefault('15s').describe('From the sending of a batch to the first look at it'),
          most: duration.prefault('2m').describe('The longest time between two looks'),
        })
        .prefault({}),
      grace: duration
        .prefault('10m')
        .describe('A batch whose sending nobody answered, and that no list shows by then, is sent again'),
      keep: duration.prefault('7d').describe('Results that nobody fetches are kept this long'),
      keepDelivered: duration
        .prefault('1h')
        .describe('Results are kept this long when they have been delivered'),
    })
    .prefault({}),
  telemetry: z
    .strictObject({
      user: z
        .enum(['hash', 'raw', 'off'])
        .default('hash')
        .describe('How user ids appear on spans; never on metrics'),
      hashKey: z
        .string()
        .min(16, { error: 'at least 16 characters' })
        .optional()
        .describe('Key of the user hash; left out, one per process'),
      content: z
        .literal(false, { error: 'false: prompts and answers are not recorded' })
        .default(false)
        .describe('Prompts and answers are never recorded'),
      semconv: z
        .enum(['latest', 'v1.41', 'both'])
        .default('latest')
        .describe('Which names of `gen_ai.*` metrics are emitted'),
      spans: z
        .enum(['auto', 'always', 'off'])
        .default('auto')
        .describe('Whether a `chat` span is emitted: `auto` where the SDK emits none'),
    })
    .prefault({}),
});

/** Whether a text such as 2026-02-30 names a day that exists. */
function isDay(text: string): boolean {
  const time = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}

function isTimeZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

/** What a user writes. */
export type ConfigInput = z.input<typeof configSchema>;
/** The complete configuration, every default filled in and every unit read. */
export type Config = z.output<typeof configSchema>;
export type BucketConfig = z.output<typeof bucket>;
export type LaneConfig = z.output<typeof lane>;
export type QuotaConfig = z.output<typeof quota>;
export type BudgetConfig = z.output<typeof budget>;
export type CachingConfig = z.output<typeof caching>;
export type CapConfig = z.output<typeof cap>;
export type BatchConfig = Config['batch'];
export type PriceConfig = z.output<typeof price>;
export type When = z.output<typeof when>;
