#!/usr/bin/env node
import { createRequire } from 'node:module';
import { Command, InvalidArgumentError, Option } from 'commander';
import { check } from './check.ts';
import { type AlertThresholds, DEFAULT_THRESHOLDS } from './dashboards/alerts.ts';
import type { DashboardOptions } from './dashboards/grafana.ts';
import { NAMINGS } from './dashboards/naming.ts';
import { dashboards } from './dashboards/write.ts';
import { type PlanOptions, plan } from './plan/plan.ts';
import { interruption } from './plan/real/interruption.ts';
import { DIMENSIONS } from './plan/smallest.ts';
import { type PricesOptions, prices } from './prices/prices.ts';

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('expected a whole number above 0.');
  return value;
}

function amount(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('expected a number above 0.');
  return value;
}

function anyWholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('expected a whole number.');
  return value;
}

/** One line on a terminal, and nothing where nobody watches. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
}

const program = new Command('headgate')
  .description(
    'Checks what Headgate is told, rehearses what is to come, and writes dashboards for what it tells.',
  )
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

program
  .command('prices')
  .description(
    'print the prices that hold and where they come from; with --diff, exit code 1 where another table differs, 2 where a file cannot be read',
  )
  .argument('[config]', 'a configuration file, whose prices and price file go first')
  .option('--diff <file>', "hold them against a table in LiteLLM's or models.dev's JSON format")
  .option('--json', 'print JSON: without --diff, a price file')
  .action(async (config: string | undefined, options: PricesOptions) => {
    process.exitCode = await prices(config, options, (text) => process.stdout.write(`${text}\n`));
  });

program
  .command('dashboards')
  .description('write a Grafana dashboard and Prometheus alert rules for what Headgate emits')
  .requiredOption('--out <folder>', 'where the two files go')
  .addOption(
    new Option('--naming <way>', 'how metrics come to Prometheus: scraped from the app, or over OTLP')
      .choices(NAMINGS)
      .makeOptionMandatory(),
  )
  .option('--service <name>', 'service.name of the app, by which its traces are found', 'app')
  .option('--lane <name>', 'the lane whose queue wait is watched', DEFAULT_THRESHOLDS.lane)
  .option(
    '--queue-wait-seconds <n>',
    'alert above this p95 wait',
    amount,
    DEFAULT_THRESHOLDS.queueWaitSeconds,
  )
  .option('--usd-per-hour <n>', 'alert above this cost', amount, DEFAULT_THRESHOLDS.usdPerHour)
  .action(async ({ out, ...options }: { out: string } & DashboardOptions & AlertThresholds) => {
    process.exitCode = await dashboards(out, options, (text) => process.stdout.write(`${text}\n`));
  });

program
  .command('plan')
  .description(
    'rehearse traffic against a configuration, on a virtual clock; exit code 1 where a goal is missed, 2 where nothing can be rehearsed',
  )
  .argument('<config>', 'the configuration: YAML or JSON')
  .argument('<traffic>', 'the traffic: YAML or JSON')
  .option(
    '--goal <goal>',
    'what is to hold, as "interactive p95 < 2s"; may be given again',
    (goal: string, goals: string[]) => [...goals, goal],
    [],
  )
  .option('--seed <n>', 'instead of the seed of the traffic file', anyWholeNumber)
  .option('--compare <config...>', 'other configurations to set beside it; the exit code is by the first')
  .addOption(
    new Option('--smallest [limits]', 'look for the smallest limits that meet the goals')
      .choices(DIMENSIONS)
      .preset('all'),
  )
  .option('--real', 'make the calls in real time too, over HTTP, and tell how far the model is from it')
  .option('--for <duration>', 'end the traffic after it, as 30s')
  .option('--html <file>', 'write the report as a page of its own, with plots')
  .option('--json', 'print everything as JSON')
  .action(async (config: string, traffic: string, options: PlanOptions) => {
    const print = (text: string) => process.stdout.write(`${text}\n`);
    process.exitCode = await plan(config, traffic, options, {
      print,
      progress,
      ...(options.real ? { interruption: interruption(progress) } : {}),
    });
  });

await program.parseAsync();
