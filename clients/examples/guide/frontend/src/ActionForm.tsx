import { useState, type FormEvent, type ReactNode } from "react";

interface Props {
  title: string;
  button: string;
  done: string;
  action: (form: FormData) => Promise<void>;
  children: ReactNode;
}

/** A form that performs one action and shows its result. */
export function ActionForm({ title, button, done, action, children }: Props) {
  const [outcome, setOutcome] = useState<{ text: string; isError: boolean } | null>(null);

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    try {
      await action(new FormData(form));
      form.reset();
      setOutcome({ text: done, isError: false });
    } catch (problem) {
      setOutcome({ text: (problem as Error).message, isError: true });
    }
  };
  return (
    <form className="card" onSubmit={(event) => void submit(event)}>
      <h2>{title}</h2>
      {children}
      <button>{button}</button>
      {outcome && (
        <p className={outcome.isError ? "error" : "done"} role="status">
          {outcome.text}
        </p>
      )}
    </form>
  );
}
