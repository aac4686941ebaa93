import * as z from 'zod';

const UNIT_MS = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
} as const;
const SUFFIX = { '': 1, k: 1_000, M: 1_000_000 } as const;

const DURATION = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/;
const RATE = /^(\d+(?:\.\d+)?)\s*([kM]?)\s*\/\s*(second|minute|hour|day|month)$/;
const AMOUNT = /^(\d+(?:\.\d+)?)\s*([kM]?)$/;

/** Windows of a minute and less refill continuously; so does the hour. Days and months are calendar windows. */
export type WindowUnit = 'second' | 'minute' | 'hour' | 'day' | 'month';

/** So much in a window, as `40k/minute`. */
export interface Rate {
  readonly amount: number;
  readonly per: WindowUnit;
}

/** Whether what is used comes back all the time, and not at the end of a window of the calendar. */
export const isRefilled = ({ per }: Rate): boolean => per !== 'day' && per !== 'month';

/** `500ms 20s 10m 1h 1d`, to milliseconds. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
}

/** `30/minute`, `40k/minute`, `1.5/day`. */
export function parseRate(text: string): Rate | undefined {
  const match = RATE.exec(text);
  if (match === null) return undefined;
  return {
    amount: Number(match[1]) * SUFFIX[match[2] as keyof typeof SUFFIX],
    per: match[3] as WindowUnit,
  };
}

/** `2000000`, `2M`, `40k`. */
export function parseAmount(text: string): number | undefined {
  const match = AMOUNT.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * SUFFIX[match[2] as keyof typeof SUFFIX];
}

/** A string schema whose value is read by `parse`, refused with `expected` where it cannot be read. */
function read<T>(parse: (text: string) => T | undefined, expected: string, pattern: RegExp) {
  return z
    .string({ error: expected })
    .regex(pattern, { error: expected, abort: true })
    .transform((text, ctx) => {
      const value = parse(text);
      if (value !== undefined) return value;
      ctx.addIssue({ code: 'custom', message: expected, input: text });
      return z.NEVER;
    });
}

export const duration = read(parseDuration, 'a duration such as 500ms, 20s, 10m, 1h or 1d', DURATION);

export const rate = read(
  parseRate,
  'an amount per window such as 30/minute, 40k/minute or 1.5/day (second, minute, hour, day, month)',
  RATE,
).refine((value) => value.amount > 0, {
  error: 'an amount above 0 per window',
});

const positive = z.number().positive({ error: 'a number above 0' });

/** A count per minute: a number, or text such as `2M` or `400k`. */
export const amount = z.union([
  positive,
  read(parseAmount, 'a number such as 1000, 400k or 2M', AMOUNT).refine((value) => value > 0, {
    error: 'a number above 0',
  }),
]);
