import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { CONTENDERS } from './contenders/index.ts';
import type { ClassFigures, Figures } from './figures.ts';
import { CLASSES, PATIENCE, planTraffic, SECONDS, SEED } from './scenario.ts';

/** The tables of the page on measurement, out of the figures of the last run, which are kept beside it. */

const KEPT = new URL('./figures.json', import.meta.url);
export const PAGE = new URL('../../../packages/core/docs/measurement.md', import.meta.url);
const MARK = /<!-- peers[^>]*-->\n[\s\S]*?<!-- \/peers -->/;

/** Where figures are from: those of two machines stand in no table together. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
}

export interface Kept {
  readonly machine: Machine | undefined;
  /** When each was measured, and of which version. */
  readonly runs: Readonly<Record<string, { readonly date: string; readonly versions: string }>>;
  readonly figures: readonly Figures[];
}

export function machineOf(): Machine {
  const [first] = cpus();
  return {
    cpu: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    node: process.version,
  };
}

export function read(): Kept {
  try {
    return JSON.parse(readFileSync(KEPT, 'utf8')) as Kept;
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return { machine: undefined, runs: {}, figures: [] };
    throw error;
  }
}

/** Takes the place of what was kept of the same contender; figures of another machine go. */
export function keep(figures: Figures, machine: Machine): void {
  const before = read();
  const isSame = JSON.stringify(before.machine) === JSON.stringify(machine);
  const others = isSame ? before.figures.filter(({ name }) => name !== figures.name) : [];
  const runs = isSame ? before.runs : {};
  const contender = CONTENDERS.find(({ name }) => name === figures.name);
  const versions = (contender?.packages ?? []).map((name) => `${name} ${versionOf(name)}`).join(', ');
  const kept: Kept = {
    machine,
    runs: { ...runs, [figures.name]: { date: new Date().toISOString().slice(0, 10), versions } },
    figures: [...others, figures],
  };
  writeFileSync(KEPT, `${JSON.stringify(kept, undefined, 2)}\n`);
}

/** Not every package lets its package.json be asked for. */
function versionOf(name: string): string {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? [];
  for (const folder of folders) {
    try {
      const manifest = JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8'));
      return (manifest as { version: string }).version;
    } catch {}
  }
  throw new Error(`no version of ${name} beside ${dirname(import.meta.filename)}`);
}

const percent = (share: number | undefined, digits = 1) => `${((share ?? 0) * 100).toFixed(digits)} %`;
const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;
const row = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;

export function tables({ machine, runs, figures }: Kept): string {
  if (machine === undefined) throw new Error('nothing is measured yet: run npm run bench:peers');
  const ordered = [...CONTENDERS.map(({ name }) => name), 'SDK, no limits'].flatMap(
    (name) => figures.find((each) => each.name === name) ?? [],
  );
  const contenders = ordered.filter(({ name }) => name !== 'SDK, no limits');
  const answered = ({ answered: some, calls }: ClassFigures) => percent(some / calls, 0);
  const total = ({ classes }: Figures) => {
    const all = Object.values(classes);
    const sum = (of: (each: ClassFigures) => number) => all.reduce((whole, each) => whole + of(each), 0);
    return percent(sum((each) => each.answered) / sum((each) => each.calls), 0);
  };
  const asks = planTraffic();
  const dates = [...new Set(Object.values(runs).map(({ date }) => date))].sort();
  const most = (of: (each: Figures) => number) => Math.max(...ordered.map(of));
  return [
    `${asks.length.toLocaleString('en-US')} calls in ${SECONDS} s, seed ${SEED}; ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}; ${dates.join(' and ')}. The busiest contender took ${percent(
      most(({ busy }) => busy.contender),
      0,
    )} of a core, the API at most ${percent(
      most(({ busy }) => busy.api),
      0,
    )} of the other, and the event loop of a contender was at most ${Math.ceil(most(({ busy }) => busy.loopDelayMs) - 5)} ms late in 99 % of its turns.`,
    '',
    row([
      '',
      'share of the limit used',
      '429s',
      'answered',
      'Jain, equal users',
      'longest without an answer: a user',
      'the dump',
      'CPU per answer',
      'memory',
    ]),
    row(['---', ...Array.from({ length: 8 }, () => '---:')]),
    ...contenders.map((each) =>
      row([
        each.name,
        percent(each.used.outputTokens),
        each.status429,
        total(each),
        each.jain.toFixed(3),
        seconds(each.starved.users),
        seconds(each.starved.background),
        `${each.cpuMsPerAnswer.toFixed(1)} ms`,
        `${Math.round(each.rss / 1e6)} MB`,
      ]),
    ),
    '',
    `Answered within ${PATIENCE} s (the dump: by the end), and the p50, p95 and p99 of the time that those answers took, waiting included:`,
    '',
    row(['', ...CLASSES]),
    row(['---', ...CLASSES.map(() => '---:')]),
    ...ordered.map(({ name, classes }) =>
      row([
        name,
        ...CLASSES.map((callClass) => {
          const each = classes[callClass];
          const times = [each.p50, each.p95, each.p99].map((ms) => (ms / 1_000).toFixed(1)).join(' / ');
          return `${answered(each)}: ${each.answered === 0 ? '–' : `${times} s`}`;
        }),
      ]),
    ),
    '',
    'How each was set up:',
    '',
    ...CONTENDERS.map(({ name, how }) => {
      const { versions = '' } = runs[name] ?? {};
      return `- **${name}**${versions === '' ? '' : ` (${versions})`}: ${how}.`;
    }),
  ].join('\n');
}

/** The part of the page that is made here. */
export const section = (kept: Kept) =>
  `<!-- peers: made by \`npm run bench:peers\` (test/bench/peers) -->\n${tables(kept)}\n<!-- /peers -->`;

export function sectionInPage(): string {
  const found = MARK.exec(readFileSync(PAGE, 'utf8'));
  if (found === null) throw new Error(`${PAGE.pathname}: expected the marks of the tables`);
  return found[0];
}

export function writePage(): void {
  const page = readFileSync(PAGE, 'utf8');
  writeFileSync(
    PAGE,
    page.replace(sectionInPage(), () => section(read())),
  );
}
