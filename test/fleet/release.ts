import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

const git = (...args: string[]) =>
  spawnSync('git', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1_000_000_000 });

/** What is kept in Redis as a release of this SCHEMA has written it: see recorded-state.test.ts. */
export const RECORDED = 'test/conformance/stores/recorded-state.json';

/**
 * The oldest release that has to do with this one: that in which what is kept in Redis took the form that it has. Another can be
 * named by FLEET_RELEASE. Nothing where there is no history to get it from.
 */
export function olderRelease(): string | undefined {
  const named = process.env.FLEET_RELEASE;
  const commit = named ?? git('log', '-1', '--format=%H', '--', RECORDED).stdout?.trim();
  if (commit && git('cat-file', '-e', `${commit}:packages/redis`).status === 0) return commit;
  const how = 'git fetch --unshallow';
  if (named !== undefined) throw new Error(`no release ${named} here: ${how}`);
  console.warn(`SKIPPED, for want of the release to test with: ${how}`);
  return undefined;
}

export interface Release {
  /** Where its worker is: for `startWorker`. */
  readonly folder: string;
  remove(): void;
}

/** The packages of a release as they were, with the dependencies and the worker of now. */
export const checkOut = (commit: string): Release =>
  lay((folder) => {
    const archive = ['-c', 'git archive "$1" packages | tar x -C "$2"', 'sh', commit, folder];
    const { stderr } = spawnSync('sh', archive, { cwd: ROOT, encoding: 'utf8' });
    if (!existsSync(join(folder, 'packages/redis/src')))
      throw new Error(`release ${commit} cannot be had: ${stderr}`);
  });

/** The packages of now, as if they kept something else in Redis. */
export const withOtherSchema = (): Release =>
  lay((folder) => {
    const isOurs = (path: string) => !/node_modules|\/dist/.test(path.slice(ROOT.length));
    cpSync(join(ROOT, 'packages'), join(folder, 'packages'), { recursive: true, filter: isOurs });
    const keys = join(folder, 'packages/redis/src/keys.ts');
    const before = readFileSync(keys, 'utf8');
    const after = before.replace(/(SCHEMA = )\d+/, '$1999');
    if (after === before) throw new Error('no SCHEMA was found');
    writeFileSync(keys, after);
  });

function lay(packages: (folder: string) => void): Release {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-release-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    packages(folder);
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    mkdirSync(join(folder, 'test'));
    cpSync(import.meta.dirname, join(folder, 'test/fleet'), { recursive: true });
    cpSync(join(ROOT, 'test/package.json'), join(folder, 'test/package.json'));
    // Links that lead to what lies beside them, and into the folder of dependencies.
    const linked = ['test', ...readdirSync(join(folder, 'packages')).map((name) => join('packages', name))];
    for (const path of linked) {
      const links = join(ROOT, path, 'node_modules');
      if (!existsSync(links)) continue;
      cpSync(links, join(folder, path, 'node_modules'), { recursive: true, verbatimSymlinks: true });
    }
  } catch (error) {
    remove();
    throw error;
  }
  return { folder: join(folder, 'test/fleet'), remove };
}
