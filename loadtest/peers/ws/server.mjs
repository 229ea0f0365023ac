// Node's `ws`, used as in its README: one process, a set of sockets per user, a ping every 30 s. Clients that did not
// answer the last ping are disconnected. `POST /publish/` needs no key.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [modules, port, secretFile] = process.argv.slice(2);
const { WebSocketServer } = createRequire(`${modules}/`)("ws");
const secret = readFileSync(secretFile, "utf8").replace(/[\r\n]+$/, "");

const PING_MS = 30_000;
const users = new Map();

/** The user of a token that HS256 signed and that has not expired, or undefined. */
function userOf(token) {
  const [head, claims, signature] = (token ?? "").split(".");
  const expected = createHmac("sha256", secret).update(`${head}.${claims}`).digest();
  const given = Buffer.from(signature ?? "", "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const decode = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
  if (decode(head).alg !== "HS256") return undefined;
  const { exp, user_id: user } = decode(claims);
  return exp * 1000 > Date.now() && user !== undefined ? String(user) : undefined;
}

const server = createServer((request, response) => {
  if (request.method !== "POST" || request.url !== "/publish/") return response.writeHead(404).end();
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const { user, message } = JSON.parse(body);
    const text = JSON.stringify(message);
    const sockets = user === undefined ? sessions.clients : (users.get(user) ?? []);
    for (const socket of sockets) socket.send(text);
    response.writeHead(202).end();
  });
});
const sessions = new WebSocketServer({ server, path: "/ws/notifications/" });

sessions.on("connection", (socket, request) => {
  const user = userOf(new URL(request.url, "http://localhost").searchParams.get("token"));
  if (user === undefined) return socket.close(4001, "Unauthorized");
  const sockets = users.get(user) ?? new Set();
  users.set(user, sockets.add(socket));
  socket.isAlive = true;
  socket.on("error", () => {});
  socket.on("pong", () => (socket.isAlive = true));
  socket.on("close", () => {
    sockets.delete(socket);
    if (sockets.size === 0) users.delete(user);
  });
});

setInterval(() => {
  for (const socket of sessions.clients) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.ping();
  }
}, PING_MS);

server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
