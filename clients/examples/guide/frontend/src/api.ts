/** Requests to Django. If the access token has expired, the request is repeated with a new one. */

import { readSession, writeSession, type Session } from "./session";

export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Notification {
  id: number;
  sender: string;
  text: string;
  sent_at: string;
}

export async function logIn(email: string, password: string): Promise<Session> {
  return (await (await post("/api/v1/auth/login/", { email, password })).json()) as Session;
}

export async function listNotifications(): Promise<Notification[]> {
  return (await (await authorized("/api/v1/notifications/")).json()) as Notification[];
}

export async function sendNotification(to: string, text: string): Promise<void> {
  await authorized("/api/v1/notifications/", { to, text });
}

export async function changePassword(old: string, next: string): Promise<void> {
  await authorized("/api/v1/auth/password/", { old, new: next });
}

/**
 * Gets a new access token for the session, or null if it is over. Only one tab at a time does this; the others then find
 * the new token.
 */
export async function refreshAccess(): Promise<string | null> {
  const before = readSession();
  if (!before) return null;
  return navigator.locks.request("guide.refresh", async () => {
    const session = readSession();
    if (session?.user.id !== before.user.id) return null;
    if (session.access !== before.access) return session.access;
    const response = await fetch("/api/v1/auth/refresh/", json({ refresh: session.refresh }));
    if (!response.ok && response.status !== 401) throw await failure(response);
    const renewed = response.ok ? { ...session, ...((await response.json()) as Partial<Session>) } : null;
    // The user may have logged out meanwhile, or logged in as another user; keep that.
    if (readSession()?.refresh !== session.refresh) return null;
    writeSession(renewed);
    return renewed?.access ?? null;
  });
}

async function authorized(path: string, body?: unknown): Promise<Response> {
  const ask = (access: string) => {
    const init: RequestInit = body === undefined ? {} : json(body);
    return fetch(path, { ...init, headers: { ...init.headers, Authorization: `Bearer ${access}` } });
  };
  let response = await ask(readSession()?.access ?? "");
  if (response.status === 401) {
    const access = await refreshAccess();
    if (access !== null) response = await ask(access);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function post(path: string, body: unknown): Promise<Response> {
  const response = await fetch(path, json(body));
  if (!response.ok) throw await failure(response);
  return response;
}

function json(body: unknown): { method: string; headers: Record<string, string>; body: string } {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** The error of REST framework: one text, or texts by field. */
async function failure(response: Response): Promise<ApiError> {
  const told: unknown = await response.json().catch(() => null);
  const texts = told && typeof told === "object" ? Object.values(told).flat().map(String) : [];
  return new ApiError(response.status, texts.join(" ") || `The server answered ${response.status}.`);
}
