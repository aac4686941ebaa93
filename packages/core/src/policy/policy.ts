import { ANONYMOUS } from '../caller/caller.ts';
import type { ResolvedCaller } from '../caller/scope.ts';
import type { CachingConfig, CapConfig, Config, PriceConfig, QuotaConfig } from '../config/schema.ts';
import { CapRefusedError } from '../errors.ts';
import { isRecord } from '../json.ts';
import { type Call, thinkingBudget } from '../request/read.ts';
import { quotaRules } from './budgets.ts';
import { compileGlob, compileRules, type Subject } from './match.ts';
import { BATCH_SHARE, MODELS, type Model, type Price, type PriceTag, type Tariff } from './models.ts';
import type { Plan } from './plan.ts';

/** The rules of a configuration, compiled. */
export interface Policy {
  /**
   * What is to become of a call. `instead` names the model to ask in place of the one that was asked for.
   * Pure. @throws CapRefusedError when a cap refuses the call.
   */
  plan(call: Call, caller: ResolvedCaller | undefined, instead?: string): Plan;
  /** Whether another model can take the call. */
  suits(call: Call, model: string): boolean;
  /** What a model's tokens cost. */
  priceOf(model: string): PriceTag | undefined;
}

/** Model ids remembered with what the tables say of them. */
const MAX_KNOWN_MODELS = 512;

const NOBODY: ResolvedCaller = { signals: [] };

export function compilePolicy(config: Config): Policy {
  const rules = quotaRules(config);
  const quotasOf = compileRules(config.shadow ? rules.map((rule) => ({ ...rule, shadow: true })) : rules);
  const capsOf = compileRules(config.caps);
  const routesOf = compileRules(config.routes);
  const cachingOf = compileRules(cachingRules(config.caching));
  const fallbacks = Object.entries(config.fallbacks).map(([pattern, models]) => ({
    matches: compileGlob(pattern),
    models,
  }));
  const models = compileModels(config.prices);
  const defaultLane = config.defaultLane ?? Object.keys(config.lanes)[0] ?? '';

  return {
    suits: (call, model) => suits(call, models(model).model),
    priceOf: (model) => models(model).price,
    plan(call, scoped, instead) {
      const caller = scoped ?? NOBODY;
      const lane =
        caller.lane !== undefined && Object.hasOwn(config.lanes, caller.lane) ? caller.lane : defaultLane;
      const { tenant, tier, route } = caller;
      const asked: Subject = { user: caller.user ?? ANONYMOUS, tenant, tier, lane, route, model: call.model };

      // Who forbids other models gets none; in shadow nothing that is sent may differ.
      const mayReroute = call.kind === 'messages' && caller.fallback !== false && !config.shadow;
      const rule = mayReroute ? routesOf(asked)[0] : undefined;
      // Another model that could not take the request would turn an answer into an error.
      const chosen = rule !== undefined && suits(call, models(rule.model).model) ? rule : undefined;
      const modelId = instead ?? (chosen?.if === 'always' ? chosen.model : call.model);
      const subject = modelId === call.model ? asked : { ...asked, model: modelId };
      const { model, price } = models(modelId);
      const ceiling = modelId === call.model ? undefined : model?.maxOutputTokens;
      const maxTokens = limitOutput(call, subject, capsOf, least(ceiling, caller.maxTokens), config.shadow);
      return {
        caller,
        isAnonymous: scoped === undefined,
        lane,
        flowKey: tenant === undefined ? subject.user : `${tenant}\n${subject.user}`,
        purpose: route ?? lane,
        modelId,
        reroutedFrom: modelId === call.model ? undefined : call.model,
        underPressure: instead === undefined && chosen?.if === 'pressure' ? chosen.model : undefined,
        fallbacks: mayReroute
          ? (fallbacks.find(({ matches }) => matches(call.model))?.models ?? []).filter((id) =>
              suits(call, models(id).model),
            )
          : [],
        model,
        price,
        maxTokens,
        clampedFrom: maxTokens === call.maxTokens ? undefined : call.maxTokens,
        quotas: quotasOf(subject).map((rule) => ({ rule, key: keyOf(rule.per, subject) })),
        // In shadow nothing that is sent may differ.
        marksPrefix: !config.shadow && cachingOf(subject)[0]?.mode === 'auto',
        isShadow: config.shadow,
      };
    },
  };
}

/** Bytes of a request for each token of a context window: one with more is too long, whatever it holds. */
const BYTES_PER_TOKEN = 3;

/**
 * Whether another model can take a request that was made for one. `max_tokens` is lowered to its ceiling, but a thinking
 * budget must fit under that, the kind of thinking must be one that it knows, and the prompt must fit into its context.
 * Fast mode was asked for by model. What is not in the table is trusted.
 */
