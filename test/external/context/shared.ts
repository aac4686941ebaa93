import { bound, type Case } from './cases.ts';
import { settled } from './queues.ts';
import type { HandOver, Kit, User } from './world.ts';

const USER_DIFFERS = { whose: 'another’s', warned: ['HG_USER_DIFFERS'] } as const;

/** Hands a job over by its name, and is told when a worker has done it. */
class Board {
  readonly #waiting = new Map<string, () => void>();
  readonly #calls = new Map<string, () => Promise<unknown>>();

  wait(id: string, call: () => Promise<unknown>): Promise<void> {
    this.#calls.set(id, call);
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  async work(id: string): Promise<void> {
    try {
      await this.#calls.get(id)?.();
    } finally {
      this.#waiting.get(id)?.();
    }
  }
}

/** What a job says of its caller. */
interface Job {
  readonly user: User;
  readonly tenant: string | undefined;
}

type Start = (work: (job: Job) => Promise<void>) => Promise<(job: Job) => Promise<unknown>>;

/** A worker that is made in the first request that needs it: all its jobs are that one's, for good. */
const lazyWorker =
  (start: (kit: Kit) => Start) =>
  async (kit: Kit): Promise<HandOver> => {
    const board = new Board();
    let add: Promise<(job: Job) => Promise<unknown>> | undefined;
    return async ({ user, caller: { tenant }, call }) => {
      add ??= start(kit)(({ user: of }) => board.work(of));
      const done = board.wait(user, call);
      await (await add)({ user, tenant });
      await done;
    };
  };

/** A worker made when the app starts, whose jobs name their caller. */
const workerAtStart =
  (start: (kit: Kit) => Start, isNamed: boolean) =>
  async (kit: Kit): Promise<HandOver> => {
    const board = new Board();
    const add = await start(kit)(({ user, tenant }) =>
      isNamed ? kit.governor.run({ user, tenant }, () => board.work(user)) : board.work(user),
    );
    return async ({ user, caller: { tenant }, call }) => {
      const done = board.wait(user, call);
      await add({ user, tenant });
      await done;
    };
  };

const bullmq =
  ({ load, redisUrl, defer }: Kit): Start =>
  async (work) => {
    const { Queue, Worker } = await load('bullmq');
    const { hostname, port } = new URL(redisUrl);
    const options = { connection: { host: hostname, port: Number(port) } };
    const name = `jobs-${Math.random()}`;
    const queue = new Queue(name, options);
    const worker = new Worker(name, ({ data }: { data: Job }) => work(data), options);
    defer(() => worker.close(true));
    defer(() => queue.close());
    await worker.waitUntilReady();
    return (job) => queue.add('task', job);
  };

const pgBoss =
  ({ load, postgresUrl, defer }: Kit): Start =>
  async (work) => {
    const { PgBoss } = await load('pg-boss');
    const boss = new PgBoss(postgresUrl);
    boss.on('error', () => {});
    defer(() => boss.stop({ graceful: false }));
    await boss.start();
    await boss.createQueue('tasks');
    await boss.work(
      'tasks',
      { pollingIntervalSeconds: 0.5, batchSize: 10 },
      async (jobs: { data: Job }[]) => {
        await Promise.all(jobs.map(({ data }) => work(data)));
      },
    );
    return (job) => boss.send('tasks', job);
  };

const WORKERS: readonly Case[] = (
  [
    ['bullmq 6.7.0', ['bullmq@6.7.0'], 'redis', bullmq],
    ['pg-boss 12.38.0', ['pg-boss@12.38.0'], 'postgres', pgBoss],
  ] as const
).flatMap(([name, packages, needs, start]): Case[] => [
  {
    name: `${name}, a worker made in a request`,
    packages,
    needs,
    ...USER_DIFFERS,
    isTraceless: true,
    plain: lazyWorker(start),
    recipe: workerAtStart(start, true),
  },
  {
    name: `${name}, a worker made at start, whose jobs name nobody`,
    packages,
    needs,
    whose: 'nobody’s',
    warned: ['HG_NO_SCOPE'],
    isTraceless: true,
    plain: workerAtStart(start, false),
    recipe: workerAtStart(start, true),
  },
]);

/** Who comes while the answer of another is awaited joins it: one call for all, of whoever came first. */
const joining = (
  name: string,
  packages: readonly string[],
  share: (kit: Kit) => Promise<(call: () => Promise<unknown>) => Promise<unknown>>,
): Case => ({
  name,
  packages,
  whose: 'another’s',
  isShared: true,
  plain: async (kit) => {
    const join = await share(kit);
    return ({ call }) => join(call);
  },
});

export const SHARED: readonly Case[] = [
  ...WORKERS,
  {
    name: 'pg 8.23.1, pool.query with a callback',
    packages: ['pg@8.23.1'],
    needs: 'postgres',
    ...USER_DIFFERS,
    plain: async ({ load, postgresUrl, defer }) => {
      const { Pool } = (await load('pg')).default;
      const pool = new Pool({ connectionString: postgresUrl, max: 1 });
      defer(() => pool.end());
      return ({ call }) =>
        settled((done) =>
          pool.query('select pg_sleep(0.02)', (error: unknown) =>
            error == null ? void call().then(() => done(), done) : done(error),
          ),
        );
    },
    recipe: async ({ load, postgresUrl, defer, governor }) => {
      const { Pool } = (await load('pg')).default;
      const pool = new Pool({ connectionString: postgresUrl, max: 1 });
      defer(() => pool.end());
      return ({ call }) =>
        settled((done) =>
          pool.query(
            'select pg_sleep(0.02)',
            governor.bind((error: unknown) =>
              error == null ? void call().then(() => done(), done) : done(error),
            ),
          ),
        );
    },
  },
  {
    name: 'pg 8.23.1, client.query in pool.connect with callbacks',
    packages: ['pg@8.23.1'],
    needs: 'postgres',
    ...USER_DIFFERS,
    plain: async ({ load, postgresUrl, defer }) => {
      const { Pool } = (await load('pg')).default;
      const pool = new Pool({ connectionString: postgresUrl, max: 1 });
      defer(() => pool.end());
      return ({ call }) =>
        settled((done) =>
          pool.connect((_: unknown, client: any, release: () => void) =>
            client.query('select pg_sleep(0.02)', () => {
              release();
              void call().then(() => done(), done);
            }),
          ),
        );
    },
  },
  joining('lru-cache 11.5.3, fetch', ['lru-cache@11.5.3'], async ({ load }) => {
    const { LRUCache } = await load('lru-cache');
    let latest: () => Promise<unknown> = async () => {};
    const cache = new LRUCache({ max: 10, fetchMethod: async () => (await latest()) as object });
    return (call) => {
      latest = call;
      return cache.fetch('key');
    };
  }),
  joining('p-memoize 9.0.0', ['p-memoize@9.0.0'], async ({ load }) => {
    const { default: memoize } = await load('p-memoize');
    const once = memoize((call: () => Promise<unknown>) => call(), { cacheKey: () => 'key' });
    return (call) => once(call);
  }),
  joining('memoizee 0.4.17', ['memoizee@0.4.17'], async ({ load }) => {
    const { default: memoize } = await load('memoizee');
    const once = memoize((call: () => Promise<unknown>) => call(), {
      promise: true,
      normalizer: () => 'key',
    });
    return (call) => once(call);
  }),
  joining('rxjs 7.8.2, shareReplay', ['rxjs@7.8.2'], async ({ load }) => {
    const { defer, firstValueFrom, shareReplay } = await load('rxjs');
    let latest: () => Promise<unknown> = async () => {};
    const shared = defer(() => latest()).pipe(shareReplay(1));
    return (call) => {
      latest = call;
      return firstValueFrom(shared);
    };
  }),
  joining('opossum 10.0.0, coalesce: true', ['opossum@10.0.0'], async ({ load, defer }) => {
    const { default: CircuitBreaker } = await load('opossum');
    const breaker = new CircuitBreaker((call: () => Promise<unknown>) => call(), {
      coalesce: true,
      coalesceTTL: 5_000,
      cacheGetKey: () => 'key',
    });
    defer(() => breaker.shutdown());
    return (call) => breaker.fire(call);
  }),
  {
    ...joining('dataloader 2.2.3, one call for each batch', ['dataloader@2.2.3'], async ({ load }) => {
      const { default: DataLoader } = await load('dataloader');
      let first: (() => Promise<unknown>) | undefined;
      const loader = new DataLoader(
        async (keys: readonly string[]) => {
          const answer = await first?.();
          return keys.map(() => answer);
        },
        { batchScheduleFn: (run: () => void) => setTimeout(run, 100), cache: false },
      );
      return (call) => {
        first ??= call;
        return loader.load('key');
      };
    }),
    isShared: false,
    warned: [],
    // A loader for each request: nobody waits for the batch of another.
    recipe: async ({ load }) => {
      const { default: DataLoader } = await load('dataloader');
      return ({ call }) =>
        new DataLoader(async (keys: readonly string[]) => {
          const answer = await call();
          return keys.map(() => answer);
        }).load('key');
    },
  },
  {
    name: '@langchain/anthropic 1.5.11, one ChatAnthropic with maxConcurrency: 1',
    packages: ['@langchain/anthropic@1.5.11', '@langchain/core@1.4.0'],
    // It says nothing of its user by itself, and the hand-over is inside.
    whose: 'another’s',
    warned: [],
    plain: (kit) => chatAnthropic(kit, { maxConcurrency: 1 }),
    // How many go at once is left to the governor.
    recipe: (kit) => chatAnthropic(kit, {}),
  },
  {
    name: '@langchain/core 1.4.0, a call in handleLLMStart',
    packages: ['@langchain/anthropic@1.5.11', '@langchain/core@1.4.0'],
    ...USER_DIFFERS,
    plain: (kit) => inCallback(kit, false),
    recipe: (kit) => inCallback(kit, true),
  },
  {
    name: '@trpc/client 11.25.2, a call in headers() of httpBatchLink',
    packages: ['@trpc/client@11.25.2', '@trpc/server@11.25.2'],
    whose: 'another’s',
    warned: [],
    plain: (kit) => trpc(kit, true),
    // One request for each operation.
    recipe: (kit) => trpc(kit, false),
  },
];

async function chatAnthropic({ load, claude }: Kit, options: object): Promise<HandOver> {
  const { ChatAnthropic } = await load('@langchain/anthropic');
  const chat = new ChatAnthropic({
    model: 'claude-sonnet-4-6',
    apiKey: 'k',
    maxTokens: 50,
    createClient: () => claude,
    maxRetries: 0,
    ...options,
  });
  return ({ user }) => chat.invoke(user);
}

async function inCallback({ load }: Kit, awaitHandlers: boolean): Promise<HandOver> {
  const { FakeListChatModel } = await load('@langchain/core/utils/testing');
  const { BaseCallbackHandler } = await load('@langchain/core/callbacks/base');
  return ({ call }) => {
    const called = settled((done) => {
      class Handler extends BaseCallbackHandler {
        name = 'calls Claude';
        constructor() {
          super({ _awaitHandler: awaitHandlers } as never);
          (this as { awaitHandlers?: boolean }).awaitHandlers = awaitHandlers;
        }
        async handleChatModelStart() {
          await call().then(() => done(), done);
        }
      }
      const model = new FakeListChatModel({ responses: ['yes'], callbacks: [new Handler()] });
      void model.invoke('hello').catch(done);
    });
    return called;
  };
}

async function trpc({ load, defer }: Kit, isBatched: boolean): Promise<HandOver> {
  const { initTRPC } = await load('@trpc/server');
  const { createHTTPServer } = await load('@trpc/server/adapters/standalone');
  const { createTRPCClient, httpBatchLink, httpLink } = await load('@trpc/client');
  const t = initTRPC.create();
  const router = t.router({ ping: t.procedure.query(() => 'pong') });
  const server = createHTTPServer({ router });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  defer(() => server.close());
  const url = `http://127.0.0.1:${server.address().port}`;
  const calls: (() => Promise<unknown>)[] = [];
  const headers = async () => {
    // What is asked in the name of the store: once for each HTTP request.
    await Promise.all(calls.splice(0).map((call) => call()));
    return {};
  };
  const client = createTRPCClient({ links: [(isBatched ? httpBatchLink : httpLink)({ url, headers })] });
  let together: Promise<void> | undefined;
  return async ({ call }) => {
    // All of a batch ask in one tick: each in its own context.
    together ??= new Promise((resolve) => setTimeout(resolve, 100));
    await together;
    calls.push(call);
    await client.ping.query();
  };
}

export const withRecipe = (each: Case): Case['plain'] => each.recipe ?? bound(each.plain);
