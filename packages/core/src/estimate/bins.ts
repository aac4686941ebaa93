/** The bins of lengths of answers, in tokens: on a logarithmic scale, since lengths have heavy tails. */
export const BINS = 48;
/** Bin i holds lengths up to 2^((i+1)/3): 48 bins reach 65,536 tokens. */
const PER_OCTAVE = 3;

const upper = (bin: number) => 2 ** ((bin + 1) / PER_OCTAVE);
const lower = (bin: number) => (bin === 0 ? 0 : upper(bin - 1));
/** Where each bin begins; one more, where the last ends. */
export const EDGES = Float64Array.from({ length: BINS + 1 }, (_, bin) => lower(bin));
export const LONGEST = upper(BINS - 1);
export const widthOf = (bin: number): number => (EDGES[bin + 1] ?? 0) - (EDGES[bin] ?? 0);
export const binOf = (tokens: number): number =>
  tokens <= 1 ? 0 : Math.min(BINS - 1, Math.max(0, Math.ceil(Math.log2(tokens) * PER_OCTAVE) - 1));

/** Number of bins that lie wholly below a length. */
export const passed = (tokens: number): number =>
  tokens <= 1 ? 0 : Math.min(BINS, Math.floor(Math.log2(tokens) * PER_OCTAVE));
