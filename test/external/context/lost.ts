import { once } from 'node:events';
import { request as askHttp, createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Case } from './cases.ts';
import { settled } from './queues.ts';
import type { Handing, HandOver, Kit } from './world.ts';

const NOBODYS = { whose: 'nobody’s', warned: ['HG_NO_SCOPE'] } as const;
/** What `governor.run` binds by itself: the recipe is to name the caller, and nothing more. */
const BOUND_BY_RUN = { whose: 'its own', warned: [] } as const;

const TOOL = {
  name: 'weather',
  description: 'weather',
  input_schema: { type: 'object' as const, properties: {} },
  parse: (input: unknown) => input as Record<string, never>,
  run: () => 'sunny',
};

/** What `make` returns is made in the request's scope, and read outside of every one. */
const readLater =
  <T>(make: (kit: Kit, handing: Handing) => T, read: (made: { value: T }) => Promise<unknown>) =>
  (kit: Kit): HandOver => {
    const tasks: (() => void)[] = [];
    // A loop of the app's, which no request has started.
    const loop = setInterval(() => tasks.shift()?.(), 2);
    kit.defer(() => clearInterval(loop));
    return (handing) => {
      // In an object: a runner is a promise of its end too, and would be awaited where it is returned.
      const made = { value: kit.governor.run({}, () => make(kit, handing)) };
      return new Promise((resolve, reject) => {
        tasks.push(() => void read(made).then(resolve, reject));
      });
    };
  };

const runner = ({ claude }: Kit, { user }: Handing, isStreaming = false) =>
  claude.beta.messages.toolRunner({
    model: 'claude-sonnet-4-6',
    max_tokens: 50,
    messages: [{ role: 'user', content: user }],
    metadata: { user_id: user },
    tools: [TOOL],
    ...(isStreaming ? { stream: true as const } : {}),
  } as never) as any;

const RUNNERS: readonly Case[] = [
  ['awaited', async ({ value }: { value: any }) => void (await value)],
  ['iterated', async ({ value }: { value: any }) => drain(value)],
  ['run until done', async ({ value }: { value: any }) => void (await value.runUntilDone())],
].map(([how, read]) => ({
  name: `@anthropic-ai/sdk 1.14.0, a tool runner, ${how}`,
  packages: [],
  ...BOUND_BY_RUN,
  plain: readLater((kit, handing) => runner(kit, handing), read as never),
}));

const drain = async (items: AsyncIterable<unknown>) => {
  for await (const item of items) {
    // A stream of events, which is read to its end as well.
    const message = item as { finalMessage?: () => Promise<unknown> };
    await message.finalMessage?.();
  }
};

async function* generate(call: () => Promise<unknown>) {
  yield await call();
}

const streamOf = (call: () => Promise<unknown>) =>
  new ReadableStream(
    {
      async pull(controller) {
        await call();
        controller.close();
      },
    },
    { highWaterMark: 0 },
  );

const transformOf = (call: () => Promise<unknown>) =>
  new TransformStream({ transform: async () => void (await call()) });

const LAZY: readonly Case[] = [
  ...RUNNERS,
  {
    name: '@anthropic-ai/sdk 1.14.0, a streaming tool runner, iterated',
    packages: [],
    ...BOUND_BY_RUN,
    plain: readLater(
      (kit, handing) => runner(kit, handing, true),
      ({ value }) => drain(value),
    ),
  },
  {
    name: 'Node, an async generator',
    packages: [],
    ...BOUND_BY_RUN,
    plain: readLater(
      (_kit, { call }) => generate(call),
      ({ value }) => drain(value),
    ),
  },
  {
    name: 'Node, a ReadableStream',
    packages: [],
    ...BOUND_BY_RUN,
    plain: readLater(
      (_kit, { call }) => streamOf(call),
      ({ value }) => value.getReader().read(),
    ),
  },
  {
    name: 'Node, a TransformStream',
    packages: [],
    ...BOUND_BY_RUN,
    plain: readLater(
      (_kit, { call }) => transformOf(call),
      async ({ value }) => {
        const writer = value.writable.getWriter();
        const writing = writer.write('x').then(() => writer.close());
        await Promise.all([value.readable.getReader().read(), writing]);
      },
    ),
  },
];

