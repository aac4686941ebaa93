import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { ANSWER } from './ask.ts';

const START = {
  type: 'message_start',
  message: { ...ANSWER, stop_reason: null, usage: { input_tokens: 5, output_tokens: 1 } },
};

/** An API that never finishes: it sends no headers, or, to a path that starts with "begun", headers and how an answer begins. */
export async function startMuteApi() {
  const open = new Set<ServerResponse>();
  const server = createServer(async (req, res) => {
    open.add(res);
    res.on('close', () => open.delete(res));
    const asked = Buffer.concat(await req.toArray()).toString();
    if (req.url?.startsWith('/begun') !== true) return;
    const isStream = (JSON.parse(asked) as { stream?: boolean }).stream === true;
    res.writeHead(200, { 'content-type': isStream ? 'text/event-stream' : 'application/json' });
    res.write(isStream ? `event: message_start\ndata: ${JSON.stringify(START)}\n\n` : '{"id":');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, open };
}
