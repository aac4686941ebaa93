import { isRecord } from '../json.ts';
import type { MessageBody } from '../request/read.ts';
import { addContent, type Cleared, type InputFeatures, noFeatures } from './content.ts';
import { countTokens } from './kinds.ts';

/** A message that is in the prompt; `cut` blocks at its beginning are not. */
export interface PromptMessage {
  readonly role: unknown;
  readonly content: unknown;
  readonly cut: number;
}

/** Defaults of the API for clearing tool results: from so many input tokens on, and so many tool uses are kept. */
const TRIGGER_TOKENS = 100_000;
const KEPT_USES = 3;
const KEPT_TURNS = 1;

/**
 * What `context_management` takes out of these messages: old tool results, once the prompt has grown to its trigger, and
 * the thinking of earlier turns. Nothing where nothing is asked for. Pure.
 */
export function clearedBy(
  { context_management: management }: MessageBody,
  messages: readonly PromptMessage[],
  before: InputFeatures,
): Cleared | undefined {
  if (!isRecord(management) || !Array.isArray(management.edits)) return undefined;
  const cleared = new Set<unknown>();
  for (const edit of management.edits.filter(isRecord)) {
    if (edit.type === 'clear_thinking_20251015') clearThinking(edit, messages, cleared);
    if (edit.type === 'clear_tool_uses_20250919') clearToolUses(edit, messages, before, cleared);
  }
  return cleared;
}

const blocksOf = ({ content, cut }: PromptMessage): Record<string, unknown>[] =>
  Array.isArray(content) ? content.slice(cut).filter(isRecord) : [];

function clearThinking(
  { keep }: Record<string, unknown>,
  messages: readonly PromptMessage[],
  cleared: Set<unknown>,
): void {
  if (keep === 'all' || (isRecord(keep) && keep.type === 'all')) return;
  let left = isRecord(keep) && typeof keep.value === 'number' ? keep.value : KEPT_TURNS;
  for (const message of messages.toReversed()) {
    const thinking = blocksOf(message).filter(
      ({ type }) => type === 'thinking' || type === 'redacted_thinking',
    );
    if (message.role !== 'assistant' || thinking.length === 0) continue;
    if (left-- <= 0) for (const block of thinking) cleared.add(block);
  }
}

function clearToolUses(
  edit: Record<string, unknown>,
  messages: readonly PromptMessage[],
  before: InputFeatures,
  cleared: Set<unknown>,
): void {
  const blocks = messages.flatMap(blocksOf);
  const uses = blocks.filter(({ type }) => type === 'tool_use');
  const trigger = isRecord(edit.trigger) ? edit.trigger : {};
  const from = typeof trigger.value === 'number' ? trigger.value : TRIGGER_TOKENS;
  const reached = trigger.type === 'tool_uses' ? uses.length : tokensOf(messages, before, cleared);
  if (reached < from) return;
  const excluded = new Set(Array.isArray(edit.exclude_tools) ? edit.exclude_tools : []);
  const kept = isRecord(edit.keep) && typeof edit.keep.value === 'number' ? edit.keep.value : KEPT_USES;
  const old = uses.slice(0, Math.max(0, uses.length - kept)).filter(({ name }) => !excluded.has(name));
  const ids = new Set(old.map(({ id }) => id));
  const goes = blocks.filter(({ type, tool_use_id: id }) => type === 'tool_result' && ids.has(id));
  if (edit.clear_tool_inputs === true) goes.push(...old);
  const least = isRecord(edit.clear_at_least) ? edit.clear_at_least.value : undefined;
  if (
    typeof least === 'number' &&
    tokensOf([{ role: '', content: goes, cut: 0 }], noFeatures(), undefined) < least
  )
    return;
  for (const block of goes) cleared.add(block);
}

function tokensOf(
  messages: readonly PromptMessage[],
  before: InputFeatures,
  cleared: Cleared | undefined,
): number {
  const features = { ...before };
  for (const { content, cut } of messages) addContent(content, features, cut, cleared);
  return countTokens(features, 'newer');
}
