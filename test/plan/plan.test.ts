import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { blocksOf, bucket, even, folderWith, planIn, README, readmeFiles, reportOf } from './support.ts';

describe('headgate plan', () => {
  it('does what its README shows', async () => {
    const text = await readFile(README, 'utf8');
    const section = text.slice(text.indexOf('\n## Plan'));
    const block = (language: string) => blocksOf(section, language)[0] ?? '';
    const folder = folderWith(readmeFiles('## Plan'));
    const goals = [...block('sh').matchAll(/--goal '([^']+)'/g)].flatMap(([, goal = '']) => ['--goal', goal]);
    expect(goals).toHaveLength(4);
    const { code, out } = await planIn(folder, ...goals);
    // Figures, and for what room there was none, move with the admission; the rest does not, and neither does the verdict.
    const told = (report: string) =>
      report
        .split('\n')
        .filter((line) => !line.includes(' binds ') && !/^ {2}\w+_per_minute/.test(line))
        .map((line) => line.replace(/[\d,.]+/g, '#').replace(/\s+/g, ' '));
    expect(told(out)).toEqual(told(block('text')));
    expect(code).toBe(0);
  });

  it('counts and prices every call, and tells what share of the limits they took', async () => {
    const { code, report } = await reportOf({ account: [bucket()] }, { duration: '10m', calls: [even()] });
    expect(code).toBe(0);
    expect(report.all).toMatchObject({ calls: 600, answered: 600, refused: {}, givenUp: 0 });
    expect(report.all.waitMs).toEqual({ p50: 0, p95: 0, p99: 0, max: 0 });
    // One a second, in windows of ten.
    expect(report.windows).toHaveLength(60);
    const [first, ...others] = report.windows;
    expect(first).toMatchObject({ from: 0, arrived: 10, refused: 0, givenUp: 0 });
    expect(Object.values(first?.waits ?? {})).toEqual([{ calls: 10, p50: 0, p95: 0 }]);
    expect(others.reduce((sum, { arrived }) => sum + arrived, 10)).toBe(600);
    // 3 USD for a million tokens in, 15 for a million out.
    expect(report.cost.usd).toBeCloseTo(600 * (0.003 + 0.0015), 6);
    expect(report.cost.usdPerHour).toBeCloseTo(6 * report.cost.usd, 6);
    const [{ used, binds } = { used: undefined, binds: undefined }] = report.buckets;
    expect(used?.requests.mean).toBeCloseTo(60 / 10_000, 3);
    expect(used?.inputTokens.mean).toBeCloseTo(60_000 / 100_000_000, 5);
    expect(binds).toEqual([]);
  });

  it('tells what binds, and exits with 1 where a goal is missed', async () => {
    const traffic = {
      duration: '10m',
      calls: [even({ users: 100, arrivals: { shape: 'poisson', rate: '2/second' } })],
    };
    const narrow = { account: [bucket({ requestsPerMinute: 60 })] };
    const { code, report } = await reportOf(narrow, traffic, '--goal', 'refused < 10%');
    expect(code).toBe(1);
    expect(report.goals).toEqual([{ goal: 'refused < 10%', isMet: false, measured: expect.any(String) }]);
    const [{ used, binds } = { used: undefined, binds: [] }] = report.buckets;
    expect(used?.requests.mean).toBeGreaterThan(0.95);
    expect(used?.requests.mean).toBeLessThan(1.02);
    expect(new Set(binds.map(({ reason }) => reason))).toEqual(new Set(['requests_per_minute']));
    const refused = Object.values(report.all.refused).reduce((sum, count) => sum + count, 0);
    expect(refused / report.all.calls).toBeGreaterThan(0.4);
    expect(report.all.answered + refused).toBe(report.all.calls);
    expect(report.all.waitMs.p95).toBeGreaterThan(5_000);

    const wide = await reportOf({ account: [bucket()] }, traffic, '--goal', 'refused < 10%');
    expect([wide.code, wide.report.all.answered]).toEqual([0, wide.report.all.calls]);
  });

  it('shows the 429s of an account that is smaller than the configuration says', async () => {
    // All within the first answer's time: after it the headers have told.
    const calls = [even({ arrivals: { shape: 'burst', at: '0s', calls: 40, within: '200ms' } })];
    const config = { account: [bucket({ requestsPerMinute: 600 })] };
    const asTold = await reportOf(config, { duration: '5m', calls });
    expect(asTold.report.refusals429).toBe(0);
    const smaller = { duration: '5m', account: [bucket({ requestsPerMinute: 60 })], calls };
    const { code, report } = await reportOf(config, smaller, '--goal', '429s <= 0');
    expect(code).toBe(1);
    expect(report.refusals429).toBeGreaterThan(0);
  });

  it('tells what each rule did', async () => {
    const { report } = await reportOf(
      {
        account: [bucket(), { ...bucket(), name: 'haiku', models: ['claude-haiku-4-5*'] }],
        quotas: [
          { name: 'free', when: { tier: 'free' }, requests: '30/minute' },
          { name: 'idle', when: { tier: 'gold' }, requests: '30/minute' },
        ],
        caps: [{ when: { tier: 'free' }, maxTokens: 50 }],
        routes: [{ when: { route: '/small' }, model: 'claude-haiku-4-5' }],
      },
      {
        duration: '2m',
        calls: [
          even({ name: 'free', tier: 'free', arrivals: { shape: 'steady', rate: '2/second' } }),
          even({ name: 'small', tier: 'paid', route: '/small' }),
        ],
      },
    );
    // Thirty at once, and one more every two seconds.
    const [free, idle] = report.rules;
    expect(idle).toEqual({ name: 'idle', refused: 0, shadowed: 0 });
    expect(free?.refused).toBeGreaterThan(147);
    expect(free?.refused).toBeLessThan(153);
    expect(report.caps.clamped).toBe(240 - (free?.refused ?? 0));
    expect(report.reroutes).toEqual({ 'claude-sonnet-4-6 → claude-haiku-4-5': 120 });
    expect(report.tiers.map(({ name, calls }) => [name, calls])).toEqual([
      ['free', 240],
      ['paid', 120],
    ]);
    // A capped answer costs no more than its cap: 50 tokens.
    const capped = report.tiers.find(({ name }) => name === 'free');
    expect(capped?.usd).toBeCloseTo((capped?.answered ?? 0) * (0.003 + 0.00075), 6);
  });

  it('says the same again, and with another seed something else', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket({ requestsPerMinute: 100 })] },
      'traffic.yaml': {
        duration: '5m',
        calls: [even({ users: 9, output: 300, arrivals: { shape: 'poisson', rate: '2/second' } })],
      },
    });
    const [first, again, other] = await Promise.all([
      planIn(folder, '--json'),
      planIn(folder, '--json', '--seed', '1'),
      planIn(folder, '--json', '--seed', '2'),
    ]);
    expect(first.code).toBe(0);
    expect(again.out).toBe(first.out);
    expect(other.out).not.toBe(first.out);
  });

  it('sets configurations side by side, and judges the first', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket()] },
      'narrow.yaml': { account: [bucket({ requestsPerMinute: 30 })] },
      'traffic.yaml': { duration: '3m', calls: [even({ users: 50 })] },
    });
    const goal = ['--goal', 'refused < 1%'];
    const { code, out } = await planIn(folder, ...goal, '--compare', 'narrow.yaml');
    expect(code).toBe(0);
    expect(out).toMatch(/^ +headgate\.yaml +narrow\.yaml$/m);
    expect(out).toMatch(/^answered +180 +\d\d\d?$/m);
    expect(out).toMatch(/^goal refused < 1% +met \(0\.00 %\) +MISSED/m);
    const json = JSON.parse((await planIn(folder, '--json', '--compare', 'narrow.yaml')).out);
    expect(json).toMatchObject([{ file: 'headgate.yaml' }, { file: 'narrow.yaml' }]);
    expect(json[0].report.all.calls).toBe(json[1].report.all.calls);
    const both = await planIn(folder, ...goal, '--smallest', '--compare', 'narrow.yaml');
    expect(both).toEqual({ code: 2, out: expect.stringContaining('received --compare too') });
  });

  it('plays a trace beside what is drawn, and says where it leaves off', async () => {
    const trace = Array.from({ length: 100 }, (_, i) =>
      JSON.stringify({ at: i * 1_000, input: 1_000, output: 100, user: `u${i % 3}`, tier: 'gold' }),
    ).join('\n');
    const folder = folderWith({
      'headgate.yaml': { account: [bucket()] },
      'calls.jsonl': trace,
      'traffic.yaml': {
        duration: '60s',
        calls: [even(), { name: 'seen', trace: 'calls.jsonl', model: 'claude-sonnet-4-6' }],
      },
    });
    const { code, out } = await planIn(folder, '--goal', 'gold p99 < 1s');
    expect(code).toBe(0);
    expect(out).toMatch(/^120 calls in 0:01:00/);
    expect(out).toMatch(/^seen +60 +60/m);
    expect(out).toContain('a trace goes on after that');
  });
});

