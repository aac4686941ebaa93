import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchChromium, skipsChromium } from '../support/chromium.ts';
import { bucket, even, folderWith, hostileFolder, planIn } from './support.ts';

/** Where pictures go to be looked at; without it they are only measured. */
const OUT = process.env.PREVIEW_OUT;

const TRAFFIC = {
  duration: '10m',
  calls: [
    even({
      name: 'chat',
      lane: 'interactive',
      users: 100,
      arrivals: { shape: 'poisson', rate: '1/second' },
      output: 300,
    }),
    even({
      name: 'digest',
      lane: 'background',
      arrivals: { shape: 'burst', at: '2m', calls: 300 },
      output: 400,
    }),
  ],
};
const LANES = {
  interactive: { weight: 8, guarantee: 0.5, maxWait: '20s' },
  background: { weight: 1, maxWait: '10m', maxQueuedPerUser: 1_000 },
};

describe.skipIf(skipsChromium)('the page of headgate plan', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchChromium();
  });
  afterAll(() => browser?.close());

  async function open(file: string, options: Parameters<Browser['newPage']>[0]) {
    const page = await browser.newPage(options);
    const told: string[] = [];
    page.on('console', (message) => told.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => told.push(error.message));
    page.on('request', (request) => {
      if (!request.url().startsWith('file:')) told.push(`asks for ${request.url()}`);
    });
    await page.goto(pathToFileURL(file).href);
    await page.waitForSelector('canvas');
    return { page, told };
  }

  /** Colours on each canvas, in order; a canvas with nothing drawn has one. */
  const coloursOf = (page: Page) =>
    page.$$eval('canvas', (canvases) =>
      canvases.map((canvas) => {
        const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
        const seen = new Set<number>();
        for (let i = 0; i < data.length; i += 4)
          if (data[i + 3] === 255) seen.add((data[i]! << 16) | (data[i + 1]! << 8) | data[i + 2]!);
        return [...seen];
      }),
    );

  it('is drawn at any width, by day and by night, and complains of nothing', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket({ outputTokensPerMinute: 40_000 })], lanes: LANES },
      'wide.yaml': { account: [bucket({ outputTokensPerMinute: 80_000 })], lanes: LANES },
      'traffic.yaml': TRAFFIC,
    });
    const goals = ['--goal', 'chat p95 < 2s', '--goal', '429s <= 0'];
    await planIn(folder, ...goals, '--html', 'one.html');
    await planIn(folder, ...goals, '--compare', 'wide.yaml', '--html', 'two.html');
    for (const [name, count] of [
      ['one', 5],
      ['two', 10],
    ] as const)
      for (const width of [1_280, 400])
        for (const colorScheme of ['light', 'dark'] as const) {
          const viewport = { width, height: 900 };
          const { page, told } = await open(join(folder, `${name}.html`), { viewport, colorScheme });
          // A line of each plot stands out by a colour of its own, beside the grid and the letters.
          const colours = await coloursOf(page);
          expect(colours).toHaveLength(count);
          for (const each of colours) expect(each.length).toBeGreaterThan(3);
          expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
          const cut = await page.$$eval(
            '[data-figure]',
            (places) => places.filter((place) => place.scrollWidth > place.clientWidth + 1).length,
          );
          expect(cut).toBe(0);
          expect(told).toEqual([]);
          if (OUT !== undefined) {
            await mkdir(OUT, { recursive: true });
            await page.screenshot({ path: join(OUT, `${name}-${width}-${colorScheme}.png`), fullPage: true });
          }
          await page.close();
        }
  });

  it('is printed in ink on paper, and its legend is there for the keyboard', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket({ outputTokensPerMinute: 40_000 })], lanes: LANES },
      'traffic.yaml': TRAFFIC,
    });
    await planIn(folder, '--html', 'one.html');
    const { page, told } = await open(join(folder, 'one.html'), { colorScheme: 'dark' });
    const night = (await coloursOf(page))[0]!;
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
    await page.waitForTimeout(200);
    const paper = (await coloursOf(page))[0]!;
    const ink = 0x1d232b;
    expect([night.includes(ink), paper.includes(ink)]).toEqual([false, true]);
    await page.emulateMedia({ media: 'screen', colorScheme: 'light' });
    const entry = page.locator('.u-series th[role=button]').first();
    await entry.focus();
    await page.keyboard.press('Enter');
    expect(await entry.evaluate((th) => th.parentElement?.className)).toContain('u-off');
    expect(told).toEqual([]);
    await page.close();
  });

  it('runs nothing that a file has brought', async () => {
    const folder = hostileFolder();
    await planIn(folder, '--html', 'page.html');
    const { page, told } = await open(join(folder, 'page.html'), {});
    expect(await page.evaluate(`'headgateHurt' in window`)).toBe(false);
    expect(told).toEqual([]);
    await page.close();
  });
});
