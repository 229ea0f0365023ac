// A real server with its own configuration and history, on free ports of an address of its own.

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHmac, randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const BINARY = resolve(
  process.env.IDLEWILD_BIN ?? fileURLToPath(new URL('../../../../../target/release/idlewild', import.meta.url)),
);
/** The server reads every `IDLEWILD_...` variable as a setting. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('IDLEWILD_')));
/** Far longer than it takes. */
const START_WITHIN_MS = 50_000;
const SECRET = '0123456789abcdef0123456789abcdef';
/** The user who can log in. Created once, because hashing a password is slow, especially in a debug build. */
let users: Promise<string> | undefined;

export class Server {
  readonly #directory = mkdtempSync(join(tmpdir(), 'idlewild-js-'));
  #process: ChildProcess | null = null;
  /** Its ports stay free over a restart: other tests, which also get free ports, listen on other addresses. */
  readonly #host = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  #public = `${this.#host}:0`;
  #admin = `${this.#host}:0`;
  #key = '';

  /** `settings` are keys of the configuration's top level. */
  static async start(settings = ''): Promise<Server> {
    if (!existsSync(BINARY)) {
      throw new Error(`${BINARY}: no such server; build it (cargo build --release) or name one in IDLEWILD_BIN`);
    }
    const server = new Server();
    // Its secret stays the same over restarts; with a configured secret, --dev creates no user.
    writeFileSync(server.#users, await (users ??= makeUsers()), { mode: 0o600 });
    writeFileSync(
      server.#config,
      `retry_min = "100ms"\nretry_max = "200ms"\n${settings}\n
       [auth]\nsecret = "${SECRET}"\nleeway = "0s"\n
       [login]\nusers_file = "${server.#users}"\n
       [history]\npath = "${join(server.#directory, 'history')}"\n`,
    );
    await server.up();
    return server;
  }

  get #config(): string {
    return join(this.#directory, 'idlewild.toml');
  }

  get #users(): string {
    return join(this.#directory, 'users.toml');
  }

  get base(): string {
    return `http://${this.#public}/api/v1/auth`;
  }

  get stream(): string {
    return `${this.base}/sse/notifications/`;
  }

  /** Starts the process; after `down`, on the same ports. With `elsewhere`, no client finds it. */
  async up(elsewhere = false): Promise<void> {
    const listen = elsewhere ? `${this.#host}:0` : this.#public;
    const args = ['serve', '--dev', '--config', this.#config, '--listen', listen, '--admin-listen', this.#admin];
    // In its own directory, because it keeps its API key in the current one.
    const started = spawn(BINARY, args, {
      cwd: this.#directory,
      env: ENVIRONMENT,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = started;
    let log = '';
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => { reject(new Error(`the server did not start:\n${log}`)); }, START_WITHIN_MS);
      started.once('exit', (code) => { reject(new Error(`the server exited with ${code}:\n${log}`)); });
      started.stderr.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        const found = /public listener endpoint=(\S+)[^]*admin listener endpoint=(\S+)/.exec(log);
        const key = /development API key: (\S+)/.exec(log);
        if (found?.[1] === undefined || found[2] === undefined || key?.[1] === undefined) return;
        clearTimeout(late);
        if (!elsewhere) this.#public = found[1];
        [this.#admin, this.#key] = [found[2], key[1]];
        resolve();
      });
    });
  }

  /** Drains and ends the process. */
  async down(): Promise<void> {
    const running = this.#process;
    if (running === null) return;
    this.#process = null;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGTERM');
    await ended;
  }

  async stop(): Promise<void> {
    await this.down();
    rmSync(this.#directory, { recursive: true });
  }

  /** Signed here, because waiting for a process would delay all other tests while their tokens expire. */
  token(user: string, seconds = 900): string {
    const now = Math.floor(Date.now() / 1000);
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ user_id: user, iat: now, exp: now + seconds })}`;
    return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
  }

  async login(): Promise<string> {
    const credentials = { email: 'user@example.com', password: 'password' };
    const answer = await exchange(`${this.base}/login/`, 'POST', {}, credentials);
    return (answer as { access: string }).access;
  }

  async publish(user: string, data: unknown, event = 'message'): Promise<void> {
    await this.#post('/v1/events', { to: { user }, event, data });
  }

  /** Publishes to all users while no client is connected, then restarts. */
  async restartAndBroadcast(data: unknown): Promise<void> {
    await this.down();
    await this.up(true);
    await this.#post('/v1/events', { to: { all: true }, data });
    await this.down();
    await this.up();
  }

  async logout(user: string, message: string): Promise<void> {
    await this.#post(`/v1/users/${user}/logout`, { message, reason: 'test' });
  }

  /** Ends the user's connections; they may come back. */
  async disconnect(user: string): Promise<void> {
    await this.#ask('DELETE', `/v1/users/${user}/connections`);
  }

  async connections(user: string): Promise<number> {
    return (await this.connectionIds(user)).length;
  }

  async connectionIds(user: string): Promise<unknown[]> {
    const { connections } = (await this.#ask('GET', `/v1/users/${user}`)) as { connections: { id: unknown }[] };
    return connections.map(({ id }) => id);
  }

  async #post(path: string, body: unknown): Promise<void> {
    await this.#ask('POST', path, body);
  }

  #ask(method: string, path: string, body?: unknown): Promise<unknown> {
    return exchange(`http://${this.#admin}${path}`, method, { Authorization: `Bearer ${this.#key}` }, body);
  }
}

/**
 * The JSON of a response. Each time over a connection of its own: one that is kept would not survive a restart of the
 * server, nor its deadline for idle ones.
 */
function exchange(url: string, method: string, headers: Record<string, string>, body?: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers, agent: false }, (answer) => {
      text(answer).then((said) => {
        if ((answer.statusCode ?? 0) < 300) resolve(JSON.parse(said));
        else reject(new Error(`${url}: ${answer.statusCode ?? 0} ${said}`));
      }, reject);
    });
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Does not block, so that the other tests' timers run meanwhile. */
async function makeUsers(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'idlewild-js-users-'));
  try {
    const file = join(directory, 'users.toml');
    const args = ['user', 'add', '--file', file, '--email', 'user@example.com', '--id', '1'];
    await new Promise<void>((resolve, reject) => {
      const adding = execFile(BINARY, args, { env: ENVIRONMENT }, (error) => {
        if (error === null) resolve();
        else reject(new Error('idlewild user add failed', { cause: error }));
      });
      adding.stdin?.end('password\n');
    });
    return readFileSync(file, 'utf8');
  } finally {
    rmSync(directory, { recursive: true });
  }
}
