import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, onTestFinished } from 'vitest';
import { agreesWithLedger } from '../support/usage-agreement.ts';

it("governor.usage agrees with the API's ledger to the cent over 10,000 calls", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-usage-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  await agreesWithLedger(10_000, join(folder, 'counters.sqlite'));
});
