// Shared by the browser tests: a real server, a real Chromium, and pages of other origins.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createHmac } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const SECRET = 'the-secret-of-the-browser-tests-0123456789';
const API_KEY = 'the-api-key-of-the-browser-tests-0123456789';
/** Many times longer than anything here takes. */
const TIMEOUT_MS = 10_000;

export const BASE = '/api/v1/auth';
const STREAM = `${BASE}/sse/notifications/`;

/** The server under test: IDLEWILD_BIN, else the release build. */
export function binary() {
  const path = process.env.IDLEWILD_BIN
    ?? fileURLToPath(new URL('../../target/release/idlewild', import.meta.url));
  if (!existsSync(path)) {
    throw new Error(`no server at ${path}: build it (cargo build --release), or set IDLEWILD_BIN`);
  }
  return path;
}

/** Launches Chromium; `args` are added to the arguments that all tests need. */
export const launchBrowser = ({ args = [] } = {}) => chromium.launch(launchOptions(args));

/**
 * A browser that sends cookies to other sites, as Chrome does in a normal window. Debian's Chromium does not, nor does a
 * private window.
 */
export async function launchWithThirdPartyCookies() {
  const directory = await mkdtemp(join(tmpdir(), 'idlewild-profile-'));
  await mkdir(join(directory, 'Default'));
  await writeFile(join(directory, 'Default', 'Preferences'), JSON.stringify({ profile: { cookie_controls_mode: 0 } }));
  const context = await chromium.launchPersistentContext(directory, launchOptions());
  context.once('close', () => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  return context;
}

function launchOptions(args = []) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  if (!existsSync(executablePath)) {
    throw new Error(`no browser at ${executablePath}: install Debian's chromium, or set CHROMIUM`);
  }
  return { executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', ...args] };
}

/**
 * Starts a server on free ports; `config` is TOML, keys of the top level first. `host` is the name by which pages know
 * it, because cookies and sites depend on names. With `tls`, `{ certificate, port }`, pages use its TLS listener. `login`,
 * `{ email, password, id }`, is an account for its built-in login.
 */
export async function startServer({ config = '', host = '127.0.0.1', tls, login } = {}) {
  const server = binary();
  const directory = await mkdtemp(join(tmpdir(), 'idlewild-browser-'));
  const file = join(directory, 'idlewild.toml');
  const write = (settings) => writeFile(file, `${settings}\n${tlsTable(tls)}[auth]\nsecret = "${SECRET}"\n`);
  await write(config);
  const users = join(directory, 'users.toml');
  if (login) {
    const add = ['user', 'add', '--file', users, '--email', login.email, '--id', login.id];
    execFileSync(server, add, { env: environment(), input: `${login.password}\n` });
  }
  const child = spawn(
    server,
    ['serve', '--config', file, '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'],
    {
      env: {
        ...environment(),
        IDLEWILD_ADMIN__API_KEY: API_KEY,
        ...(login && { IDLEWILD_LOGIN__USERS_FILE: users }),
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  const log = logOf(child);
  const ended = log.ended.then(() => rm(directory, { recursive: true, force: true }));
  const port = async (listener) => (await log.says(new RegExp(`${listener} listener endpoint=[0-9.]+:(\\d+)`)))[1];
  const admin = `http://127.0.0.1:${await port('admin')}`;
  const plain = `http://${host}:${await port('public')}`;
  const origin = tls ? `https://${host}:${await port('public TLS')}` : plain;
  let { pid } = child;
  let isStopping = false;

  return {
    origin,
    /** The origin without TLS, in any case. */
    plain,
    stream: (query = {}) => `${origin}${STREAM}?${new URLSearchParams(query)}`,
    token,
    /** Sends a request to the admin listener; returns the JSON. */
    async ask(method, path, body) {
      const answer = await fetch(admin + path, {
        method,
        headers: { Authorization: `Bearer ${API_KEY}` },
        body: body && JSON.stringify(body),
      });
      if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    },
    publish(user, data, more = {}) {
      return this.ask('POST', '/v1/events', { to: { user }, data, ...more });
    },
    async reload(settings) {
      await write(settings);
      process.kill(pid, 'SIGHUP');
      await log.says(/ reloaded/);
    },
    /** Hands over to a new process, once. */
    async upgrade() {
      process.kill(pid, 'SIGUSR2');
      pid = Number((await log.says(/ upgraded pid=(\d+)/))[1]);
    },
    /** Ends the server, and waits until it has ended. A second call only waits. */
    async stop() {
      if (!isStopping) process.kill(pid, 'SIGTERM');
      isStopping = true;
      await ended;
    },
  };
}

function tlsTable(tls) {
  if (!tls) return '';
  const { chain, key } = tls.certificate;
  return `[tls]\nlisten = ["127.0.0.1:${tls.port ?? 0}"]\ncertificates = [{ cert = "${chain}", key = "${key}" }]\n`;
}

/** Our environment without variables that would configure the server or that it would refuse, such as IDLEWILD_BIN. */
function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('IDLEWILD_')));
}

/** Watches what a process writes to stderr, and its exit. */
export function logOf(child) {
  let text = '';
  const watchers = new Set();
  const tell = () => watchers.forEach((look) => look());
  child.stderr.setEncoding('utf8').on('data', (more) => {
    text += more;
    tell();
  });
  const ended = new Promise((resolve) => child.once('close', resolve)).then(tell);
  return {
    ended,
    text: () => text,
    says: (pattern) => new Promise((resolve, reject) => {
      const done = (settle, value) => {
        clearTimeout(timer);
        watchers.delete(look);
        settle(value);
      };
      const fail = (why) => done(reject, new Error(`${why} before ${pattern}:\n${text}`));
      const look = () => {
        const found = text.match(pattern);
        if (found) done(resolve, found);
        else if (child.exitCode !== null) fail(`the server ended with ${child.exitCode}`);
      };
      const timer = setTimeout(() => fail(`${TIMEOUT_MS} ms passed`), TIMEOUT_MS);
      watchers.add(look);
      look();
    }),
  };
}

/** Makes a JWT as an application would. */
export function token(user, claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ user_id: user, iat: now, exp: now + 900, ...claims })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** Polls until `condition` holds. */
export async function until(what, condition) {
  const end = Date.now() + TIMEOUT_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${TIMEOUT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** An origin with one empty page, on a port that several host names reach. */
export async function startPages() {
  const server = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html>'));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    at: (host) => `http://${host}:${port}`,
    stop: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}
