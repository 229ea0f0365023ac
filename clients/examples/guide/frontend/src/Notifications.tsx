import type { Notification } from "./api";

const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function Notifications({ notifications }: { notifications: Notification[] }) {
  return (
    <section className="card">
      <h2>Notifications</h2>
      {notifications.length === 0 && <p className="hint">None yet.</p>}
      <ul className="notifications" aria-live="polite">
        {notifications.map(({ id, text, sender, sent_at }) => (
          <li key={id}>
            {text}
            <small>
              {sender}, {time.format(new Date(sent_at))}
            </small>
          </li>
        ))}
      </ul>
    </section>
  );
}
