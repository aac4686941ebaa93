import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { startClaudeApi } from '@headgate/testing';

/** An API newer than the one through which the SDK is registered: all is silent, and Headgate says why. */
const require = createRequire(import.meta.url);
const older = require('api-of-the-app');
older.trace.setGlobalTracerProvider({ getTracer: () => assert.fail('it was seen after all') });

const warnings = [];
const governor = createGovernor({
  logger: { info() {}, warn: (message, fields) => warnings.push({ message, ...fields }), error() {} },
});
const api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 4_000, flushMs: 5 } });
const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url }));
for (let i = 0; i < 2; i++)
  await governor.run({ user: 'ada' }, () =>
    claude.messages.create({
      model: 'claude-sonnet-4-6',
      max_tokens: 50,
      messages: [{ role: 'user', content: 'hi' }],
    }),
  );
assert.equal(warnings.length, 1);
assert.equal(warnings[0].code, 'HG_OTEL_API');
assert.match(warnings[0].message, /@opentelemetry\/api 1\.9\.\d/);
await governor.close();
await api.close();
process.exit(0);
