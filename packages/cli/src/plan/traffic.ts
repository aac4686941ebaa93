import { amount, duration, type Rate, rate } from '@headgate/core/simulation';
import * as z from 'zod';

/** The one definition of the traffic file. Every object is strict: a key that is not known is traffic that never comes. */

const name = z
  .string()
  .min(1, { error: 'a name' })
  .max(64, { error: 'a name of at most 64 characters' })
  .regex(/^[\w.:-]+$/, { error: 'a name of letters, digits, and . _ : -' });
const count = z.int({ error: 'a whole number' }).positive({ error: 'a whole number above 0' });
const at = duration.prefault('0s');

/** Tokens of a call: one mean, or a mean with its spread. */
function size(spread: number) {
  const mean = z
    .number({ error: 'a number of tokens above 0' })
    .positive({ error: 'a number of tokens above 0' });
  return z
    .union([
      mean,
      z.strictObject({
        mean,
        spread: z
          .number()
          .min(0, { error: 'a spread from 0 to 3' })
          .max(3, { error: 'a spread from 0 to 3' }),
      }),
    ])
    .transform((value) => (typeof value === 'number' ? { mean: value, spread } : value));
}

const arrivals = z
  .discriminatedUnion(
    'shape',
    [
      z.strictObject({ shape: z.literal('steady'), rate }),
      z.strictObject({ shape: z.literal('poisson'), rate }),
      z.strictObject({ shape: z.literal('ramp'), from: rate, to: rate }),
      z.strictObject({ shape: z.literal('burst'), at, calls: count, within: duration.prefault('1s') }),
      z.strictObject({
        shape: z.literal('cron'),
        every: duration,
        at,
        calls: count,
        within: duration.prefault('1s'),
      }),
      z.strictObject({
        shape: z.literal('diurnal'),
        low: rate,
        high: rate,
        peak: duration.prefault('14h'),
        period: duration.prefault('1d'),
      }),
    ],
    { error: 'a mapping whose shape is one of steady, poisson, ramp, burst, cron, diurnal' },
  )
  .superRefine((value, ctx) => {
    const refuse = (path: string, message: string, input: unknown) =>
      ctx.addIssue({ code: 'custom', path: [path], message, input });
    if (value.shape === 'cron') {
      if (value.every < 1_000) refuse('every', 'a duration of at least 1s', `${value.every} ms`);
      else if (value.within > value.every)
        refuse('within', 'a duration no longer than `every`', `${value.within} ms`);
    }
    if (value.shape === 'diurnal') {
      if (perMs(value.low) > perMs(value.high)) refuse('low', 'a rate no higher than `high`', value.low);
      if (value.period < 60_000) refuse('period', 'a duration of at least 1m', `${value.period} ms`);
    }
  });

const who = {
  name: name.describe('Class of these calls, as it stands in the report and in goals'),
  lane: name.optional().describe('Left out: the default lane of the configuration'),
  tier: name.optional(),
  tenant: name.optional(),
  route: z.string().min(1).max(256).optional(),
};

const drawn = z.strictObject({
  ...who,
  users: count.max(1_000_000, { error: 'at most 1000000 users' }).default(1),
  model: z.string().min(1),
  arrivals,
  start: at.describe('From when on they come'),
  end: duration.optional().describe('Until when; left out: to the end'),
  input: size(0.8),
  output: size(1),
  maxTokens: count.default(4_096),
  streaming: z
    .number()
    .min(0, { error: 'a share from 0 to 1' })
    .max(1, { error: 'a share from 0 to 1' })
    .default(1),
});

const recorded = z.strictObject({
  ...who,
  trace: z.string().min(1).describe('A JSONL file of calls, by its path from the traffic file'),
  model: z.string().min(1).optional().describe('Of calls that name none'),
});

/** The modelled account, where it is another than the configuration says, or the configuration does not say it. */
const bucket = z.strictObject({
  name,
  models: z.array(z.string().min(1)).min(1, { error: 'at least one model id or pattern' }),
  requestsPerMinute: amount,
  inputTokensPerMinute: amount,
  outputTokensPerMinute: amount,
  burst: z
    .number()
    .gt(0, { error: 'a share above 0 and at most 1' })
    .max(1, { error: 'a share above 0 and at most 1' })
    .default(0.1),
  outputCharging: z.enum(['realtime', 'reserve-max']).default('realtime'),
});

export const trafficSchema = z.strictObject({
  duration: duration.prefault('1h').refine((ms) => ms >= 1_000, { error: 'a duration of at least 1s' }),
  start: z.iso
    .datetime({ offset: true, error: 'a time such as 2026-01-05T08:00:00Z' })
    .optional()
    .describe('When it begins, for quotas and budgets by the day or month'),
  seed: z.int({ error: 'a whole number' }).default(1),
  account: z.array(bucket).min(1, { error: 'at least one bucket' }).optional(),
  service: z
    .strictObject({
      firstToken: duration.prefault('600ms'),
      tokensPerSecond: z.number().positive({ error: 'a number above 0' }).default(70),
      network: duration.prefault('40ms').describe('One way'),
    })
    .prefault({}),
  calls: z
    .array(
      z.unknown().transform((entry, ctx) => {
        // By what the entry says it is, so that its mistakes are told and not those of the other kind.
        const isRecorded = typeof entry === 'object' && entry !== null && 'trace' in entry;
        const result = (isRecorded ? recorded : drawn).safeParse(entry, { reportInput: true });
        if (result.success) return result.data;
        for (const issue of result.error.issues) ctx.issues.push(issue as never);
        return z.NEVER;
      }),
    )
    .min(1, { error: 'at least one entry' }),
});

export type Traffic = z.output<typeof trafficSchema>;
export type DrawnCalls = z.output<typeof drawn>;
export type RecordedCalls = z.output<typeof recorded>;
export type Arrivals = DrawnCalls['arrivals'];
export type AccountBucket = z.output<typeof bucket>;

export const isRecorded = (calls: Traffic['calls'][number]): calls is RecordedCalls => 'trace' in calls;

const UNIT_MS = {
  second: 1_000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
  // As the report's month: 730 hours.
  month: 2_628_000_000,
} as const;

/** Calls a millisecond. */
export const perMs = ({ amount: calls, per }: Rate): number => calls / UNIT_MS[per];
