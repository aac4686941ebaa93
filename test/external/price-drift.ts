import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** LiteLLM ships its table in its package, under this name. */
const TABLE = 'model_prices_and_context_window_backup.json';
const HEADGATE = join(import.meta.dirname, '../../packages/cli/src/main.ts');
const CLI = ['--conditions=source', HEADGATE];

/**
 * Holds the built-in prices against the newest table that LiteLLM has released, or against the file that
 * `HEADGATE_PRICE_TABLE` names. Gives the exit code of `headgate prices --diff`: 0 where nothing differs, 1 where
 * something does, 2 where there is no table to compare with.
 */
export function priceDrift(): number {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-prices-'));
  try {
    const table = process.env.HEADGATE_PRICE_TABLE ?? download(folder);
    if (table === undefined) return 2;
    const { status } = spawnSync(process.execPath, [...CLI, 'prices', '--diff', table], { stdio: 'inherit' });
    return status ?? 2;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function download(folder: string): string | undefined {
  try {
    const pip = [
      '-m',
      'pip',
      'download',
      '--quiet',
      '--no-deps',
      '--no-binary',
      ':none:',
      '-d',
      folder,
      'litellm',
    ];
    execFileSync('python3', pip, { stdio: 'inherit' });
    const wheel = readdirSync(folder).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Error('the package litellm came without a wheel');
    // Python's own module for archives: nothing else needs to be installed.
    execFileSync('python3', ['-m', 'zipfile', '-e', join(folder, wheel), folder], { stdio: 'inherit' });
    const table = join(folder, 'litellm', TABLE);
    if (!existsSync(table)) throw new Error(`the package litellm has no ${TABLE}`);
    return table;
  } catch (error) {
    console.error(
      `no table of prices to compare with (${error instanceof Error ? error.message : String(error)}); install Python with pip, or name a file: HEADGATE_PRICE_TABLE=litellm.json npm run canary`,
    );
    return undefined;
  }
}
