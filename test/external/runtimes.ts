/** What the long test of runtimes installs: exactly what the table in packages/core/docs/runtimes.md names. */
export const RUNTIMES: Record<string, { spec: string; command: readonly string[]; version: string }> = {
  'Node 22': {
    spec: 'node-22@npm:node@22.15.0',
    command: ['node-22/bin/node', '--expose-gc'],
    version: '22.15.0',
  },
  'Node 24': {
    spec: 'node-24@npm:node@24.21.0',
    command: ['node-24/bin/node', '--expose-gc'],
    version: '24.21.0',
  },
  'Node 26': {
    spec: 'node-26@npm:node@26.10.0',
    command: ['node-26/bin/node', '--expose-gc'],
    version: '26.10.0',
  },
  Bun: { spec: 'bun@1.4.5', command: ['.bin/bun'], version: '1.4.5' },
  Deno: {
    spec: 'deno@2.9.6',
    command: ['.bin/deno', 'run', '--allow-all', '--v8-flags=--expose-gc'],
    version: '2.9.6',
  },
};
export const OURS = ['core', 'express', 'koa', 'fastify', 'redis'];
export const THEIRS = [
  '@anthropic-ai/sdk@1.14.0',
  '@opentelemetry/api@1.10.0',
  'express@5.3.0',
  'koa@3.3.0',
  'fastify@5.12.8',
  'ioredis@6.0.0',
  'redis@6.3.1',
];
