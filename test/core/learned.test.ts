import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EstimateKey, Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { type Learned, readLearned, writeLearned } from '../../packages/core/src/estimate/learned.ts';
import { Lengths } from '../../packages/core/src/estimate/lengths.ts';
import { learnRatio, UNKNOWN_RATIO } from '../../packages/core/src/estimate/ratio.ts';
import { mergeRatios } from '../../packages/core/src/estimate/ratios.ts';
import { hashOfName } from '../../packages/core/src/hash.ts';
import { estimateOf } from '../support/estimates.ts';
import { startFleet } from '../support/fleet-process.ts';

const key = (purpose = 'chat', maxTokens = 1_000): EstimateKey => ({
  modelClass: 'sonnet-4',
  purpose,
  maxTokens,
});
/** Over the board and back. */
const sent = (told: Learned): Learned => readLearned(writeLearned(told)) as Learned;
const looksOf = (lengths: Lengths) =>
  [0, 10, 100, 500, 2_000].flatMap((produced) => {
    const { mean, variance } = lengths.rest(produced, 8_192);
    return [mean, Math.sqrt(variance), lengths.quantile(0.9, produced, 8_192)];
  });

describe('lengths that several processes have seen', () => {
  it('are what one would know that had seen them all, when each is told at once', () => {
    const answer = fc.record({
      by: fc.nat(2),
      tokens: fc.integer({ min: 0, max: 20_000 }),
      /** How far it was counted while it ran. */
      counted: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(answer, { minLength: 8, maxLength: 120 }), fc.boolean(), (answers, areMany) => {
        const one = new Lengths();
        const several = [new Lengths(), new Lengths(), new Lengths()];
        const tell = (from: number) => {
          const { told } = several[from] as Lengths;
          several.forEach((each, i) => {
            if (i !== from) each.heard(`process ${from}`, told);
          });
        };
        several.forEach((_, i) => {
          tell(i);
        });
        // Enough of them to fade.
        for (let round = 0; round < (areMany ? 10 : 1); round++)
          for (const { by, tokens, counted } of answers) {
            const from = Math.floor(counted * tokens);
            one.running(0, from);
            one.learn(tokens, from);
            several[by]?.running(0, from);
            several[by]?.learn(tokens, from);
            tell(by);
          }
        for (const each of several) {
          expect(each.samples).toBe(one.samples);
          const looks = looksOf(each);
          looksOf(one).forEach((look, i) => {
            // As exact as numbers of four bytes are.
            expect(Math.abs((looks[i] ?? 0) - look)).toBeLessThanOrEqual(1e-3 * Math.max(1, look));
          });
        }
      }),
      { numRuns: 60 },
    );
  });

  it('go on without fading too far where numbers are brought back to scale', () => {
    const one = new Lengths();
    const [a, b] = [new Lengths(), new Lengths()];
    b.heard('a', a.told);
    for (let i = 0; i < 25_000; i++) {
      const tokens = 50 + (i % 400);
      one.learn(tokens);
      a.learn(tokens);
      if (i % 10 === 9) b.heard('a', a.told);
    }
    looksOf(one).forEach((look, i) => {
      expect((looksOf(b)[i] ?? 0) / Math.max(1, look)).toBeCloseTo(look / Math.max(1, look), 2);
    });
  });

  it('weigh the same where numbers are brought back to scale while another is silent', () => {
    const silent = new Lengths();
    for (let i = 0; i < 300; i++) silent.learn(1_000);
    const [far, near] = [9_900, 19_900].map((answers) => {
      const lengths = new Lengths();
      for (let i = 0; i < answers; i++) lengths.learn(100);
      lengths.heard('silent', silent.told);
      // The longer one passes the bound here.
      for (let i = 0; i < 200; i++) lengths.learn(100);
      return lengths;
    }) as [Lengths, Lengths];
    const compare = () => {
      looksOf(near).forEach((look, i) => {
        expect(look / Math.max(1, looksOf(far)[i] ?? 0)).toBeCloseTo(1, 2);
      });
    };
    expect(near.rest(0, 8_192).mean).toBeGreaterThan(200);
    compare();
    for (const each of [far, near]) each.heard('other', silent.told);
    compare();
  });

  it('count once, however often they are told', () => {
    const teller = new Lengths();
    for (let i = 0; i < 100; i++) teller.learn(500);
    const listener = new Lengths();
    for (let i = 0; i < 100; i++) listener.learn(50);
    listener.heard('other', teller.told);
    const once = looksOf(listener);
    for (let i = 0; i < 10; i++) listener.heard('other', teller.told);
    expect(looksOf(listener)).toEqual(once);
    expect(listener.samples).toBe(200);
    // Nothing of it is told on.
    expect(listener.told.samples).toBe(100);
    expect([...Array.from(listener.told.left)].reduce((most, each) => Math.max(most, each), 0)).toBeLessThan(
      101,
    );
  });

  it('follow a change as fast as one process would', () => {
    const one = new Lengths();
    const several = Array.from({ length: 10 }, () => new Lengths());
    const tellAll = () => {
      several.forEach((from, i) => {
        for (const each of several) if (each !== from) each.heard(`${i}`, from.told);
      });
    };
    tellAll();
    for (let i = 0; i < 3_000; i++) {
      const tokens = i < 2_000 ? 100 : 1_000;
      one.learn(tokens);
      several[i % 10]?.learn(tokens);
      // Every five seconds, at ten answers a second.
      if (i % 50 === 49) tellAll();
    }
    const rest = several[0]?.rest(0, 8_192).mean ?? 0;
    expect(rest / one.rest(0, 8_192).mean).toBeGreaterThan(0.9);
    expect(rest / one.rest(0, 8_192).mean).toBeLessThan(1.1);
  });
});

