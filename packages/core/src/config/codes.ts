/**
 * Every named check: what it means, for the documentation and for `headgate check`. Codes are stable; branch on them.
 * Those of the first part make a configuration invalid, the others are warned of and do not.
 */
export const CHECKS = {
  HG_UNREADABLE: 'the file is empty, or is neither YAML nor JSON',
  HG_UNKNOWN_KEY: 'a key that does not exist, so whatever it was to do is silently off',
  HG_WRONG_VALUE: 'a value that its option cannot have',
  HG_NO_LANE: 'a configuration without any lane',
  HG_UNKNOWN_LANE: 'a lane that does not exist',
  HG_NEVER_MATCHES: 'a rule that no call can ever match',
  HG_GUARANTEES_OVER_ONE: 'lanes that are promised more than there is',
  HG_DUPLICATE_NAME: 'a name that stands twice, where it is to tell one from the other',
  HG_DUPLICATE_MODEL: 'a model pattern in two buckets of one account',
  HG_EMPTY_QUOTA: 'a quota that limits nothing',
  HG_RESERVED_NAME: 'a name that Headgate itself uses',
  HG_PRICE_FILE: 'a price file that cannot be read, or holds no prices',
  HG_ROUTE_TO_ITSELF: 'a route or a fallback to the very model it is for',

  HG_UNKNOWN_MODEL: 'a model, or a pattern, that fits no model of the built-in table',
  HG_UNPRICED_MODEL:
    'a model without a price: in calls that a money rule applies to, `unpriced` says what counts',
  HG_MODEL_GONE: 'a model that the API says it does not have: retired, misspelt, or not for this account',
  HG_MODEL_DEPRECATED: 'a model that the API is going to retire',
  HG_CAP_ABOVE_CEILING: 'a cap above what the model can produce, which never does anything',
  HG_CAP_UNDER_THINKING: 'a cap so low that every call with a thinking budget is refused',
  HG_RULE_OVERSHADOWED: 'a rule that another one with the same match always comes before',
  HG_STORE_EVICTS: 'a store that may forget limits and quotas when its memory is full',
  HG_STORE_OLD: 'a store older than what is tested',
  HG_STORE_READ_ONLY: 'a store that cannot be written to',
  HG_STORE_FILE: 'a file of counters that cannot be opened or written, with what can be done',
  HG_STORE_OCCUPIED: 'a file of counters that another process has open too',
  HG_STORE_BACKLOG:
    'an outage of the store in which more users came than are kept: use of the first is forgotten',
  HG_QUOTA_KEYS: 'more users of a quota than are kept in memory: those that have used least are forgotten',
  HG_PRICES_OLD: 'built-in prices that are more than 90 days old',
  HG_MEMORY_ONLY: 'quotas of days or months that begin anew with the process',
  HG_BUDGET_SOFT: 'a budget that is past its soft share',
  HG_USAGE_BOUNDED:
    'an answer whose usage is more than its call can have used, or cannot be read: a bound or an estimate counts in its place',
  HG_RETRY_AFTER: 'a response whose `retry-after` is no delay of up to a day: it is not followed',
  HG_COUNT_TOKENS: 'an API that does not count prompts though `countTokens` asks for it',
  HG_JOURNAL: 'a journal of the batch lane that cannot be read or written',
  HG_BATCH_DIRECT: 'calls of a batch lane that no batch can hold: they go directly',
  HG_RECORDING: 'a recording whose stream has failed: nothing more is written to it',
  HG_CLUSTER_MEMORY: 'a worker of a cluster with limits of its own: each worker has all of them',
  HG_COPY_LACKS:
    'a governed client that another library has changed: what `governor.with` gives goes without the change',
  HG_SDK_RETRIES: 'a client that still retries by itself',
  HG_GOVERNOR_PER_REQUEST: 'a governor made again and again, each with full limits of its own',
  HG_OTEL_API: 'an OpenTelemetry SDK that Headgate cannot see, so nothing is emitted',
  HG_NO_SCOPE: 'a call outside every caller scope: it counts as `anonymous`',
  HG_SCOPE_CHANGED: 'a client of `governor.with` that is called in another scope than it was made in',
  HG_SCOPE_OVER: 'a call in the scope of a request whose response has been sent',
  HG_USER_DIFFERS: 'a call whose `metadata.user_id` is another user than that of its scope',
  HG_NO_CALLER: 'an adapter without a `caller` function: all users share what quotas give to one',
} as const;

export type CheckCode = keyof typeof CHECKS;
