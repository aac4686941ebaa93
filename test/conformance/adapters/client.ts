import { once } from 'node:events';
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectHttp2, constants } from 'node:http2';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { onTestFinished } from 'vitest';

export const PROTOCOLS = ['HTTP/1.1', 'HTTP/2'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** Who calls an app, by one protocol or the other. Taken down when the test is over. */
export interface Client {
  fetch(path: string, init?: ClientInit): Promise<Response>;
  /** A client that sends a request and leaves when told. */
  hang(path: string): Hanging;
  /** Like `fetch`, on one connection for all; and the ports that they came from. */
  readonly single: {
    fetch(path: string, init?: ClientInit): Promise<Response>;
    readonly ports: ReadonlySet<number | undefined>;
  };
}

export interface Hanging {
  /** Whatever comes back. */
  readonly bytes: Readable;
  leave(): void;
}

export interface ClientInit {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array;
}

export const clientOf: Record<Protocol, (url: string) => Client> = { 'HTTP/1.1': http1, 'HTTP/2': http2 };

function http1(url: string): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  const ports = new Set<number | undefined>();
  return {
    fetch: (path, init) => fetch(`${url}${path}`, init as RequestInit),
    hang(path) {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      socket.on('error', () => {});
      socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\nx-user: gone\r\ncontent-length: 0\r\n\r\n`);
      return { bytes: socket, leave: () => socket.destroy() };
    },
    single: {
      ports,
      async fetch(path, { method = 'GET', headers = {}, body } = {}) {
        const sent: ClientRequest = httpRequest(`${url}${path}`, { method, agent, headers }).end(body);
        const [response] = (await once(sent, 'response')) as [IncomingMessage];
        ports.add(response.socket.localPort);
        return responseOf(response.statusCode, response.headers as Record<string, string>, response);
      },
    },
  };
}

function http2(url: string): Client {
  const session = connectHttp2(url);
  session.on('error', () => {});
  onTestFinished(() => session.destroy());
  const ports = new Set<number | undefined>();
  const send = (path: string, { method = 'GET', headers = {}, body }: ClientInit) => {
    // What is about the connection has no place in a request of HTTP/2.
    const { connection: _, ...others } = headers;
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const stream = session.request({ ':path': path, ':method': method, ...others, ...length });
    stream.end(body);
    return stream;
  };
  const fetch = async (path: string, init: ClientInit = {}) => {
    const stream = send(path, init);
    const [headers] = (await once(stream, 'response')) as [Record<string, string>];
    ports.add(session.socket.localPort);
    return responseOf(Number(headers[':status']), headers, stream);
  };
  return {
    fetch,
    hang(path) {
      const stream = send(path, { method: 'POST', headers: { 'x-user': 'gone' } });
      stream.on('error', () => {});
      // As browsers do it: the stream is called off, and the connection stays.
      return { bytes: stream, leave: () => stream.close(constants.NGHTTP2_CANCEL) };
    },
    single: { fetch, ports },
  };
}

function responseOf(status = 0, headers: Record<string, unknown>, body: Readable): Response {
  const named = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
  return new Response(Readable.toWeb(body) as ReadableStream<Uint8Array>, {
    status,
    headers: named.map(([name, value]) => [name, String(value)]),
  });
}
