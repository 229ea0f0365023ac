import { useState } from "react";

import { useAuth } from "./auth";
import { Home } from "./Home";
import { Login } from "./Login";

export function App() {
  const { session, logout } = useAuth();
  const [farewell, setFarewell] = useState<string | null>(null);

  const forceOut = (message: string) => {
    setFarewell(message);
    logout();
  };
  return (
    <main>
      {farewell !== null && (
        <p className="farewell" role="alert">
          {farewell}
        </p>
      )}
      {session ? (
        <Home key={session.user.id} session={session} onForceLogout={forceOut} />
      ) : (
        <Login onDone={() => setFarewell(null)} />
      )}
    </main>
  );
}
