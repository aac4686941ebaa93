import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { isBatchPath } from './batch-routes.ts';
import { checkFault, checkOptions } from './check.ts';
import { completeConfig } from './config.ts';
import { failure } from './errors.ts';
import { createExchange, MAX_BODY_BYTES, readBody } from './exchange.ts';
import type { ClaudeApi, ClaudeApiOptions, ReceivedRequest } from './options.ts';
import { createOrganization } from './organization.ts';
import { route } from './router.ts';

/**
 * Starts a Claude API on loopback: real HTTP, real limits, scripted faults, and a ledger of what happened.
 *
 * Limits are continuous token buckets; output is charged as it is produced; an answer takes as long as a
 * model would. Rejects when the port is taken, and with a
 * TypeError for an option that does not exist or cannot be what it is. `await using` closes it, as `close()` does. A callback of the
 * options that throws is a process warning and a 500 that says so.
 */
export async function startClaudeApi(options: ClaudeApiOptions = {}): Promise<ClaudeApi> {
  checkOptions(options);
  const config = completeConfig(options);
  const organization = createOrganization(config);
  const { clock } = config;
  const sockets = new Set<Socket>();
  const received: ReceivedRequest[] = [];

  async function handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const isBatch = isBatchPath(new URL(incoming.url ?? '/', 'http://127.0.0.1').pathname);
    const text = await readBody(incoming, isBatch ? config.batches.maxBytes : MAX_BODY_BYTES);
    const request = receive(incoming, text, clock.now());
    received.push(request);
    if (received.length > config.receivedSize) received.splice(0, received.length - config.receivedSize);
    const exchange = createExchange(request, organization.newId('req'), response, clock);
    try {
      await route(organization, exchange, text === undefined);
    } catch (error) {
      // A callback of the test (`output`, `when`, a latency) threw. The client must not wait, nobody must miss it.
      process.emitWarning(error instanceof Error ? error : String(error));
      if (response.headersSent) response.destroy();
      else
        exchange.fail(failure(500, `The test API failed: ${error instanceof Error ? error.message : error}`));
    }
  }

  const server = createServer({ keepAliveTimeout: 65_000, requestTimeout: 0 }, (incoming, response) => {
    // Only reading can fail here: the client vanished while it was sending.
    handle(incoming, response).catch(() => response.destroy());
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.port, '127.0.0.1', resolve);
  });

  let closing: Promise<void> | undefined;
  function close(): Promise<void> {
    closing ??= new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
    return closing;
  }

  return {
    url: `http://127.0.0.1:${portOf(server.address())}`,
    ledger: organization.ledger,
    received,
    inject(fault) {
      checkFault(fault);
      return organization.faults.inject(fault);
    },
    setLimits: (name, limits) => organization.account(name).setLimits(clock.now(), limits),
    drain: (name, dimension, amount) => organization.account(name).take(clock.now(), dimension, amount),
    level: (name) => organization.account(name).levels(clock.now()),
    openConnections: () => sockets.size,
    reset() {
      received.length = 0;
      organization.reset();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function receive(incoming: IncomingMessage, text: string | undefined, at: number): ReceivedRequest {
  const url = new URL(incoming.url ?? '/', 'http://127.0.0.1');
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  const method = incoming.method ?? 'GET';
  return { method, path: url.pathname, query: url.search.slice(1), headers, body: parse(text ?? ''), at };
}

function parse(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  return address.port;
}