describe('ratios and paces that several processes have learned', () => {
  it('are weighed by what each remembers', () => {
    let learned = UNKNOWN_RATIO;
    for (let i = 0; i < 400; i++) learned = learnRatio(learned, 100, 140);
    const fresh = mergeRatios(UNKNOWN_RATIO, [{ ratio: learned, age: 0 }]);
    expect(fresh.middle).toBeCloseTo(1.4, 1);
    expect(mergeRatios(learned, [])).toEqual(learned);
    // Two that know the same know no less together.
    expect(mergeRatios(learned, [{ ratio: learned, age: 0 }]).middle).toBeCloseTo(1.4, 2);
    // What was told long ago has faded.
    let changed = UNKNOWN_RATIO;
    for (let i = 0; i < 400; i++) changed = learnRatio(changed, 100, 80);
    expect(mergeRatios(changed, [{ ratio: learned, age: 400 }]).middle).toBeCloseTo(0.8, 2);
  });

  it('of the pace are those of one process as long as nobody tells, and the others’ for a fresh one', () => {
    const [old, fresh] = [new Estimator(() => 0), new Estimator(() => 0)];
    let first = 600;
    for (let i = 0; i < 100; i++) {
      first += 0.1 * (1_500 - first);
      old.learnFirstToken('sonnet-4', 1_500);
      old.learnSpeed('sonnet-4', 30);
    }
    expect(old.pace('sonnet-4').firstTokenMs).toBe(first);
    fresh.heard('old', sent(old.told));
    expect(fresh.pace('sonnet-4').firstTokenMs).toBeCloseTo(1_500, -1);
    expect(fresh.pace('sonnet-4').tokensPerSecond).toBeCloseTo(30, 0);
    // As it sees otherwise, it believes itself.
    for (let i = 0; i < 100; i++) fresh.learnSpeed('sonnet-4', 90);
    expect(fresh.pace('sonnet-4').tokensPerSecond).toBeCloseTo(90, 0);
  });
});

