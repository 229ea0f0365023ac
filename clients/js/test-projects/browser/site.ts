// A web server for the files of one project. Passes `/api` on to Idlewild and records what the page reports.

import { readFile } from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { text } from 'node:stream/consumers';

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css', '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.json': 'application/json',
};

export class Site {
  readonly reports: string[] = [];
  /** Requests for files that do not exist, apart from the browser's own. */
  readonly missing: string[] = [];
  readonly #server = createServer((asked, answer) => { void this.#answer(asked, answer); });

  constructor(readonly directory: string, readonly idlewild: URL, readonly token: string) {}

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { pathname } = new URL(asked.url ?? '/', this.origin);
    if (pathname.startsWith('/api/')) {
      this.#passOn(asked, answer);
    } else if (pathname === '/token') {
      answer.end(this.token);
    } else if (pathname === '/report') {
      this.reports.push(await text(asked));
      answer.end();
    } else {
      await this.#file(pathname === '/' ? '/index.html' : pathname, answer);
    }
  }

  async #file(path: string, answer: ServerResponse): Promise<void> {
    try {
      const content = await readFile(join(this.directory, normalize(path)));
      answer.writeHead(200, { 'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(content);
    } catch {
      if (path !== '/favicon.ico') this.missing.push(path);
      answer.writeHead(404).end();
    }
  }

  #passOn(asked: IncomingMessage, answer: ServerResponse): void {
    const passed = request(new URL(asked.url ?? '/', this.idlewild), { method: asked.method, headers: asked.headers }, (got) => {
      answer.writeHead(got.statusCode ?? 502, got.headers);
      got.pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    asked.pipe(passed);
  }
}
