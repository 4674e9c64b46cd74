// Between a client and whichever node it is told: so that links can be lost, and what goes through them seen.
import { createServer, connect as dial, type Socket, type Server as TcpServer } from "node:net";
import { onTestFinished } from "vitest";
import type { Server } from "./server.js";

export class Relay {
  readonly url: string;
  /** Whether a new connection is refused, by the head of its first request. */
  refuses: (head: string) => boolean = () => false;
  /** Whether what a server sends is thrown away: the client waits in vain. */
  mutes = false;
  #pairs = new Set<[Socket, Socket]>();

  private constructor(
    tcp: TcpServer,
    public target: Server,
  ) {
    this.url = `http://127.0.0.1:${(tcp.address() as { port: number }).port}`;
  }

  /** Ended with the test. */
  static async to(target: Server): Promise<Relay> {
    const tcp = createServer();
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    const relay = new Relay(tcp, target);
    tcp.on("connection", (socket) => relay.#join(socket));
    onTestFinished(() => {
      tcp.close();
      relay.cut();
    });
    return relay;
  }

  /** All links are lost. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Nothing is read from the servers: what they send backs up. */
  pauses(paused: boolean): void {
    for (const [, server] of this.#pairs) server[paused ? "pause" : "resume"]();
  }

  #join(client: Socket): void {
    client.on("error", () => {});
    client.once("data", (head) => {
      if (this.refuses(head.toString("latin1"))) {
        client.destroy();
        return;
      }
      const server = dial(this.target.port, "127.0.0.1");
      const pair: [Socket, Socket] = [client, server];
      this.#pairs.add(pair);
      server.on("error", () => {});
      server.write(head);
      client.on("data", (data) => server.write(data));
      server.on("data", (data) => this.mutes || client.write(data));
      for (const [one, other] of [pair, [server, client] as const]) {
        one.on("close", () => {
          this.#pairs.delete(pair);
          other.destroy();
        });
      }
    });
  }
}
