/**
 * The questions over a connection: one after another, so that whatever the server asks for on the way belongs to the one
 * that runs. What is asked for is answered from the person's data sets; the person is asked what only they know.
 */
import { AtriumError, type Connection, type ConnectionState, connect, isPassing } from "atrium-client";
import { freshToken } from "../../shell/identity";
import { hearNotices } from "../../shell/notices";
import { bytesOf } from "../data/answering";
import type { DataSets } from "../data/sets";
import { Observed } from "../observed";
import { type Asked, type Clarifying, type Exchange, isOpen } from "./asked";
import { asksMe } from "./consent";
import type { Thread } from "./thread";

export const PERSON_MS = 120_000; // as the server waits, unless it is set otherwise
export const DATA_MS = 10_000;
export const MOST_QUEUED = 10;
const TRIES = 3;
const QUERY_MS = 15_000;
const COUNTED_MS = 60_000;

/** What the person is asked, by the server or about it. `settle` is called once. */
export interface Prompt {
  readonly asked: Asked;
  readonly exchange: Exchange;
  readonly until: number;
  readonly settle: (answer: string | null) => void;
}

export interface Talk {
  readonly state: ConnectionState;
  readonly error: AtriumError | undefined;
  /** How many more may be asked now, as the server said last. */
  readonly remaining: number | null;
  /** When questions may be asked again, after too many. */
  readonly waitUntil: number | null;
  readonly clarifying: Prompt | null;
  readonly consent: Prompt | null;
}

export type Notice = (asked: Asked, exchange: Exchange) => void;

export class Conversation extends Observed<Talk> {
  readonly #connection: Connection<"/copilot">;
  readonly #thread: Thread;
  readonly #sets: DataSets;
  readonly #taken: Notice;
  readonly #clarifying = new Map<string, Prompt>();
  readonly #consents = new Map<string, Prompt>();
  readonly #allowed = new Set<string>(); // questions for which all may be sent
  readonly #toCancel = new Set<string>();
  #talk: Talk;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #counted: ReturnType<typeof setTimeout> | undefined;

