import type { DemoResult } from './run.ts';
import { fineSeconds, percent, seconds } from './screen.ts';

/** What Headgate says of itself, against what was seen. */
export interface PromiseCheck {
  readonly text: string;
  readonly seen: string;
  readonly held: boolean;
}

/** 429s without Headgate below which the traffic was no overload, and the comparison shows nothing. */
const OVERLOAD_429S = 100;
const SERVED = 0.99;
/** Times an idle account's p95. */
const SLOWDOWN = 2;

export function checkPromises({ idle, governed, plain }: Omit<DemoResult, 'promises'>): PromiseCheck[] {
  const { ordinary, flooding } = governed.byClass;
  const served = ordinary.ok / ordinary.calls;
  const slowdown = ratio(ordinary.time.p95, idle.time.p95);
  return [
    {
      text: 'with Headgate, no 429 from the API',
      seen: `${governed.status429} of ${governed.attempts} attempts`,
      held: governed.status429 === 0 && governed.attempts > 0,
    },
    {
      text: `without, at least ${OVERLOAD_429S} of them`,
      seen: `${plain.status429} of ${plain.attempts} attempts`,
      held: plain.status429 >= OVERLOAD_429S,
    },
    {
      text: `ordinary users: at least ${percent(SERVED)} answered`,
      seen: `${ordinary.ok} of ${ordinary.calls}`,
      held: served >= SERVED,
    },
    {
      text: `ordinary users: p95 within ${SLOWDOWN}× of an idle account`,
      seen: `${times(slowdown)} (${seconds(ordinary.time.p95)}, idle ${seconds(idle.time.p95)})`,
      held: slowdown !== undefined && slowdown <= SLOWDOWN,
    },
    {
      text: 'flooding user: waits longer than ordinary, p95',
      seen: `${fineSeconds(flooding.wait.p95)}, ordinary ${fineSeconds(ordinary.wait.p95)}`,
      held:
        flooding.wait.p95 !== undefined &&
        ordinary.wait.p95 !== undefined &&
        flooding.wait.p95 > ordinary.wait.p95,
    },
  ];
}

function ratio(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a / b;
}

const times = (value: number | undefined) => (value === undefined ? '–' : `${value.toFixed(2)}×`);
