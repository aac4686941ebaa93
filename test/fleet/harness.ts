import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { WorkerOptions, WorkerReport } from './worker-process.ts';

/** A fleet of real processes before the fake API, which has a process of its own. */
export interface Limits {
  readonly requestsPerMinute: number;
  readonly inputTokensPerMinute: number;
  readonly outputTokensPerMinute: number;
  readonly burstSeconds: number;
}

/** Of a fleet at its peak: the API's, and those that it is configured with. */
export const LIMITS: Limits = {
  requestsPerMinute: 1_000,
  inputTokensPerMinute: 400_000,
  outputTokensPerMinute: 80_000,
  burstSeconds: 6,
};

export interface Seen {
  /** On the API's clock. */
  readonly now: number;
  readonly refusals: number;
  readonly admitted: readonly {
    readonly at: number;
    readonly userId: string;
    readonly lane: string;
    readonly inputTokens: number;
    readonly outputTokens: number;
    /** Tokens were produced evenly from then to `endedAt`; left out where that has not come yet. */
    readonly firstTokenAt?: number;
    readonly endedAt?: number;
  }[];
  readonly utilization: Record<'requests' | 'inputTokens' | 'outputTokens', number> | undefined;
  /** Share of the depth and the refill that was used, at the most, of any window of the time asked for. */
  readonly unfinished: number;
}

/** `folder`: where this package lies, for another release of it. */
function start(file: string, env: Record<string, string>, folder = import.meta.dirname): ChildProcess {
  return fork(join(folder, file), {
    execArgv: ['--conditions=source'],
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}

const heard = async <T>(child: ChildProcess): Promise<T> => {
  const gone = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`a process of the test ended: ${code ?? signal}`);
  });
  gone.catch(() => {});
  const [message] = await Promise.race([once(child, 'message'), gone]);
  return message as T;
};

export async function startApi(limits: Limits) {
  const child = start('api-process.ts', { FLEET_LIMITS: JSON.stringify(limits) });
  const { url } = await heard<{ url: string }>(child);
  const see = (from = 0, to = 0): Promise<Seen> => {
    child.send({ from, to });
    return heard<Seen>(child);
  };
  return {
    url,
    see,
    now: async () => (await see()).now,
    stop: () => void child.kill('SIGKILL'),
  };
}

/** Output tokens that the API produced between two instants on its clock. */
export function producedIn({ admitted }: Pick<Seen, 'admitted'>, from: number, to: number): number {
  let sum = 0;
  for (const { firstTokenAt, endedAt = to, outputTokens } of admitted) {
    if (firstTokenAt === undefined || endedAt <= firstTokenAt) continue;
    const overlap = Math.min(endedAt, to) - Math.max(firstTokenAt, from);
    if (overlap > 0) sum += (outputTokens * overlap) / (endedAt - firstTokenAt);
  }
  return sum;
}

export interface Worker {
  readonly child: ChildProcess;
  /** Sets its wall clock off by so much from now on. */
  step(ms: number): Promise<void>;
  snapshot(): Promise<WorkerReport>;
  stop(): Promise<WorkerReport>;
  kill(): void;
}

/** `folder`: of another release, see release.ts. */
export async function startWorker(options: WorkerOptions, folder?: string): Promise<Worker> {
  const child = start('worker-process.ts', { FLEET_WORKER: JSON.stringify(options) }, folder);
  await heard(child);
  const ask = (what: string): Promise<WorkerReport> => {
    child.send(what);
    return heard<WorkerReport>(child);
  };
  return {
    child,
    step: async (ms) => {
      child.send(`step ${ms}`);
      const { wall, real } = await heard<{ wall: number; real: number }>(child);
      if (Math.abs(wall - real - ms) > 60_000) throw new Error('the clock was not set');
    },
    snapshot: () => ask('snapshot'),
    stop: () => ask('stop'),
    kill: () => void child.kill('SIGKILL'),
  };
}

/** Script calls, what each process says of itself to other releases among them, and messages so far. */
export async function commandsOf(admin: Redis): Promise<{ scripts: number; messages: number }> {
  const info = await admin.info('commandstats');
  const of = (name: string) => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(info)?.[1] ?? 0);
  return { scripts: of('evalsha') + of('eval'), messages: of('publish') };
}

export function jain(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  const squares = values.reduce((a, b) => a + b * b, 0);
  return (sum * sum) / (values.length * squares);
}

/** The config of a fleet whose limits are those of the API. */
export const configFor = (limits: Limits, more: object = {}) => ({
  account: [
    {
      name: 's',
      models: ['*'],
      requestsPerMinute: limits.requestsPerMinute,
      inputTokensPerMinute: limits.inputTokensPerMinute,
      outputTokensPerMinute: limits.outputTokensPerMinute,
      burst: limits.burstSeconds / 60,
    },
  ],
  lanes: {
    interactive: { weight: 8, guarantee: 0.5, maxWait: '2m' },
    background: { weight: 1, guarantee: 0.05, reserve: 0, maxWait: '10m' },
  },
  ...more,
});

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
