import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type ClaudeApi, type ClaudeApiOptions, startClaudeApi } from '@headgate/testing';
import { onTestFinished } from 'vitest';

const EXAMPLES = join(import.meta.dirname, '../../examples');

export interface Example {
  readonly api: ClaudeApi;
  readonly process: ChildProcess;
  /** Lines of standard output and error so far. */
  readonly lines: readonly string[];
}

/** Starts an example as its README says, against a Claude API on loopback, until the test is over. */
export async function startExample(
  name: string,
  options: ClaudeApiOptions = {},
  env: Record<string, string> = {},
): Promise<Example> {
  const api = await startClaudeApi({
    latency: { timeToFirstTokenMs: 10, tokensPerSecond: 2_000, flushMs: 10 },
    output: () => 40,
    ...options,
  });
  const child = spawn(process.execPath, ['--conditions=source', 'src/main.ts'], {
    cwd: join(EXAMPLES, name),
    env: { ...process.env, ANTHROPIC_BASE_URL: api.url, ANTHROPIC_API_KEY: 'test-key', PORT: '0', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', (line) => lines.push(line));
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await api.close();
  });
  return { api, process: child, lines };
}

/** The address that a web example prints when it listens. */
export async function addressOf({ lines, process: child }: Example): Promise<string> {
  for (;;) {
    const line = lines.find((text) => text.startsWith('http://'));
    if (line !== undefined) return line;
    if (child.exitCode !== null) throw new Error(`the example has ended: ${lines.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
