import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';

const REQUESTS = 10_000;
const KILLS = 10;
const SEED = Number(process.env.KILL_SEED ?? Math.floor(Math.random() * 1e9));

interface Books {
  readonly processed: readonly (readonly [customId: string, messageId: string, status: number])[];
  readonly posts: number;
}

const run = (file: string, argument: object, execArgv: string[] = []): ChildProcess =>
  fork(join(import.meta.dirname, file), [JSON.stringify(argument)], {
    execArgv: ['--conditions=source', ...execArgv],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });

async function startApi(options: object) {
  const child = run('api-process.ts', options);
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  onTestFinished(() => void child.kill('SIGKILL'));
  const books = async (): Promise<Books> => {
    child.send('books');
    const [told] = (await once(child, 'message')) as [Books];
    return told;
  };
  return { url, books };
}

const tempFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-killed-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
};

it(`SIGKILL at ${KILLS} random moments: nothing lost, nothing sent twice (seed ${SEED})`, async () => {
  const { seeded } = await import('../../packages/cli/src/plan/random.ts');
  const random = seeded(SEED);
  // One answer in five to the sending of a batch never comes, on top of what the kills cut off.
  const { url, books } = await startApi({ unanswered: 0.2 });
  const folder = tempFolder();
  const reattached: number[] = [];
  const failed: string[] = [];
  let lost = 0;
  for (let life = 0; life <= KILLS; life++) {
    const worker = run('worker-process.ts', { url, folder, requests: REQUESTS, perSecond: 450 });
    let isDone = false;
    worker.on('message', (told: { reattached?: number; lost?: number; failed?: string; done?: boolean }) => {
      if (told.reattached !== undefined) reattached.push(told.reattached);
      lost += told.lost ?? 0;
      if (told.failed !== undefined) failed.push(told.failed);
      if (told.done) isDone = true;
    });
    const exit = once(worker, 'exit');
    if (life < KILLS) {
      // From before it has read its journal to well into the collecting of results.
      await new Promise((resolve) => setTimeout(resolve, 400 + random() * 2_200));
      worker.kill('SIGKILL');
    }
    await exit;
    expect(isDone).toBe(life === KILLS);
  }

  expect(lost).toBe(0);
  expect(failed).toEqual([]);
  expect(reattached.some((count) => count > 500)).toBe(true);
  const { processed, posts } = await books();
  expect(posts).toBeGreaterThan(5);
  const byId = new Map<string, string>();
  for (const [customId, messageId, status] of processed) {
    expect(status).toBe(200);
    // Processed twice would be sent twice.
    expect(byId.has(customId)).toBe(false);
    byId.set(customId, messageId);
  }
  expect(byId.size).toBe(REQUESTS);
  const answers = readFileSync(join(folder, 'answers'), 'utf8').trim().split('\n');
  const told = new Map<string, string>();
  for (const line of answers) {
    const [id = '', messageId = ''] = line.split(' ');
    if (messageId === '') continue;
    expect(messageId).toBe(byId.get(id));
    told.set(id, messageId);
  }
  expect(told.size).toBe(REQUESTS);
}, 300_000);

it('results many times the size of the heap are collected', async () => {
  const { url, books } = await startApi({ tokens: 10_000, durationMs: 200 });
  const folder = tempFolder();
  // Young objects have little room too: what V8 sets aside for them counts against what there is in all.
  const limits = ['--max-old-space-size=48', '--max-semi-space-size=4'];
  const worker = run('collect-process.ts', { url, folder, requests: 3_000 }, limits);
  const ended = once(worker, 'exit').then(([code, signal]) => {
    throw new Error(`the process ended: ${code ?? signal}`);
  });
  ended.catch(() => {});
  const [told] = (await Promise.race([once(worker, 'message'), ended])) as [
    { done: number; heapMiB: number },
  ];
  expect(told.done).toBe(3_000);
  expect((await books()).processed).toHaveLength(3_000);
  const size = statSync(join(folder, 'journal.sqlite')).size / 2 ** 20;
  console.log(`heap at most ${told.heapMiB.toFixed(0)} MiB, results ${size.toFixed(0)} MiB`);
  expect(size).toBeGreaterThan(2 * 48);
}, 300_000);
