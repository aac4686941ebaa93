import { type Account, DIMENSIONS } from './account.ts';
import { failure } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { findModel } from './models.ts';
import type { Dimension, ModelSpec } from './options.ts';
import { BATCH, type Organization, TOKEN_COUNT } from './organization.ts';
import { hashText } from './random.ts';

/** `GET /v1/models`: newest first, by cursor. */
export function listModels(organization: Organization, exchange: Exchange): void {
  const query = new URLSearchParams(exchange.request.query);
  const lifecycles = query.getAll('lifecycle').concat(query.getAll('lifecycle[]'));
  const all = organization.config.models.filter(
    (model) => lifecycles.length === 0 || lifecycles.includes(model.lifecycle ?? 'active'),
  );
  const limit = pageSize(query, 20);
  const after = all.findIndex((model) => model.id === query.get('after_id'));
  const before = all.findIndex((model) => model.id === query.get('before_id'));
  const start = before >= 0 ? Math.max(0, before - limit) : after + 1;
  const end = before >= 0 ? before : start + limit;
  const page = all.slice(start, end);
  exchange.sendJson(
    200,
    {},
    {
      data: page.map(modelInfo),
      has_more: before >= 0 ? start > 0 : end < all.length,
      first_id: page[0]?.id ?? null,
      last_id: page.at(-1)?.id ?? null,
    },
  );
}

/** `GET /v1/models/{id}`. */
export function retrieveModel(organization: Organization, exchange: Exchange, id: string): void {
  const model = findModel(organization.config.models, id);
  if (model === undefined) exchange.fail(failure(404, `model: ${id}`));
  else exchange.sendJson(200, {}, modelInfo(model));
}

function modelInfo(model: ModelSpec): object {
  return {
    type: 'model',
    id: model.id,
    display_name: model.displayName ?? model.id,
    line: model.line ?? null,
    lifecycle: model.lifecycle ?? 'active',
    created_at: model.createdAt ?? '1970-01-01T00:00:00Z',
    deprecated_at: model.deprecatedAt ?? null,
    retires_at: model.retiresAt ?? null,
    max_tokens: model.maxTokens,
    max_input_tokens: model.maxInputTokens,
    capabilities: null,
  };
}

const LIMITER: Record<Dimension, string> = {
  requests: 'requests_per_minute',
  inputTokens: 'input_tokens_per_minute_cache_aware',
  outputTokens: 'output_tokens_per_minute',
};

/** `GET /v1/organizations/rate_limits`: one entry per bucket, as the limits are now. */
export function listRateLimits(organization: Organization, exchange: Exchange): void {
  const query = new URLSearchParams(exchange.request.query);
  const group = query.get('group_type');
  const model = query.get('model');
  const all = [...organization.accounts].flatMap(([name, account]) => {
    const isModels = name !== TOKEN_COUNT && name !== BATCH;
    const ownGroup = name === BATCH ? 'batch' : 'token_count';
    const models = isModels ? modelsOf(organization, account) : null;
    if (group !== null && group !== (isModels ? 'model_group' : ownGroup)) return [];
    if (model !== null && models?.includes(model) !== true) return [];
    const limits = DIMENSIONS.flatMap((dimension) => {
      const bucket = account.bucket(dimension);
      return bucket === undefined
        ? []
        : [{ type: limiterOf(dimension, account.limits), value: bucket.limitPerMinute }];
    });
    const id = hashText(name).toString(36);
    const kind = isModels ? { type: 'model_group', display_name: name } : { type: ownGroup };
    return [{ type: 'rate_limit', id: `rl_${id}`, group: { id: `rlg_${id}`, ...kind }, limits, models }];
  });
  const start = Number(query.get('page') ?? 0) || 0;
  const end = query.has('limit') ? start + pageSize(query, all.length) : all.length;
  exchange.sendJson(
    200,
    {},
    { data: all.slice(start, end), next_page: end < all.length ? String(end) : null },
  );
}

function limiterOf(dimension: Dimension, limits: { readonly cacheReadsCount?: boolean }): string {
  if (dimension === 'inputTokens' && limits.cacheReadsCount === true) return 'input_tokens_per_minute';
  return LIMITER[dimension];
}

function modelsOf(organization: Organization, account: Account): string[] {
  return organization.config.models.flatMap((model) => {
    const names = [...new Set([model.id, model.id.replace(/-\d{8}$/, ''), ...(model.aliases ?? [])])];
    const isOwn = model.lifecycle !== 'retired' && organization.accountFor(...names) === account;
    return isOwn ? names : [];
  });
}

function pageSize(query: URLSearchParams, fallback: number): number {
  const asked = Number(query.get('limit') ?? fallback);
  return Number.isInteger(asked) && asked >= 1 ? Math.min(asked, 1_000) : fallback;
}
