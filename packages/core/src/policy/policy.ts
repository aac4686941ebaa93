import { ANONYMOUS } from '../caller/caller.ts';
import type { ResolvedCaller } from '../caller/scope.ts';
import { compositeKey } from '../composite-key.ts';
import type { PriceList } from '../config/price-file.ts';
import type { CachingConfig, CapConfig, Config, QuotaConfig } from '../config/schema.ts';
import { CapRefusedError, UnpricedError } from '../errors.ts';
import { isRecord } from '../json.ts';
import { payerOf } from '../request/billing.ts';
import { billedModels, type Call, thinkingBudget } from '../request/read.ts';
import { type QuotaRule, quotaRules } from './budgets.ts';
import { compileGlob } from './glob.ts';
import { compileRules, type Subject } from './match.ts';
import { shortModel } from './model-name.ts';
import { MODELS, type Model } from './models.ts';
import { type Answering, countsMoney, type Plan } from './plan.ts';
import { compilePrices, type PriceBook, type PriceTag } from './price-book.ts';

/** The rules of a configuration, compiled. */
export interface Policy {
  /**
   * What is to become of a call. `instead` names the model to ask in place of the one that was asked for.
   * Pure. @throws CapRefusedError when a cap refuses the call; UnpricedError with `unpriced: refuse` when a money rule
   * applies to it and it can be billed at a model without a price.
   */
  plan(call: Call, caller: ResolvedCaller | undefined, instead?: string): Plan;
  /** Whether another model can take the call, and may be paid for. */
  suits(call: Call, model: string, caller?: ResolvedCaller): boolean;
  /**
   * What a model's tokens cost: the one place where `unpriced` is applied. `isMoneyCounted` says that a money rule applies
   * to the call; then a price that nobody knows is the highest of its provider, or nothing with `unpriced: free`.
   * Without such a rule it is undefined: tokens are told, and money is not.
   */
  priceOf(model: string, isMoneyCounted: boolean): PriceTag | undefined;
  /**
   * What holds for a model that takes part in answering a subject's call. `names` are what keys are made of, where they
   * are shorter than the names that patterns are matched against.
   */
  answeredBy(subject: Subject, modelId: string, names?: KeyNames): Answering;
  /** Every price that is known, and where it comes from. */
  readonly prices: PriceBook;
}

/** The names that keys of quotas are made of. */
type KeyNames = Pick<Subject, 'user' | 'tenant' | 'route'>;

/** What a policy asks beyond the configuration. */
export interface PolicyContext {
  /** Prices that the price file holds. Default: none. */
  readonly filePrices?: PriceList | undefined;
  /** Milliseconds of the epoch: prices may begin on a day. Default: every price that is announced holds already. */
  readonly wall?: () => number;
}

/** Model ids remembered with what the tables say of them. */
const MAX_KNOWN_MODELS = 512;

const NOBODY: ResolvedCaller = { signals: [] };

