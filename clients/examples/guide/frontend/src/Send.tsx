import { ActionForm } from "./ActionForm";
import { sendNotification } from "./api";

export function Send() {
  return (
    <ActionForm
      title="Send one"
      button="Send"
      done="Sent."
      action={(form) => sendNotification(String(form.get("to")), String(form.get("text")))}
    >
      <label>
        To
        <input name="to" type="email" defaultValue="friend@example.com" required />
      </label>
      <label>
        Text
        <input name="text" maxLength={500} required />
      </label>
    </ActionForm>
  );
}
