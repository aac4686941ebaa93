import {
  ConfigError,
  type ConfigInput,
  type ConfigProblem,
  type PriceList,
  readPriceFile,
} from '@headgate/core';

/** The prices of the file that a configuration names, or what is wrong with that file, told where its name stands. */
export function pricesBeside({ prices: configured }: ConfigInput): {
  readonly prices?: PriceList;
  readonly problems: readonly ConfigProblem[];
} {
  const file = configured?.file;
  if (typeof file !== 'string' || file === '') return { problems: [] };
  try {
    return { prices: readPriceFile(file).prices, problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const problems = error.problems.map((problem) => ({
      ...problem,
      path: 'prices.file',
      message: `${file}: ${problem.path === 'prices.file' ? '' : `${problem.path}: `}${problem.message}`,
    }));
    return { problems };
  }
}
