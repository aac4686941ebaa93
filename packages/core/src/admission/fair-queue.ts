import { Heap, type HeapEntry, NOT_IN_HEAP } from '../heap.ts';
import { LinkedSet } from '../linked-set.ts';
import { PrefixSums } from '../prefix-sums.ts';

/** What waits in a fair queue. */
export interface Queued {
  /** Whose it is: users share the queue evenly, whatever the number and size of their calls. */
  readonly flowKey: string;
  /** What serving it takes, in milliseconds of the scarcest bucket. */
  readonly cost: number;
}

interface Flow<T> extends HeapEntry {
  readonly key: string;
  /** Counts up as users join the queue: among equals the first is first. */
  order: number;
  /** Virtual time at which the flow's next call starts. */
  start: number;
  /** Virtual time up to which the flow has been served. */
  finish: number;
  /** What its calls have cost more than was thought, not yet put on its account. */
  debt: number;
  /** What its calls were thought to cost and what they did, the old ones fading. */
  thought: number;
  actual: number;
  /** In order of arrival. */
  readonly waiting: LinkedSet<T>;
  /** Calls taken back to the front: a retry keeps its turn. */
  readonly front: LinkedSet<T>;
}

/**
 * Start-time fair queueing between the users of one lane. Each user has a virtual time that advances by the cost of
 * what it was given; the one who is least far along comes next. A user who comes back after a pause starts at the
 * lane's own time, so idling earns no credit. What a call really cost is known only at its end, and is then put
 * right. A user with nothing waiting whose time is not ahead of the lane's is as good as a stranger and is forgotten, so
 * memory follows what waits and not who ever came. The service of two waiting users never differs by more than the
 * cost of one call of each, and the errors of the estimates in flight.
 */
