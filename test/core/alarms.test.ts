import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const run = promisify(execFile);
const alarms = fileURLToPath(new URL('../../packages/core/src/alarms.ts', import.meta.url));
const clock = fileURLToPath(new URL('../../packages/core/src/clock.ts', import.meta.url));

/** What a process prints that sets alarms and has nothing else to do. */
async function printed(body: string): Promise<string> {
  const script = `import { Alarms } from ${JSON.stringify(alarms)};
import { systemClock as clock } from ${JSON.stringify(clock)};
const alarms = new Alarms(clock);
const set = (ms, isAwaited, say) => alarms.set(clock.now() + ms, () => console.log(say), isAwaited);
${body}`;
  const { stdout } = await run(process.execPath, [
    '--conditions=source',
    '--input-type=module',
    '--eval',
    script,
  ]);
  return stdout.trim();
}

it('a process lives as long as a call waits in it, and no longer', async () => {
  expect(await printed("set(60, false, 'nobody waits');")).toBe('');
  expect(await printed("set(60, true, 'a call waits');")).toBe('a call waits');
  expect(
    await printed("set(20, false, 'meanwhile'); set(60, true, 'a call waits'); set(90, false, 'never');"),
  ).toBe('meanwhile\na call waits');
  expect(await printed("set(60, false, 'nobody waits'); set(90, true, 'gone').cancel();")).toBe('');
});
