import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { startClaudeApi } from '@headgate/testing';
import { soakRandom } from './random.ts';

/** An API that keeps nothing of its callers: what grows in a soak is not its. Batches are the fake API's. */
const random = soakRandom(Number(process.env.SOAK_SEED ?? 1));
const FAULTS = Number(process.env.SOAK_FAULTS ?? 0.03);
const USAGE = { input_tokens: 12, output_tokens: 20 };

const message = (model: string) => ({
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model,
  content: [{ type: 'text', text: 'Sluice and gate.' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: USAGE,
});

function json(response: ServerResponse, status: number, body: object) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

const fail = (response: ServerResponse, status: number, type: string) =>
  json(response, status, { type: 'error', error: { type, message: 'no' }, request_id: 'req_1' });

async function stream(response: ServerResponse, model: string, cutsOff: boolean) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (event: { type: string }) =>
    response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  const start = { ...message(model), content: [], stop_reason: null, usage: { ...USAGE, output_tokens: 1 } };
  send({ type: 'message_start', message: start } as never);
  send({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } } as never);
  for (let n = 0; n < 4; n++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (response.destroyed) return;
    if (cutsOff && n === 2) return void response.destroy();
    send({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'gate ' } } as never);
  }
  send({ type: 'content_block_stop', index: 0 } as never);
  send({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 20 } } as never);
  send({ type: 'message_stop' });
  response.end();
}

/** No 429: one that comes by chance says nothing true of a limit, and limits are learned from it. */
function faulty(response: ServerResponse): boolean {
  if (random() >= FAULTS) return false;
  const kind = Math.floor(random() * 4);
  if (kind === 0) fail(response, 500, 'api_error');
  else if (kind === 1) fail(response, 529, 'overloaded_error');
  else if (kind === 2) response.destroy();
  else fail(response, 400, 'invalid_request_error');
  return true;
}

async function forward(request: IncomingMessage, response: ServerResponse, chunks: readonly Buffer[]) {
  const headers = Object.entries(request.headers).filter(
    ([name]) => !/^(host|connection|content-length)$/.test(name),
  );
  const answer = await fetch(`${batches.url}${request.url}`, {
    method: request.method ?? 'GET',
    headers: Object.fromEntries(headers) as Record<string, string>,
    ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
  });
  const type = answer.headers.get('content-type') ?? 'application/json';
  const text = (await answer.text()).replaceAll(batches.url, ownUrl);
  response.writeHead(answer.status, { 'content-type': type }).end(text);
}

const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
  } catch {
    return;
  }
  if (request.url?.startsWith('/v1/messages/batches') === true) return forward(request, response, chunks);
  const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as { model?: string; stream?: boolean };
  const model = body.model ?? '';
  if (model.startsWith('junk')) return fail(response, 404, 'not_found_error');
  await new Promise((resolve) => setTimeout(resolve, 20 + 40 * random()));
  if (response.destroyed || faulty(response)) return;
  if (body.stream === true) await stream(response, model, random() < FAULTS / 3);
  else json(response, 200, message(model));
});

let ownUrl = '';
const batches = await startClaudeApi({ batches: { durationMs: 200 }, output: () => 20 });
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  ownUrl = `http://127.0.0.1:${port}`;
  process.send?.({ url: ownUrl });
});
process.on('disconnect', () => process.exit(0));
