import { HELP, parseCommand, UsageError } from './args.ts';
import { createLive, screenOf } from './live.ts';
import { demoReport } from './report.ts';
import { type DemoOptions, runDemo } from './run.ts';
import { type Line, line, render } from './screen.ts';

export { type DemoOptions, type DemoResult, runDemo } from './run.ts';

/** Shell convention: 128 and the number of SIGINT. */
const INTERRUPTED = 130;

/** Runs a command line and returns the exit code. */
export async function main(args: readonly string[], signal: AbortSignal): Promise<number> {
  const command = parseCommand(args);
  switch (command.kind) {
    case 'help':
      console.log(HELP);
      return 0;
    case 'serve': {
      const { serve } = await import('./serve.ts');
      await serve(command.port, signal);
      return 0;
    }
    case 'real': {
      const apiKey = process.env.ANTHROPIC_API_KEY;
      if (!apiKey) throw new UsageError('--real needs ANTHROPIC_API_KEY in the environment');
      const { REAL_TITLE, realReport, runReal } = await import('./real.ts');
      print([line(REAL_TITLE, 'bold')]);
      const result = await runReal(apiKey, signal);
      print(realReport(result));
      return result.results.every(({ outcome }) => outcome === 'ok') ? 0 : 1;
    }
    case 'demo':
      return await demo({ seconds: command.seconds, seed: command.seed, signal });
  }
}

async function demo(options: DemoOptions): Promise<number> {
  print([
    line('Headgate: one Claude account, twice what it can carry.', 'bold'),
    line('First one user alone, then everybody with Headgate, then the same calls without.', 'dim'),
    line(),
  ]);
  const live = createLive(process.stdout);
  try {
    const result = await runDemo({ ...options, onProgress: (progress) => live.show(progress) });
    live.end();
    print(demoReport(result));
    const broken = result.promises.filter(({ held }) => !held);
    if (broken.length === 0) return 0;
    console.error(`\nNot held: ${broken.map(({ text, seen }) => `${text} (${seen})`).join('; ')}`);
    return 1;
  } finally {
    live.end();
  }
}

function print(lines: readonly Line[]): void {
  // A report may wrap; only what is redrawn in place may not.
  console.log(render(lines, { ...screenOf(process.stdout), width: Number.POSITIVE_INFINITY }));
}

async function runFromShell(): Promise<void> {
  const interrupt = new AbortController();
  // The first Ctrl-C lets everything close in order, a second one does not wait for that.
  process.once('SIGINT', () => {
    process.once('SIGINT', () => process.exit(INTERRUPTED));
    interrupt.abort(new Error('Stopped.'));
  });
  process.once('SIGTERM', () => interrupt.abort(new Error('Stopped.')));
  try {
    process.exitCode = await main(process.argv.slice(2), interrupt.signal);
  } catch (error) {
    if (interrupt.signal.aborted) {
      console.error('Stopped.');
      process.exitCode = INTERRUPTED;
    } else if (error instanceof UsageError) {
      console.error(`${error.message}\nTry --help.`);
      process.exitCode = 2;
    } else throw error;
  }
}

if (import.meta.main) await runFromShell();
