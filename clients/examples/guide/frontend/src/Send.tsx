import { ActionForm } from "./ActionForm";
import { sendNotification } from "./api";

export function Send() {
  return (
    <ActionForm
      title="Send a notification"
      button="Send"
      done="Sent."
      action={(form) => sendNotification(String(form.get("to")), String(form.get("text")))}
    >
      <label>
        Recipient’s email
        <input name="to" type="email" defaultValue="friend@example.com" required />
      </label>
      <label>
        Message
        <input name="text" maxLength={500} required />
      </label>
    </ActionForm>
  );
}