function suits({ body, bytes }: Call, other: Model | undefined): boolean {
  if (body?.speed === 'fast') return false;
  if (other === undefined) return true;
  const { thinking } = body ?? {};
  const kind = isRecord(thinking) ? thinking.type : undefined;
  if (kind !== undefined && kind !== 'disabled' && !other.thinking.some((known) => known === kind))
    return false;
  return (
    (thinkingBudget(body) ?? 0) < other.maxOutputTokens && bytes <= BYTES_PER_TOKEN * other.contextTokens
  );
}

function cachingRules(caching: Config['caching']): readonly CachingConfig[] {
  if (typeof caching === 'string') return [{ when: {}, mode: caching }];
  return Array.isArray(caching) ? caching : [caching];
}

const least = (a: number | undefined, b: number | undefined) => (a === undefined ? b : Math.min(a, b ?? a));

/** Whose share of a quota a call draws on. Users of two tenants are two users, though they have one name. */
function keyOf(per: QuotaConfig['per'], { user, tenant, route, model }: Subject): string {
  switch (per) {
    case 'user':
      return `${tenant ?? ''}\n${user}`;
    case 'tenant':
      return tenant ?? '';
    case 'route':
      return route ?? '';
    case 'model':
      return model;
    case 'account':
      // Known to the admission: see `scopesFor`.
      return '';
    case 'all':
      return '';
  }
}

/**
 * The lowest of the matching caps and of the model's own ceiling holds. A clamp never goes under the thinking budget:
 * the API would refuse the request.
 */
function limitOutput(
  call: Call,
  subject: Subject,
  capsOf: (subject: Subject) => readonly CapConfig[],
  ceiling: number | undefined,
  isShadow: boolean,
): number | undefined {
  const asked = call.maxTokens;
  if (asked === undefined || call.kind !== 'messages' || isShadow) return asked;
  let granted = Math.min(asked, ceiling ?? asked);
  for (const rule of capsOf(subject)) {
    if (asked <= rule.maxTokens) continue;
    if (rule.onExceed === 'refuse') {
      throw new CapRefusedError(`max_tokens is ${asked}, and a cap allows ${rule.maxTokens}`, {
        reason: 'cap',
        lane: subject.lane,
      });
    }
    granted = Math.min(granted, rule.maxTokens);
  }
  const budget = thinkingBudget(call.body);
  if (granted < asked && budget !== undefined && granted <= budget) {
    throw new CapRefusedError(
      `a cap allows max_tokens of ${granted}, which must be above the thinking budget of ${budget}`,
      { reason: 'cap', lane: subject.lane },
    );
  }
  return granted;
}

interface KnownModel {
  readonly model: Model | undefined;
  readonly price: PriceTag | undefined;
}

function compileModels(prices: Readonly<Record<string, PriceConfig>>): (id: string) => KnownModel {
  const table = MODELS.map((model) => ({ model, matches: compileGlob(model.match) }));
  const overrides = Object.entries(prices).map(([pattern, price]) => ({
    price,
    matches: compileGlob(pattern),
  }));
  const known = new Map<string, KnownModel>();
  return (id) => {
    const before = known.get(id);
    if (before !== undefined) return before;
    const model = table.find(({ matches }) => matches(id))?.model;
    const override = overrides.find(({ matches }) => matches(id))?.price;
    const found = { model, price: priceTag(model, override) };
    if (known.size < MAX_KNOWN_MODELS) known.set(id, found);
    return found;
  };
}

function priceTag(model: Model | undefined, override: PriceConfig | undefined): PriceTag | undefined {
  if (override !== undefined) {
    const { batch, fast } = override;
    return { ...tariff(override), batch, fast: fast === undefined ? undefined : tariff(fast) };
  }
  if (model?.price === undefined) return undefined;
  return { price: model.price, steps: model.steps ?? [], fast: model.fast, batch: BATCH_SHARE };
}

function tariff(config: Omit<PriceConfig, 'batch' | 'fast'>): Tariff {
  const steps = config.steps.map((step) => ({ above: step.above, price: completePrice(step) }));
  // The last step that a prompt is above is the one that counts.
  return { price: completePrice(config), steps: steps.sort((a, b) => a.above - b.above) };
}

/** Cache prices that are left out are taken at the usual multiples of the input price. */
function completePrice(config: Omit<PriceConfig, 'steps' | 'batch' | 'fast'>): Price {
  const { input, output, cacheWrite5m, cacheWrite1h, cacheRead } = config;
  return {
    input,
    output,
    cacheWrite5m: cacheWrite5m ?? input * 1.25,
    cacheWrite1h: cacheWrite1h ?? input * 2,
    cacheRead: cacheRead ?? input * 0.1,
  };
}
