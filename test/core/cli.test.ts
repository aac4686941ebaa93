import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';

const MAIN = join(import.meta.dirname, '../../packages/cli/src/main.ts');

function headgate(...args: string[]): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--conditions=source', MAIN, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), out: stdout + stderr });
    });
  });
}

function file(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-cli-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'headgate.yaml');
  writeFileSync(path, text);
  return path;
}

const GOOD = `account:
  - name: opus-4
    models: [claude-opus-4-*]
    requestsPerMinute: 1000
lanes:
  interactive: { weight: 8, guarantee: 0.5 }
  background: { guarantee: 0.05 }
quotas:
  - name: free
    when: { tier: free }
    requests: 30/minute
caps:
  - { when: { tier: free }, maxTokens: 2000 }
routes:
  - { when: { lane: background, model: claude-opus-* }, model: claude-haiku-4-5 }
fallbacks:
  claude-opus-4-7: [claude-sonnet-4-6]
`;

describe('headgate check', () => {
  it('prints the policy as it is understood', async () => {
    const { code, out } = await headgate('check', file(GOOD));
    expect(code).toBe(0);
    for (const part of [
      'opus-4: 1,000 requests',
      'interactive (default): guarantee 50 %',
      'free: tier free, per user: requests 30/minute, then refuse',
      'tier free: max_tokens 2000, clamp',
      'claude-haiku-4-5, always',
      'claude-opus-4-7: claude-sonnet-4-6',
    ]) {
      expect(out).toContain(part);
    }
  });

  it('explains what applies to a caller', async () => {
    const path = file(GOOD);
    const free = await headgate(
      'check',
      path,
      '--caller',
      'user=ada,tier=free',
      '--model',
      'claude-opus-4-7',
      '--max-tokens',
      '9000',
    );
    expect(free.out).toContain(
      'goes to claude-opus-4-7 in lane interactive, on bucket opus-4, with max_tokens 2000',
    );
    expect(free.out).toContain('quota free, per user');
    expect(free.out).toContain('falls back to claude-sonnet-4-6');
    const job = await headgate(
      'check',
      path,
      '--caller',
      'user=cron,lane=background',
      '--model',
      'claude-opus-4-7',
      '--json',
    );
    expect(JSON.parse(job.out).explanation).toMatchObject({
      model: 'claude-haiku-4-5',
      lane: 'background',
      quotas: [],
    });
  });

  it('tells each problem with line and column, and exits with 1', async () => {
    const { code, out } = await headgate(
      'check',
      file(GOOD.replace('30/minute', '30/min').replace('lane: background, model', 'lane: batch, model')),
    );
    expect(code).toBe(1);
    expect(out).toMatch(/headgate\.yaml:11:5: error HG_WRONG_VALUE\n {2}quotas\[0\]\.requests: wrong value/);
    expect(out).toMatch(/headgate\.yaml:15:15: error HG_NEVER_MATCHES\n {2}routes\[0\]\.when\.lane/);
    const broken = await headgate('check', file('a: [\nb: }'));
    expect([broken.code, broken.out]).toEqual([
      1,
      expect.stringMatching(/headgate\.yaml:2:\d+: error HG_UNREADABLE/),
    ]);
  });

  it('counts doubts only where it is strict', async () => {
    const path = file(GOOD.replace('maxTokens: 2000', 'maxTokens: 500'));
    expect((await headgate('check', path)).code).toBe(0);
    const strict = await headgate('check', path, '--strict');
    expect([strict.code, strict.out]).toEqual([1, expect.stringContaining('warning HG_CAP_UNDER_THINKING')]);
  });

  it('exits with 2 where it is called wrongly', async () => {
    for (const args of [
      ['check', '/no/such/file'],
      ['check', file(GOOD), '--caller', 'name=ada'],
      ['check', file(GOOD), '--max-tokens', 'many'],
      ['check', file(GOOD), '--colour'],
      ['plan-b'],
    ]) {
      expect((await headgate(...args)).code, args.join(' ')).toBe(2);
    }
    expect((await headgate('--version')).code).toBe(0);
  });
});

describe('headgate dashboards', () => {
  const folder = () => {
    const made = mkdtempSync(join(tmpdir(), 'headgate-cli-'));
    onTestFinished(() => rmSync(made, { recursive: true }));
    return made;
  };

  it('writes a dashboard and alert rules', async () => {
    const out = join(folder(), 'new/folder');
    const options = [
      '--service',
      'shop',
      '--queue-wait-seconds',
      '2.5',
      '--usd-per-hour',
      '7',
      '--lane',
      'chat',
    ];
    const { code, out: said } = await headgate(
      'dashboards',
      '--out',
      out,
      '--naming',
      'otlp-prometheus',
      ...options,
    );
    expect({ code, said }).toEqual({
      code: 0,
      said: `${out}/headgate-dashboard.json\n${out}/headgate-alerts.yaml\n`,
    });
    const dashboard = readFileSync(join(out, 'headgate-dashboard.json'), 'utf8');
    expect(dashboard).toContain('headgate_call_duration_seconds_count');
    expect(JSON.parse(dashboard)).toMatchObject({ uid: 'headgate', templating: { list: expect.any(Array) } });
    expect(dashboard).toContain('"shop"');
    const alerts = readFileSync(join(out, 'headgate-alerts.yaml'), 'utf8');
    expect(alerts).toMatch(/headgate_lane="chat".* > 2\.5\n/);
    expect(alerts).toMatch(/headgate_cost_total.* > 7\n/);
  });

  it('wants to know how metrics come to Prometheus, and where to write', async () => {
    const unnamed = await headgate('dashboards', '--out', folder());
    expect(unnamed.code).toBe(2);
    expect(unnamed.out).toContain('--naming');
    expect((await headgate('dashboards', '--out', folder(), '--naming', 'statsd')).code).toBe(2);
    const file = join(folder(), 'file');
    writeFileSync(file, '');
    const blocked = await headgate('dashboards', '--out', file, '--naming', 'js-prometheus');
    expect(blocked.code).toBe(2);
    expect(blocked.out).toContain('cannot be written');
  });
});
