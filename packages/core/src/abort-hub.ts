/** What waits for the abort of each signal. */
const hubs = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `fn` when `signal` is aborted; gives what takes it off again. Where many calls share a signal it has one listener of
 * ours: to find one among n of its own, a signal passes the others one by one. A signal that is aborted already calls nobody.
 */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  let hub = hubs.get(signal);
  if (hub === undefined) {
    hub = new Set();
    hubs.set(signal, hub);
  }
  const waiting = hub;
  // Each has an entry of its own, also where one function waits twice.
  const entry = () => fn();
  if (waiting.size === 0) {
    signal.addEventListener('abort', fire, { once: true });
  }
  waiting.add(entry);
  return () => {
    if (!waiting.delete(entry) || waiting.size > 0) return;
    signal.removeEventListener('abort', fire);
  };
}

function fire(this: AbortSignal): void {
  const waiting = hubs.get(this);
  if (waiting === undefined) return;
  const entries = [...waiting];
  // One that ends takes others off that have not been called yet.
  for (const entry of entries) if (waiting.delete(entry)) entry();
}