/** A server by hand: what comes by its sockets has no scope but that which is put around. */
async function serve(kit: Kit, server: ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  kit.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** The calls that the handlers of a socket make, by their users. */
type Calls = Map<string, Handing>;

async function ws(kit: Kit, isBound: boolean): Promise<HandOver> {
  const { WebSocketServer, WebSocket } = await kit.load('ws');
  const calls: Calls = new Map();
  const wss = new WebSocketServer({ noServer: true });
  const server = createServer();
  server.on('upgrade', (request, socket, head) => {
    const handing = calls.get(request.url?.slice(1) ?? '') as Handing;
    kit.governor.run(handing.caller, () =>
      wss.handleUpgrade(request, socket, head, (webSocket: any) => {
        const onMessage = () =>
          void handing.call().then(
            () => webSocket.send('done'),
            () => webSocket.close(),
          );
        webSocket.on('message', isBound ? kit.governor.bind(onMessage) : onMessage);
      }),
    );
  });
  const port = await serve(kit, server);
  return (handing) => {
    calls.set(handing.user, handing);
    return settled((done) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/${handing.user}`);
      socket.on('open', () => socket.send('hello'));
      socket.on('message', () => {
        socket.close();
        done();
      });
      socket.on('close', () => done());
    });
  };
}

async function socketIo(kit: Kit, transport: string, isNamed: boolean): Promise<HandOver> {
  const { Server } = await kit.load('socket.io');
  const { io: connect } = await kit.load('socket.io-client');
  const calls: Calls = new Map();
  const server = createServer();
  const io = new Server(server);
  const handingOf = (socket: any) => calls.get(socket.handshake.auth.user) as Handing;
  io.use((socket: any, next: () => void) => kit.governor.run(handingOf(socket).caller, next));
  io.on('connection', (socket: any) => {
    const handing = handingOf(socket);
    if (isNamed) socket.use((_event: unknown, next: () => void) => kit.governor.run(handing.caller, next));
    socket.on('ask', (answer: (text: string) => void) => {
      const say = () => answer('done');
      void handing.call().then(say, say);
    });
  });
  const port = await serve(kit, server);
  kit.defer(() => io.close());
  return (handing) => {
    calls.set(handing.user, handing);
    const client = connect(`http://127.0.0.1:${port}`, {
      auth: { user: handing.user },
      transports: [transport],
      forceNew: true,
    });
    return settled((done) => client.emit('ask', () => done())).finally(() => client.close());
  };
}

/** A form whose file comes late, in a packet of its own, to a server by hand that has each request in its scope. */
async function forms(
  kit: Kit,
  handle: (request: IncomingMessage, handing: Handing, done: (error?: unknown) => void) => void,
): Promise<HandOver> {
  const calls: Calls = new Map();
  const server = createServer((request, response) => {
    const handing = calls.get(request.url?.slice(1) ?? '') as Handing;
    kit.governor.run(handing.caller, () =>
      handle(request, handing, (error) => response.writeHead(error == null ? 200 : 500).end()),
    );
  });
  const port = await serve(kit, server);
  return (handing) => {
    calls.set(handing.user, handing);
    return new Promise<void>((resolve, reject) => {
      const type = 'multipart/form-data; boundary=x';
      const options = { port, path: `/${handing.user}`, method: 'POST', headers: { 'content-type': type } };
      const asking = askHttp(options, (response) => {
        response.resume().on('end', resolve);
      });
      asking.on('error', reject);
      asking.write('--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n');
      const rest = '--x\r\ncontent-disposition: form-data; name="f"; filename="f"\r\n\r\nbody\r\n--x--\r\n';
      setTimeout(() => asking.end(rest), 30);
    });
  };
}

