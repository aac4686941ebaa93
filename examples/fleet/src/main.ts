import cluster from 'node:cluster';
import { fileURLToPath } from 'node:url';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, loadConfig } from '@headgate/core';
import { userFromAddress } from '@headgate/core/http';
import { headgate, headgateErrors } from '@headgate/express';
import { redisStore } from '@headgate/redis';
import express from 'express';
import { Redis } from 'ioredis';

/**
 * Two web processes and a worker that share one account: what one uses, the others do not have, and the worker's jobs
 * wait for the visitors of both. `redis-server & npm start`
 */
const WEB = 2;

if (cluster.isPrimary) {
  for (let n = 0; n < WEB; n++) cluster.fork({ ROLE: 'web' });
  cluster.fork({ ROLE: 'worker' });
  cluster.once('listening', (_, { port }) => console.log(`http://localhost:${port}`));
  // Each ends by itself when its calls have ended.
  const stop = () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGTERM');
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
} else {
  await startProcess(process.env.ROLE ?? 'web');
}

async function startProcess(role: string): Promise<void> {
  const client = new Redis(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', { maxRetriesPerRequest: 0 });
  // Without Redis each process goes on with its share, and the governor says so once.
  client.on('error', () => {});
  const governor = createGovernor({
    config: await loadConfig(fileURLToPath(new URL('../../headgate.yaml', import.meta.url))),
    store: redisStore({ client, assumedProcesses: WEB + 1 }),
  });
  const claude = governor.govern(new Anthropic());
  const ask = (text: string) =>
    claude.messages.create({
      model: 'claude-haiku-4-5',
      max_tokens: 300,
      messages: [{ role: 'user', content: text }],
    });

  let isRunning = true;
  const closing: (() => void)[] = [];
  const stop = async () => {
    isRunning = false;
    for (const close of closing) close();
    await governor.close();
    client.disconnect();
    process.exit(0);
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);

  if (role === 'worker') {
    for (let job = 1; isRunning; job++) {
      await governor
        .run({ user: 'nightly', lane: 'background' }, () => ask(`Job ${job}: a word, please.`))
        .then(
          () => console.log(`job ${job} done`),
          (error: unknown) => console.error(`job ${job}: ${String(error)}`),
        );
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
    return;
  }
  const app = express();
  app.use(express.json());
  app.use(headgate(governor, { caller: (req) => ({ user: userFromAddress(req.ip) }) }));
  app.post('/ask', async (req, res) => {
    const { content } = await ask(String(req.body.question));
    res.json({ process: process.pid, content });
  });
  app.get('/limits', (_, res) => {
    res.json(governor.snapshot().buckets);
  });
  app.use(headgateErrors());
  const server = app.listen(Number(process.env.PORT ?? 3000));
  closing.push(() => server.close());
}
