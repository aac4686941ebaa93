import { describe, expect, it } from 'vitest';
import { ask, isSettled, pause, rejection, startGoverned, until } from '../support/governed.ts';

/** `countTokens`: the API is asked how large a prompt is before it is let in. */
describe('a large prompt is counted by the API first', () => {
  const CONFIG = { countTokens: { above: 5_000 } };
  // Digits: the estimate by characters takes them for far fewer tokens than the API does.
  const large = () => ask('7391 8426 '.repeat(6_000));
  const paths = (received: readonly { path: string }[]) => received.map(({ path }) => path);

  it('and what is held is what it counts', async () => {
    const { api, bare, claude, governor } = await startGoverned({ config: CONFIG });
    const { input_tokens: tokens } = await bare.messages.countTokens({
      model: large().model,
      messages: large().messages,
    });
    const left = () =>
      governor.snapshot().buckets.find(({ name }) => name === 'sonnet-4')?.limits.inputTokens;
    await claude.messages.create(ask());
    const capacity = left()?.capacity ?? 0;
    api.inject({ kind: 'stall', at: 'before-headers', ms: 300 });
    const answer = claude.messages.create({ ...large(), metadata: { user_id: 'u' }, stop_sequences: ['.'] });
    answer.catch(() => {});
    await until(() => paths(api.received).filter((path) => path === '/v1/messages').length === 2);
    const taken = capacity - (left()?.level ?? 0);
    expect((await answer).usage.input_tokens).toBe(tokens);
    // A full bucket is charged for the way besides, a tenth of a second of its limit, and refills all the time.
    expect(taken).toBeGreaterThan(tokens - 2_000);
    expect(taken).toBeLessThan(tokens + 5_000);
    expect(paths(api.received)).toEqual([
      '/v1/messages/count_tokens',
      '/v1/messages',
      '/v1/messages/count_tokens',
      '/v1/messages',
    ]);
    // In a bucket of its own, and nothing of it is left.
    expect(governor.snapshot().buckets.map(({ name }) => name)).toContain('count_tokens');
    await until(() => isSettled(governor));
  });

  it.each([
    [
      'images by URL (was: not counted)',
      Array.from({ length: 20 }, (_, n) => ({
        type: 'image',
        source: { type: 'url', url: `https://x/${n}.png` },
      })),
    ],
    [
      'images by file_id',
      Array.from({ length: 20 }, (_, n) => ({
        type: 'image',
        source: { type: 'file', file_id: `file_${n}` },
      })),
    ],
    ['a document by URL', [{ type: 'document', source: { type: 'url', url: 'https://x/report.pdf' } }]],
    ['a document by file_id', [{ type: 'document', source: { type: 'file', file_id: 'file_1' } }]],
  ])('and what is large in few bytes too: %s', async (_, content) => {
    const { api, claude } = await startGoverned({ config: CONFIG });
    await claude.messages.create({ ...ask(), messages: [{ role: 'user', content: content as never }] });
    expect(paths(api.received)).toEqual(['/v1/messages/count_tokens', '/v1/messages']);
  });

  it('and a small one is not', async () => {
    const { api, claude } = await startGoverned({ config: CONFIG });
    await claude.messages.create(ask());
    expect(paths(api.received)).toEqual(['/v1/messages']);
  });

  it('and where that fails it is estimated, and nobody is asked for a minute', async () => {
    const { api, claude: governed, governor, warnings } = await startGoverned({ config: CONFIG });
    const claude = governor.with({ user: 'ada' }, governed);
    api.inject({ kind: 'status', status: 404, path: '/v1/messages/count_tokens' });
    await claude.messages.create(large());
    await claude.messages.create(large());
    expect(paths(api.received)).toEqual(['/v1/messages/count_tokens', '/v1/messages', '/v1/messages']);
    expect(warnings).toEqual([expect.stringContaining('[HG_COUNT_TOKENS]')]);
    await until(() => isSettled(governor));
  });

  it('and one that takes too long is not waited for', async () => {
    const { api, claude, governor } = await startGoverned({ config: CONFIG });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 60_000, path: '/v1/messages/count_tokens' });
    const startedAt = performance.now();
    await claude.messages.create(large());
    expect(performance.now() - startedAt).toBeGreaterThan(1_900);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await until(() => isSettled(governor));
  });

  it('and a caller who leaves meanwhile ends it', async () => {
    const { api, claude, governor } = await startGoverned({ config: CONFIG });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 60_000, path: '/v1/messages/count_tokens' });
    const controller = new AbortController();
    const failed = rejection(claude.messages.create(large(), { signal: controller.signal }));
    await until(() => api.received.length === 1);
    controller.abort();
    expect(await failed).toMatchObject({ name: expect.stringContaining('Abort') });
    await until(() => isSettled(governor));
    await pause(20);
    expect(paths(api.received)).toEqual(['/v1/messages/count_tokens']);
  });
});
