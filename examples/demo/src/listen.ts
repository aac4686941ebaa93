import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An app on a port of loopback. Closing cuts what is still connected. */
export interface Listening extends AsyncDisposable {
  readonly url: string;
}

/** Rejects when the port is taken. Port 0 takes a free one. */
export async function listen(app: RequestListener, port = 0): Promise<Listening> {
  // Longer than any client here keeps an idle connection, so that none is closed under a request just sent.
  const server = createServer({ keepAliveTimeout: 65_000 }, app);
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${bound}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
