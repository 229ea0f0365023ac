// The guide's application (clients/examples/guide), started as its README says and controlled from outside.

import { spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { request } from "node:http";
import { fileURLToPath } from "node:url";

const EXAMPLE = fileURLToPath(new URL("../../clients/examples/guide/", import.meta.url));

/** Starts Idlewild, Django and nginx on a free port, with their own files, under a path with a space, as in many homes. */
export async function startExample({ tokenSeconds = 900 } = {}) {
  const run = mkdtempSync(join(tmpdir(), "guide run-"));
  const port = await freePort();
  const start = spawn(join(EXAMPLE, "start"), ["--port", String(port), "--run", run], {
    env: { ...process.env, GUIDE_TOKEN_SECONDS: String(tokenSeconds) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = [];
  let pid;
  let wake = () => {};
  for (const stream of [start.stdout, start.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      said.push(line);
      pid = /idlewild runs, pid (\d+)/.exec(line)?.[1] ?? pid;
      wake();
    });
  }
  const ended = once(start, "exit").then(() => wake());
  const until = async (is) => {
    while (!is()) {
      if (start.exitCode !== null) throw new Error(`start has exited:\n${said.join("\n")}`);
      await new Promise((resolve) => (wake = resolve));
    }
  };
  await until(() => said.some((line) => line.includes(`http://localhost:${port}/`)));
  const key = readFileSync(join(run, "api.key"), "utf8");

  return {
    origin: `http://localhost:${port}`,
    /** Runs a line of Python in Django's shell, as an operator would. */
    shell(python) {
      const manage = join(EXAMPLE, "backend", "manage.py");
      const done = spawnSync(join(run, "venv", "bin", "python"), [manage, "shell", "-v0", "-c", python], {
        env: { ...process.env, GUIDE_RUN: run },
        encoding: "utf8",
      });
      if (done.status !== 0) throw new Error(`manage.py shell: ${done.stderr}`);
      return done.stdout.trim();
    },
    /** Sends a request to Idlewild's admin listener; returns its status and JSON. */
    admin(method, path, body) {
      const options = { socketPath: join(run, "admin.sock"), method, path, headers: { Authorization: `Bearer ${key}` } };
      return new Promise((resolve, reject) => {
        const asked = request(options, async (response) => {
          const text = (await response.setEncoding("utf8").toArray()).join("");
          resolve({ status: response.statusCode, body: text && JSON.parse(text) });
        });
        asked.on("error", reject).end(body && JSON.stringify(body));
      });
    },
    /** Ends Idlewild as an upgrade or a crash does, and waits until `start` has restarted it. */
    async restartIdlewild(signal) {
      const before = pid;
      process.kill(Number(before), signal);
      await until(() => pid !== before);
    },
    async stop() {
      start.kill("SIGTERM");
      await ended;
      rmSync(run, { recursive: true });
    },
  };
}

/** Below the range from which the kernel takes ports, so a free port stays free until nginx has started. */
async function freePort() {
  for (;;) {
    const port = randomInt(15_000, 32_000);
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch (error) {
      if (error.code === "EADDRINUSE") continue;
      throw error;
    }
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
