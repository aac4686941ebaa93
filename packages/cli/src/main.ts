#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, InvalidArgumentError } from 'commander';
import { check } from './check.ts';

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('expected a whole number above 0.');
  return value;
}

const program = new Command('headgate')
  .description('Checks what Headgate is told, and shows what it makes of it.')
  .version(version)
  // A wrong call is told apart from a wrong configuration: 2 and 1.
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

program
  .command('check')
  .description(
    'check a configuration file; exit code 1 where it is wrong, or with --strict where it is doubtful',
  )
  .argument('<file>', 'YAML or JSON')
  .option('--caller <fields>', 'explain what applies to a caller, as user=ada,tier=free,lane=background')
  .option('--model <id>', 'the model that the caller asks for', 'claude-sonnet-4-6')
  .option('--max-tokens <n>', 'the max_tokens that the caller asks for', wholeNumber, 1_024)
  .option('--strict', 'warnings count as mistakes')
  .option('--json', 'print everything as JSON')
  .action(
    async (
      file: string,
      options: { caller?: string; model: string; maxTokens: number; strict?: boolean; json?: boolean },
    ) => {
      process.exitCode = await check(file, options, (text) => process.stdout.write(`${text}\n`));
    },
  );

await program.parseAsync();
