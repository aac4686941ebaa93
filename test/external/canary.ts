import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { priceDrift } from './price-drift.ts';

/**
 * Holds the built-in prices against a table of others, and runs the suite against the newest releases of what Headgate is
 * a plugin of, in a copy of the repository as it is committed: for a scheduled job that hears of a price change and of a
 * breaking release before users do. `pnpm run canary [filter …]`; the exit code is the suite's, or that of the prices
 * where the suite passes. `pnpm run canary prices` looks at the prices alone.
 */
const NEWEST = ['@anthropic-ai/sdk'];
const ROOT = join(import.meta.dirname, '../..');
const filters = process.argv.slice(2);

process.exitCode = priceDrift();
if (filters.length === 1 && filters[0] === 'prices') process.exit();

const copy = mkdtempSync(join(tmpdir(), 'headgate-canary-'));
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: copy, stdio: 'inherit' });
const pnpm = (...args: string[]) => run('npx', '--yes', 'pnpm@12', ...args);
try {
  run('git', 'clone', '--quiet', ROOT, '.');
  // In every package that names them, whatever range stands there.
  pnpm('update', '--recursive', '--latest', ...NEWEST);
  for (const name of NEWEST) pnpm('list', '--recursive', '--depth', '0', name);
  pnpm('exec', 'vitest', 'run', '--config', 'test/vitest.config.ts', ...filters);
} catch (error) {
  process.exitCode = (error as { status?: number }).status ?? 1;
} finally {
  rmSync(copy, { recursive: true, force: true });
}