describe('a process that joins a fleet', () => {
  it('estimates as the others do, from its first call', async () => {
    const fleet = startFleet();
    const old = [await fleet.join(), await fleet.join()];
    let seed = 5;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed / 2 ** 31;
    };
    for (let i = 0; i < 400; i++) {
      const { estimator } = old[i % 2] ?? old[0]!;
      const purpose = i % 4 < 2 ? 'chat' : 'digest';
      const own = key(purpose);
      estimator.learnInput(estimateOf(100, 100, { key: own }), 130 + 10 * random());
      estimator.learnOutput(own, Math.round((purpose === 'chat' ? 60 : 500) * (0.5 + random())));
      estimator.learnFirstToken('sonnet-4', 900);
      estimator.learnSpeed('sonnet-4', 50);
      await fleet.clock.advance(100);
    }
    await fleet.clock.advance(10_000);
    // Its process has ended some minutes ago.
    await old[1]?.close();
    await fleet.clock.advance(300_000);
    const late = await fleet.join();
    const alone = new Estimator(() => 0);
    const look = (estimator: Estimator) =>
      ['chat', 'digest', 'a new purpose'].map((purpose) => Math.round(estimator.rest(key(purpose), 0).mean));
    const [chat, digest, other] = look(late.estimator) as [number, number, number];
    const known = look(old[0]!.estimator);
    for (const [i, mean] of [chat, digest, other].entries()) expect(mean / (known[i] ?? 0)).toBeCloseTo(1, 1);
    expect(chat).toBeGreaterThan(50);
    expect(chat).toBeLessThan(75);
    expect(digest).toBeGreaterThan(420);
    expect(digest).toBeLessThan(580);
    // What nobody has told is half of the ceiling.
    expect(look(alone)).toEqual([500, 500, 500]);
    expect(late.estimator.pace('sonnet-4').tokensPerSecond).toBeCloseTo(50, 0);
    expect(late.estimator.knows(key('chat'))).toBe(true);
    // It has nothing to tell of its own.
    expect(late.estimator.told.lengths.size).toBe(0);
  });

  it('says what it has learned when it ends, and leaves no timer', async () => {
    const fleet = startFleet();
    const [short, other] = [await fleet.join(), await fleet.join()];
    for (let i = 0; i < 20; i++) short.estimator.learnOutput(key(), 300);
    await short.close();
    await fleet.clock.advance(1);
    expect(other.estimator.rest(key(), 0).mean).toBeGreaterThan(200);
    expect(other.estimator.rest(key(), 0).mean).toBeLessThan(350);
    await other.close();
    expect(fleet.clock.pending()).toBe(0);
  });

  it('is told no more than every five seconds, by hashes', async () => {
    const fleet = startFleet();
    const one = await fleet.join();
    for (let i = 0; i < 600; i++) {
      one.estimator.learnOutput(key('/secret-route'), 300);
      await fleet.clock.advance(100);
    }
    expect(fleet.notices.length).toBeGreaterThan(8);
    expect(fleet.notices.length).toBeLessThan(15);
    for (const { notice } of fleet.notices) {
      expect(notice).not.toContain('secret');
      expect(notice).not.toContain('sonnet');
      expect(notice.length).toBeLessThan(1_000);
    }
  });
});