export class FairQueue<T extends Queued> {
  readonly #flows = new Map<string, Flow<T>>();
  readonly #backlogged = new Heap<Flow<T>>(
    (a, b) => a.start < b.start || (a.start === b.start && a.order < b.order),
  );
  /** Users with nothing waiting whose time is ahead of the lane's: forgotten when it has caught up. */
  readonly #ahead = new Heap<Flow<T>>((a, b) => a.finish < b.finish);
  /** At n: users with more than n calls waiting. Says how much stands before a newcomer's n-th call. */
  readonly #depths = new PrefixSums();
  #time = 0;
  #order = 0;
  #epoch = 0;
  #size = 0;
  #cost = 0;

  get size(): number {
    return this.#size;
  }

  /** Users that are remembered. */
  get flows(): number {
    return this.#flows.size;
  }

  /** Mean cost of what waits. */
  get meanCost(): number {
    return this.#size === 0 ? 0 : this.#cost / this.#size;
  }

  backlogOf(flowKey: string): number {
    const flow = this.#flows.get(flowKey);
    return flow === undefined ? 0 : depthOf(flow);
  }

  /** Counts the times that the queue became empty: what was charged before is forgotten. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Users with calls waiting. */
  get users(): number {
    return this.#backlogged.size;
  }

  /**
   * Where the next call of this user would stand: the calls before it, of each other user no more than this user has
   * itself, and the rounds until its turn, of which each takes the lane's time as far as one call does. What the user
   * was served ahead of the others counts like calls that it has waiting.
   */
  placeOf(flowKey: string): { ahead: number; rounds: number } {
    const flow = this.#flows.get(flowKey);
    if (flow === undefined || this.#size === 0) return { ahead: this.#depths.upTo(0), rounds: 0 };
    const own = depthOf(flow);
    const lead = Math.max(0, (own > 0 ? flow.start : flow.finish) - this.#time);
    const rounds = own + lead / Math.max(1e-9, this.meanCost);
    return { ahead: Math.min(this.#depths.upTo(Math.floor(rounds)), this.#size), rounds };
  }

  push(call: T, options: { front?: boolean } = {}): void {
    let flow = this.#flows.get(call.flowKey);
    if (flow === undefined) {
      flow = {
        key: call.flowKey,
        order: 0,
        start: 0,
        finish: this.#time,
        debt: 0,
        thought: 0,
        actual: 0,
        waiting: new LinkedSet(),
        front: new LinkedSet(),
        heapIndex: NOT_IN_HEAP,
      };
      this.#flows.set(call.flowKey, flow);
    }
    const depth = depthOf(flow);
    (options.front === true ? flow.front : flow.waiting).add(call);
    this.#depths.add(depth, 1);
    this.#size++;
    this.#cost += call.cost;
    if (depth === 0) {
      this.#ahead.remove(flow);
      flow.start = Math.max(this.#time, flow.finish);
      flow.order = this.#order++;
      this.#backlogged.push(flow);
    }
  }

  /** All that wait, in no set order. */
  all(): T[] {
    return [...this.#flows.values()].flatMap(({ front, waiting }) => [...front.all(), ...waiting.all()]);
  }

  /** The call whose turn it is. */
  peek(): T | undefined {
    const flow = this.#backlogged.peek();
    return flow === undefined ? undefined : firstOf(flow);
  }

  /** The first call of each of the next users, up to `limit`, in the order of their turn. */
  *peekFlows(limit: number): Generator<T> {
    const taken: Flow<T>[] = [];
    try {
      while (taken.length < limit) {
        const flow = this.#backlogged.pop();
        if (flow === undefined) break;
        taken.push(flow);
        const call = firstOf(flow);
        if (call !== undefined) yield call;
      }
    } finally {
      // However the reader stops, the order is as it was. A flow that it emptied meanwhile stays out.
      for (const flow of taken)
        if (flow.heapIndex === NOT_IN_HEAP && depthOf(flow) > 0) this.#backlogged.push(flow);
    }
  }

  /**
   * Takes a call out because it is served: its user's time advances, and so does the lane's. `thought`: what it is
   * thought to cost by now. Gives what was charged: the same, as far as this user's calls cost what they are thought to.
   */
  serve(call: T, thought: number = call.cost): number {
    const flow = this.#flows.get(call.flowKey);
    if (flow === undefined || !this.#take(flow, call)) return thought;
    const cost = thought * ratioOf(flow, thought);
    // The lane's time advances as far as everybody who waits would get of this service. With the start of the call
    // alone it would stand still while ever new users come, and whoever has been served once would wait for ever.
    this.#time = Math.max(flow.start, this.#time + cost / Math.max(1, this.#backlogged.size));
    const paid = Math.max(0, cost + flow.debt);
    // What was charged too much and is more than this call is paid back with the next ones.
    flow.debt += cost - paid;
    flow.finish = flow.start + paid;
    flow.start = flow.finish;
    this.#settleFlow(flow);
    return cost;
  }

  /**
   * A call was thought to cost `thought` and did cost `actual`. Estimates are of all users together; who makes larger
   * calls than others would be charged too little for as long as they run, and then be shut out until it is paid.
   */
  learn(flowKey: string, thought: number, actual: number): void {
    const flow = this.#flows.get(flowKey);
    if (flow === undefined || !(thought > 0)) return;
    flow.thought = FADE * flow.thought + thought;
    flow.actual = FADE * flow.actual + actual;
  }

  /** Takes a call out unserved: it is as if it had never come. */
  remove(call: T): boolean {
    const flow = this.#flows.get(call.flowKey);
    if (flow === undefined || !this.#take(flow, call)) return false;
    this.#settleFlow(flow);
    return true;
  }

  /**
   * A call has cost `delta` more than was thought. The user's first waiting call keeps the place that it was given, and
   * was told the wait for; those after it pay.
   */
  correct(flowKey: string, delta: number): void {
    const flow = this.#flows.get(flowKey);
    if (flow === undefined) return;
    if (depthOf(flow) > 0) flow.debt += delta;
    else {
      flow.finish += delta;
      this.#ahead.update(flow);
      this.#forgetCaughtUp();
    }
  }

  /** The user's next call starts `lead` after the queue's time: it may have been served by another process. */
  lead(flowKey: string, lead: number): void {
    const flow = this.#flows.get(flowKey);
    if (flow === undefined || depthOf(flow) === 0) return;
    flow.start = this.#time + lead;
    this.#backlogged.update(flow);
  }

  #take(flow: Flow<T>, call: T): boolean {
    if (!flow.front.delete(call) && !flow.waiting.delete(call)) return false;
    this.#depths.add(depthOf(flow), -1);
    this.#size--;
    // Sums of many costs leave dust; an empty queue has none.
    this.#cost = this.#size === 0 ? 0 : Math.max(0, this.#cost - call.cost);
    return true;
  }

  #settleFlow(flow: Flow<T>): void {
    if (depthOf(flow) > 0) this.#backlogged.update(flow);
    else {
      this.#backlogged.remove(flow);
      flow.finish += flow.debt;
      flow.debt = 0;
      this.#ahead.push(flow);
    }
    // With nobody waiting there is nobody to be fair to: all start afresh.
    if (this.#size === 0) this.#time = Number.POSITIVE_INFINITY;
    this.#forgetCaughtUp();
    if (this.#size > 0) return;
    this.#time = 0;
    this.#epoch++;
  }

  #forgetCaughtUp(): void {
    for (
      let flow = this.#ahead.peek();
      flow !== undefined && flow.finish <= this.#time;
      flow = this.#ahead.peek()
    ) {
      this.#ahead.pop();
      this.#flows.delete(flow.key);
    }
  }
}

/** Of what a user's calls did cost, what each call before counts for. */
const FADE = 0.98;
/** As many calls as thought are taken to have been seen: the first one says little. */
const PRIOR = 1;

function ratioOf<T>({ thought, actual }: Flow<T>, next: number): number {
  const prior = PRIOR * next;
  return thought === 0 ? 1 : (prior + actual) / (prior + thought);
}

const depthOf = <T>(flow: Flow<T>) => flow.front.size + flow.waiting.size;

function firstOf<T>(flow: Flow<T>): T | undefined {
  return flow.front.first ?? flow.waiting.first;
}
