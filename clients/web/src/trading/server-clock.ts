/** The server's clock as far as it can be told from here: this machine's may be off by a day, and may be set meanwhile. */

/** Asks the server for its time, as milliseconds since the epoch. */
type Ask = () => Promise<number>;

const SAMPLES = 5;

export class ServerClock {
  /** From `performance.now()`, which nobody sets, to the server's time; of the quickest answer so far. */
  #offset: number | undefined;
  #roundTrip = Number.POSITIVE_INFINITY;

  constructor(private readonly elapsed: () => number = () => performance.now()) {}

  /** Undefined until it was told. */
  now(): number | undefined {
    return this.#offset === undefined ? undefined : this.elapsed() + this.#offset;
  }

  /** By what the server says as it greets: too early by the way here, until `measure` knows better. */
  greeted(serverTime: number): void {
    this.#roundTrip = Number.POSITIVE_INFINITY; // perhaps of another node
    if (!Number.isNaN(serverTime)) this.#offset = serverTime - this.elapsed();
  }

  /** Of several answers the quickest says it best: half of its round trip is the way here. */
  async measure(ask: Ask): Promise<void> {
    for (let sample = 0; sample < SAMPLES; sample++) {
      const asked = this.elapsed();
      const said = await ask();
      const roundTrip = this.elapsed() - asked;
      if (Number.isNaN(said) || roundTrip > this.#roundTrip) continue;
      this.#roundTrip = roundTrip;
      this.#offset = said - (asked + roundTrip / 2);
    }
  }
}
