import { startApi } from './api.ts';
import { demoApp } from './app.ts';
import { UsageError } from './args.ts';
import { listen } from './listen.ts';
import { startTelemetry } from './telemetry.ts';

/** Keeps the governed app up until `signal`. */
export async function serve(port: number, signal: AbortSignal): Promise<void> {
  await using _telemetry = startTelemetry({ record: false });
  await using api = await startApi(1);
  const { app, governor } = demoApp(api.url);
  await using server = await listen(app, port).catch((error: unknown) => {
    const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
    throw isTaken ? new UsageError(`--port: ${port} is taken; 0 takes a free one`) : error;
  });
  console.log(instructions(server.url));
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  await governor.close({ drainMs: 1_000 });
}

function instructions(url: string): string {
  const post = (path: string, headers: string, prompt: string) =>
    `curl -sS ${path === '/chat/stream' ? '-N ' : ''}${url}${path} -H 'content-type: application/json' ${headers} -d '{"prompt":"${prompt}"}'`;
  return `The governed app is up at ${url}, against a Claude API on loopback. Ctrl-C ends it.

A call:
  ${post('/chat', "-H 'x-user: ada'", 'What is a headgate?')}

A streamed one:
  ${post('/chat/stream', "-H 'x-user: ada'", 'What is a headgate?')}

A refused one: the tier "trial" may send one request a minute, so send this twice:
  ${post('/chat', "-i -H 'x-user: eve' -H 'x-tier: trial'", 'And again?')}

What the governor sees:
  curl -sS ${url}/headgate
`;
}