export function compilePolicy(
  config: Config,
  { filePrices = {}, wall = () => Number.POSITIVE_INFINITY }: PolicyContext = {},
): Policy {
  const rules = quotaRules(config);
  const quotasOf = compileRules(config.shadow ? rules.map((rule) => ({ ...rule, shadow: true })) : rules);
  const capsOf = compileRules(config.caps);
  const routesOf = compileRules(config.routes);
  const cachingOf = compileRules(cachingRules(config.caching));
  const fallbacks = Object.entries(config.fallbacks).map(([pattern, models]) => ({
    matches: compileGlob(pattern),
    models,
  }));
  const models = compileModels();
  const defaultLane = config.defaultLane ?? Object.keys(config.lanes)[0] ?? '';
  const { unpriced } = config;
  const prices = compilePrices({ config: inlinePrices(config), file: filePrices, unpriced, wall });
  const priceOf = (model: string, isMoneyCounted: boolean) =>
    isMoneyCounted ? prices.counted(model) : prices.known(model);
  /** The first model that a call can be billed at and has no price, where a rule refuses for that. */
  const unpayable = (call: Call, quotas: readonly QuotaRule[], model: string): string | undefined => {
    const enforced = unpriced === 'refuse' && quotas.some((rule) => rule.usd !== undefined && !rule.shadow);
    if (!enforced || call.kind !== 'messages' || payerOf(call.body) !== 'self') return undefined;
    return billedModels(call, model)
      .filter(({ id, isFast }) => {
        const tag = prices.known(id);
        return tag === undefined || (isFast && tag.fast === undefined);
      })
      .map(({ id, isFast }) => (isFast ? `${id} (fast mode)` : id))[0];
  };
  const subjectOf = (call: Call, caller: ResolvedCaller): Subject => {
    const lane =
      caller.lane !== undefined && Object.hasOwn(config.lanes, caller.lane) ? caller.lane : defaultLane;
    const { user = ANONYMOUS, tenant, tier, route, whole = {} } = caller;
    // Patterns are matched against what a caller is called, however long; keys have a bound.
    return {
      user: whole.user ?? user,
      tenant: whole.tenant ?? tenant,
      tier: whole.tier ?? tier,
      lane,
      route: whole.route ?? route,
      model: call.model,
    };
  };
  const suitsCall = (call: Call, model: string, subject: Subject): boolean =>
    suits(call, models(model)) &&
    (unpriced !== 'refuse' || unpayable(call, quotasOf({ ...subject, model }), model) === undefined);

  const answeredBy = (subject: Subject, modelId: string, names: KeyNames = subject): Answering => {
    const of = subject.model === modelId ? subject : { ...subject, model: modelId };
    const quotas = quotasOf(of).map((rule) => ({ rule, key: keyOf(rule.per, { ...names, model: modelId }) }));
    return { model: models(modelId), quotas };
  };

  return {
    prices,
    priceOf,
    answeredBy,
    suits: (call, model, caller = NOBODY) => suitsCall(call, model, subjectOf(call, caller)),
    plan(call, scoped, instead) {
      const caller = scoped ?? NOBODY;
      const asked = subjectOf(call, caller);
      const { lane } = asked;
      const { user = ANONYMOUS, tenant, route } = caller;
      const names = { user, tenant, route };

      // Who forbids other models gets none; in shadow nothing that is sent may differ.
      const mayReroute = call.kind === 'messages' && caller.fallback !== false && !config.shadow;
      const rule = mayReroute ? routesOf(asked)[0] : undefined;
      // Another model that could not take the request would turn an answer into an error.
      const chosen = rule !== undefined && suitsCall(call, rule.model, asked) ? rule : undefined;
      const modelId = instead ?? (chosen?.if === 'always' ? chosen.model : call.model);
      const subject = modelId === call.model ? asked : { ...asked, model: modelId };
      const answering = answeredBy(subject, modelId, names);
      const { model, quotas } = answering;
      const rules = quotas.map(({ rule }) => rule);
      const unpaid = unpayable(call, rules, modelId);
      if (unpaid !== undefined) throw unpricedError(unpaid, rules, lane);
      const isMoneyCounted = countsMoney(answering);
      const pricedAs = (id: string) =>
        priceOf(id, isMoneyCounted || (id !== modelId && countsMoney(answeredBy(subject, id, names))));
      const ceiling = modelId === call.model ? undefined : model?.maxOutputTokens;
      const maxTokens = limitOutput(call, subject, capsOf, least(ceiling, caller.maxTokens), config.shadow);
      return {
        caller,
        isAnonymous: scoped === undefined,
        lane,
        flowKey: tenant === undefined ? compositeKey(user) : compositeKey(tenant, user),
        purpose: route ?? lane,
        modelId,
        reroutedFrom: modelId === call.model ? undefined : call.model,
        underPressure: instead === undefined && chosen?.if === 'pressure' ? chosen.model : undefined,
        fallbacks: mayReroute
          ? (fallbacks.find(({ matches }) => matches(call.model))?.models ?? []).filter((id) =>
              suitsCall(call, id, asked),
            )
          : [],
        model,
        price: pricedAs(modelId),
        priceOf: pricedAs,
        maxTokens,
        clampedFrom: maxTokens === call.maxTokens ? undefined : call.maxTokens,
        quotas,
        answeredBy: (id) => answeredBy(subject, id, names),
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

/** A user's key: of one without a tenant, as of one whose tenant is empty. */
export const userKey = (tenant: string | undefined, user: string): string => compositeKey(tenant ?? '', user);

/** Whose share of a quota a call draws on. Users of two tenants are two users, though they have one name. */
function keyOf(
  per: QuotaConfig['per'],
  { user, tenant, route, model }: KeyNames & Pick<Subject, 'model'>,
): string {
  switch (per) {
    case 'user':
      return userKey(tenant, user);
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

/** The model of the table that an id falls under; in bounded memory. */
function compileModels(): (id: string) => Model | undefined {
  const table = MODELS.map((model) => ({ model, matches: compileGlob(model.match) }));
  const known = new Map<string, Model | undefined>();
  return (id) => {
    if (known.has(id)) return known.get(id);
    const model = table.find(({ matches }) => matches(id))?.model;
    if (known.size < MAX_KNOWN_MODELS) known.set(id, model);
    return model;
  };
}

/** The prices that stand in the configuration itself, beside the name of the price file. */
export function inlinePrices({ prices }: Pick<Config, 'prices'>): PriceList {
  const { file: _, ...inline } = prices;
  return inline as PriceList;
}

function unpricedError(model: string, quotas: readonly QuotaRule[], lane: string): UnpricedError {
  const rule = quotas.find(({ usd, shadow }) => usd !== undefined && !shadow)?.name;
  return new UnpricedError(
    `model ${JSON.stringify(shortModel(model))} has no price, and rule "${rule}" counts money: set its price under \`prices\` or in the price file, or set \`unpriced\` to dearest or free`,
    { reason: 'unpriced', rule, lane },
  );
}
