import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConfigInput } from '@headgate/core';
import { onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import type { PlanReport } from '../../packages/cli/src/plan/report.ts';

export const MAIN = join(import.meta.dirname, '../../packages/cli/src/main.ts');

export const README = join(import.meta.dirname, '../../packages/cli/README.md');

/** The fenced blocks of a language, in order. */
export const blocksOf = (text: string, language: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
    ([, block = '']) => block,
  );

/** The configuration and the traffic that the README shows first under a heading. */
export function readmeFiles(heading: string) {
  const text = readFileSync(README, 'utf8');
  const [config = '', traffic = ''] = blocksOf(text.slice(text.indexOf(`\n${heading}\n`)), 'yaml');
  return { 'headgate.yaml': config, 'traffic.yaml': traffic };
}

export interface Run {
  readonly code: number;
  readonly out: string;
}

/** A folder with these files, gone when the test is. */
export function folderWith(files: Readonly<Record<string, unknown>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-plan-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(folder, name), typeof content === 'string' ? content : stringify(content));
  return folder;
}

export function planIn(folder: string, ...options: string[]): Promise<Run> {
  const args = ['--conditions=source', MAIN, 'plan', 'headgate.yaml', 'traffic.yaml', ...options];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: folder, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr });
    });
  });
}

export async function reportOf(config: ConfigInput, traffic: object, ...options: string[]) {
  const folder = folderWith({ 'headgate.yaml': config, 'traffic.yaml': traffic });
  const { code, out } = await planIn(folder, '--json', ...options);
  return { code, report: JSON.parse(out) as PlanReport };
}

/** Limits of which nothing binds, unless a test says so. */
export const bucket = (limits: object = {}) => ({
  name: 'sonnet',
  models: ['claude-sonnet-4-*'],
  requestsPerMinute: 10_000,
  inputTokensPerMinute: 100_000_000,
  outputTokensPerMinute: 10_000_000,
  burst: 0.1,
  ...limits,
});

/** Calls that are all alike: 1,000 tokens in, 100 out. */
export const even = (more: object = {}) => ({
  name: 'even',
  model: 'claude-sonnet-4-6',
  arrivals: { shape: 'steady', rate: '1/second' },
  input: { mean: 1_000, spread: 0 },
  output: { mean: 100, spread: 0 },
  ...more,
});

/** What a trace may bring to a page that takes it for markup. */
export const HOSTILE = '</script><script>window.headgateHurt=1</script>';

/** A folder whose trace has a tier that would be markup. */
export const hostileFolder = () =>
  folderWith({
    'headgate.yaml': { account: [bucket()] },
    'traffic.yaml': {
      duration: '1m',
      calls: [{ name: 'seen', trace: 'calls.jsonl', model: 'claude-sonnet-4-6' }],
    },
    'calls.jsonl': `${JSON.stringify({ at: 10, input: 10, output: 5, tier: HOSTILE })}\n`,
  });
