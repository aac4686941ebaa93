import { exponential, lognormal } from '../../packages/cli/src/plan/random.ts';
import type { Job, World } from './world.ts';

/** What calls are made of. */
export interface Mix {
  readonly meanInput: number;
  readonly meanOutput: number;
  /** Of the logarithm: 1 is a heavy tail. */
  readonly spread?: number;
  readonly maxTokens?: number;
  /** Share of calls that are answered as JSON. */
  readonly json?: number;
}

export function draw(world: World, mix: Mix, user: string, lane: string): Job {
  const random = world.traffic;
  const { spread = 1, maxTokens = 4_096 } = mix;
  return {
    user,
    lane,
    inputTokens: Math.max(10, Math.round(lognormal(random, mix.meanInput, spread * 0.8))),
    outputTokens: Math.min(maxTokens, Math.max(1, Math.round(lognormal(random, mix.meanOutput, spread)))),
    maxTokens,
    isStreaming: random() >= (mix.json ?? 0),
  };
}

/** Calls that come at random, `perSecond` on average, until `until`. */
export function poisson(
  world: World,
  perSecond: (now: number) => number,
  until: number,
  make: () => Job,
  from = 0,
): void {
  const next = () => {
    if (world.clock.now() >= until) return;
    world.arrive(make());
    world.clock.at(
      world.clock.now() + exponential(world.traffic, 1_000 / perSecond(world.clock.now())),
      next,
    );
  };
  world.clock.at(from, next);
}

/** A user who always has `depth` calls waiting or running. */
export function backlogged(world: World, user: string, depth: number, until: number, make: () => Job): void {
  world.onDone.push((job) => {
    // Somebody who was refused does not come back in the same instant.
    if (job.user !== user || world.clock.now() >= until) return;
    world.clock.at(world.clock.now() + 10, () => world.arrive(make()));
  });
  world.clock.at(0, () => {
    for (let i = 0; i < depth; i++) world.arrive(make());
  });
}
