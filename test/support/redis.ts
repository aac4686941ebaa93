import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

const HOW = 'apt-get install -y redis-server';

/** Whether a Redis can be had: one of our own, or that of REDIS_URL. */
export const hasRedis: boolean =
  process.env.REDIS_URL !== undefined || spawnSync('redis-server', ['--version']).status === 0;

/**
 * For `describe.skipIf(noRedis())`. Where there is none, tests are skipped and it is said how to get one; in CI they fail
 * instead, for what is not run there is not run at all.
 */
export function noRedis(): boolean {
  if (hasRedis) return false;
  if (process.env.CI === 'true') throw new Error(`no redis-server, and no REDIS_URL: ${HOW}`);
  console.warn(`SKIPPED, for want of a Redis: ${HOW}`);
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

/** A Redis of our own on a free port, or the one of REDIS_URL. `own` where a test is going to mistreat it. */
export async function startRedis(
  options: { own?: boolean; port?: number; args?: string[] } = {},
): Promise<RedisServer> {
  const clients: Redis[] = [];
  const connectTo = (url: string) => () => {
    const client = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => 100 });
    client.on('error', () => {});
    clients.push(client);
    return client;
  };
  const given = process.env.REDIS_URL;
  if (given !== undefined && options.own !== true) {
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
  const child = spawn(
    'redis-server',
    [
      '--port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
      '--dir',
      dir,
      ...(options.args ?? []),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)));
    child.stdout.on('data', (text: Buffer) => {
      if (text.includes('Ready to accept') || text.includes('MASTER <-> REPLICA sync')) resolve();
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
