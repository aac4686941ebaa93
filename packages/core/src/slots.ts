/**
 * Slots that a lane with `reserve` leaves free for more urgent lanes: its share of `limit`, rounded up, and at most all but
 * one, so that a lane alone is never shut out. Pure.
 */
export const keptSlots = (limit: number, reserve: number): number =>
  reserve > 0 && Number.isFinite(limit) ? Math.min(limit - 1, Math.ceil(limit * reserve - 1e-9)) : 0;