describe('a notice of what was learned', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string(), fc.array(fc.integer({ min: 0, max: 200_000 }), { minLength: 1 })), {
          maxLength: 10,
        }),
        (all) => {
          const estimator = new Estimator(() => 0);
          for (const [purpose, answers] of all)
            for (const tokens of answers) {
              const own = key(purpose);
              estimator.running(own, tokens / 2);
              estimator.learnOutput(own, tokens);
            }
          const { told } = estimator;
          const read = sent(told);
          expect([...read.lengths.keys()]).toEqual([...told.lengths.keys()]);
          for (const [hash, lengths] of told.lengths) expect(read.lengths.get(hash)).toEqual(lengths);
        },
      ),
    );
  });

  it('never throws, whatever it is, and never makes an estimate that is none', () => {
    const hash = fc.constantFrom('sonnet-4', 'sonnet-4\nchat\n9', 'other').map(hashOfName);
    const base64 = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes).toString('base64'));
    const floats = fc
      .array(fc.float({ min: 0, max: 1_000, noNaN: true }), { maxLength: 96 })
      .map((values) => Buffer.from(Float32Array.from(values).buffer).toString('base64'));
    const number = fc.oneof(
      fc.nat(),
      fc.nat(50),
      fc.double(),
      fc.constantFrom<unknown>(-1, 1e300, 1, 0.5, '1'),
    );
    const junk = fc.oneof(fc.array(number), fc.array(number, { minLength: 3, maxLength: 4 }), fc.jsonValue());
    const real = (max: number) => fc.integer({ min: -100, max: 1_000 }).map((value) => (value * max) / 1_000);
    const values = fc.tuple(fc.nat(), fc.nat(8), fc.oneof(base64, floats, floats));
    const ratio = fc.tuple(real(5), real(5), fc.nat());
    const pace = fc.tuple(real(1e7), fc.nat(), real(20_000), fc.nat(100));
    const json = fc.record({
      version: fc.constant(1),
      lengths: fc.dictionary(hash, fc.oneof(values, junk), { minKeys: 1 }),
      ratios: fc.dictionary(hash, fc.oneof(ratio, junk), { minKeys: 1 }),
      paces: fc.dictionary(hash, fc.oneof(pace, junk), { minKeys: 1 }),
    });
    const notice = fc.oneof(fc.string(), fc.json(), {
      weight: 3,
      arbitrary: json.map((value) => JSON.stringify(value)),
    });
    let taken = 0;
    fc.assert(
      fc.property(fc.array(notice, { maxLength: 4 }), (notices) => {
        const estimator = new Estimator(() => 0);
        for (let i = 0; i < 10; i++) estimator.learnOutput(key(), 100);
        notices.forEach((text, i) => {
          const read = readLearned(text);
          if (read === undefined) return;
          taken += read.lengths.size + read.ratios.size + read.paces.size;
          estimator.heard(`process ${i}`, read);
        });
        const { mean, variance } = estimator.rest(key(), 0);
        expect(mean).toBeGreaterThanOrEqual(0);
        expect(mean).toBeLessThanOrEqual(1_000);
        expect(Number.isFinite(variance)).toBe(true);
        const { firstTokenMs, tokensPerSecond } = estimator.pace('sonnet-4');
        expect(firstTokenMs).toBeGreaterThanOrEqual(0);
        expect(firstTokenMs).toBeLessThan(1e7);
        expect(tokensPerSecond).toBeGreaterThan(0);
        expect(tokensPerSecond).toBeLessThanOrEqual(10_000);
      }),
      { numRuns: 1_000 },
    );
    expect(taken).toBeGreaterThan(100);
    expect(readLearned('{"version":2}')).toBeUndefined();
  });

  it('has no length that is negative, too large or no number, and no bin that there is not', () => {
    const hash = hashOfName('sonnet-4');
    const read = (first: unknown, values: readonly number[], samples: unknown = 9) =>
      readLearned(
        JSON.stringify({
          version: 1,
          lengths: {
            [hash]: [samples, first, Buffer.from(Float32Array.from(values).buffer).toString('base64')],
          },
        }),
      )?.lengths.size;
    expect(read(0, [1, 2, 3, 2])).toBe(1);
    expect(read(1, [2, 3, 2])).toBe(1);
    for (const value of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e9])
      expect(read(0, [1, 2, value, 2])).toBe(0);
    expect(read(0, [1, 2, 3])).toBe(0);
    expect(read(0, [])).toBe(0);
    expect(read(0, new Array(98).fill(1))).toBe(0);
    for (const first of [-1, 48, 0.5, '0', null]) expect(read(first, [1, 2, 3, 2])).toBe(0);
    for (const samples of [-1, 1e300, 0.5, '9', null]) expect(read(0, [1, 2, 3, 2], samples)).toBe(0);
  });

  it('is short enough for the board, with as much in it as there can be', () => {
    const estimator = new Estimator(() => 0);
    for (let purpose = 0; purpose < 200; purpose++)
      for (let bin = 0; bin < 48; bin++) estimator.learnOutput(key(`purpose ${purpose}`), 2 ** (bin / 3));
    const notice = writeLearned(estimator.told);
    expect(readLearned(notice)?.lengths.size).toBe(64);
    expect(notice.length).toBeLessThan(45_000);
  });

  it('is kept of a bounded number of processes', () => {
    const teller = new Lengths();
    for (let i = 0; i < 10; i++) teller.learn(100);
    const listener = new Lengths();
    for (let i = 0; i < 500; i++) listener.heard(`process ${i}`, teller.told);
    expect(listener.samples).toBe(64 * 10);
  });
});
