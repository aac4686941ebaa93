import { type FileWatch, watchFile } from '../watch-file.ts';
import { type PriceList, parsePrices, type ReadPrices, readPriceFile } from './price-file.ts';

/** The price file of a governor, read at the start and again whenever it changes. */
export class PriceFile {
  #path: string | undefined;
  #text: string | undefined;
  #prices: PriceList | undefined;
  #watch: FileWatch | undefined;
  /** The file as it is now could not be taken over. */
  #isBroken = false;
  readonly #onChange: (prices: PriceList) => void;
  readonly #onProblem: (error: unknown) => void;

  /** `onChange` hears of other prices; `onProblem` of a file that cannot be taken over: then the old prices stay. */
  constructor(onChange: (prices: PriceList) => void, onProblem: (error: unknown) => void) {
    this.#onChange = onChange;
    this.#onProblem = onProblem;
  }

  /** The prices that hold; undefined without a file. */
  get prices(): PriceList | undefined {
    return this.#prices;
  }

  /**
   * Follows another file from now on, or none. Gives a function that does so: until it is called everything is as it
   * was. @throws ConfigError for a file that cannot be read or is wrong.
   */
  prepare(path: string | undefined): () => void {
    const read: ReadPrices | undefined = path === undefined ? undefined : readPriceFile(path);
    return () => {
      this.#text = read?.text;
      this.#prices = read?.prices;
      this.#isBroken = false;
      if (path === this.#path) return;
      this.close();
      this.#path = path;
      if (path !== undefined) this.#watch = watchFile(path, (text) => this.#take(path, text));
    };
  }

  #take(path: string, text: string | Error): void {
    if (text === this.#text && !this.#isBroken) return;
    try {
      if (text instanceof Error) throw text;
      this.#prices = parsePrices(text, path);
      this.#text = text;
      this.#isBroken = false;
    } catch (error) {
      this.#isBroken = true;
      this.#onProblem(error);
      return;
    }
    this.#onChange(this.#prices);
  }

  /** Stops watching. */
  close(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.#path = undefined;
  }
}
