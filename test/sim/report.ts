import { QuantileHolds } from './quantile-holds.ts';
import * as sim from './scenarios.ts';

/** The claims about admission, measured: `pnpm sim`. Minutes of virtual time, all at seed 1 unless one is given. */
const seed = Number(process.argv[2] ?? 1);
const percent = (value: number) => `${(100 * value).toFixed(1)} %`;

function row(claim: string, scenario: string, figures: string, holds: boolean): void {
  console.log(`${holds ? '✓' : '✗'} ${claim.padEnd(2)} ${scenario.padEnd(44)} ${figures}`);
}

console.log(`seed ${seed}; shares are of depth + refill (claim 1), else of the refill that is left\n`);

for (const name of ['requests', 'input', 'output', 'input and output', 'json'] as const)
  for (const depthSeconds of [1, 6, 60]) {
    const { minute, whole, refusals, timedOut, accepted } = await sim.overload({
      mix: sim.MIXES[name],
      depthSeconds,
      minutes: 10,
      seed,
    });
    row(
      '1',
      `2× overload, ${name}, ${depthSeconds} s deep`,
      `1 min ${percent(minute)}, 10 min ${percent(whole)}, 429s ${refusals}, timed out ${percent(timedOut / accepted)}`,
      minute >= 0.94 && whole >= 0.97 && refusals === 0,
    );
  }
for (const depthSeconds of [1, 6, 60])
  for (const name of ['requests', 'input', 'output'] as const) {
    const { early, late, share } = await sim.learnDepth(depthSeconds, seed, sim.MIXES[name]);
    row(
      '1',
      `depth not told, ${name}, true ${depthSeconds} s`,
      `429s ${early} in 2 min, ${late} in the next 8; then ${percent(share)}`,
      early + late <= 40 && share >= 0.95,
    );
  }
for (const name of ['output', 'input', 'json'] as const)
  for (const { from, to, refusals, share } of await sim.otherConsumer({ seed, mix: sim.MIXES[name] }))
    row(
      '2',
      `another takes ${percent(from)} → ${percent(to)}, ${name}`,
      `429s ${refusals}, from 30 s on ${percent(share)}`,
      refusals <= 1 && share >= 0.95,
    );
const limits = await sim.learnLimits(seed);
row(
  '2',
  'limits not told',
  `429s ${limits.refusals}, in minutes 2–3 ${percent(limits.share)}`,
  limits.refusals <= 1 && limits.share >= 0.95,
);
const tier = await sim.tier(seed);
row(
  '2',
  'tier doubled, then halved',
  `${percent(tier.doubled)}, ${percent(tier.halved)}, 429s ${tier.refusals}`,
  tier.doubled >= 0.95 && tier.halved >= 0.95,
);
const index = await sim.fairness(seed);
row('3', '20 users always waiting, sizes 1 : 16', `Jain ${index.toFixed(4)} over a minute`, index >= 0.99);
const { gold, expected } = await sim.weights(seed);
row(
  '3',
  'lanes by guarantee and weight',
  `${percent(gold)} where ${percent(expected)} is due`,
  Math.abs(gold - expected) <= 0.05 * expected,
);
const flood = await sim.flood(seed);
row(
  '3',
  'one of fifty floods',
  `p95 of others ${(flood.flooded / 1_000).toFixed(2)} s, without ${(flood.alone / 1_000).toFixed(2)} s`,
  flood.flooded <= 1.3 * flood.alone,
);
for (const load of [0, 0.5, 0.8, 0.855, 0.9, 0.95]) {
  const { share, p99, background, refusals } = await sim.lanes(load, seed);
  row(
    '4',
    `interactive ${percent(load)}, background saturated`,
    `used ${percent(share)}, p99 ${p99.toFixed(0)} ms, background ${percent(background)}, 429s ${refusals}`,
    share >= 0.97 && p99 < 1_000 && background >= 0.05,
  );
}
for (const depthSeconds of [1, 6, 60]) {
  const { share, served, longest, others, refusals } = await sim.largePrompts(depthSeconds, seed);
  row(
    '5',
    `190,000-token prompts, ${depthSeconds} s deep`,
    `used ${percent(share)}, served ${percent(served)}, longest wait ${(longest / 1_000).toFixed(1)} s, p99 of the others ${(others / 1_000).toFixed(1)} s, 429s ${refusals}`,
    share >= 0.95 && served === 1 && refusals === 0,
  );
}
for (const name of ['requests', 'input', 'output'] as const) {
  const { refused, longer, timedOut } = await sim.refusalTruth(sim.MIXES[name], seed);
  row(
    '6',
    `refused for the wait, ${name}`,
    `${refused}, of which ${percent(longer)} waited longer where nobody was; timed out ${percent(timedOut)}`,
    longer >= 0.9 && timedOut <= 0.02,
  );
}
const overloads = await sim.overloads(seed);
row(
  '-',
  '529s for ten seconds in sixty',
  `529s ${overloads.overloads}, used ${percent(overloads.share)}, 429s ${overloads.refusals}`,
  overloads.refusals === 0,
);
const ramp = await sim.ramp(seed);
row(
  '-',
  'more than 60 requests a second refused',
  `429s ${ramp.refusals}, used ${percent(ramp.share)}`,
  ramp.refusals <= 200,
);
const drift = await sim.drift(seed);
row(
  '-',
  'answers three times as long, and back',
  `used ${percent(drift.share)}, 429s ${drift.refusals}`,
  drift.refusals === 0,
);
for (const depthSeconds of [1, 6, 60]) {
  const { minute, whole, refusals } = await sim.overload({
    mix: sim.MIXES.output,
    depthSeconds,
    minutes: 5,
    seed,
    world: { rule: (estimator) => new QuantileHolds(estimator) },
  });
  console.log(
    `  a  holds of the p90 instead, output, ${depthSeconds} s deep`.padEnd(50),
    `1 min ${percent(minute)}, 5 min ${percent(whole)}, 429s ${refusals}`,
  );
}
