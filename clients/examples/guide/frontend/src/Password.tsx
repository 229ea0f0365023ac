import { ActionForm } from "./ActionForm";
import { changePassword } from "./api";

export function Password() {
  return (
    <ActionForm
      title="Change the password"
      button="Change it"
      done="Changed."
      action={(form) => changePassword(String(form.get("old")), String(form.get("new")))}
    >
      <label>
        Old
        <input name="old" type="password" autoComplete="current-password" required />
      </label>
      <label>
        New
        <input name="new" type="password" autoComplete="new-password" required />
      </label>
    </ActionForm>
  );
}
