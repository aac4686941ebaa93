import { execFile } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import type { PlanReport } from '../../packages/cli/src/plan/report.ts';
import { folderWith, MAIN, readmeFiles } from './support.ts';

/** What the README says of an hour is measured of its own files. */
const HOUR = readmeFiles('### How long it takes');
/** Has the command tell what it took, on stderr. */
const TELL = `data:text/javascript,${encodeURIComponent(
  `process.on('exit', () => process.stderr.write(JSON.stringify(process.resourceUsage())))`,
)}`;

interface Taken {
  readonly report: PlanReport;
  readonly cpuSeconds: number;
  readonly peakMegabytes: number;
}

function played(folder: string): Promise<Taken> {
  const args = ['--conditions=source', `--import=${TELL}`, MAIN];
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [...args, 'plan', 'headgate.yaml', 'traffic.yaml', '--json'],
      { cwd: folder, maxBuffer: 2 ** 26 },
      (error, stdout, stderr) => {
        if (error !== null) return reject(error);
        const { userCPUTime, systemCPUTime, maxRSS } = JSON.parse(stderr) as NodeJS.ResourceUsage;
        resolve({
          report: JSON.parse(stdout) as PlanReport,
          cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
          peakMegabytes: maxRSS / 1_000,
        });
      },
    );
  });
}

describe('an hour of 100,000 calls', () => {
  it('is rehearsed in some ten seconds of one core and 500 MB', async () => {
    const { report, cpuSeconds, peakMegabytes } = await played(folderWith(HOUR));
    console.log(
      `${report.all.calls} calls: ${cpuSeconds.toFixed(1)} s of CPU, ${peakMegabytes.toFixed(0)} MB`,
    );
    expect(report.all.calls).toBeGreaterThan(100_000);
    // Measured: 9 s. Twice that on a machine that others use too.
    expect(cpuSeconds).toBeLessThan(20);
    expect(peakMegabytes).toBeLessThan(500);
  }, 300_000);
});

describe('a trace', () => {
  async function take(calls: number, line: (i: number) => string) {
    const folder = folderWith({
      'headgate.yaml': HOUR['headgate.yaml'],
      'traffic.yaml': { duration: '24h', calls: [{ name: 'seen', trace: 'calls.jsonl' }] },
    });
    const lines = function* () {
      for (let i = 0; i < calls; i++) yield line(i);
    };
    const path = join(folder, 'calls.jsonl');
    await pipeline(lines(), createWriteStream(path));
    const { report, peakMegabytes, cpuSeconds } = await played(folder);
    expect(report.all).toMatchObject({ calls, answered: calls });
    return { peakMegabytes, cpuSeconds, bytes: (await stat(path)).size };
  }

  it('takes no more memory the longer it is', async () => {
    const short = (await take(80_000, plain)).peakMegabytes;
    const long = (await take(400_000, plain)).peakMegabytes;
    console.log(`80,000 calls: ${short.toFixed(0)} MB, 400,000 calls: ${long.toFixed(0)} MB`);
    expect(long).toBeLessThan(500);
    expect(long).toBeLessThan(1.3 * short);
  }, 600_000);

  it('of 1 GB streams in the same memory', async (context) => {
    const { bavail, bsize } = await statfs(tmpdir());
    if (bavail * bsize < 3 * GIGABYTE) context.skip('less than 3 GB of disk are free');
    const { peakMegabytes, cpuSeconds, bytes } = await take(Math.ceil(GIGABYTE / wide(0).length), wide);
    console.log(
      `${(bytes / GIGABYTE).toFixed(2)} GB in ${cpuSeconds.toFixed(0)} s of CPU, ${peakMegabytes.toFixed(0)} MB`,
    );
    expect(bytes).toBeGreaterThanOrEqual(GIGABYTE);
    expect(peakMegabytes).toBeLessThan(500);
  }, 900_000);
});

const GIGABYTE = 1_000_000_000;

const call = (i: number) => ({
  at: i * 50,
  input: 300 + (i % 700),
  output: 50 + (i % 300),
  model: 'claude-sonnet-4-6',
  user: `user ${(i * 7_919) % 50_000}`,
});

const plain = (i: number) => `${JSON.stringify(call(i))}\n`;

/** With names as long as they may be: more bytes for each call that has to be played. */
function wide(i: number): string {
  const { user, ...rest } = call(i);
  const names = { user, tenant: `tenant ${i % 500}`, route: `/route/${i % 20}`, tier: `tier ${i % 5}` };
  const padded = Object.entries(names).map(([key, name]) => [key, name.padEnd(256, '.')]);
  return `${JSON.stringify({ ...rest, ...Object.fromEntries(padded) })}\n`;
}
