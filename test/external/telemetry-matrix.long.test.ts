import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Packed, pack, run } from './packed.ts';

/** The two lines of the OpenTelemetry SDK, which cannot be mixed. */
const LINES = {
  '2': [
    '@opentelemetry/api@1.9',
    '@opentelemetry/sdk-trace-base@2',
    '@opentelemetry/sdk-metrics@2',
    '@opentelemetry/context-async-hooks@2',
    '@opentelemetry/exporter-trace-otlp-http@0.223',
    '@opentelemetry/exporter-trace-otlp-proto@0.223',
  ],
  '3': [
    '@opentelemetry/api@1.10',
    '@opentelemetry/sdk-trace@3',
    '@opentelemetry/sdk-metrics@3',
    '@opentelemetry/context-async-hooks@3',
    '@opentelemetry/exporter-trace-otlp-http@0.301',
    '@opentelemetry/exporter-trace-otlp-proto@0.301',
  ],
};

/** The oldest Anthropic SDK that is supported, which has no spans of its own, and the latest, which has. */
const AGES = { '0.101.0': 'none', latest: 'own' };

describe('from tarballs, each in an install and a process of its own', () => {
  let packed: Packed;
  beforeAll(async () => {
    packed = await pack(['core', 'testing']);
  }, 300_000);
  afterAll(() => packed.remove());

  async function runIn(specs: readonly string[], script: string, ...args: string[]): Promise<string> {
    const app = await packed.install(['core', 'testing'], specs);
    try {
      await copyFile(join(import.meta.dirname, 'matrix', script), join(app, script));
      const { stdout } = await run(process.execPath, [script, ...args], { cwd: app });
      return stdout;
    } finally {
      await rm(app, { recursive: true });
    }
  }

  for (const [line, specs] of Object.entries(LINES)) {
    for (const [age, spans] of Object.entries(AGES)) {
      it(`OpenTelemetry ${line}.x and the Anthropic SDK ${age}`, async () => {
        const said = await runIn([`@anthropic-ai/sdk@${age}`, ...specs], 'check.mjs', line, spans);
        const versions = JSON.parse(said) as Record<string, string>;
        console.log(versions);
        expect(versions.api).toMatch(line === '3' ? /^1\.10\./ : /^1\.9\./);
        expect(versions.metrics?.startsWith(`${line}.`)).toBe(true);
        if (age !== 'latest') expect(versions.sdk).toBe(age);
      });
    }
  }

  it('an API newer than the SDK’s is a silent no-op, and Headgate says so', async () => {
    const specs = [
      '@anthropic-ai/sdk@latest',
      '@opentelemetry/api@1.10',
      'api-of-the-app@npm:@opentelemetry/api@1.9',
    ];
    await runIn(specs, 'mismatch.mjs');
  });
});
