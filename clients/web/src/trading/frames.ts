/** One loop of animation frames for all that moves, and how evenly they came. It runs while there is something new, and
 * a second longer; a page at rest costs nothing.
 */

const REST_MS = 1000;
const SAMPLES = 600;
const LONG_MS = 50; // what the Long Animation Frames API calls long

export interface FrameFigures {
  /** Frames a second of this display. */
  readonly refresh: number;
  readonly frames: number;
  /** Display refreshes that passed without a frame. */
  readonly dropped: number;
  readonly longest: number; // ms
  /** Frames, or tasks where the browser knows no long frames, of more than 50 ms. */
  readonly long: number;
}

/** Told of frames that follow each other; a pause between them is not a frame that was dropped. */
export class FrameMeter {
  readonly #deltas = new Float32Array(SAMPLES);
  #frames = 0;
  #dropped = 0;
  #longest = 0;
  #long = 0;
  #last: number | undefined;
  #interval = 1000 / 60;

  frame(at: number): void {
    if (this.#last !== undefined) {
      const delta = at - this.#last;
      this.#deltas[this.#frames % SAMPLES] = delta;
      this.#frames++;
      if (this.#frames % 60 === 0) this.#interval = this.#typical();
      this.#dropped += Math.max(0, Math.round(delta / this.#interval) - 1);
      this.#longest = Math.max(this.#longest, delta);
    }
    this.#last = at;
  }

  pause(): void {
    this.#last = undefined;
  }

  tooLong(count: number): void {
    this.#long += count;
  }

  reset(): void {
    this.#frames = this.#dropped = this.#longest = this.#long = 0;
    this.#last = undefined;
  }

  get figures(): FrameFigures {
    return {
      refresh: Math.round(1000 / this.#interval),
      frames: this.#frames,
      dropped: this.#dropped,
      longest: this.#longest,
      long: this.#long,
    };
  }

  /** The display's interval: frames come in its multiples, so it is near the lower end. */
  #typical(): number {
    const sorted = this.#deltas.slice(0, Math.min(this.#frames, SAMPLES)).sort();
    return Math.max(4, sorted[Math.floor(sorted.length / 4)] ?? 1000 / 60);
  }
}

type Task = (at: number) => void;

export class Frames {
  readonly meter = new FrameMeter();
  readonly #tasks = new Set<Task>();
  readonly #observer: PerformanceObserver | undefined;
  #handle: number | undefined;
  #until = 0;

  constructor() {
    const type = ["long-animation-frame", "longtask"].find((each) =>
      PerformanceObserver.supportedEntryTypes.includes(each),
    );
    if (type !== undefined) {
      this.#observer = new PerformanceObserver((list) => {
        const long = list.getEntries().filter(({ duration }) => duration > LONG_MS).length;
        if (this.#handle !== undefined) this.meter.tooLong(long);
      });
      this.#observer.observe({ type });
    }
    document.addEventListener("visibilitychange", this.#shown);
  }

  /** Called in every frame of the loop. The result ends that. */
  add(task: Task): () => void {
    this.#tasks.add(task);
    return () => this.#tasks.delete(task);
  }

  /** There is something new to draw. */
  wake(): void {
    this.#until = performance.now() + REST_MS;
    this.#handle ??= requestAnimationFrame(this.#frame);
  }

  close(): void {
    if (this.#handle !== undefined) cancelAnimationFrame(this.#handle);
    this.#observer?.disconnect();
    document.removeEventListener("visibilitychange", this.#shown);
    this.#tasks.clear();
  }

  #frame = (at: number): void => {
    this.meter.frame(at);
    for (const task of this.#tasks) task(at);
    if (performance.now() < this.#until) {
      this.#handle = requestAnimationFrame(this.#frame);
    } else {
      this.#handle = undefined;
      this.meter.pause();
    }
  };

  #shown = (): void => this.meter.pause(); // a hidden page has no frames
}
