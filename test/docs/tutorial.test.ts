import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';

const ROOT = join(import.meta.dirname, '../..');
const TUTORIAL = join(ROOT, 'packages/cli/docs/plan-in-ci.md');
const CLI = join(ROOT, 'packages/cli/src/main.ts');

interface Block {
  readonly language: string;
  readonly code: string;
}

interface Workflow {
  readonly jobs: Readonly<Record<string, { readonly steps: readonly { readonly run?: string }[] }>>;
}

/** Figures move with the admission; what is told does not. */
const told = (text: string) => text.replace(/[\d.,]+(?=[ )},]|$)/gm, '#');

/** Packages of the workspace where npm would have put those of the registry: linked, and run from their sources. */
async function install(folder: string, names: readonly string[]): Promise<void> {
  const modules = join(folder, 'node_modules');
  for (const name of names) {
    const target = join(modules, name);
    await mkdir(dirname(target), { recursive: true });
    await symlink(join(import.meta.dirname, '../node_modules', name), target);
  }
  await mkdir(join(modules, '.bin'), { recursive: true });
  const bin = join(modules, '.bin/headgate');
  await writeFile(bin, `#!/bin/sh\nexec ${process.execPath} --conditions=source ${CLI} "$@"\n`);
  await chmod(bin, 0o755);
}

/** A command as a user types it. */
function run(folder: string, command: string): Promise<{ code: number; out: string }> {
  const PATH = `${dirname(process.execPath)}${delimiter}${process.env.PATH}`;
  const env = { ...process.env, PATH, NODE_OPTIONS: '--conditions=source' };
  return new Promise((resolve) => {
    execFile('sh', ['-c', command], { cwd: folder, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr }),
    );
  });
}

/** Carries out the page from its top, in a folder of its own, and tells how each command ended. */
async function follow(blocks: readonly Block[], folder: string): Promise<(readonly [string, number])[]> {
  const ended: (readonly [string, number])[] = [];
  let out = '';
  for (const { language, code } of blocks) {
    const file = /^(?:#|\/\/) (\S+)\n/.exec(code)?.[1];
    if (file !== undefined) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), code);
    } else if (language === 'text') {
      for (const line of code.trimEnd().split('\n')) expect(told(out)).toContain(told(line));
    } else {
      out = '';
      for (const command of code.trimEnd().split('\n')) {
        const { code: exit, out: added } = await step(folder, command);
        out += added;
        ended.push([command, exit]);
      }
    }
  }
  return ended;
}

async function step(folder: string, command: string): Promise<{ code: number; out: string }> {
  if (!command.startsWith('npm install ')) return run(folder, command);
  const names = command.split(' ').slice(2);
  await install(
    folder,
    names.filter((name) => !name.startsWith('-')).filter((name) => name !== '@headgate/cli'),
  );
  return { code: 0, out: '' };
}

/** The app as its owner starts it, and as a platform stops it. */
async function startAndStop(folder: string): Promise<number> {
  const env = { ...process.env, PORT: '0', ANTHROPIC_API_KEY: 'any' };
  const app = spawn(process.execPath, ['--conditions=source', 'main.js'], { cwd: folder, env });
  const ended = once(app, 'exit');
  await Promise.race([once(app.stdout, 'data'), ended]);
  app.kill('SIGTERM');
  const [code] = await ended;
  return code as number;
}

it('the tutorial leads from a clean app to a plan that passes in CI', async () => {
  const page = await readFile(TUTORIAL, 'utf8');
  const blocks = [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```/gm)].map(([, language = '', code = '']) => ({
    language,
    code,
  }));
  const folder = await mkdtemp(join(tmpdir(), 'headgate-tutorial-'));
  try {
    const ended = await follow(blocks, folder);
    const plans = ended.filter(([command]) => /^(npm run .*|npx headgate )plan\b/.test(command));
    // As the page says: missed at first, and met from then on.
    expect(plans.map(([, code]) => code)).toEqual([1, 0, 0]);
    expect(ended.filter(([, code]) => code !== 0)).toHaveLength(1);
    expect(await startAndStop(folder)).toBe(0);
    const workflow = parse(await readFile(join(folder, '.github/workflows/plan.yaml'), 'utf8')) as Workflow;
    const steps = workflow.jobs.plan?.steps.flatMap(({ run: command }) => command ?? []) ?? [];
    expect(steps[0]).toBe('npm ci');
    // CI does what has been done above by hand.
    for (const command of steps.slice(1))
      expect(ended.map(([done, code]) => [done.replace(' --silent', ''), code])).toContainEqual([command, 0]);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 60_000);
