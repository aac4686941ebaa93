import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { RUNTIMES, THEIRS } from '../external/runtimes.ts';

const PAGE = new URL('../../packages/core/docs/runtimes.md', import.meta.url);

/** What the suite has installed of each, under the names that the page gives them. */
const INSTALLED: Record<string, readonly string[]> = {
  Express: ['express-4', 'express'],
  Koa: ['koa-2', 'koa'],
  Fastify: ['fastify-oldest', 'fastify'],
  '`@anthropic-ai/sdk`': ['anthropic-sdk-oldest', '@anthropic-ai/sdk'],
  '`@opentelemetry/api`': ['@opentelemetry/api'],
  '`ioredis`': ['ioredis-oldest', 'ioredis'],
  '`redis`': ['redis-5', 'redis'],
};

async function versionOf(name: string): Promise<string> {
  const text = await readFile(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

describe('the page of runtimes and frameworks', async () => {
  const page = await readFile(PAGE, 'utf8');
  const rowOf = (name: string) => page.split('\n').find((line) => line.startsWith(`| ${name} |`)) ?? '';

  it('names the runtimes that the long test drives, at their versions', () => {
    for (const [name, { version }] of Object.entries(RUNTIMES))
      expect(rowOf(name).split(/[ |,]+/), name).toContain(version);
  });

  it('names the versions that are installed here', async () => {
    for (const [name, packages] of Object.entries(INSTALLED))
      for (const each of packages) expect(rowOf(name), name).toContain(await versionOf(each));
  });

  it('names the SDK that stands beside the runtimes', () => {
    const sdk = THEIRS.find((spec) => spec.startsWith('@anthropic-ai/sdk@'))
      ?.split('@')
      .at(-1);
    expect(rowOf('`@anthropic-ai/sdk`')).toContain(sdk);
  });
});
