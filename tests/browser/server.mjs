// The real server on free ports, and the requests that tests send outside of the browser.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { BASE, binary, logOf } from "./support.mjs";

/**
 * Starts `idlewild serve --dev` with additional options and variables, and waits until it serves. It keeps its secrets
 * in a directory of its own, so each server has another API key.
 */
export async function startDevServer({ options = [], admin = "127.0.0.1:0", env = {} } = {}) {
  const cwd = mkdtempSync(join(tmpdir(), "idlewild-"));
  const child = spawn(resolve(binary()), [
    "serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", admin, ...options,
  ], { stdio: ["ignore", "ignore", "pipe"], env, cwd });
  const log = logOf(child);
  const told = async (pattern) => (await log.says(pattern))[1];
  const ended = log.ended.finally(() => rmSync(cwd, { recursive: true }));
  return new Server(child, log, ended, {
    public: `http://${await told(/public listener.* endpoint=(\S+)\s/)}`,
    admin: `http://${await told(/admin listener.* endpoint=(\S+)\s/)}`,
    key: await told(/development API key: (\S+)\s/),
  });
}

class Server {
  constructor(child, log, ended, told) {
    this.child = child;
    /** The process that serves. */
    this.pid = child.pid;
    this.log = log;
    this.ended = ended;
    Object.assign(this, told);
  }

  /** Sends a request to the admin listener; returns its JSON. */
  async ask(method, path, body) {
    const response = await fetch(this.admin + path, {
      method,
      headers: { Authorization: `Bearer ${this.key}` },
      body: body && JSON.stringify(body),
    });
    return response.json();
  }

  /** Logs the development user in; returns the token. */
  async logIn() {
    const response = await fetch(`${this.public}${BASE}/login/`, {
      method: "POST",
      body: JSON.stringify({ email: "user@example.com", password: "password" }),
    });
    return (await response.json()).access;
  }

  /** Opens a stream with this query; returns its status and, in `text`, what it has received. */
  async stream(query, base = BASE) {
    const stop = new AbortController();
    const response = await fetch(`${this.public}${base}/sse/notifications/?${query}`, { signal: stop.signal });
    const stream = { status: response.status, text: "", close: () => stop.abort() };
    stream.ended = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of response.body) stream.text += decoder.decode(chunk, { stream: true });
    })().catch(() => {});
    return stream;
  }

  /** Hands over to a new process, once. */
  async upgrade() {
    process.kill(this.pid, "SIGUSR2");
    this.pid = Number((await this.log.says(/ upgraded pid=(\d+)/))[1]);
  }

  /** Ends the server, and waits until it has ended. A second call only waits. */
  async stop() {
    if (!this.isStopping) process.kill(this.pid, "SIGTERM");
    this.isStopping = true;
    await this.ended;
  }
}
