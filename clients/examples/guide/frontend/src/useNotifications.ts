import { useSSE } from "@idlewild/react";
import { useCallback, useEffect, useState } from "react";

import { listNotifications, type Notification } from "./api";
import { useAuth } from "./auth";

const STREAM = "/api/v1/auth/sse/notifications/";

/** The user's notifications, newest first: those in the database, and each new one when it is sent. */
export function useNotifications(onForceLogout: (message: string) => void) {
  const { accessToken, refresh } = useAuth();
  const [notifications, setNotifications] = useState<Notification[]>([]);

  // The list and the stream overlap; a notification in both is shown once.
  const merge = useCallback((news: Notification[]) => {
    setNotifications((shown) => {
      const byId = new Map([...shown, ...news].map((notification) => [notification.id, notification]));
      return [...byId.values()].sort((a, b) => b.id - a.id);
    });
  }, []);
  const load = useCallback(() => {
    // If this fails, the stream still delivers new ones, and the next connection loads the list again.
    listNotifications().then(merge, () => undefined);
  }, [merge]);

  const stream = useSSE(STREAM, accessToken, {
    share: true,
    getToken: refresh,
    onMessage: (message) => {
      const { type, data } = message as { type: string; data: Notification };
      if (type === "NOTIFICATION") merge([data]);
    },
    onForceLogout: ({ message }) => onForceLogout(message),
    onReplayGap: load,
  });
  const { isConnected } = stream;
  useEffect(() => {
    if (isConnected) load();
  }, [isConnected, load]);

  return { ...stream, notifications };
}
