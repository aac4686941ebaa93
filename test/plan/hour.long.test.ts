import { execFile } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import type { PlanReport } from '../../packages/cli/src/plan/report.ts';
import { folderWith, readmeFiles } from './support.ts';

const MAIN = join(import.meta.dirname, '../../packages/cli/src/main.ts');
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
  it('takes no more memory the longer it is', async () => {
    const take = async (calls: number) => {
      const folder = folderWith({
        'headgate.yaml': HOUR['headgate.yaml'],
        'traffic.yaml': { duration: '10h', calls: [{ name: 'seen', trace: 'calls.jsonl' }] },
      });
      await pipeline(lines(calls), createWriteStream(join(folder, 'calls.jsonl')));
      const { report, peakMegabytes } = await played(folder);
      expect(report.all).toMatchObject({ calls, answered: calls });
      return peakMegabytes;
    };
    const short = await take(80_000);
    const long = await take(400_000);
    console.log(`80,000 calls: ${short.toFixed(0)} MB, 400,000 calls: ${long.toFixed(0)} MB`);
    expect(long).toBeLessThan(500);
    expect(long).toBeLessThan(1.3 * short);
  }, 600_000);
});

function* lines(count: number): Generator<string> {
  for (let i = 0; i < count; i++)
    yield `${JSON.stringify({
      at: i * 50,
      input: 300 + (i % 700),
      output: 50 + (i % 300),
      model: 'claude-sonnet-4-6',
      user: `user ${(i * 7_919) % 50_000}`,
    })}\n`;
}
