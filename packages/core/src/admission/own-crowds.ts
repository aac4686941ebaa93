import { remember } from '../remember.ts';
import { OwnCrowd, type OwnPlace } from './own-crowd.ts';

/** Callers whose calls at once are capped, at most: past it the one that was capped first is forgotten. */
const MAX_CROWDS = 1_024;
/** A cap that nothing has pressed against for so long is forgotten, in milliseconds. */
const FORGET_MS = 5 * 60_000;

interface InFlight {
  readonly caller: string;
  own: OwnPlace | undefined;
}

/** The caps of single callers at one bucket. */
export class OwnCrowds {
  readonly #crowds = new Map<string, OwnCrowd>();

  /** Nothing where the caller's calls are not capped. */
  of(caller: string, now: number): OwnCrowd | undefined {
    if (this.#crowds.size === 0) return undefined;
    const crowd = this.#crowds.get(caller);
    if (crowd === undefined) return undefined;
    const isOver = crowd.limit === Number.POSITIVE_INFINITY || now - crowd.pressedAt > FORGET_MS;
    if (isOver) this.#forget(caller, crowd, now);
    return isOver ? undefined : crowd;
  }

  /** Whether another caller's calls were capped, and pressed against that within `ms`. */
  hasOther(caller: string, ms: number, now: number): boolean {
    for (const [other, { pressedAt }] of this.#crowds)
      if (other !== caller && now - pressedAt < ms) return true;
    return false;
  }

  /** A cap for a caller, whose calls among `flights` it counts. */
  open(caller: string, flights: Iterable<InFlight>, now: number, caps: Partial<Caps> = {}): OwnCrowd {
    const crowd = new OwnCrowd(now, caps.refusals, caps.overload);
    for (const flight of flights) if (flight.caller === caller) flight.own = crowd.started();
    const oldest = this.#crowds.size < MAX_CROWDS ? undefined : this.#crowds.entries().next().value;
    if (oldest !== undefined) this.#forget(...oldest, now);
    remember(this.#crowds, caller, crowd, MAX_CROWDS);
    return crowd;
  }

  /** A call starts. */
  started(flight: InFlight): void {
    if (this.#crowds.size > 0) flight.own = this.#crowds.get(flight.caller)?.started();
  }

  #forget(caller: string, crowd: OwnCrowd, now: number): void {
    this.#crowds.delete(caller);
    crowd.dissolve(now);
  }

  /** Nobody's calls are capped any more; whoever waits goes. */
  clear(now: number): void {
    for (const [caller, crowd] of this.#crowds) this.#forget(caller, crowd, now);
  }
}

type Caps = { readonly refusals: OwnCrowd['refusals']; readonly overload: OwnCrowd['overload'] };
