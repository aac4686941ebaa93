import type { PromiseCheck } from './promises.ts';
import type { DemoResult, RunResult } from './run.ts';
import { LIMITS } from './scenario.ts';
import { bareSeconds, type Line, line, percent, seconds, table, whole } from './screen.ts';
import type { ClassStats, Spread } from './stats.ts';
import { CLASSES } from './traffic.ts';

/** The summary, as lines. Every number comes out of `result`. */
export function demoReport(result: DemoResult): Line[] {
  const { governed, plain, trace, promises } = result;
  return [
    ...heading('The account and its traffic'),
    ...lines(facts(result), 2),
    ...heading('With Headgate (median and p95 in seconds)'),
    ...classTable(byClass(governed)),
    ...heading('Without (median and p95 in seconds)'),
    ...classTable(byClass(plain)),
    ...heading('Side by side'),
    ...lines(comparison(result)),
    ...(trace === undefined ? [] : traceLines('One streamed call that waited', trace)),
    ...heading('Promises'),
    ...promiseTable(promises),
  ];
}

export const heading = (text: string): Line[] => [line(), line(text, 'bold')];

/** The first `left` columns to the left. */
export function lines(rows: readonly (readonly string[])[], left = 1): Line[] {
  return table(rows, left).map((text) => line(text));
}

/** One row for each name: how its calls ended, how long they waited at the gate and took in all. */
export function classTable(rows: readonly (readonly [string, ClassStats])[]): Line[] {
  const [head = line(), ...body] = lines([
    ['who', 'calls', 'answered', 'refused', 'failed', 'wait', 'p95', 'time', 'p95'],
    ...rows.map(([name, { calls, ok, refused, failed, wait, time }]) => [
      name,
      whole(calls),
      `${whole(ok)} (${percent(ok / calls, 0)})`,
      whole(refused),
      whole(failed),
      ...[wait.p50, wait.p95, time.p50, time.p95].map(bareSeconds),
    ]),
  ]);
  return [line(head.text, 'dim'), ...body];
}

export function traceLines(title: string, trace: string): Line[] {
  return [...heading(title), ...trace.split('\n').map((text) => line(`  ${text}`))];
}

function byClass({ byClass: stats, all }: RunResult): (readonly [string, ClassStats])[] {
  return [...CLASSES.map((name) => [name, stats[name]] as const), ['all', all]];
}

function facts({ seconds: duration, offered, idle }: DemoResult): string[][] {
  const { outputTokensPerMinute, requestsPerMinute, burstSeconds } = LIMITS;
  const load = offered.outputTokens / ((outputTokensPerMinute / 60) * duration);
  return [
    [
      'limit',
      `${whole(outputTokensPerMinute)} output tokens, ${whole(requestsPerMinute)} requests a minute; bursts of ${burstSeconds} s`,
    ],
    [
      'traffic',
      `${whole(offered.calls)} calls in ${duration} s, ${whole(offered.outputTokens)} output tokens: ${load.toFixed(1)} times the limit's rate`,
    ],
    [
      'idle',
      `one user alone, ${idle.calls} calls: p50 ${seconds(idle.time.p50)}, p95 ${seconds(idle.time.p95)}`,
    ],
  ];
}

function comparison({ governed, plain, metered }: DemoResult): string[][] {
  const row = (name: string, read: (run: RunResult) => string) => [name, read(governed), read(plain)];
  const answered = ({ ok, calls }: ClassStats) => percent(ok / calls);
  const spreadOf = ({ p50, p95 }: Spread) => `${seconds(p50)} / ${seconds(p95)}`;
  const tokens = ({ inputTokens, outputTokens }: { inputTokens: number; outputTokens: number }) =>
    `${whole(inputTokens)} / ${whole(outputTokens)}`;
  return [
    ['', 'with', 'without'],
    row('upstream attempts', ({ attempts }) => whole(attempts)),
    row('429 from the API', ({ status429 }) => whole(status429)),
    row('calls answered', ({ all }) => answered(all)),
    row('  of ordinary users', (run) => answered(run.byClass.ordinary)),
    row('  in the background', (run) => answered(run.byClass.background)),
    row('  of the flooding user', (run) => answered(run.byClass.flooding)),
    row('given up on, still open', ({ all }) => whole(all.unfinished)),
    row('ordinary users, p50 / p95', (run) => spreadOf(run.byClass.ordinary.time)),
    row('share of the limit used: output', ({ used }) => percent(used.outputTokens ?? Number.NaN)),
    row('  requests', ({ used }) => percent(used.requests ?? Number.NaN)),
    row('tokens in / out', tokens),
    ["  by Headgate's metrics", tokens(metered), ''],
    ["cost by Headgate's metrics", `${metered.usd.toFixed(2)} USD`, ''],
  ];
}

function promiseTable(promises: readonly PromiseCheck[]): Line[] {
  const rows = table(
    promises.map(({ text, seen, held }) => [held ? '✓' : '✗', text, seen]),
    3,
  );
  return rows.map((text, index) => line(text, promises[index]?.held ? 'green' : 'red'));
}
