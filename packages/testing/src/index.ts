export { startClaudeApi } from './api/claude-api.ts';
export type {
  Fault,
  HeadersFault,
  LongEventFault,
  OverloadFault,
  ResetFault,
  ResultsFault,
  StallFault,
  StatusFault,
  StreamErrorFault,
  TruncateFault,
  UnansweredFault,
  UsageFault,
  UsageFields,
} from './api/faults.ts';
export type { Ledger, LedgerEntry, LedgerTotals, Utilization } from './api/ledger.ts';
export { DEFAULT_LIMITS, DEFAULT_MODELS } from './api/models.ts';
export type {
  BatchItemResult,
  BatchOptions,
  BucketLimits,
  Chunking,
  ClaudeApi,
  ClaudeApiOptions,
  Dimension,
  Latency,
  Levels,
  MessageRequest,
  ModelSpec,
  OutputPlan,
  ReceivedRequest,
} from './api/options.ts';
export { type ManualClock, type ManualClockOptions, manualClock } from './clock/manual-clock.ts';
export {
  type MetricPoint,
  type MetricRecorder,
  metricRecorder,
  type SdkMetrics,
} from './otel/metric-recorder.ts';
export { type RecordedSpan, type SdkSpan, type SpanRecorder, spanRecorder } from './otel/span-recorder.ts';
export { type TestStoreOptions, testStore } from './store/test-store.ts';
