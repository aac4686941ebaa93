import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Forecast, POINT_MS, type Production } from '../../packages/core/src/admission/forecast.ts';
import { Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { readFeatures } from '../../packages/core/src/estimate/input.ts';
import { countTokens } from '../../packages/core/src/estimate/kinds.ts';
import { Lengths } from '../../packages/core/src/estimate/lengths.ts';
import { cover, learnRatio, UNKNOWN_RATIO } from '../../packages/core/src/estimate/ratio.ts';
import { EvenCurve, type RestCurve } from '../../packages/core/src/estimate/rest-curve.ts';
import type { Call, MessageBody } from '../../packages/core/src/request/read.ts';

const count = (body: object) => countTokens(readFeatures(body), 'older');

/** Numbers from 0 to 1, the same in every run. */
function lcg(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

describe('the estimate of input', () => {
  it('grows with the text, and counts other scripts by their own rule', () => {
    const english = count({ messages: [{ role: 'user', content: 'word '.repeat(1_000) }] });
    expect(english).toBeGreaterThan(1_000);
    expect(english).toBeLessThan(1_700);
    expect(count({ messages: [{ role: 'user', content: '水'.repeat(1_000) }] })).toBeGreaterThan(700);
    expect(
      countTokens(readFeatures({ messages: [{ role: 'user', content: 'word '.repeat(1_000) }] }), 'newer') /
        english,
    ).toBeCloseTo(1.3, 1);
  });

  it('is the same by samples as by the whole text, near enough', () => {
    const mixed = `${'some words here '.repeat(3)}水門の水`.repeat(4_000);
    const sampled = readFeatures({ messages: [{ content: mixed }] });
    let wide = 0;
    for (let i = 0; i < mixed.length; i++) if (mixed.charCodeAt(i) > 127) wide++;
    expect(sampled.wide / wide).toBeCloseTo(1, 1);
    expect(sampled.ascii + sampled.wide).toBe(mixed.length);
  });

  it('counts an image by its pixels and never its base64 as text', () => {
    const png = Buffer.alloc(40_000);
    png.writeUInt32BE(0x89504e47, 0);
    png.writeUInt32BE(600, 16);
    png.writeUInt32BE(500, 20);
    const image = (data: Buffer) => ({
      messages: [{ content: [{ type: 'image', source: { type: 'base64', data: data.toString('base64') } }] }],
    });
    expect(readFeatures(image(png)).media).toBe(400);
    png.writeUInt32BE(6_000, 16);
    png.writeUInt32BE(6_000, 20);
    expect(readFeatures(image(png)).media).toBe(Math.ceil(1_568 ** 2 / 750));
    expect(readFeatures(image(Buffer.alloc(40_000))).media).toBe(1_600);
    expect(
      readFeatures({
        messages: [{ content: [{ type: 'image', source: { type: 'url', url: 'https://x' } }] }],
      }).remote,
    ).toBe(1_600);
    expect(readFeatures(image(png)).ascii).toBe(0);
  });

  it('reads JPEG, GIF and WebP headers', () => {
    const jpeg = Buffer.from(
      'ffd8ffe000104a46494600010100000100010000ffc0001108012c0190030122000211010311010000',
      'hex',
    );
    const gif = Buffer.concat([Buffer.from('GIF89a'), Buffer.from([0x90, 1, 0x2c, 1]), Buffer.alloc(30)]);
    const webp = Buffer.concat([
      Buffer.from('RIFF0000WEBPVP8X'),
      Buffer.alloc(8),
      Buffer.from([0x8f, 1, 0, 0x2b, 1, 0]),
    ]);
    for (const bytes of [jpeg, gif, webp]) {
      const { media } = readFeatures({
        messages: [
          { content: [{ type: 'image', source: { type: 'base64', data: bytes.toString('base64') } }] },
        ],
      });
      expect(media).toBe(Math.ceil((400 * 300) / 750));
    }
  });

  it('survives any body', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (messages, system, tools) => {
        expect(count({ messages, system, tools })).toBeGreaterThanOrEqual(0);
        expect(
          count({
            messages: [
              {
                role: 'user',
                content: [
                  messages,
                  { type: 'image', source: tools },
                  { type: 'document', source: system },
                  { type: 'tool_result', content: tools },
                ],
              },
            ],
          }),
        ).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

describe('the learned ratio', () => {
  it('comes to the truth, and covers about nine calls in ten', () => {
    let seed = 7;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed / 2 ** 31;
    };
    let ratio = UNKNOWN_RATIO;
    const sample = () => 1.4 * (0.8 + 0.4 * random());
    for (let i = 0; i < 300; i++) ratio = learnRatio(ratio, 100, 100 * sample());
    expect(ratio.middle).toBeCloseTo(1.4, 1);
    let covered = 0;
    for (let i = 0; i < 2_000; i++) if (sample() <= cover(ratio)) covered++;
    expect(covered / 2_000).toBeGreaterThan(0.85);
  });

  it('is not thrown by one answer that is far off', () => {
    let ratio = UNKNOWN_RATIO;
    for (let i = 0; i < 100; i++) ratio = learnRatio(ratio, 100, 100);
    ratio = learnRatio(ratio, 1, 1e9);
    expect(ratio.middle).toBeLessThan(1.2);
    expect(learnRatio(ratio, 0, 5)).toBe(ratio);
    expect(learnRatio(ratio, 5, Number.NaN)).toBe(ratio);
  });
});

describe('what is learned of prompts', () => {
  const WORDS = 'words of an ordinary prompt, as they come ';
  const call = (body: MessageBody): Call => ({
    kind: 'messages',
    model: 'm',
    maxTokens: 1_000,
    isStreaming: false,
    body,
    bytes: 0,
    isReplayable: true,
  });
  const plan = {
    model: undefined,
    purpose: 'chat',
    maxTokens: 1_000,
    caller: { signals: [] },
    flowKey: 'u',
    marksPrefix: false,
  };
  const text = (repeat: number): Call =>
    call({ messages: [{ role: 'user', content: WORDS.repeat(repeat) }] });
  const errorOf = (estimator: Estimator, of: Call, truth: number) =>
    Math.abs(estimator.estimate(of, plan).inputTokens / truth - 1);

  it.each([
    { factor: 0.8, share: 0.1 },
    { factor: 1, share: 0.3 },
    { factor: 1.3, share: 0.3 },
    { factor: 1.6, share: 0.3 },
  ])(
    'stays within a quarter of the truth, $factor of the raw estimate, with $share of the answers far above it (was: 30 % off)',
    ({ factor, share }) => {
      for (let seed = 1; seed <= 20; seed++) {
        const estimator = new Estimator(() => 0);
        const random = lcg(seed * 7_919);
        for (let i = 0; i < 300; i++) {
          const each = text(1 + Math.floor(40 * random()));
          const estimate = estimator.estimate(each, plan);
          const truth = factor * estimate.rawInputTokens * (0.97 + 0.06 * random());
          // An answer that does not show that a tool of the API's ran.
          estimator.learnInput(estimate, random() < share ? truth * (3 + 100 * random()) : truth);
          if (i >= 100) expect(errorOf(estimator, each, truth), `seed ${seed}`).toBeLessThan(0.25);
        }
      }
    },
  );

  it('is not moved by the first ten answers, where each may have more in it than its prompt and three do', () => {
    const estimator = new Estimator(() => 0);
    const each = text(20);
    const estimate = estimator.estimate(each, plan);
    for (let i = 0; i < 10; i++) {
      const inflation = i < 3 ? 50 : 1;
      estimator.learnInput(estimate, inflation * estimate.rawInputTokens, i >= 3);
      expect(errorOf(estimator, each, estimate.rawInputTokens)).toBeLessThan(0.25);
    }
  });

  it('comes back to the start without any answer, where all that came were far off', () => {
    let now = 0;
    const estimator = new Estimator(() => now);
    const each = text(20);
    const estimate = estimator.estimate(each, plan);
    for (let i = 0; i < 200; i++) estimator.learnInput(estimate, 50 * estimate.rawInputTokens);
    expect(estimator.estimate(each, plan).inputTokens).toBeGreaterThan(3.9 * estimate.rawInputTokens);
    now = 60 * 60_000;
    expect(errorOf(estimator, each, estimate.rawInputTokens)).toBeLessThan(0.25);
    // What was forgotten is not remembered with the next answer.
    estimator.learnInput(estimate, estimate.rawInputTokens);
    expect(errorOf(estimator, each, estimate.rawInputTokens)).toBeLessThan(0.25);
  });

  it('follows a lasting change within sixty answers', () => {
    const estimator = new Estimator(() => 0);
    const each = text(20);
    const { rawInputTokens: raw } = estimator.estimate(each, plan);
    for (const factor of [1, 1.8, 0.7]) {
      for (let i = 0; i < 60; i++) estimator.learnInput(estimator.estimate(each, plan), factor * raw);
      expect(errorOf(estimator, each, factor * raw)).toBeLessThan(0.1);
    }
  });

  it('is moved little by one outlier, first or late, up or down', () => {
    for (const before of [0, 3, 200])
      for (const outlier of [1e-6, 0.01, 100, 1e9]) {
        const estimator = new Estimator(() => 0);
        const each = text(20);
        const estimate = estimator.estimate(each, plan);
        const learn = (factor: number) => estimator.learnInput(estimate, factor * estimate.rawInputTokens);
        for (let i = 0; i < before; i++) learn(1);
        const was = estimator.estimate(each, plan).inputTokens;
        learn(outlier);
        const ratio = estimator.estimate(each, plan).inputTokens / was;
        expect(Math.abs(ratio - 1)).toBeLessThan(before === 200 ? 0.02 : 0.3);
      }
  });

  it('is learned for each kind of content by itself', () => {
    const estimator = new Estimator(() => 0);
    const tool = (n: number) => ({
      name: `t${n}`,
      description: 'd'.repeat(500),
      input_schema: { type: 'object' },
    });
    const tools = call({
      messages: [{ role: 'user', content: 'hi' }],
      tools: Array.from({ length: 40 }, (_, n) => tool(n)),
    });
    for (let i = 0; i < 200; i++)
      for (const [each, factor] of [
        [text(20), 1],
        [tools, 0.5],
      ] as const) {
        const estimate = estimator.estimate(each, plan);
        estimator.learnInput(estimate, factor * estimate.rawInputTokens);
      }
    expect(errorOf(estimator, text(20), estimator.estimate(text(20), plan).rawInputTokens)).toBeLessThan(0.1);
    const raw = estimator.estimate(tools, plan).rawInputTokens;
    expect(errorOf(estimator, tools, 0.5 * raw)).toBeLessThan(0.15);
  });

  it('is nothing where an answer tells fewer tokens than there can be: gateways answer from caches', () => {
    const estimator = new Estimator(() => 0);
    const before = estimator.estimate(text(50), plan).inputTokens;
    for (let i = 0; i < 100; i++) estimator.learnInput(estimator.estimate(text(50), plan), 1);
    expect(estimator.estimate(text(50), plan).inputTokens).toBe(before);
  });

  it('never lowers what a prompt has for certain below the truth of any known tokenizer, nor above it', () => {
    const english = 'The quick brown fox jumps over the lazy dog, again and again. ';
    for (const [content, truth] of [
      [english.repeat(1_000), 15_000],
      ['='.repeat(100_000), 1_600],
      [' '.repeat(100_000), 100],
      ['水門の水'.repeat(5_000), 12_000],
    ] as const) {
      const { bound } = new Estimator(() => 0).estimate(
        call({ messages: [{ role: 'user', content }] }),
        plan,
      );
      expect(bound.promptTokens).toBeLessThanOrEqual(truth);
    }
    expect(
      new Estimator(() => 0).estimate(
        call({ messages: [{ role: 'user', content: english.repeat(1_000) }] }),
        plan,
      ).bound.promptTokens,
    ).toBeGreaterThan(2_000);
  });
});

describe('the rest of an answer', () => {
  it('is the mean of the longer ones seen, less what is there', () => {
    let seed = 3;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.max(1e-9, seed / 2 ** 31);
    };
    const lengths = new Lengths();
    const seen: number[] = [];
    for (let i = 0; i < 3_000; i++) {
      const normal = Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
      const tokens = Math.min(4_096, Math.round(Math.exp(5 + normal)));
      lengths.learn(tokens);
      seen.push(tokens);
    }
    for (const produced of [0, 50, 150, 400, 1_000]) {
      const longer = seen.filter((tokens) => tokens > produced);
      const truth = longer.reduce((sum, tokens) => sum + tokens - produced, 0) / longer.length;
      expect(lengths.rest(produced, 4_096).mean / truth, `after ${produced}`).toBeGreaterThan(0.8);
      expect(lengths.rest(produced, 4_096).mean / truth, `after ${produced}`).toBeLessThan(1.25);
    }
  });

  it('is never below zero nor beyond the ceiling', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 100_000 }), { maxLength: 60 }),
        fc.integer({ min: 0, max: 100_000 }),
        fc.integer({ min: 1, max: 100_000 }),
        (seen, produced, ceiling) => {
          const lengths = new Lengths();
          for (const tokens of seen) lengths.learn(tokens);
          const { mean, variance } = lengths.rest(produced, ceiling);
          expect(mean).toBeGreaterThanOrEqual(0);
          expect(mean).toBeLessThanOrEqual(Math.max(0, ceiling - produced) + 1e-6);
          expect(variance).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });
});

describe('the forecast', () => {
  /** An answer of a known length: nothing about it is uncertain. */
  const fixed = (rest: number): RestCurve => ({
    mean: (tokens) => Math.min(rest, tokens),
    square: (tokens) => Math.min(rest, tokens) ** 2,
  });
  const production = fc
    .record({
      rest: fc.double({ min: 0, max: 4_000, noNaN: true }),
      delayMs: fc.double({ min: 0, max: 3_000, noNaN: true }),
      tokensPerMs: fc.double({ min: 0.01, max: 0.2, noNaN: true }),
    })
    .map(({ rest, ...times }) => ({ ...times, rest, curve: fixed(rest), most: rest, at: 0 }));

  it('finds the lowest level from the first token on, as a walk through time in small steps does', () => {
    fc.assert(
      fc.property(
        fc.array(production, { maxLength: 15 }),
        production,
        fc.double({ min: 0, max: 5_000, noNaN: true }),
        (running, next, level) => {
          const capacity = 5_000;
          const rate = 0.5;
          const forecast = new Forecast(1.5);
          for (const each of running) forecast.add(each);
          const found = forecast.lowest(level, capacity, rate, next);
          const all = [...running, next];
          const used = (ms: number) =>
            all.reduce(
              (sum, { rest, delayMs, tokensPerMs }) =>
                sum + Math.min(rest, tokensPerMs * Math.max(0, ms - delayMs)),
              0,
            );
          // From the first point at which the next one may have produced anything.
          const from = POINT_MS.find((ms) => ms >= next.delayMs) ?? 0;
          let truth = Number.POSITIVE_INFINITY;
          let at = level;
          for (let ms = 50; ms < 300_000; ms += 50) {
            at = Math.min(capacity, at + rate * 50 - (used(ms) - used(ms - 50)));
            if (ms > from - 50) truth = Math.min(truth, at);
          }
          // The points lie farther and farther apart: what is produced between two of them may be missed.
          const speed = all.reduce((sum, { tokensPerMs }) => sum + tokensPerMs, 0);
          expect(found).toBeGreaterThanOrEqual(truth - 1e-6);
          expect(found - truth).toBeLessThanOrEqual(Math.max(50, 0.35 * used(300_000), speed * 100));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is empty again when everything that was added is removed', () => {
    fc.assert(
      fc.property(fc.array(production, { maxLength: 30 }), (all: Production[]) => {
        const forecast = new Forecast(1.5);
        for (const each of all) forecast.add(each);
        for (const each of all) forecast.remove(each);
        expect(forecast.pending).toBeLessThan(1e-6);
        const nothing = { curve: fixed(0), most: 0, delayMs: 0, tokensPerMs: 1, at: 0 };
        expect(forecast.lowest(100, 100, 1, nothing)).toBeCloseTo(100, 6);
      }),
    );
  });

  it('is sure of nothing but that no call is faster than its pace', () => {
    const forecast = new Forecast(1.5);
    const unknown = () => ({
      curve: new EvenCurve(4_096),
      most: 4_096,
      delayMs: 0,
      tokensPerMs: 0.07,
      at: 0,
    });
    // Together they produce no more than refills: nothing can go wrong.
    for (let i = 0; i < 9; i++) forecast.add(unknown());
    expect(forecast.lowest(100, 100, 0.7, unknown())).toBeCloseTo(100, 6);
    for (let i = 0; i < 5; i++) forecast.add(unknown());
    expect(forecast.lowest(100, 100, 0.7, unknown())).toBeLessThan(0);
  });

  it('reaches from a tenth of a second to minutes', () => {
    expect(POINT_MS[0]).toBe(100);
    expect(POINT_MS.at(-1)).toBeGreaterThan(200_000);
  });
});
