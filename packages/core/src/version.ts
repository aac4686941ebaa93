/** The version of the package, as spans, metrics and snapshots tell it. A test holds it against package.json. */
export const VERSION = '0.1.0';
