// The real binary on free ports, and the requests that a test makes beside the browser.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { binary } from "./support.mjs";

/** How long the server may take to start. */
const PATIENCE_MS = 20_000;

/** Starts `idlewild serve --dev` with options and variables beside, and waits until it serves. */
export async function startServer({ options = [], admin = "127.0.0.1:0", env = {} } = {}) {
  const child = spawn(binary(), [
    "serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", admin, ...options,
  ], { stdio: ["ignore", "ignore", "pipe"], env });
  const server = new Server(child);
  const late = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
  for await (const line of createInterface({ input: child.stderr })) {
    server.read(line);
    if (server.isServing()) break;
  }
  clearTimeout(late);
  if (!server.isServing()) throw new Error(`the server did not start:\n${server.log.join("\n")}`);
  child.stderr.resume();
  return server;
}

class Server {
  log = [];

  constructor(child) {
    this.child = child;
    this.ended = once(child, "exit");
  }

  read(line) {
    this.log.push(line);
    this.key ??= line.match(/development API key: (\S+)/)?.[1];
    const [, listener, address] = line.match(/(public|admin) listener.* endpoint=(\S+)/) ?? [];
    if (listener) this[listener] = `http://${address}`;
  }

  isServing() {
    return Boolean(this.key && this.public && this.admin);
  }

  /** A request on the admin listener; its JSON. */
  async ask(method, path, body) {
    const response = await fetch(this.admin + path, {
      method,
      headers: { Authorization: `Bearer ${this.key}` },
      body: body && JSON.stringify(body),
    });
    return response.json();
  }

  /** Logs the development user in; the token. */
  async logIn() {
    const response = await fetch(`${this.public}/api/v1/auth/login/`, {
      method: "POST",
      body: JSON.stringify({ email: "user@example.com", password: "password" }),
    });
    return (await response.json()).access;
  }

  /** An open stream with this query: its status, and what came in `text`. */
  async stream(query) {
    const stop = new AbortController();
    const response = await fetch(`${this.public}/api/v1/auth/sse/notifications/?${query}`, { signal: stop.signal });
    const stream = { status: response.status, text: "", close: () => stop.abort() };
    stream.ended = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of response.body) stream.text += decoder.decode(chunk, { stream: true });
    })().catch(() => {});
    return stream;
  }

  async stop() {
    this.child.kill("SIGTERM");
    await this.ended;
  }
}