const busboy = async (kit: Kit, isBound: boolean): Promise<HandOver> => {
  const { default: make } = await kit.load('busboy');
  return forms(kit, (request, { call }, done) => {
    const reader = make({ headers: request.headers });
    const onFile = (_name: string, file: NodeJS.ReadableStream) => {
      file.resume();
      void call().then(() => done(), done);
    };
    reader.on('file', isBound ? kit.governor.bind(onFile) : onFile);
    request.pipe(reader);
  });
};

const multer = async (kit: Kit, isBound: boolean): Promise<HandOver> => {
  const { default: make } = await kit.load('multer');
  return forms(kit, (request, { call }, done) => {
    const fileFilter = (_request: unknown, _file: unknown, next: (error: unknown, takes: boolean) => void) =>
      void call().then(
        () => next(null, true),
        (error) => next(error, false),
      );
    const upload = make({ fileFilter: isBound ? kit.governor.bind(fileFilter) : fileFilter }).single('f');
    upload(request, {}, done);
  });
};

const byHand = async (kit: Kit, event: 'data' | 'end', isBound: boolean): Promise<HandOver> =>
  forms(kit, (request, { call }, done) => {
    let chunks = 0;
    const onEvent = () => {
      // The first chunk comes with the headers, in the context of the request.
      if (event === 'data' && ++chunks !== 2) return;
      void call().then(() => done(), done);
    };
    if (event === 'end') request.resume();
    request.on(event, isBound ? kit.governor.bind(onEvent) : onEvent);
  });

async function subscription({ load, redisUrl, defer, governor }: Kit, isNamed: boolean): Promise<HandOver> {
  const { Redis } = await load('ioredis');
  const [publisher, subscriber] = [new Redis(redisUrl), new Redis(redisUrl)];
  defer(() => publisher.disconnect());
  defer(() => subscriber.disconnect());
  const channel = `calls-${Math.random()}`;
  const calls: Calls = new Map();
  const answers = new Map<string, () => void>();
  subscriber.on('message', (_channel: string, user: string) => {
    const { call, caller } = calls.get(user) as Handing;
    const done = () => answers.get(user)?.();
    const work = () => call().then(done, done);
    void (isNamed ? governor.run({ user: caller.user, tenant: caller.tenant }, work) : work());
  });
  await subscriber.subscribe(channel);
  return (handing) => {
    calls.set(handing.user, handing);
    return settled((done) => {
      answers.set(handing.user, done);
      publisher.publish(channel, handing.user);
    });
  };
}

/** Without and with the recipe. */
const pair = (
  name: string,
  packages: readonly string[],
  make: (kit: Kit, isMended: boolean) => Promise<HandOver>,
  more: Partial<Case> = {},
): Case => ({
  name,
  packages,
  ...NOBODYS,
  plain: (kit) => make(kit, false),
  recipe: (kit) => make(kit, true),
  ...more,
});

export const LOST: readonly Case[] = [
  ...LAZY,
  pair('ws 8.23.0, a scope around handleUpgrade', ['ws@8.23.0'], ws, { isTraceless: true }),
  ...['websocket', 'polling'].map((transport) =>
    pair(
      `socket.io 4.8.4 over ${transport}, a scope in io.use`,
      ['socket.io@4.8.4', 'socket.io-client@4.8.4'],
      (kit, isMended) => socketIo(kit, transport, isMended),
      { isTraceless: true },
    ),
  ),
  pair('busboy 1.6.0, a late file', ['busboy@1.6.0'], busboy, { isTraceless: true }),
  pair('multer 2.5.0, fileFilter of a late file', ['multer@2.5.0'], multer, { isTraceless: true }),
  pair('Node, on data of a request', [], (kit, isMended) => byHand(kit, 'data', isMended), {
    isTraceless: true,
  }),
  pair('Node, on end of a request', [], (kit, isMended) => byHand(kit, 'end', isMended), {
    isTraceless: true,
  }),
  pair('ioredis 6.0.0, message of a subscription', ['ioredis@6.0.0'], subscription, {
    needs: 'redis',
    isTraceless: true,
  }),
];
