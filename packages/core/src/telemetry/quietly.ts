/** Does what it is asked, and keeps to itself what goes wrong: telemetry may fail, the call may not. */
export function quietly<T>(fn: () => T): T | undefined {
  try {
    return fn();
  } catch {
    return undefined;
  }
}
