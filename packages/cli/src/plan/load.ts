import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import {
  ConfigError,
  type ConfigInput,
  type ConfigProblem,
  understandConfig,
  withPathsFrom,
} from '@headgate/core';
import { type Config, compileGlobs, problemsIn } from '@headgate/core/simulation';
import { locate, parseFile } from '../positions.ts';
import { pricesBeside } from '../prices/beside.ts';
import { accountOf } from './account.ts';
import { type AccountBucket, isRecorded, type Traffic, trafficSchema } from './traffic.ts';

export interface Rehearsable {
  readonly config: Config;
  /** The configuration as it stands in its file. */
  readonly input: ConfigInput;
  readonly traffic: Traffic;
  readonly account: readonly AccountBucket[];
  /** A path of the traffic file as one of the process. */
  readonly pathOf: (path: string) => string;
}

/** A problem with the file that it is in. */
export interface FileProblem extends ConfigProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
}

/** Both files are read whole before anything is said: all that is wrong with them comes at once. @throws Error where a file cannot be read. */
export async function load(
  configFile: string,
  trafficFile: string,
): Promise<Rehearsable | { readonly problems: readonly FileProblem[] }> {
  const { config, input, problems } = readConfig(configFile, await textOf(configFile));
  const text = await textOf(trafficFile);
  const parsed = parseFile(text, {
    message: 'is no traffic',
    expected: 'a mapping such as `duration:`, `calls:`',
  });
  const here = (found: readonly ConfigProblem[]): FileProblem[] =>
    found.map((problem) => ({
      ...problem,
      file: trafficFile,
      ...locate(parsed.document, text, problem.path),
    }));
  if (parsed.problems.length > 0)
    return { problems: [...problems, ...parsed.problems.map((each) => ({ ...each, file: trafficFile }))] };
  const result = trafficSchema.safeParse(parsed.content, { reportInput: true });
  if (!result.success)
    return { problems: [...problems, ...here(problemsIn(result.error.issues, trafficSchema))] };
  const traffic = result.data;
  if (config === undefined || input === undefined)
    return { problems: [...problems, ...here(contradictions(traffic))] };
  const account = accountOf(config, traffic);
  const misfits = account.problems.length > 0 ? [] : modelsWithoutBucket(traffic, config, account.buckets);
  const all = [...problems, ...here([...contradictions(traffic, config), ...account.problems, ...misfits])];
  if (all.length > 0) return { problems: all };
  const pathOf = (path: string) => resolve(dirname(trafficFile), path);
  return { config, input, traffic, account: account.buckets, pathOf };
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new Error(`${file}: cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function readConfig(
  file: string,
  text: string,
): { config?: Config; input?: ConfigInput; problems: FileProblem[] } {
  const { content, document, problems } = parseFile(text);
  if (problems.length > 0) return { problems: problems.map((problem) => ({ ...problem, file })) };
  const whole = withPathsFrom(dirname(file), content as ConfigInput);
  const beside = pricesBeside(whole);
  const here = (found: readonly ConfigProblem[]): FileProblem[] =>
    found.map((problem) => ({ ...problem, file, ...locate(document, text, problem.path) }));
  try {
    const { file: _, ...inline } = whole.prices ?? {};
    // The file's prices stand in the configuration itself: a rehearsal reads no further file.
    const input = beside.prices === undefined ? whole : { ...whole, prices: { ...beside.prices, ...inline } };
    const { config } = understandConfig(input);
    return beside.problems.length > 0 ? { problems: here(beside.problems) } : { config, input, problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { problems: here([...error.problems, ...beside.problems]) };
  }
}

/** What no schema can say. */
function contradictions(traffic: Traffic, config?: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [...duplicates('calls', traffic), ...duplicates('account', traffic)];
  for (const [i, calls] of traffic.calls.entries()) {
    const { lane } = calls;
    const lanes = config === undefined ? undefined : Object.keys(config.lanes);
    const bound = lane ?? config?.defaultLane ?? lanes?.[0];
    if (bound !== undefined && config?.lanes[bound]?.via === 'batch') {
      problems.push({
        code: 'HG_WRONG_VALUE',
        path: `calls[${i}].lane`,
        message: 'a lane that goes by batch, which is not rehearsed',
        expected: 'a lane whose calls go directly',
        received: bound,
      });
    }
    if (lane !== undefined && lanes?.includes(lane) === false) {
      problems.push({
        code: 'HG_UNKNOWN_LANE',
        path: `calls[${i}].lane`,
        message: 'a lane that the configuration does not have',
        expected: `one of ${lanes.join(', ')}`,
        received: lane,
      });
    }
    if (isRecorded(calls)) continue;
    const end = calls.end ?? traffic.duration;
    const starts = calls.arrivals.shape === 'burst' ? calls.start + calls.arrivals.at : calls.start;
    if (starts >= Math.min(end, traffic.duration)) {
      problems.push({
        code: 'HG_WRONG_VALUE',
        path: `calls[${i}]`,
        message: 'never comes',
        expected: `a start before its end and within the duration of ${traffic.duration / 1_000} s`,
        received: `${starts / 1_000} s`,
      });
    }
  }
  return problems;
}

/** A name tells one class, and one bucket, from the others in the report. */
function duplicates(list: 'calls' | 'account', traffic: Traffic): ConfigProblem[] {
  const names = new Set<string>();
  return (traffic[list] ?? []).flatMap(({ name }, i): ConfigProblem[] => {
    const isKnown = names.has(name);
    names.add(name);
    return isKnown
      ? [
          {
            code: 'HG_DUPLICATE_NAME',
            path: `${list}[${i}].name`,
            message: 'stands twice',
            expected: 'a name of its own for each entry',
            received: name,
          },
        ]
      : [];
  });
}

/** Models that calls ask for, or that the configuration sends them to, and that the modelled account does not have. */
function modelsWithoutBucket(
  traffic: Traffic,
  config: Config,
  account: readonly AccountBucket[],
): ConfigProblem[] {
  const matches = account.map(({ models }) => compileGlobs(models));
  const asked = [
    ...traffic.calls.map(({ model }, i) => ({ model, path: `calls[${i}].model`, of: 'is called' })),
    ...config.routes.map(({ model }) => ({ model, path: 'account', of: 'is where a route leads' })),
    ...config.budgets.map(({ downgradeTo, name }) => ({
      model: downgradeTo,
      path: 'account',
      of: `is what budget "${name}" changes to`,
    })),
  ];
  return asked.flatMap(({ model, path, of }) =>
    model === undefined || matches.some((isFor) => isFor(model))
      ? []
      : [
          {
            code: 'HG_WRONG_VALUE',
            path,
            message: `model "${model}" ${of}, and the account has no bucket for it`,
            expected: `a model of ${account.map(({ name, models }) => `${name} (${models.join(', ')})`).join(' or ')}`,
            received: model,
          },
        ],
  );
}
