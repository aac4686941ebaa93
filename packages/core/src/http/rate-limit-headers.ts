import type { Standing } from '../caller/caller.ts';
import type { WindowUnit } from '../config/units.ts';

const WINDOW_SECONDS: Record<WindowUnit, number> = {
  second: 1,
  minute: 60,
  hour: 3_600,
  day: 86_400,
  // The longest month: a window that is a little too long misleads nobody.
  month: 2_678_400,
};

/** Requests are the unit that the draft takes where none is named. The other two are no registered units. */
const POLICY: Record<Standing['name'], { readonly suffix: string; readonly unit: string | undefined }> = {
  requests: { suffix: '', unit: undefined },
  inputTokens: { suffix: '-input-tokens', unit: 'input-tokens' },
  outputTokens: { suffix: '-output-tokens', unit: 'output-tokens' },
};

/**
 * `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10) of the caller's own quotas, and of
 * nobody else's. Remaining amounts are rounded down and times up: what is told can be counted on.
 */
export function rateLimitHeaders(standing: readonly Standing[]): Record<string, string> {
  if (standing.length === 0) return {};
  const policies: string[] = [];
  const limits: string[] = [];
  for (const { rule, name, quota, window, remaining, resetMs } of standing) {
    const { suffix, unit } = POLICY[name];
    // Names of rules are letters, digits and a few marks: nothing that a quoted string would have to escape.
    const key = `"${rule}${suffix}"`;
    policies.push(
      `${key};q=${Math.floor(quota)};w=${WINDOW_SECONDS[window]}${unit === undefined ? '' : `;qu="${unit}"`}`,
    );
    limits.push(`${key};r=${Math.max(0, Math.floor(remaining))};t=${Math.ceil(resetMs / 1000)}`);
  }
  return { 'ratelimit-policy': policies.join(', '), ratelimit: limits.join(', ') };
}
