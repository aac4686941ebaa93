import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { createGovernor } from '@headgate/core';

/**
 * CPU of a request that makes no Claude call, with the adapter and without, each app in a process of its own. Short
 * rounds of both take turns, so that whatever else the machine does falls on both alike, and only when both have run
 * for so long that V8 compiles no more. How code and data come to lie in memory lasts as long as a process does, so
 * what counts as one sample is a pair of processes, with the median ratio of its rounds; of the samples, the median
 * with its 95 % interval by order statistics.
 * `node --conditions=source test/bench/idle-route.ts [process pairs] [express,koa,fastify]`
 */
const PAIRS = Number(process.argv[2] ?? 12);
const FRAMEWORKS = (process.argv[3] ?? 'express,koa,fastify').split(',');
const ROUNDS = 60;
/** Requests. A round is of some 50 ms, and what asking for its CPU costs is below a hundredth of it. */
const ROUND = 500;
/** Requests. After 10,000 the governed app, which has the more code, is still seen to be compiled. */
const WARM_UP = 20_000;
const CONNECTIONS = 32;
/** A server and its client must not take turns on one core; where there is no such command, the system decides. */
const PINNED = process.platform === 'linux' && availableParallelism() > 1;
/** Longer than the other app of the pair takes to start and to warm up. */
const KEEP_ALIVE_MS = 600_000;
const ANSWER = '"ok":true}';
const BODY = JSON.stringify({
  title: 'a question',
  text: 'with a body as of a form, '.repeat(20),
  tags: ['a', 'b'],
});
/** The least that an app can do, and what one does that reads a body and answers with one. */
const ROUTES = {
  'GET, nothing': 'GET /idle HTTP/1.1\r\nhost: x\r\n\r\n',
  'POST, JSON': `POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(BODY)}\r\n\r\n${BODY}`,
} as const;
type Route = keyof typeof ROUTES;
const BOUND = 1.05;

type Kind = 'bare' | 'governed';

async function start(framework: string, kind: Kind): Promise<Server> {
  const governor = createGovernor({ config: { quotas: [{ name: 'q', requests: '30/minute' }] } });
  const isGoverned = kind === 'governed';
  const caller = () => ({ user: 'ada' });
  if (framework === 'express') {
    const { default: express } = await import('express');
    const { headgate, headgateErrors } = await import('@headgate/express');
    const app = express();
    if (isGoverned) app.use(headgate(governor, { caller }));
    app.use(express.json());
    app.get('/idle', (_req, res) => void res.json({ ok: true }));
    app.post('/echo', (req, res) => void res.json({ got: req.body, ok: true }));
    if (isGoverned) app.use(headgateErrors());
    return app.listen(0, '127.0.0.1');
  }
  if (framework === 'koa') {
    const { default: Koa } = await import('koa');
    const { default: Router } = await import('@koa/router');
    const { headgate } = await import('@headgate/koa');
    const app = new Koa();
    if (isGoverned) app.use(headgate(governor, { caller }));
    const router = new Router();
    router.get('/idle', (ctx) => {
      ctx.body = { ok: true };
    });
    router.post('/echo', async (ctx) => {
      let text = '';
      for await (const chunk of ctx.req) text += String(chunk);
      ctx.body = { got: JSON.parse(text), ok: true };
    });
    return app.use(router.routes()).listen(0, '127.0.0.1');
  }
  const { default: Fastify } = await import('fastify');
  const { default: headgate } = await import('@headgate/fastify');
  const app = Fastify();
  if (isGoverned) await app.register(headgate, { governor, caller });
  app.get('/idle', async () => ({ ok: true }));
  app.post('/echo', async (request) => ({ got: request.body, ok: true }));
  await app.listen({ port: 0, host: '127.0.0.1' });
  return app.server;
}

/** A server that tells, when asked, how much CPU it has used. */
async function serve(framework: string, kind: Kind): Promise<void> {
  const server = await start(framework, kind);
  if (!server.listening) await once(server, 'listening');
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpu: user + system });
  });
  process.send?.({ port: (server.address() as AddressInfo).port });
}

interface Peer {
  readonly child: ChildProcess;
  readonly sockets: readonly Socket[];
}