describe('what headgate plan is told wrongly', () => {
  it('in the traffic file is told all at once, each with line and column', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket()] },
      'traffic.yaml': `duration: 1 hour
speed: 3
calls:
  - name: chat
    model: claude-sonnet-4-6
    arrivals: { shape: wave, rate: 12/second }
    input: lots
    output: { mean: -1 }
    uesrs: 5
  - name: rec
    trace: x.jsonl
    tiers: a
`,
    });
    const { code, out } = await planIn(folder);
    expect(code).toBe(2);
    for (const told of [
      'traffic.yaml:1:1: error HG_WRONG_VALUE\n  duration: wrong value\n  expected a duration such as 500ms',
      'traffic.yaml:2:1: error HG_UNKNOWN_KEY\n  speed: unknown key',
      'traffic.yaml:6:17: error HG_WRONG_VALUE\n  calls[0].arrivals.shape: wrong value\n  expected a mapping whose shape is one of steady',
      'traffic.yaml:7:5: error HG_WRONG_VALUE\n  calls[0].input: wrong value\n  expected a number of tokens above 0, received "lots"',
      'traffic.yaml:8:5: error HG_WRONG_VALUE\n  calls[0].output',
      'traffic.yaml:9:5: error HG_UNKNOWN_KEY\n  calls[0].uesrs',
      'traffic.yaml:12:5: error HG_UNKNOWN_KEY\n  calls[1].tiers',
    ])
      expect(out).toContain(told);
  });

  it('in how it fits the configuration too', async () => {
    const lanes = { interactive: {}, night: { via: 'batch' } } as const;
    const cases: [object, object, string][] = [
      [{ account: [bucket()], lanes }, even({ lane: 'fast' }), 'traffic.yaml:3:5: error HG_UNKNOWN_LANE'],
      [{ account: [bucket()], lanes }, even({ lane: 'night' }), 'goes by batch, which is not rehearsed'],
      [{ account: [bucket()] }, even({ model: 'claude-opus-4-7' }), 'the account has no bucket for it'],
      [{ account: [bucket()] }, even({ start: '2h' }), 'calls[0]: never comes'],
      [
        { account: [bucket()], lanes, defaultLane: 'night' },
        even(),
        'calls[0].lane: a lane that goes by batch',
      ],
      [{}, even(), 'account: the configuration has no limits'],
      [{ account: [{ name: 'a', models: ['claude-*'] }] }, even(), 'leaves out limits of bucket "a"'],
      [{ acount: [] }, even(), 'headgate.yaml:1:1: error HG_UNKNOWN_KEY'],
    ];
    for (const [config, { name, lane, ...calls }, told] of cases as [
      object,
      Record<string, unknown>,
      string,
    ][]) {
      const entry = lane === undefined ? { name, ...calls } : { name, lane, ...calls };
      const folder = folderWith({ 'headgate.yaml': config, 'traffic.yaml': { calls: [entry] } });
      const { code, out } = await planIn(folder);
      expect([code, out]).toEqual([2, expect.stringContaining(told)]);
    }
  });

  it('in a trace is told with its line', async () => {
    const good = '{"at":10,"input":10,"output":5}';
    for (const [line, told] of [
      [
        '{"at":10,"inptu":10,"input":1,"output":5}',
        '2:10: inptu: unknown key, did you mean "input"? (expected one of at, input, output, maxTokens,',
      ],
      [
        '{"at":10,"input":-1,"output":5}',
        '2:10: input: wrong value (expected a number of tokens of at least 0, received -1)',
      ],
      ['{"at":5,"input":10,"output":5}', '2: at: is out of order (expected at least 10, received 5)'],
      ['not json', '2: does not parse (expected one JSON object a line, received "not json")'],
      ['{"at":10,"input":1,"output":5,"lane":"fast"}', '2: lane: is none that can be rehearsed'],
      ['{"at":10,"input":1,"output":5,"model":"gpt"}', '2: model: the account has no bucket for it'],
      ['{"at":20,"input":', '2: does not parse'],
      ['{"at":"noon","input":1,"output":5}', '2:2: at: wrong type (expected milliseconds from the start'],
      [`{"user":"${'x'.repeat(200_000)}"}`, '2: is too long'],
    ] as const) {
      const folder = folderWith({
        'headgate.yaml': { account: [bucket()] },
        'traffic.yaml': { calls: [{ name: 'rec', trace: 'x.jsonl', model: 'claude-sonnet-4-6' }] },
        'x.jsonl': `${good}\n${line}\n`,
      });
      const { code, out } = await planIn(folder);
      expect([code, out]).toEqual([2, expect.stringContaining(`x.jsonl:${told}`)]);
    }
  }, 60_000);

  it('in a goal, or in what files there are', async () => {
    const folder = folderWith({
      'headgate.yaml': { account: [bucket()] },
      'traffic.yaml': {
        duration: '1m',
        calls: [even(), { name: 'rec', trace: 'gone.jsonl', model: 'claude-sonnet-4-6' }],
      },
    });
    const told = async (...options: string[]) => (await planIn(folder, ...options)).out;
    expect(await told('--goal', 'p95 < 2')).toContain('expected a duration such as 500ms');
    expect(await told('--goal', 'quick')).toContain('as "interactive p95 < 2s", received "quick"');
    expect(await told('--goal', 'refused < 0%')).toContain('nothing is below 0');
    expect(await told()).toContain('gone.jsonl: cannot be read');
    const other = folderWith({
      'headgate.yaml': { account: [bucket()] },
      'traffic.yaml': { duration: '1m', calls: [even()] },
    });
    expect(await planIn(other, '--goal', 'foo p95 < 2s')).toEqual({
      code: 2,
      out: expect.stringContaining('received "foo"'),
    });
    expect((await planIn(other, '--seed', 'x')).code).toBe(2);
    expect((await planIn('/', '--json')).code).toBe(2);
  }, 60_000);
});