  /** `taken`: the server waits no more for what the person was asked. */
  constructor(thread: Thread, sets: DataSets, taken: Notice) {
    super();
    this.#thread = thread;
    this.#sets = sets;
    this.#taken = taken;
    const connection = connect({ namespace: "/copilot", token: freshToken, policy: "copilot" });
    this.#connection = connection;
    hearNotices(connection);
    this.#talk = {
      state: connection.state,
      error: undefined,
      remaining: null,
      waitUntil: null,
      clarifying: null,
      consent: null,
    };
    const late = (request: { requestId: string }, error: AtriumError) => this.#late(request.requestId, error);
    connection.answer("request_available_data", (request, { signal }) => this.#data(request, signal), { late });
    connection.answer("request_api", (request, { signal }) => this.#rows(request, signal), { late });
    connection.answer("clarification_request", (request, { signal }) => this.#person(request, signal), { late });
    connection.on(
      "processing",
      ({ query_id, stage }) =>
        void this.#mine(query_id).then((asked) => {
          if (!asked || !isOpen(asked)) return;
          if (stage === "started") this.#forget(asked);
          const { steps } = this.#thread.find(query_id) ?? asked;
          this.#thread.change(query_id, { state: "running", steps: [...steps, { stage, at: Date.now() }] });
        }),
    );
    connection.on(
      "response",
      (answer) =>
        void this.#mine(answer.query_id).then((asked) => {
          if (asked && isOpen(asked)) this.#end(asked, { state: "answered", answer });
        }),
    );
    connection.on("error", (error) => void this.#failed(error));
    connection.onState((state) => this.#became(state));
  }

  readonly snapshot = () => this.#talk;

  ask(text: string): Asked {
    const asked = this.#thread.add(text.trim());
    this.#next();
    return asked;
  }

  cancel(id: string): void {
    const asked = this.#thread.find(id);
    if (asked === undefined || !isOpen(asked)) return;
    if (asked.state !== "queued") this.#cancel(id);
    this.#end(asked, { state: "cancelled" });
  }

  retry(): void {
    this.#connection.retry();
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#counted);
    this.#thread.flush();
    this.#connection.close();
  }

  // -- questions ------------------------------------------------------------------------------------------------------

  #next(): void {
    const { waitUntil, state } = this.#talk;
    if (waitUntil !== null || state !== "connected" || this.#thread.running || this.#toCancel.size) return;
    const { next } = this.#thread;
    if (next) void this.#put(next.id);
  }

  /** Put again it is the same query: the server knows it by its id, or begins anew. */
  async #put(id: string): Promise<void> {
    const asked = this.#thread.find(id);
    if (asked === undefined || !isOpen(asked)) return;
    this.#thread.change(id, { state: "sending", tries: asked.tries + 1 });
    const begun = asked.steps.length;
    try {
      const { remaining } = await this.#connection.call(
        "query",
        { text: asked.text, query_id: id },
        { timeout: QUERY_MS },
      );
      this.#left(remaining ?? null);
      const now = this.#thread.find(id);
      if (!now || !isOpen(now)) return;
      const again = begun > 0 && now.steps[begun]?.stage !== "again";
      const steps = again
        ? [...now.steps.slice(0, begun), { stage: "again" as const, at: Date.now() }, ...now.steps.slice(begun)]
        : now.steps;
      this.#thread.change(id, { state: "running", steps });
    } catch (cause) {
      this.#refused(id, cause instanceof AtriumError ? cause : new AtriumError("INTERNAL", String(cause)));
    }
  }

  #refused(id: string, error: AtriumError): void {
    const asked = this.#thread.find(id);
    if (asked === undefined || !isOpen(asked)) return;
    if (error.code === "CONFLICT") {
      this.#thread.change(id, { state: "running" }); // it goes on
    } else if (error.code === "RATE_LIMITED" && error.closeCode === undefined) {
      this.#thread.change(id, { state: "queued", tries: 0 });
      this.#wait(error.retryAfter ?? 60_000);
    } else if (isPassing(error) && error.code !== "INTERNAL" && this.#talk.state !== "connected") {
      // it is put again as soon as there is a connection
    } else if (error.code === "TIMEOUT" && asked.tries < TRIES) {
      void this.#put(id);
    } else if (error.code === "CONNECTION_LOST" && asked.tries < 2 * TRIES) {
      void this.#put(id);
    } else {
      this.#end(asked, { state: "failed", fault: { code: error.code, message: error.message } });
    }
  }

  /** It is true for as long as the server counts. */
  #left(remaining: number | null): void {
    this.#tell({ remaining });
    clearTimeout(this.#counted);
    this.#counted = setTimeout(() => this.#tell({ remaining: null }), COUNTED_MS);
  }

  #wait(milliseconds: number): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#counted);
    this.#tell({ waitUntil: Date.now() + milliseconds, remaining: 0 });
    this.#timer = setTimeout(() => {
      this.#tell({ waitUntil: null, remaining: null });
      this.#next();
    }, milliseconds);
  }

  #end(asked: Asked, change: Partial<Asked>): void {
    this.#forget(asked);
    this.#allowed.delete(asked.id);
    this.#thread.change(asked.id, { ...change, until: Date.now() });
    this.#thread.flush();
    this.#next();
  }

  /** What was asked for it need not be answered any more: it ended, or it began anew after its server was lost. */
  #forget({ id }: Asked): void {
    for (const prompts of [this.#clarifying, this.#consents]) {
      for (const [requestId, prompt] of prompts) if (prompt.asked.id === id) prompts.delete(requestId);
    }
    for (const exchange of this.#thread.find(id)?.exchanges ?? []) {
      if (exchange.outcome === "open")
        this.#thread.exchange(id, { ...exchange, outcome: "expired", until: Date.now() });
    }
    this.#prompted();
  }

  /** No other question begins before the server has given this one up: its requests would seem to be the other's. */
  #cancel(id: string): void {
    this.#toCancel.add(id);
    const done = () => {
      this.#toCancel.delete(id);
      this.#next();
    };
    this.#connection.call("cancel", { query_id: id }).then(done, (error: AtriumError) => {
      if (error.code !== "NOT_CONNECTED" && error.code !== "CONNECTION_LOST") done(); // it does not run any more
    });
  }

  async #failed(error: { code: string; message: string; query_id?: string; requestId?: string }): Promise<void> {
    if (error.query_id !== undefined) {
      const asked = await this.#mine(error.query_id);
      if (!asked || !isOpen(asked)) return;
      if (error.code === "GOING_AWAY" && asked.tries < TRIES) {
        this.#thread.change(asked.id, { state: "sending" });
        if (this.#talk.state === "connected") void this.#put(asked.id);
      } else if (error.code === "CANCELLED") {
        this.#end(asked, { state: "cancelled" });
      } else {
        this.#end(asked, { state: "failed", fault: { code: error.code, message: error.message } });
      }
    } else if (error.requestId !== undefined) {
      const asked = this.#of(error.requestId);
      const exchange = asked?.exchanges.find((each) => each.requestId === error.requestId);
      if (asked && exchange)
        this.#thread.exchange(asked.id, { ...exchange, fault: `${error.message} (${error.code})` });
    }
  }

  #became(state: ConnectionState): void {
    this.#tell({ state, error: this.#connection.error });
    if (state !== "connected") return;
    for (const id of this.#toCancel) this.#cancel(id);
    const { running } = this.#thread;
    if (running && (!this.#connection.recovered || running.state === "sending")) void this.#put(running.id);
    else this.#next();
  }

  // -- what the server asks for -----------------------------------------------------------------------------------------

  async #data({ requestId, query }: { requestId: string; query: string }, signal: AbortSignal) {
    const asked = await this.#whose(requestId, query);
    const exchange = this.#begin(asked, { requestId, kind: "data", question: query });
    const datasets = this.#sets.offered();
    const payload = { datasets } as { datasets: { name: string }[] };
    return this.#send(asked.id, { ...exchange, count: datasets.length, bytes: bytesOf(payload) }, payload, signal);
  }

  async #rows(
    { requestId, dataset, params }: { requestId: string; dataset: string; params: Record<string, unknown> },
    signal: AbortSignal,
  ) {
    const asked = await this.#whose(requestId);
    const exchange = this.#begin(asked, { requestId, kind: "rows", dataset, params });
    const left = [...new Set(asked.exchanges.flatMap((each) => (each.dataset === dataset ? (each.left ?? []) : [])))];
    const page = await this.#sets.answer(dataset, params, left);
    const payload = { data: page.rows as Record<string, unknown>[] };
    return this.#send(
      asked.id,
      { ...exchange, count: page.rows.length, bytes: bytesOf(payload), left: page.left },
      payload,
      signal,
    );
  }

  async #person({ requestId, question, options }: Clarifying, signal: AbortSignal) {
    const asked = await this.#whose(requestId);
    const exchange = this.#begin(asked, { requestId, kind: "person", question, options });
    const answer = await this.#prompt(this.#clarifying, asked, exchange, PERSON_MS, signal);
    if (answer === null) throw new AtriumError("CANCELLED", "Not answered");
    const payload = { answer };
    await this.#sent(asked.id, { ...exchange, answer, bytes: bytesOf(payload) }, payload);
    return payload;
  }

  #begin(asked: Asked, request: Pick<Exchange, "requestId" | "kind"> & Partial<Exchange>): Exchange {
    const known = asked.exchanges.find((each) => each.requestId === request.requestId);
    const exchange: Exchange = { at: Date.now(), outcome: "open", until: null, ...known, ...request };
    this.#thread.exchange(asked.id, exchange);
    return exchange;
  }

  async #send<P>(id: string, exchange: Exchange, payload: P, signal: AbortSignal): Promise<P> {
    const asked = this.#thread.find(id);
    if (asks(asked) && !this.#allowed.has(id)) {
      this.#thread.exchange(id, { ...exchange, outcome: "open" });
      const said = await this.#prompt(this.#consents, asked, exchange, DATA_MS, signal);
      if (said === "all") this.#allowed.add(id);
      if (said === null) {
        this.#thread.exchange(id, { ...exchange, outcome: "denied", until: Date.now() });
        this.#stop(id, { code: "DENIED", message: "" });
        throw new AtriumError("CANCELLED", "Not allowed");
      }
    }
    await this.#sent(id, exchange, payload);
    return payload;
  }

  async #sent(id: string, exchange: Exchange, payload: unknown): Promise<void> {
    const kept = await this.#thread.keep(id, exchange.requestId, payload);
    this.#thread.exchange(id, { ...exchange, outcome: "sent", until: Date.now(), kept });
  }

  /** Resolves to what the person says; never, where the server or the person gives the question up. */
  #prompt(
    prompts: Map<string, Prompt>,
    asked: Asked,
    exchange: Exchange,
    milliseconds: number,
    signal: AbortSignal,
  ): Promise<string | null> {
    return new Promise((resolve) => {
      const { requestId } = exchange;
      const end = () => {
        prompts.delete(requestId);
        this.#prompted();
      };
      signal.addEventListener("abort", end);
      prompts.set(requestId, {
        asked,
        exchange,
        until: exchange.at + milliseconds,
        settle: (answer) => {
          if (!prompts.has(requestId)) return;
          end();
          resolve(answer);
        },
      });
      this.#prompted();
    });
  }

  /** The server did not wait, or there is no answer that could be sent. */
  #late(requestId: string, error: AtriumError): void {
    const asked = this.#of(requestId);
    const exchange = asked?.exchanges.find((each) => each.requestId === requestId);
    if (!asked || exchange?.outcome !== "open") return;
    const expired = error.code === "CLIENT_TIMEOUT";
    const ended: Exchange = {
      ...exchange,
      outcome: expired ? "expired" : "failed",
      until: Date.now(),
      ...(!expired && { fault: error.message }),
    };
    this.#thread.exchange(asked.id, ended);
    if (!expired)
      this.#stop(asked.id, { code: /too wide/.test(error.message) ? "TOO_WIDE" : "DATA_GONE", message: error.message });
    else if (isOpen(asked) && exchange.kind === "person") this.#taken(asked, ended);
  }

  /** A question that cannot be gone on with: the server need not wait. */
  #stop(id: string, fault: { code: string; message: string }): void {
    const asked = this.#thread.find(id);
    if (asked === undefined || !isOpen(asked)) return;
    this.#cancel(id);
    this.#end(asked, { state: "failed", fault });
  }

  #of(requestId: string): Asked | undefined {
    return this.#thread.snapshot().find((asked) => asked.exchanges.some((each) => each.requestId === requestId));
  }

  /** Requests do not name their question: it is the one that runs, or one of a window that is gone. Rejects for one that ended. */
  async #whose(requestId: string, query?: string): Promise<Asked> {
    const means = (asked: Asked) => query === undefined || asked.text === query.trim();
    const known = this.#of(requestId);
    if (known && (isOpen(known) || known.state === "elsewhere")) return known;
    const { running } = this.#thread;
    if (!known && running && means(running)) return running;
    if (known) this.#cancel(known.id);
    if (known || this.#toCancel.size) throw new AtriumError("CANCELLED", "The question was cancelled"); // nothing is sent for it
    const adopted = await this.#thread.adopt(means);
    if (adopted) return adopted;
    const elsewhere = this.#thread.snapshot().find((asked) => asked.state === "elsewhere" && means(asked));
    return elsewhere ?? this.#thread.add(query ?? "", "elsewhere");
  }

  async #mine(id: string): Promise<Asked | undefined> {
    return this.#thread.find(id) ?? (await this.#thread.adopt((asked) => asked.id === id));
  }

  // -- what is shown ----------------------------------------------------------------------------------------------------

  #prompted(): void {
    const first = (prompts: Map<string, Prompt>) => prompts.values().next().value ?? null;
    this.#tell({ clarifying: first(this.#clarifying), consent: first(this.#consents) });
  }

  #tell(change: Partial<Talk>): void {
    this.#talk = { ...this.#talk, ...change };
    this.changed();
  }
}

const asks = (asked: Asked | undefined): asked is Asked => asked !== undefined && asksMe.value === "ask";
