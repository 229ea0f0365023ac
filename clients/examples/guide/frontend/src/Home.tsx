import { useAuth } from "./auth";
import { ConnectionTest } from "./ConnectionTest";
import { Notifications } from "./Notifications";
import { Password } from "./Password";
import { Send } from "./Send";
import type { Session } from "./session";
import { useNotifications } from "./useNotifications";

export function Home({ session, onForceLogout }: { session: Session; onForceLogout: (message: string) => void }) {
  const { logout } = useAuth();
  const { notifications, isConnected, error } = useNotifications(onForceLogout);

  return (
    <>
      <header className="bar">
        <h1>{session.user.email}</h1>
        <span className={isConnected ? "status open" : "status"} role="status">
          {isConnected ? "Connected" : "Disconnected"}
          {error !== null && ` (${error.message})`}
        </span>
        <button className="quiet" onClick={logout}>
          Log out
        </button>
      </header>
      <Notifications notifications={notifications} />
      <div className="columns">
        <Send />
        <Password />
      </div>
      <ConnectionTest />
    </>
  );
}
