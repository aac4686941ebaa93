import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

/** What an API has seen of one user. */
export interface Counted {
  calls: number;
  now: number;
  /** Calls at once, at the most. */
  most: number;
  /** At the prices of claude-sonnet-4-6. */
  usd: number;
}

export interface CountingApi {
  readonly url: string;
  /** By `metadata.user_id`. */
  of(user: string): Counted;
  readonly users: ReadonlyMap<string, Counted>;
  forget(): void;
  stop(): Promise<void>;
}

/** An API that refuses nobody and counts: for tests in which only the governor stands between a caller and it. */
export async function startCountingApi({ delayMs = 5, outputTokens = 1_000 } = {}): Promise<CountingApi> {
  const users = new Map<string, Counted>();
  const of = (user: string): Counted => {
    const known = users.get(user) ?? { calls: 0, now: 0, most: 0, usd: 0 };
    users.set(user, known);
    return known;
  };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as {
      model?: string;
      metadata?: { user_id?: string };
    };
    const counted = of(body.metadata?.user_id ?? '');
    counted.calls++;
    counted.now++;
    counted.most = Math.max(counted.most, counted.now);
    counted.usd += (10 * 3 + outputTokens * 15) / 1e6;
    await pause(delayMs);
    counted.now--;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        model: body.model,
        content: [{ type: 'text', text: 'ok' }],
        stop_reason: 'end_turn',
        stop_sequence: null,
        usage: { input_tokens: 10, output_tokens: outputTokens },
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    of,
    users,
    forget: () => users.clear(),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
