import { useState, type FormEvent } from "react";

import { useAuth } from "./auth";

export function Login({ onDone }: { onDone: () => void }) {
  const { login } = useAuth();
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setIsBusy] = useState(false);

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setIsBusy(true);
    try {
      await login(String(form.get("email")), String(form.get("password")));
      onDone();
    } catch (problem) {
      setError(String((problem as Error).message));
      setIsBusy(false);
    }
  };
  return (
    <form className="card login" onSubmit={(event) => void submit(event)}>
      <h1>Log in</h1>
      <label>
        Email
        <input name="email" type="email" autoComplete="username" defaultValue="user@example.com" required />
      </label>
      <label>
        Password
        <input name="password" type="password" autoComplete="current-password" defaultValue="password" required />
      </label>
      <button disabled={isBusy}>Log in</button>
      {error !== null && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
      <p className="hint">
        Log in as the same user in another browser or a private window: this browser is logged out, with a message.
      </p>
    </form>
  );
}
