import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { CONTENDERS } from './contenders/index.ts';
import { classFigures, type Figures, isEqualUser, jainOf, longestStarvation } from './figures.ts';
import type { FromApi, ReportRequest, Run } from './messages.ts';
import { keep, machineOf, read, writePage } from './page.ts';
import { SECONDS } from './scenario.ts';

/**
 * Headgate and others under the same peak minute, one after the other: the API in one process, the contender in another.
 * `npm run bench:peers` runs all of them and writes the tables of packages/core/docs/measurement.md; with names, only
 * those, beside the figures that are kept of the others. `--seconds` for a look that is shorter, and is not kept.
 */

/** The SDK against an account without limits: how long the answers take by themselves. */
export const UNLIMITED = 'SDK, no limits';

/** One contender under the traffic of the scenario. */
export async function runContender(name: string, seconds = SECONDS): Promise<Figures> {
  const isUnlimited = name === UNLIMITED;
  const api = start('api-process.ts', isUnlimited ? ['unlimited'] : []);
  try {
    const ready = await next<FromApi>(api);
    if (ready.kind !== 'ready') throw new Error(`the API began with a ${ready.kind}`);
    const contender = start('contender-process.ts', [isUnlimited ? 'SDK' : name, ready.url, String(seconds)]);
    try {
      const run = await next<Run>(contender);
      const to = run.startedAt + seconds * 1_000;
      api.send({ from: run.startedAt, to } satisfies ReportRequest);
      const report = await next<FromApi>(api);
      if (report.kind !== 'report') throw new Error(`the API reported a ${report.kind}`);
      return figuresOf(name, run, report);
    } finally {
      contender.kill();
    }
  } finally {
    api.kill();
  }
}

function start(file: string, args: readonly string[]): ChildProcess {
  return fork(new URL(file, import.meta.url), args, { execArgv: ['--conditions=source'] });
}

async function next<T>(child: ChildProcess): Promise<T> {
  const over = new AbortController();
  try {
    return await Promise.race([
      once(child, 'message', over).then(([message]) => message as T),
      once(child, 'exit', over).then(([code]) => {
        throw new Error(`${child.spawnargs.slice(2).join(' ')} ended with ${code}`);
      }),
    ]);
  } finally {
    over.abort();
  }
}

function figuresOf(name: string, run: Run, report: FromApi & { kind: 'report' }): Figures {
  const { ended, cpuMs, rss, loopDelayMs } = run;
  const lastedMs = Math.max(...ended.map(({ endMs }) => endMs));
  const answers = ended.filter(({ isAnswered }) => isAnswered).length;
  return {
    name,
    used: report.used,
    attempts: report.attempts,
    status429: report.status429,
    classes: classFigures(ended),
    jain: jainOf(ended),
    starved: {
      users: longestStarvation(ended.filter(isEqualUser)),
      background: longestStarvation(ended.filter(({ callClass }) => callClass === 'background')),
    },
    cpuMsPerAnswer: cpuMs / Math.max(1, answers),
    rss,
    busy: { contender: cpuMs / lastedMs, api: report.cpuMs / lastedMs, loopDelayMs },
  };
}

if (import.meta.main) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { seconds: { type: 'string' } },
  });
  const all = [...CONTENDERS.map(({ name }) => name), UNLIMITED];
  const unknown = positionals.find((name) => !all.includes(name));
  if (unknown !== undefined)
    throw new TypeError(`bench:peers: expected names out of ${all.join(', ')}; received ${unknown}`);
  const seconds = values.seconds === undefined ? SECONDS : Number(values.seconds);
  for (const name of positionals.length > 0 ? positionals : all) {
    const figures = await runContender(name, seconds);
    console.log(JSON.stringify(figures));
    if (seconds === SECONDS) keep(figures, machineOf());
  }
  if (seconds === SECONDS && read().figures.length === all.length) writePage();
}
