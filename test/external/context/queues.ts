import type { Case } from './cases.ts';
import type { HandOver, Kit } from './world.ts';

const QUEUED = { whose: 'another’s', warned: ['HG_USER_DIFFERS'] } as const;

/** Queues and pools of which one instance serves all, one task at a time. */
const queue = (
  name: string,
  packages: readonly string[],
  plain: (kit: Kit) => Promise<HandOver> | HandOver,
  more: Partial<Case> = {},
): Case => ({ name, packages, plain, ...QUEUED, ...more });

const pQueue = (version: string, whose: Case['whose']): Case =>
  queue(
    `p-queue ${version}, concurrency: 1`,
    [`p-queue-${version.split('.')[0]}@npm:p-queue@${version}`],
    async ({ load }) => {
      const { default: PQueue } = await load(`p-queue-${version.split('.')[0]}`);
      // The oldest ones are CommonJS.
      const Queue = PQueue.default ?? PQueue;
      const shared = new Queue({ concurrency: 1 });
      return ({ call }) => shared.add(call);
    },
    whose === 'its own' ? { whose, warned: [] } : {},
  );

export const QUEUES: readonly Case[] = [
  queue('bottleneck 2.19.5, schedule with maxConcurrent: 1', ['bottleneck@2.19.5'], async ({ load }) => {
    const { default: Bottleneck } = await load('bottleneck');
    const limiter = new Bottleneck({ maxConcurrent: 1 });
    return ({ call }) => limiter.schedule(call);
  }),
  queue('bottleneck 2.19.5, schedule with minTime', ['bottleneck@2.19.5'], async ({ load }) => {
    const { default: Bottleneck } = await load('bottleneck');
    const limiter = new Bottleneck({ minTime: 40, maxConcurrent: 1 });
    return ({ call }) => limiter.schedule(call);
  }),
  queue('bottleneck 2.19.5, wrap', ['bottleneck@2.19.5'], async ({ load }) => {
    const { default: Bottleneck } = await load('bottleneck');
    const limiter = new Bottleneck({ maxConcurrent: 1 });
    const wrapped = limiter.wrap((call: () => unknown) => call());
    return ({ call }) => wrapped(call);
  }),
  queue(
    'bottleneck 2.19.5, a reservoir that refills, constructed in a request',
    ['bottleneck@2.19.5'],
    async ({ load, defer }) => {
      const { default: Bottleneck } = await load('bottleneck');
      let limiter: any;
      defer(() => limiter?.disconnect());
      return ({ call }) => {
        limiter ??= new Bottleneck({
          reservoir: 0,
          reservoirRefreshAmount: 3,
          reservoirRefreshInterval: 250,
          maxConcurrent: 1,
        });
        return limiter.schedule(call);
      };
    },
  ),
  queue('fastq 1.20.3, promise', ['fastq@1.20.3'], async ({ load }) => {
    const { default: fastq } = await load('fastq');
    const shared = fastq.promise((call: () => unknown) => call(), 1);
    return ({ call }) => shared.push(call);
  }),
  queue('fastq 1.20.3, callbacks', ['fastq@1.20.3'], async ({ load }) => {
    const { default: fastq } = await load('fastq');
    const work = (call: () => Promise<unknown>, done: (error: unknown, value?: unknown) => void) =>
      void call().then((value) => done(null, value), done);
    const shared = fastq(work, 1);
    return ({ call }) => settled((done) => shared.push(call, done));
  }),
  queue('async 3.2.6, queue', ['async@3.2.6'], async ({ load }) => {
    const { default: async } = await load('async');
    const shared = async.queue((call: () => Promise<unknown>) => call(), 1);
    // Its worker is no async function by its looks, so it is called with a callback.
    const byCallback = async.queue(
      (call: () => Promise<unknown>, done: (error?: unknown) => void) => void call().then(() => done(), done),
      1,
    );
    shared.kill();
    return ({ call }) => byCallback.pushAsync(call);
  }),
  queue('async 3.2.6, cargo', ['async@3.2.6'], async ({ load }) => {
    const { default: async } = await load('async');
    const shared = async.cargo(
      (calls: (() => Promise<unknown>)[], done: (error?: unknown) => void) =>
        void Promise.allSettled(calls.map((call) => call())).then(() => done(), done),
      1,
    );
    return ({ call }) => shared.pushAsync(call);
  }),
  queue('cockatiel 4.0.0, bulkhead', ['cockatiel@4.0.0'], async ({ load }) => {
    const { bulkhead } = await load('cockatiel');
    const policy = bulkhead(1, 10);
    return ({ call }) => policy.execute(call);
  }),
  queue('rxjs 7.8.2, a shared Subject and mergeMap(fn, 1)', ['rxjs@7.8.2'], async ({ load }) => {
    const { Subject, mergeMap } = await load('rxjs');
    const tasks = new Subject();
    tasks.pipe(mergeMap((task: () => Promise<unknown>) => task(), 1)).subscribe();
    return ({ call }) => settled((done) => tasks.next(() => call().then(() => done(), done)));
  }),
  queue('rxjs 7.8.2, a shared Subject and concatMap', ['rxjs@7.8.2'], async ({ load }) => {
    const { Subject, concatMap } = await load('rxjs');
    const tasks = new Subject();
    tasks.pipe(concatMap((task: () => Promise<unknown>) => task())).subscribe();
    return ({ call }) => settled((done) => tasks.next(() => call().then(() => done(), done)));
  }),
  queue(
    'rxjs 7.8.2, bufferTime subscribed at start',
    ['rxjs@7.8.2'],
    async ({ load, defer }) => {
      const { Subject, bufferTime } = await load('rxjs');
      const tasks = new Subject();
      const subscription = tasks.pipe(bufferTime(50)).subscribe((some: (() => void)[]) => {
        for (const task of some) task();
      });
      defer(() => subscription.unsubscribe());
      return ({ call }) => settled((done) => tasks.next(() => void call().then(() => done(), done)));
    },
    { whose: 'nobody’s', warned: ['HG_NO_SCOPE'] },
  ),
  pQueue('6.6.2', 'another’s'),
  pQueue('7.4.1', 'another’s'),
  pQueue('8.1.1', 'another’s'),
  pQueue('9.3.5', 'another’s'),
  pQueue('10.0.0', 'its own'),
  queue(
    'p-limit 7.3.3',
    ['p-limit@7.3.3'],
    async ({ load }) => {
      const { default: pLimit } = await load('p-limit');
      const limit = pLimit(1);
      return ({ call }) => limit(call);
    },
    { whose: 'its own', warned: [] },
  ),
  queue('dataloader 2.2.3, one for all, key functions', ['dataloader@2.2.3'], async ({ load }) => {
    const { default: DataLoader } = await load('dataloader');
    // One that fails is its own key's error.
    const batch = (calls: readonly (() => Promise<unknown>)[]) =>
      Promise.all(calls.map((call) => call().catch((error: unknown) => error)));
    // Over HTTP requests share no tick by themselves.
    const batchScheduleFn = (run: () => void) => setTimeout(run, 100);
    const loader = new DataLoader(batch, { batchScheduleFn, cache: false });
    return ({ call }) => loader.load(call);
  }),
  {
    ...queue('node:worker_threads, callbacks by hand', [], async ({ defer }) => {
      const { Worker } = await import('node:worker_threads');
      const waiting = new Map<number, () => void>();
      let next = 0;
      let worker: InstanceType<typeof Worker> | undefined;
      defer(() => worker?.terminate());
      return ({ call }) => {
        // Made lazily: its messages come in the context of whoever made it.
        if (worker === undefined) {
          worker = new Worker(ECHO, { eval: true });
          worker.on('message', (id: number) => waiting.get(id)?.());
        }
        const id = next++;
        return settled((done) => {
          waiting.set(id, () => void call().then(() => done(), done));
          worker?.postMessage(id);
        });
      };
    }),
  },
  queue('generic-pool 3.9.0, a call in the factory', ['generic-pool@3.9.0'], async ({ load, defer }) => {
    const { createPool } = (await load('generic-pool')).default;
    const calls: (() => Promise<unknown>)[] = [];
    const pool = createPool(
      { create: async () => calls.shift()?.(), destroy: async () => {} },
      { max: 1, min: 0 },
    );
    defer(() => pool.drain().then(() => pool.clear()));
    return async ({ call }) => {
      calls.push(call);
      await pool.destroy(await pool.acquire());
    };
  }),
];

const ECHO = `const { parentPort } = require('node:worker_threads'); parentPort.on('message', (id) => setTimeout(() => parentPort.postMessage(id), 20));`;

/** A promise of what calls back. */
export const settled = (start: (done: (error?: unknown) => void) => unknown): Promise<void> =>
  new Promise((resolve, reject) => start((error) => (error == null ? resolve() : reject(error))));
