/** Redis gave no answer in time: whether it has done what it was asked is not known. */
export class StoreTimeoutError extends Error {
  override readonly name = 'StoreTimeoutError';
}

/**
 * The outcome of `promise`, or an error after `ms`. A process that was itself too busy to read the answer in time finds it in
 * the socket when its timer fires: it looks once more before it blames Redis.
 */
export function bounded<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const look = () => {
      if (isLate) {
        reject(new StoreTimeoutError(`Headgate: ${what} took longer than ${ms} ms`));
        return;
      }
      isLate = true;
      // Two turns of the event loop: one to read the socket, one to parse what came.
      setImmediate(() => setImmediate(look));
    };
    const timer = setTimeout(look, ms);
    timer.unref();
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
