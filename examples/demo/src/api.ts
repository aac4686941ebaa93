import { once } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { ApiMessage, ApiReport, ReportRequest } from './api-worker.ts';

/** A Claude API of its own thread. */
export interface Api extends AsyncDisposable {
  readonly url: string;
  /** The ledger, with what was used between two moments in milliseconds since the epoch. */
  report(fromMs: number, toMs: number): Promise<ApiReport>;
}

export async function startApi(seed: number): Promise<Api> {
  // From the source or from its build, whichever this file is of.
  const isSource = extname(import.meta.url) === '.ts';
  const worker = new Worker(new URL(`./api-worker${extname(import.meta.url)}`, import.meta.url), {
    workerData: { seed },
    ...(isSource ? { execArgv: ['--conditions=source'] } : {}),
  });
  const waiting = new Map<number, { resolve(report: ApiReport): void; reject(error: unknown): void }>();
  const failed = (error: unknown) => {
    for (const each of waiting.values()) each.reject(error);
    waiting.clear();
  };
  let lastId = 0;

  // An error before it is ready rejects this.
  const [first] = (await once(worker, 'message')) as [ApiMessage];
  if (first.kind !== 'ready') throw new Error(`The API began with a "${first.kind}"`);
  worker.on('error', failed);
  worker.on('exit', () => failed(new Error('The API has stopped')));
  worker.on('message', (message: ApiMessage) => {
    if (message.kind !== 'report') return;
    waiting.get(message.id)?.resolve(message.report);
    waiting.delete(message.id);
  });

  return {
    url: first.url,
    report: (fromMs, toMs) =>
      new Promise((resolve, reject) => {
        lastId += 1;
        waiting.set(lastId, { resolve, reject });
        worker.postMessage({ id: lastId, fromMs, toMs } satisfies ReportRequest);
      }),
    async [Symbol.asyncDispose]() {
      await worker.terminate();
    },
  };
}
