/**
 * Calls of one user that may run at once, for what can bound them. An ordinary user here has two running in the mean and
 * five at times; the two that send too much are held to a fifth of the limit each.
 */
export const PER_USER = 6;

/** One of something for each user. */
export function perUser<T>(make: () => T): (user: string) => T {
  const known = new Map<string, T>();
  return (user) => {
    let found = known.get(user);
    if (found === undefined) {
      found = make();
      known.set(user, found);
    }
    return found;
  };
}