async function open(framework: string, kind: Kind, route: Route): Promise<Peer> {
  const node = ['--conditions=source'];
  const child = fork(
    import.meta.filename,
    ['serve', framework, kind],
    PINNED ? { execPath: 'taskset', execArgv: ['-c', '0', process.execPath, ...node] } : { execArgv: node },
  );
  // A server that cannot start would be waited for in vain.
  child.once('exit', (code) => process.exitCode ?? (code !== null && code !== 0 && process.exit(1)));
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  const sockets = Array.from({ length: CONNECTIONS }, () => connect(port, '127.0.0.1'));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const peer = { child, sockets };
  await drive(peer, route, WARM_UP);
  return peer;
}

function close({ child, sockets }: Peer): void {
  for (const socket of sockets) socket.destroy();
  child.kill();
}

/**
 * One request at a time on each connection, of which there are enough to keep the server busy: one with time to spare
 * spends more on each request, for going to sleep and waking up. Raw sockets, since the client shares the machine.
 */
async function drive({ sockets }: Peer, route: Route, count: number): Promise<void> {
  const bytes = ROUTES[route];
  let left = count;
  const connection = async (socket: Socket) => {
    while (left-- > 0) {
      socket.write(bytes);
      let text = '';
      while (!text.includes(ANSWER)) {
        const [chunk] = (await once(socket, 'data')) as [Buffer];
        text += chunk.toString('latin1');
      }
    }
  };
  await Promise.all(sockets.map(connection));
}

async function cpuOf({ child }: Peer): Promise<number> {
  child.send('cpu');
  const [{ cpu }] = (await once(child, 'message')) as [{ cpu: number }];
  return cpu;
}

/** Microseconds of CPU of one request. */
async function round(peer: Peer, route: Route): Promise<number> {
  const before = await cpuOf(peer);
  await drive(peer, route, ROUND);
  return ((await cpuOf(peer)) - before) / ROUND;
}

/** The median, and the order statistics between which the true one lies with 95 % probability. */
function medianOf(values: readonly number[]): { median: number; low: number; high: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number) => sorted[Math.min(Math.max(0, index), sorted.length - 1)] ?? Number.NaN;
  const spread = (1.96 * Math.sqrt(sorted.length)) / 2;
  const middle = (sorted.length - 1) / 2;
  return {
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    low: at(Math.floor(middle - spread)),
    high: at(Math.ceil(middle + spread)),
  };
}

async function measure(framework: string, route: Route): Promise<void> {
  const ratios: number[] = [];
  const times: Record<Kind, number[]> = { bare: [], governed: [] };
  for (let pair = 0; pair < PAIRS; pair++) {
    const peers = {
      bare: await open(framework, 'bare', route),
      governed: await open(framework, 'governed', route),
    };
    const ofPair: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      const order: Kind[] = i % 2 === 0 ? ['bare', 'governed'] : ['governed', 'bare'];
      for (const kind of order) times[kind].push(await round(peers[kind], route));
      ofPair.push((times.governed.at(-1) ?? 0) / (times.bare.at(-1) ?? 1));
    }
    ratios.push(medianOf(ofPair).median);
    for (const peer of Object.values(peers)) close(peer);
  }
  const { median, low, high } = medianOf(ratios);
  const micros = (kind: Kind) => medianOf(times[kind]).median.toFixed(1).padStart(6);
  console.log(
    `${framework.padEnd(8)} ${route.padEnd(13)} bare ${micros('bare')}   governed ${micros('governed')}   ratio ${median.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})${median <= BOUND ? '' : '   over the bound'}`,
  );
}

const [mode, framework = '', kind = ''] = process.argv.slice(2);
if (mode === 'serve') await serve(framework, kind as Kind);
else {
  console.log(
    `CPU in µs of a request that makes no Claude call, ${PAIRS} pairs of processes, ${ROUNDS} rounds of ${ROUND} requests each after ${WARM_UP}; Node ${process.version}`,
  );
  for (const each of FRAMEWORKS) {
    for (const route of Object.keys(ROUTES) as Route[]) await measure(each, route);
  }
}
