// A line between clients and a server that a test can cut.

import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export class Line {
  readonly #sockets = new Set<Socket>();
  readonly #server;

  private constructor(to: URL) {
    this.#server = createServer((client) => {
      const server = connect(Number(to.port), to.hostname);
      for (const [from, other] of [[client, server], [server, client]] as const) {
        this.#sockets.add(from);
        from.on('error', () => undefined);
        from.on('close', () => {
          this.#sockets.delete(from);
          other.destroy();
        });
        from.pipe(other);
      }
    });
  }

  static async to(url: string): Promise<Line> {
    const line = new Line(new URL(url));
    await new Promise<void>((resolve) => line.#server.listen(0, '127.0.0.1', resolve));
    return line;
  }

  /** The same URL, by this line. */
  url(url: string): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return Object.assign(new URL(url), { hostname: address, port: String(port) }).href;
  }

  /** Every connection breaks, without a word to either side. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}
