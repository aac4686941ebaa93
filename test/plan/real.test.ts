import { execFile } from 'node:child_process';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { differenceRows, differencesOf } from '../../packages/cli/src/plan/real/differences.ts';
import { watchMachine, whyVoid } from '../../packages/cli/src/plan/real/machine.ts';
import type { PlanReport } from '../../packages/cli/src/plan/report.ts';
import type { RealReport } from '../../packages/cli/src/plan/ways.ts';
import { bucket, even, folderWith, MAIN, planIn, type Run } from './support.ts';

const FAST = { firstToken: '20ms', tokensPerSecond: 2_000, network: '1ms' };

const folderOf = (traffic: object, config: object = { account: [bucket()] }) =>
  folderWith({ 'headgate.yaml': config, 'traffic.yaml': { service: FAST, ...traffic } });

describe('headgate plan --real', () => {
  it('makes the very calls of the model over HTTP, and counts the same of them', async () => {
    const folder = folderOf(
      {
        duration: '1h',
        calls: [
          even({ name: 'paid', tier: 'paid', arrivals: { shape: 'steady', rate: '10/second' } }),
          even({
            name: 'free',
            tier: 'free',
            arrivals: { shape: 'steady', rate: '10/second' },
            maxTokens: 200,
            streaming: 0,
          }),
          even({ name: 'other', model: 'claude-unheard-of', route: '/other' }),
        ],
      },
      {
        account: [bucket(), bucket({ name: 'other', models: ['claude-unheard-of', 'claude-haiku-4-5*'] })],
        // Ten at once: those of the first second.
        quotas: [{ name: 'few', when: { tier: 'free' }, requests: '10/minute' }],
        caps: [{ when: { tier: 'free' }, maxTokens: 50 }],
        routes: [{ when: { route: '/other' }, model: 'claude-haiku-4-5' }],
      },
    );
    const { code, out } = await planIn(folder, '--real', '--for', '2s', '--json', '--goal', 'paid p95 < 1s');
    expect([code, out]).toEqual([0, expect.stringMatching(/^\{/)]);
    const { model, real, differences, machine } = JSON.parse(out) as RealReport;
    for (const key of ['rules', 'caps', 'reroutes', 'refusals429', 'durationMs', 'seed'] as const)
      expect(real[key]).toEqual(model[key]);
    expect(real.reroutes).toEqual({ 'claude-unheard-of → claude-haiku-4-5': 2 });
    const counts = ({ classes }: typeof real) =>
      classes
        .map(({ name, calls, answered, refused, givenUp }) => ({ name, calls, answered, refused, givenUp }))
        .sort((a, b) => a.name.localeCompare(b.name));
    expect(counts(real)).toEqual(counts(model));
    expect(real.classes.find(({ name }) => name === 'free')?.refused).toEqual({ user_quota: 10 });
    // The text that is sent comes to the tokens of the traffic, but for what the API's own count varies by: 3 %.
    expect(Math.abs(real.cost.usd / model.cost.usd - 1)).toBeLessThan(0.03);
    expect(differences.used.map(({ bucket, kind }) => `${bucket} ${kind}`)).toEqual([
      'sonnet requests',
      'sonnet inputTokens',
      'sonnet outputTokens',
      'other requests',
      'other inputTokens',
      'other outputTokens',
    ]);
    // 30 of 10,000 a minute in two seconds: 9 %.
    expect(differences.used[0]?.real).toBeCloseTo(0.09, 4);
    expect(machine.cores).toBeGreaterThan(0);
  });

  it('is ended by Ctrl-C, and tells of what went before', async () => {
    const folder = folderOf({
      duration: '1h',
      calls: [even({ arrivals: { shape: 'steady', rate: '5/second' } })],
    });
    const { code, out } = await new Promise<Run>((resolve) => {
      const args = ['--conditions=source', MAIN, 'plan', 'headgate.yaml', 'traffic.yaml', '--real'];
      const child = execFile(process.execPath, args, { cwd: folder }, (error, stdout) =>
        resolve({ code: error === null ? 0 : Number(error.code), out: stdout }),
      );
      setTimeout(() => child.kill('SIGINT'), 2_500);
    });
    expect(code).toBe(0);
    const [, model, real] = /^answered +(\d+) +(\d+)$/m.exec(out) ?? [];
    expect(Number(real)).toBeGreaterThan(0);
    expect(model).toBe(real);
    expect(out).toMatch(/ended early, after \d\.\d s/);
  });

  it('says what to install, and what does not go with it', async () => {
    const folder = folderOf({ duration: '1m', calls: [even()] });
    const gone = `data:text/javascript,${encodeURIComponent(`
      import { registerHooks } from 'node:module';
      registerHooks({ resolve: (name, context, next) => {
        if (name === '@headgate/testing') throw Object.assign(new Error("Cannot find package '@headgate/testing'"), { code: 'ERR_MODULE_NOT_FOUND' });
        return next(name, context);
      } });
    `)}`;
    const { code, out } = await new Promise<Run>((resolve) => {
      const args = ['--conditions=source', `--import=${gone}`, MAIN, 'plan'];
      execFile(
        process.execPath,
        [...args, 'headgate.yaml', 'traffic.yaml', '--real'],
        { cwd: folder },
        (error, stdout, stderr) => resolve({ code: Number(error?.code ?? 0), out: stdout + stderr }),
      );
    });
    expect([code, out]).toEqual([2, expect.stringContaining('npm install --save-dev @headgate/testing')]);
    expect(await planIn(folder, '--real', '--smallest', '--goal', 'p95 < 1s')).toEqual({
      code: 2,
      out: expect.stringContaining('received --real too'),
    });
    expect(await planIn(folder, '--for', 'ever')).toEqual({
      code: 2,
      out: expect.stringContaining('--for: expected a duration of at least 1s, such as 30s, received "ever"'),
    });
  });
});

describe('the comparison', () => {
  it('is of shares in points, and of waits in per cent', () => {
    const told = (share: number, waits: Record<string, number>): PlanReport => {
      const used = { mean: share, peak: share };
      const buckets = [
        {
          name: 'b',
          used: { requests: used, inputTokens: used, outputTokens: used },
          binds: [],
          windows: [],
        },
      ];
      const lanes = Object.entries(waits).map(([name, p95]) => ({
        name,
        waitMs: { p50: 0, p95, p99: p95, max: p95 },
      }));
      return { buckets, lanes } as unknown as PlanReport;
    };
    const found = differencesOf(told(0.5, { fast: 20, slow: 1_100 }), told(0.52, { fast: 90, slow: 1_000 }));
    expect(found.used.map(({ kind, points }) => [kind, points.toFixed(3)])).toEqual([
      ['requests', '-2.000'],
      ['inputTokens', '-2.000'],
      ['outputTokens', '-2.000'],
    ]);
    expect(found.p95).toEqual([
      { lane: 'fast', modelMs: 20, realMs: 90, percent: undefined },
      { lane: 'slow', modelMs: 1_100, realMs: 1_000, percent: 10 },
    ]);
    expect(differenceRows(found).slice(-2)).toEqual([
      ['lane fast: p95', '0.02 s', '0.09 s', 'both under 0.1 s'],
      ['lane slow: p95', '1.10 s', '1.00 s', '+10.0 %'],
    ]);
  });

  it('is void where the machine was busy', async () => {
    const machine = watchMachine();
    for (let turn = 0; turn < 5; turn++) {
      await setImmediate();
      for (const until = performance.now() + 60; performance.now() < until; );
    }
    expect(machine.end().isVoid).toContain('the machine had no CPU to spare');
    expect([whyVoid(10, 0.3), whyVoid(60, 0.3), whyVoid(10, 0.8)].map((why) => why !== undefined)).toEqual([
      false,
      true,
      true,
    ]);
  });
});
