import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchChromium, skipsChromium } from '../support/chromium.ts';
import { addressOf, startExample } from '../support/example.ts';
import { until } from '../support/governed.ts';

describe.skipIf(skipsChromium)('a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchChromium();
  });
  afterAll(() => browser?.close());

  for (const name of ['express', 'koa', 'fastify']) {
    it(`sees the chat of the ${name} example come in pieces, and ends it by closing the tab`, async () => {
      const example = await startExample(name, {
        latency: { timeToFirstTokenMs: 100, tokensPerSecond: 50, flushMs: 50 },
        output: () => 1_500,
      });
      const { api } = example;
      const page = await browser.newPage();
      await page.goto(await addressOf(example));
      await page.fill('#question', 'Tell me a long story.');
      await page.click('button');

      const lengths = new Set<number>();
      const answer = page.locator('#answer');
      const end = performance.now() + 10_000;
      while (lengths.size < 6 && performance.now() < end) {
        const { length } = (await answer.textContent()) ?? '';
        if (length > 0) lengths.add(length);
        await page.waitForTimeout(60);
      }
      expect(lengths.size).toBeGreaterThanOrEqual(6);
      expect(api.openConnections()).toBe(1);
      expect(api.ledger.count({ disconnected: true })).toBe(0);

      await page.close();
      await until(() => api.ledger.count({ disconnected: true }) === 1, 2_000);
      await until(() => api.openConnections() === 0, 2_000);
      expect(api.ledger.entries[0]?.generatedTokens).toBeLessThan(1_500);
    });

    it(`is told by the ${name} example when to come back`, async () => {
      const example = await startExample(name);
      const page = await browser.newPage();
      const url = await addressOf(example);
      await page.goto(url);
      // The example lets three calls of a visitor run at once, and twenty a minute.
      const ask = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
      for (let call = 0; call < 20; call++) await (await fetch(`${url}/ask`, ask)).text();
      await page.fill('#question', 'One more?');
      await page.click('button');
      await page.locator('#trouble', { hasText: /./ }).waitFor();
      expect(await page.locator('#trouble').textContent()).toMatch(
        /^You have reached your limit for now\. Try again later\. \(In \d+ s\.\)$/,
      );
      await page.close();
    });
  }
});
