import { once } from 'node:events';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, connect, Socket } from 'node:net';
import { createGovernor } from '@headgate/core';
import { createDoor } from '@headgate/core/http';
import { expect, it, onTestFinished } from 'vitest';
import { internalsOf } from '../../packages/core/src/internals.ts';

const QUIET = { info() {}, warn() {}, error() {} };

function setUp() {
  const governor = createGovernor({ logger: QUIET });
  onTestFinished(() => governor.close());
  const door = createDoor<[request: IncomingMessage, response: ServerResponse, path: string]>(
    governor,
    { caller: (_request, _response, path) => ({ user: path }) },
    { raw: (request, response) => ({ request, response }), route: (_request, _response, path) => path },
  );
  const { scopes } = internalsOf(governor);
  const user = async () => (await scopes.current()?.resolve())?.user;
  return { governor, door, scopes, user };
}

it('leaves nothing behind on a connection: not for the next request, nor for one that came in the same packet', async () => {
  const { door, scopes, user } = setUp();
  const before: unknown[] = [];
  const users: unknown[] = [];
  const server = createServer((request, response) => {
    before.push(scopes.current());
    const path = request.url ?? '';
    door(request, [request, response, path], () => {
      setTimeout(async () => {
        users.push([path, await user()]);
        response.end('x');
      }, 5);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;
  for (const packet of [get('/1') + get('/2') + get('/3'), get('/4'), get('/5')]) {
    socket.write(packet);
    await once(socket, 'data');
    await expect.poll(() => users.length).toBe(before.length);
  }
  expect(before).toEqual([undefined, undefined, undefined, undefined, undefined]);
  expect(users).toEqual(['/1', '/2', '/3', '/4', '/5'].map((path) => [path, path]));
});

it('puts back what was for a request made up inside the process, whoever makes it', async () => {
  const { governor, door, scopes, user } = setUp();
  const madeUp = (path: string) => {
    const request = new IncomingMessage(new Socket());
    request.httpVersionMajor = 1;
    return door(request, [request, new ServerResponse(request), path], () => user());
  };
  expect(await Promise.all([madeUp('/1'), madeUp('/2')])).toEqual(['/1', '/2']);
  expect(scopes.current()).toBeUndefined();
  await governor.run({ user: 'ada' }, async () => {
    expect(await madeUp('/3')).toBe('/3');
    expect(await user()).toBe('ada');
  });
});

it('is an inner scope where there is one: what a request is served in keeps its deadline and its user', async () => {
  const { governor, door, scopes } = setUp();
  const request = new IncomingMessage(new Socket());
  request.httpVersionMajor = 1;
  Object.assign(request.socket, { parser: { incoming: request } });
  const outer = new AbortController();
  const found = await governor.run({ tenant: 'acme', signal: outer.signal }, async () => {
    const inner = door(request, [request, new ServerResponse(request), '/1'], () =>
      scopes.current()?.resolve(),
    );
    expect(await scopes.current()?.resolve()).not.toHaveProperty('user');
    return inner;
  });
  expect(found).toMatchObject({ user: '/1', tenant: 'acme' });
  expect(found?.signals).toContain(outer.signal);
});
