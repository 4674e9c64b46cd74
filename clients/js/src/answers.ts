import type { Socket } from "socket.io-client";
import { AtriumError } from "./errors.js";

/** `signal` is aborted when the server takes the question back: it expired, or another connection answered. */
export interface Asked {
  signal: AbortSignal;
}

export interface AnswerOptions<Request = any> {
  /** The server did not wait for this question's answer, or its handler failed: why. */
  late?: ((request: Request, error: AtriumError) => void) | undefined;
}

export type Handler = (request: any, asked: Asked) => unknown;

/** As it was put: its ack means nothing on any connection but that one. */
export interface Put {
  request: any;
  ack: (answer: unknown) => void;
  engine: unknown;
}

interface Question extends Put {
  controller: AbortController;
  answer?: unknown;
}

const MOST_KEPT = 100;

/** The server's questions and their answers. One that is put again, after a drop, is the same question. */
export class Answers {
  #questions = new Map<string, Question>();
  #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("request_expired", (notice) => {
      const question = this.#questions.get(notice?.requestId);
      this.#questions.delete(notice?.requestId);
      if (question?.answer === undefined) question?.controller.abort();
    });
  }

  async take(put: Put, handler: Handler, late: AnswerOptions["late"]): Promise<void> {
    const { request } = put;
    const id = String(request?.requestId);
    const known = this.#questions.get(id);
    if (known) {
      Object.assign(known, put);
      this.#send(known);
      return;
    }
    const question: Question = { ...put, controller: new AbortController() };
    const { signal } = question.controller;
    signal.addEventListener("abort", () => late?.(request, new AtriumError("CLIENT_TIMEOUT")));
    this.#questions.set(id, question);
    for (const oldest of this.#questions.keys()) {
      if (this.#questions.size <= MOST_KEPT) break;
      this.#questions.delete(oldest);
    }
    try {
      const answer = await handler(request, { signal });
      question.answer = { ...(answer as object), requestId: request?.requestId };
      if (!signal.aborted) this.#send(question);
    } catch (cause) {
      this.#questions.delete(id);
      if (!signal.aborted) late?.(request, new AtriumError("INTERNAL", String(cause), { cause }));
    }
  }

  /** What was put on a connection that is gone will be put again, if it is open still. */
  #send({ answer, ack, engine }: Question): void {
    if (answer !== undefined && this.#socket.connected && this.#socket.io.engine === engine) ack(answer);
  }
}
