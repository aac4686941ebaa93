import { spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';

/** Where Debian puts its servers, one folder for each version; elsewhere they are on the path. */
const DEBIAN = '/usr/lib/postgresql';
const HOW = 'apt-get install -y postgresql';
/** Milliseconds that a server may take to come up. */
const START_MS = 20_000;

function program(name: string): string {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : [];
  const found = versions
    .map((version) => join(DEBIAN, version, 'bin', name))
    .find((path) => existsSync(path));
  return found ?? name;
}

/** Whether there is no PostgreSQL to start; says how to get one. */
export function noPostgres(): boolean {
  if (spawnSync(program('initdb'), ['--version']).status === 0) return false;
  console.warn(`SKIPPED, for want of a PostgreSQL: ${HOW}`);
  return true;
}

export interface PostgresServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** A server of its own, with its data in a temporary folder. It does not run as root: there it is the user `postgres`. */
export async function startPostgres(): Promise<PostgresServer> {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-postgres-'));
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    const ids = ['-u', '-g'].map((flag) => Number(spawnSync('id', [flag, 'postgres']).stdout.toString()));
    chownSync(folder, ids[0] as number, ids[1] as number);
  }
  const as = (name: string, args: string[]): [string, string[]] =>
    isRoot ? ['runuser', ['-u', 'postgres', '--', program(name), ...args]] : [program(name), args];
  const data = join(folder, 'data');
  const made = spawnSync(...as('initdb', ['-D', data, '-U', 'headgate', '--auth=trust', '--no-sync']));
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
  const port = await freePort();
  const options = ['-D', data, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-k', folder, '-F'];
  const server = spawn(...as('postgres', options), { stdio: ['ignore', 'ignore', 'pipe'] });
  await new Promise<void>((resolve, reject) => {
    let said = '';
    const timer = setTimeout(() => reject(new Error(`postgres does not come up: ${said}`)), START_MS);
    server.stderr?.on('data', (chunk) => {
      said += String(chunk);
      if (!said.includes('ready to accept connections')) return;
      clearTimeout(timer);
      resolve();
    });
  });
  return {
    url: `postgres://headgate@127.0.0.1:${port}/postgres`,
    async stop() {
      const ended = new Promise((resolve) => server.once('exit', resolve));
      spawnSync(...as('pg_ctl', ['-D', data, '-m', 'immediate', 'stop']));
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
