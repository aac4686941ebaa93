import type { HandOver, Kit } from './world.ts';

/** Whose a call is that is handed over without further ado. */
export type Whose = 'another’s' | 'nobody’s' | 'its own';

export interface Case {
  readonly name: string;
  /** Exactly pinned. */
  readonly packages: readonly string[];
  readonly whose: Whose;
  /** The warnings of which one comes at least, once each; none where nothing can be noticed. */
  readonly warned?: readonly string[];
  readonly needs?: 'redis' | 'postgres';
  /** As the library's documentation has it, with what all requests share made when the app starts. */
  plain(kit: Kit): Promise<HandOver> | HandOver;
  /** The same by the recipe of caller-and-context.md. Left out: the call handed over by `governor.bind`. */
  recipe?(kit: Kit): Promise<HandOver> | HandOver;
  /** One call serves all who ask at once: whoever came first pays for it. */
  readonly isShared?: boolean;
  /** The recipe names the caller anew, where no trace of a request goes: the call stands in a trace of its own. */
  readonly isTraceless?: boolean;
}

/** The recipe for most: what is handed over is bound. */
export const bound =
  (plain: Case['plain']): Case['plain'] =>
  async (kit) => {
    const handOver = await plain(kit);
    return (handing) => handOver({ ...handing, call: kit.governor.bind(handing.call) });
  };
