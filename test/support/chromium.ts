import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const INSTALL = 'apt-get install -y --no-install-recommends chromium';
export const hasChromium = existsSync(CHROMIUM);
if (!hasChromium) console.warn(`no browser at ${CHROMIUM}; for these tests: ${INSTALL}`);

/** True where tests that need a browser are left out: not where all must pass, there its absence is a failure. */
export const skipsChromium = !hasChromium && process.env.CI !== 'true';

export async function launchChromium(): Promise<Browser> {
  if (!hasChromium) throw new Error(`no browser at ${CHROMIUM}: ${INSTALL}`);
  return await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
}
