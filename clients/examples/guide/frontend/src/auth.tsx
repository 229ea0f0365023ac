import { createContext, useCallback, useContext, useEffect, useMemo, useState, type ReactNode } from "react";

import { logIn, refreshAccess } from "./api";
import { readSession, watchSession, writeSession, type Session } from "./session";

interface Auth {
  session: Session | null;
  accessToken: string | null;
  login: (email: string, password: string) => Promise<void>;
  logout: () => void;
  /** Gets a new access token with the refresh token; null if the session is over. */
  refresh: () => Promise<string | null>;
}

const AuthContext = createContext<Auth | null>(null);

export function AuthProvider({ children }: { children: ReactNode }) {
  const [session, setSession] = useState(readSession);

  useEffect(() => watchSession(() => setSession(readSession())), []);

  const change = useCallback((next: Session | null) => {
    writeSession(next);
    setSession(next);
  }, []);
  const login = useCallback(
    async (email: string, password: string) => change(await logIn(email, password)),
    [change],
  );
  const logout = useCallback(() => change(null), [change]);
  const refresh = useCallback(async () => {
    const access = await refreshAccess();
    setSession(readSession());
    return access;
  }, []);

  const auth = useMemo(
    () => ({ session, accessToken: session?.access ?? null, login, logout, refresh }),
    [session, login, logout, refresh],
  );
  return <AuthContext.Provider value={auth}>{children}</AuthContext.Provider>;
}

export function useAuth(): Auth {
  const auth = useContext(AuthContext);
  if (!auth) throw new Error("useAuth outside of AuthProvider");
  return auth;
}
