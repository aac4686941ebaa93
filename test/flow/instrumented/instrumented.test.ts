import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type RecordedSpan, startClaudeApi } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';

const HTTP = '@opentelemetry/instrumentation-http';
const UNDICI = '@opentelemetry/instrumentation-undici';
const SDK = 'com.anthropic.sdk.typescript';
const OURS = '@headgate/core';
const FRAMEWORKS = {
  express: '@opentelemetry/instrumentation-express',
  koa: '@opentelemetry/instrumentation-koa',
  fastify: '@fastify/otel',
};

async function runApp(framework: string, openTelemetry: boolean) {
  const api = await startClaudeApi({
    latency: { timeToFirstTokenMs: 10, tokensPerSecond: 4_000, flushMs: 5 },
    output: () => 40,
  });
  onTestFinished(() => api.close());
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=source', '--import', './register.ts', 'main.ts', framework, String(openTelemetry)],
    {
      cwd: join(import.meta.dirname),
      env: { ...process.env, API_URL: api.url },
      maxBuffer: 32 * 1024 * 1024,
    },
  );
  const { spans, open } = JSON.parse(stdout) as { spans: RecordedSpan[]; open: string[] };
  return { spans, open, ledger: api.ledger.totals() };
}

describe('with the instrumentations of HTTP, undici and the framework', () => {
  for (const [framework, scope] of Object.entries(FRAMEWORKS)) {
    for (const openTelemetry of [true, false]) {
      it(`an app of ${framework}, the SDK’s spans ${openTelemetry ? 'on' : 'off'}, has each thing in its place and each token once`, async () => {
        const { spans, open, ledger } = await runApp(framework, openTelemetry);
        expect(open).toEqual([]);
        expect(spans.some((span) => span.scope === scope)).toBe(true);
        const byId = new Map(spans.map((span) => [span.spanId, span]));
        const ancestors = (span: RecordedSpan): RecordedSpan[] => {
          const parent = byId.get(span.parentSpanId ?? '');
          return parent === undefined ? [] : [parent, ...ancestors(parent)];
        };
        const attempts = spans.filter(({ name }) => name === 'headgate.attempt');
        expect(attempts).toHaveLength(6);
        for (const attempt of attempts) {
          const [call, ...above] = ancestors(attempt);
          expect(call?.scope).toBe(openTelemetry ? SDK : OURS);
          // A request has its span first, and the framework may have more between.
          expect(above.at(-1)).toMatchObject({ scope: HTTP, kind: 'server' });
          expect(above.length).toBeGreaterThanOrEqual(1);
          // What goes over the wire is the attempt's, not the call's and not the request's.
          const sent = spans.filter((span) => span.scope === UNDICI && span.parentSpanId === attempt.spanId);
          expect(sent).toHaveLength(1);
          const admissions = spans.filter(
            ({ name, parentSpanId }) => name === 'headgate.admission' && parentSpanId === call?.spanId,
          );
          expect(admissions).toHaveLength(1);
        }
        // Three users, two requests each, at once through two slots: each trace is one user's.
        const users = new Map<string, Set<unknown>>();
        for (const { name, traceId, attributes } of spans) {
          if (name !== 'headgate.admission') continue;
          users.set(traceId, (users.get(traceId) ?? new Set()).add(attributes['headgate.user.hash']));
        }
        expect(users.size).toBe(6);
        expect([...users.values()].every((hashes) => hashes.size === 1)).toBe(true);
        expect(new Set([...users.values()].flatMap((hashes) => [...hashes])).size).toBe(3);

        const sum = (name: string) =>
          spans.reduce((total, { attributes }) => total + Number(attributes[name] ?? 0), 0);
        expect(sum('gen_ai.usage.input_tokens')).toBe(ledger.inputTokens + ledger.cacheRead);
        expect(sum('gen_ai.usage.output_tokens')).toBe(ledger.outputTokens);
      });
    }
  }
});
