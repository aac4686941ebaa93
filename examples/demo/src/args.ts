import { parseArgs } from 'node:util';

/** What the command line asks for. */
export type Command =
  | { readonly kind: 'help' }
  | { readonly kind: 'demo'; readonly seconds: number; readonly seed: number }
  | { readonly kind: 'serve'; readonly port: number }
  | { readonly kind: 'real' };

/** A command line that cannot be followed; the message is for the one who typed it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const DEFAULT_SECONDS = 20;

export const HELP = `Headgate demo: an overloaded Claude account, with Headgate and without.

Usage: npm run demo -- [options]

  (no option)     the same traffic with and without Headgate, against a Claude API on loopback; over a minute
  --seconds N     seconds of traffic in each of the two runs, 5 to 600 (default ${DEFAULT_SECONDS})
  --seed N        another random traffic (default 1)
  --serve         keep the governed app up, and print curl lines to try
  --port N        port of --serve (default 3000; 0 takes a free one)
  --real          about ten small calls to Anthropic itself; needs ANTHROPIC_API_KEY
  --help          this text

With OTEL_EXPORTER_OTLP_ENDPOINT set, traces also go there. NO_COLOR is respected.
Exit code: 0 all promises held, 1 one did not, 2 wrong usage, 130 stopped by Ctrl-C.`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  seconds: { type: 'string' },
  seed: { type: 'string' },
  serve: { type: 'boolean' },
  port: { type: 'string' },
  real: { type: 'boolean' },
} as const;

/** @throws UsageError */
export function parseCommand(args: readonly string[]): Command {
  const { help, serve, real, seconds, seed, port } = parse(args);
  if (help) return { kind: 'help' };
  if (serve && real) throw new UsageError('--serve and --real exclude each other');
  const isDemo = !serve && !real;
  if (!isDemo && (seconds !== undefined || seed !== undefined)) {
    throw new UsageError('--seconds and --seed belong to the demo, not to --serve or --real');
  }
  if (!serve && port !== undefined) throw new UsageError('--port belongs to --serve');
  if (serve) return { kind: 'serve', port: wholeNumber('--port', port ?? '3000', 0, 65_535) };
  if (real) return { kind: 'real' };
  return {
    kind: 'demo',
    seconds: wholeNumber('--seconds', seconds ?? String(DEFAULT_SECONDS), 5, 600),
    seed: wholeNumber('--seed', seed ?? '1', 0, 2 ** 32 - 1),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < min || value > max) {
    throw new UsageError(`${name}: expected a whole number from ${min} to ${max}, received "${text}"`);
  }
  return value;
}
