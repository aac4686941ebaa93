import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

/** What is started as a Redis: `REDIS_SERVER=valkey-server npm test` runs everything on that instead. */
const SERVER = process.env.REDIS_SERVER ?? 'redis-server';
const HOW = `apt-get install -y ${SERVER}`;

const canStart = (server: string): boolean => spawnSync(server, ['--version']).status === 0;

/** Whether a Redis can be had: one of our own, or that of REDIS_URL. */
export const hasRedis: boolean = process.env.REDIS_URL !== undefined || canStart(SERVER);

/**
 * For `describe.skipIf(noRedis())`. Where there is none, tests are skipped and it is said how to get one; in CI they fail
 * instead, for what is not run there is not run at all.
 */
export function noRedis(): boolean {
  if (hasRedis) return false;
  if (process.env.CI === 'true') throw new Error(`no ${SERVER}, and no REDIS_URL: ${HOW}`);
  console.warn(`SKIPPED, for want of a Redis: ${HOW}`);
  return true;
}

/** The same for another server than the usual one, such as `valkey-server`. */
export function noServer(server: string): boolean {
  if (canStart(server)) return false;
  const how = `apt-get install -y ${server}`;
  if (process.env.CI === 'true') throw new Error(`no ${server}: ${how}`);
  console.warn(`SKIPPED, for want of a ${server}: ${how}`);
  return true;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly process: ChildProcess | undefined;
  /** A connection that is closed with the server. */
  connect(): Redis;
  stop(): Promise<void>;
}

export interface RedisServerOptions {
  /** Not that of REDIS_URL: for a test that is going to mistreat it. */
  readonly own?: boolean;
  readonly port?: number;
  readonly args?: readonly string[];
  /** The program. */
  readonly server?: string;
  /** It is a sentinel, and this its file. */
  readonly sentinel?: string;
}

/** A Redis of our own on a free port, or the one of REDIS_URL. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const clients: Redis[] = [];
  const connectTo = (url: string) => () => {
    const client = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => 100 });
    client.on('error', () => {});
    clients.push(client);
    return client;
  };
  const given = process.env.REDIS_URL;
  if (given !== undefined && options.own !== true && options.server === undefined) {
    return {
      url: given,
      port: Number(new URL(given).port),
      process: undefined,
      connect: connectTo(given),
      async stop() {
        for (const client of clients) client.disconnect();
      },
    };
  }
  const port = options.port ?? (await freePort());
  const dir = mkdtempSync(join(tmpdir(), 'headgate-redis-'));
  const server = options.server ?? SERVER;
  const own = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir];
  const child = spawn(server, [...modeOf(options.sentinel, dir), ...own, ...(options.args ?? [])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${server} ended with ${code}`)));
    child.stdout.on('data', (text: Buffer) => {
      if (/Ready to accept|MASTER <-> REPLICA sync|Sentinel ID is/.test(String(text))) resolve();
    });
  });
  const url = `redis://127.0.0.1:${port}`;
  return {
    url,
    port,
    process: child,
    connect: connectTo(url),
    async stop() {
      for (const client of clients) client.disconnect();
      if (child.exitCode === null && child.signalCode === null) {
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await gone;
      }
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function modeOf(sentinel: string | undefined, dir: string): string[] {
  if (sentinel === undefined) return ['--save', '', '--appendonly', 'no'];
  // It writes down what it finds out.
  const file = join(dir, 'sentinel.conf');
  writeFileSync(file, sentinel);
  return [file, '--sentinel'];
}
