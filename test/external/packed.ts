import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export const run = promisify(execFile);
export const ROOT = join(import.meta.dirname, '../..');
const PNPM = ['--yes', 'pnpm@12'];

export interface Packed {
  tarball(name: string): Promise<string>;
  /** A bare app with these packages in it, whatever `specs` name; the caller takes it away. */
  install(names: readonly string[], specs: readonly string[]): Promise<string>;
  remove(): Promise<void>;
}

/** Builds and packs packages as they are published. */
export async function pack(names: readonly string[]): Promise<Packed> {
  const packed = await mkdtemp(join(tmpdir(), 'headgate-packed-'));
  for (const name of names) {
    const cwd = join(ROOT, 'packages', name);
    await run('npx', [...PNPM, 'run', 'build'], { cwd });
    await run('npx', [...PNPM, 'pack', '--pack-destination', packed], { cwd });
  }
  const tarball = async (name: string) =>
    join(packed, (await readdir(packed)).find((file) => file.startsWith(`headgate-${name}-`)) ?? '');
  return {
    tarball,
    async install(wanted, specs) {
      const app = await mkdtemp(join(tmpdir(), 'headgate-app-'));
      await writeFile(join(app, 'package.json'), '{ "private": true, "type": "module" }');
      const tarballs = await Promise.all(wanted.map(tarball));
      const options = ['install', '--no-audit', '--no-fund', '--prefer-offline'];
      await run('npm', [...options, ...tarballs, ...specs], { cwd: app });
      return app;
    },
    remove: () => rm(packed, { recursive: true }),
  };
}
