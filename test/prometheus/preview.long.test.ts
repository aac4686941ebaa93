import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchChromium, skipsChromium } from '../support/chromium.ts';
import { fillIn, panelsOf } from '../support/dashboard.ts';
import { pause } from '../support/governed.ts';
import { type Peak, startPeak } from '../support/peak.ts';
import { type PanelData, previewHtml } from '../support/preview.ts';
import { skipsPrometheus } from '../support/prometheus.ts';

/** Where pages and pictures go to be looked at; without it they are only measured. */
const OUT = process.env.PREVIEW_OUT;
const WINDOW = '5s';

describe.skipIf(skipsPrometheus || skipsChromium)(
  'the dashboard, drawn from its own JSON and a real Prometheus',
  () => {
    let peak: Peak;
    let browser: Browser;
    let from = 0;
    beforeAll(async () => {
      from = Date.now() / 1_000;
      peak = await startPeak();
      browser = await launchChromium();
      await peak.trouble;
      await peak.reached;
      await pause(6_000);
    }, 120_000);
    afterAll(async () => {
      await browser?.close();
      await peak?.close();
    });

    async function read(job: string): Promise<PanelData[]> {
      const to = Date.now() / 1_000;
      return await Promise.all(
        panelsOf('js-prometheus').map(async (panel) => ({
          panel,
          answers: await Promise.all(
            (panel.targets ?? []).map(async ({ expr, legendFormat }) => ({
              legendFormat,
              series: await peak.prometheus.queryRange(fillIn(expr, job, WINDOW), from, to, 0.5),
            })),
          ),
        })),
      );
    }

    for (const job of ['demo', 'trouble']) {
      it(`shows every panel of “${job}” whole`, async () => {
        const html = previewHtml(`Headgate: ${job}`, await read(job));
        const page = await browser.newPage({ viewport: { width: 1_600, height: 1_000 } });
        await page.setContent(html);
        const panels = await page.$$eval('section > div', (found) =>
          found.map((each) => ({
            title: each.querySelector('h2')?.textContent ?? '',
            isDrawn: each.querySelector('polyline, .stat') !== null,
            isCut: each.scrollHeight > each.clientHeight + 1,
          })),
        );
        expect(panels.length).toBeGreaterThan(20);
        expect(panels.filter(({ isCut }) => isCut)).toEqual([]);
        // A healthy demo has nothing to show in some; where everything happens all have.
        const blank = panels.filter(({ isDrawn }) => !isDrawn).map(({ title }) => title);
        if (job === 'trouble') expect(blank).toEqual([]);
        else
          expect(
            blank.every((title) => HEALTHY.has(title)),
            blank.join(', '),
          ).toBe(true);
        if (OUT !== undefined) {
          await mkdir(OUT, { recursive: true });
          await writeFile(join(OUT, `${job}.html`), html);
          await page.screenshot({ path: join(OUT, `${job}.png`), fullPage: true });
        }
        await page.close();
      });
    }
  },
);

/** Panels of the demo that are empty, since what they show has not happened; and those of a fleet, which it is not. */
const HEALTHY = new Set([
  'Breaker moves',
  'What rules in shadow would do',
  'Budgets used',
  'Budgets end in',
  'Limits are shared',
  'Processes',
  'Moves in the last hour',
  'Decisions by mode',
]);
