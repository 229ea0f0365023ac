// Node's `ws`, used as in its README: one process, a set of sockets per user, a ping every 30 s. Clients that did not
// answer the last ping are disconnected. `POST /publish/` needs no key.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { verifier } from "../tokens.mjs";

const [modules, port, secretFile] = process.argv.slice(2);
const { WebSocketServer } = createRequire(`${modules}/`)("ws");
const userOf = verifier(secretFile);

const PING_MS = 30_000;
const users = new Map();

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
