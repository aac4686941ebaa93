import { connect, createServer, type Socket } from 'node:net';
import { freePort } from '../support/redis.ts';

/** A wire to a Redis that can be slow, stopped, cut, or led to another. */
export interface Wire {
  readonly port: number;
  readonly url: string;
  /** Milliseconds that what goes out takes. */
  delayMs: number;
  /** Nothing goes through any more, and nobody is told. */
  isBlocked: boolean;
  /** Where connections go that are made from now on. */
  target: number;
  /** Resets all connections. */
  cut(): void;
  stop(): void;
}

export async function startWire(target: number): Promise<Wire> {
  const sockets = new Set<Socket>();
  const port = await freePort();
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const server = createServer((from) => {
    const to = connect(wire.target, '127.0.0.1');
    for (const [a, b] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(a);
      a.on('error', () => b.destroy());
      a.on('close', () => {
        sockets.delete(a);
        b.destroy();
      });
    }
    from.on('data', (bytes) => {
      if (wire.isBlocked) return;
      if (wire.delayMs > 0) setTimeout(() => to.write(bytes), wire.delayMs);
      else to.write(bytes);
    });
    to.on('data', (bytes) => {
      if (!wire.isBlocked) from.write(bytes);
    });
  });
  const wire: Wire = {
    port,
    url: `redis://127.0.0.1:${port}`,
    delayMs: 0,
    isBlocked: false,
    target,
    cut,
    stop() {
      server.close();
      cut();
    },
  };
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return wire;
}
