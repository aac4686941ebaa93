/**
 * What the processes of a fleet tell each other beside the ledger: a notice board. Each process has one *notice* for each
 * topic, which it alone writes, in place of the one before; everybody reads all. A notice tells all that its process has to
 * say of the topic, never only what is new: so one that is lost is made good by the next, and nothing is counted twice.
 *
 * Nobody waits for the board, and nothing is decided by it alone: without it each process goes on by what it knows itself.
 */
export interface Board {
  /**
   * Puts up what `process` has to say of a topic, for `ttlMs`. `notice` has at most `NOTICE_LENGTH` characters, all of them
   * ASCII, and the name of a process no line break. May fail; whether it is up is then not known.
   */
  post(topic: string, process: string, notice: string, ttlMs: number): Promise<void>;
  /**
   * Tells of each notice of a topic that is up, the oldest first, and then of each that is put up, this process's own too.
   * `ageMs` says for how long it has been up, by the board's own clock: 0 for one that has just been. One may be told of
   * twice, and one may be lost: after a break all that are up are told of again. The returned function ends it.
   */
  watch(topic: string, onNotice: OnNotice): () => void;
}

export type OnNotice = (process: string, notice: string, ageMs: number) => void;
