export type { BudgetSubject, NamedStanding } from './admission/admission.ts';
export type { BatchClient, BatchHandle, BatchLane, BatchParams, SubmitOptions } from './batch/types.ts';
export { ANONYMOUS, type Caller } from './caller/caller.ts';
export type { CallerSource } from './caller/scope.ts';
export type { GovernableClient } from './client.ts';
export { type Clock, type Random, systemClock, type Timer } from './clock.ts';
export { CHECKS, type CheckCode } from './config/codes.ts';
export {
  describeLimits,
  type ExplainedCall,
  type Explanation,
  explainCall,
  listPrices,
  understandConfig,
} from './config/explain.ts';
export { loadConfig, withPathsFrom } from './config/load.ts';
export { configJsonSchema } from './config/parse.ts';
export { type PriceList, type ReadPrices, readPriceFile } from './config/price-file.ts';
export type { ConfigInput } from './config/schema.ts';
export {
  AbortedError,
  BatchFailedError,
  CapRefusedError,
  ConfigError,
  type ConfigProblem,
  type ErrorCode,
  findHeadgateError,
  formatProblem,
  HeadgateError,
  isHeadgateError,
  QueueFullError,
  QueueTimeoutError,
  QuotaExceededError,
  REASONS,
  type Reason,
  UnknownCallerError,
  UnpricedError,
  UpstreamUnavailableError,
} from './errors.ts';
export { createGovernor } from './governor.ts';
export type { FetchOptions } from './http/governed-fetch.ts';
export { type LogFields, logFields } from './log-fields.ts';
export type { Logger } from './logger.ts';
export { MAX_NOTICES, NOTICE_LENGTH } from './notice.ts';
export type { PriceBook, PriceEntry, PriceOrigin, PriceTag } from './policy/price-book.ts';
export { MODEL_TABLE_DATE, type Price, type PriceStep, type Tariff } from './policy/prices.ts';
export type { Bounds } from './settlement/bounds.ts';
export type {
  AheadCharge,
  BatchItem,
  BatchJournal,
  BatchState,
  Submission,
  Waiting,
} from './stores/batch-journal.ts';
export type { Board, OnNotice } from './stores/board.ts';
export type { CounterStore, SavedCounter } from './stores/counters.ts';
export { type MemoryStoreOptions, memoryStore } from './stores/memory.ts';
export { memoryJournal } from './stores/memory-journal.ts';
export { type SqliteStoreOptions, sqliteStore } from './stores/sqlite.ts';
export { type SqliteJournalOptions, sqliteJournal } from './stores/sqlite-journal.ts';
export type {
  AmountName,
  Amounts,
  Answer,
  Candidate,
  ConfiguredLimits,
  Exchange,
  LaneTerms,
  LedgerEvent,
  LevelTold,
  MeterAsk,
  Path,
  QuotaAsk,
  QuotaChange,
  Reservation,
  Result,
  Store,
  StoreDoubt,
  Tag,
  Wake,
} from './stores/store.ts';
export type { UsageReport, UsageRow } from './stores/usage-book.ts';
export type {
  KeyedUsage,
  UsageBy,
  UsageRecord,
  UsageStore,
  UsageSums,
} from './stores/usage-store.ts';
export type { Recording, RecordingSums } from './telemetry/recorder.ts';
export type { Governor, GovernorOptions, Snapshot } from './types.ts';
export { type ConfigWatch, watchConfig } from './watch-config.ts';
